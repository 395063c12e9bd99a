"""A server that accepts everything and finds nothing at once: what is left is what a client costs alone."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import struct
import threading
from collections.abc import Callable, Iterator

from tests import make, scu

_RESPONSE, _SUCCESS, _NO_DATA = 0x8000, 0, 0x0101


@contextlib.contextmanager
def answering(heard: Callable[[str], object] = lambda _: None) -> Iterator[int]:
    """The port of such a server; `heard` is told the UID of each instance whose last byte came."""
    handler = type("_Telling", (_Handler,), {"heard": staticmethod(heard)})
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


class _Handler(socketserver.BaseRequestHandler):
    """One association."""

    heard: Callable[[str], object]

    def handle(self) -> None:
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        command = b""
        while (read := self._read()) is not None:
            kind, body = read
            if kind == 1:
                self.request.sendall(scu.pdu(2, _accepting(body)))
            elif kind == 5:
                self.request.sendall(scu.pdu(6, bytes(4)))
                return
            elif kind == 4:
                command = self._message(command, body)

    def _read(self) -> tuple[int, bytes] | None:
        head = self._exactly(6)
        return None if head is None else (head[0], self._exactly(int.from_bytes(head[2:], "big")) or b"")

    def _exactly(self, size: int) -> bytes | None:
        data = b""
        while len(data) < size:
            more = self.request.recv(size - len(data))
            if not more:
                return None
            data += more
        return data

    def _message(self, command: bytes, body: bytes) -> bytes:
        """Answer when the message is whole; what is known of its command until then."""
        at = 0
        while at < len(body):
            (length,) = struct.unpack_from(">I", body, at)
            context, control = body[at + 4], body[at + 5]
            if control & 1:
                command += body[at + 6 : at + 4 + length]
            values = scu.parse(command) if control & 1 and control & 2 else {}
            at += 4 + length
            whole = control == 2 or (values and values[0x800] == struct.pack("<H", _NO_DATA))
            if whole:
                self.heard(scu.parse(command).get(0x1000, b"").decode().strip("\0"))
                self._answer(context, scu.parse(command))
                command = b""
        return command

    def _answer(self, context: int, asked: dict[int, bytes]) -> None:
        number = {tag: int.from_bytes(asked[tag], "little") for tag in (0x100, 0x110)}
        answer = scu.command({
            0x2: asked[0x2].decode().strip("\0"), 0x100: number[0x100] | _RESPONSE, 0x120: number[0x110],
            0x800: _NO_DATA, 0x900: _SUCCESS,
        })  # fmt: skip
        self.request.sendall(b"".join(scu.fragments(context, answer, is_command=True)))


def _accepting(request: bytes) -> bytes:
    """An acceptance of every context, in explicit little endian."""
    items, at = b"", 68
    while at < len(request):
        kind, length = request[at], int.from_bytes(request[at + 2 : at + 4], "big")
        if kind == 0x20:
            syntax = make.EXPLICIT.encode()
            body = bytes((request[at + 4], 0, 0, 0)) + b"\x40\0" + struct.pack(">H", len(syntax)) + syntax
            items += b"\x21\0" + struct.pack(">H", len(body)) + body
        elif kind == 0x10:
            items += request[at : at + 4 + length]
        at += 4 + length
    own = b"\x51\0\0\x04" + struct.pack(">I", 131072) + b"\x52\0\0\x061.2.34"
    return request[:68] + items + b"\x50\0" + struct.pack(">H", len(own)) + own
