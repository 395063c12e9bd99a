from __future__ import annotations

import os
import pathlib
import socket
import sys

import pytest

from node import notify


@pytest.fixture
def manager(tmp_path: pathlib.Path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(5)
        yield sock


def test_each_state_is_one_datagram(manager: socket.socket) -> None:
    service = notify.Service(manager.getsockname())
    service.ready("listening on 11112")
    service.status("two\nlines\tof text")
    service.alive()
    service.stopping("draining")
    service.extend(1.5)
    assert [manager.recv(4096) for _ in range(5)] == [
        b"READY=1\nSTATUS=listening on 11112",
        b"STATUS=two lines of text",
        b"WATCHDOG=1",
        b"STOPPING=1\nSTATUS=draining",
        b"EXTEND_TIMEOUT_USEC=1500000",
    ]


def test_a_reload_carries_the_clock_that_the_manager_wants(manager: socket.socket) -> None:
    notify.Service(manager.getsockname()).reloading()
    first, second = manager.recv(4096).split(b"\n")
    assert first == b"RELOADING=1"
    assert int(second.removeprefix(b"MONOTONIC_USEC=")) > 0


@pytest.mark.skipif(sys.platform != "linux", reason="abstract addresses are Linux's")
def test_an_abstract_address_is_understood() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        name = f"dicom-node-test-{os.getpid()}"
        sock.bind("\0" + name)
        sock.settimeout(5)
        notify.Service("@" + name).alive()
        assert sock.recv(100) == b"WATCHDOG=1"


def test_without_a_manager_nothing_happens(tmp_path: pathlib.Path) -> None:
    notify.Service(None).ready()
    notify.Service(str(tmp_path / "nobody")).ready()


def test_the_environment_is_taken_once_and_hidden_from_children(manager: socket.socket) -> None:
    environ = {
        "NOTIFY_SOCKET": manager.getsockname(),
        "WATCHDOG_USEC": "30000000",
        "WATCHDOG_PID": str(os.getpid()),
        "HOME": "/",
    }
    service = notify.service(environ)
    service.alive()
    assert manager.recv(100) == b"WATCHDOG=1"
    assert service.watchdog == 30.0
    assert environ == {"HOME": "/"}


@pytest.mark.parametrize(
    "given", [{}, {"WATCHDOG_USEC": "x"}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "5", "WATCHDOG_PID": "1"}]
)
def test_a_watchdog_that_is_not_ours_is_not_fed(given: dict[str, str]) -> None:
    assert notify.service(dict(given)).watchdog is None


def test_inherited_sockets_keep_their_names() -> None:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        ports = [one.getsockname()[1], two.getsockname()[1]]
        first = os.dup2(one.fileno(), 200)
        os.dup2(two.fileno(), 201)
        environ = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "2", "LISTEN_FDNAMES": "dicom:http"}
        taken = notify.inherited(environ, first=first)
        try:
            assert [(each.name, each.sock.getsockname()[1]) for each in taken] == [
                ("dicom", ports[0]),
                ("http", ports[1]),
            ]
            assert environ == {}
            assert not any(each.sock.get_inheritable() for each in taken)
        finally:
            for each in taken:
                each.sock.close()


def test_sockets_of_another_process_are_left_alone() -> None:
    assert notify.inherited({"LISTEN_PID": "1", "LISTEN_FDS": "2"}) == []
