"""A connected socket, plain or TLS, with waits that end and reads that need one system call.

Plain sockets block with SO_RCVTIMEO: settimeout() would put a poll() before every recv(). TLS sockets do
not block, and wait outside their lock: OpenSSL allows no read beside a write on one connection.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import socket
import ssl
import struct
import sys
import termios
import threading
import time
from collections.abc import Sequence

from node.wire import faults

TICK = 0.5  # seconds that a read blocks before the caller may put its buffer away
_TICK = struct.pack("ll", int(TICK), int(TICK % 1 * 1e6))
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER for no time at all
_MOST_PARTS = 512  # buffers of one sendmsg; the system takes 1,024
_LINGER_BYTES = 1 << 20  # what is read and thrown away so that an A-ABORT is not lost to a reset

Part = bytes | bytearray | memoryview


class Stream:
    """A connected TCP socket."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        sock.setblocking(True)
        with contextlib.suppress(OSError):  # a socket that is no TCP socket, in a test
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _TICK)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _TICK)
        self._closed = False
        self.awake = 0.0  # seconds that a read stays awake for, before it sleeps until it is woken

    def read(self, view: memoryview) -> int | None:
        """Read what is there into a view; None when nothing came within a tick, 0 at the end."""
        try:
            if self.awake:
                end = time.monotonic() + self.awake
                while time.monotonic() < end:
                    try:
                        return self.sock.recv_into(view, 0, socket.MSG_DONTWAIT)
                    except BlockingIOError:
                        pass
            return self.sock.recv_into(view)
        except BlockingIOError:
            return None
        except OSError as error:
            raise faults.gone(f"the connection broke ({error.strerror or error})") from error

    def peek(self, view: memoryview) -> int | None:
        """Read what is there without waiting."""
        try:
            return self.sock.recv_into(view, 0, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None
        except OSError as error:
            raise faults.gone(f"the connection broke ({error.strerror or error})") from error

    def wait(self, deadline: float) -> bool:
        """Wait until there is something to read; False at the deadline."""
        return self._poll(select.POLLIN, deadline)

    def writable(self) -> bool:
        """Whether the peer has read enough of what was sent for more to go out; does not wait."""
        return self._poll(select.POLLOUT, 0.0)

    def write(self, parts: Sequence[Part], size: int, deadline: float) -> None:
        """Send all of these parts, together `size` bytes, before the deadline."""
        try:
            if len(parts) <= _MOST_PARTS:
                sent = self.sock.sendmsg(parts)
                if sent == size:
                    return
            else:
                sent = 0
        except BlockingIOError:
            sent = 0
        except OSError as error:
            raise faults.gone(f"the connection broke ({error.strerror or error})") from error
        self._write_rest(parts, sent, deadline)

    def _write_rest(self, parts: Sequence[Part], sent: int, deadline: float) -> None:
        left = [memoryview(part).cast("B") for part in parts if len(part)]
        while True:
            while left and sent >= len(left[0]):
                sent -= len(left.pop(0))
            if not left:
                return
            left[0] = left[0][sent:]
            if time.monotonic() >= deadline:
                raise faults.AssociationLost("the peer does not read what is sent to it")
            try:
                sent = self.sock.sendmsg(left[:_MOST_PARTS])
            except BlockingIOError:
                sent = 0
            except OSError as error:
                raise faults.gone(f"the connection broke ({error.strerror or error})") from error

    def shutdown_read(self) -> None:
        """Wake whoever is reading: there will be nothing more."""
        shutdown(self.sock, socket.SHUT_RD)

    def cut(self) -> None:
        """Break the connection from another thread; its own thread then closes the socket."""
        shutdown(self.sock, socket.SHUT_RDWR)

    def close(self, linger: float = 0.0) -> None:
        """Close; with a linger, let the peer read our last words first."""
        if self._closed:
            return
        self._closed = True
        if linger > 0:
            with contextlib.suppress(OSError, ValueError):
                self._linger(linger)
                if self._unread():
                    # It does not read: the system would keep what it was sent, and keep the peer waiting at a
                    # window that never opens, for minutes after we are gone. A reset ends both.
                    self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.sock.close()

    def _unread(self) -> int:
        """Bytes that were sent and that the peer's system has not taken."""
        return int.from_bytes(fcntl.ioctl(self.sock, termios.TIOCOUTQ, bytes(4)), sys.byteorder)

    def _linger(self, seconds: float) -> None:
        # Closing with unread input sends a reset, which may overtake an A-ABORT or A-ASSOCIATE-RJ.
        shutdown(self.sock, socket.SHUT_WR)
        deadline = time.monotonic() + seconds
        taken = 0
        while taken < _LINGER_BYTES and self._poll(select.POLLIN, deadline):
            got = len(socket.socket.recv(self.sock, 65536, socket.MSG_DONTWAIT))
            if not got:
                return
            taken += got

    def _poll(self, events: int, deadline: float) -> bool:
        poller = select.poll()
        poller.register(self.sock.fileno(), events)
        return _until(poller, deadline)


class TlsStream(Stream):
    """A TLS connection after its handshake."""

    sock: ssl.SSLSocket

    def __init__(self, sock: ssl.SSLSocket) -> None:
        super().__init__(sock)
        sock.setblocking(False)
        self._lock = threading.Lock()
        # Shutting down the socket for reading would break TLS for our last words too: this wakes instead.
        self._stop = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._stopped = False

    def read(self, view: memoryview) -> int | None:
        got = self.peek(view)
        if got is None and self.wait(time.monotonic() + TICK):
            got = self.peek(view)
        return got

    def peek(self, view: memoryview) -> int | None:
        if self._stopped:
            return 0
        try:
            with self._lock:
                return self.sock.recv_into(view)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None
        except ssl.SSLEOFError:
            return 0
        except OSError as error:
            raise faults.gone(f"the TLS connection broke ({error.strerror or error})") from error

    def write(self, parts: Sequence[Part], size: int, deadline: float) -> None:
        # One record after the other of joined bytes: the copy costs little beside the cipher.
        left = memoryview(parts[0] if len(parts) == 1 else b"".join(parts)).cast("B")
        while left:
            try:
                with self._lock:
                    sent = self.sock.send(left)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                if not self._poll(select.POLLOUT, deadline):
                    raise faults.AssociationLost("the peer does not read what is sent to it") from None
                continue
            except OSError as error:
                raise faults.gone(f"the TLS connection broke ({error.strerror or error})") from error
            left = left[sent:]

    def wait(self, deadline: float) -> bool:
        poller = select.poll()
        poller.register(self.sock.fileno(), select.POLLIN)
        poller.register(self._stop, select.POLLIN)
        return _until(poller, deadline)

    def shutdown_read(self) -> None:
        self._stopped = True
        with self._lock:
            if self._stop >= 0:
                os.eventfd_write(self._stop, 1)

    def close(self, linger: float = 0.0) -> None:
        if not self._closed:
            super().close(linger)
            with self._lock:  # else the number could be another file's when we are stopped
                os.close(self._stop)
                self._stop = -1

    def _linger(self, seconds: float) -> None:
        with contextlib.suppress(ssl.SSLError):
            self.sock.unwrap()  # says goodbye in TLS too; not blocking, it does not wait for theirs
        super()._linger(seconds)


def _until(poller: select.poll, deadline: float) -> bool:
    left = deadline - time.monotonic()
    return bool(poller.poll(int(left * 1000) + 1 if left > 0 else 0))


def shutdown(sock: socket.socket, how: int) -> None:
    """Shut down a connection below TLS: SSLSocket.shutdown() would let later writes go out in the clear."""
    with contextlib.suppress(OSError):
        socket.socket.shutdown(sock, how)
