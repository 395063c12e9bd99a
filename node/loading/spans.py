"""Voxels from files to a file, or to memory, on the shortest way there is.

Read into a buffer that stays in the processor's cache and written from there, they arrive sooner than by
`copy_file_range`, which copies page by page; and on the way it costs nothing to see whether a value holds
more bits than it should.
"""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from node import errors
from node.loading import frames
from node.volume import image
from node.volume.pixels import cells

Array = np.ndarray[Any, np.dtype[Any]]
Progress = Callable[[int, int, str], None]

_SLAB = 512 << 10  # bytes that are on the way at a time
_TELL = 16 << 20  # bytes between two words of progress


class Run(NamedTuple):
    """Frames that lie one behind the other in a file as in the image."""

    first: int  # frame of the image
    many: int  # frames
    path: str
    offset: int  # in the file


def copy(fd: int, offset: int, made: image.Image, progress: Progress | None = None) -> None:
    """Write the voxels of an image at an offset of an open file.

    Raises BadData naming the file that cannot be read, StorageFull and StorageFailed.
    """
    loader = made.voxels
    if made.spans is not None:
        _copied(fd, offset, made.spans, made.dtype, progress)
    elif isinstance(loader, frames.Loader):
        _made(fd, offset, loader, progress)
    else:
        write(fd, offset, made.voxels(), progress)


def parts(made: image.Image, size: int = 1 << 20) -> Iterator[memoryview]:
    """The bytes of the voxels in pieces of at most `size`, each read when it is asked for where it can be.

    Each is in memory of its own, so that a thread may still hold it when the next is asked for.
    """
    loader = made.voxels
    if made.spans is not None:
        fix = _Masks(made.spans, made.dtype)
        for run in runs(made.spans):
            with _opened(run.path) as file:
                length = run.many * made.spans.length
                for at in range(0, length, size):
                    part = memoryview(bytearray(min(size, length - at)))
                    _read(file, part, run.offset + at, run.path)
                    fix.put(part, run.first + at // made.spans.length)
                    yield part
        return
    if isinstance(loader, frames.Loader) and not loader.decodes:
        jobs = loader.work()
        if [at for job in jobs for at, _ in job.goes] == list(range(len(loader.source))):
            for job in jobs:
                for _, voxels in loader.made(job):
                    yield from _cut(voxels, size)
            return
    found = made.voxels()
    if found.flags.c_contiguous:
        yield from _cut(found, size)
    else:
        for frame in np.ndindex(found.shape[: -2 - made.colour]):
            yield from _cut(np.ascontiguousarray(found[frame]), size)


def _cut(found: Array, size: int) -> Iterator[memoryview]:
    view = found.reshape(-1).view(np.uint8).data
    for at in range(0, len(view), size):
        yield view[at : at + size]


def write(fd: int, offset: int, found: Array, progress: Progress | None = None) -> None:
    """Write an array at an offset of an open file."""
    if not found.flags.c_contiguous:
        for at, part in enumerate(found):
            write(fd, offset + at * part.nbytes, part)
        return
    view = found.reshape(-1).view(np.uint8).data
    for at in range(0, len(view), _TELL):
        _write(fd, view[at : at + _TELL], offset + at)
        if progress is not None:
            progress(min(at + _TELL, len(view)), len(view), "writing")


def whole(loader: frames.Loader, progress: Progress | None = None) -> Array:
    """All voxels in memory."""
    shape = (*loader.shape, *loader.size)
    try:
        if loader.spans is not None:
            out = np.empty(shape, loader.dtype)
            view = out.reshape(-1).view(np.uint8).data
            fix = _Masks(loader.spans, loader.dtype)
            for run in runs(loader.spans):
                with _opened(run.path) as file:
                    for at in range(run.first, run.first + run.many):
                        part = view[at * loader.length : (at + 1) * loader.length]
                        _read(file, part, run.offset + (at - run.first) * loader.length, run.path)
                        fix.put(part, at)
            return out
        if loader.decodes:
            return _decoded(loader, progress)
        out = np.zeros(shape, loader.dtype)
    except MemoryError:
        raise errors.UsageError(
            f"there is no memory for a volume of {loader.nbytes / (1 << 30):.1f} GB"
        ) from None
    flat = out.reshape(len(loader.source), *loader.size)
    for job in loader.work():
        for at, voxels in loader.made(job):
            flat[at] = voxels
    return out


def runs(found: image.Spans) -> Iterator[Run]:
    """Frames that can be copied at once: those of a multi-frame file are one range."""
    file, offset = np.asarray(found.file), np.asarray(found.offset)
    if not len(file):
        return
    follows = (file[1:] == file[:-1]) & (offset[1:] == offset[:-1] + found.length)
    firsts = np.concatenate(((0,), np.flatnonzero(~follows) + 1)).tolist()
    for first, after in zip(firsts, [*firsts[1:], len(file)], strict=True):
        yield Run(first, after - first, found.paths[int(file[first])], int(offset[first]))


class _Masks:
    """Takes overlays out of values, where a header declares that they hold some."""

    def __init__(self, found: image.Spans, dtype: np.dtype[Any]) -> None:
        self._found = found
        self._dtype = dtype
        self._hides: dict[int, bool] = {}  # by file

    def put(self, part: memoryview, frame: int) -> None:
        """Put bytes right that begin in a frame of the image."""
        if self._found.limits is None:
            return
        values = np.frombuffer(part, self._dtype)
        if not cells.beyond(values, self._found.limits):
            return
        file = int(self._found.file[frame])
        source = self._found.sources[file]
        if file not in self._hides:
            self._hides[file] = frames.hides(source)
        if source.pixels is not None:
            values[...] = frames.within(values, source.pixels, overlaid=self._hides[file])


def _copied(
    fd: int, offset: int, found: image.Spans, dtype: np.dtype[Any], progress: Progress | None
) -> None:
    slab = memoryview(bytearray(_SLAB))
    fix = _Masks(found, dtype)
    total, told, done = found.length * len(found.file), 0, 0
    for run in runs(found):
        target = offset + run.first * found.length
        length = run.many * found.length
        with _opened(run.path) as file:
            for at in range(0, length, _SLAB):
                part = slab[: min(_SLAB, length - at)]
                _read(file, part, run.offset + at, run.path)
                fix.put(part, run.first + at // found.length)
                _write(fd, part, target + at)
                done += len(part)
                if progress is not None and done - told >= _TELL:
                    told = done
                    progress(done, total, "copying")
    if progress is not None:
        progress(total, total, "copying")


def _made(fd: int, offset: int, loader: frames.Loader, progress: Progress | None) -> None:
    """Write voxels that are no bytes of files; frames that are missing are zeros."""
    try:
        size = os.fstat(fd).st_size
        if size < offset + loader.nbytes:
            os.ftruncate(fd, offset + loader.nbytes)
    except OSError as error:
        raise _storage(error) from error
    jobs = loader.work()
    if loader.decodes:
        from node.loading import decode  # what is not compressed has no need of it

        decode.run(loader, jobs, fd, offset, progress)
        return
    for done, job in enumerate(jobs):
        for at, voxels in loader.made(job):
            _write(fd, voxels.reshape(-1).view(np.uint8).data, offset + at * loader.length)
        if progress is not None:
            progress(done + 1, len(jobs), "frames")


def _decoded(loader: frames.Loader, progress: Progress | None) -> Array:
    """In memory that the processes which decode write to."""
    from node.loading import decode

    shared = os.memfd_create("voxels", os.MFD_CLOEXEC)
    try:
        os.ftruncate(shared, loader.nbytes)
        decode.run(loader, loader.work(), shared, 0, progress)
        mapped = mmap.mmap(shared, loader.nbytes)
    except OSError as error:
        raise _storage(error) from error
    finally:
        os.close(shared)
    return np.frombuffer(mapped, loader.dtype).reshape(*loader.shape, *loader.size)


class _opened:  # noqa: N801 - used as a context manager only, and opened once for each file
    """A file that is read; BadData when it cannot be opened."""

    __slots__ = ("fd", "path")

    def __init__(self, path: str) -> None:
        self.path = path

    def __enter__(self) -> int:
        try:
            self.fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise errors.BadData(f"{self.path}: it cannot be read ({error.strerror or error})") from error
        return self.fd

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)


def _read(fd: int, room: memoryview, offset: int, path: str) -> None:
    """Fill the room from a file."""
    place = 0
    while place < len(room):
        try:
            count = os.preadv(fd, [room[place:]], offset + place)
        except OSError as error:
            raise errors.BadData(f"{path}: it cannot be read ({error.strerror or error})") from error
        if not count:
            raise errors.BadData(f"{path}: the file ends before byte {offset + len(room)}")
        place += count


def _write(fd: int, data: memoryview, offset: int) -> None:
    place = 0
    while place < len(data):
        try:
            place += os.pwrite(fd, data[place:], offset + place)
        except OSError as error:
            raise _storage(error) from error


def _storage(error: OSError) -> errors.StorageFull | errors.StorageFailed:
    said = error.strerror or str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return errors.StorageFull(f"there is no room for the voxels ({said})")
    return errors.StorageFailed(f"the voxels cannot be written ({said})")
