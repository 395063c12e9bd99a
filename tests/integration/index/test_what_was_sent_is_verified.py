"""What a destination took is done once it is known to keep it; only what it does not keep goes out again."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import pathlib
import threading
import time
from collections.abc import Callable, Collection, Iterator

import pytest
import sqlalchemy

from node import errors, metrics, model, orders
from node.dicom import commitment
from node.faulty import pacs as faulty
from node.faulty import parts as faulty_parts
from node.faulty import plan as faulty_plan
from node.files import layout
from node.index import db, lanes, ledger, tables, verification
from node.push import reported, verify
from node.queue import bell
from tests import indexed, make, stored

SERIES = "1.2.3.1"
LONG = 45.0  # seconds that a test waits before it says that something never came


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


@dataclasses.dataclass
class World:
    """A ledger, and the peer that it says has everything."""

    database: db.Database
    data: layout.Data
    peer: faulty.Faulty
    settings: model.Settings

    def send(self, count: int, series: str = SERIES, refused: Collection[str] = ()) -> int:
        """A series that the destination took, but for these; its consignment."""
        numbers = range(1, count + 1)
        indexed.take(self.database, [indexed.item(one, series=series, slot=series) for one in numbers])
        with self.database.write() as connection:
            found = connection.execute(
                sqlalchemy.select(tables.instance.c.key, tables.instance.c.sop_instance).order_by(
                    tables.instance.c.key
                )
            )
            pairs = [(key, uid) for key, uid in found if uid.rpartition(".")[0] == series]
            order = ledger.Order("pacs", "1.2.3", series, "scans", 1)
            key = ledger.enqueue(connection, order, pairs, _now())
        assert key is not None
        self.deliver(refused)
        return key

    def deliver(self, refused: Collection[str] = ()) -> orders.State:
        """The destination takes what is due, but for these."""
        with self.database.write() as connection:
            want = lanes.Want("pacs", 4)
            one = lanes.claim(connection, "w", [want], _now() + datetime.timedelta(days=1), 1800.0)
            assert one is not None
            attempts = [
                orders.Attempt(due.key, _now(), orders.State.DEAD, 0xA900, make.EXPLICIT, 1000, 0.1, "no")
                if due.sop_instance.rpartition(".")[2] in refused
                else orders.Attempt(due.key, _now(), orders.State.DONE, 0, make.EXPLICIT, 1000, 0.1, "")
                for due in ledger.due(connection, one.key, 0, 1000)
            ]
            ledger.record(connection, one.key, attempts, _now())
            state = ledger.finish(connection, one.key, one.fence, _now(), verify=True)
        bell.ring(self.data)
        return state

    def keep(self, *numbers: int, series: str = SERIES) -> None:
        """The peer has these."""
        for number in numbers:
            uid = f"{series}.{number}"
            self.peer.stored[uid] = faulty_parts.Kept(make.CT, uid, "1.2.3", series, make.EXPLICIT, "", 0)

    def state(self, key: int) -> orders.State | None:
        with self.database.read() as connection:
            found = ledger.get(connection, key)
        return None if found is None else found.state

    def members(self, key: int) -> dict[str, ledger.Member]:
        with self.database.read() as connection:
            return {one.sop_instance.rpartition(".")[2]: one for one in ledger.members(connection, key)}

    def until(self, holds: Callable[[], bool]) -> None:
        end = time.monotonic() + LONG
        while not holds():
            assert time.monotonic() < end, "it did not come to that"
            time.sleep(0.01)

    @contextlib.contextmanager
    def verifier(self, name: str = "work-1", **destination: object) -> Iterator[verify.Verifier]:
        """Somebody who asks, with the destination as it is configured then."""
        settings = self.configured(**destination)
        asking = verify.Verifier(
            self.database, self.data, settings, metrics.Metrics(None), name=name, chance=lambda: 0.0, stay=5.0
        )
        thread = threading.Thread(target=asking.run)
        thread.start()
        try:
            yield asking
        finally:
            asking.end()
            thread.join()

    def configured(self, **destination: object) -> model.Settings:
        usual: dict[str, object] = {"peer": "faulty", "verify_after": 0.01, "retry": 0.01, "retry_most": 0.05}
        one = orders.Destination("pacs", **(usual | destination))  # type: ignore[arg-type]
        return dataclasses.replace(self.settings, destinations=(one,))


@contextlib.contextmanager
def _world(database: db.Database, folder: pathlib.Path) -> Iterator[World]:
    data = stored.data(folder / "data")
    with faulty.Faulty() as peer:
        yield World(database, data, peer, model.Settings(peers=(peer.peer,)))


@pytest.fixture
def both(database: db.Database, tmp_path: pathlib.Path) -> Iterator[World]:
    """A world on each database: for the tests that together say every statement."""
    with _world(database, tmp_path) as made:
        yield made


@pytest.fixture
def world(tmp_path: pathlib.Path) -> Iterator[World]:
    """A world on SQLite."""
    database = indexed.sqlite(tmp_path)
    try:
        with _world(database, tmp_path) as made:
            yield made
    finally:
        database.close()


def test_what_is_found_is_done_and_what_is_missing_is_due(world: World) -> None:
    key = world.send(4)
    assert world.state(key) is orders.State.VERIFYING
    world.keep(1, 2, 4)
    with world.verifier(verify=orders.Verify.FIND):
        world.until(lambda: world.state(key) is orders.State.DUE)
    found = world.members(key)
    assert {name: one.state for name, one in found.items()} == {
        "1": orders.State.DONE,
        "2": orders.State.DONE,
        "3": orders.State.DUE,
        "4": orders.State.DONE,
    }
    assert all(found[name].verified for name in ("1", "2", "4"))
    assert "does not have it" in found["3"].error
    assert world.deliver() is orders.State.VERIFYING
    world.keep(3)
    with world.verifier(verify=orders.Verify.FIND):
        world.until(lambda: world.state(key) is orders.State.DONE)
    assert all(one.verified for one in world.members(key).values())


def test_what_arrived_is_made_sure_of_though_something_was_refused(both: World) -> None:
    key = both.send(3, refused={"2"})
    assert both.state(key) is orders.State.VERIFYING
    both.keep(1, 3)
    with both.verifier(verify=orders.Verify.FIND):
        both.until(lambda: both.state(key) is orders.State.DEAD)
    found = both.members(key)
    assert {name for name, one in found.items() if one.verified} == {"1", "3"}
    with both.database.read() as connection:
        one = ledger.get(connection, key)
    assert one is not None
    assert one.error == "1 of 3 were given up: no"


def test_what_is_filed_late_is_not_sent_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "LOOKS", 1000)
    key = world.send(2)
    world.keep(1)
    with world.verifier(verify=orders.Verify.FIND):
        world.until(lambda: world.members(key)["1"].verified is not None)
        assert world.state(key) is orders.State.VERIFYING
        world.keep(2)
        world.until(lambda: world.state(key) is orders.State.DONE)


def test_what_is_never_kept_is_a_dead_letter_after_so_many_rounds(both: World) -> None:
    key = both.send(2)
    both.keep(1)
    with both.verifier(verify=orders.Verify.FIND, attempts=2):
        both.until(lambda: both.state(key) is orders.State.DUE)
        assert both.deliver() is orders.State.VERIFYING
        both.until(lambda: both.state(key) is orders.State.DEAD)
    found = both.members(key)
    assert (found["1"].state, found["2"].state) == (orders.State.DONE, orders.State.DEAD)
    assert "it was sent 2 times" in found["2"].error


@pytest.mark.parametrize("away", [False, True], ids=["same association", "its own association"])
def test_commitment_is_reported(world: World, away: bool) -> None:
    key = world.send(3)
    world.keep(1, 3)
    with contextlib.ExitStack() as stack:
        if away:
            world.peer.report_to = stack.enter_context(_listening(world))
        stack.enter_context(world.verifier(verify=orders.Verify.COMMIT))
        world.until(lambda: world.state(key) is orders.State.DUE)
        assert world.members(key)["2"].state is orders.State.DUE
        assert "0x0112" in world.members(key)["2"].error
        assert world.deliver() is orders.State.VERIFYING
        world.keep(2)
        world.until(lambda: world.state(key) is orders.State.DONE)
    first, second = world.peer.requests
    assert first.uid != second.uid
    assert len(first.references or ()) == 3
    assert [one.sop_instance for one in second.references or ()] == [f"{SERIES}.2"]


def test_a_report_that_does_not_come_in_time_has_it_sent_again_and_is_known_when_it_comes(
    both: World,
) -> None:
    key = both.send(2)
    both.keep(1, 2)
    both.peer.plan = faulty_plan.plan(commit="never")
    with both.verifier(verify=orders.Verify.COMMIT, verify_within=0.2):
        both.until(lambda: both.state(key) is orders.State.DUE)
    (request,) = both.peer.requests
    outcomes = _outcomes(both)
    outcomes.report(request, calling="FAULTY", peer="")
    assert both.state(key) is orders.State.DONE
    assert all(one.verified for one in both.members(key).values())
    outcomes.report(request, calling="FAULTY", peer="")  # once more: its answer was lost
    assert both.state(key) is orders.State.DONE


def test_a_report_is_taken_after_a_restart(world: World) -> None:
    key = world.send(2)
    world.keep(1, 2)
    world.peer.plan = faulty_plan.plan(commit="never")
    with world.verifier(verify=orders.Verify.COMMIT):
        assert world.peer.wait(lambda it: len(it.requests) == 1, LONG)
    with world.verifier(verify=orders.Verify.COMMIT):
        _outcomes(world).report(world.peer.requests[0], calling="FAULTY", peer="")
        world.until(lambda: world.state(key) is orders.State.DONE)
    assert len(world.peer.requests) == 1


def test_a_report_that_nobody_asked_for_is_refused(world: World) -> None:
    world.send(1)
    outcomes = _outcomes(world)
    for said, status in (
        (commitment.Transaction("1.2.3", (commitment.Reference(make.CT, "1.2"),)), 0x0110),
        (commitment.Transaction(None, (commitment.Reference(make.CT, "1.2"),)), 0x0114),
        (commitment.Transaction("1.2.3", None), 0x0114),
    ):
        with pytest.raises(reported.Refused) as refused:
            outcomes.report(said, calling="FAULTY", peer="")
        assert refused.value.status == status


def test_a_report_by_a_stranger_is_refused(world: World) -> None:
    key = world.send(1)
    world.peer.plan = faulty_plan.plan(commit="never")
    with world.verifier(verify=orders.Verify.COMMIT):
        assert world.peer.wait(lambda it: len(it.requests) == 1, LONG)
    with pytest.raises(reported.Refused) as refused:
        _outcomes(world).report(world.peer.requests[0], calling="STRANGER", peer="")
    assert refused.value.status == 0x0124
    assert world.state(key) is orders.State.VERIFYING


def test_what_the_destination_can_never_keep_is_a_dead_letter_at_once(world: World) -> None:
    key = world.send(1)
    world.peer.plan = faulty_plan.plan(commit="never")
    with world.verifier(verify=orders.Verify.COMMIT):
        assert world.peer.wait(lambda it: len(it.requests) == 1, LONG)
    uid = world.peer.requests[0].uid
    said = commitment.Transaction(uid, (commitment.Reference(make.CT, f"{SERIES}.1", 0x0122),))
    _outcomes(world).report(said, calling="FAULTY", peer="")
    assert world.state(key) is orders.State.DEAD
    assert "0x0122" in world.members(key)["1"].error


def test_a_destination_that_cannot_be_asked_is_asked_again(both: World) -> None:
    key = both.send(1)
    both.keep(1)
    both.peer.plan = faulty_plan.plan(reject=["transient@1"], commit="refuse")
    with both.verifier(verify=orders.Verify.COMMIT):
        assert both.peer.wait(lambda it: any("0x0110" in one for one in it.faults), LONG)
        assert both.state(key) is orders.State.VERIFYING
        both.peer.plan = faulty_plan.Plan()
        both.until(lambda: both.state(key) is orders.State.DONE)


def test_who_lies_about_commitment_is_believed_and_c_find_finds_out(world: World) -> None:
    believed, doubted = world.send(1), world.send(1, series="1.2.3.2")
    world.peer.plan = faulty_plan.plan(commit="lie")
    with world.verifier(verify=orders.Verify.COMMIT) as asking:
        world.until(lambda: world.state(believed) is orders.State.DONE)
        world.until(lambda: world.state(doubted) is orders.State.DONE)
        with world.database.write() as connection:
            which = tables.consignment.c.key == doubted
            connection.execute(sqlalchemy.update(tables.consignment).where(which).values(state="verifying"))
            connection.execute(sqlalchemy.update(tables.delivery).values(verified=None))
            connection.execute(sqlalchemy.delete(tables.verification))
        asking.apply(world.configured(verify=orders.Verify.FIND))
        world.until(lambda: world.state(doubted) is orders.State.DUE)


def test_a_destination_that_is_not_verified_any_more_is_believed(both: World) -> None:
    key = both.send(2)
    with both.verifier(verify=orders.Verify.NO):
        both.until(lambda: both.state(key) is orders.State.DONE)
    assert not any(one.verified for one in both.members(key).values())


def test_what_was_cancelled_meanwhile_stays_so(world: World) -> None:
    key = world.send(1)
    world.peer.plan = faulty_plan.plan(commit="never")
    with world.verifier(verify=orders.Verify.COMMIT):
        assert world.peer.wait(lambda it: len(it.requests) == 1, LONG)
    with world.database.write() as connection:
        which = tables.consignment.c.key == key
        connection.execute(sqlalchemy.update(tables.consignment).where(which).values(state="cancelled"))
    uid = world.peer.requests[0].uid
    said = commitment.Transaction(uid, (commitment.Reference(make.CT, f"{SERIES}.1", 0x0112),))
    _outcomes(world).report(said, calling="FAULTY", peer="")
    assert world.state(key) is orders.State.CANCELLED
    assert world.members(key)["1"].state is orders.State.DONE


def test_two_workers_ask_once(world: World) -> None:
    keys = [world.send(1, series=f"1.2.3.{number}") for number in range(1, 5)]
    for number in range(1, 5):
        world.keep(1, series=f"1.2.3.{number}")
    with (
        world.verifier(verify=orders.Verify.COMMIT),
        world.verifier(name="work-2", verify=orders.Verify.COMMIT),
    ):
        world.until(lambda: all(world.state(key) is orders.State.DONE for key in keys))
    assert len(world.peer.requests) == 4


def test_a_moment_of_a_clock_that_was_wrong_has_come(both: World) -> None:
    key = both.send(1)
    with both.database.write() as connection:
        assert verification.begin(connection, {"pacs": 0.0}, _now() + datetime.timedelta(days=3650)) == 1
    both.keep(1)
    with both.verifier(verify=orders.Verify.FIND):
        both.until(lambda: both.state(key) is orders.State.DONE)


def test_rows_that_nobody_needs_go(both: World) -> None:
    done, open_ = both.send(1), both.send(1, series="1.2.3.2")
    later = _now() + datetime.timedelta(days=2)
    with both.database.write() as connection:
        verification.begin(connection, {"pacs": 0.0}, _now())
        which = tables.consignment.c.key == done
        connection.execute(sqlalchemy.update(tables.consignment).where(which).values(state="done"))
        verification.forget(connection, later)
    assert [row["consignment_key"] for row in indexed.rows(both.database, tables.verification)] == [open_]


def _outcomes(world: World) -> reported.Outcomes:
    settings = world.configured(verify=orders.Verify.COMMIT)
    return reported.Outcomes(world.database, world.data, settings, metrics.Metrics(None), lambda: 0.0)


@contextlib.contextmanager
def _listening(world: World) -> Iterator[model.Peer]:
    """Our listener, for reports alone."""
    from node.scp import event
    from node.send import inbox

    handlers = event.Event(_outcomes(world)).handlers()
    with inbox.listening("NODE", 0, handlers, services=[commitment.SOP_CLASS], drain=1.0) as port:
        yield model.Peer(name="node", aet="NODE", host="127.0.0.1", port=port)


def test_the_errors_of_reports_are_permanent() -> None:
    assert issubclass(reported.Refused, errors.Permanent)


def test_looking_for_what_is_to_be_verified_goes_through_no_table(world: World) -> None:
    key = world.send(3)
    seen: list[tuple[str, object]] = []

    def _note(_c: object, _cursor: object, statement: str, values: object, _x: object, _m: bool) -> None:
        seen.append((statement, values))

    sqlalchemy.event.listen(world.database._reading, "before_cursor_execute", _note)
    with world.database.read() as connection:
        verification.unbegun(connection, ["pacs", "other"])
        verification.verifying(connection, ["pacs", "other"])
        verification.due(connection, "pacs", _now(), 60.0, 10)
        verification.soonest(connection, ["pacs", "other"])
        verification.by_transaction(connection, "1.2")
        verification.waits_for(connection, "1.2")
        verification.unsure(connection, key)
    sqlalchemy.event.remove(world.database._reading, "before_cursor_execute", _note)
    asked = [(statement, values) for statement, values in seen if statement.startswith("SELECT")]
    assert len(asked) == 7
    with world.database.read() as connection:
        for statement, values in asked:
            rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)  # type: ignore[arg-type]
            scans = [row[3] for row in rows if row[3].startswith("SCAN")]
            assert not scans, f"{scans}: {statement}"
