"""Who gets what is due, in which order, and never two; and how it stands with destinations."""

from __future__ import annotations

import dataclasses
import datetime
import threading

import pytest
import sqlalchemy

from node import orders
from node.index import db, lanes, ledger, tables
from tests import indexed

NOW = datetime.datetime(2026, 11, 21, 8, tzinfo=datetime.UTC)
HOUR = datetime.timedelta(hours=1)
AGE_UP = 1800.0
A = lanes.Want("a", at_once=2)
ORDER = ledger.Order("a", "1.2.3", "1.2.3.1", "all", 1)


@pytest.fixture(autouse=True)
def _instances(database: db.Database) -> None:
    indexed.take(database, [indexed.item(n) for n in range(1, 9)])


def owe(database: db.Database, number: int, **how: object) -> int:
    """A consignment of one instance; each has a route of its own."""
    order = dataclasses.replace(ORDER, route=f"r{number}", **how)
    with database.write() as connection:
        key = ledger.enqueue(connection, order, [(number, f"1.2.3.1.{number}")], order.due or NOW)
    assert key is not None
    return key


def claim(
    database: db.Database, *wants: lanes.Want, now: datetime.datetime = NOW, turn: int = 0, worker: str = "w1"
) -> orders.Consignment | None:
    with database.write() as connection:
        return lanes.claim(connection, worker, wants or [A], now, AGE_UP, turn)


def claimed(database: db.Database, *wants: lanes.Want, **how: object) -> int | None:
    found = claim(database, *wants, **how)  # type: ignore[arg-type]
    return None if found is None else found.key


def test_the_urgent_first_then_by_priority_then_as_it_came(database: db.Database) -> None:
    low = owe(database, 1, priority=orders.Priority.LOW)
    late = owe(database, 2, due=NOW - datetime.timedelta(seconds=5))
    early = owe(database, 3, due=NOW - datetime.timedelta(seconds=9))
    urgent = owe(database, 4, priority=orders.Priority.URGENT)
    future = owe(database, 5, due=NOW + HOUR)
    many = dataclasses.replace(A, at_once=9)
    assert [claimed(database, many) for _ in range(5)] == [urgent, early, late, low, None]
    with database.read() as connection:
        assert lanes.soonest(connection, [A], NOW) == NOW + HOUR
    assert claimed(database, many, now=NOW + HOUR) == future


def test_a_claim_says_who_and_under_which_fence(database: db.Database) -> None:
    key = owe(database, 1)
    found = claim(database)
    assert found is not None
    assert (found.key, found.state, found.attempts, found.fence) == (key, orders.State.RUNNING, 1, 1)
    with database.read() as connection:
        assert lanes.claims(connection) == [lanes.Claim(key, "a", "w1", 1)]
        assert lanes.claims(connection, ["b"]) == []


def test_what_waits_long_rises_and_does_not_pass_what_is_urgent(database: db.Database) -> None:
    old = owe(database, 1, priority=orders.Priority.LOW, due=NOW - 2 * HOUR)
    fresh = owe(database, 2)
    urgent = owe(database, 3, priority=orders.Priority.URGENT)
    many = dataclasses.replace(A, at_once=9)
    assert [claimed(database, many) for _ in range(3)] == [urgent, old, fresh]


def test_one_turn_of_a_few_goes_to_what_has_waited_longest(database: db.Database) -> None:
    """Else a hospital that calls everything urgent would never send anything else."""
    old = owe(database, 1, priority=orders.Priority.LOW, due=NOW - 2 * HOUR)
    urgent = owe(database, 2, priority=orders.Priority.URGENT)
    assert claimed(database, turn=lanes.TURNS - 1) == old
    assert claimed(database, turn=lanes.TURNS - 1) == urgent


def test_no_more_at_once_than_the_destination_may(database: db.Database) -> None:
    keys = [owe(database, number) for number in (1, 2, 3)]
    assert [claimed(database, worker=f"w{n}") for n in (1, 2, 3)] == [keys[0], keys[1], None]


def test_calendars_hold_all_but_what_is_urgent(database: db.Database) -> None:
    nights = owe(database, 1, calendar="nights")
    urgent = owe(database, 2, calendar="nights", priority=orders.Priority.URGENT)
    plain = owe(database, 3)
    many = lanes.Want("a", 9, shut=("nights",))
    assert [claimed(database, many) for _ in range(3)] == [urgent, plain, None]
    assert claimed(database, lanes.Want("a", 9, calendars=("nights",))) == nights


def test_a_closed_destination_takes_only_what_is_urgent(database: db.Database) -> None:
    plain = owe(database, 1)
    urgent = owe(database, 2, priority=orders.Priority.URGENT)
    closed = lanes.Want("a", 9, urgent=True)
    assert [claimed(database, closed) for _ in range(2)] == [urgent, None]
    assert claimed(database) == plain


def test_what_a_worker_died_over_waits_for_its_own_turn(database: db.Database) -> None:
    suspect = owe(database, 1)
    with database.write() as connection:
        connection.execute(sqlalchemy.update(tables.consignment).values(crashes=1))
    plain = owe(database, 2)
    careful = lanes.Want("a", 9, suspects=False)
    assert [claimed(database, careful) for _ in range(2)] == [plain, None]
    assert claimed(database) == suspect


def test_several_workers_never_claim_the_same(database: db.Database) -> None:
    keys = {owe(database, number) for number in range(1, 9)}
    with database.write() as connection:
        lanes.ensure(connection, ["a"], NOW)
    found: list[int] = []
    many = lanes.Want("a", 9)

    def work(name: str) -> None:
        while (key := claimed(database, many, worker=name)) is not None:
            found.append(key)

    threads = [threading.Thread(target=work, args=(f"w{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == sorted(keys)


def test_a_dead_workers_claim_is_taken_away_once(database: db.Database) -> None:
    owe(database, 1)
    first = claim(database)
    assert first is not None
    with database.write() as connection:
        (taken,) = lanes.claims(connection)
        assert lanes.take_over(connection, taken, NOW) is not None
        assert lanes.take_over(connection, taken, NOW) is None, "somebody was faster"
    with database.write() as connection:
        # The worker was not dead, and comes back with the fence that it had.
        assert ledger.finish(connection, first.key, first.fence, NOW) is orders.State.RUNNING
        state = ledger.finish(connection, first.key, first.fence + 1, NOW, crashed=True)
    assert state is orders.State.DUE
    again = claim(database, worker="w2")
    assert again is not None
    assert (again.crashes, again.fence) == (1, first.fence + 2)


def test_a_claim_walks_an_index_however_much_lies_behind(database: db.Database) -> None:
    if database.path is None:
        pytest.skip("PostgreSQL chooses by size, and there is none here")
    with database.read() as connection:
        want = lanes.Want("a", 2, ("nights",), ("days",))
        text = f"EXPLAIN QUERY PLAN {lanes._firsts(want)}"
        plan = connection.execute(sqlalchemy.text(text), lanes._given(want, NOW)).all()
    steps = [row[3] for row in plan if "consignment" in row[3]]
    assert len(steps) == 3 + 3 * 2, "urgent ones heed no calendar; the others go by those that are open"
    assert all("USING INDEX ix_consignment_open (destination=? AND state=?" in step for step in steps)
    assert all("calendar=? AND due<?" in step for step in steps)
    assert not [row[3] for row in plan if "TEMP B-TREE" in row[3]]


# -- lanes ------------------------------------------------------------------------------------------


def test_a_destination_is_down_after_so_many_failures_and_up_with_one_answer(database: db.Database) -> None:
    def fail(at: datetime.datetime) -> orders.Lane:
        with database.write() as connection:
            return lanes.failed(connection, "a", "nobody there", 3, at + HOUR, at)

    moments = [NOW + n * HOUR for n in range(4)]
    found = [fail(moment) for moment in moments]
    assert [one.state for one in found] == [orders.LaneState.UP] * 2 + [orders.LaneState.DOWN] * 2
    assert [one.failures for one in found] == [1, 2, 3, 4]
    assert found[3].since == moments[2], "since when it is down, and not since the last failure"
    assert (found[3].probe, found[3].reason) == (moments[3] + HOUR, "nobody there")
    with database.write() as connection:
        before = lanes.well(connection, "a", NOW + 5 * HOUR)
        assert before == found[3]
        assert lanes.lane(connection, "a") == orders.Lane("a", since=NOW + 5 * HOUR)


def test_what_a_person_holds_stays_held(database: db.Database) -> None:
    with database.write() as connection:
        lanes.set_lane(connection, "a", orders.LaneState.HELD, NOW, reason="an upgrade")
        assert lanes.failed(connection, "a", "gone", 1, NOW, NOW).state is orders.LaneState.HELD
        lanes.well(connection, "a", NOW)
        assert lanes.lanes(connection)["a"].state is orders.LaneState.HELD


def test_one_of_several_probes(database: db.Database) -> None:
    with database.write() as connection:
        lane = lanes.failed(connection, "a", "gone", 1, NOW + HOUR, NOW)
        assert lanes.take_probe(connection, "a", lane.probe, NOW + 2 * HOUR)
        assert not lanes.take_probe(connection, "a", lane.probe, NOW + 2 * HOUR)
        lanes.well(connection, "a", NOW)
        assert not lanes.take_probe(connection, "a", NOW + 2 * HOUR, NOW + 3 * HOUR), "it is up"


def test_what_is_remembered_of_a_peer_outlives_its_states(database: db.Database) -> None:
    with database.write() as connection:
        assert lanes.memory(connection, "a") == {}
        lanes.remember(connection, "a", {"max_pdu": 16384}, NOW)
        lanes.failed(connection, "a", "gone", 1, NOW, NOW)
        assert lanes.memory(connection, "a") == {"max_pdu": 16384}
        lanes.remember(connection, "a", {}, NOW)
        assert lanes.memory(connection, "a") == {}
        connection.execute(sqlalchemy.update(tables.lane).values(memory="[1"))
        assert lanes.memory(connection, "a") == {}


def test_what_only_a_wrong_clock_wrote_waits_for_nothing(database: db.Database) -> None:
    """D6: ten years ahead when it was written, and put right since; or a calendar that is gone."""
    ahead = owe(database, 1, due=NOW + 87600 * HOUR)
    gone = owe(database, 2, calendar="removed")
    soon = owe(database, 3, due=NOW + HOUR / 2)
    with database.write() as connection:
        lanes.failed(connection, "a", "gone", 1, NOW + 87600 * HOUR, NOW)
        assert lanes.amend(connection, NOW, 3600.0, ["nights"]) == 3
        assert lanes.amend(connection, NOW, 3600.0, ["nights"]) == 0
        assert lanes.lane(connection, "a").probe == NOW
    assert {claimed(database), claimed(database)} == {ahead, gone}
    assert claimed(database, now=NOW + HOUR, worker="w2") is None, "two are enough"
    assert claimed(database, dataclasses.replace(A, at_once=3), now=NOW + HOUR) == soon


def test_a_worker_is_known_by_its_heartbeats(database: db.Database) -> None:
    with database.write() as connection:
        for worker in ("w1", "w1", "w2"):
            lanes.beat(connection, worker, NOW)
        assert lanes.others(connection, "w2") == {"w1": 2}
        lanes.leave(connection, "w1")
        assert lanes.others(connection, "w2") == {}
