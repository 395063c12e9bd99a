from __future__ import annotations

import os
import pathlib
import socket
import sys
from collections.abc import Iterator

import pytest

from node import notify


@pytest.fixture
def manager(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", sock.getsockname())
        yield sock


def test_each_state_is_one_datagram(manager: socket.socket) -> None:
    notify.ready("listening on 11112")
    notify.status("two\nlines\tof text")
    notify.watchdog()
    notify.stopping("draining")
    notify.extend(1.5)
    assert [manager.recv(4096) for _ in range(5)] == [
        b"READY=1\nSTATUS=listening on 11112",
        b"STATUS=two lines of text",
        b"WATCHDOG=1",
        b"STOPPING=1\nSTATUS=draining",
        b"EXTEND_TIMEOUT_USEC=1500000",
    ]


def test_a_reload_carries_the_clock_that_the_manager_wants(manager: socket.socket) -> None:
    notify.reloading()
    first, second = manager.recv(4096).split(b"\n")
    assert first == b"RELOADING=1"
    assert int(second.removeprefix(b"MONOTONIC_USEC=")) > 0


@pytest.mark.skipif(sys.platform != "linux", reason="abstract addresses are Linux's")
def test_an_abstract_address_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        name = f"dicom-node-test-{os.getpid()}"
        sock.bind("\0" + name)
        sock.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name)
        notify.watchdog()
        assert sock.recv(100) == b"WATCHDOG=1"


@pytest.mark.parametrize("address", ["", "/nowhere/at/all"])
def test_without_a_manager_nothing_happens(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    notify.ready()
    monkeypatch.delenv("NOTIFY_SOCKET")
    notify.ready()


def test_the_watchdogs_patience_is_read() -> None:
    environ = {"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}
    assert notify.watchdog_interval(environ) == 30.0


@pytest.mark.parametrize(
    "given", [{}, {"WATCHDOG_USEC": "x"}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "5", "WATCHDOG_PID": "1"}]
)
def test_a_watchdog_that_is_not_ours_is_none(given: dict[str, str]) -> None:
    assert notify.watchdog_interval(given) is None


def test_sockets_are_taken_once_and_keep_their_names() -> None:
    made = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    ports = [sock.getsockname()[1] for sock in made]
    first = max(map(int, os.listdir("/proc/self/fd"))) + 50  # nobody has these
    for index, sock in enumerate(made):
        os.dup2(sock.fileno(), first + index)
        sock.close()
    environ = {
        "LISTEN_PID": str(os.getpid()),
        "LISTEN_FDS": "3",
        "LISTEN_FDNAMES": "dicom:http:dicom",
        "HOME": "/",
    }
    taken = notify.listen_sockets(environ, first=first)
    try:
        assert {name: [sock.getsockname()[1] for sock in socks] for name, socks in taken.items()} == {
            "dicom": [ports[0], ports[2]],
            "http": [ports[1]],
        }
        assert environ == {"HOME": "/"}
        assert notify.listen_sockets(environ, first=first) == {}
        assert not any(sock.get_inheritable() for socks in taken.values() for sock in socks)
    finally:
        for socks in taken.values():
            for sock in socks:
                sock.close()


def test_sockets_of_another_process_are_left_alone() -> None:
    assert notify.listen_sockets({"LISTEN_PID": "1", "LISTEN_FDS": "2"}) == {}
