"""The service manager's side of a daemon: telling it our state, and taking the sockets that it opened for us.

The protocol is a datagram of `KEY=VALUE` lines and a few environment variables; no library is worth it.
Where there is no service manager, nothing is said and nothing is taken.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Mapping, MutableMapping

FIRST_DESCRIPTOR = 3  # where inherited sockets begin, after the three standard streams


def ready(text: str = "") -> None:
    """Say that everything which was to be recovered is recovered, and that we listen."""
    _say("READY=1", *_status(text))


def reloading() -> None:
    """Say that the configuration is being read again; `ready` ends it."""
    _say("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")


def stopping(text: str = "") -> None:
    """Say that we drain."""
    _say("STOPPING=1", *_status(text))


def status(text: str) -> None:
    """Set the line that the operator sees beside our name."""
    _say(*_status(text))


def watchdog() -> None:
    """Say that we are well; when this is not heard within `watchdog_interval`, we are started again."""
    _say("WATCHDOG=1")


def extend(seconds: float) -> None:
    """Ask for more time to start or to stop, e.g. while a long journal is replayed."""
    _say(f"EXTEND_TIMEOUT_USEC={int(seconds * 1_000_000)}")


def watchdog_interval(environ: Mapping[str, str] = os.environ) -> float | None:
    """Return the seconds within which `watchdog` must be called again; None: nobody waits for it."""
    microseconds, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if pid not in ("", str(os.getpid())) or not microseconds.isdigit() or int(microseconds) == 0:
        return None
    return int(microseconds) / 1_000_000


def listen_sockets(
    environ: MutableMapping[str, str] = os.environ, *, first: int = FIRST_DESCRIPTOR
) -> dict[str, list[socket.socket]]:
    """Take the sockets that were handed to this process, by the names that their unit gives them.

    They are taken once: the variables are removed, so that no program that we start takes them again.
    """
    pid, count = environ.pop("LISTEN_PID", ""), environ.pop("LISTEN_FDS", "")
    names = environ.pop("LISTEN_FDNAMES", "").split(":")
    taken: dict[str, list[socket.socket]] = {}
    if pid != str(os.getpid()) or not count.isdigit():
        return taken
    for index in range(int(count)):
        sock = socket.socket(fileno=first + index)
        sock.set_inheritable(False)
        taken.setdefault(names[index] if index < len(names) else "", []).append(sock)
    return taken


def _say(*lines: str) -> None:
    address = os.environ.get("NOTIFY_SOCKET")
    if not address or not lines:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]  # an abstract address
    # A manager that cannot be told must not take the node down; its own timeout acts then.
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.sendto("\n".join(lines).encode(), address)


def _status(text: str) -> list[str]:
    # One line of the protocol is one fact: a newline in a message must not become another one.
    return ["STATUS=" + " ".join(text.split())] if text else []
