"""Which associations are open, and which series they bring: a small mapped table per listener process.

The router looks at it to know that a series' senders are done, without asking the database. A table speaks
only while its listener holds the lock beside it: who died has nothing open.
"""

from __future__ import annotations

import collections
import contextlib
import hashlib
import mmap
import os
import pathlib
import threading
import time
from collections.abc import Mapping

from node import errors
from node.files import layout

ROWS = 1024  # associations that are listed; more are only counted
SERIES = 61  # series of one association that are remembered; those before them it has left behind
_ROW = 64  # words of a row: taken or not, how many series so far, their hashes
_STEPS, _UNLISTED = 1, 2  # words of the first row: steps that ended, associations without a row
_SIZE = (ROWS + 1) * _ROW * 8
_LIVE = "live"
_PATIENCE = 2.0  # seconds that a lock may be somebody else's


class Live:
    """The table of one listener process; fit for several threads."""

    def __init__(self, data: layout.Data, slot: str) -> None:
        """Begin an empty table; raises UsageError when another process has this slot."""
        folder = data.root / "run" / _LIVE
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o750)
            self._lock = _locked(folder / f"{slot}.lock", slot)
            fd = os.open(folder / slot, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
            try:
                # Not truncated: a reader that has it mapped would be killed by its next look.
                os.ftruncate(fd, _SIZE)
                self._map = mmap.mmap(fd, _SIZE)
            finally:
                os.close(fd)
        except OSError as error:
            raise errors.StorageFailed(f"{folder} cannot be used: {error.strerror}") from error
        self._map[:] = bytes(_SIZE)
        self._words = memoryview(self._map).cast("Q")
        self._free = list(range(ROWS, 0, -1))
        self._changing = threading.Lock()

    def begin(self) -> Bringing:
        """An association brings its first instance; `end` it when it is over, however it ends."""
        with self._changing:
            row = self._free.pop() if self._free else 0
            if not row:
                self._words[_UNLISTED] += 1
        return Bringing(self, row)

    def stepped(self) -> None:
        """Say that a performed procedure step changed: series may be settled by that."""
        with self._changing:
            self._words[_STEPS] += 1

    def close(self) -> None:
        """Let go of the table; nothing counts as open any more."""
        with self._changing:
            self._lock.release()
            self._words.release()
            self._map.close()

    def _note(self, row: int, place: int, value: int) -> None:
        start = row * _ROW
        with contextlib.suppress(ValueError):  # the table is closed: an association outlived the listener
            self._words[start + 2 + place % SERIES] = value
            self._words[start] = 1

    def _end(self, row: int) -> None:
        with self._changing:
            if not row:
                with contextlib.suppress(ValueError):  # the table is closed
                    self._words[_UNLISTED] -= 1
                return
            start = row * _ROW
            with contextlib.suppress(ValueError):
                for word in range(start, start + _ROW):
                    self._words[word] = 0
            self._free.append(row)


def _locked(path: pathlib.Path, slot: str) -> layout.Lock:
    """The lock of a slot; who looks whether it is held holds it himself for a moment."""
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            return layout.Lock(path, f"the table of associations of {slot}")
        except errors.UsageError:
            if time.monotonic() > end:
                raise
            time.sleep(0.01)


class Bringing:
    """One association that brings instances; used by its thread alone."""

    __slots__ = ("_known", "_last", "_live", "_over", "_place", "_row")

    def __init__(self, live: Live, row: int) -> None:
        self._live = live
        self._row = row
        self._last = ""
        self._known: dict[str, None] = {}  # those that stand in the row, oldest first
        self._place = 0
        self._over = False

    def note(self, series: str) -> None:
        """It brought an instance of this series."""
        if series == self._last:
            return
        self._last = series
        if not self._row or series in self._known:
            return
        if len(self._known) >= SERIES:
            del self._known[next(iter(self._known))]
        self._known[series] = None
        self._live._note(self._row, self._place, mark(series))  # noqa: SLF001 - two halves of one thing
        self._place += 1

    def end(self) -> None:
        """It is over; fit to be called twice."""
        if not self._over:
            self._over = True
            self._live._end(self._row)  # noqa: SLF001 - as above


class Open:
    """What all listeners have open, for the router."""

    def __init__(self, data: layout.Data) -> None:
        self._folder = data.root / "run" / _LIVE
        self._tables: dict[str, tuple[mmap.mmap, memoryview]] = {}

    def look(self) -> Seen:
        """Read the tables as they are now."""
        count: collections.Counter[int] = collections.Counter()
        steps = unlisted = 0
        for name in self._names():
            words = self._table(name)
            if words is None:
                continue
            steps += words[_STEPS]
            if not layout.held(self._folder / f"{name}.lock"):
                continue
            unlisted += words[_UNLISTED]
            taken = words[_ROW::_ROW].tolist()
            for row, used in enumerate(taken, 1):
                if used:
                    start = row * _ROW + 2
                    count.update(set(words[start : start + SERIES].tolist()) - {0})
        return Seen(count, steps, unlisted)

    def close(self) -> None:
        """Let go of the tables."""
        for mapped, words in self._tables.values():
            words.release()
            mapped.close()
        self._tables.clear()

    def _names(self) -> list[str]:
        try:
            return sorted(e.name for e in os.scandir(self._folder) if layout.SLOT.fullmatch(e.name))
        except FileNotFoundError:
            return []

    def _table(self, name: str) -> memoryview | None:
        if name not in self._tables:
            try:
                fd = os.open(self._folder / name, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    if os.fstat(fd).st_size < _SIZE:
                        return None  # its process is about to make it
                    mapped = mmap.mmap(fd, _SIZE, access=mmap.ACCESS_READ)
                finally:
                    os.close(fd)
            except OSError:
                return None
            self._tables[name] = (mapped, memoryview(mapped).cast("Q"))
        return self._tables[name][1]


class Seen:
    """The tables at one moment."""

    __slots__ = ("_count", "steps", "unlisted")

    def __init__(self, count: Mapping[int, int], steps: int, unlisted: int) -> None:
        self._count = count
        self.steps = steps  # grows with each change of a performed procedure step
        self.unlisted = unlisted  # open associations of which nobody knows what they bring

    def bringing(self, series: int) -> int:
        """How many open associations bring, or may bring, the series of this mark."""
        return self._count.get(series, 0) + self.unlisted


def mark(series: str) -> int:
    """A series as the table holds it: 64 bits of its UID, made so that nobody can think up two alike."""
    return int.from_bytes(hashlib.blake2b(series.encode("utf-8", "replace"), digest_size=8).digest()) or 1
