"""How many associations there are at once, in all and per peer, counted over several processes.

The counts live in one anonymous shared mapping that is made before the listeners are forked: a row per
process, written only by it, so that the supervisor can wipe the row of a process that died.
"""

from __future__ import annotations

import dataclasses
import fcntl
import hashlib
import mmap
import os
import struct
import threading
from collections.abc import Iterator

_ENTRIES = 256  # peers with associations in one process; more than that share by hash
_ROW = struct.Struct("<II")  # associations, echo associations
_ENTRY = struct.Struct("<QI4x")  # hash of the peer, its associations
_ROW_SIZE = 16 + _ENTRIES * _ENTRY.size


@dataclasses.dataclass(frozen=True, slots=True)
class Slot:
    """A place that is taken; give it back with Slots.give."""

    key: int  # hash of the peer; 0: it is counted nowhere but in the row
    echo: bool  # one of those that may only echo


class Slots:
    """The association limits of one listener process."""

    def __init__(self, processes: int = 1, row: int = 0, fd: int | None = None) -> None:
        if not 0 <= row < processes:
            raise ValueError(f"row {row}; there are {processes}, counted from 0")
        self._processes = processes
        self._row = row
        self._fd = os.memfd_create("association-slots", os.MFD_CLOEXEC) if fd is None else fd
        os.ftruncate(self._fd, processes * _ROW_SIZE)
        self._map = mmap.mmap(self._fd, processes * _ROW_SIZE)
        self._lock = threading.Lock()

    def of(self, row: int) -> Slots:
        """The same slots as the process with this row sees them; call it in the child, after the fork."""
        mine = Slots(self._processes, row, self._fd)
        mine.wipe(row)
        return mine

    def take(
        self, peer: str, *, most: int, most_of_peer: int, echo_slots: int = 0, echo_only: bool = False
    ) -> Slot | None:
        """Take a place for a peer; None: there is none.

        Who only echoes takes a place kept for that first: a check must not cost a modality its own.
        """
        key = _hash(peer)
        with self._lock, _Exclusive(self._fd):
            total, echoes = self._totals()
            if echo_only and echoes < echo_slots:
                self._change(0, 1)
                return Slot(0, echo=True)
            if total < most and self._of_peer(key) < most_of_peer:
                self._add(key, 1)
                return Slot(key, echo=False)
            return None

    def give(self, slot: Slot) -> None:
        """Give a place back."""
        with self._lock, _Exclusive(self._fd):
            if slot.echo:
                self._change(0, -1)
            else:
                self._add(slot.key, -1)

    def totals(self) -> tuple[int, int]:
        """Associations now over all processes: general ones, and those in echo slots."""
        return self._totals()

    def wipe(self, row: int) -> None:
        """Forget what a process held that has died."""
        with self._lock, _Exclusive(self._fd):
            start = row * _ROW_SIZE
            self._map[start : start + _ROW_SIZE] = bytes(_ROW_SIZE)

    def close(self) -> None:
        """Let go of the mapping; nobody may use it afterwards in this process."""
        self._map.close()
        os.close(self._fd)

    def _totals(self) -> tuple[int, int]:
        rows = [_ROW.unpack_from(self._map, row * _ROW_SIZE) for row in range(self._processes)]
        return sum(row[0] for row in rows), sum(row[1] for row in rows)

    def _change(self, general: int, echo: int) -> None:
        start = self._row * _ROW_SIZE
        now = _ROW.unpack_from(self._map, start)
        _ROW.pack_into(self._map, start, max(0, now[0] + general), max(0, now[1] + echo))

    def _of_peer(self, key: int) -> int:
        """Associations of a peer over all processes."""
        found = 0
        for row in range(self._processes):
            for place in _probe(row, key):
                held, count = _ENTRY.unpack_from(self._map, place)
                if held == key:
                    found += count
                    break
                if not held:
                    break
        return found

    def _add(self, key: int, step: int) -> None:
        self._change(step, 0)
        free = None
        for place in _probe(self._row, key):
            held, count = _ENTRY.unpack_from(self._map, place)
            if held == key:
                # An entry is never emptied, since others may have probed past it; a count of 0 is reused.
                _ENTRY.pack_into(self._map, place, key, max(0, count + step))
                return
            if free is None and (not held or not count):
                free = place
            if not held:
                break
        if free is not None and step > 0:
            _ENTRY.pack_into(self._map, free, key, step)


def _probe(row: int, key: int) -> Iterator[int]:
    start = row * _ROW_SIZE + 16
    for step in range(_ENTRIES):
        yield start + (key + step) % _ENTRIES * _ENTRY.size


def _hash(peer: str) -> int:
    return int.from_bytes(hashlib.blake2b(peer.encode(), digest_size=8).digest(), "little") or 1


class _Exclusive:
    """Keeps other processes out; a record lock, because the kernel frees it when its holder dies."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def __enter__(self) -> None:
        fcntl.lockf(self._fd, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        fcntl.lockf(self._fd, fcntl.LOCK_UN)
