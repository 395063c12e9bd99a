"""What is not acknowledged leaves nothing behind, and says why."""

from __future__ import annotations

import dataclasses
import os
import pathlib

import pytest

from node import errors, receive
from tests import make, stored


@pytest.fixture
def inside(tmp_path: pathlib.Path):  # type: ignore[no-untyped-def]
    data = stored.data(tmp_path)
    with stored.receiver(data) as receiver:
        yield data, receiver


def one(**options: object) -> make.Made:
    return make.series(1, **options)[0]  # type: ignore[arg-type]


def refused(receiver: receive.Receiver, made: make.Made) -> receive.Refused:
    with pytest.raises(receive.Refused) as caught:
        stored.send(receiver, made)
    return caught.value


def test_another_instance_than_the_command_says(inside) -> None:  # type: ignore[no-untyped-def]
    _, receiver = inside
    made = one()
    fault = refused(receiver, dataclasses.replace(made, sop_instance="1.2.3.4"))
    assert (fault.fault, fault.tag) == (receive.Fault.WRONG_INSTANCE, 0x00080018)
    fault = refused(receiver, dataclasses.replace(made, sop_class=make.MR))
    assert (fault.fault, fault.tag) == (receive.Fault.WRONG_CLASS, 0x00080016)


@pytest.mark.parametrize("uid", ["", "1.2.x", "1" * 65, "../../etc/passwd", "1.2\n3"])
def test_a_uid_that_is_none(inside, uid: str) -> None:  # type: ignore[no-untyped-def]
    _, receiver = inside
    fault = refused(receiver, dataclasses.replace(one(), sop_instance=uid))
    assert fault.fault is receive.Fault.BAD_UID


def test_a_truncated_data_set(inside) -> None:  # type: ignore[no-untyped-def]
    _, receiver = inside
    made = one()
    fault = refused(receiver, dataclasses.replace(made, data=made.data[:-100]))
    assert fault.fault is receive.Fault.MALFORMED
    assert fault.offset is not None


def test_a_whole_file_sent_as_a_data_set(inside) -> None:  # type: ignore[no-untyped-def]
    _, receiver = inside
    made = one()
    fault = refused(receiver, dataclasses.replace(made, data=make.part10(made)))
    assert fault.fault is receive.Fault.MALFORMED


def test_over_the_cap_no_file_of_the_spool_stays(inside) -> None:  # type: ignore[no-untyped-def]
    data, receiver = inside
    receiver.max_instance = 3 << 20
    fault = refused(receiver, one(size=4 << 20))
    assert fault.fault is receive.Fault.TOO_LARGE
    assert all(os.stat(entry).st_size == 0 for entry in os.scandir(data.spool))


def test_an_aborted_or_malformed_large_one_leaves_no_file(inside) -> None:  # type: ignore[no-untyped-def]
    data, receiver = inside
    made = one(size=3 << 20)
    incoming = receiver.begin(made.sop_class, made.sop_instance, made.syntax, stored.SENDER)
    incoming.write(made.data)
    incoming.abort()
    incoming.abort()
    fault = refused(receiver, dataclasses.replace(made, data=made.data[:-100]))
    assert fault.fault is receive.Fault.MALFORMED
    assert all(os.stat(entry).st_size == 0 for entry in os.scandir(data.spool))


def test_below_the_reserve_nothing_is_begun(inside) -> None:  # type: ignore[no-untyped-def]
    _, receiver = inside
    receiver.reserve = 1 << 62
    with pytest.raises(errors.StorageFull, match="make room"):
        stored.send(receiver, one())


@pytest.mark.parametrize("content", [b"", b"MZ" + bytes(400), b"GIF89a" + b"x" * 300, b"\0" * 300])
def test_a_file_that_is_not_dicom(inside, tmp_path: pathlib.Path, content: bytes) -> None:  # type: ignore[no-untyped-def]
    _, receiver = inside
    path = tmp_path / "other.bin"
    path.write_bytes(content)
    with pytest.raises(receive.Refused, match=r"other\.bin"):
        receiver.import_file(path, dataclasses.replace(stored.SENDER, calling="", address="import"))
    with pytest.raises(errors.NotFound, match=r"none\.dcm"):
        receiver.import_file(tmp_path / "none.dcm", stored.SENDER)
