"""Raw voxels that a header points at: where they lie, how they are read, how much of a bomb is unpacked."""

from __future__ import annotations

import dataclasses
import math
import os
import pathlib
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from node import errors
from node.volume import image

Array = np.ndarray[Any, np.dtype[Any]]

_CHUNK = 1 << 20


@dataclasses.dataclass(frozen=True, slots=True)
class Raw:
    """Voxels as they are, in one file or in several of equal parts."""

    paths: tuple[pathlib.Path, ...]  # in their order
    offset: int  # where they begin in each; -1: they are the last bytes of it
    shape: tuple[int, ...]  # of the whole
    dtype: np.dtype[Any]  # with its byte order

    @property
    def part(self) -> int:
        """Bytes in each file."""
        return math.prod(self.shape) * self.dtype.itemsize // len(self.paths)

    def starts(self) -> list[int]:
        """Where the voxels begin in each file; BadData when a file has fewer bytes than they need."""
        found = []
        for path in self.paths:
            try:
                size = path.stat().st_size
            except OSError as error:
                raise errors.BadData(f"{path} cannot be read ({error.strerror or error})") from error
            start = size - self.part if self.offset < 0 else self.offset
            if start < 0 or start + self.part > size:
                raise errors.BadData(f"{path} has {size} bytes, and its header says {self.part} of voxels")
            found.append(start)
        return found

    def voxels(self) -> Array:
        """All of them, in our byte order."""
        out = np.empty(self.shape, self.dtype)
        room = out.data.cast("B")
        for number, (path, start) in enumerate(zip(self.paths, self.starts(), strict=True)):
            with path.open("rb", buffering=0) as file:
                file.seek(start)
                left = room[number * self.part : (number + 1) * self.part]
                while left:
                    count = file.readinto(left)
                    if not count:
                        raise errors.BadData(f"{path} became shorter while it was read")
                    left = left[count:]
        if self.dtype.byteorder == ">":
            out.byteswap(inplace=True)
        return out.view(self.dtype.newbyteorder("<"))

    def spans(self, frames: int) -> image.Spans | None:
        """Where each frame lies, when the bytes need no change."""
        whole = math.prod(self.shape) * self.dtype.itemsize
        if self.dtype.byteorder == ">" or frames % len(self.paths):
            return None
        length, each = whole // frames, frames // len(self.paths)
        starts = np.asarray(self.starts(), dtype=np.int64)
        return image.Spans(
            tuple(map(str, self.paths)),
            np.repeat(np.arange(len(self.paths)), each),
            (starts[:, None] + np.arange(each, dtype=np.int64) * length).reshape(-1),
            length,
        )


def loader(
    path: pathlib.Path, offset: int, unpack: int, shape: Sequence[int], dtype: np.dtype[Any]
) -> Callable[[], Array]:
    """What reads voxels that are deflated, from an offset on; `unpack` as the wbits of zlib."""

    def voxels() -> Array:
        out = np.empty(shape, dtype)
        inflate(path, offset, unpack, out.data.cast("B"))
        if dtype.byteorder == ">":
            out.byteswap(inplace=True)
        return out.view(dtype.newbyteorder("<"))

    return voxels


def inflate(path: pathlib.Path, offset: int, unpack: int, room: memoryview) -> None:
    """Unpack a stream until the room is full; BadData when it ends before. What more it holds is not made."""
    place = 0
    try:
        with path.open("rb") as file:
            file.seek(offset)
            stream = zlib.decompressobj(unpack)
            fed = b""
            while place < len(room):
                fed = fed or file.read(_CHUNK)
                if stream.eof or not fed:
                    raise errors.BadData(f"{path}: its voxels end after {place} of {len(room)} bytes")
                made = stream.decompress(fed, min(_CHUNK * 4, len(room) - place))
                room[place : place + len(made)] = made
                place += len(made)
                fed = stream.unconsumed_tail
    except (OSError, zlib.error) as error:
        raise errors.BadData(f"{path}: its voxels cannot be unpacked ({error})") from error


def sibling(path: pathlib.Path, name: str) -> pathlib.Path:
    """A file that a header names: in the header's own folder, or BadData."""
    if not name or name in (".", "..") or os.path.basename(name) != name or "\0" in name:
        raise errors.BadData(f"{path} names {name[:80]!r} for its voxels, which is no file in its own folder")
    return path.with_name(name)
