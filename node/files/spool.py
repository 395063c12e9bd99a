"""Files for data sets that are too large for the journal: made and named durably before they are needed."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import secrets
import threading
from collections.abc import Callable, Collection

from node.files import disk as disks

AHEAD = 4  # files that lie ready
SYNC_EVERY = 64 << 20  # bytes after which a long data set is synced, so that the last sync is short
_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}\.[0-9a-f]{24}")


class Spooled:
    """A spool file being written: the head first, then the data set as it comes."""

    def __init__(self, spool: Spool, name: str, fd: int) -> None:
        self.name = name
        self.fd = fd
        self.size = 0  # bytes written, the head included
        self._unsynced = 0
        self._spool = spool

    @property
    def path(self) -> pathlib.Path:
        return self._spool.directory / self.name

    def write(self, fragment: disks.Buffer) -> None:
        """Append; StorageFull or StorageFailed when the disk does not take it."""
        try:
            self._spool.disk.write(self.fd, (fragment,), self.size)
            self.size += len(fragment)
            self._unsynced += len(fragment)
            if self._unsynced >= SYNC_EVERY:
                self._unsynced = 0
                self._spool.disk.sync_data(self.fd)
        except OSError as error:
            raise disks.failure(error, f"writing {self.path}") from error

    def finish(self, head: bytes) -> None:
        """Put the final head in its place and make the file durable."""
        try:
            self._spool.disk.write(self.fd, (head,), 0)
            self._spool.disk.sync_data(self.fd)
        except OSError as error:
            raise disks.failure(error, f"syncing {self.path}") from error

    def close(self) -> None:
        """Leave the file to the journal's record that names it."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def discard(self) -> None:
        """Remove the file; nothing was acknowledged."""
        self.close()
        with contextlib.suppress(OSError):
            self.path.unlink()


class Spool:
    """The pool of one slot's files. Names begin with the slot, so that each process sweeps its own."""

    def __init__(self, directory: pathlib.Path, slot: str, *, disk: disks.Disk | None = None) -> None:
        self.directory = directory
        self.disk = disk or disks.Disk()
        self._slot = slot
        self._lock = threading.Lock()
        self._ready: list[tuple[str, int]] = []

    def sweep(self, named: Callable[[], Collection[str]]) -> int:
        """Remove what an earlier process left, except what its journal still names.

        `named` is asked only when there is a file with something in it: going through the journal takes time.
        """
        left = {name: (self.directory / name).stat().st_size for name in self._names()}
        kept = named() if any(left.values()) else ()
        removed = 0
        for name in left:
            if name not in kept:
                with contextlib.suppress(OSError):
                    (self.directory / name).unlink()
                    removed += 1
        return removed

    def take(self) -> Spooled:
        """A new file whose name already survives a power loss."""
        with self._lock:
            if not self._ready:
                self._prepare()
            name, fd = self._ready.pop()
        return Spooled(self, name, fd)

    def close(self) -> None:
        """Remove the files that were never used."""
        with self._lock:
            for name, fd in self._ready:
                os.close(fd)
                with contextlib.suppress(OSError):
                    (self.directory / name).unlink()
            self._ready.clear()

    def _prepare(self) -> None:
        made: list[tuple[str, int]] = []
        try:
            for _ in range(AHEAD):
                # Never the name of an earlier file: a record that is replayed must not find another's bytes.
                name = f"{self._slot}.{secrets.token_hex(12)}"
                made.append((name, self.disk.create(self.directory / name)))
            for _, fd in made:
                self.disk.sync(fd)
            disks.sync_directory(self.disk, self.directory)
        except OSError as error:
            for name, fd in made:
                os.close(fd)
                with contextlib.suppress(OSError):
                    (self.directory / name).unlink()
            raise disks.failure(error, f"making files in {self.directory}") from error
        self._ready += made

    def _names(self) -> list[str]:
        return [
            entry.name
            for entry in os.scandir(self.directory)
            if _NAME.fullmatch(entry.name) and entry.name.startswith(self._slot + ".")
        ]


def checked(name: str) -> str:
    """A spool file's name out of a journal record, which a flipped bit must not turn into a path."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} names no spool file")
    return name
