"""A connection is let go of wholly: nothing of it stays with the system for minutes."""

from __future__ import annotations

import contextlib
import socket
import time

import pytest

from node.wire import faults, stream


@pytest.fixture
def ends() -> contextlib.ExitStack:
    with contextlib.ExitStack() as stack:
        yield stack


def pair(ends: contextlib.ExitStack) -> tuple[stream.Stream, socket.socket]:
    """Our end and the peer's, over TCP."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        peer = ends.enter_context(socket.create_connection(server.getsockname()))
        ours, _ = server.accept()
    ends.enter_context(ours)
    return stream.Stream(ours), peer


def fill(ours: stream.Stream) -> None:
    """Write until nothing more goes out."""
    block = bytes(1 << 20)
    while True:
        ours.write([block], len(block), time.monotonic())


def rest(peer: socket.socket) -> str:
    """Read all that there is; how it ended."""
    peer.settimeout(30)
    try:
        while peer.recv(1 << 16):
            pass
    except ConnectionResetError:
        return "reset"
    return "end"


def test_one_that_never_reads_is_reset(ends: contextlib.ExitStack) -> None:
    ours, peer = pair(ends)
    with pytest.raises(faults.AssociationLost, match="does not read"):
        fill(ours)
    ours.close(0.05)
    assert rest(peer) == "reset"


def test_one_that_reads_gets_our_last_words(ends: contextlib.ExitStack) -> None:
    ours, peer = pair(ends)
    ours.write([b"last words"], 10, time.monotonic() + 30)
    ours.close(0.05)
    assert peer.recv(100) == b"last words"
    assert rest(peer) == "end"
