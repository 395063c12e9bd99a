"""Takes PDUs out of a stream: the receiving half of an association.

This is the hot path. One read takes as many PDUs as have come, everything is parsed where it lies in the one
buffer, and the clock is read only when a PDU is not whole yet.
"""

from __future__ import annotations

import dataclasses
import struct
import time

from node.wire import buffers, faults, pdu, stream

_PDU = pdu.HEADER
PDV = struct.Struct(">IBB")  # length, context, control


@dataclasses.dataclass(frozen=True, slots=True)
class Timeouts:
    """How long we wait, in seconds."""

    request: float = 15.0  # until a connection stands, and until the association PDU is there
    pdu: float = 60.0  # until a PDU that has begun, or must come now, is there; until one is taken
    idle: float = 300.0  # at the boundary of messages


class Reader:
    """What has come and was not looked at yet, and the P-DATA that we are in."""

    __slots__ = (
        "_buffers",
        "_end",
        "_message",
        "_pdu_begun",
        "_pdu_end",
        "_pos",
        "_stopping",
        "_stream",
        "_timeouts",
        "_view",
        "bytes_in",
        "idle_since",
        "max_in",
    )

    def __init__(self, link: stream.Stream, timeouts: Timeouts, pool: buffers.Buffers, max_in: int) -> None:
        self.max_in = max_in  # bytes of a P-DATA that we take
        self.bytes_in = 0  # bytes received, headers included
        self.idle_since: float | None = None  # when the wait for the next message became a long one
        self._stream = link
        self._timeouts = timeouts
        self._buffers = pool
        self._message: object | None = None  # what is being received; None: we are between messages
        self._view: memoryview | None = None
        self._pos = 0  # the next byte to look at
        self._end = 0  # behind the last byte that has come
        self._pdu_end = 0  # behind the P-DATA that _pos is in; <= _pos: between PDUs
        self._pdu_begun = 0.0  # when the PDU that is coming in was first seen incomplete
        self._stopping = ""  # why the association is to end, set by another thread

    def _next_pdv(self) -> tuple[int, int, int, int]:
        """Context, control and bounds of the next fragment of the P-DATA that we are in."""
        pos = self._pos
        left = self._pdu_end - pos
        if left < 6:
            raise faults.broken(f"{left} bytes at the end of a P-DATA, which is no fragment")
        assert self._view is not None
        length, context_id, control = PDV.unpack_from(self._view, pos)
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
                del view  # else the buffer could not go back while we wait
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

    def _peek_pdu(self) -> bool:
        """Whether a whole P-DATA is there; enter it if so."""
        view = self._room(self.max_in + 6)  # a PDU that is not whole leaves room for more of it
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

    def _break_off(self, kind: int) -> None:
        """The end of the association in the middle of a message."""
        assert self._view is not None
        if kind == pdu.ABORT:
            raise aborted(bytes(self._view[self._pos : self._pdu_end]))
        raise faults.broken(
            f"a PDU of type {kind:02X}h in the middle of a message", faults.Reason.UNEXPECTED_PDU
        )


def _late(have: int, need: int) -> faults.AssociationLost:
    return faults.refused(f"a PDU of {need} bytes of which {have} came before the deadline")


def aborted(body: bytes) -> faults.AssociationLost:
    source, reason = body[2], body[3]
    who = pdu.ABORT_SOURCES.get(source, f"source {source}")
    why = f": {pdu.ABORT_REASONS.get(reason, f'reason {reason}')}" if source else ""
    return faults.AssociationLost(
        f"the peer aborted ({who}{why})", by_peer=True, source=source, reason=reason
    )
