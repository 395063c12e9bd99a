"""The queue's loop and its lanes, with a courier that does as it is told; the destinations are not there."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import pathlib
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from node import errors, model, orders
from node.files import layout
from node.index import db, desk, lanes, ledger, queue
from node.queue import bell, engine, floor, watch
from tests import indexed

PATIENCE = 60.0
A = orders.Destination("a", "peer", retry=0.01, retry_most=0.05)
B = dataclasses.replace(A, name="b")
QUICK = orders.QueueSettings(heartbeat=0.05, dead_after=600.0)


class Courier:
    """Carries nothing; each consignment is handed to `carrying`, and what that returns comes of it."""

    def __init__(self, database: db.Database) -> None:
        self.carrying: Callable[[orders.Consignment, Callable[[], bool]], floor.Trip | None] = lambda *_: None
        self.probing: Callable[[orders.Destination], None] = lambda _: None
        self.carried: list[tuple[str, int]] = []  # destination and key, in order
        self.probed: list[str] = []
        self._database = database

    def carry(
        self,
        consignment: orders.Consignment,
        destination: orders.Destination,
        until: Callable[[], bool],
        answered: Callable[[], None],
    ) -> floor.Trip:
        self.carried.append((destination.name, consignment.key))
        given = self.carrying(consignment, until)
        if given is not None:
            return given
        answered()
        with self._database.read() as connection:
            due = ledger.due(connection, consignment.key, 0, 100)
        return floor.Trip(tuple(done(one) for one in due), answered=True)

    def probe(self, destination: orders.Destination) -> None:
        self.probed.append(destination.name)
        self.probing(destination)

    def lanes(self, destination: orders.Destination) -> int:
        return destination.lanes

    def recover(self) -> int:
        return 0

    def keep(self) -> None:
        pass

    def cut(self, why: str) -> None:
        pass


def done(due: ledger.Due) -> orders.Attempt:
    return orders.Attempt(
        due.key, datetime.datetime.now(datetime.UTC), orders.State.DONE, 0, "1.2", 9, 0.1, ""
    )


class Bench:
    """A database, a data directory, and engines on them."""

    def __init__(self, tmp_path: pathlib.Path) -> None:
        self.data = layout.Data(tmp_path)
        self.data.make()
        self.database = indexed.sqlite(tmp_path)
        self.courier = Courier(self.database)
        indexed.take(self.database, [indexed.item(n) for n in range(1, 41)])
        self._stack = contextlib.ExitStack()
        self._number = 0

    def owe(self, *, to: str = "a", **how: object) -> int:
        """One more consignment of one instance."""
        self._number += 1
        order = ledger.Order(to, "1.2.3", "1.2.3.1", f"r{self._number}", 1)
        order = dataclasses.replace(order, **how)  # type: ignore[arg-type]
        now = datetime.datetime.now(datetime.UTC)
        with self.database.write() as connection:
            key = ledger.enqueue(connection, order, [(self._number, f"1.2.3.1.{self._number}")], now)
        bell.ring(self.data)
        assert key is not None
        return key

    def run(
        self,
        *destinations: orders.Destination,
        queue: orders.QueueSettings = QUICK,
        name: str = "work-1",
        courier: Courier | None = None,
        **more: object,
    ) -> engine.Engine:
        """Start an engine; it is ended with the bench."""
        node = model.NodeSettings(drain=5.0)
        settings = model.Settings(
            node=node,
            destinations=destinations or (A, B),
            queue=queue,
            **more,  # type: ignore[arg-type]
        )
        made = engine.Engine(
            self.database, self.data, courier or self.courier, settings, worker=name, name=name
        )
        thread = threading.Thread(target=made.run)
        thread.start()
        self._stack.callback(thread.join)
        self._stack.callback(made.end)
        return made

    def get(self, key: int) -> orders.Consignment:
        with self.database.read() as connection:
            found = ledger.get(connection, key)
        assert found is not None
        return found

    def lane(self, name: str = "a") -> orders.Lane:
        with self.database.read() as connection:
            return lanes.lane(connection, name)

    def come(self, key: int, state: orders.State = orders.State.DONE) -> orders.Consignment:
        """Wait until a consignment is in a state."""
        until(lambda: self.get(key).state is state, lambda: f"{self.get(key)} {self.lane()}")
        return self.get(key)

    def stop(self) -> None:
        """End the engines."""
        self._stack.close()

    def close(self) -> None:
        self.stop()
        self.database.close()


def until(true: Callable[[], object], told: Callable[[], object] = str) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, told()
        time.sleep(0.005)


@pytest.fixture
def bench(tmp_path: pathlib.Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.close()


def test_what_was_due_before_and_what_comes_later_goes_out(bench: Bench) -> None:
    before = bench.owe()
    bench.run()
    bench.come(before)
    after = [bench.owe(), bench.owe(to="b"), bench.owe()]
    for key in after:
        found = bench.come(key)
        assert (found.total, found.done, found.attempts) == (1, 1, 1)
    assert {key for _, key in bench.courier.carried} == {before, *after}


def test_as_many_lanes_as_a_destination_may_have(bench: Bench) -> None:
    gate, inside = threading.Event(), threading.Semaphore(0)
    seen: list[int] = []

    def hold(consignment: orders.Consignment, _: Callable[[], bool]) -> None:
        seen.append(consignment.key)
        inside.release()
        assert gate.wait(PATIENCE)

    bench.courier.carrying = hold
    keys = [bench.owe() for _ in range(5)] + [bench.owe(to="b")]
    bench.run(dataclasses.replace(A, lanes=3), dataclasses.replace(B, lanes=1))
    for _ in range(4):
        assert inside.acquire(timeout=PATIENCE)
    with bench.database.read() as connection:
        assert len(lanes.claims(connection)) == 4
    assert not inside.acquire(timeout=0.2), "a fifth lane was started"
    gate.set()
    for key in keys:
        bench.come(key)
    assert sorted(seen) == sorted(keys)


def test_a_destination_goes_down_is_probed_and_comes_back(bench: Bench) -> None:
    there = threading.Event()

    def carry(consignment: orders.Consignment, _: Callable[[], bool]) -> floor.Trip | None:
        if consignment.destination == "a" and not there.is_set():
            return floor.Trip(failed="connection refused")
        return None

    def probe(_: orders.Destination) -> None:
        if not there.is_set():
            raise errors.PeerUnreachable("still refused")

    bench.courier.carrying, bench.courier.probing = carry, probe
    keys = [bench.owe() for _ in range(20)]
    bench.run()
    until(lambda: bench.lane().state is orders.LaneState.DOWN)
    until(lambda: bench.lane().failures > 5)
    assert bench.lane().reason == "still refused"
    carried = len(bench.courier.carried)
    assert carried == A.breaker, "so many connections, however much waits"
    other = bench.owe(to="b")
    bench.come(other)
    waiting = [bench.get(key) for key in keys]
    assert all(one.state is orders.State.DUE for one in waiting)
    assert sum(one.attempts for one in waiting) == carried, "what waits is not touched"
    there.set()
    for key in keys:
        assert bench.come(key).done == 1
    found = bench.lane()
    assert (found.state, found.failures, found.reason) == (orders.LaneState.UP, 0, "")


def test_a_failure_now_and_then_does_not_stop_a_destination(bench: Bench) -> None:
    failures = iter([True, False, True, True, False, True])

    def carry(*_: object) -> floor.Trip | None:
        return floor.Trip(failed="reset") if next(failures, False) else None

    bench.courier.carrying = carry
    keys = [bench.owe() for _ in range(4)]
    bench.run(dataclasses.replace(A, lanes=1))
    for key in keys:
        bench.come(key)
    assert bench.courier.probed == []
    until(lambda: bench.lane().failures == 0)


def test_a_groups_work_goes_to_the_member_that_is_up(bench: Bench) -> None:
    def carry(consignment: orders.Consignment, _: Callable[[], bool]) -> floor.Trip | None:
        return floor.Trip(failed="gone") if consignment.destination == "a" else None

    def probe(_: orders.Destination) -> None:
        raise errors.PeerUnreachable("gone")

    bench.courier.carrying, bench.courier.probing = carry, probe
    mine = [bench.owe(group="pacs") for _ in range(3)]
    alone = bench.owe()
    bench.run(groups=(orders.Group("pacs", ("a", "b")),))
    for key in mine:
        assert "b instead" in bench.come(key, orders.State.CANCELLED).error
    until(lambda: sum(to == "b" for to, _ in bench.courier.carried) == 3)
    assert bench.get(alone).state is not orders.State.DONE


def test_what_a_person_holds_is_let_go_of(bench: Bench) -> None:
    inside, ended = threading.Semaphore(0), threading.Semaphore(0)

    def carry(_: orders.Consignment, stop: Callable[[], bool]) -> floor.Trip | None:
        inside.release()
        until(stop)
        ended.release()
        return floor.Trip(answered=True)

    bench.courier.carrying = carry
    key, other = bench.owe(), bench.owe(to="b")
    bench.run()
    for _ in range(2):
        assert inside.acquire(timeout=PATIENCE)
    with bench.database.write() as connection:
        now = datetime.datetime.now(datetime.UTC)
        person = desk.Desk(connection, who="ann", why="wait for the radiologist", now=now)
        person.hold(queue.Chosen(consignment=key))
        person.stop("b")
    bell.ring(bench.data)
    for _ in range(2):
        assert ended.acquire(timeout=PATIENCE)
    bench.stop()
    found = bench.get(key)
    assert found.state is orders.State.HELD
    assert "wait for the radiologist" in found.error
    assert bench.get(other).state is orders.State.DUE
    assert bench.get(other).error == "b is held"


def test_a_calendar_that_closes_ends_what_is_under_way(bench: Bench) -> None:
    inside = threading.Event()

    def carry(consignment: orders.Consignment, stop: Callable[[], bool]) -> floor.Trip | None:
        if consignment.destination == "b" or inside.is_set():
            return None
        inside.set()
        until(stop)
        return floor.Trip(answered=True)

    bench.courier.carrying = carry
    key = bench.owe(calendar="nights")
    every = orders.Calendar("nights")
    never = dataclasses.replace(every, days=frozenset())
    running = bench.run(calendars=(every,))
    assert inside.wait(PATIENCE)
    running.apply(model.Settings(destinations=(A, B), queue=QUICK, calendars=(never,)))
    assert bench.come(key, orders.State.DUE).error == "the calendar nights has closed"
    for _ in range(3):
        bench.come(bench.owe(to="b", calendar="nights", priority=orders.Priority.URGENT))
    assert bench.get(key).state is orders.State.DUE
    running.apply(model.Settings(destinations=(A, B), queue=QUICK, calendars=(every,)))
    bench.come(key)


def test_a_fault_of_ours_is_tried_again_and_then_given_up(bench: Bench) -> None:
    bad = bench.owe()
    good = bench.owe()

    def carry(consignment: orders.Consignment, _: Callable[[], bool]) -> floor.Trip | None:
        if consignment.key == bad:
            raise MemoryError("poison")
        return None

    bench.courier.carrying = carry
    bench.run()
    bench.come(good)
    found = bench.come(bad, orders.State.DEAD)
    assert (found.dead, found.total) == (1, 1)
    assert "MemoryError" in found.error
    assert sum(key == bad for _, key in bench.courier.carried) == QUICK.poison


def test_what_is_not_worth_another_try_is_given_up(bench: Bench) -> None:
    bench.courier.carrying = lambda *_: floor.Trip(error="the coercion x is gone", hopeless=True)
    key = bench.owe()
    bench.run()
    found = bench.come(key, orders.State.DEAD)
    assert "the coercion x is gone" in found.error


def test_what_came_to_nothing_does_not_go_round_and_round(bench: Bench) -> None:
    bench.courier.carrying = lambda *_: floor.Trip()
    key = bench.owe()
    bench.run(dataclasses.replace(A, retry=3600.0, retry_most=7200.0))
    until(lambda: bench.courier.carried)
    found = bench.come(key, orders.State.DUE)
    assert found.due > datetime.datetime.now(datetime.UTC) + datetime.timedelta(minutes=30)


# -- several workers, and those that die ---------------------------------------------------------------


def test_two_workers_share_what_there_is(bench: Bench) -> None:
    other = Courier(bench.database)
    bench.run()
    bench.run(name="work-2", courier=other)
    keys = [bench.owe(to="ab"[n % 2]) for n in range(30)]
    for key in keys:
        assert bench.come(key).attempts == 1
    assert sorted(key for _, key in bench.courier.carried + other.carried) == sorted(keys)


def test_a_worker_that_starts_again_takes_back_what_it_had(bench: Bench) -> None:
    key = bench.owe()
    _claimed_by("work-1", bench)
    bench.run()
    found = bench.come(key)
    assert (found.crashes, found.attempts) == (1, 2)


def test_who_gives_no_sign_of_life_loses_its_work(bench: Bench) -> None:
    key = bench.owe()
    _claimed_by("work-9", bench)
    bench.run(queue=orders.QueueSettings(heartbeat=0.02, dead_after=0.2))
    found = bench.come(key)
    assert (found.crashes, found.attempts, found.fence) == (1, 2, 3)


def test_work_over_which_workers_die_becomes_a_dead_letter(bench: Bench) -> None:
    key = bench.owe()
    for _ in range(QUICK.poison - 1):
        _claimed_by("work-9", bench)
        with bench.database.write() as connection:
            (claim,) = lanes.claims(connection)
            one = lanes.take_over(connection, claim, indexed.START)
            assert one is not None
            ledger.finish(connection, key, one.fence, indexed.START, crashed=True)
    _claimed_by("work-1", bench)
    bench.run()
    found = bench.come(key, orders.State.DEAD)
    assert bench.courier.carried == []
    assert "3 workers died over it" in found.error


def _claimed_by(worker: str, bench: Bench) -> None:
    now = datetime.datetime.now(datetime.UTC)
    with bench.database.write() as connection:
        assert lanes.claim(connection, worker, [lanes.Want("a", 9)], now, 1800.0) is not None


def test_who_was_stopped_for_too_long_lets_go(bench: Bench) -> None:
    """Others may have taken the work by then; what it still says changes nothing of it."""
    inside, stopped = threading.Event(), threading.Event()

    def carry(_: orders.Consignment, stop: Callable[[], bool]) -> floor.Trip | None:
        inside.set()
        until(stop)
        stopped.set()
        return floor.Trip(answered=True)

    bench.courier.carrying = carry
    key = bench.owe()
    slow = orders.QueueSettings(heartbeat=3600.0, dead_after=0.5)  # it beats once, and never again
    bench.run(queue=slow)
    assert inside.wait(PATIENCE)
    assert stopped.wait(PATIENCE)
    bench.stop()
    assert bench.get(key).state is orders.State.DUE


def test_an_end_lets_lanes_finish_and_hands_the_rest_back(bench: Bench) -> None:
    inside = threading.Semaphore(0)

    def carry(_: orders.Consignment, stop: Callable[[], bool]) -> floor.Trip | None:
        inside.release()
        until(stop)
        return floor.Trip(answered=True)

    bench.courier.carrying = carry
    keys = [bench.owe() for _ in range(4)]
    bench.run()
    for _ in range(A.lanes):
        assert inside.acquire(timeout=PATIENCE)
    bench.stop()
    found = [bench.get(key) for key in keys]
    assert [one.state for one in found] == [orders.State.DUE] * 4
    assert [one.crashes for one in found] == [0] * 4
    with bench.database.read() as connection:
        assert lanes.claims(connection) == []
        assert lanes.others(connection, "") == {}
    assert not list(bench.data.bells.iterdir())


# -- the watch ----------------------------------------------------------------------------------------


def test_a_watch_counts_beats_and_trusts_no_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr(watch.time, "monotonic", lambda: clock[0])
    queue = orders.QueueSettings(heartbeat=2.0, dead_after=10.0)
    held = [lanes.Claim(1, "a", "other", 1)]
    seen = watch.Watch()
    assert seen.look({"other": 5}, held, queue) == []
    clock[0] += 3600
    assert seen.look({"other": 5}, held, queue) == [], "we slept for an hour ourselves"
    clock[0] += 2
    assert seen.look({"other": 6}, held, queue) == []
    for _ in range(4):
        clock[0] += 2
        assert seen.look({"other": 6}, held, queue) == []
    assert seen.alive == 1
    clock[0] += 2
    assert seen.look({"other": 6}, held, queue) == ["other"]
    assert seen.look({"other": 6}, [], queue) == [], "it has nothing that could be taken"
    assert seen.alive == 0


def test_who_never_gave_a_sign_is_dead_too(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr(watch.time, "monotonic", lambda: clock[0])
    queue = orders.QueueSettings(heartbeat=2.0, dead_after=10.0)
    held = [lanes.Claim(1, "a", "gone", 1)]
    seen = watch.Watch()
    found = []
    for _ in range(7):
        found.append(seen.look({}, held, queue))
        clock[0] += 2
    assert found == [[]] * 5 + [["gone"]] * 2
