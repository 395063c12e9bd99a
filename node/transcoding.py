"""Data sets in other transfer syntaxes, made by a few worker processes that may crash or hang.

A worker gets descriptors and never a path. What it makes goes to a file without a name, which is gone with
the process that asked, however that ends.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from typing import IO, Any, Self

from node import errors
from node.dicom import transcode
from node.send import base

_ANSWER = 65536  # bytes of a worker's answer
_PER_SECOND = 1 << 20  # bytes that a worker gets another second for


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """What one instance may cost."""

    memory: int = 2 << 30  # bytes beside the instance itself
    seconds: float = 30.0  # and one more for every MB of it
    patience: float = 120.0  # seconds until a worker must be free
    idle: float = 60.0  # seconds after which a worker that has nothing to do ends
    jobs: int = 1000  # instances after which a worker is replaced


class Transcoder:
    """Makes what a destination takes of what it does not take, without loss; any thread may ask."""

    def __init__(
        self, folder: pathlib.Path | None = None, *, processes: int = 2, limits: Limits | None = None
    ) -> None:
        self._folder = folder  # where the files without names lie; None: the system's temporary folder
        self._limits = limits or Limits()
        self._free = processes  # workers that may still be started or taken
        self._idle: list[_Worker] = []
        self._changed = threading.Condition()
        self._closed = False
        self._made: dict[pathlib.Path, IO[bytes]] = {}

    def targets(self, item: base.Item) -> tuple[str, ...]:
        """The transfer syntaxes that it can be made into without loss, best first."""
        return transcode.targets(item.syntax)

    def make(self, item: base.Item, syntax: str, loss: transcode.Loss | None = None) -> base.Item:
        """The item in another transfer syntax; `drop` it when it was sent.

        With `loss` it is compressed with loss, and is another instance then; senders never say that.
        Raises BadData or UsageError when there is no way, TranscodingFailed when a worker crashed or took too
        long over it, and a Transient when the same may work later.
        """
        try:
            out = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 - it lives until drop()
        except OSError as error:
            raise errors.StorageFailed(
                f"no temporary file can be made ({error.strerror or error})"
            ) from error
        try:
            with item.path.open("rb", buffering=0) as source:
                size = self._run(source.fileno(), out.fileno(), item, syntax, loss)
        except OSError as error:
            out.close()
            raise errors.BadData(f"it cannot be read ({error.strerror or error})") from error
        except BaseException:
            out.close()
            raise
        made = pathlib.Path(f"/proc/self/fd/{out.fileno()}")
        self._made[made] = out
        instance = item.sop_instance if loss is None else loss.instance
        return dataclasses.replace(item, sop_instance=instance, syntax=syntax, path=made, offset=0, size=size)

    def drop(self, made: base.Item) -> None:
        """Let go of the file that `make` made."""
        file = self._made.pop(made.path, None)
        if file is not None:
            file.close()

    def close(self) -> None:
        """End the workers; one that is busy ends with what it does."""
        with self._changed:
            self._closed = True
            idle, self._idle = self._idle, []
            self._changed.notify_all()
        for worker in idle:
            worker.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(
        self, source: int, target: int, item: base.Item, syntax: str, loss: transcode.Loss | None
    ) -> int:
        seconds = self._limits.seconds + item.size / _PER_SECOND
        request = {
            "syntax": item.syntax,
            "target": syntax,
            "offset": item.offset,
            "size": item.size,
            "memory": self._limits.memory,
            "seconds": seconds,
            "loss": None if loss is None else dataclasses.asdict(loss),
        }
        while True:
            worker = self._take()
            keep = False
            try:
                answer = worker.ask(request, (source, target), seconds)
                keep = True
            except _Retired:
                continue
            finally:
                self._give(worker, keep=keep)
            if "size" in answer:
                return int(answer["size"])
            raise _ERRORS.get(answer["kind"], errors.TranscodingFailed)(answer["why"])

    def _take(self) -> _Worker:
        deadline = time.monotonic() + self._limits.patience
        with self._changed:
            while not self._free and not self._closed:
                left = deadline - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    raise errors.TranscodingBusy(
                        f"no worker was free to transcode it for {self._limits.patience:g} s"
                    )
            if self._closed:
                raise errors.TranscodingBusy("this node is stopping")
            self._free -= 1
            worker = self._idle.pop() if self._idle else None
        if worker is not None and worker.lives:
            return worker
        try:
            if worker is not None:
                worker.end()
            return _Worker(self._limits.idle)
        except BaseException:
            with self._changed:
                self._free += 1
                self._changed.notify()
            raise

    def _give(self, worker: _Worker, *, keep: bool) -> None:
        keep = keep and worker.jobs < self._limits.jobs
        with self._changed:
            keep = keep and not self._closed
            if keep:
                self._idle.append(worker)
            self._free += 1
            self._changed.notify()
        if not keep:
            worker.end()


class _Retired(Exception):
    """The worker had ended by itself before it was asked."""


class _Worker:
    """One worker process and the socket to it."""

    def __init__(self, idle: float) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with theirs:
                self.process = subprocess.Popen(
                    [sys.executable, "-m", "node.transcoding_worker", str(theirs.fileno()), str(idle)],
                    pass_fds=(theirs.fileno(),),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,  # what the libraries say there, they say in their errors too
                    start_new_session=True,  # an interrupt from the terminal is for us
                    env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
                )
        except OSError as error:
            ours.close()
            raise errors.TranscodingBusy(f"no worker can be started ({error.strerror or error})") from error
        self._socket = ours
        self.jobs = 0

    @property
    def lives(self) -> bool:
        """Whether it has not ended."""
        return self.process.poll() is None

    def ask(self, request: dict[str, Any], given: tuple[int, int], seconds: float) -> dict[str, Any]:
        """Have one instance transcoded; what came of it."""
        self.jobs += 1
        self._socket.settimeout(seconds)
        try:
            socket.send_fds(self._socket, [json.dumps(request).encode()], given)
            answer = self._socket.recv(_ANSWER)
        except TimeoutError:
            raise errors.TranscodingFailed(f"it took longer than {seconds:.0f} s") from None
        except OSError:  # the other end closed
            answer = b""
        if answer:
            found: dict[str, Any] = json.loads(answer)
            return found
        code = self.process.wait()
        if code == 0:
            raise _Retired
        if code == -signal.SIGKILL:  # as the system does it when memory is short; it may go well later
            raise errors.TranscodingBusy("the worker that transcoded it was killed")
        said = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        raise errors.TranscodingFailed(f"the worker that transcoded it crashed ({said})")

    def end(self) -> None:
        """End it whatever it does."""
        self._socket.close()
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()


_ERRORS: dict[str, type[errors.NodeError]] = {
    "BadData": errors.BadData,
    "UsageError": errors.UsageError,
    "StorageFull": errors.StorageFull,
    "StorageFailed": errors.StorageFailed,
}
