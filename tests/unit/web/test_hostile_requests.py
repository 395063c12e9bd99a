from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time

import pytest

from node.web import hosts, server
from tests.unit.web.conftest import Running


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "203.0.113.9", "", "a b", "@", "[::1"]
)
def test_a_foreign_host_is_misdirected(running: Running, host: str) -> None:
    assert running.get("/healthz", Host=host).status == 421


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8112", "127.0.0.1", "[::1]:80", "node.hospital.example."]
)
def test_our_own_names_are_answered(running: Running, host: str) -> None:
    assert running.get("/healthz", Host=host).status == 200


def test_the_address_that_was_connected_to_is_ours() -> None:
    assert hosts.ours("192.0.2.5:8112", (), "192.0.2.5")
    assert not hosts.ours("192.0.2.6:8112", (), "192.0.2.5")


def test_a_fault_is_answered_with_an_id_and_nothing_else(running: Running) -> None:
    running.bent.broken = RuntimeError("secret path /srv/patients")
    answer = running.get("/")
    [(fault, request, error)] = running.bent.failures
    assert answer.status == 500
    assert fault in answer.text
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text
    assert request == "GET /"
    assert error is running.bent.broken


def test_a_check_that_crashes_is_not_ready_and_shows_only_an_id(running: Running) -> None:
    def crash() -> str:
        raise ValueError("secret")

    running.bent.checks["odd"] = crash
    answer = running.get("/readyz")
    assert answer.status == 503
    assert "secret" not in answer.text
    assert running.bent.failures[0][0] in answer.text


def test_nothing_is_printed_about_bad_requests(running: Running, caplog: pytest.LogCaptureFixture) -> None:
    running.bent.broken = RuntimeError("x")
    with caplog.at_level(logging.DEBUG):
        running.get("/")
        assert b"400" in running.raw(b"\x00\x01garbage\r\n\r\n")
    assert "Traceback" not in caplog.text


def test_a_huge_announced_body_is_refused_before_it_comes(running: Running) -> None:
    head = b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999999999999\r\n\r\n"
    answer = running.raw(head)
    assert answer.startswith(b"HTTP/1.1 413")


def test_a_length_that_is_no_number_is_a_bad_request(running: Running) -> None:
    answer = running.raw(b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400")


def test_headers_without_end_are_cut_off(running: Running) -> None:
    answer = running.raw(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * (server.HEADER_BYTES + 10))
    assert answer.startswith(b"HTTP/1.1 400")


def test_two_hosts_are_refused(running: Running) -> None:
    answer = running.raw(b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize(
    "path", ["/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/a%00b", "/" + "a" * 5000]
)
def test_odd_paths_are_not_found(running: Running, path: str) -> None:
    assert running.get(path).status == 404


def drip(sock: socket.socket) -> None:
    for _ in range(100):
        sock.sendall(b"G")
        time.sleep(0.05)


def test_a_silent_and_a_dripping_client_are_cut_off(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "REQUEST_TIMEOUT", 0.4)
    with (
        socket.create_connection(("127.0.0.1", running.port), timeout=10) as silent,
        socket.create_connection(("127.0.0.1", running.port), timeout=10) as dripping,
    ):
        with pytest.raises((ConnectionError, TimeoutError)):
            drip(dripping)
        with contextlib.suppress(ConnectionResetError):  # the other way to hear that it is over
            assert silent.recv(1) == b""
    assert running.get("/healthz").status == 200


def test_a_check_that_hangs_is_reported_and_not_started_twice(running: Running) -> None:
    release, started = threading.Event(), []

    def hang() -> str:
        started.append(1)
        release.wait(20)
        return "at last"

    from node.web import readiness

    async def twice() -> list[list[readiness.Finding]]:
        ready = readiness.Readiness({"slow": hang}, lambda *_: "", patience=0.05, fresh=0)
        try:
            first, second = await ready.look(), await ready.look()
            release.set()
            ready._patience = 10
            return [first, second, await ready.look()]
        finally:
            ready.close()

    import asyncio

    first, second, third = asyncio.run(twice())
    assert [first[0].ok, second[0].ok, third[0].ok] == [False, False, True]
    assert "no answer within" in first[0].says
    assert len(started) == 1


def test_asking_often_runs_the_checks_once(running: Running) -> None:
    runs = []
    running.bent.checks["disk"] = lambda: runs.append(1) or "fine"
    for _ in range(5):
        running.get("/readyz")
    assert len(runs) < 5
