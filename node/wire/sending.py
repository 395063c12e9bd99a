"""Shares out a message over P-DATA PDUs, as buffers to send one behind the other; no data is copied."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

from node.wire import stream

Data = stream.Part | Iterable[stream.Part]

_HEAD = struct.Struct(">BxIIBB")  # of PDU and PDV: type, length, length of the PDV, context, control
_P_DATA = 4
_COMMAND, _LAST = 1, 2  # bits of the message control header
_BATCH = 1 << 20  # bytes that are handed to one system call


def frames(
    context_id: int, message: bytes, data: Data | None, payload: int, batch: int = _BATCH
) -> Iterator[tuple[list[stream.Part], int]]:
    """Buffers and their joint length, ready to be sent: a command set and the data set behind it.

    `payload` is how many bytes of it one PDU holds, `batch` how many go at a time.
    """
    parts: list[stream.Part] = []
    size = 0
    for part, length, last in _command(message, payload):
        parts += (_HEAD.pack(_P_DATA, length + 6, length + 2, context_id, _COMMAND | last << 1), part)
        size += length + 12
    if data is None:
        yield parts, size
        return
    if isinstance(data, bytes | bytearray | memoryview):
        if len(data) <= payload:
            parts += (_HEAD.pack(_P_DATA, len(data) + 6, len(data) + 2, context_id, _LAST), data)
            yield parts, size + len(data) + 12
            return
        data = (data,)
    for pieces, length, last in _shares(data, payload):
        parts.append(_HEAD.pack(_P_DATA, length + 6, length + 2, context_id, last << 1))
        parts += pieces
        size += length + 12
        if size >= batch:
            yield parts, size
            parts, size = [], 0
    if parts:
        yield parts, size


def _command(message: bytes, payload: int) -> Iterable[tuple[bytes, int, bool]]:
    size = len(message)
    if size <= payload:
        return ((message, size, True),)
    pieces = [message[start : start + payload] for start in range(0, size, payload)]
    return [(piece, len(piece), piece is pieces[-1]) for piece in pieces]


def _shares(data: Iterable[stream.Part], payload: int) -> Iterator[tuple[list[stream.Part], int, bool]]:
    """The data set in shares of one PDU each: the pieces, their joint length, whether it is the last."""
    pieces: list[stream.Part] = []
    length = 0
    for buffer in data:
        view = memoryview(buffer).cast("B")
        start, end = 0, len(view)
        while start < end:
            if length == payload:
                yield pieces, length, False
                pieces, length = [], 0
            step = min(payload - length, end - start)
            pieces.append(view[start : start + step])
            length += step
            start += step
    yield pieces, length, True
