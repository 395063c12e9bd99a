"""D8: a destination fails at every second one, resets after it stored, lies: only what it lacks goes again.

One daemon for all of it: the calling AE title says which destination a series is for. Each is a peer that
misbehaves on purpose and knows what it truly holds; afterwards the ledger is compared with it, both ways.
"""

from __future__ import annotations

import collections
import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence

import pytest

from node.faulty import pacs as faulty
from node.faulty import plan as faulty_plan
from tests import make, oracle, scu
from tests.scenario import harness

LONG = 90.0  # seconds that a test waits before it says that something never came
NAMES = ("second", "reset", "chaos", "later", "finds", "first", "spare", "hidden", "veiled")


class Forwarded:
    """A node and its destinations."""

    def __init__(self, node: harness.Node, peers: dict[str, faulty.Faulty]) -> None:
        self.node = node
        self.peers = peers

    def send(self, destination: str, made: Sequence[make.Made]) -> None:
        """A modality sends a series that is for this destination."""
        with scu.call(self.node.address, made, calling=destination.upper()) as caller:
            assert {caller.store(one).status for one in made} == {0}
            caller.release()

    def rows(self, sql: str, *values: object) -> list[tuple[object, ...]]:
        """Rows of the node's index."""
        with contextlib.closing(sqlite3.connect(self.node.data / "index.sqlite", timeout=30)) as index:
            return index.execute(sql, values).fetchall()

    def states(self, destination: str) -> dict[str, int]:
        """How many deliveries stand how."""
        found = self.rows(
            "select state, count(*) from delivery where destination = ? group by 1", destination
        )
        return {str(state): int(str(many)) for state, many in found}

    def consignments(self, destination: str) -> set[str]:
        """The states of a destination's consignments."""
        return {
            str(state)
            for (state,) in self.rows("select state from consignment where destination = ?", destination)
        }

    def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds."""
        end = time.monotonic() + LONG
        while not holds():
            assert time.monotonic() < end, self.node.tail(40)
            time.sleep(0.05)

    def delivered(self, destination: str, count: int) -> None:
        """Wait until so many are done, and nothing of it is open."""
        self.until(
            lambda: self.states(destination) == {"done": count} and self.consignments(destination) == {"done"}
        )


def judge(forwarded: Forwarded, destination: str, made: Sequence[make.Made]) -> list[str]:
    """What is wrong between what the ledger says of a destination and what its peer holds, both ways."""
    peer = forwarded.peers[destination]
    rows = forwarded.rows(
        "select key, sop_instance, state, status from delivery where destination = ?", destination
    )
    done = {str(uid) for _, uid, state, _ in rows if state == "done"}
    held = {uid: one.digest for uid, one in peer.stored.items()}
    wrong = [f"{uid} is done and not there" for uid in done - held.keys()]
    wrong += [f"{uid} is there and the ledger has it as not done" for uid in held.keys() - done]
    wrong += [
        f"{one.sop_instance} is there with other bytes"
        for one in made
        if held.get(one.sop_instance, one.digest) != one.digest
    ]
    wrong += [
        f"{one.sop_instance} is not owed" for one in made if one.sop_instance not in {r[1] for r in rows}
    ]
    # Each answer that the peer gave is an attempt on record, and no other; but a reset may take answers with
    # it that the node had not read yet.
    broken = {one.association for one in peer.journal if one.status is None}
    given = [one for one in peer.journal if one.status is not None]
    answered = collections.Counter((one.sop_instance, one.status) for one in given)
    heard = collections.Counter(
        (one.sop_instance, one.status) for one in given if one.association not in broken
    )
    attempts = collections.Counter(
        (str(uid), int(str(status)))
        for uid, status in forwarded.rows(
            "select d.sop_instance, d.status from delivery d where d.destination = ? and d.status is not null"
            " union all select d.sop_instance, a.status"
            " from attempt a join delivery d on d.key = a.delivery_key"
            " where d.destination = ? and a.status is not null",
            destination,
            destination,
        )
    )
    wrong += [f"answer {pair} is not on record" for pair in (heard - attempts)]
    wrong += [f"attempt {pair} was never answered" for pair in (attempts - answered)]
    return wrong


@pytest.fixture(scope="module")
def forwarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forwarded]:
    with contextlib.ExitStack() as stack:
        peers = {name: stack.enter_context(faulty.Faulty(aet=name.upper())) for name in NAMES}
        tables: dict[str, dict[str, object]] = {"completeness.all": {"released": "50ms", "geometry": False}}
        for name, peer in peers.items():
            tables[f"peers.{name}"] = {"aet": peer.aet, "host": "127.0.0.1", "port": peer.address[1]}
            tables[f"destinations.{name}"] = {
                "peer": name,
                "retry": "50ms",
                "retry_most": "200ms",
                "attempts": 50,
                "lanes": 1,
            }
            if name != "spare":
                to = "pair" if name == "first" else name
                tables[f"routes.{name}"] = {"to": [to], "when.source": name.upper()}
        tables["groups.pair"] = {"members": ["first", "spare"]}
        tables["destinations.later"] |= {"verify": "commit", "verify_after": "50ms"}
        tables["destinations.finds"] |= {"verify": "find", "verify_after": "50ms"}
        # Both get what is sent for the first of them, under other UIDs than it is held by.
        tables["routes.hidden"]["to"] = ["hidden", "veiled"]
        tables["destinations.hidden"] |= {"verify": "find", "verify_after": "50ms", "coerce": "other"}
        tables["destinations.veiled"] |= {"verify": "commit", "verify_after": "50ms", "coerce": "other"}
        node = harness.Node(tmp_path_factory.mktemp("d08") / "node", **tables)
        with node.config.open("a") as config:
            config.write('[[coerce.other]]\nremap = "a secret"\n')
        stack.callback(node.kill)
        node.start()
        peers["later"].report_to = _our(node)
        yield Forwarded(node, peers)


def _our(node: harness.Node) -> faulty.model.Peer:
    return faulty.model.Peer(name="node", aet=harness.AET, host="127.0.0.1", port=node.port)


def test_every_second_one_is_refused(forwarded: Forwarded) -> None:
    made = make.series(20, seed="second")
    peer = forwarded.peers["second"]
    peer.plan = faulty_plan.plan(status=["A700%2"])
    forwarded.send("second", made)
    forwarded.delivered("second", 20)
    assert not judge(forwarded, "second", made)
    stored = collections.Counter(one.sop_instance for one in peer.journal if one.status == 0)
    assert set(stored.values()) == {1}, "what was taken went out again"


def test_a_reset_after_storing_has_only_that_one_sent_again_and_its_0111_counts(
    forwarded: Forwarded,
) -> None:
    made = make.series(20, seed="reset")
    peer = forwarded.peers["reset"]
    peer.plan = faulty_plan.plan(drop=["7", "15"], known="0111", window=1)
    forwarded.send("reset", made)
    forwarded.delivered("reset", 20)
    assert not judge(forwarded, "reset", made)
    times = collections.Counter(one.sop_instance for one in peer.journal)
    dropped = {peer.journal[at].sop_instance for at in (6, 14)}
    again = {uid for uid, many in times.items() if many > 1}
    assert again == dropped
    said = [one.status for one in peer.journal if one.sop_instance in dropped]
    assert sorted(said, key=str) == [0x0111, 0x0111, None, None]


def test_after_chaos_the_ledger_says_what_the_sink_holds(forwarded: Forwarded) -> None:
    peer = forwarded.peers["chaos"]
    peer.plan = faulty_plan.plan(chaos=0.2, seed=7)
    made = []
    for number in range(3):
        series = make.series(20, seed=f"chaos {number}")
        forwarded.send("chaos", series)
        made += series
    forwarded.delivered("chaos", 60)
    assert peer.faults
    assert not judge(forwarded, "chaos", made)


def test_commitment_is_asked_for_and_reported_over_a_kill_of_the_node(forwarded: Forwarded) -> None:
    made = make.series(6, seed="later")
    peer = forwarded.peers["later"]
    # It does not have the third, and says so long after it was asked, by when the node was killed.
    peer.plan = faulty_plan.plan(forget=["3"], commit="never")
    forwarded.send("later", made)
    assert peer.wait(lambda it: len(it.requests) == 1, LONG)
    assert forwarded.consignments("later") == {"verifying"}
    forwarded.node.kill()
    forwarded.node.start()
    peer.plan = faulty_plan.Plan()
    peer.report(peer.requests[0])
    forwarded.delivered("later", 6)
    assert not judge(forwarded, "later", made)
    times = collections.Counter(one.sop_instance for one in peer.journal)
    assert [uid for uid, many in times.items() if many > 1] == [peer.journal[2].sop_instance]
    verified = forwarded.rows("select count(*) from delivery where destination = 'later' and verified <> ''")
    assert verified == [(6,)]


def test_what_was_thrown_away_is_found_missing_and_sent_again(forwarded: Forwarded) -> None:
    made = make.series(6, seed="finds")
    peer = forwarded.peers["finds"]
    peer.plan = faulty_plan.plan(forget=["2", "5"], commit="lie")
    forwarded.send("finds", made)
    forwarded.delivered("finds", 6)
    assert not judge(forwarded, "finds", made)
    assert len(peer.journal) == 8


def test_a_destination_is_asked_for_the_uids_that_it_was_given(forwarded: Forwarded) -> None:
    made = make.series(3, seed="hidden")
    forwarded.send("hidden", made)
    for name in ("hidden", "veiled"):
        forwarded.delivered(name, 3)
        peer = forwarded.peers[name]
        assert len(peer.journal) == 3
        assert not peer.stored.keys() & {one.sop_instance for one in made}
        verified = forwarded.rows(
            "select count(*) from delivery where destination = ? and verified <> ''", name
        )
        assert verified == [(3,)]


def test_the_other_member_of_a_group_takes_what_the_first_did_not_when_it_dies(
    forwarded: Forwarded,
) -> None:
    made = make.series(20, seed="group")
    first, spare = forwarded.peers["first"], forwarded.peers["spare"]
    # From the eighth on nobody is there any more, as far as the node can tell.
    first.plan = faulty_plan.plan(close=["8-"], reject=["transient@2-"], window=1)
    forwarded.send("first", made)
    forwarded.until(lambda: len(first.stored) + len(spare.stored) == 20)
    forwarded.until(lambda: forwarded.states("spare") == {"done": len(spare.stored)})
    assert set(first.stored) == {one.sop_instance for one in first.journal[:7]}
    assert not set(first.stored) & set(spare.stored)
    assert forwarded.states("first") == {"done": 7, "cancelled": 13}
    assert forwarded.states("spare") == {"done": 13}
    assert not judge(forwarded, "spare", []) + judge(forwarded, "first", [])


def test_the_node_still_holds_what_it_acknowledged(forwarded: Forwarded) -> None:
    held = oracle.Held(forwarded.node.data)
    assert all(row.actual() == row.digest for row in held.rows)
