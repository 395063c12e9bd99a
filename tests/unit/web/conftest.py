"""A real server on loopback, with sources that a test can bend."""

from __future__ import annotations

import dataclasses
import datetime
import http.client
import socket
import threading
from collections.abc import Iterator, Mapping

import pytest

from node import errors
from node.web import app, readiness, server, status

NOW = datetime.datetime(2026, 11, 21, 5, 0, tzinfo=datetime.UTC)


def a_status(**changed: object) -> status.Status:
    """A node that is well and has something to tell."""
    plain = status.Status(
        aet="NODE",
        version="0.1.0",
        started=NOW,
        listening=(status.Listening("DICOM", "0.0.0.0:11112"), status.Listening("HTTP", "127.0.0.1:8112")),
        held=status.Held(12, 18, 74, 12_345, 6_481_000_000),
        disk=status.Disk("/var/lib/dicom-node", 80 << 30, 250 << 30, 1 << 30),
        journal=status.Journal(3 << 20, 256 << 20),
        children=(status.Child("listen-1", 4242, ready=True, restarts=0),),
        associations=(
            status.Association("CT1", "192.0.2.7", NOW, 12.5, 600, "released"),
            status.Association("<b>X</b>\n", "192.0.2.9", NOW, 0.1, 0, "rejected: unknown", good=False),
        ),
        open_associations=2,
    )
    return dataclasses.replace(plain, **changed)


@dataclasses.dataclass
class Bent:
    """What the application is given, changeable while it runs."""

    checks: dict[str, readiness.Check] = dataclasses.field(default_factory=dict)
    now: status.Status = dataclasses.field(default_factory=a_status)
    metrics: bytes = b"# HELP a_total x\na_total 1.0\n"
    broken: Exception | None = None
    failures: list[tuple[str, str, Exception]] = dataclasses.field(default_factory=list)

    def status(self) -> status.Status:
        if self.broken is not None:
            raise self.broken
        return self.now

    def sources(self) -> app.Sources:
        return app.Sources(
            self.checks, lambda: self.metrics, self.status, lambda *what: self.failures.append(what)
        )


@dataclasses.dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


@dataclasses.dataclass
class Running:
    """A server and a way to ask it."""

    port: int
    bent: Bent
    server: server.Server

    def get(self, path: str, *, method: str = "GET", body: bytes | None = None, **headers: str) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            given = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body=body, headers=given)
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def raw(self, data: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as sock:
            sock.sendall(data)
            answer = b""
            while chunk := sock.recv(65536):
                answer += chunk
            return answer


def refusing(why: str) -> readiness.Check:
    def check() -> str:
        raise errors.StorageFull(why)

    return check


@pytest.fixture
def running() -> Iterator[Running]:
    bent = Bent()
    sock = socket.create_server(("127.0.0.1", 0))
    port = sock.getsockname()[1]
    bent.checks["disk"] = lambda: "80 GiB free"
    serving = server.serve(app.application(bent.sources(), names=("node.hospital.example",)), sock)
    thread = threading.Thread(target=serving.run)
    thread.start()
    yield Running(port, bent, serving)
    serving.stop()
    thread.join(10)
    assert not thread.is_alive()
