"""The journal: acknowledged bytes, appended to preallocated segments, one sync for all who wait.

A slot is one process's ring of segment files. The process appends (`Journal`); the adopter reads
(`node.files.reader`). What they tell each other stands in a small mapped file (`Position`).
A place in a slot is a generation (one use of one segment) and an offset in it; places only grow.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json
import mmap
import os
import pathlib
import stat
import struct
import threading
import time
import zlib
from collections.abc import Callable

from node import errors, failpoints, model
from node.files import disk as disks
from node.files import layout

SEGMENT = 32 << 20  # bytes of one segment
ALIGN = 4096  # records begin here, so that no acknowledged block is ever written again
MAX_RECORD = 4 << 20  # longer ones are torn length fields
_BATCH_BYTES = 8 << 20
_BATCH_RECORDS = 256  # three buffers each: below the kernel's 1,024 for one call
_AHEAD = 2  # segments that lie ready to be written
_EPOCH = 1577836800  # 2020: generations count seconds from here, so that a slot made anew repeats none

# magic, version, meta length, generation, offset, payload length, CRC, digest
HEADER = struct.Struct("<4sHHIIII32s")
MAGIC = b"DNJ1"
VERSION = 1
_CRC_AT = 20
_ZEROS = bytes(ALIGN)
_encode = json.JSONEncoder(ensure_ascii=True, separators=(",", ":")).encode


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """Where a record begins."""

    generation: int  # which use of which segment
    offset: int  # bytes from the segment's beginning


class Position:
    """How far a slot was written, adopted and synced, in a mapped file; each word has one writer."""

    WRITTEN, ADOPTED, SYNCED, ASLEEP = 1, 2, 3, 4
    _ENDS, _GENERATIONS = 64, 256  # where the newest generations were published to, by their number

    def __init__(self, path: pathlib.Path) -> None:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            if os.fstat(fd).st_size < 4096:
                os.ftruncate(fd, 4096)
                os.fsync(fd)
            self._map = mmap.mmap(fd, 4096)
        finally:
            os.close(fd)
        # A cast view stores eight aligned bytes at once, so a reader never sees half of a number.
        self._words = memoryview(self._map).cast("Q")

    def get(self, word: int) -> int:
        return self._words[word]

    def set(self, word: int, value: int) -> None:
        self._words[word] = value

    def publish(self, generation: int, offset: int) -> None:
        """Say that everything before this place survives a power loss."""
        self._words[self._ENDS + generation % self._GENERATIONS] = self._words[self.WRITTEN] = pack(
            generation, offset
        )

    def end(self, generation: int) -> int:
        """How far a generation was published, 0 when that is not known any more."""
        word = self._words[self._ENDS + generation % self._GENERATIONS]
        return word & 0xFFFFFFFF if word >> 32 == generation else 0

    def close(self) -> None:
        self._words.release()
        self._map.close()


def pack(generation: int, offset: int) -> int:
    """A place as one number that grows as the journal does."""
    return generation << 32 | offset


def meta(arrival: model.Arrival, spooled: str, note: str) -> bytes:
    """The receipt facts of a record; `spooled` names the file with the bytes, "" when the record has them."""
    identity = arrival.identity
    return _encode(
        (
            identity.sop_class,
            identity.sop_instance,
            identity.study,
            identity.series,
            arrival.syntax,
            arrival.size,
            arrival.calling,
            arrival.called,
            arrival.address,
            arrival.peer,
            arrival.association,
            arrival.received.isoformat(timespec="microseconds"),
            spooled,
            note,
        )
    ).encode("ascii")


def parse_meta(raw: bytes, digest: bytes) -> tuple[model.Arrival, str, str]:
    """The arrival, the spool file's name and the note that `meta` wrote."""
    fields = json.loads(raw)
    identity = model.Identity(*fields[:4])
    received = datetime.datetime.fromisoformat(fields[11])
    calling, called, address, peer, association = fields[6:11]
    arrival = model.Arrival(
        identity,
        fields[4],
        "sha256:" + digest.hex(),
        fields[5],
        calling,
        called,
        address,
        peer,
        association,
        received,
    )
    return arrival, fields[12], fields[13]


def crc(header: bytes | bytearray | memoryview, raw_meta: bytes | memoryview) -> int:
    """The checksum over a header, its own field left out, and the meta behind it."""
    return zlib.crc32(raw_meta, zlib.crc32(header[_CRC_AT + 4 :], zlib.crc32(header[:_CRC_AT])))


def length(meta_length: int, payload_length: int) -> int:
    """Bytes that a record takes, its padding included."""
    return -(-(HEADER.size + meta_length + payload_length) // ALIGN) * ALIGN


class _Waiting:
    """One record on its way to the disk, and the thread that waits for it."""

    __slots__ = ("digest", "done", "error", "lead", "meta", "payload", "place", "size", "turn")

    def __init__(self, raw_meta: bytes, digest: bytes, payload: disks.Buffer) -> None:
        self.meta = raw_meta
        self.digest = digest
        self.payload = payload
        self.size = length(len(raw_meta), len(payload))
        self.turn: threading.Lock | None = None  # made and taken only when there is somebody to wait for
        self.lead = False
        self.done = False
        self.place: Place | None = None
        self.error: errors.NodeError | None = None


@dataclasses.dataclass(slots=True)
class _Segment:
    """One segment file; only the leader touches the active one."""

    path: pathlib.Path
    fd: int
    generation: int  # of its last use, 0 when it was never written
    end: int = 0  # where the next record goes
    abandoned: bool = False  # a sync failed: never written or synced again


class Journal:
    """The writing side of one slot. `append` may be called by many threads at once."""

    def __init__(
        self,
        data: layout.Data,
        slot: str,
        *,
        size: int = 256 << 20,
        segment: int = SEGMENT,
        patience: float = 20.0,
        disk: disks.Disk | None = None,
        degraded: Callable[[str], None] | None = None,
        synced: Callable[[int, float], None] | None = None,
    ) -> None:
        """Take the slot; `degraded` is told why a segment was given up, `synced` of each group's commit."""
        self.slot = slot
        self.patience = patience  # seconds that an append waits for room
        self._data = data
        self._disk = disk or disks.Disk()
        self._degraded = degraded
        self._synced = synced
        self._size = min(segment, max(size // 3, ALIGN * 4))
        self._most = max(3, size // self._size)
        self._directory = data.slot(slot)
        try:
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o750)
            disks.sync_directory(self._disk, data.journal)
        except OSError as error:
            raise disks.failure(error, f"making {self._directory}") from error
        self._owner = layout.Lock(self._directory / "lock", f"the journal slot {slot!r}")
        self._lock = threading.Lock()
        self._segments_lock = threading.Lock()
        self._short = threading.Event()
        self._queue: list[_Waiting] = []
        self._leading = False
        self._closed = False
        self._active: _Segment | None = None
        self._wake = open_fifo(data.wake)
        self._position = Position(self._directory / "position")
        self._segments = self._find()
        self._next = 1 + max(
            (s.generation for s in self._segments), default=self._position.get(Position.SYNCED) >> 32
        )
        self._next = max(
            self._next,
            (self._position.get(Position.WRITTEN) >> 32) + 1,
            (self._position.get(Position.SYNCED) >> 32) + 1,
            int(time.time()) - _EPOCH,
        )
        try:
            while len(self._ready()) < _AHEAD and len(self._live()) < self._most:
                self._make()
        except errors.NodeError:
            if not self._segments:
                self._release()
                raise
        # From here on everything of earlier processes is complete, and the reader may go to its ends.
        self._position.publish(self._next, 0)
        self.poke()
        self._maker = threading.Thread(target=self._make_ahead, name=f"journal-{slot}", daemon=True)
        self._maker.start()

    # -- appending ------------------------------------------------------------------------------

    def append(self, raw_meta: bytes, digest: bytes, payload: disks.Buffer) -> Place:
        """Return once the record survives a power loss; StorageFull or StorageFailed otherwise."""
        one = _Waiting(raw_meta, digest, payload)
        if one.size > min(MAX_RECORD, self._size):
            raise errors.StorageFull(f"a record of {one.size} bytes is larger than the journal takes")
        with self._lock:
            if self._closed:
                raise errors.StorageFailed("the journal is closed")
            self._queue.append(one)
            if self._leading:
                one.turn = threading.Lock()
                one.turn.acquire()
            else:
                self._leading = one.lead = True
        if one.turn is not None:
            one.turn.acquire()  # until the leader has synced this record, or hands the lead over
        if one.lead:
            self._lead()
        if one.error is not None:
            # Each waiter raises its own: one exception raised by several threads mixes their tracebacks.
            raise type(one.error)(str(one.error))
        assert one.place is not None
        return one.place

    def _lead(self) -> None:
        with self._lock:
            batch = self._take_batch()
        try:
            self._commit(batch)
        except errors.NodeError as error:
            for one in batch:
                one.error = error
        except BaseException:
            for one in batch:
                one.error = errors.StorageFailed("the journal's writer was interrupted")
            raise
        finally:
            with self._lock:
                if self._queue:
                    self._queue[0].lead = True
                    follower = self._queue[0].turn
                else:
                    self._leading = False
                    follower = None
            # The next leader first: its write can begin while these answer their peers.
            if follower is not None:
                follower.release()
            for one in batch:
                one.done = True
                if one.turn is not None and not one.lead:
                    one.turn.release()

    def _take_batch(self) -> list[_Waiting]:
        queue = self._queue
        if len(queue) == 1:
            self._queue = []
            return queue
        size = count = 0
        for one in queue:
            if count and (size + one.size > min(_BATCH_BYTES, self._size) or count == _BATCH_RECORDS):
                break
            size += one.size
            count += 1
        self._queue = queue[count:]
        return queue[:count]

    def _commit(self, batch: list[_Waiting]) -> None:
        began = time.perf_counter()
        total = sum(one.size for one in batch)
        segment = self._room_for(total)
        generation, offset = segment.generation, segment.end
        buffers: list[disks.Buffer] = []
        for one in batch:
            buffers += _framed(one, generation, offset)
            one.place = Place(generation, offset)
            offset += one.size
        failpoints.hit("journal.before-write")
        try:
            self._disk.write(segment.fd, buffers, segment.end)
        except OSError as error:
            failed = disks.failure(error, f"writing {segment.path}")
            if isinstance(failed, errors.StorageFailed):
                self._abandon(segment, str(failed))
            raise failed from error
        failpoints.hit("journal.before-sync")
        try:
            self._disk.sync_data(segment.fd)
        except OSError as error:
            failed = disks.failure(error, f"syncing {segment.path}")
            self._abandon(segment, str(failed))
            raise failed from error
        failpoints.hit("journal.after-sync")
        segment.end = offset
        self._position.publish(generation, offset)
        if self._position.get(Position.ASLEEP):
            self.poke()
        failpoints.hit("journal.after-publish")
        if self._synced is not None:
            self._synced(len(batch), time.perf_counter() - began)

    def _room_for(self, total: int) -> _Segment:
        segment = self._active
        if segment is not None and segment.end + total <= self._size:
            return segment
        deadline = time.monotonic() + self.patience
        while True:
            with self._segments_lock:
                ready = self._ready()
                if ready:
                    # The longest unused first; the one before stays readable as long as it can.
                    segment = min(ready, key=lambda s: s.generation)
                    segment.generation = self._next
                    segment.end = 0
                    self._next += 1
                    self._active = segment
            if ready:
                if len(ready) <= _AHEAD:
                    self._short.set()
                assert segment is not None
                return segment
            self._short.set()
            self.poke()
            if time.monotonic() >= deadline:
                raise errors.StorageFull(
                    f"the journal {self._directory} is full: {self._most} segments wait to be filed; "
                    "see whether the adopter runs and the disk and the database answer"
                )
            time.sleep(0.005)

    def _abandon(self, segment: _Segment, why: str) -> None:
        """Never write or sync this file again: the kernel may have dropped what it could not write."""
        segment.abandoned = True
        self._active = None
        for marker in (segment.path.with_suffix(".abandoned"), self._data.degraded):
            with contextlib.suppress(OSError), open(marker, "a", encoding="utf-8") as file:
                file.write(f"{datetime.datetime.now(datetime.UTC).isoformat()} {why}\n")
        self._short.set()
        if self._degraded is not None:
            self._degraded(why)

    def poke(self) -> None:
        """Wake the adopter."""
        # A full pipe has woken it already; one without a reader starts by looking.
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            os.write(self._wake, b"w")

    # -- segments -------------------------------------------------------------------------------

    def _find(self) -> list[_Segment]:
        found = []
        for unfinished in self._directory.glob("*.new"):
            unfinished.unlink(missing_ok=True)
        for path in segment_files(self._directory):
            if path.with_suffix(".abandoned").exists():
                found.append(_Segment(path, -1, first_generation(path), abandoned=True))
            elif path.stat().st_size != self._size:
                # Made under another setting: it is read to its end, and goes once it was adopted.
                found.append(_Segment(path, -1, first_generation(path), abandoned=True))
            else:
                fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
                found.append(_Segment(path, fd, first_generation(path)))
        return found

    def _live(self) -> list[_Segment]:
        return [s for s in self._segments if not s.abandoned]

    def _ready(self) -> list[_Segment]:
        """Segments whose records have all been synced elsewhere."""
        floor = self._position.get(Position.SYNCED) >> 32
        return [
            s
            for s in self._segments
            if s is not self._active and not s.abandoned and (s.generation == 0 or s.generation < floor)
        ]

    def _make(self) -> None:
        """Write a segment of zeros: overwriting it later changes no metadata, so its sync is one write."""
        number = 1 + max((int(s.path.stem) for s in self._segments), default=0)
        path = self._directory / f"{number:06d}.segment"
        fresh = path.with_suffix(".new")
        fd = -1
        try:
            fd = self._disk.create(fresh)
            zeros = bytes(1 << 20)
            for at in range(0, self._size, len(zeros)):
                self._disk.write(fd, (zeros[: self._size - at],), at)
            self._disk.sync(fd)
            self._disk.rename(fresh, path)
            disks.sync_directory(self._disk, self._directory)
        except OSError as error:
            if fd >= 0:
                os.close(fd)
            with contextlib.suppress(OSError):
                fresh.unlink()
            raise disks.failure(error, f"making {path}") from error
        with self._segments_lock:
            self._segments.append(_Segment(path, fd, 0))

    def _make_ahead(self) -> None:
        """Keep segments ready while others are being written."""
        while True:
            self._short.wait()
            self._short.clear()
            if self._closed:
                return
            self._remove_abandoned()
            while len(self._ready()) < _AHEAD and len(self._live()) < self._most and not self._closed:
                try:
                    self._make()
                except errors.NodeError as error:
                    # The ring goes on with what it has; who finds no room is told so.
                    if self._degraded is not None:
                        self._degraded(str(error))
                    break

    def _remove_abandoned(self) -> None:
        floor = self._position.get(Position.SYNCED) >> 32
        with self._segments_lock:
            gone = [s for s in self._segments if s.abandoned and s.generation < floor]
            self._segments = [s for s in self._segments if s not in gone]
        for segment in gone:
            if segment.fd >= 0:
                os.close(segment.fd)
            for path in (segment.path, segment.path.with_suffix(".abandoned")):
                with contextlib.suppress(OSError):
                    path.unlink()

    # -- the end --------------------------------------------------------------------------------

    @property
    def lag(self) -> int:
        """Records' bytes between what was written and what was adopted, as near as places tell."""
        written, adopted = self._position.get(Position.WRITTEN), self._position.get(Position.ADOPTED)
        if written <= adopted:
            return 0
        generations = (written >> 32) - (adopted >> 32)
        return min(generations, self._most) * self._size + (written & 0xFFFFFFFF) - (adopted & 0xFFFFFFFF)

    def close(self) -> None:
        """Let the slot go; what was acknowledged stays in it until it is adopted."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._short.set()
        self._maker.join()
        self._release()

    def _release(self) -> None:
        for segment in self._segments:
            if segment.fd >= 0:
                os.close(segment.fd)
        self._position.close()
        os.close(self._wake)
        self._owner.release()


def _framed(one: _Waiting, generation: int, offset: int) -> list[disks.Buffer]:
    header = bytearray(
        HEADER.pack(MAGIC, VERSION, len(one.meta), generation, offset, len(one.payload), 0, one.digest)
    )
    header[_CRC_AT : _CRC_AT + 4] = crc(header, one.meta).to_bytes(4, "little")
    header += one.meta
    padding = one.size - len(header) - len(one.payload)
    return [header, one.payload, _ZEROS[:padding]]


def segment_files(directory: pathlib.Path) -> list[pathlib.Path]:
    """The slot's segments, by number."""
    return sorted(p for p in directory.glob("*.segment") if p.stem.isdigit())


def first_generation(path: pathlib.Path) -> int:
    """The generation of a segment's first record, 0 when it holds none."""
    try:
        with open(path, "rb", buffering=0) as file:
            start = file.read(ALIGN)
    except OSError:
        return 0
    if len(start) < HEADER.size:
        return 0
    magic, version, meta_length, generation, offset, _, stored, _ = HEADER.unpack_from(start)
    end = HEADER.size + meta_length
    if magic != MAGIC or version != VERSION or offset != 0 or end > len(start):
        return 0
    sound = crc(start[: HEADER.size], start[HEADER.size : end]) == stored
    return generation if sound else 0


def claim(data: layout.Data, prefix: str, *, size: int, segment: int = SEGMENT, tries: int = 8) -> Journal:
    """The first free slot among `prefix`, `prefix-2`, ...: for a short-lived process beside the node."""
    for number in range(1, tries + 1):
        slot = prefix if number == 1 else f"{prefix}-{number}"
        if not layout.held(data.slot(slot) / "lock"):
            with contextlib.suppress(errors.UsageError):
                return Journal(data, slot, size=size, segment=segment)
    raise errors.UsageError(
        f"{tries} processes already use the journal slots {prefix!r}; wait for one to end"
    )


def lag(data: layout.Data, slot: str, *, segment: int = SEGMENT) -> int:
    """Bytes of a slot between what was written and what was adopted, as near as places tell."""
    path = data.slot(slot) / "position"
    if not path.exists():
        return 0
    position = Position(path)
    try:
        written, adopted = position.get(Position.WRITTEN), position.get(Position.ADOPTED)
    finally:
        position.close()
    if written <= adopted or not written & 0xFFFFFFFF:
        return 0
    # Generations count from the clock where a slot was made anew: no more than one segment is known then.
    generations = min((written >> 32) - (adopted >> 32), 1)
    return generations * segment + (written & 0xFFFFFFFF) - (adopted & 0xFFFFFFFF)


def backlog(data: layout.Data) -> int:
    """Bytes that were acknowledged and are not adopted yet, over all slots, as near as places tell."""
    total = 0
    for name in data.slots():
        directory = data.slot(name)
        with contextlib.suppress(OSError, ValueError):
            position = Position(directory / "position")
            written, adopted = position.get(Position.WRITTEN), position.get(Position.ADOPTED)
            position.close()
            if written > adopted:
                segments = min((written >> 32) - (adopted >> 32), len(segment_files(directory)))
                total += segments * SEGMENT + (written & 0xFFFFFFFF) - (adopted & 0xFFFFFFFF)
    return max(0, total)


def places(data: layout.Data) -> dict[str, tuple[int, int]]:
    """How far each slot was written and adopted, as numbers that only grow."""
    found = {}
    for name in data.slots():
        path = data.slot(name) / "position"
        if path.exists():
            position = Position(path)
            try:
                found[name] = position.get(Position.WRITTEN), position.get(Position.ADOPTED)
            finally:
                position.close()
    return found


def barrier(data: layout.Data, timeout: float) -> bool:
    """Wait until what any process acknowledged before now has been adopted; False when time ran out."""
    waiting: list[tuple[Position, int]] = []
    try:
        for slot in data.slots():
            path = data.slot(slot) / "position"
            if path.exists():
                position = Position(path)
                waiting.append((position, position.get(Position.WRITTEN)))
        return _adopted(data, waiting, timeout)
    finally:
        for position, _ in waiting:
            position.close()


def _adopted(data: layout.Data, waiting: list[tuple[Position, int]], timeout: float) -> bool:
    def behind() -> bool:
        # A place at offset 0 was announced, not written: nothing stands there to wait for.
        return any(p.get(Position.ADOPTED) < written for p, written in waiting if written & 0xFFFFFFFF)

    if not behind():
        return True
    fifo = open_fifo(data.wake)
    try:
        deadline = time.monotonic() + timeout
        pause = 0.0005
        while behind():
            if time.monotonic() >= deadline:
                return False
            with contextlib.suppress(BlockingIOError):
                os.write(fifo, b"!")
            time.sleep(pause)
            pause = min(pause * 1.5, 0.01)
        return True
    finally:
        os.close(fifo)


def open_fifo(path: pathlib.Path) -> int:
    """The FIFO, open both ways, so that opening and writing need no reader to be there."""
    with contextlib.suppress(FileExistsError):
        os.mkfifo(path, 0o640)
    fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISFIFO(os.fstat(fd).st_mode):
        os.close(fd)
        raise errors.ConfigError(f"{path} is no FIFO; remove it")
    return fd
