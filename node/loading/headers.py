"""Headers of files as a table of frames: files, folders, zip archives."""

from __future__ import annotations

import contextlib
import mmap
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from node import errors
from node.dicom import part10
from node.volume import table
from node.volume.reading import read as reading
from node.volume.reading import timing

Array = np.ndarray[Any, np.dtype[Any]]
Progress = Callable[[int, int, str], None]

_FIRST = 16 << 10  # bytes read of each file at first: the header of most
_MORE = 1 << 20  # bytes read when that was not enough; beyond, the file is mapped
_EVERY = 64  # files between two reports of progress
_MOST_ROWS = 20_000_000  # frames of one table
_ZIP = b"PK\3\4"  # how an archive begins


def read(paths: Sequence[str], *, extra: Sequence[str] = (), progress: Progress | None = None) -> table.Table:
    """One row for each frame of the files, in their order; a file that gives none is in `skipped`.

    `extra` are elements named as in `dicom.path`, one column each under the text given; raises UsageError
    where one names none. Nothing is raised for a file.
    """
    found: list[reading.Rows] = []
    skipped: list[table.Skipped] = []
    total = 0
    for number, path in enumerate(paths):
        if progress is not None and number % _EVERY == 0:
            progress(number, len(paths), "headers")
        try:
            one = rows(path, extra=extra)
        except reading.Left as left:
            skipped.append(table.Skipped(path, left.kind, str(left)))
        except NotDicom as fault:
            skipped.append(table.Skipped(path, table.Why.NOT_DICOM, str(fault)))
        except errors.BadData as fault:
            skipped.append(table.Skipped(path, table.Why.DAMAGED, str(fault)))
        except OSError as fault:
            skipped.append(table.Skipped(path, table.Why.UNREADABLE, fault.strerror or str(fault)))
        else:
            total += one.count
            if total > _MOST_ROWS:
                raise errors.UsageError(f"more than {_MOST_ROWS} frames: convert fewer files at once")
            found.append(one)
    if progress is not None:
        progress(len(paths), len(paths), "headers")
    return assemble(found, skipped)


class NotDicom(errors.BadData):
    """A file that does not even begin like DICOM."""


def rows(path: str, *, extra: Sequence[str] = ()) -> reading.Rows:
    """The rows of one file; raises BadData (also `NotDicom`, `read.Left`) and OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise NotDicom("it is not a regular file")
        size = status.st_size
        first = os.pread(fd, _FIRST, 0)
        head = _head(first)
        for length in (_FIRST, _MORE):
            buffer = first if length == _FIRST else os.pread(fd, _MORE, 0)
            with contextlib.suppress(reading.More):
                return reading.rows(
                    buffer, head.offset, head.syntax, path, extra, size=max(size, len(buffer))
                )
            if size <= length:
                break
        if size <= _MORE:
            raise errors.BadData("the file became shorter while it was read")
        with mmap.mmap(fd, size, access=mmap.ACCESS_READ) as mapped:
            return reading.rows(mapped, head.offset, head.syntax, path, extra, size=size)
    finally:
        os.close(fd)


def _head(first: bytes) -> part10.Part10:
    try:
        return part10.part10(first, bare=True)
    except errors.BadData as fault:
        if first[128:132] == b"DICM":
            raise
        if first[:4] == _ZIP:
            # Images may be in it: it is no file that was never meant.
            raise errors.BadData("an archive, or a part of one, that cannot be unpacked") from None
        raise NotDicom(fault.why) from None


def assemble(found: Sequence[reading.Rows], skipped: Sequence[table.Skipped] = ()) -> table.Table:
    """The table of many data sets."""
    counts = np.array([one.count for one in found], dtype=np.int64)
    length = int(counts.sum()) if len(found) else 0
    single = length == len(found)
    names = {name for one in found for source in (one.fixed, one.varying) for name in source}
    if found:
        names.add("slope")  # that the column is there says that headers were read: nobody need look again
    columns: dict[str, Array] = {}
    ends = np.cumsum(counts)
    for name in sorted(names - {"source", "frame", "tile"}):
        columns[name] = _column(name, found, counts, ends, single=single)
    columns["source"] = np.repeat(np.arange(len(found)), counts)
    columns["frame"] = np.arange(length) - np.repeat(ends - counts, counts)
    columns["tile"] = np.zeros(length, dtype=np.int64)
    if not single or any(one.varying for one in found):
        for one, end in zip(found, ends.tolist(), strict=True):
            for name in ("frame", "tile"):
                if name in one.varying:
                    columns[name][end - one.count : end] = one.varying[name]
    timing.settle(columns)
    return table.Table([one.source for one in found], columns, length, skipped)


def _column(name: str, found: Sequence[reading.Rows], counts: Array, ends: Array, *, single: bool) -> Array:
    width = _width(name, found)
    fixed: list[Any]
    made: Array
    if width == 0:
        fixed = [one.fixed.get(name, "") for one in found]
        if name not in table.COLUMNS:
            fixed = [value if isinstance(value, str) else f"{value:.15g}" for value in fixed]
        made = np.empty(len(found), dtype=object)
        made[:] = fixed
    else:
        none: Any = np.nan if width == 1 else (np.nan,) * width
        fixed = [one.fixed.get(name, none) for one in found]
        made = np.array(fixed, dtype=np.float64)
    if not single:
        made = np.repeat(made, counts, axis=0)
    for one, end in zip(found, ends.tolist(), strict=True):
        each = one.varying.get(name)
        if each is not None:
            texts = width == 0 and each.dtype != object
            made[end - one.count : end] = [f"{value:.15g}" for value in each] if texts else each
    return made


def _width(name: str, found: Sequence[reading.Rows]) -> int:
    """Numbers in a row of a column; 0 of one of texts, as an element is that an order asked for if any is."""
    column = table.COLUMNS.get(name)
    if column is not None:
        return 0 if column.kind == table.TEXT else column.width
    for one in found:
        each = one.varying.get(name)
        if isinstance(one.fixed.get(name), str) or (each is not None and each.dtype == object):
            return 0
    return 1


# ---------------------------------------------------------------------------------------- which files


def walk(inputs: Sequence[str]) -> Iterator[str]:
    """The files named and those below the folders named, in the order of their names; no DICOMDIR.

    A folder that was entered already (a link that leads back) is not entered again; one that is a volume
    itself stands for what is in it. One that cannot be read is given like a file, so that it is told.
    """
    seen: set[tuple[int, int]] = set()
    refused: list[OSError] = []
    for one in inputs:
        if not os.path.isdir(one) or _is_volume(one):
            yield one
            continue
        for folder, folders, files in os.walk(one, onerror=refused.append, followlinks=True):
            with contextlib.suppress(OSError):
                status = os.stat(folder)
                key = status.st_dev, status.st_ino
                if key in seen:
                    folders.clear()
                    continue
                seen.add(key)
            folders.sort()
            whole = [name for name in folders if _is_volume(os.path.join(folder, name))]
            folders[:] = [name for name in folders if name not in whole]
            for name in sorted([*files, *whole]):
                if name.upper() not in _NO_IMAGES:
                    yield os.path.join(folder, name)
        yield from (str(error.filename) for error in refused)
        refused.clear()


_NO_IMAGES = frozenset({"DICOMDIR", "DIRFILE"})


def _is_volume(folder: str) -> bool:
    """Whether a folder is an array of Zarr, of any version of it."""
    return folder.rstrip("/").lower().endswith(".zarr") and any(
        os.path.exists(os.path.join(folder, name)) for name in ("zarr.json", ".zgroup", ".zarray")
    )


@contextlib.contextmanager
def opened(inputs: Sequence[str]) -> Iterator[list[str]]:
    """The files of `walk`, those in zip archives extracted to a temporary folder that lives as long.

    Raises BadData where the only file is an archive that cannot be unpacked; one among others is a file.
    """
    found = list(walk(inputs))
    archives = [path for path in found if _is_zip(path)]
    if not archives:
        yield found
        return
    import tempfile

    from node.loading import archives as zips

    with tempfile.TemporaryDirectory(prefix="dicom-node-") as folder:
        inside = zips.unpack_all(archives, folder, alone=len(found) == 1)
        yield [member for path in found for member in inside.get(path, [path])]


def _is_zip(path: str) -> bool:
    """Whether a file is a zip archive, by its first bytes; those of a DICOM file may be anything.

    NumPy's archives of arrays are volumes themselves, and what is called .dcm is not looked into beforehand.
    """
    if path.lower().endswith((".npz", ".dcm")):
        return False
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        with contextlib.suppress(OSError):
            head = os.pread(fd, 132, 0)
            return head[:4] == _ZIP and head[128:] != b"DICM"
        return False
    finally:
        os.close(fd)
