"""The bytes of an item for as long as they are being sent: read or mapped, and changed as the item says."""

from __future__ import annotations

import contextlib
import dataclasses
import mmap
import os
from collections.abc import Sequence

from node import errors
from node.send import base

_MAPPED_FROM = 1 << 20  # bytes; below, reading costs less than mapping


class Payload:
    """A data set's bytes for as long as they are being sent."""

    __slots__ = ("_mapped", "notes", "parts", "size")

    def __init__(
        self,
        parts: Sequence[memoryview],
        size: int,
        mapped: mmap.mmap | None = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        self.parts = parts[0] if len(parts) == 1 else parts  # one buffer has a shorter way
        self.size = size
        self.notes = notes
        self._mapped = mapped

    def close(self) -> None:
        """Let go of them."""
        for part in (self.parts,) if isinstance(self.parts, memoryview) else self.parts:
            part.release()
        if self._mapped is not None:
            # A view of it may be left in a traceback; the mapping goes when that does.
            with contextlib.suppress(BufferError):
                self._mapped.close()


def read(item: base.Item, buffer: bytearray) -> Payload:
    """Read or map the data set and change it; OSError when the file has not got all of it."""
    fd = os.open(item.path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if item.size < _MAPPED_FROM:
            if item.change is not None:
                # What a change makes may hold on to it: it gets memory of its own.
                buffer = bytearray(item.size)
            elif len(buffer) < item.size:
                buffer.extend(bytes(item.size - len(buffer)))
            view = memoryview(buffer)[: item.size]
            if os.preadv(fd, [view], item.offset) != item.size:
                raise OSError(f"it ends before byte {item.offset + item.size}")
            return _changed(item, view, None)
        end = item.offset + item.size
        # Reading behind the end of a mapped file would end the process, not raise.
        if os.fstat(fd).st_size < end:
            raise OSError(f"it ends before byte {end}")
        mapped = mmap.mmap(fd, end, access=mmap.ACCESS_READ)
        mapped.madvise(mmap.MADV_SEQUENTIAL)
        return _changed(item, memoryview(mapped)[item.offset : end], mapped)
    finally:
        os.close(fd)


def _changed(item: base.Item, view: memoryview, mapped: mmap.mmap | None) -> Payload:
    if item.change is None:
        return Payload([view], item.size, mapped)
    made = item.change(view, item.syntax)
    return Payload(made.buffers(), made.length, mapped, made.notes)


def made(item: base.Item, wanted: base.Wanted, transcoder: base.Transcoder) -> base.Item:
    """The item in the transfer syntax that is wanted; to be dropped. Raises errors.NodeError."""
    if wanted.loss is None:
        found = transcoder.make(item, wanted.syntax)
    else:
        found = transcoder.make(item, wanted.syntax, wanted.loss)
    return dataclasses.replace(found, wanted=None)


def unreadable(item: base.Item, error: OSError | errors.NodeError) -> str:
    """Why it could not be read or changed, in a sentence."""
    if isinstance(error, errors.NodeError):
        return f"{item.path} cannot be changed as it must be: {error}"
    return f"{item.path} cannot be read ({error.strerror or error})"
