"""An association: whole messages in and out of a stream, in either role.

This is the hot path. One read takes as many PDUs as have come, everything is parsed where it lies, and a
data set is handed on as views of the receive buffer. The clock is read only when a PDU is not whole yet.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Self

from node import errors, model
from node.wire import buffers, command, contexts, faults, pdu, reading, sending, stream

SMALLEST_PDU = 128  # bytes; a peer that takes less costs more in headers than it takes in data
LARGEST_SENT = 1 << 18  # bytes of a P-DATA that we send, however much the peer takes
MOST_DRAINED = 64 << 20  # bytes of a data set that nobody wants, before the association is aborted

_LINGER = 1.0  # seconds that a peer has to read our A-ABORT
_COMMAND, _LAST = 1, 2  # bits of the message control header

Timeouts = reading.Timeouts


def _nothing() -> None:
    """Nobody wants to know."""


@dataclasses.dataclass(frozen=True, slots=True)
class Facts:
    """Who is at the other end, and how it came."""

    id: str  # names this association in journal and log
    address: str  # IP address of the peer
    port: int  # its port
    calling: str = ""  # AE title of the requestor
    called: str = ""  # AE title of the acceptor
    peer: model.Peer | None = None  # the configured peer, when there is one
    tls_names: tuple[str, ...] = ()  # names in the peer's certificate; the first is shown
    secure: bool = False  # over TLS
    implementation: str = ""  # implementation version name, or class UID, of the peer
    inbound: bool = True  # the peer called us

    @property
    def peer_name(self) -> str:
        """What the configuration calls the peer, "" when it does not."""
        return self.peer.name if self.peer else ""


@dataclasses.dataclass(frozen=True, slots=True)
class Release:
    """The peer asks to end the association; answer with release()."""


@dataclasses.dataclass(frozen=True, slots=True)
class Abort:
    """The peer ended the association."""

    source: int  # 0 its application, 2 its protocol layer
    reason: int  # see faults.Reason


class Message:
    """A command set, and the data set behind it as it arrives."""

    __slots__ = ("_association", "command", "complete", "context", "received")

    def __init__(
        self, association: Association, context: contexts.Context, received: command.Command
    ) -> None:
        self._association = association
        self.context = context  # the accepted presentation context it came in
        self.command = received  # what is asked or answered
        self.complete = not received.has_data  # nothing of it is still to come
        self.received = 0  # bytes of the data set so far

    def fragments(self) -> Iterator[memoryview]:
        """The data set piece by piece; each piece is overwritten when the next is asked for."""
        association = self._association
        while not self.complete:
            yield association.next_fragment(self)

    def read(self, cap: int) -> bytes:
        """The whole data set, or BadData when it is longer than the cap."""
        parts: list[bytes] = []
        for fragment in self.fragments():
            if self.received > cap:
                raise errors.BadData(f"a data set of more than {cap} bytes where that is the most")
            parts.append(bytes(fragment))
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def drain(self, cap: int = MOST_DRAINED) -> None:
        """Read the rest of the data set and throw it away; abort when it is longer than the cap."""
        if not self.complete:
            self._association.drain(self, cap)


class Association(reading.Reader):
    """An open association. One thread receives; any thread may send."""

    __slots__ = (
        "__weakref__",
        "_ids",
        "_lock",
        "_released",
        "accepted",
        "bytes_out",
        "contexts",
        "ending",
        "extended",
        "facts",
        "fault",
        "max_out",
        "messages",
        "open",
        "pace",
        "request",
        "rights",
        "started",
        "window",
    )

    def __init__(
        self,
        link: stream.Stream,
        facts: Facts,
        timeouts: Timeouts,
        pool: buffers.Buffers,
        max_in: int,
    ) -> None:
        super().__init__(link, timeouts, pool, max_in)
        self.facts = facts
        self.contexts: Mapping[int, contexts.Context] = {}  # the accepted ones, by id
        self.request = pdu.Request("", "", ())  # as it was sent; as it was received, without the contexts
        self.accepted: pdu.Accept | None = None  # the answer, as it was received
        self.rights: frozenset[model.Right] = frozenset()  # what the peer may ask, when it called us
        self.extended: Mapping[str, bytes] = {}  # what was agreed of extended negotiation, by SOP class
        self.max_out = 0  # bytes of a P-DATA that we send
        self.window = 1  # requests that we may have unanswered at once
        self.bytes_out = 0  # bytes sent, headers included
        self.messages = 0  # messages received
        self.started = time.time()
        self.open = True
        self.pace: Callable[[int], None] | None = (
            None  # called before so many bytes of a message go; may wait
        )
        self.ending: Callable[[], object] = _nothing  # called before the peer can know that it ends
        self.fault: faults.AssociationLost | None = None  # what ended it, when no release did
        self._message: Message | None = None
        self._released = False  # the peer has asked for the release
        self._lock = threading.Lock()  # a message is sent whole
        self._ids = itertools.cycle(range(1, 65536))

    # -- what was agreed ------------------------------------------------------------------------

    def agree(self, agreed: Mapping[int, contexts.Context], peer_max: int, window: int) -> None:
        """Take over the outcome of the negotiation."""
        if 0 < peer_max < SMALLEST_PDU:
            raise faults.broken(f"the peer takes PDUs of at most {peer_max} bytes, which holds no message")
        self.contexts = agreed
        # PDVs of even length, as PS3.8 annex D wants them.
        self.max_out = min(peer_max or LARGEST_SENT, LARGEST_SENT) & ~1
        self.window = window

    def find(
        self, abstract: str, transfers: Iterable[str] = (), *, scp: bool = False
    ) -> contexts.Context | None:
        """An accepted context for an abstract syntax, in the first of these transfer syntaxes that has one.

        Without any named, in whichever. With `scp`, one in which we perform operations.
        """
        fit = [
            context
            for context in self.contexts.values()
            if context.abstract == abstract and (context.scp if scp else context.scu)
        ]
        named = list(transfers)
        if not named:
            return fit[0] if fit else None
        return next((context for uid in named for context in fit if context.transfer == uid), None)

    def next_id(self) -> int:
        """A message id for the next request."""
        return next(self._ids)

    @property
    def secure(self) -> bool:
        """Whether it runs over TLS."""
        return self.facts.secure

    # -- receiving ------------------------------------------------------------------------------

    def receive(self) -> Message | Release | Abort:
        """Wait for the next message, or the end; raises AssociationLost when it ends in another way."""
        try:
            if self._message is not None and not self._message.complete:
                self._message.drain()
            self._message = None
            return self._receive()
        except faults.AssociationLost as fault:
            self._lose(fault)
            raise

    def _receive(self) -> Message | Release | Abort:
        patience = self._timeouts.idle
        if self._pos >= self._pdu_end:
            kind = self._next_pdu(patience)
            if kind != pdu.P_DATA:
                return self._control(kind)
        context_id, control, start, end = self._next_pdv()
        if control != _COMMAND | _LAST:
            received = self._assemble(context_id, control, start, end)
        else:
            assert self._view is not None
            received = self._decode(self._view[start:end])
        context = self.contexts.get(context_id)
        if context is None:
            raise faults.broken(f"a message in presentation context {context_id}, which was not accepted")
        self.messages += 1
        message = Message(self, context, received)
        self._message = message
        return message

    def next_fragment(self, message: Message) -> memoryview:
        """The next piece of a message's data set (for Message)."""
        if not self.open or message is not self._message:
            raise faults.AssociationLost("the rest of this message is no longer there", silent=True)
        try:
            if self._pos >= self._pdu_end:
                kind = self._next_pdu(self._timeouts.pdu)
                if kind != pdu.P_DATA:
                    self._break_off(kind)
            context_id, control, start, end = self._next_pdv()
            if context_id != message.context.id or control & _COMMAND:
                raise faults.broken("another message begins in the middle of a data set")
            if control & _LAST:
                message.complete = True
            message.received += end - start
            assert self._view is not None
            return self._view[start:end]
        except faults.AssociationLost as fault:
            self._lose(fault)
            raise

    def drain(self, message: Message, cap: int) -> None:
        """Read the rest of a message's data set and throw it away (for Message)."""
        start = message.received
        for _ in message.fragments():
            if message.received - start > cap:
                fault = faults.refused(f"a data set that is not wanted goes on for more than {cap} bytes")
                self._lose(fault)
                raise fault

    def cancelled(self, message_id: int) -> bool:
        """Whether a C-CANCEL of this request has come; does not wait."""
        if self._message is not None and not self._message.complete:
            return False
        try:
            return self._cancelled(message_id)
        except faults.AssociationLost as fault:
            self._lose(fault)
            raise

    def quiet(self) -> bool:
        """Whether it stands, between messages, and the peer has said nothing; does not wait."""
        between = self._message is None or self._message.complete
        return self.open and between and self._pos >= self._end and not self._stream.wait(0.0)

    def stay_awake(self, seconds: float) -> None:
        """Have receive() look for so long again and again for what comes, before it sleeps until woken."""
        self._stream.awake = seconds

    def _cancelled(self, message_id: int) -> bool:
        while True:
            if self._pos >= self._pdu_end and not self._peek_pdu():
                return False
            assert self._view is not None
            pos = self._pos
            if self._pdu_end - pos < 6:
                return False  # receive() will say what is wrong with it
            length, _, control = reading.PDV.unpack_from(self._view, pos)
            end = pos + 4 + length
            if control != _COMMAND | _LAST or end > self._pdu_end:
                return False
            asked = self._decode(self._view[pos + 6 : end])
            if asked.field != command.Field.C_CANCEL:
                return False  # a request that waits for its turn
            self._pos = end
            if asked.responded_to == message_id:
                return True

    def _decode(self, data: memoryview) -> command.Command:
        try:
            return command.decode(data)
        except errors.BadData as error:
            raise faults.refused(f"no command set: {error}") from error

    def _assemble(self, context_id: int, control: int, start: int, end: int) -> command.Command:
        """A command set that comes in several fragments."""
        data = bytearray()
        while True:
            if not control & _COMMAND:
                raise faults.broken("a fragment of a data set where a command belongs")
            assert self._view is not None
            data += self._view[start:end]
            if len(data) > command.MAX_LENGTH:
                raise faults.refused(f"a command set of more than {command.MAX_LENGTH} bytes")
            if control & _LAST:
                return self._decode(memoryview(data))
            if self._pos >= self._pdu_end:
                kind = self._next_pdu(self._timeouts.pdu)
                if kind != pdu.P_DATA:
                    self._break_off(kind)
            before = context_id
            context_id, control, start, end = self._next_pdv()
            if context_id != before:
                raise faults.broken("another message begins in the middle of a command set")

    def _control(self, kind: int) -> Release | Abort:
        """The end of the association, at the boundary of messages."""
        assert self._view is not None
        body = bytes(self._view[self._pos : self._pdu_end])
        self._pos = self._pdu_end
        if kind == pdu.RELEASE_RQ:
            self._released = True
            return Release()
        if kind == pdu.ABORT:
            fault = reading.aborted(body)
            self._lose(fault)
            return Abort(fault.source, fault.reason)
        raise faults.broken("a release answered that nobody asked for", faults.Reason.UNEXPECTED_PDU)

    # -- sending --------------------------------------------------------------------------------

    def send(self, context: contexts.Context | int, message: bytes, data: sending.Data | None = None) -> None:
        """Send a command set, and a data set given as one buffer or several that follow each other."""
        context_id = context if isinstance(context, int) else context.id
        try:
            with self._lock:
                self._send(context_id, message, data)
        except faults.AssociationLost as fault:
            self._lose(fault)
            raise
        except BaseException:
            # The data set broke off at its source: the peer waits for the rest, so nothing else can follow.
            self._lose(faults.refused("a data set that is being sent broke off"))
            raise

    def send_all(
        self, context: contexts.Context, messages: Iterable[tuple[bytes, sending.Data | None]]
    ) -> None:
        """Send several messages in one write: where they are small, the system call is the most of each."""
        payload = self.max_out - 6
        try:
            with self._lock:
                if not self.open:
                    raise self._gone()
                parts = [
                    part
                    for message, data in messages
                    for pieces, _ in sending.frames(context.id, message, data, payload)
                    for part in pieces
                ]
                joined = b"".join(parts)
                self._write([joined], len(joined))
        except faults.AssociationLost as fault:
            self._lose(fault)
            raise

    def keeps_up(self) -> bool:
        """Whether the peer reads what is sent to it, so that a little more can be sent without a wait."""
        return self.open and self._stream.writable()

    def _gone(self) -> faults.AssociationLost:
        return self.fault or faults.AssociationLost("the association has ended", silent=True)

    def _send(self, context_id: int, message: bytes, data: sending.Data | None) -> None:
        if not self.open:
            raise self._gone()
        pace = self.pace
        if pace is None:
            for parts, size in sending.frames(context_id, message, data, self.max_out - 6):
                self._write(parts, size)
            return
        for parts, size in sending.frames(context_id, message, data, self.max_out - 6, batch=1):
            pace(size)
            self._write(parts, size)

    def _write(self, parts: Sequence[stream.Part], size: int) -> None:
        self._stream.write(parts, size, time.monotonic() + self._timeouts.pdu)
        self.bytes_out += size

    # -- ending ---------------------------------------------------------------------------------

    def release(self) -> None:
        """End it in good order: answer the peer's request, or ask and wait for the answer."""
        if not self.open:
            return
        try:
            if self._released:
                self.ending()
                self._write([pdu.encode_release(answer=True)], 10)
            else:
                self._write([pdu.encode_release(answer=False)], 10)
                self._await_release()
        except faults.AssociationLost as fault:
            self._lose(fault)
            raise
        if self._view is not None:
            self._buffers.give(self._view)
            self._view = None
        self._close(_LINGER if self._released else 0.0)

    def _await_release(self) -> None:
        if self._message is not None:
            self._message.drain()
            self._message = None
        collided = False
        while True:
            while self._pos < self._pdu_end:
                self._next_pdv()  # answers that nobody waits for any more
            kind = self._next_pdu(self._timeouts.pdu)
            if kind == pdu.ABORT:
                self._break_off(kind)
            if kind == pdu.P_DATA:
                continue
            self._pos = self._pdu_end
            if kind == pdu.RELEASE_RQ:
                # Both asked at once: the requestor answers first, and the acceptor after that (PS3.8 9.2.3).
                collided = True
                if not self.facts.inbound:
                    self._write([pdu.encode_release(answer=True)], 10)
                continue
            if collided and self.facts.inbound:
                self._write([pdu.encode_release(answer=True)], 10)
            return

    def abort(
        self, source: int = faults.Source.USER, reason: int = faults.Reason.NONE, why: str = ""
    ) -> None:
        """End it at once, and say so to the peer."""
        self._lose(faults.AssociationLost(why or "aborted by us", source=source, reason=reason))

    def stop(self, why: str) -> None:
        """From another thread: end it as soon as its own thread next waits for the peer."""
        self._stopping = why
        self._stream.shutdown_read()

    def cut(self, why: str) -> None:
        """From another thread: break the connection, whatever its own thread is doing."""
        self._stopping = why
        self._stream.cut()

    def _lose(self, fault: faults.AssociationLost) -> None:
        """Send the A-ABORT that a fault calls for, and close."""
        if not self.open:
            return
        self.fault = fault
        self.open = False
        self.ending()
        if fault.by_peer or fault.silent:
            self._close(0.0)
            return
        with contextlib.suppress(faults.AssociationLost):
            self._stream.write([pdu.encode_abort(fault.source, fault.reason)], 10, time.monotonic() + _LINGER)
        self._close(_LINGER)

    def _close(self, linger: float) -> None:
        self.open = False
        self._stream.close(linger)
        self._view = None  # not handed back: a handler may still hold a fragment that lies in it

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        if kind is None:
            self.release()
        else:
            self.abort()
