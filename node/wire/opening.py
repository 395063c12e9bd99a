"""The first PDU of a connection, in either direction, within one deadline and a cap."""

from __future__ import annotations

import time

from node import errors
from node.wire import faults, pdu, stream


class Silence(faults.AssociationLost):
    """The deadline came before the PDU was whole; the connection is closed without a word (ARTIM expired)."""

    def __init__(self, why: str) -> None:
        super().__init__(why, silent=True)


def read(link: stream.Stream, deadline: float, expected: tuple[int, ...]) -> tuple[int, bytes]:
    """Type and body of the first PDU; it reads not a byte more than that."""
    head = _exactly(link, 6, deadline)
    kind, length = pdu.HEADER.unpack(head)
    if kind not in expected:
        raise faults.refused(f"the first PDU begins {head.hex(' ')}, which is no association PDU")
    if length > pdu.LARGEST_REQUEST:
        raise faults.refused(f"an association PDU of {length} bytes; at most {pdu.LARGEST_REQUEST} are taken")
    return kind, _exactly(link, length, deadline)


def request(link: stream.Stream, deadline: float) -> pdu.Request:
    """The A-ASSOCIATE-RQ that a connection begins with."""
    _, body = read(link, deadline, (pdu.ASSOCIATE_RQ,))
    try:
        return pdu.decode_request(body)
    except errors.BadData as error:
        raise faults.refused(f"an A-ASSOCIATE-RQ that cannot be read: {error}") from error


def _exactly(link: stream.Stream, size: int, deadline: float) -> bytes:
    data = bytearray(size)
    have = 0
    with memoryview(data) as view:
        while have < size:
            got = link.peek(view[have:])
            if got == 0:
                raise faults.gone(f"the peer closed the connection after {have} of {size} bytes")
            if got is None:
                if not link.wait(deadline):
                    raise Silence(f"{have} of {size} bytes came before the deadline")
                continue
            have += got
            if have < size and time.monotonic() > deadline:
                raise Silence(f"{have} of {size} bytes came before the deadline")
    return bytes(data)
