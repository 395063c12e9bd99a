"""A folder as a destination: a file for each instance, named by a template, there whole or not at all.

A file gets its name once it is synced, and never takes the place of another: the same bytes again are the
same file, other bytes under the same name get a number. What a crash leaves behind lies in `.parts`, and the
next process that writes there removes it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import pathlib
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from node import errors, orders
from node.dicom import part10, statuses
from node.files import disk as disks
from node.files import folder as folders
from node.send import base, copies
from node.send import pace as pacing
from node.send import template as templates

_PARTS = ".parts"  # the folder of what is still being written
_BATCH = 32  # files that are told of together, after one sync of their directory
_BATCH_SIZE = 16 << 20  # bytes of them
_SAME_NAME = 1000  # files of one name and different bytes
_RESERVE = 64 << 20  # bytes that stay free
_CHUNK = 1 << 20
_LOOK = 0.25  # seconds between two looks whether to go on, while an instance waits for its turn
_NAMING = {errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL}  # the file system does not take this name


class Folder:
    """Writes one consignment."""

    whole = False

    def __init__(
        self,
        destination: orders.Destination,
        root: pathlib.Path,
        *,
        transcoder: base.Transcoder | None = None,
        pace: pacing.Pace | None = None,
        reserve: int = _RESERVE,
        disk: disks.Disk | None = None,
    ) -> None:
        """Raises UsageError for a template that cannot be."""
        self._name = destination.name
        self._template = templates.Template(destination.template)
        self._root = root
        self._transcoder = transcoder
        self._pace = pace
        self._reserve = reserve
        self._disk = disk or disks.Disk()
        self._stopped = threading.Event()
        self._cut = ""

    def describe(self) -> str:
        """Where this sends to, in words."""
        return f"{self._name} (folder {self._root})"

    def cut(self, why: str) -> None:
        """From another thread: end what is under way at once."""
        self._cut = why
        self._stopped.set()

    def send(self, items: Sequence[base.Item] | base.Stream) -> Iterator[base.Result]:
        """Write each item and yield its result, once its name is durable."""
        until = items.until if isinstance(items, base.Stream) else bool
        buffer = bytearray()
        written: list[base.Result] = []
        directories: set[pathlib.Path] = set()
        for item in items.each() if isinstance(items, base.Stream) else items:
            if not self._turn(until):
                break
            result = self._one(item, buffer, directories)
            if not isinstance(result.outcome, base.Done):
                yield result
                continue
            written.append(result)
            if len(written) >= _BATCH or sum(one.size for one in written) >= _BATCH_SIZE:
                yield from self._settled(written, directories)
                written.clear()
        yield from self._settled(written, directories)

    def _turn(self, until: Callable[[], bool]) -> bool:
        """Wait for the next turn; whether to go on."""
        end = time.monotonic() + (self._pace.instance() if self._pace is not None else 0.0)
        while (left := end - time.monotonic()) > 0:
            if self._stopped.wait(min(left, _LOOK)) or until():
                return False
        return not until()

    def _one(self, item: base.Item, buffer: bytearray, directories: set[pathlib.Path]) -> base.Result:
        begun = time.monotonic()
        try:
            self._check(item.size)
            with copies.opened(item, self._transcoder, buffer) as copy:
                note = self._write(copy, directories)
                notes = (*copy.notes, note) if note else copy.notes
                size, syntax = copy.size, copy.syntax
        except (errors.StorageFull, errors.StorageFailed) as error:
            return base.Result(item, base.Retry(str(error)), lane=True)
        except errors.Transient as error:
            return base.Result(item, base.Retry(str(error)))
        except errors.NodeError as error:
            return base.Result(item, base.Failed(str(error)))
        except OSError as error:
            why = f"{self._root} cannot be written to ({error.strerror or error})"
            if error.errno in _NAMING:
                return base.Result(item, base.Failed(why))
            return base.Result(item, base.Retry(why), lane=True)
        done = base.Done(statuses.SUCCESS)
        return base.Result(item, done, syntax, size, time.monotonic() - begun, notes)

    def _check(self, size: int) -> None:
        if self._cut:
            raise errors.StorageFailed(self._cut)
        ready(self._root)
        if self._disk.free(self._root) - size < self._reserve:
            raise errors.StorageFull(f"there is no room left in {self._root}")

    def _write(self, copy: copies.Copy, directories: set[pathlib.Path]) -> str:
        """Write it and give it its name; what is worth a note about that."""
        *above, name = self._template.parts(copy.texts(self._template.keywords))
        place = self._root
        for part in above:
            directories.add(place)
            place = place / part
            place.mkdir(exist_ok=True)
        directories.add(place)
        parts = self._root / _PARTS
        temporary = parts / f"{secrets.token_hex(8)}.part"
        fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)  # that it is somebody's still
            copy.write(fd, None if self._pace is None else self._paced)
            self._disk.sync_data(fd)
            for number in range(1, _SAME_NAME + 1):
                path = place / (name if number == 1 else templates.numbered(name, number))
                if folders.claim(temporary, path):
                    return "" if number == 1 else f"its name was taken: it is {path.name}"
                if _same(path, fd, copy.sop_instance):
                    return f"it was there: {path.name}" if number == 1 else f"it was there as {path.name}"
            raise errors.UsageError(
                f"{_SAME_NAME} files of other bytes have its name in {self._root}: "
                "put {SOPInstanceUID} into the template"
            )
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            os.close(fd)

    def _paced(self, count: int) -> None:
        assert self._pace is not None
        if self._stopped.wait(self._pace.bytes(count)):
            raise errors.StorageFailed(self._cut or "it was broken off while it waited for its turn")

    def _settled(
        self, written: Sequence[base.Result], directories: set[pathlib.Path]
    ) -> Iterator[base.Result]:
        """Make the names durable, and tell of them."""
        why = ""
        for directory in directories:
            try:
                disks.sync_directory(self._disk, directory)
            except OSError as error:
                # Not the directory's name, which may be a patient's.
                why = f"a directory in {self._root} cannot be synced ({error.strerror or error})"
        directories.clear()
        for result in written:
            yield base.Result(result.item, base.Retry(why), lane=True) if why else result


def ready(root: pathlib.Path) -> None:
    """Make the folder fit to be written to; raises OSError, or StorageFailed where it is not there."""
    parts = root / _PARTS
    if parts.is_dir():
        return
    if not root.parent.is_dir():
        raise errors.StorageFailed(f"{root.parent} is not there: make it, or mount what it lies on")
    root.mkdir(exist_ok=True)
    parts.mkdir(exist_ok=True)


def probe(root: pathlib.Path) -> None:
    """Find out whether a folder can be written to; raises StorageFailed."""
    try:
        ready(root)
        sweep(root)
        test = root / _PARTS / f"{secrets.token_hex(8)}.probe"
        os.close(os.open(test, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        test.unlink()
    except OSError as error:
        raise errors.StorageFailed(f"{root} cannot be written to ({error.strerror or error})") from error


def sweep(root: pathlib.Path) -> int:
    """Remove what crashed writers left; how many files. What somebody writes at this moment is left alone."""
    removed = 0
    with contextlib.suppress(FileNotFoundError), os.scandir(root / _PARTS) as entries:
        for entry in entries:
            try:
                fd = os.open(entry.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            except OSError:
                continue
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(entry.path)
                removed += 1
            except OSError:
                pass  # its writer lives
            finally:
                os.close(fd)
    return removed


def _same(path: pathlib.Path, fd: int, sop_instance: str) -> bool:
    """Whether a file holds the data set of the one that was just written; what cannot be read does not."""
    try:
        with open(path, "rb") as file:
            there = part10.part10(file.read(4096), bare=False)
            if there.sop_instance != sop_instance:
                return False
            ours = part10.part10(os.pread(fd, 4096, 0), bare=False)
            size = os.fstat(fd).st_size - ours.offset
            if there.syntax != ours.syntax or os.fstat(file.fileno()).st_size - there.offset != size:
                return False
            for at in range(0, size, _CHUNK):
                one = os.pread(file.fileno(), _CHUNK, there.offset + at)
                if one != os.pread(fd, _CHUNK, ours.offset + at):
                    return False
    except (OSError, errors.NodeError):
        return False
    return True
