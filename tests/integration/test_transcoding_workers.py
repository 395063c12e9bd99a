"""Worker processes that transcode: what they make, and what happens when one of them crashes or hangs."""

from __future__ import annotations

import io
import os
import pathlib
import signal
import struct
import threading
from collections.abc import Iterator

import numpy as np
import pydicom
import pytest

from node import errors, transcoding, workers
from node.commands import gather
from node.dicom import transcode
from node.send import base
from tests import encoded, make

CT = make.CT


@pytest.fixture(scope="module")
def transcoder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[transcoding.Transcoder]:
    with transcoding.Transcoder(tmp_path_factory.mktemp("spool")) as made:
        yield made


def item(folder: pathlib.Path, made: make.Made) -> base.Item:
    path = folder / "one.dcm"
    path.write_bytes(make.part10(made))
    return gather.item(path)


def test_it_is_made_and_leaves_nothing_behind(
    transcoder: transcoding.Transcoder, tmp_path: pathlib.Path
) -> None:
    made = encoded.encoded(make.RLE, tmp_path)
    found = item(tmp_path, made)
    before = len(os.listdir("/proc/self/fd"))
    result = transcoder.make(found, make.EXPLICIT)
    assert (result.sop_instance, result.syntax, result.change) == (found.sop_instance, make.EXPLICIT, None)
    data = result.path.read_bytes()
    assert len(data) == result.size
    transcoder.drop(result)
    assert len(os.listdir("/proc/self/fd")) <= before + 1  # the worker's socket
    assert not list(transcoder._folder.iterdir())  # type: ignore[union-attr]
    whole = make.Made(made.sop_class, made.sop_instance, made.study, made.series, make.EXPLICIT, data)
    now, then = (pydicom.dcmread(io.BytesIO(make.part10(one))) for one in (whole, made))
    assert np.array_equal(now.pixel_array, then.pixel_array)


def test_one_that_lies_is_refused_and_the_worker_lives(
    transcoder: transcoding.Transcoder, tmp_path: pathlib.Path
) -> None:
    good = item(tmp_path, encoded.encoded(make.RLE, tmp_path))
    transcoder.drop(transcoder.make(good, make.EXPLICIT))
    (worker,) = transcoder.workers.idle
    made = lying(make.JPEG_LS, rows=65535, columns=65535, frames=1)
    (tmp_path / "bad").mkdir()
    with pytest.raises(errors.BadData, match=r"more than a data set holds|says 65535"):
        transcoder.make(item(tmp_path / "bad", made), make.EXPLICIT)
    transcoder.drop(transcoder.make(good, make.EXPLICIT))
    assert transcoder.workers.idle == [worker]
    assert worker.lives


def test_a_loss_makes_another_instance(transcoder: transcoding.Transcoder, tmp_path: pathlib.Path) -> None:
    found = item(tmp_path, encoded.encoded(make.RLE, tmp_path))
    result = transcoder.make(found, encoded.NEAR_LOSSLESS, transcode.Loss("1.2.3.4", quality=1))
    assert (result.sop_instance, result.syntax) == ("1.2.3.4", encoded.NEAR_LOSSLESS)
    assert b"1.2.3.4" in result.path.read_bytes()
    transcoder.drop(result)
    assert not {*transcode.LOSSY} & {*transcoder.targets(found)}  # no sender comes upon it


def lying(
    syntax: str, *, rows: int, columns: int, frames: int, data: bytes = b"\xff\xd8\xff\xd9"
) -> make.Made:
    """An image whose header says more than there is."""
    head = make.head(
        sop_class=CT,
        sop_instance=make.uid("lying", syntax, rows),
        study=make.uid("lying"),
        series=make.uid("lying", 1),
        rows=rows,
        columns=columns,
    )
    elements = [one for one in head if one.tag != 0x00280008]
    elements.append(make.element(0x00280008, "IS", frames))
    elements.append(make.Element(0x7FE00010, "OB", fragments=(b"", data)))
    elements.sort(key=lambda one: one.tag)
    return make.Made(
        CT,
        make.uid("lying", syntax, rows),
        make.uid("lying"),
        make.uid("lying", 1),
        syntax,
        make.encode(elements, make.EXPLICIT),
    )


@pytest.mark.parametrize(
    ("how", "error"), [(signal.SIGKILL, errors.TranscodingBusy), (signal.SIGSEGV, errors.TranscodingFailed)]
)
def test_a_worker_that_dies_over_one_is_replaced(
    tmp_path: pathlib.Path, how: signal.Signals, error: type[errors.NodeError]
) -> None:
    """It is stopped, so that it is surely at work, and then dies."""
    found = item(tmp_path, encoded.encoded(make.RLE, tmp_path))
    with transcoding.Transcoder(tmp_path, processes=1) as transcoder:
        transcoder.drop(transcoder.make(found, make.EXPLICIT))
        (worker,) = transcoder.workers.idle
        os.kill(worker.process.pid, signal.SIGSTOP)
        raised: list[BaseException] = []

        def ask() -> None:
            try:
                transcoder.make(found, make.EXPLICIT)
            except errors.NodeError as fault:
                raised.append(fault)

        thread = threading.Thread(target=ask)
        thread.start()
        while transcoder.workers.idle:
            threading.Event().wait(0.01)
        os.kill(worker.process.pid, how)
        os.kill(worker.process.pid, signal.SIGCONT)
        thread.join(30)
        assert [type(one) for one in raised] == [error]
        assert not worker.lives
        again = transcoder.make(found, make.EXPLICIT)  # by another
        transcoder.drop(again)
        assert transcoder.workers.idle[0] is not worker


def test_one_that_takes_too_long_is_given_up(tmp_path: pathlib.Path) -> None:
    found = item(tmp_path, encoded.encoded(make.RLE, tmp_path))
    limits = transcoding.Limits(seconds=0.3)
    with transcoding.Transcoder(tmp_path, processes=1, limits=limits) as transcoder:
        worker = workers.Worker(transcoding.KIND, 60.0)
        transcoder.workers.idle.append(worker)
        os.kill(worker.process.pid, signal.SIGSTOP)
        with pytest.raises(errors.TranscodingFailed, match="took longer than"):
            transcoder.make(found, make.EXPLICIT)
        assert not worker.lives


def test_one_that_needs_more_memory_than_it_may_is_refused(tmp_path: pathlib.Path) -> None:
    data = struct.pack("<I", 2) + struct.pack("<2I", 64, 70) + bytes(52) + b"\x81\0" * 600_000
    made = lying(make.RLE, rows=4000, columns=4000, frames=1, data=data)
    limits = transcoding.Limits(memory=8 << 20)
    with transcoding.Transcoder(tmp_path, processes=1, limits=limits) as transcoder:
        with pytest.raises(errors.BadData, match="more than 8 MB of memory"):
            transcoder.make(item(tmp_path, made), make.EXPLICIT)
        (worker,) = transcoder.workers.idle
        assert worker.lives


def test_a_worker_that_had_nothing_to_do_is_replaced_silently(tmp_path: pathlib.Path) -> None:
    found = item(tmp_path, encoded.encoded(make.RLE, tmp_path))
    limits = transcoding.Limits(idle=0.05)
    with transcoding.Transcoder(tmp_path, processes=1, limits=limits) as transcoder:
        for _ in range(2):
            transcoder.drop(transcoder.make(found, make.EXPLICIT))
            (worker,) = transcoder.workers.idle
            assert worker.process.wait(30) == 0


def test_a_worker_ends_with_who_asked_it() -> None:
    """However that ends: the system closes its socket."""
    worker = workers.Worker(transcoding.KIND, 600.0)
    worker._socket.close()
    assert worker.process.wait(30) == 0


def test_all_workers_busy_is_worth_another_try(tmp_path: pathlib.Path) -> None:
    found = item(tmp_path, encoded.encoded(make.RLE, tmp_path))
    limits = transcoding.Limits(patience=0.05)
    with (
        transcoding.Transcoder(tmp_path, processes=0, limits=limits) as transcoder,
        pytest.raises(errors.TranscodingBusy),
    ):
        transcoder.make(found, make.EXPLICIT)


def test_a_file_that_has_gone_or_shrunk_is_said(
    transcoder: transcoding.Transcoder, tmp_path: pathlib.Path
) -> None:
    found = item(tmp_path, encoded.encoded(make.RLE, tmp_path))
    found.path.write_bytes(found.path.read_bytes()[:-10])
    with pytest.raises(errors.BadData, match="ends before byte"):
        transcoder.make(found, make.EXPLICIT)
    found.path.unlink()
    with pytest.raises(errors.BadData, match="cannot be read"):
        transcoder.make(found, make.EXPLICIT)
