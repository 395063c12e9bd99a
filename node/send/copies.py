"""An item as a file of its own: Part 10, with file meta information that tells nothing of our receipt."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping

from node import errors
from node.dicom import header
from node.files import layout
from node.send import base
from node.send import payload as payloads
from node.wire import contexts

_PIECE = 1 << 20  # bytes that are written at a time
_FRONT = 64 << 20  # bytes of a changed data set in which the elements of a name must lie


class Copy:
    """A data set on its way into a file."""

    def __init__(self, item: base.Item, payload: payloads.Payload, notes: tuple[str, ...]) -> None:
        self.sop_instance = item.sop_instance  # as it is written
        self.syntax = item.syntax  # as it is written
        self.size = payload.size  # bytes of the data set
        self.notes = (*notes, *payload.notes)
        self._head = layout.plain_head(item.sop_class, item.sop_instance, item.syntax)
        self._parts = [payload.parts] if isinstance(payload.parts, memoryview) else list(payload.parts)

    def texts(self, keywords: Iterable[str]) -> Mapping[str, tuple[str, ...]]:
        """The values of elements as they are written; raises BadData."""
        if len(self._parts) == 1:
            return header.texts(self._parts[0], self.syntax, keywords)
        front: list[memoryview] = []
        room = _FRONT
        for part in self._parts:
            front.append(part[:room])
            room -= len(front[-1])
        return header.texts(b"".join(front), self.syntax, keywords)

    def write(self, fd: int, turn: Callable[[int], None] | None = None) -> None:
        """Write all of it; `turn` is called before so many bytes go, and may wait. Raises OSError."""
        _write(fd, memoryview(self._head))
        for part in self._parts:
            for at in range(0, len(part), _PIECE):
                piece = part[at : at + _PIECE]
                if turn is not None:
                    turn(len(piece))
                _write(fd, piece)


@contextlib.contextmanager
def opened(item: base.Item, transcoder: base.Transcoder | None, buffer: bytearray) -> Iterator[Copy]:
    """The item's bytes, made into what is wanted and changed as it says; raises errors.NodeError."""
    notes: tuple[str, ...] = ()
    with contextlib.ExitStack() as stack:
        made = item
        if item.wanted is not None:
            try:
                if transcoder is None:
                    raise errors.UsageError("nothing here transcodes")
                made = payloads.made(item, item.wanted, transcoder)
                stack.callback(transcoder.drop, made)
            except errors.Transient:
                raise
            except errors.NodeError as error:
                name = contexts.TRANSFER_SYNTAXES.get(item.wanted.syntax, item.wanted.syntax)
                notes = (f"written as stored: it cannot be made into {name}: {error}",)
        try:
            payload = payloads.read(made, buffer)
        except (OSError, errors.NodeError) as error:
            raise errors.BadData(payloads.unreadable(item, error)) from error
        stack.callback(payload.close)
        yield Copy(made, payload, notes)


def _write(fd: int, piece: memoryview) -> None:
    while piece:
        piece = piece[os.write(fd, piece) :]
