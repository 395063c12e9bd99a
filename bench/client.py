"""A sender for what DCMTK's tools cannot do: a hundred at once without a hundred start-ups, 2 GB, idling.

Built on the tests' bare socket, which shares no code with the node.
"""

from __future__ import annotations

import dataclasses
import os
import pickle
import socket
import struct
import time
from collections.abc import Iterator, Sequence

from bench import corpora
from tests import make, scu

PDU = 131072


@dataclasses.dataclass(frozen=True, slots=True)
class Sent:
    """What one sender did."""

    begun: float  # monotonic seconds, the same clock for all
    ended: float
    stored: int  # answers of 0x0000


def fan_out(port: int, senders: int, each: int, size: str) -> list[Sent]:
    """Send from so many processes at once, one association each; different instances throughout."""
    total = corpora.SIZES[size]
    gate_r, gate_w = os.pipe()
    readers = []
    for sender in range(senders):
        r, w = os.pipe()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                os.close(gate_w)
                pdus = [_encoded(sender * each + number + 1, total, number + 1) for number in range(each)]
                os.read(gate_r, 1)  # everybody is ready when the gate closes
                with os.fdopen(w, "wb") as out:
                    pickle.dump(_send(port, f"BENCH{sender}", pdus), out)
                code = 0
            finally:
                os._exit(code)
        os.close(w)
        readers.append((pid, r))
    os.close(gate_r)
    time.sleep(0.2 + senders * each * 0.0004)  # they encode; two processors share it
    os.close(gate_w)
    sent = []
    for pid, r in readers:
        with os.fdopen(r, "rb") as answer:
            data = answer.read()
        os.waitpid(pid, 0)
        if not data:
            raise RuntimeError("a sender failed; its error is above")
        sent.append(pickle.loads(data))
    return sent


def _encoded(number: int, size: int, message: int) -> bytes:
    made = corpora.instance(number, size, seed="fan")
    command = scu.command(scu.store_request(made, message))
    return b"".join(
        (
            *scu.fragments(1, command, is_command=True),
            *scu.fragments(1, made.data, is_command=False, maximum=PDU),
        )
    )


def _send(port: int, calling: str, pdus: Sequence[bytes]) -> Sent:
    with scu.Caller(("127.0.0.1", port), 120) as caller:
        begun = time.monotonic()
        caller.associate([scu.Context(make.CT, (make.EXPLICIT,))], calling=calling)
        stored = 0
        for pdu in pdus:
            caller.send(pdu)
            stored += caller.response().status == 0
        ended = time.monotonic()
        caller.release()
    return Sent(begun, ended, stored)


def idle(port: int, count: int) -> list[scu.Caller]:
    """Open so many associations and leave them."""
    return [
        scu.Caller(("127.0.0.1", port), 60).associate(
            [scu.Context(scu.VERIFICATION)], calling=f"IDLE{number}"
        )
        for number in range(count)
    ]


def churn(port: int, count: int) -> None:
    """Open, echo and release, one after the other."""
    for _ in range(count):
        with scu.Caller(("127.0.0.1", port), 60) as caller:
            caller.associate([scu.Context(scu.VERIFICATION)], calling="CHURN")
            caller.message(
                1, {0x00000002: scu.VERIFICATION, 0x00000100: scu.ECHO_RQ, 0x00000110: 1, 0x00000800: 0x0101}
            )
            caller.response()
            caller.release()


def send_large(port: int, size: int) -> float:
    """Send one multi-frame instance of so many bytes of pixels, never held in memory; return the seconds."""
    made = make.instance(1, seed="large", sop_class="1.2.840.10008.5.1.4.1.1.7.2", size=4096)
    at = made.data.rindex(struct.pack("<HH2s", 0x7FE0, 0x0010, b"OW"))
    head = made.data[:at] + struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, size)
    with scu.Caller(("127.0.0.1", port), 600) as caller:
        caller.associate([scu.Context(made.sop_class, (make.EXPLICIT,))], calling="LARGE")
        room = min(PDU, caller.maximum or PDU) - 6
        begun = time.monotonic()
        caller.message(1, scu.store_request(made, 1))
        for piece, last in _pieces(head, size, room):
            header = struct.pack(">BxIIBB", scu.DATA, len(piece) + 6, len(piece) + 2, 1, 2 if last else 0)
            _send_all(caller.socket, header, piece)
        status = caller.response().status
        seconds = time.monotonic() - begun
        if status:
            raise RuntimeError(f"the large instance was answered with {status:04X}")
        caller.release()
    return seconds


def _pieces(head: bytes, size: int, room: int) -> Iterator[tuple[bytes | memoryview, bool]]:
    filler = memoryview(os.urandom(room))
    first = head + bytes(filler[: room - len(head)])
    left = size - (len(first) - len(head))
    yield first, left == 0
    while left:
        piece = filler[: min(room, left)]
        left -= len(piece)
        yield piece, left == 0


def _send_all(sock: socket.socket, *parts: bytes | memoryview) -> None:
    sock.sendall(b"".join(parts))
