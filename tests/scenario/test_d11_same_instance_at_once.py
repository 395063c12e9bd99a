"""D11 and D12: the same instance a hundred times at once; the same UID with other bytes."""

from __future__ import annotations

from collections.abc import Callable

from tests import make, oracle, scu
from tests.scenario import harness


def test_the_same_instance_a_hundred_times_at_once_is_one_file(
    node: harness.Node, journal: oracle.Journal
) -> None:
    made = make.instance(seed="hundred", size=75_000)
    sent = oracle.send(node.address, journal, [made] * 100, senders=20)
    assert sent.answered == 100
    assert {answer.status for answer in journal.answers()} == {0}
    held = harness.verify(node, journal)
    assert [row.kind for row in held.rows] == ["instance"]
    assert len(held.files()) == 1
    assert held.verdicts() == {"stored": 1, "duplicate": 99}


def test_other_bytes_under_a_held_uid_leave_the_first_untouched(
    node: harness.Node, journal: oracle.Journal
) -> None:
    first = make.instance(seed="conflict", size=20_000)
    oracle.send(node.address, journal, [first])
    before = harness.verify(node, journal)
    place = before.rows[0].path
    facts = (place.read_bytes(), place.stat().st_mtime_ns, place.stat().st_ino)
    second = make.altered(first)
    oracle.send(node.address, journal, [second, first, second])
    assert {answer.status for answer in journal.answers()} == {0}
    held = harness.verify(node, journal)
    assert (place.read_bytes(), place.stat().st_mtime_ns, place.stat().st_ino) == facts
    assert sorted((row.kind, row.digest) for row in held.rows) == [
        ("conflict", second.digest),
        ("instance", first.digest),
    ]
    assert held.verdicts()["conflict"] >= 1
    assert any("conflict" in str(event.get("action")) for event in node.events()), "nobody was told"


def test_both_versions_at_once_are_both_kept(node: harness.Node, journal: oracle.Journal) -> None:
    first = make.instance(seed="race", size=30_000)
    second = make.altered(first)
    oracle.send(node.address, journal, [first, second] * 20, senders=10)
    held = harness.verify(node, journal)
    assert sorted(row.kind for row in held.rows) == ["conflict", "instance"]
    assert {row.digest for row in held.rows} == {first.digest, second.digest}


def test_where_the_policy_refuses_a_conflict_is_0111_and_not_kept(
    make_node: Callable[..., harness.Node], journal: oracle.Journal
) -> None:
    node = make_node(storage={"on_conflict": "refuse"}).start()
    first = make.instance(seed="refused", size=20_000)
    second = make.altered(first)
    with scu.call(node.address, [first]) as caller:
        for made, expected in ((first, 0), (second, 0x0111), (first, 0), (second, 0x0111)):
            status = caller.store(made).status
            assert status == expected
            if status == 0:
                journal.note(made, status)
        caller.release()
    held = harness.verify(node, journal)
    assert [(row.kind, row.digest) for row in held.rows] == [("instance", first.digest)]
