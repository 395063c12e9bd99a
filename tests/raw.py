"""A DICOM peer made of bytes on a socket, and an acceptor to point it at.

It shares nothing with the engine under test but the socket: what it says and expects is written out here.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
import ssl
import struct
import threading
import time
from collections.abc import Iterator, Mapping, Sequence

from node import model
from node.wire import acceptor, association, command, faults, pdu, policy, slots, tls

VERIFICATION = "1.2.840.10008.1.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
APPLICATION = "1.2.840.10008.3.1.1.1"

ABORT_USER = bytes.fromhex("070000000004 0000 0000")
ABORT_UNRECOGNIZED = bytes.fromhex("070000000004 0000 0201")
ABORT_UNEXPECTED = bytes.fromhex("070000000004 0000 0202")
ABORT_INVALID = bytes.fromhex("070000000004 0000 0206")
RELEASE_RQ = bytes.fromhex("050000000004 00000000")
RELEASE_RP = bytes.fromhex("060000000004 00000000")


def rejection(result: int, source: int, reason: int) -> bytes:
    """The bytes of an A-ASSOCIATE-RJ."""
    return bytes.fromhex("030000000004") + bytes((0, result, source, reason))


def item(kind: int, body: bytes) -> bytes:
    """An item of an association PDU."""
    return struct.pack(">BxH", kind, len(body)) + body


def context(number: int, abstract: str, *transfers: str) -> bytes:
    """A proposed presentation context."""
    body = bytes((number, 0, 0, 0)) + item(0x30, abstract.encode())
    return item(0x20, body + b"".join(item(0x40, uid.encode()) for uid in transfers or (IMPLICIT,)))


BOTH = context(1, VERIFICATION) + context(3, CT, EXPLICIT, IMPLICIT)


def request(
    contexts: bytes = BOTH,
    *,
    called: str = "NODE",
    calling: str = "RAW",
    version: int = 1,
    application: str = APPLICATION,
    max_pdu: int = 16384,
    user: bytes = b"",
) -> bytes:
    """An A-ASSOCIATE-RQ."""
    fixed = struct.pack(">H2x16s16s32x", version, called.ljust(16).encode(), calling.ljust(16).encode())
    information = item(0x51, struct.pack(">I", max_pdu)) + item(0x52, b"1.2.3.4") + user
    body = fixed + item(0x10, application.encode()) + contexts + item(0x50, information)
    return struct.pack(">BxI", 1, len(body)) + body


def pdv(number: int, control: int, data: bytes) -> bytes:
    """A presentation data value item."""
    return struct.pack(">IBB", len(data) + 2, number, control) + data


def p_data(*values: bytes) -> bytes:
    """A P-DATA-TF."""
    body = b"".join(values)
    return struct.pack(">BxI", 4, len(body)) + body


def element(tag: int, value: bytes) -> bytes:
    """An element of a command set."""
    value += b"\0" * (len(value) & 1)
    return struct.pack("<HHI", 0, tag, len(value)) + value


def command_set(*elements: bytes) -> bytes:
    """A command set with its group length."""
    body = b"".join(elements)
    return element(0, struct.pack("<I", len(body))) + body


def us(tag: int, value: int) -> bytes:
    """A US element of a command set."""
    return element(tag, struct.pack("<H", value))


def echo_command(message_id: int = 1, field: int = 0x30, sop_class: str = VERIFICATION) -> bytes:
    """A C-ECHO-RQ, or another request without a data set."""
    return command_set(
        element(2, sop_class.encode()), us(0x100, field), us(0x110, message_id), us(0x800, 0x101)
    )


def store_command(message_id: int = 1, sop_class: str = CT, sop_instance: str = "1.2.3") -> bytes:
    """A C-STORE-RQ."""
    return command_set(
        element(2, sop_class.encode()),
        us(0x100, 1),
        us(0x110, message_id),
        us(0x700, 0),
        us(0x800, 1),
        element(0x1000, sop_instance.encode()),
    )


def receive_pdu(sock: socket.socket) -> bytes:
    """The next PDU, b"" at the end of the connection."""
    head = _exactly(sock, 6)
    if len(head) < 6:
        return head
    return head + _exactly(sock, struct.unpack(">BxI", head)[1])


def _exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        try:
            got = sock.recv(size - len(data))
        except ConnectionResetError:
            return b"reset"
        if not got:
            break
        data += got
    return data


def status(answer: bytes) -> int:
    """The status in a P-DATA that holds one whole response."""
    assert answer[0] == 4, answer.hex(" ")
    found = answer.index(struct.pack("<HHI", 0, 0x900, 2))
    value: int = struct.unpack_from("<H", answer, found + 8)[0]
    return value


def reaches_end(sock: socket.socket) -> bool:
    """Whether the peer closed, with nothing said before."""
    return sock.recv(1) == b""


class Heard:
    """The events of an acceptor, as they came."""

    def __init__(self) -> None:
        self.words: list[tuple[str, str]] = []
        self.crashes: list[BaseException] = []

    def opened(self, association: association.Association) -> None:
        self.words.append(("opened", association.facts.calling))

    def rejected(self, facts: association.Facts, rejection: pdu.Rejection) -> None:
        self.words.append(("rejected", rejection.why))

    def closed(self, association: association.Association) -> None:
        self.words.append(("closed", association.facts.calling))

    def aborted(self, association: association.Association, fault: faults.AssociationLost) -> None:
        self.words.append(("aborted", fault.why))

    def dropped(self, facts: association.Facts, why: str) -> None:
        self.words.append(("dropped", why))

    def unauthorized(self, association: association.Association, field: int, right: model.Right) -> None:
        self.words.append(("unauthorized", right.value))

    def crashed(self, facts: association.Facts, error: BaseException) -> None:
        self.crashes.append(error)

    def wait(self, kind: str, number: int = 1) -> list[str]:
        """The texts of one kind of event, once there are so many."""
        deadline = time.monotonic() + 60
        while len(self.of(kind)) < number and time.monotonic() < deadline:
            time.sleep(0.005)
        return self.of(kind)

    def of(self, kind: str) -> list[str]:
        """The texts of one kind of event."""
        return [text for word, text in self.words if word == kind]


LIMITS = model.Limits(
    associations=8,
    per_peer=6,
    echo_slots=2,
    pdu=16384,
    request_timeout=30.0,  # a slow machine may take its time where no deadline is tested
    pdu_timeout=30.0,
    idle_timeout=30.0,
)
IMPATIENT = dataclasses.replace(LIMITS, request_timeout=0.8, pdu_timeout=0.8, idle_timeout=5.0)


class Acceptor:
    """A running acceptor that answers C-ECHO, and C-STORE by keeping the bytes."""

    def __init__(
        self,
        *,
        limits: model.Limits = LIMITS,
        node: model.NodeSettings | None = None,
        peers: Sequence[model.Peer] = (),
        handlers: Mapping[int, acceptor.Handler] | None = None,
        congested: bool = False,
        secure: tls.Reloading | None = None,
        check: policy.Check | None = None,
        services: Sequence[str] = policy.QUERY_RETRIEVE,
    ) -> None:
        before = threading.active_count()
        self.node = node or model.NodeSettings()
        self.heard = Heard()
        self.stored: list[bytes] = []
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self.listener.getsockname()[1]
        self.congested = congested
        self.slots = slots.Slots()
        known: dict[int, acceptor.Handler] = {
            command.Field.C_ECHO: answer,
            command.Field.C_STORE: self._store,
        }
        self.acceptor = acceptor.Acceptor(
            [acceptor.Listener(self.listener, secure)],
            policy.Policy(self.node, limits, peers, services=services, check=check),
            known | dict(handlers or {}),
            limits,
            self.heard,
            slots=self.slots,
            congested=lambda: self.congested,
        )
        self._thread = threading.Thread(target=self.acceptor.serve)
        self._thread.start()
        if secure is None:
            self.connect().close()  # once it has noticed this, it runs as it will run
            while not self.heard.words or threading.active_count() > before + 1:
                time.sleep(0.001)
            self.heard.words.clear()
        self.baseline = self.resources()

    def _store(self, link: association.Association, message: association.Message) -> None:
        self.stored.append(message.read(1 << 30))
        answer(link, message)

    def connect(self) -> socket.socket:
        """A connection on which nothing was said yet."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)

    @contextlib.contextmanager
    def associated(self, asked: bytes | None = None) -> Iterator[socket.socket]:
        """A raw connection after its A-ASSOCIATE-AC."""
        with self.connect() as sock:
            sock.sendall(request() if asked is None else asked)
            answered = receive_pdu(sock)
            assert answered[0] == 2, answered.hex(" ")
            yield sock

    def resources(self) -> tuple[int, int]:
        """Threads and descriptors of this process."""
        return threading.active_count(), len(os.listdir("/proc/self/fd"))

    def _is_bare(self) -> bool:
        """Whether nothing is left that was not there at the start; of that, some may have ended since."""
        return all(now <= before for now, before in zip(self.resources(), self.baseline, strict=True))

    def check(self) -> None:
        """A legitimate C-ECHO and C-STORE work, and nothing is left of what came before."""
        data = os.urandom(40000)
        # Who hung up without a word keeps his place until it is noticed.
        deadline = time.monotonic() + 60
        while self.slots.totals() != (0, 0) and time.monotonic() < deadline:
            time.sleep(0.002)
        with self.associated() as sock:
            sock.sendall(p_data(pdv(1, 3, echo_command(7))))
            assert status(receive_pdu(sock)) == 0
            pieces = [data[:16000], data[16000:32000], data[32000:]]
            sock.sendall(p_data(pdv(3, 3, store_command(8))))
            for number, piece in enumerate(pieces):
                sock.sendall(p_data(pdv(3, 2 * (number == 2), piece)))
            assert status(receive_pdu(sock)) == 0
            assert self.stored[-1] == data
            sock.sendall(RELEASE_RQ)
            assert receive_pdu(sock) == RELEASE_RP
        deadline = time.monotonic() + 60
        while not self._is_bare() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert self._is_bare(), f"{self.resources()} threads and descriptors; {self.baseline} before"
        assert self.slots.totals() == (0, 0)
        assert not self.heard.crashes

    def close(self) -> None:
        """Drain, and let go of everything."""
        self.acceptor.drain(0)
        self._thread.join(60)
        self.listener.close()
        self.acceptor.close()
        self.slots.close()
        assert not self._thread.is_alive()


def answer(link: association.Association, message: association.Message) -> None:
    """Answer a request with success."""
    link.send(message.context, command.response(message.command, 0))


@contextlib.contextmanager
def running(**how: object) -> Iterator[Acceptor]:
    """An acceptor for the length of a block."""
    made = Acceptor(**how)  # type: ignore[arg-type]
    try:
        yield made
    finally:
        made.close()


def insecure_client() -> ssl.SSLContext:
    """A TLS client that trusts everybody."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
