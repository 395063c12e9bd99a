"""Starts a program under limits, and leaves nothing of it behind; run as a script by `program`.

It stands between a worker and the program: what the program starts becomes this process's child when its own
parent ends, and when the worker dies, which the socket between them tells, all of them are killed. Only the
standard library is imported, so that it starts in a few milliseconds.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import select
import signal
import socket
import sys
from typing import Any

_NO_NEW_PRIVILEGES, _CHILD_SUBREAPER = 38, 36
_NICE = 10
_NOT_STARTED = 127  # exit code of a program that could not be started, as shells have it


def main(number: int) -> None:
    """Read what is to be run from a socket, run it, and say there how it ended."""
    with socket.socket(fileno=number) as control:
        control.set_inheritable(False)
        order = json.loads(control.makefile("rb").readline())
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_CHILD_SUBREAPER, 1, 0, 0, 0)
        ends, told = os.pipe()  # readable when a child has ended
        os.set_blocking(told, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(told)
        child = os.fork()
        if child == 0:
            _become(order, libc)
        ended = _wait(child, control, ends)
        _kill_all()
        # The worker may be gone.
        with contextlib.suppress(OSError):
            control.sendall(json.dumps({"code": ended}).encode() + b"\n")


def _become(order: dict[str, Any], libc: ctypes.CDLL) -> None:
    """Turn this process into the program."""
    try:
        for name, value in order["limits"].items():
            which = getattr(resource, name)
            most = resource.getrlimit(which)[1]
            limit = value if most == resource.RLIM_INFINITY else min(value, most)
            resource.setrlimit(which, (limit, limit))
        libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
        with contextlib.suppress(OSError):  # a service may be forbidden to
            os.nice(_NICE)
        signal.set_wakeup_fd(-1)
        os.umask(0o077)
        os.chdir(order["folder"])
        for one in signal.Signals:
            with contextlib.suppress(OSError, ValueError):
                signal.signal(one, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        os.execvpe(order["command"][0], order["command"], order["environment"])  # noqa: S606 - that is meant
    except BaseException as error:  # noqa: BLE001 - whatever it is, this must not go on as a second launcher
        os.write(2, f"{order['command'][0]} cannot be started: {error}\n".encode("utf-8", "replace"))
        os._exit(_NOT_STARTED)


def _wait(child: int, control: socket.socket, ends: int) -> int | None:
    """The exit code of the program, or minus the signal that ended it; None: the worker wants it no more."""
    while True:
        ready, _, _ = select.select([ends, control.fileno()], [], [])
        if control.fileno() in ready:
            return None
        os.read(ends, 4096)
        while True:
            number, status = os.waitpid(-1, os.WNOHANG)  # children of its own that it left to us, too
            if number == child:
                return os.waitstatus_to_exitcode(status)
            if number == 0:
                break


def _kill_all() -> None:
    """Kill what is left of the program; what it started comes to us as its parents end."""
    while True:
        try:
            with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:
                children = [int(number) for number in file.read().split()]
        except OSError:
            return
        if not children:
            return
        for number in children:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(number, signal.SIGKILL)
        for _ in children:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(-1, 0)


if __name__ == "__main__":
    main(int(sys.argv[1]))
