"""Processes: fork them in order, keep them alive, pass them words, drain them. Knows no DICOM and no role.

The supervisor stays single-threaded, so that forking is safe, and holds no database connection.
A child hears from it over a line (a socket pair) and not by signals of its own, so that a reload
reaches every child with the same, already checked settings.
"""

from __future__ import annotations

import collections
import contextlib
import ctypes
import dataclasses
import gc
import os
import pickle
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from node import errors

MAX_MESSAGE = 1 << 18  # a line carries settings and short words, nothing else
HEALTHY_AFTER = 60.0  # a child that lived this long starts again with a fresh backoff
FIRST_BACKOFF = 0.5
MAX_BACKOFF = 30.0
REFUSED = 3  # exit code of a child whose role could not start, with the reason sent before

_PR_SET_PDEATHSIG = 1


@dataclasses.dataclass(frozen=True, slots=True)
class Stop:
    """The child is to drain and return."""


@dataclasses.dataclass(frozen=True, slots=True)
class Update:
    """The child is to go on with this."""

    value: object  # whatever the supervisor broadcast; new settings


@dataclasses.dataclass(frozen=True, slots=True)
class Word:
    """What a child says to its supervisor."""

    topic: str  # "ready", "refused", or a word that the owner of the supervisor knows
    value: object = None  # small and picklable


@dataclasses.dataclass(frozen=True, slots=True)
class Role:
    """One process to keep alive."""

    name: str  # shown in logs, metrics and the status page
    main: Callable[[Line], None]  # runs in the child, returns when told to stop
    order: int = 0  # groups start ascending, each when the one before is ready; they stop descending


@dataclasses.dataclass(frozen=True, slots=True)
class ChildState:
    """What is known of one child, for people."""

    name: str  # the role's name
    pid: int  # 0 while it is waiting to be started again
    ready: bool  # it said so
    restarts: int  # since the supervisor started


class Events(Protocol):
    """What the owner of a supervisor wants to hear."""

    def started(self, role: str, pid: int) -> None: ...

    def died(self, role: str, pid: int, how: str, restart_in: float) -> None: ...

    def ready(self) -> None:
        """Every child has said that it is ready."""

    def word(self, role: str, word: Word) -> None: ...

    def hangup(self) -> object | None:
        """SIGHUP came; what is returned is broadcast to the children as an update."""

    def verbosity(self, more: bool) -> object | None:
        """SIGUSR1 or SIGUSR2 came; broadcast likewise."""

    def draining(self, role_names: Sequence[str]) -> None: ...

    def changed(self, children: Sequence[ChildState]) -> None:
        """Something of the children's state is different."""

    def tick(self) -> None:
        """About once a second."""


class Line:
    """The child's end: words up, stop and updates down."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._stopping = False
        self._wake_r, self._wake_w = socket.socketpair()
        for end in (self._wake_r, self._wake_w):
            end.setblocking(False)

    def ready(self) -> None:
        self.say(Word("ready"))

    def say(self, word: Word) -> None:
        # The supervisor is gone: the kernel is about to end this process too.
        with contextlib.suppress(BrokenPipeError, ConnectionError):
            self._sock.send(pickle.dumps(word))

    def stop_soon(self) -> None:
        """Make `events` end, from another thread."""
        self._stopping = True
        with contextlib.suppress(BlockingIOError):
            self._wake_w.send(b"s")

    def wait(self, timeout: float | None) -> Stop | Update | None:
        """Return the next thing to do, or None when the time is up."""
        if self._stopping:
            return Stop()
        with selectors.DefaultSelector() as ready:
            ready.register(self._sock, selectors.EVENT_READ)
            ready.register(self._wake_r, selectors.EVENT_READ)
            events = ready.select(timeout)
        if self._stopping:
            return Stop()
        for key, _ in events:
            if key.fileobj is self._sock:
                data = self._sock.recv(MAX_MESSAGE)
                if not data:
                    return Stop()
                message = pickle.loads(data)  # noqa: S301 - from our own parent, over our own socket pair
                if isinstance(message, Stop | Update):
                    return message
        return None

    def events(self) -> Iterator[Update]:
        """Yield updates until it is time to stop."""
        while True:
            event = self.wait(None)
            if isinstance(event, Stop):
                return
            if event is not None:
                yield event


@dataclasses.dataclass(slots=True)
class _Child:
    role: Role
    pid: int = 0
    sock: socket.socket | None = None
    started: float = 0.0
    restart_at: float = 0.0
    failures: int = 0
    restarts: int = -1  # the first start is none
    ready: bool = False
    stopping: bool = False

    def state(self) -> ChildState:
        return ChildState(self.role.name, self.pid, self.ready, max(self.restarts, 0))


class Supervisor:
    """Starts the roles, restarts what dies, and ends them in order."""

    def __init__(self, roles: Sequence[Role], events: Events, *, drain: float) -> None:
        self._children = [_Child(role) for role in sorted(roles, key=lambda role: role.order)]
        self._events = events
        self._drain = drain
        self._signals: collections.deque[int] = collections.deque()
        self._wake_r, self._wake_w = socket.socketpair()
        self._announced = False
        self._refusal: str | None = None
        self._last_tick = 0.0

    def run(self) -> None:
        """Run until SIGTERM or SIGINT; raise errors.Permanent when a role refuses to start at all."""
        self._wake_r.setblocking(False)
        self._wake_w.setblocking(False)
        previous = signal.set_wakeup_fd(self._wake_w.fileno(), warn_on_full_buffer=False)
        handled = (
            signal.SIGTERM,
            signal.SIGINT,
            signal.SIGHUP,
            signal.SIGUSR1,
            signal.SIGUSR2,
            signal.SIGCHLD,
        )
        handlers = {number: signal.signal(number, self._on_signal) for number in handled}
        gc.collect()
        gc.freeze()  # what the parent holds stays shared with the children
        try:
            self._supervise()
        finally:
            for child in self._children:
                self._kill(child, signal.SIGKILL)
            gc.unfreeze()
            signal.set_wakeup_fd(previous)
            for number, handler in handlers.items():
                signal.signal(number, handler)
        if self._refusal is not None:
            raise errors.Permanent(self._refusal)

    def _on_signal(self, number: int, _frame: object) -> None:
        self._signals.append(number)

    # -- the loop -------------------------------------------------------------------------------

    def _supervise(self) -> None:
        while self._refusal is None:
            self._start_due()
            self._wait(self._patience())
            self._reap()
            while self._signals:
                number = self._signals.popleft()
                if number in (signal.SIGTERM, signal.SIGINT):
                    self._stop_all()
                    return
                self._broadcast_for(number)
            now = time.monotonic()
            if now - self._last_tick >= 1.0:
                self._last_tick = now
                self._events.tick()
        self._stop_all()

    def _broadcast_for(self, number: int) -> None:
        value: object | None = None
        if number == signal.SIGHUP:
            value = self._events.hangup()
        elif number in (signal.SIGUSR1, signal.SIGUSR2):
            value = self._events.verbosity(number == signal.SIGUSR1)
        if value is not None:
            for child in self._children:
                self._send(child, Update(value))

    def _patience(self) -> float:
        now = time.monotonic()
        waits = [child.restart_at - now for child in self._children if not child.pid]
        return max(0.0, min([1.0, *waits]))

    def _start_due(self) -> None:
        now = time.monotonic()
        for child in self._children:
            if not self._announced and any(
                not other.ready for other in self._children if other.role.order < child.role.order
            ):
                break  # its group starts when the groups before it are ready
            if not child.pid and child.restart_at <= now:
                self._fork(child)

    def _wait(self, timeout: float) -> None:
        with selectors.DefaultSelector() as ready:
            ready.register(self._wake_r, selectors.EVENT_READ)
            for child in self._children:
                if child.sock is not None:
                    ready.register(child.sock, selectors.EVENT_READ, child)
            for key, _ in ready.select(timeout):
                if key.data is None:
                    with contextlib.suppress(BlockingIOError):
                        self._wake_r.recv(4096)
                else:
                    self._hear(key.data)

    def _hear(self, child: _Child) -> None:
        assert child.sock is not None
        try:
            data = child.sock.recv(MAX_MESSAGE)
        except ConnectionError:
            data = b""
        if not data:
            child.sock.close()
            child.sock = None  # its death is told by SIGCHLD
            return
        word: Word = pickle.loads(data)  # noqa: S301 - from our own child, over our own socket pair
        if word.topic == "refused" and not self._announced:
            self._refusal = str(word.value)
        elif word.topic == "ready":
            child.ready = True
            self._changed()
            if not self._announced and all(other.ready for other in self._children):
                self._announced = True
                self._events.ready()
        else:
            self._events.word(child.role.name, word)

    # -- children -------------------------------------------------------------------------------

    def _fork(self, child: _Child) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sys.stdout.flush()
        sys.stderr.flush()
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            ours.close()
            self._become(child.role, theirs, parent)  # never returns
        theirs.close()
        child.pid, child.sock, child.started, child.ready = pid, ours, time.monotonic(), False
        child.restarts += 1
        self._events.started(child.role.name, pid)
        self._changed()

    def _become(self, role: Role, sock: socket.socket, parent: int) -> None:
        code = 1
        try:
            for other in self._children:
                if other.sock is not None:
                    other.sock.close()
            signal.set_wakeup_fd(-1)
            self._wake_r.close()
            self._wake_w.close()
            line = Line(sock)
            # Ctrl-C, and many a service manager's SIGTERM, reach the whole group: the supervisor alone
            # decides what they mean, so that the adopter does not leave before the listeners.
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
                signal.signal(number, signal.SIG_IGN)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _die_with_parent(parent)
            code = _run_role(role, line)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for child in self._children:
                if child.pid == pid:
                    self._bury(child, status)

    def _bury(self, child: _Child, status: int) -> None:
        if child.sock is not None:
            # Its last words, a refusal above all, may still be in the line.
            child.sock.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while child.sock is not None:
                    self._hear(child)
            if child.sock is not None:
                child.sock.close()
                child.sock = None
        pid, child.pid, child.ready = child.pid, 0, False
        if not child.stopping:
            now = time.monotonic()
            child.failures = 0 if now - child.started > HEALTHY_AFTER else child.failures + 1
            delay = backoff(child.failures)
            child.restart_at = now + delay
            self._events.died(child.role.name, pid, describe_exit(status), delay)
        self._changed()

    def _changed(self) -> None:
        self._events.changed([child.state() for child in self._children])

    def _send(self, child: _Child, message: Stop | Update) -> None:
        if child.sock is not None:
            with contextlib.suppress(BrokenPipeError, ConnectionError):
                child.sock.send(pickle.dumps(message))

    def _kill(self, child: _Child, number: signal.Signals) -> None:
        if child.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, number)

    # -- the end --------------------------------------------------------------------------------

    def _stop_all(self) -> None:
        """Stop group by group, last started first; a second SIGTERM, or the deadline, ends all at once."""
        deadline = time.monotonic() + self._drain
        self._events.draining([child.role.name for child in self._children if child.pid])
        for child in self._children:
            child.stopping = True
        for order in sorted({child.role.order for child in self._children}, reverse=True):
            group = [child for child in self._children if child.role.order == order and child.pid]
            for child in group:
                self._send(child, Stop())
            while any(child.pid for child in group):
                # Children keep the same deadline themselves; the grace lets them say so first.
                late = time.monotonic() > deadline + 2.0
                if late or any(number in (signal.SIGTERM, signal.SIGINT) for number in self._signals):
                    for child in self._children:
                        self._kill(child, signal.SIGKILL)
                self._signals.clear()
                self._wait(0.2)
                self._reap()


def backoff(failures: int) -> float:
    """Return how long to wait before the next start, after so many failures in a row."""
    return min(MAX_BACKOFF, FIRST_BACKOFF * 2.0 ** min(failures - 1, 16)) if failures > 0 else 0.0


def describe_exit(status: int) -> str:
    """Say in words how a process ended."""
    if os.WIFSIGNALED(status):
        return f"killed by {signal.Signals(os.WTERMSIG(status)).name}"
    return f"exit code {os.waitstatus_to_exitcode(status)}"


def _run_role(role: Role, line: Line) -> int:
    from node import log  # the children's edge: what nobody caught is logged here, once

    try:
        role.main(line)
    except errors.NodeError as error:
        line.say(Word("refused", str(error)))
        log.role_failed(role=role.name, error=str(error))
        return REFUSED
    except Exception as error:  # noqa: BLE001 - the edge of a process
        log.role_crashed(role=role.name, error=error)
        return 1
    return 0


def _die_with_parent(parent: int) -> None:
    """Ask the kernel to end this process when the supervisor is killed, so that its port is free again."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)
