"""The real daemon as a subprocess: started, spoken to, stopped, killed, and looked into."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping

from tests import oracle, ports, scu

AET = "NODE"
# Small on purpose: a ring that turns over often is a ring whose turning over is tested.
CONFIGURATION: dict[str, dict[str, object]] = {
    "node": {"aet": AET, "host": "127.0.0.1", "drain": "10s"},
    "log": {"format": "json", "level": "debug"},
    "storage": {"min_free": "0", "journal": "64MiB"},
}


def toml(tables: Mapping[str, Mapping[str, object]]) -> str:
    """The tables as TOML; strings, numbers, booleans and lists of them."""
    lines = []
    for name, values in tables.items():
        lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items()), ""]
    return "\n".join(lines)


class Node:
    """One daemon on one data directory; it can be started again after it went."""

    def __init__(
        self, work: pathlib.Path, data: pathlib.Path | None = None, **tables: Mapping[str, object]
    ) -> None:
        """`tables` are tables of the configuration that change single values of it."""
        work.mkdir(parents=True, exist_ok=True)
        self.work = work
        self.data = data or work / "data"
        self.port, self.http = ports.free(), ports.free()
        self.config = work / "node.toml"
        merged = {
            name: {**CONFIGURATION.get(name, {}), **tables.get(name, {})}
            for name in (*CONFIGURATION, *tables)
        }
        self.config.write_text(toml(merged))
        self.log = work / "node.log"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Where its DICOM listener is."""
        return "127.0.0.1", self.port

    def start(
        self, environment: Mapping[str, str] | None = None, *, ready: bool = True, timeout: float = 90.0
    ) -> Node:
        """Start it and, unless told otherwise, wait until it is ready."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "node", "run", *self.flags()],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                env={**os.environ, **(environment or {})},
            )
        if ready:
            self.wait_ready(timeout)
        return self

    def flags(self) -> list[str]:
        """What it is started with."""
        return [
            *("--config", str(self.config), "--data", str(self.data)),
            *("--port", str(self.port), "--http", f"127.0.0.1:{self.http}"),
        ]

    def wait_ready(self, timeout: float = 90.0) -> None:
        """Wait until /readyz says so, or fail with the log."""
        end = time.monotonic() + timeout
        status, text = 0, ""
        while time.monotonic() < end:
            if self.process is not None and self.process.poll() is not None:
                raise AssertionError(f"the node ended with {self.process.returncode}:\n{self.tail()}")
            with contextlib.suppress(OSError, http.client.HTTPException):
                status, text = self.get("/readyz")
                if status == 200:
                    return
            time.sleep(0.1)
        raise AssertionError(f"not ready after {timeout} s: {status} {text}\n{self.tail()}")

    def get(self, path: str) -> tuple[int, str]:
        """Ask the web process."""
        connection = http.client.HTTPConnection("127.0.0.1", self.http, timeout=30)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def stop(self, timeout: float = 60.0) -> int:
        """SIGTERM; the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"SIGTERM had no effect for {timeout} s:\n{self.tail()}") from None

    def kill(self) -> None:
        """SIGKILL to every process of it, at once."""
        if self.process is None:
            return
        family = self.pids()
        for pid in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(60)
        end = time.monotonic() + 60
        while any(_running(pid) for pid in family) and time.monotonic() < end:
            time.sleep(0.01)
        self.process = None

    def pids(self) -> list[int]:
        """Its supervisor and everything below it."""
        if self.process is None:
            return []
        found, todo = [], [self.process.pid]
        while todo:
            pid = todo.pop()
            found.append(pid)
            with contextlib.suppress(OSError):
                for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
                    todo += [int(child) for child in (task / "children").read_text().split()]
        return found

    def child(self, role: str) -> int:
        """The process id of a role, as the supervisor says it."""
        state = json.loads((self.data / "run" / "all.state.json").read_text())
        return next(int(one["pid"]) for one in state["children"] if one["name"] == role)

    def command(self, *words: str, timeout: float = 120.0) -> subprocess.CompletedProcess[str]:
        """Run `dicom-node WORDS` on this node's configuration and data."""
        where = ["--config", str(self.config), "--data", str(self.data)]
        return subprocess.run(
            [sys.executable, "-m", "node", *words, *where],
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def settled(self, answers: Iterable[oracle.Answer], timeout: float = 60.0) -> oracle.Held:
        """Wait until what was acknowledged is filed, at most `timeout`; what is held then."""
        wanted = {(one.sop_instance, one.digest) for one in answers if one.acknowledged}
        end = time.monotonic() + timeout
        while True:
            held = oracle.Held(self.data)
            missing = wanted - {(row.sop_instance, row.digest) for row in held.rows}
            if not missing or time.monotonic() > end:
                return held
            time.sleep(0.1)

    def tail(self, lines: int = 25) -> str:
        """The end of its log."""
        return "\n".join(line[:400] for line in self.log.read_text(errors="replace").splitlines()[-lines:])

    def events(self) -> list[dict[str, object]]:
        """What it logged, one dict a line."""
        found = []
        for line in self.log.read_text(errors="replace").splitlines():
            with contextlib.suppress(ValueError):
                found.append(json.loads(line))
        return [one for one in found if isinstance(one, dict)]

    def alive(self) -> None:
        """Fail unless a C-ECHO is answered."""
        with scu.call(self.address, timeout=30) as caller:
            assert caller.echo() == 0
            caller.release()


def _running(pid: int) -> bool:
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def verify(node: Node, journal: oracle.Journal, timeout: float = 60.0) -> oracle.Held:
    """Everything that was acknowledged is there whole and accounted for, or the test fails."""
    answers = journal.answers()
    held = node.settled(answers, timeout)
    wrong = oracle.judge(held, answers)
    assert not wrong, "\n".join(wrong[:10]) + "\n" + node.tail()
    done = node.command("audit", "--deep")
    assert done.returncode == 0, done.stdout + done.stderr
    return held
