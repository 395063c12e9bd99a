"""A write or sync that fails fails those who waited on it, and nothing else."""

from __future__ import annotations

import errno
import pathlib
import threading
from collections.abc import Sequence

import pytest

from node import errors
from node.files import disk as disks
from node.files import segments
from tests.unit.files.test_journal_keeps_what_it_acknowledged import Slot, append, fill, payload


class Failing(disks.Disk):
    """A real disk, but for the calls that are told to fail."""

    def __init__(self) -> None:
        self.write_error: int | None = None
        self.sync_error: int | None = None
        self.synced: list[int] = []

    def write(self, fd: int, buffers: Sequence[disks.Buffer], offset: int) -> None:
        if self.write_error is not None:
            # What a full disk does: some of it is there.
            super().write(fd, [bytes(b"".join(buffers)[:100])], offset)
            raise OSError(self.write_error, "on purpose")
        super().write(fd, buffers, offset)

    def sync_data(self, fd: int) -> None:
        self.synced.append(fd)
        if self.sync_error is not None:
            raise OSError(self.sync_error, "on purpose")
        super().sync_data(fd)


@pytest.fixture
def slot(tmp_path: pathlib.Path) -> Slot:
    return Slot(tmp_path)


def test_a_failed_sync_gives_the_segment_up(slot: Slot) -> None:
    disk = Failing()
    told: list[str] = []
    log = slot.open(disk, degraded=told.append)
    fill(log, range(3))
    given_up = disk.synced[-1]
    disk.sync_error = errno.EIO
    with pytest.raises(errors.StorageFailed, match="disk"):
        append(log, 3, payload(3))
    disk.sync_error = None
    fill(log, range(4, 8))
    assert given_up not in disk.synced[4:]
    assert len(told) == 1
    assert slot.data.degraded.exists()
    log.close()
    found = slot.numbers()
    assert [number for number in found if number != 3] == [0, 1, 2, 4, 5, 6, 7]


def test_a_segment_that_was_given_up_is_not_used_by_the_next_process(slot: Slot) -> None:
    disk = Failing()
    log = slot.open(disk)
    fill(log, range(3))
    disk.sync_error = errno.EIO
    with pytest.raises(errors.StorageFailed):
        append(log, 3, payload(3))
    log.close()
    bad = next(path for path in slot.segments() if path.with_suffix(".abandoned").exists())
    content = bad.read_bytes()
    log = slot.open()
    for number in range(4, 30):
        append(log, number, payload(number))
    assert bad.read_bytes() == content
    one = slot.reader()
    slot.numbers(one)
    one.publish_synced(one.place)
    log._ring.remove_abandoned()
    assert not bad.exists()
    one.close()
    log.close()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_no_room_is_no_fault_of_the_segment(slot: Slot, number: int) -> None:
    disk = Failing()
    log = slot.open(disk)
    fill(log, range(3))
    disk.write_error = number
    with pytest.raises(errors.StorageFull, match="make room"):
        append(log, 3, payload(3))
    disk.write_error = None
    fill(log, range(4, 6))
    log.close()
    assert slot.numbers() == [0, 1, 2, 4, 5]
    assert not slot.data.degraded.exists()


def test_all_who_waited_on_a_failed_sync_are_told(slot: Slot) -> None:
    disk = Failing()
    log = slot.open(disk, size=8 << 20, segment=1 << 20)
    disk.sync_error = errno.EIO
    refused: list[int] = []
    acknowledged: list[int] = []

    def write(number: int) -> None:
        try:
            append(log, number, payload(number))
        except errors.StorageFailed:
            refused.append(number)
        else:
            acknowledged.append(number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(refused) == [0, 1, 2, 3]
    disk.sync_error = None
    write(9)
    assert acknowledged == [9]
    log.close()


def test_no_room_for_segments_at_the_first_start_is_said(slot: Slot) -> None:
    disk = Failing()
    disk.write_error = errno.ENOSPC
    with pytest.raises(errors.StorageFull, match="make room"):
        slot.open(disk)
    assert segments.files(slot.data.slot("listen-1")) == []
    slot.open().close()
