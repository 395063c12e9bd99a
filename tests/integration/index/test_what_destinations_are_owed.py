"""One row for each instance and destination: what is owed is never twice, and never forgotten."""

from __future__ import annotations

import concurrent.futures
import datetime
import pathlib
import threading

import pytest
import sqlalchemy

from node import model, orders
from node.files import book, layout
from node.files import ledger as facts
from node.index import (
    audit,
    bulk,
    compare,
    db,
    decisions,
    desk,
    events,
    ledger,
    manager,
    pruning,
    queue,
    remove,
    retain,
    series,
    tables,
    why,
    witness,
)
from tests import indexed

S = orders.State
NOW = indexed.START + datetime.timedelta(hours=1)
STUDY, SERIES = "1.2.3", "1.2.3.1"
CLAIM = (
    "UPDATE consignment SET state = 'running', fence = fence + 1, attempts = attempts + 1, claim = 'w'"
    " WHERE key = ?"
)


def at(seconds: float) -> datetime.datetime:
    return NOW + datetime.timedelta(seconds=seconds)


def order(destination: str = "pacs", revision: int = 1, **other: object) -> ledger.Order:
    return ledger.Order(destination, STUDY, SERIES, "scans", revision, **other)  # type: ignore[arg-type]


def fill(database: db.Database, count: int = 3, first: int = 1) -> list[tuple[int, str]]:
    """Instances of one series; their rows and UIDs."""
    indexed.take(database, [indexed.item(number) for number in range(first, first + count)])
    return [
        (int(str(row["key"])), str(row["sop_instance"])) for row in indexed.rows(database, tables.instance)
    ]


def owe(
    database: db.Database, one: ledger.Order, rows: list[tuple[int, str]], seconds: float = 0, **how: bool
) -> int | None:
    with database.write() as connection:
        return ledger.enqueue(connection, one, rows, at(seconds), **how)


def claim(database: db.Database, key: int) -> orders.Consignment:
    with database.write() as connection:
        bulk.run(connection, CLAIM, key)
        found = ledger.get(connection, key)
    assert found is not None
    return found


def answer(
    database: db.Database, key: int, outcome: orders.State, seconds: float = 1, limit: int = 100
) -> None:
    with database.write() as connection:
        dues = ledger.due(connection, key, 0, limit)
        attempts = [orders.Attempt(one.key, at(seconds), outcome, 0, "1.2", 10, 0.1, "") for one in dues]
        ledger.record(connection, key, attempts, at(seconds))


def deliver(
    database: db.Database, key: int, outcome: orders.State = S.DONE, seconds: float = 1
) -> orders.State:
    one = claim(database, key)
    answer(database, key, outcome, seconds)
    with database.write() as connection:
        return ledger.finish(connection, key, one.fence, at(seconds), due=at(seconds + 60), error="busy")


def get(database: db.Database, key: int | None) -> orders.Consignment:
    assert key is not None
    with database.read() as connection:
        found = ledger.get(connection, key)
    assert found is not None
    return found


def test_the_same_decision_a_hundred_times_is_one_delivery(database: db.Database) -> None:
    rows = fill(database)
    keys = [owe(database, order(revision=number), rows) for number in range(100)]
    assert [key for key in keys if key is not None] == [keys[0]]
    assert len(indexed.rows(database, tables.delivery)) == 3
    assert get(database, keys[0]).total == 3


def test_the_same_decision_by_four_at_once_is_one_delivery(database: db.Database) -> None:
    rows = fill(database, 20)
    barrier = threading.Barrier(4)

    def one(revision: int) -> int | None:
        barrier.wait(30)
        return owe(database, order(revision=revision), rows)

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        keys = list(pool.map(one, range(4)))
    assert sum(key is not None for key in keys) == 1
    (whole,) = indexed.rows(database, tables.consignment)
    assert (whole["total"], len(indexed.rows(database, tables.delivery))) == (20, 20)


def test_only_what_came_late_is_sent_with_the_next_revision(database: db.Database) -> None:
    first = owe(database, order(), fill(database))
    assert first is not None
    assert deliver(database, first) is S.DONE
    late = owe(database, order(revision=2), fill(database, 2, first=4))
    with database.read() as connection:
        assert late is not None
        assert [one.sop_instance for one in ledger.due(connection, late, 0, 10)] == ["1.2.3.1.4", "1.2.3.1.5"]
        assert ledger.kinds(connection, late) == [("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1")]


def test_what_is_sent_on_as_it_comes_is_one_consignment_of_the_series(database: db.Database) -> None:
    rows = fill(database, 5)
    keys = set()
    for row in rows[:4]:
        key = owe(database, order(revision=0), [row])
        assert key is not None
        keys.add(key)
        assert deliver(database, key) is S.DONE
    assert len(keys) == 1
    (key,) = keys
    assert deliver(database, key) is S.DONE
    claim(database, key)
    assert owe(database, order(revision=0), rows) == key, "it grows while a lane is at it"
    assert get(database, key).state is S.RUNNING
    # One that is refused for now waits for its next try; what comes then does not wait with it.
    answer(database, key, S.DUE, 20)
    with database.write() as connection:
        assert ledger.finish(connection, key, get(database, key).fence, at(20), due=at(80)) is S.DUE
    assert get(database, key).attempts == 0, "the lane was broken off without a fault"
    other = owe(database, order(revision=0), [fill(database, 1, first=9)[-1]], 30)
    assert other not in (None, key)


def test_pages_end_and_say_what_cannot_be_sent(database: db.Database) -> None:
    rows = fill(database, 7)
    key = owe(database, order(), rows)
    assert key is not None
    with database.write() as connection:
        broken = tables.instance.c.key == rows[1][0]
        connection.execute(sqlalchemy.update(tables.instance).where(broken).values(state=model.Held.CORRUPT))
        connection.execute(sqlalchemy.delete(tables.instance).where(tables.instance.c.key == rows[2][0]))
    seen: list[ledger.Due] = []
    with database.read() as connection:
        while page := ledger.due(connection, key, seen[-1].instance if seen else 0, 3):
            seen += page
    assert [one.instance for one in seen] == [row[0] for row in rows]
    assert [(number, one.why) for number, one in enumerate(seen) if one.row is None] == [
        (1, "its file is corrupt"), (2, "it was removed a moment ago"),
    ]  # fmt: skip


def test_every_attempt_is_kept_and_the_last_one_stands(database: db.Database) -> None:
    key = owe(database, order(), fill(database, 1))
    assert key is not None
    for seconds, outcome in ((1, S.DUE), (2, S.DUE), (3, S.DEAD)):
        deliver(database, key, outcome, seconds)
    assert get(database, key).state is S.DEAD
    with database.write() as connection:
        ledger.record(connection, key, [orders.Attempt(1, at(2), S.DUE, 0, "1.2", 10, 0.1, "")], at(9))
        (letter,) = queue.dead(connection, queue.Chosen(destination="pacs"))
        assert letter.attempts == 3
        done = desk.Desk(connection, who="a person", why="it is mended", now=at(10)).replay(
            queue.Chosen(uid=SERIES)
        )
        assert done == desk.Done(1, 1)
        assert (
            desk.Desk(connection, who="a", why="", now=at(11)).replay(queue.Chosen(uid=SERIES)).deliveries
            == 0
        )
    (due,) = indexed.rows(database, tables.delivery)
    assert (due["state"], due["attempts"]) == ("due", 0)
    assert deliver(database, key, S.DONE, 20) is S.DONE
    with database.read() as connection:
        (story,) = why.story(connection, "1.2.3.1.1")
    (delivered,) = story.series[0].sent[0].deliveries
    assert [one.at for one in delivered.tries] == [at(1), at(2), at(3), at(20)]
    assert [one.outcome for one in delivered.tries] == [S.DUE, S.DUE, S.DUE, S.DONE]


def test_that_it_was_delivered_is_true_whoever_heard_it(database: db.Database) -> None:
    key = owe(database, order(), fill(database, 2))
    assert key is not None
    old = claim(database, key)
    claim(database, key)  # another worker took it over
    answer(database, key, S.DONE, limit=1)
    with database.write() as connection:
        assert ledger.finish(connection, key, old.fence, at(2)) is S.RUNNING
        assert not ledger.wanted(connection, key, old.fence)
        assert ledger.wanted(connection, key, old.fence + 1)
        desk.Desk(connection, who="a person", why="", now=at(3)).cancel(queue.Chosen(consignment=key))
        assert not ledger.wanted(connection, key, old.fence + 1)
    assert (get(database, key).done, get(database, key).cancelled) == (1, 1)
    late = [orders.Attempt(2, at(4), S.DONE, 0, "1.2", 10, 0.1, "")]
    with database.write() as connection:
        ledger.record(connection, key, late, at(4))
    assert (get(database, key).done, get(database, key).state) == (2, S.CANCELLED)


def test_a_hold_stops_a_lane_and_stands_when_it_is_through(database: db.Database) -> None:
    key = owe(database, order(), fill(database, 2))
    assert key is not None
    one = claim(database, key)
    with database.write() as connection:
        at_desk = desk.Desk(connection, who="a person", why="wait", now=at(1))
        assert at_desk.hold(queue.Chosen(uid="1.2.3.1.2")) == desk.Done(1, 2)
        assert not ledger.wanted(connection, key, one.fence)
        assert ledger.finish(connection, key, one.fence, at(2)) is S.HELD
        assert ledger.owed(connection)[0].held == 2
        assert at_desk.release(queue.Chosen(destination="pacs")) == desk.Done(1, 2)
    assert get(database, key).state is S.DUE


def test_what_moves_leaves_out_what_is_there_already(database: db.Database) -> None:
    rows = fill(database, 3)
    there = owe(database, order("archive"), rows[:1])
    here = owe(database, order(), rows)
    assert here is not None
    assert there is not None
    deliver(database, there)
    with database.write() as connection:
        moved = ledger.redirect(connection, here, "archive", at(5))
        assert moved is not None
        assert [one.sop_instance for one in ledger.due(connection, moved, 0, 9)] == ["1.2.3.1.2", "1.2.3.1.3"]
        assert ledger.redirect(connection, here, "archive", at(6)) is None
        back = ledger.redirect(connection, moved, "pacs", at(7))
    assert get(database, here).state is S.CANCELLED
    assert get(database, moved).state is S.CANCELLED
    assert get(database, back).total == 2


def test_poison_is_given_up_whoever_is_at_it(database: db.Database) -> None:
    key = owe(database, order(), fill(database, 2))
    assert key is not None
    one = claim(database, key)
    with database.write() as connection:
        assert ledger.give_up(connection, key, at(1), "three workers died over it") is S.DEAD
        assert ledger.finish(connection, key, one.fence, at(2)) is S.DEAD
        assert [letter.error for letter in queue.dead(connection, queue.Chosen())] == [
            "three workers died over it"
        ] * 2


def test_retention_leaves_what_is_owed_and_a_person_calls_it_off(database: db.Database) -> None:
    rows = fill(database, 2)
    key = owe(database, order(), rows)
    later = NOW.replace(year=2028)
    with database.read() as connection:
        assert retain.by_age(connection, later, 1.0) == []
        assert retain.by_size(connection, later, 0) == []
    assert manager.Images(database).owed(model.Level.SERIES, SERIES) == {"pacs": 2}
    with database.write() as connection:
        remove.instances(connection, [rows[0][0]], who="a person", why="a mistake", now=at(1))
    assert (get(database, key).cancelled, get(database, key).state) == (1, S.DUE)
    assert indexed.rows(database, tables.delivery)[0]["error"] == "removed by a person: a mistake"
    assert key is not None
    assert deliver(database, key) is S.DONE
    with database.write() as connection:
        (candidate,) = retain.by_age(connection, later, 1.0)
        assert len(retain.drop(connection, candidate, who="retention", now=later)) == 1
    assert get(database, key).state is S.DONE


def test_what_ended_long_ago_and_is_held_no_more_leaves_the_queue(database: db.Database) -> None:
    rows = fill(database, 3)
    first, second, third = (owe(database, order(name), rows) for name in ("pacs", "archive", "research"))
    assert first is not None
    assert second is not None
    deliver(database, first, S.DUE)
    assert deliver(database, first, seconds=2) is S.DONE
    deliver(database, second, seconds=500)
    assert pruning.finished(database, at(400)) == 0, "what it sent is still held"
    with database.write() as connection:
        remove.instances(connection, [key for key, _ in rows], who="retention", why="old", now=at(300))
    assert pruning.finished(database, at(200)) == 1
    assert {row["consignment_key"] for row in indexed.rows(database, tables.delivery)} == {second, third}
    assert indexed.rows(database, tables.attempt) == []
    assert pruning.finished(database, at(400)) == 1, "what was called off ended too"
    assert {row["key"] for row in indexed.rows(database, tables.consignment)} == {second}


def test_audit_finds_what_nobody_would_ever_send(database: db.Database) -> None:
    rows = fill(database, 3)
    settle(database, decisions.Decision(STUDY, SERIES, 1, "scans", {}, ("pacs",)))
    key = owe(database, order(), rows[:2])
    with database.read() as connection:
        (found,) = audit.forgotten(connection)
        assert (found.sop_instance, found.destination) == ("1.2.3.1.3", "")
    assert owe(database, order(), rows) == key
    with database.read() as connection:
        assert list(audit.forgotten(connection)) == []
    with database.write() as connection:
        bulk.run(connection, "UPDATE consignment SET state = 'done'")
    with database.read() as connection:
        assert {one.sop_instance for one in audit.forgotten(connection)} == {row[1] for row in rows}


def test_audit_is_content_with_what_is_to_go_nowhere(database: db.Database) -> None:
    fill(database, 3)
    settle(database, decisions.Decision(STUDY, SERIES, 1, "", {}))
    with database.read() as connection:
        assert list(audit.forgotten(connection)) == []


def settle(
    database: db.Database, decision: decisions.Decision, ledgers: witness.Witness | None = None
) -> None:
    with database.write() as connection:
        seen = series.facts(connection, STUDY, SERIES)
        assert seen is not None
        assert series.settle(connection, seen, at(0)) == 1
        signals = {"newest": "1.2.3.1.3", "before": 0}
        settled = decisions.Settlement(
            orders.When.SERIES, STUDY, SERIES, 1, orders.Completeness.COMPLETE, seen.instances, signals
        )
        decisions.settled(connection, settled, at(0), ledgers)
        decisions.decide(connection, [decision], at(0), ledgers)


def test_what_was_there_before_forwarding_is_not_sent_after_a_rebuild(tmp_path: pathlib.Path) -> None:
    data = layout.Data(tmp_path / "data")
    data.make()
    ledgers = witness.Witness(data)
    one, again = indexed.sqlite(tmp_path), indexed.sqlite(tmp_path, "again.db")
    old = [indexed.item(number, series="1.2.3.9", position=number) for number in (1, 2)]
    new = [indexed.item(number, seconds=60) for number in (1, 2, 3)]
    indexed.take(one, old)
    with one.write() as connection:  # as the upgrade does it
        connection.execute(
            sqlalchemy.update(tables.series).values(revision=1, settled_instances=2, settled_at="x")
        )
    events.begun(data, one, at(0))
    events.begun(data, one, at(1))
    assert sum(isinstance(line, dict) and line["kind"] == facts.FORWARDING for line in facts.read(data)) == 1
    indexed.take(one, new)
    settle(one, decisions.Decision(STUDY, SERIES, 1, "scans", {"Modality": ["CT"]}, ("pacs",)), ledgers)
    with one.write() as connection:
        held = decisions.instances(connection, 2)
        key = ledger.enqueue(connection, order(), held, at(0), witness=ledgers)
        desk.Desk(connection, who="a person", why="wait", now=at(1), witness=ledgers).stop("archive")
    assert key is not None
    indexed.take(again, [*old, *new])
    skipped: list[str] = []
    events.make(data, again, lambda what, reason: skipped.append(f"{what}: {reason}"))
    assert skipped == []
    assert compare.compare(one, again) == []
    columns = ("series", "revision", "settled_instances")
    told = [
        [[row[name] for name in columns] for row in indexed.rows(each, tables.series)]
        for each in (one, again)
    ]
    assert told[0] == told[1] == [["1.2.3.9", 1, 2], [SERIES, 1, 3]]
    with again.read() as connection:
        assert [standing.lane.state for standing in queue.standings(connection)] == [
            orders.LaneState.HELD, orders.LaneState.UP,
        ]  # fmt: skip
        assert decisions.unsettled(connection) == []
    assert indexed.rows(one, tables.meta)[0] == indexed.rows(again, tables.meta)[0]
    one.close()
    again.close()


@pytest.mark.parametrize(
    "lost", [False, True], ids=["the clock was set back", "a power loss took the decision"]
)
def test_what_only_a_book_tells_is_not_sent_again(tmp_path: pathlib.Path, lost: bool) -> None:
    data = layout.Data(tmp_path / "data")
    data.make()
    one, again = indexed.sqlite(tmp_path), indexed.sqlite(tmp_path, "again.db")
    rows = fill(one)
    with one.write() as connection:
        ledgers = None if lost else witness.Witness(data)
        key = ledger.enqueue(connection, order(), rows, at(0), witness=ledgers)
    assert key is not None
    mine = book.Book(data, "worker-1")
    back = at(-86400)
    for delivery, uid in ((1, rows[0][1]), (2, rows[1][1])):
        attempt = orders.Attempt(delivery, back, S.DONE if delivery == 1 else S.DEAD, 0, "1.2", 10, 0.1, "")
        mine.write(get(one, key), uid, attempt)
    mine.write(get(one, key), "1.2.3.1.77", orders.Attempt(9, back, S.DONE, 0, "1.2", 10, 0.1, ""))
    mine.close()
    fill(again)
    skipped: list[str] = []
    events.make(data, again, lambda what, reason: skipped.append(f"{what}: {reason}"))
    assert skipped == ["what pacs said of 1.2.3.1.77: no such instance is known"]
    states = {row["sop_instance"]: row["state"] for row in indexed.rows(again, tables.delivery)}
    assert states == {rows[0][1]: "done", rows[1][1]: "dead"} | ({} if lost else {rows[2][1]: "due"})
    (whole,) = indexed.rows(again, tables.consignment)
    assert (whole["total"], whole["done"], whole["dead"]) == (len(states), 1, 1)
    one.close()
    again.close()


def test_a_directory_without_a_word_of_forwarding_sends_nothing_old(tmp_path: pathlib.Path) -> None:
    data = layout.Data(tmp_path / "data")
    data.make()
    again = indexed.sqlite(tmp_path)
    fill(again)
    events.make(data, again, lambda _what, _why: None)
    with again.read() as connection:
        assert decisions.unsettled(connection) == []
    again.close()
