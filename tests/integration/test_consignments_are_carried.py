"""A consignment on its way to a real sink: what is sent, what is written down, and in which order."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import pathlib
from collections.abc import Callable, Iterator, Sequence

import pytest
import sqlalchemy

from node import adopt, model, orders, receive
from node.faulty import pacs as faulty
from node.faulty import plan as faulty_plan
from node.files import book, journal, layout, spool
from node.index import ledger, tables
from node.push import courier as push
from node.queue import floor
from node.send import base, destinations
from tests import indexed, make

NOW = datetime.datetime(2026, 11, 21, 8, tzinfo=datetime.UTC)
DONE, DUE, DEAD = orders.State.DONE, orders.State.DUE, orders.State.DEAD
Which = faulty_plan.Which


class Way:
    """Instances that are held, a sink, and a courier between them."""

    def __init__(self, tmp_path: pathlib.Path, sink: faulty.Faulty) -> None:
        self.sink = sink
        self.data = layout.Data(tmp_path / "data")
        self.data.make()
        self.database = indexed.sqlite(tmp_path)
        self.destination = orders.Destination("sink", "sink", attempts=3, retry=1.0, window=4)
        self._route = 0
        self.apply()

    def apply(self, *coerce: model.Coercion) -> None:
        peer = dataclasses.replace(self.sink.peer, name="sink")
        settings = model.Settings(peers=(peer,), destinations=(self.destination,), coerce=coerce)
        self.senders = destinations.Senders(settings, self.data, database=self.database, idle=0.1)
        self.courier = push.Courier(
            self.database, self.data, self.senders, settings, worker="w", chance=lambda: 0.0
        )

    def hold(self, made: Sequence[make.Made], folder: pathlib.Path) -> None:
        """Take instances into the node."""
        folder.mkdir()
        with contextlib.ExitStack() as stack:
            log = stack.enter_context(contextlib.closing(journal.Journal(self.data, "import", size=64 << 20)))
            pool = stack.enter_context(contextlib.closing(spool.Spool(self.data.spool, "import")))
            taker = receive.Receiver(self.data, log, pool)
            adopter = stack.enter_context(contextlib.closing(adopt.Adopter(self.data, self.database)))
            for path in make.files(folder, made):
                taker.import_file(path, receive.Sender("", "", "import", "", "x"))
            adopter.once(patience=0.0)

    def owe(self, *, again: bool = False, steps: tuple[orders.StepSetting, ...] = ()) -> orders.Consignment:
        """Everything that is held, for the sink."""
        self._route += 1
        query = (
            sqlalchemy.select(
                tables.instance.c.key,
                tables.instance.c.sop_instance,
                tables.series.c.series,
                tables.study.c.study,
            )
            .join(tables.series, tables.series.c.key == tables.instance.c.series_key)
            .join(tables.study, tables.study.c.key == tables.series.c.study_key)
            .order_by(tables.instance.c.key)
        )
        with self.database.write() as connection:
            rows = connection.execute(query).all()
            order = ledger.Order("sink", rows[0].study, rows[0].series, f"r{self._route}", 1, steps=steps)
            key = ledger.enqueue(
                connection, order, [(row.key, row.sop_instance) for row in rows], NOW, again=again
            )
        assert key is not None
        return self.get(key)

    def get(self, key: int) -> orders.Consignment:
        with self.database.read() as connection:
            found = ledger.get(connection, key)
        assert found is not None
        return found

    def carry(
        self, one: orders.Consignment, until: Callable[[], bool] = bool, record: bool = True
    ) -> floor.Trip:
        trip = self.courier.carry(one, self.destination, until, lambda: None)
        if record:
            with self.database.write() as connection:
                ledger.record(connection, one.key, trip.attempts, NOW)
        return trip

    def members(self, one: orders.Consignment) -> dict[str, ledger.Member]:
        with self.database.read() as connection:
            return {member.sop_instance: member for member in ledger.members(connection, one.key)}

    def states(self, one: orders.Consignment) -> list[orders.State]:
        return [member.state for member in self.members(one).values()]

    def book(self) -> list[book.Said | None]:
        return [said for path in book.every(self.data) for said in book.read(path)]

    def close(self) -> None:
        self.courier.close()
        self.senders.close()
        self.database.close()


@pytest.fixture
def way(tmp_path: pathlib.Path) -> Iterator[Way]:
    with faulty.Faulty() as sink:
        made = Way(tmp_path, sink)
        yield made
        made.close()


@pytest.fixture
def held(way: Way, tmp_path: pathlib.Path) -> list[make.Made]:
    made = make.series(6, seed="carried", size=600)
    way.hold(made, tmp_path / "files")
    return made


def sent(way: Way) -> dict[str, str]:
    return {uid: one.digest for uid, one in way.sink.stored.items()}


def test_all_goes_out_and_every_answer_is_in_the_book(way: Way, held: list[make.Made]) -> None:
    one = way.owe()
    trip = way.carry(one, record=False)
    assert (trip.answered, trip.failed, trip.error, trip.again) == (True, "", "", None)
    assert sent(way) == {made.sop_instance: made.digest for made in held}
    said = way.book()
    assert [line.attempt for line in said if line is not None] == list(trip.attempts)
    assert {line.sop_instance for line in said if line is not None} == set(sent(way))
    assert all(attempt.outcome is DONE and attempt.status == 0 and attempt.size for attempt in trip.attempts)
    assert way.states(one) == [DUE] * 6, "the index is told with the end of the claim"


def test_what_the_book_knows_alone_is_not_sent_again(way: Way, held: list[make.Made]) -> None:
    one = way.owe()
    way.carry(one, record=False)
    way.courier.close(recorded=False)  # as a kill leaves it
    way.apply()
    assert way.courier.recover() == 6
    assert way.states(one) == [DONE] * 6
    way.carry(one)
    assert len(way.sink.journal) == len(held)


def test_a_warning_is_delivered_and_kept(way: Way, held: list[make.Made]) -> None:
    way.sink.plan = faulty_plan.Plan(status=((0xB007, Which(2, 2)),))
    one = way.owe()
    way.carry(one)
    assert way.states(one) == [DONE] * 6
    (warned,) = [member for member in way.members(one).values() if member.status]
    assert warned.status == 0xB007
    assert warned.error


def test_one_that_is_refused_for_good_is_not_in_the_way_of_the_others(
    way: Way, held: list[make.Made]
) -> None:
    way.sink.plan = faulty_plan.Plan(status=((0xC000, Which(3, 3)),))
    one = way.owe()
    trip = way.carry(one)
    assert (trip.failed, trip.again) == ("", None)
    assert sorted(way.states(one)) == [DEAD] + [DONE] * 5
    found = way.get(one.key)
    assert (found.done, found.dead) == (5, 1)


def test_one_that_is_refused_for_now_is_tried_again_and_then_given_up(
    way: Way, held: list[make.Made]
) -> None:
    way.sink.plan = faulty_plan.Plan(status=((0xA700, Which()),))
    one = way.owe()
    for attempt, pause in ((1, 1.0), (2, 2.0)):
        trip = way.carry(one)
        assert (trip.again, trip.failed) == (pause, "")
        assert "A700" in trip.error
        assert [member.attempts for member in way.members(one).values()] == [attempt] * 6
        assert way.states(one) == [DUE] * 6
    trip = way.carry(one)
    assert trip.again is None
    assert way.states(one) == [DEAD] * 6
    assert all("given up after 3 attempts" in member.error for member in way.members(one).values())
    assert len(way.sink.journal) == 18


def test_a_connection_that_breaks_is_the_lanes_failure(way: Way, held: list[make.Made]) -> None:
    way.sink.plan = faulty_plan.Plan(close=(Which(3, 3),), window=1)
    one = way.owe()
    trip = way.carry(one)
    assert trip.failed
    assert trip.answered
    tried = [member.attempts for member in way.members(one).values()]
    assert sum(tried) <= 2 + way.destination.window, "only what was under way has a try on record"
    way.sink.plan = faulty_plan.Plan()
    trip = way.carry(one)
    assert trip.failed == ""
    assert way.states(one) == [DONE] * 6
    uids = [entry.sop_instance for entry in way.sink.journal]
    assert len(uids) - len(set(uids)) <= way.destination.window


def test_one_over_which_the_peer_breaks_off_goes_last(way: Way, held: list[make.Made]) -> None:
    way.destination = dataclasses.replace(way.destination, window=1)
    way.apply()
    way.sink.plan = faulty_plan.Plan(close=(Which(1, 1),))
    one = way.owe()
    assert way.carry(one).failed
    (first,) = [member.sop_instance for member in way.members(one).values() if member.attempts]
    way.carry(one)
    assert way.states(one) == [DONE] * 6
    assert [entry.sop_instance for entry in way.sink.journal][-1] == first


def test_nobody_there_says_nothing_against_an_instance(way: Way, held: list[make.Made]) -> None:
    way.sink.stop()
    one = way.owe()
    trip = way.carry(one)
    assert "cannot be reached" in trip.failed
    assert not trip.answered
    assert trip.attempts == ()
    assert way.book() == []
    assert [member.attempts for member in way.members(one).values()] == [0] * 6


def test_what_is_gone_or_damaged_is_a_dead_letter_with_the_reason(way: Way, held: list[make.Made]) -> None:
    one = way.owe()
    with way.database.write() as connection:
        rows = connection.execute(sqlalchemy.select(tables.instance.c.key, tables.instance.c.path)).all()
        corrupt, lost = rows[0], rows[1]
        connection.execute(
            sqlalchemy.update(tables.instance)
            .where(tables.instance.c.key == corrupt.key)
            .values(state=model.Held.CORRUPT.value)
        )
    way.data.place(lost.path).unlink()
    way.carry(one)
    assert sorted(way.states(one)) == [DEAD] * 2 + [DONE] * 4
    reasons = {member.instance: member.error for member in way.members(one).values() if member.error}
    assert "corrupt" in reasons[corrupt.key]
    assert "cannot be read" in reasons[lost.key]


def test_nothing_but_what_is_gone(way: Way, held: list[make.Made]) -> None:
    one = way.owe()
    with way.database.write() as connection:
        connection.execute(sqlalchemy.delete(tables.instance))
    way.carry(one)
    assert way.states(one) == [DEAD] * 6
    assert way.sink.associations == 0


def test_it_stops_when_it_is_told_to(way: Way, held: list[make.Made]) -> None:
    way.sink.plan = faulty_plan.Plan(window=1)
    one = way.owe()
    trip = way.carry(one, until=lambda: len(way.sink.journal) >= 2)
    assert (trip.failed, trip.again) == ("", None)
    assert 2 <= len(way.sink.journal) <= 3
    assert way.states(one).count(DONE) == len(way.sink.journal), "the item under way was finished"
    way.carry(one)
    assert way.states(one) == [DONE] * 6
    assert len(way.sink.journal) == 6


def test_a_step_that_is_configured_no_more_is_given_up_after_some_tries(
    way: Way, held: list[make.Made]
) -> None:
    one = way.owe(steps=(orders.StepSetting("coerce", {"use": "gone"}),))
    for attempts, hopeless in ((1, False), (2, False), (3, True)):
        trip = way.carry(dataclasses.replace(one, attempts=attempts))
        assert "gone" in trip.error
        assert trip.hopeless is hopeless
        assert trip.again == min(2 ** (attempts - 1), 4)


def test_what_comes_while_it_goes_out_goes_with_it(
    way: Way, held: list[make.Made], tmp_path: pathlib.Path
) -> None:
    """Immediate mode: the consignment grows while a lane is at it, by another kind too."""
    one = way.owe()
    more = make.series(3, seed="more", size=600, syntax=make.IMPLICIT)
    grown = False

    def grow() -> bool:
        nonlocal grown
        if not grown and way.sink.journal:
            grown = True
            way.hold(more, tmp_path / "more")
            with way.database.write() as connection:
                known = set(connection.execute(sqlalchemy.select(tables.delivery.c.instance_key)).scalars())
                found = connection.execute(
                    sqlalchemy.select(tables.instance.c.key, tables.instance.c.sop_instance)
                ).all()
                order = ledger.Order("sink", one.study, one.series, one.route, one.revision)
                new = [(row.key, row.sop_instance) for row in found if row.key not in known]
                assert ledger.enqueue(connection, order, new, NOW) == one.key
        return False

    way.carry(one, until=grow)
    way.carry(one)
    assert sorted(way.states(one)) == [DONE] * 9
    assert len(way.sink.journal) == 9


class Whole:
    """A sender that wants the series together, and is content with all of it."""

    whole = True

    def __init__(self) -> None:
        self.got: list[str] = []

    def describe(self) -> str:
        return "a program"

    def cut(self, why: str) -> None:
        pass

    def send(self, items: Sequence[base.Item] | base.Stream) -> Iterator[base.Result]:
        given = list(items.each() if isinstance(items, base.Stream) else items)
        self.got = [item.sop_instance for item in given]
        for item in given:
            yield base.Result(item, base.Done(0))


def test_who_wants_a_series_together_gets_what_it_had_too(
    way: Way, held: list[make.Made], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = Whole()
    monkeypatch.setattr(way.senders, "sender", lambda *_: program)
    first = way.owe()
    way.carry(first)
    assert sorted(program.got) == sorted(made.sop_instance for made in held)
    late = make.series(7, seed="carried", size=600)[6:]
    way.hold(late, tmp_path / "late")
    second = way.owe()
    assert second.total == 1
    way.carry(second)
    assert len(program.got) == 7
    assert way.states(second) == [DONE]
    assert len(way.book()) == 7, "what it had already is not written down again"
