"""A changed data set or file: byte ranges over the original, and what stands between them."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
from collections.abc import Callable, Sequence

from node import errors
from node.dicom.syntax import Buffer
from node.dicom.values import Value

Piece = tuple[int, int] | bytes  # a range of the original, or new bytes
Patch = tuple[int, int, bytes]  # from where, to where, what stands there instead; sorted and apart

_IOV_MAX = 1000
_WORTH_COPYING = (
    1 << 16
)  # a range of this size is copied from its file, a smaller one is gathered from memory
_CHUNK = 1 << 20  # what is read and written at a time
_PAGE = 4096
_NOT_THIS_WAY = {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.EBADF}


@dataclasses.dataclass(frozen=True, slots=True)
class Difference:
    """One element before and after."""

    path: str  # with keywords and item numbers
    tag: int  # the element
    vr: str  # as written afterwards, or before when it is removed
    before: Value  # None: absent or empty
    after: Value  # None: absent or empty
    change: str  # "set", "inserted", "removed", "emptied"


@dataclasses.dataclass(frozen=True, slots=True)
class Patched:
    """The result of an edit; it holds a reference to the original's buffer and copies none of it."""

    source: Buffer  # the original
    pieces: tuple[Piece, ...]  # in order; ranges point into the original
    length: int  # bytes of the result
    syntax: str  # transfer syntax UID of the result, the same as before
    notes: tuple[str, ...] = ()  # what was done beyond the changes: character sets, for example
    explain: Callable[[], Sequence[Difference]] = tuple  # computed only when asked for

    @property
    def changed(self) -> bool:
        """Whether the result is another one than the original."""
        return self.pieces != ((0, len(self.source)),)

    def differences(self) -> Sequence[Difference]:
        """What changed, element by element, enclosing lengths left out."""
        return self.explain()

    def buffers(self) -> list[memoryview]:
        """The pieces as memory, for sendmsg or writev; nothing is copied."""
        view = memoryview(self.source)
        return [memoryview(p) if isinstance(p, bytes) else view[p[0] : p[1]] for p in self.pieces]

    def tobytes(self) -> bytes:
        """The result in one piece."""
        return b"".join(self.buffers())

    def write(self, fd: int, source_fd: int | None = None, source_offset: int = 0) -> int:
        """Write to a descriptor at its position; large ranges come from the original's descriptor, if given.

        `source_offset` is where the original's first byte stands in its file. The bytes written are returned.
        """
        waiting: list[memoryview] = []
        view = memoryview(self.source)
        for piece in self.pieces:
            if isinstance(piece, bytes):
                waiting.append(memoryview(piece))
            elif source_fd is None or piece[1] - piece[0] < _WORTH_COPYING:
                waiting.append(view[piece[0] : piece[1]])
            else:
                _write_all(fd, waiting)
                waiting = []
                _copy(source_fd, fd, source_offset + piece[0], piece[1] - piece[0])
        _write_all(fd, waiting)
        return self.length


def _copy(source: int, target: int, offset: int, count: int) -> None:
    """Copy a range of a file, by the kernel where whole pages stay whole pages.

    Elsewhere copy_file_range writes each page in two halves, which takes half as long again as reading and
    writing does (measured on ext4).
    """
    try:
        aligned = (os.lseek(target, 0, os.SEEK_CUR) - offset) % _PAGE == 0
    except OSError:  # a pipe or a socket
        aligned = False
    done = _copy_range(source, target, offset, count) if aligned else 0
    if done == count:
        return
    chunk = memoryview(bytearray(min(count - done, _CHUNK)))
    while done < count:
        got = os.preadv(source, [chunk[: min(len(chunk), count - done)]], offset + done)
        if got == 0:
            raise errors.BadData("the file became shorter while it was copied", offset=offset + done)
        _write_all(target, [chunk[:got]])
        done += got


def _copy_range(source: int, target: int, offset: int, count: int) -> int:
    """How many bytes the kernel moved; fewer than asked for where it cannot."""
    done = 0
    with contextlib.suppress(AttributeError):
        while done < count:
            try:
                moved = os.copy_file_range(source, target, count - done, offset + done)
            except OSError as fault:
                if fault.errno in _NOT_THIS_WAY:
                    break
                raise
            if moved == 0:
                break
            done += moved
    return done


def _write_all(fd: int, buffers: list[memoryview]) -> None:
    """All of it, however often the kernel takes only a part."""
    while buffers:
        written = os.writev(fd, buffers[:_IOV_MAX])
        gone = 0
        while gone < len(buffers) and written >= len(buffers[gone]):
            written -= len(buffers[gone])
            gone += 1
        buffers = buffers[gone:]
        if buffers and written:
            buffers[0] = buffers[0][written:]


def pieces_of(patches: Sequence[Patch], start: int, end: int) -> tuple[list[Piece], int]:
    """The pieces of a range with its patches, neighbouring new bytes joined, and their length."""
    pieces: list[Piece] = []
    fresh: list[bytes] = []
    length = 0
    pos = start
    for at, until, new in patches:
        if at > pos:
            if fresh:
                pieces.append(b"".join(fresh))
                fresh = []
            pieces.append((pos, at))
            length += at - pos
        if new:
            fresh.append(new)
            length += len(new)
        pos = until
    if fresh:
        pieces.append(b"".join(fresh))
    if pos < end:
        pieces.append((pos, end))
        length += end - pos
    return pieces, length
