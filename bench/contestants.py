"""Receivers that take what is sent: our node, DCMTK's storescp, Orthanc. Each starts from an empty store."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator

from bench import procs
from node import model, state
from node.files import journal

PACKAGES = {"storescp": "dcmtk", "storescu": "dcmtk", "Orthanc": "orthanc"}
# Without it Debian's DCMTK stalls 40 ms a message, and every comparison is wrong.
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if not name.startswith("DICOM_NODE_")},
    "TCP_NODELAY": "1",
}


def find(program: str) -> str | None:
    """Return where a peer's program is."""
    return shutil.which(program, path=os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin")


def missing(program: str) -> str:
    """Say how to get it."""
    return f"{program} is not installed: apt-get install {PACKAGES[program]}"


class Receiver:
    """A program that listens for associations, in a folder of its own."""

    name = ""
    aet = "PEER"

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.http = free_port()
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                self.command(),
                cwd=folder,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            procs.wait_until(self._ready_or_dead, 60, f"{self.name} did not become ready")
        except TimeoutError as late:
            self.stop()
            raise RuntimeError(f"{late}; its last words: {self.last_words()}") from None
        except BaseException:
            self.stop()
            raise

    def command(self) -> list[str]:
        """Return how it is started."""
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        """Return its environment."""
        return ENVIRONMENT

    def ready(self) -> bool:
        """Tell whether it takes associations."""
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def held(self) -> int:
        """Return how many instances it has."""
        raise NotImplementedError

    def stop(self) -> None:
        """End it and everything that it started."""
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(30)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def _ready_or_dead(self) -> bool:
        if self.process.poll() is not None:
            raise RuntimeError(f"{self.name} ended at once: {self.last_words()}")
        return self.ready()

    def last_words(self) -> str:
        """Return the end of what it logged."""
        return self.log.read_text(errors="replace")[-2000:]

    def _json(self, path: str) -> dict[str, object]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http}{path}", timeout=10) as answer:
                value: dict[str, object] = json.load(answer)
                return value
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 503:
                raise  # not ready yet
            said = f"{self.name}: {path}: {error.code}; its last words: {self.last_words()}"
            raise RuntimeError(said) from None


class Node(Receiver):
    """Our node, all of it, with the default configuration."""

    name = "node"
    aet = "NODE"
    extra: dict[str, str] = {}  # noqa: RUF012 - replaced as a whole by the variants below

    def command(self) -> list[str]:
        return [
            *(sys.executable, "-m", "node", "run", "--data", str(self.folder / "data")),
            *("--port", str(self.port), "--http", f"127.0.0.1:{self.http}"),
        ]

    def environment(self) -> dict[str, str]:
        root = str(pathlib.Path(__file__).parents[1])
        return {**ENVIRONMENT, "PYTHONPATH": root, **self.extra}

    def ready(self) -> bool:
        try:
            # The supervisor says so when every process is there: none may come up while we measure.
            up = any(one.ready for one in state.running(self.folder / "data"))
            return up and self._whole() and bool(self._json("/readyz")["ready"])
        except (urllib.error.HTTPError, urllib.error.URLError, OSError):
            return False

    def _whole(self) -> bool:
        """Whether the journal has laid out its ring, as it has in a node that was not started just now."""
        made = list((self.folder / "data" / "journal" / "listen-1").glob("*.segment"))
        return len(made) >= model.StorageSettings().journal // journal.SEGMENT

    def held(self) -> int:
        held = self._json("/status.json")["held"]
        return int(held["instances"]) if isinstance(held, dict) else 0


class Crowd(Node):
    """Our node with room for a crowd; everything else is as by default."""

    extra = {"DICOM_NODE_LIMITS__ASSOCIATIONS": "1200", "DICOM_NODE_LIMITS__PER_PEER": "1200"}  # noqa: RUF012


class Storescp(Receiver):
    """DCMTK's receiver: neither syncs nor indexes."""

    name = "storescp"

    def command(self) -> list[str]:
        (self.folder / "store").mkdir()
        return ["storescp", "--fork", "-aet", self.aet, "-od", str(self.folder / "store"), str(self.port)]

    def held(self) -> int:
        return sum(1 for _ in (self.folder / "store").iterdir())


class Orthanc(Receiver):
    """Orthanc with its index, and with fsync, as it is by default."""

    name = "Orthanc"
    aet = "ORTHANC"

    def command(self) -> list[str]:
        config = {
            "StorageDirectory": str(self.folder / "store"),
            "IndexDirectory": str(self.folder / "store"),
            "DicomPort": self.port,
            "DicomAet": self.aet,
            "HttpPort": self.http,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
        }
        path = self.folder / "orthanc.json"
        path.write_text(json.dumps(config))
        return [find("Orthanc") or "Orthanc", str(path)]

    def ready(self) -> bool:
        with contextlib.suppress(urllib.error.URLError, OSError):
            return "Version" in self._json("/system") and super().ready()
        return False

    def held(self) -> int:
        return int(str(self._json("/statistics")["CountInstances"]))


@contextlib.contextmanager
def running(kind: type[Receiver]) -> Iterator[Receiver]:
    """Start a receiver in an empty folder, and leave nothing of it behind."""
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder:
        receiver = kind(pathlib.Path(folder))
        try:
            yield receiver
        finally:
            receiver.stop()


def free_port() -> int:
    """Return a port that nobody has now."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])
