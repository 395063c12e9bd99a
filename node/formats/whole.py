"""Files that are whole or not there: written under another name, renamed when nothing is missing."""

from __future__ import annotations

import contextlib
import errno
import os
import pathlib
from collections.abc import Callable, Iterator

from node import errors

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@contextlib.contextmanager
def whole(path: pathlib.Path) -> Iterator[int]:
    """Give the descriptor of a new file, which gets its name when the block ends and nothing was raised.

    What the system says goes on as StorageFull or StorageFailed with the name that was asked for. A file of
    that name is replaced: whether it may be is for the caller to know.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        try:
            try:
                yield descriptor
            finally:
                os.close(descriptor)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise failed(path, error) from error


def write(descriptor: int, *parts: bytes | memoryview) -> None:
    """Write all of the parts where the file stands."""
    for part in parts:
        left = memoryview(part).cast("B")
        while left:
            left = left[os.write(descriptor, left) :]


def headed(
    path: pathlib.Path, head: bytes, apart: pathlib.Path | None, put: Callable[[int, int], None]
) -> tuple[pathlib.Path, ...]:
    """Write a header with the voxels behind it, or before it into a file `apart`; the files, its own first.

    `put` writes the voxels into a descriptor, from an offset on.
    """
    if apart is not None:
        with whole(apart) as file:
            put(file, 0)
    with whole(path) as file:
        write(file, head)
        if apart is None:
            put(file, len(head))
    return (path,) if apart is None else (path, apart)


def failed(path: pathlib.Path, error: OSError) -> errors.Transient:
    """What a failed write is, in our words."""
    kind = errors.StorageFull if error.errno in _FULL else errors.StorageFailed
    return kind(f"{path} cannot be written ({error.strerror or error})")
