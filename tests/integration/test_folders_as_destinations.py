"""Folders as destinations: whole files under safe names, the same once, and what a full disk makes of it."""

from __future__ import annotations

import errno
import fcntl
import os
import pathlib
import threading
from collections.abc import Sequence

import pydicom
import pytest

from node import errors, model, orders, transcoding
from node.commands import gather
from node.files import disk
from node.send import base, folder, pace
from node.steps import plan
from tests import encoded, make

J2K = "1.2.840.10008.1.2.4.90"


def _items(where: pathlib.Path, made: Sequence[make.Made]) -> list[base.Item]:
    make.files(where, made)
    return [one for one in gather.items([where]) if isinstance(one, base.Item)]


def _destination(**how: object) -> orders.Destination:
    return orders.Destination(name="out", kind=orders.Kind.FOLDER, **how)  # type: ignore[arg-type]


def _files(root: pathlib.Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def test_each_instance_is_a_file_named_by_the_template(tmp_path: pathlib.Path) -> None:
    items = _items(tmp_path / "in", make.series(40))
    root = tmp_path / "out"
    sender = folder.Folder(_destination(template="{Modality}/{InstanceNumber:05}.dcm"), root)
    results = list(sender.send(items))
    assert {type(result.outcome) for result in results} == {base.Done}
    assert _files(root) == {f"CT/{number:05}.dcm" for number in range(1, 41)}
    for result in results:
        assert result.size == result.item.size
        assert result.syntax == result.item.syntax
    bodies = {item.path.read_bytes()[item.offset :] for item in items}
    for path in root.glob("CT/*.dcm"):
        read = pydicom.dcmread(path)
        assert read.file_meta.MediaStorageSOPInstanceUID == read.SOPInstanceUID
        assert (0x0002, 0x0102) not in read.file_meta
        content = path.read_bytes()
        assert any(content.endswith(body) for body in bodies)


def test_the_same_again_is_the_same_file(tmp_path: pathlib.Path) -> None:
    items = _items(tmp_path / "in", make.series(3))
    root = tmp_path / "out"
    for _ in range(2):
        results = list(folder.Folder(_destination(), root).send(items))
        assert {type(result.outcome) for result in results} == {base.Done}
    assert len(_files(root)) == 3
    assert {note.partition(":")[0] for result in results for note in result.notes} == {"it was there"}


def test_others_under_one_name_get_a_number_and_nothing_is_replaced(tmp_path: pathlib.Path) -> None:
    made = make.series(3)
    items = _items(tmp_path / "in", [*made, make.altered(made[0])])
    root = tmp_path / "out"
    sender = folder.Folder(_destination(template="{Modality}/image.dcm"), root)
    for _ in range(2):
        results = list(sender.send(items))
        assert {type(result.outcome) for result in results} == {base.Done}
        assert _files(root) == {"CT/image.dcm", "CT/image-2.dcm", "CT/image-3.dcm", "CT/image-4.dcm"}
    bodies = {path.read_bytes()[-len(made[0].data) :] for path in root.glob("CT/*")}
    assert bodies == {one.data for one in (*made, make.altered(made[0]))}


def test_names_from_hostile_headers_stay_in_the_folder(tmp_path: pathlib.Path) -> None:
    hostile = [make.element(0x00104000, "LT", "../../../escaped"), make.element(0x00200010, "SH", "/etc/x")]
    items = _items(tmp_path / "in", [make.instance(1, extra=hostile[:1]), make.instance(2, seed="b")])
    root = tmp_path / "deep" / "out"
    root.mkdir(parents=True)
    sender = folder.Folder(_destination(template="{PatientComments}/{SOPInstanceUID}"), root)
    assert {type(result.outcome) for result in sender.send(items)} == {base.Done}
    outside = {path for path in tmp_path.rglob("*") if path.is_file()} - set(root.rglob("*"))
    assert outside == set((tmp_path / "in").iterdir())
    assert len(_files(root)) == 2


class _Full(disk.Disk):
    def __init__(self) -> None:
        self.room = 1 << 40

    def free(self, path: str | pathlib.Path) -> int:
        return self.room


class _Broken(disk.Disk):
    def sync_data(self, fd: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_no_room_passes(tmp_path: pathlib.Path) -> None:
    items = _items(tmp_path / "in", make.series(2))
    full = _Full()
    full.room = 1 << 20
    sender = folder.Folder(_destination(), tmp_path / "out", disk=full)
    outcomes = [result.outcome for result in sender.send(items)]
    assert all(isinstance(one, base.Retry) and "no room" in one.why for one in outcomes)
    full.room = 1 << 40
    assert {type(result.outcome) for result in sender.send(items)} == {base.Done}


def test_what_cannot_be_synced_is_not_there(tmp_path: pathlib.Path) -> None:
    items = _items(tmp_path / "in", make.series(2))
    root = tmp_path / "out"
    outcomes = [result.outcome for result in folder.Folder(_destination(), root, disk=_Broken()).send(items)]
    assert all(isinstance(one, base.Retry) and "Input/output error" in one.why for one in outcomes)
    assert _files(root) == set()


def test_a_folder_that_is_not_mounted_passes(tmp_path: pathlib.Path) -> None:
    items = _items(tmp_path / "in", make.series(1))
    root = tmp_path / "share" / "out"
    (result,) = folder.Folder(_destination(), root).send(items)
    assert isinstance(result.outcome, base.Retry)
    assert "is not there" in result.outcome.why
    with pytest.raises(errors.StorageFailed):
        folder.probe(root)
    (tmp_path / "share").mkdir()
    folder.probe(root)
    assert _files(root) == set()


def test_what_a_crash_left_is_removed_and_what_is_being_written_is_not(tmp_path: pathlib.Path) -> None:
    folder.ready(tmp_path / "out")
    left, held = (tmp_path / "out" / ".parts" / name for name in ("left.part", "held.part"))
    left.write_bytes(b"half")
    with held.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert folder.sweep(tmp_path / "out") == 1
    assert not left.exists()
    assert held.exists()


def test_a_file_that_cannot_be_read_fails_alone(tmp_path: pathlib.Path) -> None:
    items = _items(tmp_path / "in", make.series(3))
    items[1].path.unlink()
    kinds = {
        result.item.sop_instance: type(result.outcome)
        for result in folder.Folder(_destination(), tmp_path / "out").send(items)
    }
    assert kinds == {
        items[0].sop_instance: base.Done,
        items[1].sop_instance: base.Failed,
        items[2].sop_instance: base.Done,
    }


def test_a_step_compresses_what_is_written_and_notes_what_it_cannot(tmp_path: pathlib.Path) -> None:
    image, report = encoded.encoded(make.RLE, tmp_path), make.instance(1, seed="no such pixels")
    items = _items(tmp_path / "in", [image, report])
    step = orders.StepSetting("compress", {"syntax": "JPEG2000Lossless", "recompress": True})
    ready = plan.Plan.of([step], None, model.Settings())
    with transcoding.Transcoder(tmp_path, processes=1) as transcoder:
        sender = folder.Folder(_destination(), tmp_path / "out", transcoder=transcoder)
        results = {one.item.sop_instance: one for one in sender.send([ready.item(item) for item in items])}
    assert {type(result.outcome) for result in results.values()} == {base.Done}
    assert results[image.sop_instance].syntax == J2K, results[image.sop_instance].notes
    assert results[image.sop_instance].notes == ()
    other = results[report.sop_instance]
    assert other.syntax == make.EXPLICIT
    assert other.notes[0].startswith("written as stored")
    assert {pydicom.dcmread(path).pixel_array.ndim for path in (tmp_path / "out").rglob("*.dcm")} <= {2, 3}


def test_a_paced_writer_stops_at_once_when_told(tmp_path: pathlib.Path) -> None:
    items = _items(tmp_path / "in", make.series(3))
    wanted = _destination(bandwidth=1)
    sender = folder.Folder(wanted, tmp_path / "out", pace=pace.Pace(wanted))
    found: list[base.Result] = []
    thread = threading.Thread(target=lambda: found.extend(sender.send(items)))
    thread.start()
    sender.cut("enough")
    thread.join(60)
    assert not thread.is_alive()
    assert sum(isinstance(result.outcome, base.Done) for result in found) <= 1
    assert sum(path.name.endswith(".part") for path in (tmp_path / "out").rglob("*")) == 0
