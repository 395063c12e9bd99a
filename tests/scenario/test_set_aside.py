"""Conflicts and quarantine are decided beside the daemon, and stay so over a SIGKILL and a rebuild."""

from __future__ import annotations

import json
from collections.abc import Callable

from tests import make, oracle, scu
from tests.scenario import harness

RULE = {"action": "quarantine", "reason": "odd", "when.source": "ODD"}


def test_what_a_person_decides_beside_the_daemon_stays(make_node: Callable[..., harness.Node]) -> None:
    node = make_node(**{"rules.look": RULE}).start()
    (first,) = make.series(1, seed="first")
    second = make.altered(first)
    odd = make.series(3, seed="odd", size=9000)
    with scu.Caller(node.address) as caller:
        caller.associate([scu.Context(make.CT, (make.EXPLICIT,))])
        assert [caller.store(one).status for one in (first, second)] == [0, 0]
        caller.release()
    with scu.Caller(node.address) as caller:
        caller.associate([scu.Context(make.CT, (make.EXPLICIT,))], calling="ODD")
        assert [caller.store(one).status for one in odd] == [0, 0, 0]
        caller.release()
    assert run(node, "audit", "--deep").endswith("every one of them is accounted for\n")
    entries = json.loads(run(node, "aside", "list", "--json"))
    assert sorted(entry["digest"] for entry in entries) == sorted(one.digest for one in (second, *odd))
    said = run(node, "aside", "release", odd[0].sop_instance, "--why", "looked at")
    assert said == "1 released into the store, 1 files removed\n"
    run(node, "aside", "discard", odd[1].sop_instance, "--why", "a test", "--yes")
    run(node, "aside", "replace", first.sop_instance, "--why", "cut short", "--yes")
    check(node, second, odd)
    node.kill()
    node.start()
    check(node, second, odd)
    node.stop()
    run(node, "rebuild")
    check(node, second, odd)


def run(node: harness.Node, *words: str) -> str:
    done = node.command(*words)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def check(node: harness.Node, second: make.Made, odd: list[make.Made]) -> None:
    # What the index says has a file, in the store or aside.
    kept = {row.sop_instance: row.actual() for row in oracle.Held(node.data).rows}
    assert kept == {one.sop_instance: one.digest for one in (second, odd[0], odd[2])}
    (left,) = json.loads(run(node, "aside", "list", "--json"))
    assert left["digest"] == odd[2].digest
    assert run(node, "audit", "--deep").endswith("every one of them is accounted for\n")
    assert run(node, "scrub").startswith("3 instances read")
