"""Whole files written in one go, the large ones past the page cache.

What a large instance costs is the pages that its file takes in the cache, each found, zeroed and written
back by a processor that the listeners need: up to three times the write itself, more on a virtual machine.
Nothing here is synced; the caller's checkpoint does that for many files at once.
"""

from __future__ import annotations

import errno
import mmap
import os

from node.files import disk as disks

DIRECT_FROM = 256 << 10  # bytes; below, waiting for the device costs more than the pages do
_BLOCK = 4096  # what file systems ask of addresses, offsets and lengths
_UNSUPPORTED = frozenset({errno.EINVAL, errno.EOPNOTSUPP})


class Writer:
    """Writes files for one thread."""

    def __init__(self, disk: disks.Disk) -> None:
        self._disk = disk
        self._direct = True  # until the file system says that it cannot
        self._scratch = mmap.mmap(-1, DIRECT_FROM)  # lies on a page, as the device wants it

    def write(self, path: str, head: bytes, payload: memoryview) -> None:
        """Make the file of these bytes, or raise OSError and leave what there is under the path."""
        if self._direct and len(head) + len(payload) >= DIRECT_FROM:
            try:
                self._write_direct(path, head, payload)
                return
            except OSError as error:
                # Not every file system can; and the rest of a write that broke off need not lie on a block.
                if error.errno not in _UNSUPPORTED:
                    raise
                self._direct = False
        fd = self._disk.create(path)
        try:
            self._disk.write(fd, (head, payload), 0)
        finally:
            os.close(fd)

    def _write_direct(self, path: str, head: bytes, payload: memoryview) -> None:
        size = len(head) + len(payload)
        whole = -(-size // _BLOCK) * _BLOCK
        scratch = self._room(whole)
        scratch[: len(head)] = head
        scratch[len(head) : size] = payload
        scratch[size:whole] = bytes(whole - size)
        fd = self._disk.create(path, direct=True)
        try:
            with memoryview(scratch) as view, view[:whole] as filled:
                self._disk.write(fd, (filled,), 0)
            self._disk.cut(fd, size)
        finally:
            os.close(fd)

    def _room(self, size: int) -> mmap.mmap:
        if len(self._scratch) < size:
            self._scratch.close()
            self._scratch = mmap.mmap(-1, 1 << (size - 1).bit_length())
        return self._scratch
