"""A few worker processes that do what may crash, hang or eat memory; any thread may ask.

A worker is asked over a socket of its own, with descriptors and a few words. It is given back when it has
answered, and replaced when it died over what it was asked, took too long, or has done enough.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from node import errors

_ANSWER = 65536  # bytes of a worker's answer


@dataclasses.dataclass(frozen=True, slots=True)
class Kind:
    """What workers are for."""

    module: str  # what such a process runs
    done: str  # what is done to what is asked, in words: "transcoded"
    busy: type[errors.NodeError]  # raised where it may go well later
    failed: type[errors.NodeError]  # raised where it would crash or hang again
    threads: int | None = 1  # that libraries of numbers may start in it; None: as many as they like


@dataclasses.dataclass(frozen=True, slots=True)
class Patience:
    """How long is waited, and how long workers are kept."""

    patience: float = 120.0  # seconds until a worker must be free
    idle: float = 60.0  # seconds after which a worker that has nothing to do ends
    jobs: int = 1000  # that one does until it is replaced


class Pool:
    """Workers of one kind."""

    def __init__(self, kind: Kind, processes: int, patience: Patience) -> None:
        self.idle: list[Worker] = []  # those that wait to be asked
        self._kind = kind
        self._patience = patience
        self._free = processes  # workers that may still be started or taken
        self._busy: set[Worker] = set()
        self._cuts = 0  # times that all work was ended
        self._changed = threading.Condition()
        self._closed = False

    def ask(self, request: Mapping[str, Any], given: Sequence[int], seconds: float) -> dict[str, Any]:
        """Have something done with descriptors, within so many seconds; what the worker answers.

        Raises the errors of the kind.
        """
        cuts = self._cuts
        while True:
            worker = self._take()
            with self._changed:
                self._busy.add(worker)
                if self._cuts != cuts:  # while it was taken, or started
                    worker.kill()
            keep = False
            try:
                answer = worker.ask(request, given, seconds)
                keep = True
                return answer
            except _Retired:
                continue
            finally:
                self._give(worker, keep=keep)

    def cut(self) -> None:
        """End those that are at work; who waits for one is told that it was killed."""
        with self._changed:
            self._cuts += 1
            for worker in self._busy:
                worker.kill()

    def close(self) -> None:
        """End the workers; one that is busy ends with what it does."""
        with self._changed:
            self._closed = True
            idle, self.idle = self.idle, []
            self._changed.notify_all()
        for worker in idle:
            worker.end()

    def _take(self) -> Worker:
        kind = self._kind
        deadline = time.monotonic() + self._patience.patience
        with self._changed:
            while not self._free and not self._closed:
                left = deadline - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    raise kind.busy(f"no worker was free for {self._patience.patience:g} s")
            if self._closed:
                raise kind.busy("this node is stopping")
            self._free -= 1
            worker = self.idle.pop() if self.idle else None
        if worker is not None and worker.lives:
            return worker
        try:
            if worker is not None:
                worker.end()
            return Worker(kind, self._patience.idle)
        except BaseException:
            with self._changed:
                self._free += 1
                self._changed.notify()
            raise

    def _give(self, worker: Worker, *, keep: bool) -> None:
        keep = keep and worker.jobs < self._patience.jobs
        with self._changed:
            self._busy.discard(worker)
            keep = keep and not self._closed
            if keep:
                self.idle.append(worker)
            self._free += 1
            self._changed.notify()
        if not keep:
            worker.end()


class _Retired(Exception):
    """The worker had ended by itself before it was asked."""


class Worker:
    """One worker process and the socket to it."""

    def __init__(self, kind: Kind, idle: float) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        few = {} if kind.threads is None else dict.fromkeys(_THREADS, str(kind.threads))
        try:
            with theirs:
                self.process = subprocess.Popen(
                    [sys.executable, "-m", kind.module, str(theirs.fileno()), str(idle)],
                    pass_fds=(theirs.fileno(),),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,  # what the libraries say there, they say in their errors too
                    start_new_session=True,  # an interrupt from the terminal is for us
                    env={**os.environ, **few},
                )
        except OSError as error:
            ours.close()
            raise kind.busy(f"no worker can be started ({error.strerror or error})") from error
        self._kind = kind
        self._socket = ours
        self.jobs = 0

    @property
    def lives(self) -> bool:
        """Whether it has not ended."""
        return self.process.poll() is None

    def ask(self, request: Mapping[str, Any], given: Sequence[int], seconds: float) -> dict[str, Any]:
        """Have one thing done; what came of it."""
        kind = self._kind
        self.jobs += 1
        self._socket.settimeout(seconds)
        try:
            socket.send_fds(self._socket, [json.dumps(request).encode()], list(given))
            answer = self._socket.recv(_ANSWER)
        except TimeoutError:
            raise kind.failed(f"it took longer than {seconds:.0f} s") from None
        except OSError:  # the other end closed
            answer = b""
        if answer:
            found: dict[str, Any] = json.loads(answer)
            return found
        code = self.process.wait()
        if code == 0:
            raise _Retired
        if code == -signal.SIGKILL:  # as the system does it when memory is short; it may go well later
            raise kind.busy(f"the worker by which it was to be {kind.done} was killed")
        said = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        raise kind.failed(f"the worker by which it was to be {kind.done} crashed ({said})")

    def end(self) -> None:
        """End it whatever it does, with what it started."""
        self._socket.close()
        self.kill()
        self.process.wait()

    def kill(self) -> None:
        """Kill it, with what it started; from any thread."""
        # It leads a session of its own, so that its number names whatever it started too.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)


_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")

# What a worker tells by the name of the class, and is raised as such here.
ERRORS: Mapping[str, type[errors.NodeError]] = {
    "BadData": errors.BadData,
    "UsageError": errors.UsageError,
    "StorageFull": errors.StorageFull,
    "StorageFailed": errors.StorageFailed,
}


def raised(answer: Mapping[str, Any], kind: Kind) -> errors.NodeError:
    """The error that an answer tells of."""
    return ERRORS.get(answer["kind"], kind.failed)(answer["why"])
