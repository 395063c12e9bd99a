"""What `append` returned for is read back, whatever stands around it."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import os
import pathlib
import threading
import time

import pytest

from node import errors, model
from node.files import disk as disks
from node.files import journal, layout, position, reader, record, segments

TIME = datetime.datetime(2026, 11, 21, 12, 0, tzinfo=datetime.UTC)


def arrival(number: int, payload: bytes) -> model.Arrival:
    identity = model.Identity("1.2", f"1.2.{number}", "1.3", "1.4")
    digest = "sha256:" + hashlib.sha256(payload).hexdigest()
    return model.Arrival(identity, "1.2.840", digest, len(payload), "A\x1fé", "B", "::1", "", "x", TIME)


def append(to: journal.Journal, number: int, payload: bytes) -> record.Place:
    one = arrival(number, payload)
    return to.append(record.meta(one, "", ""), hashlib.sha256(payload).digest(), payload)


def payload(number: int) -> bytes:
    return bytes([number % 251]) * (100 + number * 37 % 9000)


class Slot:
    """A slot with its writer's and its reader's side."""

    def __init__(self, root: pathlib.Path) -> None:
        self.data = layout.Data(root)
        self.data.make()
        self.damage: list[tuple[int, str]] = []
        self._buffer = bytearray(8 << 20)

    def open(self, disk: disks.Disk | None = None, **more: object) -> journal.Journal:
        options: dict[str, object] = {"size": 1 << 20, "segment": 128 << 10, "patience": 0.1, **more}
        return journal.Journal(self.data, "listen-1", disk=disk, **options)  # type: ignore[arg-type]

    def reader(self) -> reader.Reader:
        return reader.Reader(self.data, "listen-1", lambda _s, _g, at, why: self.damage.append((at, why)))

    def numbers(self, of: reader.Reader | None = None) -> list[int]:
        """What a reader finds; every payload is held against its number."""
        one = of or self.reader()
        found = []
        while records := one.read(self._buffer, 7):
            for read in records:
                number = int(read.arrival.identity.sop_instance.rpartition(".")[2])
                assert read.payload is not None
                assert bytes(read.payload) == payload(number)
                assert read.arrival == arrival(number, payload(number))
                found.append(number)
        if of is None:
            one.close()
        return found

    def segments(self) -> list[pathlib.Path]:
        return segments.files(self.data.slot("listen-1"))

    def active(self) -> pathlib.Path:
        return max(self.segments(), key=record.first_generation)


@pytest.fixture
def slot(tmp_path: pathlib.Path) -> Slot:
    return Slot(tmp_path)


def fill(to: journal.Journal, numbers: range) -> None:
    for number in numbers:
        append(to, number, payload(number))


def test_read_while_it_is_written(slot: Slot) -> None:
    log = slot.open()
    one = slot.reader()
    assert slot.numbers(one) == []
    fill(log, range(5))
    assert slot.numbers(one) == [0, 1, 2, 3, 4]
    fill(log, range(5, 60))
    assert slot.numbers(one) == list(range(5, 60))
    assert not one.behind
    one.close()
    log.close()


def test_every_process_begins_a_generation_and_none_is_lost(slot: Slot) -> None:
    for start in range(0, 30, 10):
        log = slot.open()
        fill(log, range(start, start + 10))
        log.close()
    assert slot.numbers() == list(range(30))


def test_generations_never_repeat_even_in_a_slot_made_anew(slot: Slot) -> None:
    log = slot.open()
    first = append(log, 1, payload(1))
    log.close()
    log = slot.open()
    second = append(log, 1, payload(1))
    log.close()
    assert second.generation > first.generation > 200_000_000


def test_segments_are_used_again_only_behind_what_is_durable(slot: Slot) -> None:
    log = slot.open()
    one = slot.reader()
    sent = 0
    with contextlib.suppress(errors.StorageFull):
        while sent < 1000:
            append(log, sent, payload(sent))
            sent += 1
    assert 100 < sent < 1000
    assert slot.numbers(one) == list(range(sent))
    # Adopted is not durable: there is still no room.
    one.publish_adopted(one.place)
    with pytest.raises(errors.StorageFull, match="adopter"):
        append(log, sent, payload(sent))
    one.publish_synced(one.place)
    fill(log, range(sent, sent + sent // 2))
    one.close()
    log.close()


def test_a_full_ring_lets_its_writers_wait_for_room(slot: Slot) -> None:
    log = slot.open(patience=20.0)
    one = slot.reader()
    done = threading.Event()

    def write() -> None:
        fill(log, range(300))
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    found: list[int] = []
    while not done.is_set() or len(found) < 300:
        found += slot.numbers(one)
        one.publish_synced(one.place)
    writer.join()
    assert found == list(range(300))
    one.close()
    log.close()


def test_eight_writers_at_once(slot: Slot) -> None:
    log = slot.open(size=16 << 20, segment=4 << 20)
    groups: list[int] = []
    log._synced = lambda count, _seconds: groups.append(count)
    threads = [
        threading.Thread(target=fill, args=(log, range(start, start + 40))) for start in range(0, 320, 40)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = slot.numbers()
    assert sorted(found) == list(range(320))
    for start in range(0, 320, 40):
        mine = [number for number in found if start <= number < start + 40]
        assert mine == sorted(mine)  # one writer's records stay in order
    assert sum(groups) == 320
    log.close()


@pytest.mark.parametrize("tail", [b"", b"\xff" * 4096, b"DNJ1" + b"\x01" * 5000])
def test_garbage_behind_the_last_record_is_no_record(slot: Slot, tail: bytes) -> None:
    log = slot.open()
    fill(log, range(5))
    end = log._position.get(position.WRITTEN) & 0xFFFFFFFF
    log.close()
    with open(slot.active(), "r+b") as file:
        file.seek(end)
        file.write(tail)
    assert slot.numbers() == [0, 1, 2, 3, 4]


def test_a_torn_record_ends_the_journal(slot: Slot) -> None:
    log = slot.open()
    fill(log, range(4))
    place = append(log, 4, payload(4))
    log.close()
    with open(slot.active(), "r+b") as file:
        file.seek(place.offset + 300)
        file.write(bytes(40))
    assert slot.numbers() == [0, 1, 2, 3]


def test_damage_in_the_middle_is_told_and_does_not_take_the_rest(slot: Slot) -> None:
    log = slot.open()
    fill(log, range(2))
    header, body = append(log, 2, payload(2)), append(log, 3, payload(3))
    fill(log, range(4, 6))
    log.close()
    with open(slot.active(), "r+b") as file:
        file.seek(header.offset + 8)
        file.write(b"\xff")
        file.seek(body.offset + 300)
        file.write(b"\xff")
    assert slot.numbers() == [0, 1, 4, 5]
    assert [at for at, _ in slot.damage] == [header.offset, body.offset]


def test_the_position_file_is_not_needed(slot: Slot) -> None:
    log = slot.open()
    fill(log, range(40))
    log.close()
    (slot.data.slot("listen-1") / "position").unlink()
    assert slot.numbers() == list(range(40))


def test_records_that_were_synced_and_never_published_are_found(slot: Slot) -> None:
    log = slot.open()
    fill(log, range(3))
    published = log._position.get(position.WRITTEN)
    fill(log, range(3, 6))
    log._position.set(position.WRITTEN, published)  # as if it had died before saying so
    log.close()
    one = slot.reader()
    log = slot.open()
    fill(log, range(6, 8))
    assert slot.numbers(one) == list(range(8))
    one.close()
    log.close()


def test_one_process_has_a_slot(slot: Slot) -> None:
    log = slot.open()
    with pytest.raises(errors.UsageError, match=str(os.getpid())):
        slot.open()
    log.close()
    slot.open().close()


def test_a_slot_name_from_outside_is_refused(slot: Slot) -> None:
    for name in ("", "../x", "a/b", "A", "x" * 40):
        with pytest.raises(errors.UsageError):
            slot.data.slot(name)


def test_a_changed_size_leaves_nothing_behind(slot: Slot) -> None:
    log = slot.open()
    fill(log, range(10))
    log.close()
    log = slot.open(size=2 << 20, segment=256 << 10)
    one = slot.reader()
    assert slot.numbers(one) == list(range(10))
    fill(log, range(10, 20))
    assert slot.numbers(one) == list(range(10, 20))
    one.publish_synced(one.place)
    log._ring.remove_abandoned()
    log.close()
    assert {path.stat().st_size for path in slot.segments()} == {256 << 10}
    one.close()


def test_the_barrier_waits_for_what_was_acknowledged(slot: Slot) -> None:
    assert journal.barrier(slot.data, 0.0)
    log = slot.open()
    assert journal.barrier(slot.data, 0.0)  # announced, nothing written
    append(log, 0, payload(0))
    assert not journal.barrier(slot.data, 0.01)
    one = slot.reader()
    slot.numbers(one)
    threading.Timer(0.05, lambda: one.publish_adopted(one.place)).start()
    assert journal.barrier(slot.data, 10.0)
    one.close()
    log.close()


def test_a_short_lived_process_takes_a_free_slot(slot: Slot) -> None:
    first = journal.claim(slot.data, "import", size=1 << 20, segment=128 << 10)
    second = journal.claim(slot.data, "import", size=1 << 20, segment=128 << 10)
    assert (first.slot, second.slot) == ("import", "import-2")
    first.close()
    second.close()


def test_the_whole_ring_is_made_once_the_start_is_over(slot: Slot, monkeypatch: pytest.MonkeyPatch) -> None:
    log = slot.open(whole=False)
    assert len(slot.segments()) == 2
    log.close()
    monkeypatch.setattr(segments, "_SETTLED", 0.01)
    log = slot.open()
    until = time.monotonic() + 20
    while len(slot.segments()) < 8 and time.monotonic() < until:
        time.sleep(0.01)
    assert len(slot.segments()) == 8
    log.close()
