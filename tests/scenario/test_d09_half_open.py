"""D9: a peer that is gone without a word, in both directions, is reaped at the deadline."""

from __future__ import annotations

import contextlib
import os
import pathlib
import socket
import time
from collections.abc import Callable

import pytest

from tests import make, oracle, scu
from tests.scenario import harness

LIMITS = {
    "request_timeout": "2s",
    "pdu_timeout": "2s",
    "idle_timeout": "2s",
    "associations": 3,
    "per_peer": 3,
}


def descriptors(pid: int) -> int:
    """How many descriptors a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def gone(caller: scu.Caller, within: float) -> bool:
    """Whether the node ends this connection within so many seconds."""
    caller.socket.settimeout(within)
    try:
        while caller.socket.recv(65536):
            pass
    except TimeoutError:
        return False
    except OSError:
        pass
    return True


@pytest.fixture
def strict(make_node: Callable[..., harness.Node]) -> harness.Node:
    return make_node(limits=LIMITS).start()


def test_silent_peers_are_reaped_and_leave_no_trace(strict: harness.Node, journal: oracle.Journal) -> None:
    listener = strict.child("listen-1")
    large = make.instance(1, seed="half", size=3_000_000)
    with scu.call(strict.address, [large]) as warm:
        journal.note(large, warm.store(large).status)
        warm.release()
    before = descriptors(listener)
    with scu.call(strict.address, [large]) as idle, scu.call(strict.address, [large]) as half:
        context = half.context(large)
        half.send(b"".join(scu.fragments(context, scu.command(scu.store_request(large, 1)), is_command=True)))
        pieces = list(scu.fragments(context, large.data, is_command=False))
        half.send(b"".join(pieces[: len(pieces) // 2]) + pieces[-1][:100])  # in the middle of a PDU
        assert gone(idle, 30.0)
        assert gone(half, 30.0)
    harness.verify(strict, journal)
    end = time.monotonic() + 60
    while descriptors(listener) > before + 2 and time.monotonic() < end:
        time.sleep(0.1)
    assert descriptors(listener) <= before + 2
    assert not [name for name in spooled(strict) if os.path.getsize(name) > 0]


def spooled(node: harness.Node) -> list[pathlib.Path]:
    return list((node.data / "spool").iterdir())


def test_a_peer_that_never_reads_is_reaped(strict: harness.Node) -> None:
    with scu.Caller(strict.address) as caller:
        caller.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        caller.associate([scu.Context(scu.VERIFICATION)])
        echo = scu.command({0x2: scu.VERIFICATION, 0x100: scu.ECHO_RQ, 0x110: 1, 0x800: scu.NO_DATA})
        block = b"".join(scu.fragments(1, echo, is_command=True)) * 500
        caller.socket.settimeout(1.0)
        end = time.monotonic() + 60
        ended = False
        # It never reads, so both buffers fill and the node must give up.
        while not ended and time.monotonic() < end:
            try:
                caller.socket.send(block)
            except TimeoutError:
                continue
            except OSError:
                ended = True
        assert ended, "the node waits for ever for a peer that does not read"
    strict.alive()


def until_there_is_no_place(
    node: harness.Node, made: make.Made, stack: contextlib.ExitStack
) -> list[scu.Caller]:
    """Call until turned away: on a slow machine the first is reaped before the fourth calls."""
    callers: list[scu.Caller] = []
    for _ in range(60):
        try:
            callers.append(stack.enter_context(scu.call(node.address, [made])))
        except (scu.Rejected, scu.Closed):
            return callers
    raise AssertionError("the limit on associations is never reached")


def test_the_slots_of_the_reaped_are_free_again(strict: harness.Node) -> None:
    made = make.instance(2, seed="slots")
    with contextlib.ExitStack() as stack:
        silent = until_there_is_no_place(strict, made, stack)
        assert len(silent) >= 3
        for caller in silent:
            assert gone(caller, 30.0)
    end = time.monotonic() + 60
    while time.monotonic() < end:
        with contextlib.suppress(scu.Rejected):
            with scu.call(strict.address, [made]) as caller:
                assert caller.store(made).status == 0
                caller.release()
            return
        time.sleep(0.1)
    raise AssertionError("the slots of dead associations are never given back")
