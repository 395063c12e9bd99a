"""An association: whole messages in and out of a stream, in either role.

This is the hot path. One read takes as many PDUs as have come, everything is parsed where it lies, and a
data set is handed on as views of the receive buffer. The clock is read only when a PDU is not whole yet.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import struct
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Self

from node import errors, model
from node.wire import buffers, command, contexts, faults, pdu, stream

SMALLEST_PDU = 128  # bytes; a peer that takes less costs more in headers than it takes in data
LARGEST_SENT = 1 << 18  # bytes of a P-DATA that we send, however much the peer takes
MOST_DRAINED = 64 << 20  # bytes of a data set that nobody wants, before the association is aborted

_LINGER = 1.0  # seconds that a peer has to read our A-ABORT
_BATCH = 1 << 20  # bytes that are handed to one system call
_PDU = pdu.HEADER
_PDV = struct.Struct(">IBB")  # length, context, control
_HEAD = struct.Struct(">BxIIBB")  # both at once: type, length, length of the PDV, context, control
_COMMAND, _LAST = 1, 2  # bits of the message control header

Buffer = bytes | bytearray | memoryview
Data = Buffer | Iterable[Buffer]


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
class Timeouts:
    """How long we wait, in seconds."""

    request: float = 15.0  # until a connection stands, and until the association PDU is there
    pdu: float = 60.0  # until a PDU that has begun, or must come now, is there; until one is taken
    idle: float = 300.0  # at the boundary of messages


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


class Association:
    """An open association. One thread receives; any thread may send."""

    __slots__ = (
        "__weakref__",
        "_buffers",
        "_end",
        "_ids",
        "_lock",
        "_message",
        "_pdu_begun",
        "_pdu_end",
        "_pos",
        "_released",
        "_stopping",
        "_stream",
        "_timeouts",
        "_view",
        "accepted",
        "bytes_in",
        "bytes_out",
        "contexts",
        "facts",
        "fault",
        "idle_since",
        "max_in",
        "max_out",
        "messages",
        "open",
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
        self.facts = facts
        self.contexts: Mapping[int, contexts.Context] = {}  # the accepted ones, by id
        self.request = pdu.Request("", "", ())  # as it was sent or received
        self.accepted: pdu.Accept | None = None  # the answer, as it was sent or received
        self.rights: frozenset[model.Right] = frozenset()  # what the peer may ask, when it called us
        self.max_in = max_in  # bytes of a P-DATA that we take
        self.max_out = 0  # bytes of a P-DATA that we send
        self.window = 1  # requests that we may have unanswered at once
        self.bytes_in = 0  # bytes received, headers included
        self.bytes_out = 0  # bytes sent, headers included
        self.messages = 0  # messages received
        self.started = time.time()
        self.open = True
        self.fault: faults.AssociationLost | None = None  # what ended it, when no release did
        self.idle_since: float | None = None  # when the wait for the next message became a long one
        self._stream = link
        self._timeouts = timeouts
        self._buffers = pool
        self._view: memoryview | None = None
        self._pos = 0  # the next byte to look at
        self._end = 0  # behind the last byte that has come
        self._pdu_end = 0  # behind the P-DATA that _pos is in; <= _pos: between PDUs
        self._pdu_begun = 0.0  # when the PDU that is coming in was first seen incomplete
        self._message: Message | None = None
        self._released = False  # the peer has asked for the release
        self._stopping = ""  # why we are to end it, set by another thread
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
        """An accepted context for an abstract syntax, in the first of these transfer syntaxes if any are named.

        With `scp`, one in which we perform operations and do not invoke them.
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
        try:
            if not self.open or message is not self._message:
                raise faults.AssociationLost("the rest of this message is no longer there", silent=True)
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

    def _cancelled(self, message_id: int) -> bool:
        while True:
            if self._pos >= self._pdu_end and not self._peek_pdu():
                return False
            assert self._view is not None
            pos = self._pos
            if self._pdu_end - pos < 6:
                return False  # receive() will say what is wrong with it
            length, _, control = _PDV.unpack_from(self._view, pos)
            end = pos + 4 + length
            if control != _COMMAND | _LAST or end > self._pdu_end:
                return False
            asked = self._decode(self._view[pos + 6 : end])
            if asked.field != command.Field.C_CANCEL:
                return False  # a request that waits for its turn
            self._pos = end
            if asked.responded_to == message_id:
                return True

    def _peek_pdu(self) -> bool:
        """Whether a whole P-DATA is there; enter it if so."""
        view = self._room(6)
        if not self._whole():
            got = self._stream.peek(view[self._end :])
            if got == 0:
                raise faults.gone("the peer closed the connection without a release")
            if got is None:
                return False
            self._end += got
            self.bytes_in += got
            if not self._whole():
                return False
        kind, length = _PDU.unpack_from(view, self._pos)
        if kind == pdu.ABORT:
            self._break_off(self._next_pdu(self._timeouts.pdu))
        if kind != pdu.P_DATA or length > self.max_in:
            return False
        self._next_pdu(self._timeouts.pdu)
        return True

    def _whole(self) -> bool:
        have = self._end - self._pos
        if self._view is None or have < 6:
            return False
        length: int = _PDU.unpack_from(self._view, self._pos)[1]
        return have >= 6 + length or length > self.max_in

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

    def _next_pdv(self) -> tuple[int, int, int, int]:
        """Context, control and bounds of the next fragment of the P-DATA that we are in."""
        pos = self._pos
        left = self._pdu_end - pos
        if left < 6:
            raise faults.broken(f"{left} bytes at the end of a P-DATA, which is no fragment")
        assert self._view is not None
        length, context_id, control = _PDV.unpack_from(self._view, pos)
        if length < 2:
            raise faults.broken(f"a PDV of length {length}")
        if length > left - 4:
            raise faults.broken(f"a PDV of {length} bytes in a P-DATA that has {left - 4} left")
        end: int = pos + 4 + length
        self._pos = end
        return context_id, control, pos + 6, end

    def _next_pdu(self, patience: float) -> int:
        """Have the next PDU whole in the buffer, step behind its header, and return its type."""
        if self._end - self._pos < 6:
            self._fill(6, patience)
        assert self._view is not None
        kind, length = _PDU.unpack_from(self._view, self._pos)
        if kind == pdu.P_DATA:
            if length > self.max_in:
                raise faults.broken(f"a P-DATA of {length} bytes; we said that we take {self.max_in}")
            if not length:
                raise faults.broken("a P-DATA without a PDV")
        else:
            self._check_control(kind, length)
        if self._end - self._pos < 6 + length:
            self._fill(6 + length, self._timeouts.pdu)
        self._pdu_begun = 0.0
        self._pos += 6
        self._pdu_end = self._pos + length
        return kind  # type: ignore[no-any-return]

    @staticmethod
    def _check_control(kind: int, length: int) -> None:
        if not pdu.ASSOCIATE_RQ <= kind <= pdu.ABORT:
            raise faults.broken(f"a PDU of type {kind:02X}h", faults.Reason.UNRECOGNIZED_PDU)
        if kind <= pdu.ASSOCIATE_RJ:
            raise faults.broken(f"a PDU of type {kind:02X}h in an association", faults.Reason.UNEXPECTED_PDU)
        if length != 4:
            raise faults.broken(f"a PDU of type {kind:02X}h with {length} bytes instead of 4")

    def _control(self, kind: int) -> Release | Abort:
        """The end of the association, at the boundary of messages."""
        assert self._view is not None
        body = bytes(self._view[self._pos : self._pdu_end])
        self._pos = self._pdu_end
        if kind == pdu.RELEASE_RQ:
            self._released = True
            return Release()
        if kind == pdu.ABORT:
            fault = _aborted(body)
            self._lose(fault)
            return Abort(fault.source, fault.reason)
        raise faults.broken("a release answered that nobody asked for", faults.Reason.UNEXPECTED_PDU)

    def _break_off(self, kind: int) -> None:
        """The end of the association in the middle of a message."""
        assert self._view is not None
        if kind == pdu.ABORT:
            raise _aborted(bytes(self._view[self._pos : self._pdu_end]))
        raise faults.broken(
            f"a PDU of type {kind:02X}h in the middle of a message", faults.Reason.UNEXPECTED_PDU
        )

    def _room(self, need: int) -> memoryview:
        """The buffer, with room for this many bytes from _pos on and for more to come."""
        view = self._view
        if view is None:
            view = self._view = self._buffers.take()
        pos, have = self._pos, self._end - self._pos
        if not have:
            self._pos = self._end = self._pdu_end = 0
        elif pos and (have <= 16384 or len(view) - pos < need):
            # Little is left, or it does not fit: to the front, so that the next read can be a long one.
            view[:have] = view[pos : self._end]
            self._pos, self._end, self._pdu_end = 0, have, 0
        return view

    def _fill(self, need: int, patience: float) -> None:
        """Read until this many bytes from _pos on are there."""
        view = self._room(need)
        while True:
            got = self._stream.read(view[self._end :] if self._end else view)
            if got:
                self._end += got
                self.bytes_in += got
                if self._end - self._pos >= need:
                    self.idle_since = None
                    return
                now = time.monotonic()
                if not self._pdu_begun:
                    self._pdu_begun = now
                elif now - self._pdu_begun > self._timeouts.pdu:
                    raise _late(self._end - self._pos, need)
            elif got is None:
                view = self._wait(need, patience)
            elif self._stopping:
                raise faults.refused(self._stopping)
            else:
                raise faults.gone("the peer closed the connection without a release")

    def _wait(self, need: int, patience: float) -> memoryview:
        """Nothing came within a tick: wait without holding more than needed, to the deadline."""
        now = time.monotonic()
        have = self._end - self._pos
        if have:
            begun = self._pdu_begun = self._pdu_begun or now - stream.TICK
            if not self._stream.wait(begun + self._timeouts.pdu):
                raise _late(have, need)
            assert self._view is not None
            return self._view
        if self._message is None and self._view is not None:
            self._buffers.give(self._view)
            self._view = None
            self.idle_since = now - stream.TICK
        if not self._stream.wait(now - stream.TICK + patience):
            raise faults.refused(f"the peer said nothing for {patience:g} s")
        return self._room(need)

    # -- sending --------------------------------------------------------------------------------

    def send(self, context: contexts.Context | int, message: bytes, data: Data | None = None) -> None:
        """Send a command set, and a data set given as one buffer or several that follow each other."""
        context_id = context if isinstance(context, int) else context.id
        try:
            with self._lock:
                if not self.open:
                    raise faults.AssociationLost("the association has ended", silent=True)
                self._send(context_id, message, data)
        except faults.AssociationLost as fault:
            self._lose(fault)
            raise
        except BaseException:
            # The data set broke off at its source: the peer waits for the rest, so nothing else can follow.
            self._lose(faults.refused("a data set that is being sent broke off"))
            raise

    def _send(self, context_id: int, message: bytes, data: Data | None) -> None:
        payload = self.max_out - 6
        parts: list[Buffer] = []
        size = 0
        for fragment, last in _cut([message], payload) if len(message) > payload else ((message, True),):
            length = len(fragment)
            parts += (_HEAD.pack(4, length + 6, length + 2, context_id, _COMMAND | last << 1), fragment)
            size += length + 12
        if data is not None:
            whole = isinstance(data, bytes | bytearray | memoryview)
            if whole and len(data) <= payload:  # type: ignore[arg-type]
                length = len(data)  # type: ignore[arg-type]
                parts += (_HEAD.pack(4, length + 6, length + 2, context_id, _LAST), data)  # type: ignore[arg-type]
                size += length + 12
            else:
                for pieces, length, last in _gather([data] if whole else data, payload):  # type: ignore[list-item,arg-type]
                    parts.append(_HEAD.pack(4, length + 6, length + 2, context_id, last << 1))
                    parts += pieces
                    size += length + 12
                    if size >= _BATCH:
                        self._write(parts, size)
                        parts, size = [], 0
        if parts:
            self._write(parts, size)

    def _write(self, parts: list[Buffer], size: int) -> None:
        self._stream.write(parts, size, time.monotonic() + self._timeouts.pdu)
        self.bytes_out += size

    # -- ending ---------------------------------------------------------------------------------

    def release(self) -> None:
        """End it in good order: answer the peer's request, or ask and wait for the answer."""
        if not self.open:
            return
        try:
            if self._released:
                self._write([pdu.encode_release(answer=True)], 10)
            else:
                self._write([pdu.encode_release(answer=False)], 10)
                self._await_release()
        except faults.AssociationLost as fault:
            self._lose(fault)
            raise
        self._close(_LINGER if self._released else 0.0)

    def _await_release(self) -> None:
        if self._message is not None:
            self._message.drain()
            self._message = None
        while True:
            while self._pos < self._pdu_end:
                self._next_pdv()  # answers that nobody waits for any more
            kind = self._next_pdu(self._timeouts.pdu)
            if kind == pdu.RELEASE_RP:
                return
            if kind == pdu.RELEASE_RQ:
                # Both asked at once: the requestor answers first, the acceptor waits for that (PS3.8 9.2.3).
                self._pos = self._pdu_end
                if self.facts.inbound:
                    continue
                self._write([pdu.encode_release(answer=True)], 10)
            elif kind == pdu.ABORT:
                self._break_off(kind)

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
        if fault.by_peer or fault.silent:
            self._close(0.0)
            return
        with contextlib.suppress(faults.AssociationLost):
            self._stream.write([pdu.encode_abort(fault.source, fault.reason)], 10, time.monotonic() + _LINGER)
        self._close(_LINGER)

    def _close(self, linger: float) -> None:
        self.open = False
        self._stream.close(linger)
        if self._view is not None:
            # Not handed back: somebody may still hold a fragment that lies in it.
            self._view = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        if kind is None:
            self.release()
        else:
            self.abort()


def _aborted(body: bytes) -> faults.AssociationLost:
    source, reason = body[2], body[3]
    who = pdu.ABORT_SOURCES.get(source, f"source {source}")
    why = f": {pdu.ABORT_REASONS.get(reason, f'reason {reason}')}" if source else ""
    return faults.AssociationLost(
        f"the peer aborted ({who}{why})", by_peer=True, source=source, reason=reason
    )


def _late(have: int, need: int) -> faults.AssociationLost:
    return faults.refused(f"a PDU of {need} bytes of which {have} came before the deadline")


def _cut(buffers_: list[bytes], payload: int) -> Iterator[tuple[Buffer, bool]]:
    """A command set that is longer than one PDU, piece by piece."""
    whole = memoryview(b"".join(buffers_))
    for start in range(0, len(whole), payload):
        yield whole[start : start + payload], start + payload >= len(whole)


def _gather(data: Iterable[Buffer], payload: int) -> Iterator[tuple[list[Buffer], int, bool]]:
    """Share out buffers over fragments of this length: the pieces of each, its length, whether it is the last."""
    pieces: list[Buffer] = []
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
