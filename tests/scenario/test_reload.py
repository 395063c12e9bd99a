"""A changed configuration takes effect without dropping an association; a bad one changes nothing."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

from tests import make, scu
from tests.scenario import harness

STRICT = {"node": {"accept_unknown": False}, "peers.ct": {"aet": "CT1"}}


def rejected(node: harness.Node, calling: str) -> tuple[int, int, int] | None:
    """How an association of this caller is refused, None when it is taken."""
    try:
        with scu.call(node.address, calling=calling, timeout=30) as caller:
            caller.release()
    except scu.Rejected as error:
        return error.code
    return None


def test_a_new_peer_is_let_in_while_an_association_goes_on(make_node: Callable[..., harness.Node]) -> None:
    node = make_node(**STRICT).start()
    assert rejected(node, "MR1") == (1, 1, 3)
    made = make.series(2, seed="reload")
    with scu.call(node.address, made, calling="CT1") as caller:
        assert caller.store(made[0]).status == 0
        node.config.write_text(node.config.read_text() + '\n[peers.mr]\naet = "MR1"\n')
        done = node.command("reload")
        assert done.returncode == 0, done.stderr
        assert "peers.mr (new)" in done.stdout
        assert caller.store(made[1]).status == 0
        caller.release()
    assert rejected(node, "MR1") is None


def test_a_bad_file_leaves_the_old_configuration_in_force(make_node: Callable[..., harness.Node]) -> None:
    node = make_node(**STRICT).start()
    good = node.config.read_text()
    node.config.write_text(good.replace("CT1", "CT2") + "\n[limits]\nassociations = 'many'\n")
    done = node.command("reload")
    assert done.returncode == 2
    assert "associations" in done.stderr
    assert node.process is not None
    os.kill(node.process.pid, signal.SIGHUP)  # past the command's own check
    end = time.monotonic() + 60
    while not any(event.get("action") == "config_refused" for event in node.events()):
        assert time.monotonic() < end, node.tail()
        time.sleep(0.05)
    assert rejected(node, "CT1") is None
    assert rejected(node, "CT2") == (1, 1, 3)


def test_what_needs_a_restart_is_named_and_not_applied(node: harness.Node) -> None:
    node.config.write_text(node.config.read_text().replace('aet = "NODE"', 'aet = "OTHER"'))
    done = node.command("reload")
    assert done.returncode == 0, done.stderr
    assert "needs a restart: node.aet" in done.stdout
    node.alive()


def test_a_listener_that_is_killed_comes_back_and_is_counted(node: harness.Node) -> None:
    os.kill(node.child("listen-1"), signal.SIGKILL)
    end = time.monotonic() + 60
    while True:
        try:
            node.alive()
            break
        except (ConnectionError, TimeoutError):
            assert time.monotonic() < end, node.tail()
            time.sleep(0.1)
    _, text = node.get("/metrics")
    line = next(one for one in text.splitlines() if "restarts" in one and 'listen-1"' in one)
    assert float(line.split()[-1]) == 1.0
