"""One gzip stream made by several threads, and read back no further than what it is said to hold.

The stream is cut into pieces that are deflated side by side; each ends at a sync point, on a whole byte, so
that one after the other they are one member. Readers in browsers refuse files of several members. zlib-ng at
level 3 makes of a CT what pigz makes at level 6, in a sixth of the time.
"""

from __future__ import annotations

import collections
import os
import pathlib
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from node import errors
from node.formats import whole

if TYPE_CHECKING:
    from concurrent import futures

LEVEL = 3  # of zlib-ng
PIECE = 1 << 20  # bytes that one thread takes at a time
_WINDOW = 1 << 15  # how far back deflate refers
_HEAD = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03"  # no name and no time: equal voxels make equal files
_LAST = b"\x03\x00"  # an empty block that says that it is the last
_RAW, _MEMORY = -15, 9

Buffer = bytes | bytearray | memoryview


def write(
    descriptor: int,
    parts: Iterable[Buffer],
    *,
    level: int = LEVEL,
    threads: int | None = None,
    advance: Callable[[int], None] | None = None,
) -> int:
    """Write the parts, one after the other, as one gzip stream; gives how many bytes they had.

    The parts are taken as the threads need them, so that a part may be read from a file when it is asked for.
    `advance` is told of the bytes that are done.
    """
    from concurrent import futures  # not for those who write no gzip

    count = threads or len(os.sched_getaffinity(0))
    crc, size = 0, 0
    whole.write(descriptor, _HEAD)
    with futures.ThreadPoolExecutor(count) as pool:
        for made, check, length in _deflated(pool, parts, level, count):
            whole.write(descriptor, made)
            crc = _combined(crc, check, length)
            size += length
            if advance is not None:
                advance(size)
    whole.write(descriptor, _LAST, struct.pack("<II", crc, size & 0xFFFFFFFF))
    return size


def _deflated(
    pool: futures.Executor, parts: Iterable[Buffer], level: int, threads: int
) -> Iterator[tuple[bytes, int, int]]:
    """What each piece became, its checksum and its length, in order; few pieces are in work at once."""
    waiting: collections.deque[futures.Future[tuple[bytes, int, int]]] = collections.deque()
    before: Buffer = b""
    try:
        for piece in pieces(parts):
            waiting.append(pool.submit(_deflate, piece, before, level))
            before = memoryview(piece)[-_WINDOW:]
            if len(waiting) > 2 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for left in waiting:
            left.cancel()


def _deflate(piece: Buffer, before: Buffer, level: int) -> tuple[bytes, int, int]:
    from zlib_ng import zlib_ng

    if len(before):
        worker = zlib_ng.compressobj(
            level, zlib_ng.DEFLATED, _RAW, _MEMORY, zlib_ng.Z_DEFAULT_STRATEGY, before
        )
    else:
        worker = zlib_ng.compressobj(level, zlib_ng.DEFLATED, _RAW, _MEMORY)
    made = worker.compress(piece) + worker.flush(zlib_ng.Z_SYNC_FLUSH)
    return made, zlib_ng.crc32(piece), len(piece)


def _combined(crc: int, check: int, length: int) -> int:
    from zlib_ng import zlib_ng

    return zlib_ng.crc32_combine(crc, check, length)


def pieces(parts: Iterable[Buffer], size: int = PIECE) -> Iterator[Buffer]:
    """The same bytes in pieces of about `size`: small parts joined, large ones cut without a copy."""
    small: list[Buffer] = []
    held = 0
    for part in parts:
        view = memoryview(part).cast("B")
        if len(view) >= size:
            if held:
                yield b"".join(small)
                small, held = [], 0
            for at in range(0, len(view), size):
                yield view[at : at + size]
            continue
        small.append(view)
        held += len(view)
        if held >= size:
            yield b"".join(small)
            small, held = [], 0
    if held:
        yield b"".join(small)


def head(path: pathlib.Path, most: int) -> bytes:
    """The first bytes that a gzip file holds, or all of them where it has fewer."""
    stream = zlib.decompressobj(31)
    found = b""
    try:
        with path.open("rb") as file:
            while len(found) < most and not stream.eof:
                fed = stream.unconsumed_tail or file.read(1 << 14)
                if not fed:
                    break
                found += stream.decompress(fed, most - len(found))
    except (OSError, zlib.error) as error:
        raise errors.BadData(f"{path}: it is no gzip file that can be read ({error})") from error
    return found


def fill(path: pathlib.Path, offset: int, room: memoryview) -> None:
    """Unpack what lies behind an offset of what is packed until the room is full; BadData when it ends first.

    Members that follow one another are read as one stream, as gzip has it. What more it holds is not made.
    """
    skip, place = offset, 0
    try:
        with path.open("rb") as file:
            stream, fed = zlib.decompressobj(31), b""
            while place < len(room):
                fed = fed or file.read(PIECE)
                if not fed:
                    raise errors.BadData(f"{path}: its voxels end after {place} of {len(room)} bytes")
                made = stream.decompress(fed, min(4 * PIECE, skip + len(room) - place))
                fed = stream.unconsumed_tail
                if stream.eof:
                    fed = stream.unused_data.lstrip(b"\0")
                    stream = zlib.decompressobj(31)
                passed = min(skip, len(made))
                skip -= passed
                room[place : place + len(made) - passed] = made[passed:]
                place += len(made) - passed
    except (OSError, zlib.error) as error:
        raise errors.BadData(f"{path}: its voxels cannot be unpacked ({error})") from error
