"""The journal's reading side: records in the order they were acknowledged, for the adopter alone."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import pathlib
from collections.abc import Callable

from node import model
from node.files import layout, position, segments
from node.files import record as form

_MASK = 0xFFFFFFFF
_FIRST_WINDOW = 1 << 20  # bytes read at once; grows with the records

# Told of a place in a slot where a record does not verify: slot, generation, offset, why.
Damaged = Callable[[str, int, int, str], None]


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """One acknowledged instance."""

    arrival: model.Arrival  # who, what, when, from where
    generation: int  # which use of a segment
    offset: int  # where in it
    payload: memoryview | None  # the data set; None: it lies in the spool file
    spooled: str  # the spool file's name, "" when the payload is here
    note: str  # what receive found and put right


class Reader:
    """Goes through one slot's records from where they were last known to be durable elsewhere.

    Payloads are views into the buffer handed to `read`: they are good until the next `read`.
    """

    def __init__(self, data: layout.Data, slot: str, damaged: Damaged) -> None:
        self.slot = slot
        self._directory = data.slot(slot)
        self._damaged = damaged
        self._position = position.Position(self._directory / "position")
        # Without a writer nobody will say how far the journal goes: then it goes as far as records verify.
        self._unowned = not layout.held(self._directory / "lock")
        self._fd = -1
        self._size = 0
        self._generation = 0
        self._offset = 0
        self._trusted = 0  # records that end here or before were published by a writer that lives
        self._window = _FIRST_WINDOW
        # What earlier processes wrote may have been through a power loss: each of its records is verified.
        written = self._position.get(position.WRITTEN) >> 32
        self._proven = written + 1 if self._unowned else written
        self.rewind()

    @property
    def place(self) -> int:
        """Behind the last record that was read."""
        return position.pack(self._generation, self._offset)

    @property
    def behind(self) -> bool:
        """Whether more was published than read."""
        return self.place < self._position.get(position.WRITTEN)

    @property
    def unsynced(self) -> bool:
        """Whether something was read that is not known to be durable elsewhere."""
        return self.place > self._position.get(position.SYNCED)

    @property
    def waiting(self) -> int:
        """Bytes between what was adopted and what was written, within one generation at least."""
        written = self._position.get(position.WRITTEN)
        if written >> 32 == self._generation:
            return max(0, (written & _MASK) - self._offset)
        return (written & _MASK) + max(0, self._size - self._offset)

    def rewind(self, place: int | None = None) -> None:
        """Begin again at a place that was read before; None: behind what is durable."""
        if place is None:
            place = self._position.get(position.SYNCED)
        self._move(place >> 32, place & _MASK)

    def publish_adopted(self, place: int) -> None:
        """Say that everything before a place is filed and found."""
        self._position.set(position.ADOPTED, place)

    def publish_synced(self, place: int) -> None:
        """Say that everything before a place is durable in the tree and the index: its segments are free."""
        self._position.set(position.SYNCED, place)

    def asleep(self, yes: bool) -> None:
        """Ask the writer to wake us, or not to."""
        self._position.set(position.ASLEEP, int(yes))

    def close(self) -> None:
        """Let go of the files."""
        self._move(0, 0)
        self._position.close()

    def read(self, buffer: bytearray, most: int) -> list[Record]:
        """The next records, at most so many and as the buffer holds; empty when there are none yet."""
        while True:
            written = self._position.get(position.WRITTEN)
            at_head = self._generation == written >> 32 and not self._unowned
            if self._fd >= 0 or self._open(written):
                limit = written & _MASK if at_head else self._size
                if self._generation >= self._proven:
                    self._trusted = limit if at_head else self._position.end(self._generation)
                found = self._take(buffer, limit, most)
                if found:
                    return found
            if at_head:
                return []
            following = self._following(written)
            if following is None:
                return []
            self._move(following, 0)

    # -- segments -------------------------------------------------------------------------------

    def _move(self, generation: int, offset: int) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        self._generation, self._offset, self._trusted = generation, offset, 0

    def _open(self, written: int) -> bool:
        if self._generation == 0 or written == position.pack(self._generation, 0):
            return False
        for path in segments.files(self._directory):
            if form.first_generation(path) == self._generation:
                self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                self._size = os.fstat(self._fd).st_size
                return True
        return False

    def _following(self, written: int) -> int | None:
        """The next generation that has records, or that the writer is about to write."""
        present = [form.first_generation(path) for path in segments.files(self._directory)]
        newest = written >> 32
        later = [g for g in present if g > self._generation and (g <= newest or self._unowned)]
        if newest > self._generation:
            later.append(newest)
        return min(later, default=None)

    # -- records --------------------------------------------------------------------------------

    def _take(self, buffer: bytearray, limit: int, most: int) -> list[Record]:
        found: list[Record] = []
        while not found and self._offset < limit:
            want = min(limit - self._offset, len(buffer), self._window)
            with memoryview(buffer)[:want] as window:
                got = os.preadv(self._fd, [window], self._offset)
            if got <= 0:
                break
            view = memoryview(buffer)[:got].toreadonly()
            at = self._parse(view, found, most)
            if len(found) < most and want == self._window < len(buffer):
                self._window *= 2  # the records are larger than was thought
                if at == 0:
                    continue
            elif at < want // 4:
                self._window = max(_FIRST_WINDOW, self._window // 2)
            if at == 0:
                if limit > self._trusted or got < limit - self._offset:
                    break  # not even one whole record stands here
                self._report(0, "published records cannot be read, none behind them either")
                at = got
            self._offset += at
        return found

    def _parse(self, view: memoryview, found: list[Record], most: int) -> int:
        """Add the window's records; return how far it was used."""
        at = 0
        header = form.HEADER
        while len(found) < most and at + header.size <= len(view):
            sound = self._header(view, at)
            if sound is None:
                gap = self._gap(view, at)
                if gap is None:
                    return at
                self._report(at, "a record's header does not verify")
                at = gap
                continue
            meta_length, payload_length, digest = sound
            begin = at + header.size + meta_length
            end = begin + payload_length
            after = at + form.length(meta_length, payload_length)
            if end > len(view):
                return at
            payload = view[begin:end]
            if self._offset + after > self._trusted and not _verifies(payload, digest):
                self._report(at, "a record's bytes do not verify")
                at = after
                continue
            record = self._record(view[at + header.size : begin], digest, payload, at)
            if record is not None:
                found.append(record)
            at = after
        return at

    def _header(self, view: memoryview, at: int) -> tuple[int, int, bytes] | None:
        if at + form.HEADER.size > len(view):
            return None
        magic, version, meta_length, generation, offset, payload_length, stored, digest = (
            form.HEADER.unpack_from(view, at)
        )
        if (
            magic != form.MAGIC
            or version != form.VERSION
            or generation != self._generation
            or offset != self._offset + at
        ):
            return None
        begin = at + form.HEADER.size
        raw = view[begin : begin + meta_length]
        if len(raw) < meta_length:
            return meta_length, payload_length, digest  # cut by the window; it is read again from its start
        if form.crc(view[at:begin], raw) != stored:
            return None
        return meta_length, payload_length, digest

    def _gap(self, view: memoryview, at: int) -> int | None:
        """The next place of this window with a sound header, for what a damaged block took with it."""
        for next_at in range(at + form.ALIGN, len(view), form.ALIGN):
            if view[next_at : next_at + 4] == form.MAGIC and self._header(view, next_at) is not None:
                return next_at
        return None

    def _record(self, raw: memoryview, digest: bytes, payload: memoryview, at: int) -> Record | None:
        try:
            arrival, spooled, note = form.parse_meta(bytes(raw), digest)
        except (ValueError, TypeError, IndexError) as error:
            self._report(at, f"a record's facts cannot be read: {error}")
            return None
        return Record(
            arrival, self._generation, self._offset + at, None if spooled else payload, spooled, note
        )

    def _report(self, at: int, why: str) -> None:
        self._damaged(self.slot, self._generation, self._offset + at, why)


def _verifies(payload: memoryview, digest: bytes) -> bool:
    """Whether these are the bytes; those of a record without any were synced in the spool before it."""
    return not payload or hashlib.sha256(payload, usedforsecurity=False).digest() == digest


def spooled_names(data: layout.Data, slot: str) -> set[str]:
    """Spool files that the slot's records still name: a sweep must leave them."""
    named: set[str] = set()
    directory = data.slot(slot)
    if not (directory / "position").exists():
        return named
    reader = Reader(data, slot, lambda *_: None)
    try:
        buffer = bytearray(4 * form.MAX_RECORD)
        while records := reader.read(buffer, 4096):
            named.update(record.spooled for record in records if record.spooled)
    finally:
        reader.close()
    return named


def paths(data: layout.Data) -> list[pathlib.Path]:
    """The slots' directories that a reader can be made for."""
    return [data.slot(slot) for slot in data.slots() if (data.slot(slot) / "position").exists()]
