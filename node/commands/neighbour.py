"""A node, or something like one, in processes of its own for the demo: started, killed, stopped."""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence

from node import errors, model

_POLL = 0.1  # seconds between looks whether it answers
_STOPPED_WITHIN = 15.0  # seconds that SIGTERM gets before SIGKILL
_LOG_TAIL = 15  # lines of its log that explain a failure


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on; another program may still be quicker, then the node says so."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for sock in sockets:
            sock.bind(("127.0.0.1", 0))
        return [sock.getsockname()[1] for sock in sockets]


class Neighbour:
    """One DICOM application on this machine."""

    def __init__(
        self,
        folder: pathlib.Path,
        aet: str,
        port: int,
        http: int | None = None,
        *,
        config: pathlib.Path | None = None,
        words: Sequence[str] = (),
    ) -> None:
        """Without a port for its pages, only what takes instances runs; `words` start something else."""
        self.aet = aet  # its AE title
        self.data = folder / aet.lower()  # its data directory
        self.peer = model.Peer(name=aet.lower(), aet=aet, host="127.0.0.1", port=port)
        self.http = None if http is None else f"127.0.0.1:{http}"  # where its pages are
        self.log = folder / f"{aet.lower()}.log"  # what it wrote
        self._words = list(words) or self._plain(config)  # of the command line
        self._process: subprocess.Popen[bytes] | None = None

    def _plain(self, config: pathlib.Path | None) -> list[str]:
        words = ["listen" if self.http is None else "run", "--data", str(self.data), "--aet", self.aet]
        words += ["--port", str(self.peer.port)]
        if self.http is not None:
            words += ["--http", self.http]
        return words if config is None else [*words, "--config", str(config)]

    def start(self) -> None:
        """Start it without waiting."""
        words = [sys.executable, "-m", "node", *self._words]
        with self.log.open("ab") as log:
            # A session of its own: Ctrl-C is ours to handle, and all its processes can be killed at once.
            self._process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def wait(self, within: float) -> float:
        """Wait until it answers a C-ECHO; the seconds that took."""
        from node.send import dimse

        begun = time.monotonic()
        while True:
            if self._process is None or self._process.poll() is not None:
                raise errors.Permanent(f"{self.aet} ended before it was ready: {self.tail()}")
            try:
                dimse.echo(self.peer, model.Settings())
            except errors.NodeError as error:
                if time.monotonic() - begun > within:
                    raise errors.Transient(
                        f"{self.aet} is not ready after {within:.0f} s ({error})"
                    ) from error
                time.sleep(_POLL)
            else:
                return time.monotonic() - begun

    def kill(self) -> None:
        """Take it away at once, with all its processes, as a power failure would."""
        process = self._process
        if process is not None and process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._process = None

    def stop(self) -> int:
        """Ask it to end, and return its exit code; it is killed when it does not."""
        process = self._process
        if process is None:
            return 0
        process.terminate()
        try:
            code = process.wait(_STOPPED_WITHIN)
        except subprocess.TimeoutExpired:
            self.kill()
            return -signal.SIGKILL
        self._process = None
        return code

    def tail(self) -> str:
        """The end of its log."""
        with contextlib.suppress(OSError):
            lines = self.log.read_text(errors="replace").splitlines()
            return " / ".join(lines[-_LOG_TAIL:])
        return "it wrote nothing"
