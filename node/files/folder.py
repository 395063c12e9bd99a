"""A person's folder of instances: what was fetched, as STUDY/SERIES/INSTANCE.dcm.

Every part of a name is a checked UID. A file appears under its name when it is whole, and never takes the
place of another: the same bytes are left as they are, other bytes get a name of their own.
"""

from __future__ import annotations

import collections
import contextlib
import enum
import hashlib
import mmap
import os
import pathlib
import secrets
import threading

from node import errors
from node.dicom import header, part10, uids
from node.files import disk as disks
from node.files import layout

_PARTIAL = ".part"  # ends the names of files that are still being written
_OTHERS = 100  # files of one UID with different bytes, before something must be wrong
_CHUNK = 1 << 20
_IDENTITY = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")


class Kept(enum.Enum):
    """What became of an instance."""

    NEW = "new"  # it has a file now
    SAME = "same"  # it had one already, with the same bytes
    OTHER = "other"  # its name was taken by other bytes: it has a second name


class Folder:
    """Takes instances; its methods may be called by many threads at once."""

    def __init__(self, root: pathlib.Path, *, max_instance: int = 8 << 30, reserve: int = 64 << 20) -> None:
        """Make the folder; UsageError where it cannot be."""
        self.root = root
        self.max_instance = max_instance  # bytes of one data set
        self.reserve = reserve  # bytes that stay free on the disk
        self.kept: collections.Counter[Kept] = collections.Counter()  # what became of them
        self.others: list[pathlib.Path] = []  # second names that were given
        self.size = 0  # bytes of the data sets that were taken
        self._disk = disks.Disk()
        self._lock = threading.Lock()
        try:
            root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise errors.UsageError(
                f"{root} cannot be made ({error.strerror}): name another folder"
            ) from error

    def begin(self, sop_class: str, sop_instance: str, syntax: str, source: str) -> Incoming:
        """Get ready for an instance; raises errors.NodeError when it cannot be taken."""
        for uid in (sop_class, sop_instance, syntax):
            if not uids.valid(uid):
                raise errors.BadData(f"{uid[:80]!r} is not a UID")
        if self._disk.free(self.root) < self.reserve:
            raise errors.StorageFull(f"less than {self.reserve} bytes are free under {self.root}; make room")
        return Incoming(self, sop_class, sop_instance, syntax, source)

    def keep(self, incoming: Incoming, study: str, series: str) -> Kept:
        """Give a whole file its name (for Incoming)."""
        folder = self.root / _name(study) / _name(series)
        folder.mkdir(parents=True, exist_ok=True)
        with self._lock:  # two with the same UID at once
            kept, path = self._place(folder, incoming)
            self.kept[kept] += 1
            self.size += incoming.size
            if kept is Kept.OTHER:
                self.others.append(path)
        return kept

    def _place(self, folder: pathlib.Path, incoming: Incoming) -> tuple[Kept, pathlib.Path]:
        for number in range(1, _OTHERS + 1):
            name = incoming.sop_instance if number == 1 else f"{incoming.sop_instance}-{number}"
            path = folder / f"{name}.dcm"
            if claim(incoming.path, path):
                return (Kept.NEW if number == 1 else Kept.OTHER), path
            if _same(path, incoming):
                incoming.path.unlink()
                return Kept.SAME, path
        raise errors.StorageFailed(f"{folder} holds {_OTHERS} files of {incoming.sop_instance}: look at them")


class Incoming:
    """One instance while it arrives."""

    def __init__(self, folder: Folder, sop_class: str, sop_instance: str, syntax: str, source: str) -> None:
        self.sop_instance = sop_instance
        self.syntax = syntax
        self.size = 0  # bytes of the data set so far
        self.path = folder.root / f".{secrets.token_hex(8)}{_PARTIAL}"
        self._folder = folder
        self._sop_class = sop_class
        meta = layout.plain_head(sop_class, sop_instance, syntax, source)
        self._offset = len(meta)
        try:
            self._file = open(self.path, "xb")  # noqa: SIM115 - closed by commit or abort
            self._file.write(meta)
        except OSError as error:
            raise disks.failure(error, f"writing into {folder.root}") from error

    def write(self, fragment: disks.Buffer) -> None:
        """Take the next bytes."""
        self.size += len(fragment)
        if self.size > self._folder.max_instance:
            raise errors.BadData(f"an instance of more than {self._folder.max_instance} bytes")
        try:
            self._file.write(fragment)
        except OSError as error:
            raise disks.failure(error, f"writing into {self._folder.root}") from error

    def commit(self) -> Kept:
        """Give it its name; raises BadData when it is not what was announced."""
        try:
            self._file.close()
            study, series = self._check()
            return self._folder.keep(self, study, series)
        except OSError as error:
            raise disks.failure(error, f"writing into {self._folder.root}") from error

    def abort(self) -> None:
        """Forget it."""
        with contextlib.suppress(OSError):
            self._file.close()
        with contextlib.suppress(OSError):
            self.path.unlink()

    def digest(self) -> bytes:
        """Of the data set."""
        return _digest(self.path, self._offset)

    def _check(self) -> tuple[str, str]:
        """Study and series, and whether the data set is what the command said."""
        if not self.size:
            raise errors.BadData("an instance without a data set")
        with (
            open(self.path, "rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
            memoryview(mapped) as view,
            view[self._offset :] as body,
        ):
            found = header.texts(body, self.syntax, _IDENTITY)
        sop_class, sop_instance, study, series = (found[name][0] if found[name] else "" for name in _IDENTITY)
        if sop_instance != self.sop_instance:
            raise errors.BadData(
                f"the data set names SOP instance {sop_instance[:80]!r}, the command {self.sop_instance!r}"
            )
        if sop_class != self._sop_class:
            raise errors.BadData(
                f"the data set names SOP class {sop_class[:80]!r}, the command {self._sop_class!r}"
            )
        return study, series


def _name(uid: str) -> str:
    """A UID as part of a path; what is none is hashed, so that nothing else of it gets there."""
    if uids.valid(uid):
        return uid
    return "no-uid-" + hashlib.sha256(uid.encode("utf-8", "replace")).hexdigest()[:16]


def claim(source: pathlib.Path, target: pathlib.Path) -> bool:
    """Rename without ever replacing a file; whether the name was free."""
    try:
        os.link(source, target)
    except FileExistsError:
        return False
    except OSError:
        # A file system without hard links: take the name first.
        try:
            os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o666))
        except FileExistsError:
            return False
        try:
            os.replace(source, target)
        except OSError:
            target.unlink()  # it is ours, and empty
            raise
        return True
    source.unlink()
    return True


def _same(path: pathlib.Path, incoming: Incoming) -> bool:
    """Whether a file holds this data set; what cannot be read does not."""
    try:
        with (
            open(path, "rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
        ):
            start = part10.part10(mapped, bare=True)
            offset, syntax, size = start.offset, start.syntax, len(mapped) - start.offset
    except (OSError, ValueError, errors.NodeError):
        return False
    if (syntax, size) != (incoming.syntax, incoming.size):
        return False
    return _digest(path, offset) == incoming.digest()


def _digest(path: pathlib.Path, offset: int) -> bytes:
    found = hashlib.sha256(usedforsecurity=False)
    with open(path, "rb") as file:
        file.seek(offset)
        while chunk := file.read(_CHUNK):
            found.update(chunk)
    return found.digest()
