"""C-ECHO and C-STORE to another DICOM application.

A data set goes as it stands in its file, or as its item's change makes it: between the changed bytes the
file's own ranges go out, and nothing is copied. What the peer does not take in the stored transfer syntax is
failed with the reason; transcoding is another step's work, before this.
"""

from __future__ import annotations

import collections
import contextlib
import mmap
import os
import time
from collections.abc import Iterator, Sequence

from node import errors, model
from node.dicom import statuses
from node.send import base, link
from node.wire import association, command, contexts

WINDOW = 16  # requests that we offer to have under way at once; most peers grant one

_MAPPED_FROM = 1 << 20  # bytes; below, reading costs less than mapping

Pair = tuple[str, str]  # SOP Class UID, transfer syntax UID


def echo(peer: model.Peer, settings: model.Settings) -> str:
    """Send one C-ECHO and say in a sentence how it went; raises PeerUnreachable or PeerRefused."""
    begun = time.monotonic()
    proposed = [contexts.Proposed(contexts.VERIFICATION, link.PLAIN)]
    with link.opened(peer, settings.node.aet, settings.tls, proposed) as opened:
        context = opened.find(contexts.VERIFICATION)
        if context is None:
            raise errors.PeerRefused(f"{link.where(peer)} took the association, but not Verification")
        asked = opened.next_id()
        opened.send(context, command.request(command.Field.C_ECHO, asked, sop_class=contexts.VERIFICATION))
        answer = link.response(opened, asked).command
    if answer.status != statuses.SUCCESS:
        text = statuses.text(answer.status, link.comment(answer))
        raise errors.PeerRefused(f"{link.where(peer)} answered the C-ECHO with {text}")
    return f"{link.where(peer)} answered in {(time.monotonic() - begun) * 1000:.0f} ms"


class Dimse:
    """A destination that takes C-STORE."""

    def __init__(
        self,
        peer: model.Peer,
        calling: str,
        secure: model.TlsSettings | None = None,
        *,
        window: int = WINDOW,
        timeouts: association.Timeouts | None = None,
    ) -> None:
        self._peer = peer
        self._calling = calling
        self._secure = secure or model.TlsSettings()
        self._window = window
        self._timeouts = timeouts

    def describe(self) -> str:
        """Where this sends to, in words."""
        return link.where(self._peer)

    def send(self, items: Sequence[base.Item]) -> Iterator[base.Result]:
        """Send each item once and yield its result, in order while the peer grants no window."""
        for share in shares(items):
            yield from self._send_share(share)

    def _send_share(self, items: Sequence[base.Item]) -> Iterator[base.Result]:
        """Send what one association has contexts for."""
        waiting = collections.deque(items)
        sent: dict[int, _Sent] = {}
        proposed = [contexts.Proposed(sop_class, (syntax,)) for sop_class, syntax in pairs(items)]
        try:
            with link.opened(
                self._peer,
                self._calling,
                self._secure,
                proposed,
                window=self._window,
                timeouts=self._timeouts,
            ) as opened:
                yield from self._converse(opened, waiting, sent)
        except errors.NodeError as error:
            outcome = link.outcome(error)
            # What was sent and not answered may be there: its next attempt finds out.
            for one in sent.values():
                yield base.Result(one.item, outcome, seconds=time.monotonic() - one.begun)
            for item in waiting:
                yield base.Result(item, outcome)

    def _converse(
        self,
        opened: association.Association,
        waiting: collections.deque[base.Item],
        sent: dict[int, _Sent],
    ) -> Iterator[base.Result]:
        """Send and take answers; an item leaves `waiting` when it goes out and `sent` when it is answered."""
        buffer = bytearray()
        accepted = {(context.abstract, context.transfer): context for context in opened.contexts.values()}
        while waiting or sent:
            if not waiting or len(sent) >= opened.window:
                yield _answered(opened, sent)
                continue
            item = waiting[0]
            context = accepted.get((item.sop_class, item.syntax))
            if context is None:
                waiting.popleft()
                yield base.Result(item, base.Failed(self._not_taken(item)))
                continue
            try:
                payload = _payload(item, buffer)
            except (OSError, errors.NodeError) as error:
                waiting.popleft()
                yield base.Result(item, base.Failed(_unreadable(item, error)))
                continue
            number = opened.next_id()
            request = command.request(
                command.Field.C_STORE,
                number,
                sop_class=item.sop_class,
                sop_instance=item.sop_instance,
                priority=0,
                has_data=True,
            )
            sent[number] = _Sent(waiting.popleft(), time.monotonic(), payload)
            with contextlib.closing(payload):
                opened.send(context, request, payload.parts)

    def _not_taken(self, item: base.Item) -> str:
        syntax = contexts.TRANSFER_SYNTAXES.get(item.syntax, item.syntax)
        return f"{self.describe()} does not take SOP class {item.sop_class} in {syntax}"


class _Sent:
    """An item that is under way."""

    __slots__ = ("begun", "item", "notes", "size")

    def __init__(self, item: base.Item, begun: float, payload: _Payload) -> None:
        self.item = item
        self.begun = begun
        self.size = payload.size
        self.notes = payload.notes


def pairs(items: Sequence[base.Item]) -> list[Pair]:
    """Each SOP class and transfer syntax that occurs, in the order in which they do."""
    return list(dict.fromkeys((item.sop_class, item.syntax) for item in items))


def shares(items: Sequence[base.Item]) -> Iterator[list[base.Item]]:
    """The items by association: each share needs no more contexts than one has."""
    wanted = pairs(items)
    if len(wanted) <= contexts.MOST:
        if items:
            yield list(items)
        return
    for start in range(0, len(wanted), contexts.MOST):
        share = frozenset(wanted[start : start + contexts.MOST])
        yield [item for item in items if (item.sop_class, item.syntax) in share]


def judge(status: int, comment: str = "") -> base.Outcome:
    """What a C-STORE's status makes of an attempt."""
    match statuses.classify(status):
        case statuses.Kind.SUCCESS:
            return base.Done(status)
        case statuses.Kind.WARNING:
            return base.Done(status, statuses.text(status, comment))
        case statuses.Kind.RETRY:
            return base.Retry(statuses.text(status, comment), status)
        case statuses.Kind.PERMANENT:
            return base.Failed(statuses.text(status, comment), status)


def _answered(opened: association.Association, sent: dict[int, _Sent]) -> base.Result:
    """Wait for the next answer to anything that is under way."""
    while True:
        received = opened.receive()
        if isinstance(received, association.Abort):
            raise errors.PeerUnreachable("the peer aborted the association")
        if isinstance(received, association.Release):
            opened.release()
            raise errors.PeerUnreachable("the peer released the association instead of answering")
        answer = received.command
        received.drain()
        one = sent.pop(answer.responded_to, None)
        if one is None or not answer.is_response:
            continue
        return base.Result(
            one.item,
            judge(answer.status, link.comment(answer)),
            syntax=one.item.syntax,
            size=one.size,
            seconds=time.monotonic() - one.begun,
            notes=one.notes,
        )


class _Payload:
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


def _payload(item: base.Item, buffer: bytearray) -> _Payload:
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


def _changed(item: base.Item, view: memoryview, mapped: mmap.mmap | None) -> _Payload:
    if item.change is None:
        return _Payload([view], item.size, mapped)
    made = item.change(view, item.syntax)
    return _Payload(made.buffers(), made.length, mapped, made.notes)


def _unreadable(item: base.Item, error: OSError | errors.NodeError) -> str:
    if isinstance(error, errors.NodeError):
        return f"{item.path} cannot be changed as it must be: {error}"
    return f"{item.path} cannot be read ({error.strerror or error})"
