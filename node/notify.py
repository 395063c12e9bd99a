"""The service manager's side of a daemon: telling it our state, and taking the sockets that it opened for us.

The protocol is a datagram of `KEY=VALUE` lines and a few environment variables; no library is worth it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
import time
from collections.abc import MutableMapping

FIRST_DESCRIPTOR = 3  # where inherited sockets begin, after the three standard streams


@dataclasses.dataclass(frozen=True, slots=True)
class Inherited:
    """A socket that the service manager opened before it started us."""

    name: str  # FileDescriptorName= of the socket unit, e.g. "dicom"
    sock: socket.socket  # bound and listening


class Service:
    """What this process tells its service manager; says nothing where there is none."""

    def __init__(self, address: str | None, *, watchdog: float | None = None) -> None:
        self._address = "\0" + address[1:] if address and address.startswith("@") else address
        self.watchdog = watchdog  # seconds within which `alive` must be called again; None: nobody waits

    def ready(self, status: str = "") -> None:
        """Say that everything which was recovered is recovered, and that we listen."""
        self._say("READY=1", *_status(status))

    def reloading(self) -> None:
        """Say that the configuration is being read again; `ready` ends it."""
        self._say("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, status: str = "") -> None:
        """Say that we drain."""
        self._say("STOPPING=1", *_status(status))

    def status(self, text: str) -> None:
        """Set the line that the operator sees beside our name."""
        self._say(*_status(text))

    def alive(self) -> None:
        """Feed the watchdog."""
        self._say("WATCHDOG=1")

    def extend(self, seconds: float) -> None:
        """Ask for more time to start or to stop, e.g. while the journal is replayed."""
        self._say(f"EXTEND_TIMEOUT_USEC={int(seconds * 1_000_000)}")

    def _say(self, *lines: str) -> None:
        if self._address is None or not lines:
            return
        # A manager that cannot be told must not take the node down; its own timeout acts then.
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto("\n".join(lines).encode(), self._address)


def service(environ: MutableMapping[str, str]) -> Service:
    """Return the link to our service manager, and hide it from the programs that we start."""
    address = environ.pop("NOTIFY_SOCKET", None)
    microseconds, pid = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
    watched = microseconds.isdigit() and int(microseconds) > 0 and pid in ("", str(os.getpid()))
    return Service(address or None, watchdog=int(microseconds) / 1_000_000 if watched else None)


def inherited(environ: MutableMapping[str, str], *, first: int = FIRST_DESCRIPTOR) -> list[Inherited]:
    """Take the listening sockets that were handed to this process, once."""
    pid, count = environ.pop("LISTEN_PID", ""), environ.pop("LISTEN_FDS", "")
    names = environ.pop("LISTEN_FDNAMES", "").split(":")
    if pid != str(os.getpid()) or not count.isdigit():
        return []
    found = []
    for index in range(int(count)):
        sock = socket.socket(fileno=first + index)
        sock.set_inheritable(False)
        found.append(Inherited(names[index] if index < len(names) else "", sock))
    return found


def _status(text: str) -> list[str]:
    # One line of the protocol is one fact: a newline in a message must not become another one.
    return ["STATUS=" + " ".join(text.split())] if text else []
