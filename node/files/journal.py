"""The journal: acknowledged bytes, appended to preallocated segments, one sync for all who wait.

A slot is one process's ring of segment files. The process appends (`Journal`); the adopter reads
(`node.files.reader`). What they tell each other stands in a small mapped file (`node.files.position`).
A place in a slot is a generation (one use of one segment) and an offset in it; places only grow.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable

from node import errors, failpoints
from node.files import disk as disks
from node.files import filed, layout, position, record, segments

SEGMENT = 32 << 20  # bytes of one segment
_BATCH_BYTES = 8 << 20
_BATCH_RECORDS = 256  # three buffers each: below the kernel's 1,024 for one call
_EPOCH = 1577836800  # 2020: generations count seconds from here, so that a slot made anew repeats none
_MASK = 0xFFFFFFFF


class _Waiting:
    """One record on its way to the disk, and the thread that waits for it."""

    __slots__ = ("digest", "error", "lead", "meta", "payload", "place", "size", "turn")

    def __init__(self, raw_meta: bytes, digest: bytes, payload: disks.Buffer) -> None:
        self.meta = raw_meta
        self.digest = digest
        self.payload = payload
        self.size = record.length(len(raw_meta), len(payload))
        self.turn: threading.Lock | None = None  # made and taken only when there is somebody to wait for
        self.lead = False
        self.place: record.Place | None = None
        self.error: errors.NodeError | None = None


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
        whole: bool = True,
        disk: disks.Disk | None = None,
        degraded: Callable[[str], None] | None = None,
        synced: Callable[[int, float], None] | None = None,
    ) -> None:
        """Take the slot; `degraded` is told why a segment was given up, `synced` of each group's commit.

        A process that soon ends needs no `whole` ring: it is made as it is needed.
        """
        self.slot = slot
        self.patience = patience  # seconds that an append waits for room
        self._data = data
        self._disk = disk or disks.Disk()
        self._degraded = degraded
        self._synced = synced
        size_each = min(segment, max(size // 3, record.ALIGN * 4))
        directory = data.slot(slot)
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o750)
            disks.sync_directory(self._disk, data.journal)
        except OSError as error:
            raise disks.failure(error, f"making {directory}") from error
        self._owner = layout.Lock(directory / "lock", f"the journal slot {slot!r}")
        self._lock = threading.Lock()
        self._queue: list[_Waiting] = []
        self._leading = False
        self._closed = False
        self._wake = position.open_fifo(data.wake)
        self._position = position.Position(directory / "position")
        try:
            most = max(3, size // size_each)
            self._ring = segments.Ring(directory, size_each, most, self._floor, self._disk, self._tell, whole)
        except errors.NodeError:
            self._release()
            raise
        self._next = max(
            self._ring.newest + 1,
            (self._position.get(position.WRITTEN) >> 32) + 1,
            (self._position.get(position.SYNCED) >> 32) + 1,
            int(time.time()) - _EPOCH,
        )
        # From here on everything of earlier processes is complete, and the reader may go to its ends.
        self._position.publish(self._next, 0)
        self._position.set(position.ENDED, self._position.get(position.WRITTEN))
        self.poke()

    def _floor(self) -> int:
        """Generations below this are durable in the tree and the index."""
        return self._position.get(position.SYNCED) >> 32

    def _tell(self, why: str) -> None:
        if self._degraded is not None:
            self._degraded(why)

    # -- appending ------------------------------------------------------------------------------

    def append(self, raw_meta: bytes, digest: bytes, payload: disks.Buffer) -> record.Place:
        """Return once the record survives a power loss; StorageFull or StorageFailed otherwise."""
        one = _Waiting(raw_meta, digest, payload)
        if one.size > min(record.MAX_RECORD, self._ring.size):
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
                if one.turn is not None and not one.lead:
                    one.turn.release()

    def _take_batch(self) -> list[_Waiting]:
        queue = self._queue
        if len(queue) == 1:
            self._queue = []
            return queue
        size = count = 0
        for one in queue:
            if count and (size + one.size > min(_BATCH_BYTES, self._ring.size) or count == _BATCH_RECORDS):
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
            one.place = record.Place(generation, offset)
            buffers += record.framed(one.meta, one.digest, one.payload, one.place)
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
        if self._position.get(position.ASLEEP):
            self.poke()
        failpoints.hit("journal.after-publish")
        if self._synced is not None:
            self._synced(len(batch), time.perf_counter() - began)

    def _room_for(self, total: int) -> segments.Segment:
        segment = self._ring.active
        if segment is not None and segment.end + total <= self._ring.size:
            return segment
        deadline = time.monotonic() + self.patience
        while True:
            segment = self._ring.take(self._next)
            if segment is not None:
                self._next += 1
                return segment
            self.poke()
            if time.monotonic() >= deadline:
                raise errors.StorageFull(
                    f"the journal {self.slot} is full: {self._ring.most} segments wait to be filed; "
                    "see whether the adopter runs and the disk and the database answer"
                )
            time.sleep(0.005)

    def _abandon(self, segment: segments.Segment, why: str) -> None:
        self._ring.abandon(segment, why)
        segments.note(self._data.degraded, why)
        self._tell(why)

    def ended(self) -> None:
        """Say that a sender is done: who looks from now on finds all that was acknowledged to it."""
        with self._lock:
            if not self._closed:
                self._position.set(position.ENDED, self._position.get(position.WRITTEN))

    def poke(self) -> None:
        """Wake the adopter."""
        # A full pipe has woken it already; one without a reader starts by looking.
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            os.write(self._wake, b"w")

    def close(self) -> None:
        """Let the slot go; what was acknowledged stays in it until it is adopted."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._position.set(position.ENDED, self._position.get(position.WRITTEN))
        self._ring.close()
        self._release()

    def _release(self) -> None:
        self._position.close()
        os.close(self._wake)
        self._owner.release()


def claim(data: layout.Data, prefix: str, *, size: int, segment: int = SEGMENT, tries: int = 8) -> Journal:
    """The first free slot among `prefix`, `prefix-2`, ...: for a short-lived process beside the node."""
    for number in range(1, tries + 1):
        slot = prefix if number == 1 else f"{prefix}-{number}"
        if not layout.held(data.slot(slot) / "lock"):
            with contextlib.suppress(errors.UsageError):
                return Journal(data, slot, size=size, segment=segment, whole=False)
    raise errors.UsageError(
        f"{tries} processes already use the journal slots {prefix!r}; wait for one to end"
    )


def lag(data: layout.Data, slot: str, *, segment: int = SEGMENT) -> int:
    """Bytes of a slot between what was written and what was adopted, as near as places tell."""
    path = data.slot(slot) / "position"
    if not path.exists():
        return 0
    found = position.Position(path)
    try:
        written, adopted = found.get(position.WRITTEN), found.get(position.ADOPTED)
    finally:
        found.close()
    if written <= adopted or not written & _MASK:
        return 0
    # Generations count from the clock where a slot was made anew: no more than one segment is known then.
    generations = min((written >> 32) - (adopted >> 32), 1)
    return generations * segment + (written & _MASK) - (adopted & _MASK)


def places(data: layout.Data) -> dict[str, tuple[int, int]]:
    """How far each slot was written and adopted, as numbers that only grow."""
    known = {}
    for name in data.slots():
        path = data.slot(name) / "position"
        if path.exists():
            found = position.Position(path)
            try:
                known[name] = found.get(position.WRITTEN), found.get(position.ADOPTED)
            finally:
                found.close()
    return known


def barrier(data: layout.Data, timeout: float, *, ended: bool = False) -> bool:
    """Wait once as `filed.Filed.wait` does."""
    waiting = filed.Filed(data)
    try:
        return waiting.wait(timeout, ended=ended)
    finally:
        waiting.close()
