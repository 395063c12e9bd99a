"""DICOM on a bare socket, for tests: independent of node/wire, so that a bug there is not shared.

It says exactly what it is told to, right or wrong: `associate_request`, `command` and `fragments` make
the bytes, `Caller` sends them and reads what comes back.
"""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import ssl
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Self

from tests import make

APPLICATION = "1.2.840.10008.3.1.1.1"
VERIFICATION = "1.2.840.10008.1.1"
COMMITMENT = "1.2.840.10008.1.20.1"
COMMITMENT_INSTANCE = "1.2.840.10008.1.20.1.1"

RQ, AC, RJ, DATA, RELEASE_RQ, RELEASE_RP, ABORT = range(1, 8)
STORE_RQ, STORE_RSP, ECHO_RQ, ECHO_RSP = 0x0001, 0x8001, 0x0030, 0x8030
EVENT_RQ, EVENT_RSP, ACTION_RQ, ACTION_RSP = 0x0100, 0x8100, 0x0130, 0x8130
NO_DATA = 0x0101

Value = int | str | bytes


class Closed(ConnectionError):
    """The peer closed the connection, or it broke."""


class Aborted(ConnectionError):
    """The peer sent A-ABORT."""

    def __init__(self, source: int, reason: int) -> None:
        super().__init__(f"aborted {source}/{reason}")
        self.source, self.reason = source, reason


class Rejected(ConnectionError):
    """The peer sent A-ASSOCIATE-RJ."""

    def __init__(self, result: int, source: int, reason: int) -> None:
        super().__init__(f"rejected {result}/{source}/{reason}")
        self.code = (result, source, reason)


@dataclasses.dataclass(frozen=True, slots=True)
class Context:
    """A presentation context as it is proposed."""

    abstract: str  # SOP class UID
    syntaxes: tuple[str, ...] = (make.IMPLICIT,)  # transfer syntax UIDs


def _item(kind: int, body: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(body)) + body


def associate_request(
    contexts: Sequence[Context],
    *,
    calling: str = "RAWSCU",
    called: str = "NODE",
    maximum: int = 131072,
    roles: Mapping[str, tuple[int, int]] | None = None,
    extended: Mapping[str, bytes] | None = None,
    version: int = 1,
    application: str = APPLICATION,
) -> bytes:
    """An A-ASSOCIATE-RQ; contexts get the ids 1, 3, 5 ..."""
    items = _item(0x10, application.encode())
    for at, context in enumerate(contexts):
        inner = _item(0x30, context.abstract.encode())
        inner += b"".join(_item(0x40, syntax.encode()) for syntax in context.syntaxes)
        items += _item(0x20, struct.pack(">B3x", 2 * at + 1) + inner)
    user = _item(0x51, struct.pack(">I", maximum)) + _item(0x52, make.uid("raw").encode())
    for abstract, (scu, scp) in (roles or {}).items():
        user += _item(0x54, struct.pack(">H", len(abstract)) + abstract.encode() + bytes((scu, scp)))
    for abstract, information in (extended or {}).items():
        user += _item(0x56, struct.pack(">H", len(abstract)) + abstract.encode() + information)
    items += _item(0x50, user)
    titles = called.encode().ljust(16) + calling.encode().ljust(16)
    return pdu(RQ, struct.pack(">Hxx", version) + titles + bytes(32) + items)


def pdu(kind: int, body: bytes) -> bytes:
    """A PDU."""
    return struct.pack(">BxI", kind, len(body)) + body


def command(values: Mapping[int, Value]) -> bytes:
    """A command set; ints are US (UL for the group length), str are padded with NUL."""
    body = b""
    for tag, value in sorted(values.items()):
        if isinstance(value, int):
            raw = struct.pack("<H", value)
        elif isinstance(value, str):
            raw = value.encode() + b"\0" * (len(value) % 2)
        else:
            raw = value
        body += struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(raw)) + raw
    return struct.pack("<HHII", 0, 0, 4, len(body)) + body


def parse(data: bytes) -> dict[int, bytes]:
    """A command set's values by tag."""
    found, at = {}, 0
    while at + 8 <= len(data):
        group, number, length = struct.unpack_from("<HHI", data, at)
        found[group << 16 | number] = data[at + 8 : at + 8 + length]
        at += 8 + length
    return found


def fragments(context: int, data: bytes, *, is_command: bool, maximum: int = 16384) -> Iterable[bytes]:
    """P-DATA-TF PDUs of one message part, each with one fragment."""
    room = maximum - 6
    for at in range(0, max(len(data), 1), room):
        piece = data[at : at + room]
        flags = (1 if is_command else 0) | (2 if at + room >= len(data) else 0)
        head = struct.pack(">BxIIBB", DATA, len(piece) + 6, len(piece) + 2, context, flags)
        yield head + piece


def store_request(made: make.Made, message: int, **changes: Value) -> dict[int, Value]:
    """The command of a C-STORE-RQ."""
    values: dict[int, Value] = {
        0x00000002: made.sop_class,
        0x00000100: STORE_RQ,
        0x00000110: message & 0xFFFF,
        0x00000700: 0,
        0x00000800: 1,
        0x00001000: made.sop_instance,
    }
    names = {"sop_class": 0x00000002, "sop_instance": 0x00001000}
    values.update({names[name]: value for name, value in changes.items()})
    return values


@dataclasses.dataclass(frozen=True, slots=True)
class Response:
    """A DIMSE message from the peer."""

    context: int  # presentation context id
    values: dict[int, bytes]  # the command's elements
    data: bytes  # the data set, b"" when there is none

    @property
    def field(self) -> int:
        """Command Field."""
        return self.number(0x00000100)

    @property
    def status(self) -> int:
        """Status."""
        return self.number(0x00000900)

    @property
    def comment(self) -> str:
        """Error Comment."""
        return self.values.get(0x00000902, b"").decode("latin-1").strip()

    def number(self, tag: int) -> int:
        """A US value."""
        return int(struct.unpack("<H", self.values[tag])[0])


class Caller:
    """A connection that may become an association."""

    def __init__(
        self, address: tuple[str, int], timeout: float = 20.0, tls: ssl.SSLContext | None = None
    ) -> None:
        self.socket = socket.create_connection(address, timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            plain = self.socket
            try:
                self.socket = tls.wrap_socket(plain, server_hostname=address[0])
            except OSError:
                plain.close()
                raise
        self.accepted: dict[tuple[str, str], int] = {}  # (abstract, transfer syntax) -> context id
        self.results: dict[int, int] = {}  # context id -> result
        self.extended: dict[str, bytes] = {}  # what the peer answered to extended negotiation
        self.maximum = 16384  # what the peer takes
        self._message = 0
        self._held: list[bytes] | None = None  # what goes out in one write

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket, with no word."""
        self.socket.close()

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """What is sent within goes out in one write: all of it is there before the first is answered."""
        self._held = held = []
        try:
            yield
        finally:
            self._held = None
        self.send(b"".join(held))

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        if self._held is not None:
            self._held.append(data)
            return
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError) as gone:
            raise Closed("while sending") from gone

    def read(self, size: int) -> bytes:
        """Exactly so many bytes, or Closed."""
        got = bytearray()
        while len(got) < size:
            try:
                more = self.socket.recv(min(size - len(got), 1 << 20))
            except ConnectionResetError as gone:
                raise Closed("reset") from gone
            if not more:
                raise Closed(f"after {len(got)} of {size} bytes")
            got += more
        return bytes(got)

    def read_pdu(self) -> tuple[int, bytes]:
        """The next PDU; aborts and rejections are raised."""
        kind, length = struct.unpack(">BxI", self.read(6))
        body = self.read(length)
        if kind == ABORT:
            raise Aborted(body[2], body[3])
        if kind == RJ:
            raise Rejected(body[1], body[2], body[3])
        return kind, body

    def associate(self, contexts: Sequence[Context], **more: object) -> Self:
        """Ask for an association and take the answer."""
        try:
            self.send(associate_request(contexts, **more))  # type: ignore[arg-type]
            kind, body = self.read_pdu()
        except BaseException:
            self.close()  # nobody else can, where the answer is all that is held of it
            raise
        if kind != AC:
            self.close()
            raise ValueError(f"PDU type {kind} in answer to an association request")
        at = 68
        while at + 4 <= len(body):
            item, length = struct.unpack_from(">BxH", body, at)
            inner = body[at + 4 : at + 4 + length]
            if item == 0x21:
                self._context(inner, contexts)
            elif item == 0x50 and inner[:1] == b"\x51":
                self.maximum = struct.unpack_from(">I", inner, 4)[0] or 131072
                self._extended(inner)
            at += 4 + length
        return self

    def _extended(self, user: bytes) -> None:
        at = 0
        while at + 4 <= len(user):
            item, length = struct.unpack_from(">BxH", user, at)
            if item == 0x56:
                name = struct.unpack_from(">H", user, at + 4)[0]
                abstract = user[at + 6 : at + 6 + name].decode().rstrip("\0")
                self.extended[abstract] = user[at + 6 + name : at + 4 + length]
            at += 4 + length

    def _context(self, inner: bytes, contexts: Sequence[Context]) -> None:
        number, result = inner[0], inner[2]
        self.results[number] = result
        if result == 0:
            length = struct.unpack_from(">H", inner, 6)[0]
            syntax = inner[8 : 8 + length].decode().rstrip("\0 ")
            self.accepted[contexts[(number - 1) // 2].abstract, syntax] = number

    def message(self, context: int, values: Mapping[int, Value], data: bytes | None = None) -> None:
        """Send a command, and a data set if there is one."""
        maximum = min(self.maximum, 131072)
        out = [*fragments(context, command(values), is_command=True, maximum=maximum)]
        if data is not None:
            out += fragments(context, data, is_command=False, maximum=maximum)
        self.send(b"".join(out))

    def response(self) -> Response:
        """The next message of the peer."""
        parts = {True: b"", False: b""}
        values: dict[int, bytes] = {}
        while True:
            kind, body = self.read_pdu()
            if kind == RELEASE_RQ:
                self.send(pdu(RELEASE_RP, bytes(4)))
                raise Closed("released by the peer")
            if kind != DATA:
                raise ValueError(f"PDU type {kind} where a message was due")
            at = 0
            while at < len(body):
                length, context, flags = struct.unpack_from(">IBB", body, at)
                is_command = bool(flags & 1)
                parts[is_command] += body[at + 6 : at + 4 + length]
                at += 4 + length
                if not flags & 2:
                    continue
                if is_command:
                    values = parse(parts[True])
                if not is_command or values[0x00000800] == struct.pack("<H", NO_DATA):
                    return Response(context, values, parts[False])

    def context(self, made: make.Made) -> int:
        """The context id for an instance."""
        return self.accepted[made.sop_class, made.syntax]

    def store(self, made: make.Made, **changes: Value) -> Response:
        """C-STORE, and its answer."""
        self._message += 1
        self.message(self.context(made), store_request(made, self._message, **changes), made.data)
        return self.response()

    def echo(self) -> int:
        """C-ECHO; the status."""
        self._message += 1
        context = self.accepted[VERIFICATION, make.IMPLICIT]
        values: dict[int, Value] = {
            0x00000002: VERIFICATION,
            0x00000100: ECHO_RQ,
            0x00000110: self._message & 0xFFFF,
            0x00000800: NO_DATA,
        }
        self.message(context, values)
        return self.response().status

    def release(self) -> None:
        """A-RELEASE, and close."""
        try:
            self.send(pdu(RELEASE_RQ, bytes(4)))
            kind, _ = self.read_pdu()
            if kind != RELEASE_RP:
                raise ValueError(f"PDU type {kind} in answer to a release")
        finally:
            self.close()


def contexts(instances: Iterable[make.Made]) -> list[Context]:
    """Verification, and what these instances need, one context for each syntax."""
    pairs = dict.fromkeys((made.sop_class, made.syntax) for made in instances)
    return [Context(VERIFICATION), *(Context(abstract, (syntax,)) for abstract, syntax in pairs)]


def call(
    address: tuple[str, int], instances: Iterable[make.Made] = (), timeout: float = 20.0, **more: object
) -> Caller:
    """An association for these instances, and for C-ECHO."""
    caller = Caller(address, timeout)
    try:
        return caller.associate(contexts(instances), **more)
    except BaseException:
        caller.close()
        raise
