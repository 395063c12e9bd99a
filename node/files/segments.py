"""The ring of a slot's segment files: made ahead, used in turn, given up after a failed sync."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import os
import pathlib
import threading
from collections.abc import Callable

from node import errors
from node.files import disk as disks
from node.files import record

_AHEAD = 2  # segments that lie ready to be written
_SETTLED = 3.0  # seconds after the start when the rest of the ring is made


@dataclasses.dataclass(slots=True)
class Segment:
    """One segment file; only the journal's leader touches the active one."""

    path: pathlib.Path  # NNNNNN.segment in the slot's directory
    fd: int  # open for writing, -1 when it is only read any more
    generation: int  # of its last use, 0 when it was never written
    end: int = 0  # where the next record goes
    abandoned: bool = False  # a sync failed: never written or synced again


class Ring:
    """The segments of one slot. `take` and `abandon` are the leader's, the rest happens beside it."""

    def __init__(
        self,
        directory: pathlib.Path,
        size: int,
        most: int,
        floor: Callable[[], int],
        disk: disks.Disk,
        troubled: Callable[[str], None],
        whole: bool,
    ) -> None:
        """Open what is there and make what must lie ready; generations below `floor` are free again.

        With `whole`, the rest is made soon after, beside the work: later it would compete with a burst.
        """
        self.size = size  # bytes of a segment
        self.most = most  # how many there may be
        self.active: Segment | None = None  # the one that is being written
        self._directory = directory
        self._floor = floor
        self._disk = disk
        self._troubled = troubled
        self._lock = threading.Lock()
        self._segments = self._find()
        self._short = threading.Event()
        self._closed = False
        try:
            self._fill(_AHEAD)
        except errors.NodeError:
            # The ring works with what it has; without any, there is nothing to acknowledge into.
            if not self._live():
                self.close_files()
                raise
        self._whole = whole
        self._maker = threading.Thread(target=self._make_ahead, name="journal segments", daemon=True)
        self._maker.start()

    @property
    def newest(self) -> int:
        """The highest generation that a segment was used for."""
        return max((s.generation for s in self._segments), default=0)

    def take(self, generation: int) -> Segment | None:
        """Make a free segment the active one, for this generation; None: all of them wait to be filed."""
        with self._lock:
            ready = self._ready()
            if len(ready) <= _AHEAD:
                self._short.set()
            if not ready:
                return None
            # The longest unused first; the one before stays readable as long as it can.
            segment = min(ready, key=lambda s: s.generation)
            segment.generation, segment.end = generation, 0
            self.active = segment
            return segment

    def abandon(self, segment: Segment, why: str) -> None:
        """Never write or sync this file again: the kernel may have dropped what it could not write."""
        segment.abandoned = True
        self.active = None
        note(segment.path.with_suffix(".abandoned"), why)
        self._short.set()

    def close(self) -> None:
        """Let go of the files."""
        self._closed = True
        self._short.set()
        self._maker.join()
        self.close_files()

    def close_files(self) -> None:
        for segment in self._segments:
            if segment.fd >= 0:
                os.close(segment.fd)
        self._segments = []

    def remove_abandoned(self) -> None:
        """Unlink what was given up, once its records are durable elsewhere."""
        floor = self._floor()
        with self._lock:
            gone = [s for s in self._segments if s.abandoned and s.generation < floor]
            self._segments = [s for s in self._segments if s not in gone]
        for segment in gone:
            if segment.fd >= 0:
                os.close(segment.fd)
            for path in (segment.path, segment.path.with_suffix(".abandoned")):
                with contextlib.suppress(OSError):
                    path.unlink()

    def _live(self) -> list[Segment]:
        return [s for s in self._segments if not s.abandoned]

    def _ready(self) -> list[Segment]:
        """Segments whose records have all been synced elsewhere."""
        floor = self._floor()
        live = [s for s in self._live() if s is not self.active]
        return [s for s in live if s.generation == 0 or s.generation < floor]

    def _find(self) -> list[Segment]:
        found = []
        for unfinished in self._directory.glob("*.new"):
            unfinished.unlink(missing_ok=True)
        for path in files(self._directory):
            generation = record.first_generation(path)
            # One that was made under another setting is read to its end, and goes once it was adopted.
            if path.with_suffix(".abandoned").exists() or path.stat().st_size != self.size:
                found.append(Segment(path, -1, generation, abandoned=True))
            else:
                found.append(Segment(path, os.open(path, os.O_RDWR | os.O_CLOEXEC), generation))
        return found

    def _fill(self, wanted: int) -> None:
        while len(self._ready()) < wanted and len(self._live()) < self.most and not self._closed:
            self._make()

    def _make(self) -> None:
        """Write a segment of zeros: overwriting it later changes no metadata, so its sync is one write."""
        number = 1 + max((int(s.path.stem) for s in self._segments), default=0)
        path = self._directory / f"{number:06d}.segment"
        fresh = path.with_suffix(".new")
        fd = -1
        try:
            fd = self._disk.create(fresh)
            zeros = bytes(1 << 20)
            for at in range(0, self.size, len(zeros)):
                self._disk.write(fd, (zeros[: self.size - at],), at)
            self._disk.sync(fd)
            self._disk.rename(fresh, path)
            disks.sync_directory(self._disk, self._directory)
        except OSError as error:
            if fd >= 0:
                os.close(fd)
            with contextlib.suppress(OSError):
                fresh.unlink()
            raise disks.failure(error, f"making {path}") from error
        with self._lock:
            self._segments.append(Segment(path, fd, 0))

    def _make_ahead(self) -> None:
        """Keep segments ready while others are being written; the rest once the start is over."""
        patience = _SETTLED if self._whole else None
        while True:
            wanted = _AHEAD if self._short.wait(patience) else self.most
            patience = patience if wanted == _AHEAD else None
            self._short.clear()
            if self._closed:
                return
            self.remove_abandoned()
            try:
                self._fill(wanted)
            except errors.NodeError as error:
                # The ring goes on with what it has; who finds no room is told so.
                self._troubled(str(error))


def files(directory: pathlib.Path) -> list[pathlib.Path]:
    """A slot's segments, by number."""
    return sorted(p for p in directory.glob("*.segment") if p.stem.isdigit())


def note(path: pathlib.Path, why: str) -> None:
    """Leave a mark for the next process and for people; the disk may be too broken for it."""
    with contextlib.suppress(OSError), open(path, "a", encoding="utf-8") as file:
        file.write(f"{datetime.datetime.now(datetime.UTC).isoformat()} {why}\n")
