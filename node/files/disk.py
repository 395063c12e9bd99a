"""The narrow seam to the operating system: every call whose failure decides about an acknowledgement."""

from __future__ import annotations

import ctypes
import errno
import os
import pathlib
from collections.abc import Sequence

from node import errors

Buffer = bytes | bytearray | memoryview

# Out of blocks, inodes, quota or the size that a file may have: room can be made, and then it works again.
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Disk:
    """What the durable path asks of the kernel; a test hands in another one that fails on purpose."""

    def write(self, fd: int, buffers: Sequence[Buffer], offset: int) -> None:
        """Write all of the buffers at an offset, in as few calls as it takes."""
        total = sum(map(len, buffers))
        done = os.pwritev(fd, buffers, offset)
        while done < total:
            joined = b"".join(buffers)
            more = os.pwrite(fd, memoryview(joined)[done:], offset + done)
            if more == 0:
                raise OSError(errno.EIO, "the kernel took no more bytes")
            done += more

    def sync_data(self, fd: int) -> None:
        os.fdatasync(fd)

    def sync(self, fd: int) -> None:
        os.fsync(fd)

    def rename(self, source: str | pathlib.Path, target: str | pathlib.Path) -> None:
        os.rename(source, target)

    def create(self, path: str | pathlib.Path, *, direct: bool = False) -> int:
        """Open a new, empty file for reading and writing; `direct` goes past the page cache."""
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        return os.open(path, flags | os.O_DIRECT if direct else flags, 0o640)

    def cut(self, fd: int, size: int) -> None:
        """Make a file so long."""
        os.ftruncate(fd, size)

    def sync_filesystem(self, fd: int) -> None:
        """Make everything on the file system that `fd` lies on durable."""
        if _LIBC.syncfs(fd) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))

    def free(self, path: str | pathlib.Path) -> int:
        """Bytes that may still be written to the file system that holds `path`."""
        stat = os.statvfs(path)
        return stat.f_bavail * stat.f_frsize


_LIBC = ctypes.CDLL(None, use_errno=True)


def failure(error: OSError, doing: str) -> errors.StorageFull | errors.StorageFailed:
    """The error to raise for what the operating system answered while `doing` something."""
    why = f"{doing}: {os.strerror(error.errno) if error.errno else error}"
    if error.errno in _FULL:
        return errors.StorageFull(f"{why}; make room, or move the data directory")
    return errors.StorageFailed(f"{why}; look at the disk and the kernel's log")


def sync_directory(disk: Disk, path: str | pathlib.Path) -> None:
    """Make the names in a directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        disk.sync(fd)
    finally:
        os.close(fd)
