"""The router on a real index, by a clock that the test moves: what settles when, and what is owed by it."""

from __future__ import annotations

import dataclasses
import datetime
import pathlib
from collections.abc import Iterator, Sequence

import pytest
import sqlalchemy

from node import model, orders
from node.complete import asker
from node.complete import router as complete
from node.files import layout, live
from node.index import db, decisions, lanes, progress, remove, series, steps, tables
from tests import indexed

NOW = datetime.datetime(2026, 11, 21, 12, 0, tzinfo=datetime.UTC)
POLICY = orders.Policy("test", quiet=30, released=2, wait=600, study_quiet=60)
S1, S2 = "1.2.3.1", "1.2.3.2"


def route(name: str, *to: str, **more: object) -> orders.Route:
    return orders.Route(name, to=to, **more)  # type: ignore[arg-type]


def when(**tests: str) -> orders.Condition:
    return orders.Condition(tuple((key, (value,)) for key, value in tests.items()))


class World:
    """An index, a router or two, and what comes in."""

    def __init__(self, database: db.Database, folder: pathlib.Path) -> None:
        self.database = database
        self.data = layout.Data(folder / "data")
        self.data.make()
        self.listener = live.Live(self.data, "listen-1")
        self.time = 1000.0
        self.settings = model.Settings(completeness=(POLICY,))
        self.routers: list[complete.Router] = []
        self.taken = 0
        self.association: live.Bringing | None = None

    def routed(
        self, *routes: orders.Route, policy: orders.Policy = POLICY, **more: object
    ) -> complete.Router:
        """A router with these routes."""
        self.settings = dataclasses.replace(
            self.settings,
            routes=routes,
            completeness=(policy,),
            **more,  # type: ignore[arg-type]
        )
        return self.router()

    def router(self) -> complete.Router:
        made = complete.Router(
            self.database,
            self.data,
            self.settings,
            f"router-{len(self.routers) + 1}",
            clock=lambda: self.time,
            now=lambda: NOW,
        )
        self.routers.append(made)
        made.look()
        return made

    def open(self, *uids: str) -> None:
        """An association brings these series, and stays open."""
        self.association = self.listener.begin()
        for uid in uids:
            self.association.note(uid)

    def release(self) -> None:
        assert self.association is not None
        self.association.end()
        self.association = None

    def take(self, *numbers: int, uid: str = S1, **more: object) -> None:
        """Instances of these numbers are filed, and the routers hear of it."""
        self.taken += 1
        base = self.taken * 1000
        indexed.take(
            self.database,
            [
                indexed.item(number, series=uid, position=(base + number) * 4096, **more)  # type: ignore[arg-type]
                for number in numbers
            ],
        )
        self.after(0)

    def after(self, seconds: float, at_most: int = 50) -> float:
        """Let time pass and the routers look until they have nothing to do."""
        self.time += seconds
        for _ in range(at_most):
            if all(router.look() > 0 for router in self.routers):
                break
        return self.time

    def rows(self, table: sqlalchemy.Table, *names: str) -> list[tuple[object, ...]]:
        with self.database.read() as connection:
            columns = [table.c[name] for name in names]
            return [
                tuple(row) for row in connection.execute(sqlalchemy.select(*columns).order_by(table.c.key))
            ]

    def settled(self) -> list[tuple[object, ...]]:
        """(series, revision, verdict, instances) of each settlement."""
        return self.rows(tables.settlement, "series", "revision", "verdict", "instances")

    def owed(self) -> list[tuple[object, ...]]:
        """(destination, series, revision, state, instances) of each consignment."""
        return self.rows(tables.consignment, "destination", "series", "revision", "state", "total")

    def decided(self) -> list[tuple[object, ...]]:
        return self.rows(tables.decision, "series", "revision", "route", "destinations", "discard")

    def delivered_to(self, destination: str) -> set[str]:
        """SOP Instance UIDs that a destination has or is owed."""
        return {
            str(uid)
            for name, uid in self.rows(tables.delivery, "destination", "sop_instance")
            if name == destination
        }

    def close(self) -> None:
        for router in self.routers:
            router.close()
        self.listener.close()


@pytest.fixture
def world(tmp_path: pathlib.Path) -> Iterator[World]:
    """On SQLite: what the router decides does not depend on the database."""
    database = indexed.sqlite(tmp_path)
    made = World(database, tmp_path)
    yield made
    made.close()
    database.close()


@pytest.fixture
def either(database: db.Database, tmp_path: pathlib.Path) -> Iterator[World]:
    """On each database: what it writes does."""
    made = World(database, tmp_path)
    yield made
    made.close()


def uids(uid: str, numbers: Sequence[int]) -> set[str]:
    return {f"{uid}.{number}" for number in numbers}


def test_a_series_settles_by_release_and_its_route_owes_it(world: World) -> None:
    world.routed(route("scans", "archive", "research"))
    world.open(S1)
    world.take(1, 2, 3)
    world.after(1)
    world.after(10)
    assert world.settled() == []
    world.release()
    world.after(0.1)
    world.after(1.8)
    assert world.settled() == [], "released two seconds ago, and no earlier"
    world.after(0.3)
    assert world.settled() == [(S1, 1, "complete", 3)]
    assert world.owed() == [("archive", S1, 1, "due", 3), ("research", S1, 1, "due", 3)]
    assert world.decided() == [(S1, 1, "scans", "archive\\research", "")]
    assert world.delivered_to("archive") == uids(S1, [1, 2, 3])


def test_a_series_settles_by_quiet_although_its_association_stays_open(world: World) -> None:
    world.routed(route("scans", "archive"))
    world.open(S1)
    for number in (1, 2):
        world.take(number)
        world.after(20)
    assert world.settled() == []
    world.after(9)
    assert world.settled() == []
    world.after(1.1)
    assert world.settled() == [(S1, 1, "complete", 2)]


def test_what_comes_from_files_settles_by_quiet_alone(world: World) -> None:
    world.routed(route("scans", "archive"))
    item = indexed.item(1)
    arrival = dataclasses.replace(item.arrival, calling="", peer="", address="import")
    indexed.take(world.database, [dataclasses.replace(item, arrival=arrival)])
    world.after(0)
    world.after(29)
    assert world.settled() == []
    world.after(1.1)
    assert world.settled() == [(S1, 1, "complete", 1)]


def test_what_images_in_acquisition_names_is_waited_for_and_then_it_is_partial(either: World) -> None:
    either.routed(route("all", "archive"), route("whole", "research", partial=False))
    either.take(1, 2, images_in_acquisition=5)
    either.after(600)
    assert either.settled() == []
    either.after(31)
    assert either.settled()[0] == (S1, 1, "partial", 2)
    assert either.owed() == [("archive", S1, 1, "due", 2), ("research", S1, 1, "held", 2)]
    (error,) = [row[0] for row in either.rows(tables.consignment, "error") if row[0]]
    assert "Images in Acquisition is 5, and 2 came" in str(error)


def test_what_a_route_held_as_partial_goes_out_when_the_rest_has_come(world: World) -> None:
    world.routed(route("whole", "research", partial=False))
    world.take(1, 2, images_in_acquisition=3)
    world.after(631)
    assert world.owed() == [("research", S1, 1, "held", 2)]
    world.take(3)
    world.after(2.1)
    assert [row[2] for row in world.settled() if row[0]] == ["partial", "complete"]
    assert world.owed() == [("research", S1, 1, "due", 2), ("research", S1, 2, "due", 1)]


def test_the_end_of_a_step_settles_what_it_names(world: World) -> None:
    world.routed(route("scans", "archive"))
    world.open(S1)
    world.take(1, 2)
    fields = {
        "Modality": "CT",
        "PerformedStationAETitle": "CT1",
        "PerformedProcedureStepStatus": "COMPLETED",
        "PerformedSeriesSequence": [
            {
                "SeriesInstanceUID": S1,
                "ReferencedImageSequence": [
                    {"ReferencedSOPInstanceUID": f"{S1}.{number}"} for number in (1, 2)
                ],
            }
        ],
    }
    with world.database.write() as connection:
        steps.create(connection, "1.9", fields, calling="CT1", address="", now=NOW)  # type: ignore[arg-type]
    world.after(1)
    assert world.settled() == [], "nobody said that a step had changed"
    world.listener.stepped()
    world.after(0.1)
    assert world.settled() == [(S1, 1, "complete", 2)]
    # The other way round: the step is over before its images are here.
    world.take(1, 2, uid=S2)
    assert (S2, 1, "complete", 2) not in world.settled()


def test_a_late_instance_makes_a_revision_of_which_only_the_new_goes_out(world: World) -> None:
    world.routed(route("scans", "archive"))
    world.take(1, 2)
    world.after(2.1)
    world.take(3)
    world.after(2.1)
    assert world.settled() == [(S1, 1, "complete", 2), (S1, 2, "complete", 3)]
    assert world.owed() == [("archive", S1, 1, "due", 2), ("archive", S1, 2, "due", 1)]
    assert world.delivered_to("archive") == uids(S1, [1, 2, 3])


def test_an_instance_that_replaces_a_removed_one_makes_a_revision_too(world: World) -> None:
    world.routed(route("scans", "archive"))
    world.take(1, 2)
    world.after(2.1)
    with world.database.write() as connection:
        remove.instances(connection, [1], who="a person", why="test", now=NOW)
    world.after(100)
    assert len(world.settled()) == 1, "a removal settles nothing"
    world.take(3)
    world.after(2.1)
    assert world.settled()[1:] == [(S1, 2, "complete", 2)]
    assert f"{S1}.3" in world.delivered_to("archive")


def test_two_routers_settle_once(either: World) -> None:
    either.routed(route("scans", "archive"), route("now", "fast", level=orders.When.INSTANCE))
    either.router()
    either.take(1, 2)
    either.take(3)
    either.after(2.1)
    either.after(2.1)
    either.after(100)
    assert either.settled() == [(S1, 1, "complete", 3), ("", 1, "complete", 3)]
    assert either.decided() == [(S1, 0, "now", "fast", ""), (S1, 1, "scans", "archive", "")]
    assert either.delivered_to("fast") == either.delivered_to("archive") == uids(S1, [1, 2, 3])
    either.take(4)
    either.after(2.1)
    either.after(100)
    assert [row[1] for row in either.settled() if row[0] == S1] == [1, 2]
    assert either.delivered_to("fast") == either.delivered_to("archive") == uids(S1, [1, 2, 3, 4])


def test_a_router_that_starts_anew_loses_and_repeats_nothing(world: World) -> None:
    now = route("now", "fast", level=orders.When.INSTANCE)
    world.routed(route("scans", "archive"), now)
    world.take(1, 2)
    world.routers.pop().close()
    world.take(3)  # it came while nobody looked
    world.router()
    assert world.delivered_to("fast") == uids(S1, [1, 2, 3])
    assert world.settled() == []
    world.after(2.1)
    assert world.settled() == [(S1, 1, "complete", 3)]
    world.routers.pop().close()
    world.router()
    world.after(1000)
    assert [row[1] for row in world.settled() if row[0]] == [1]
    assert world.delivered_to("archive") == uids(S1, [1, 2, 3])


def test_a_wall_clock_that_jumps_settles_nothing_and_holds_nothing_up(world: World) -> None:
    world.routed(route("scans", "archive"))
    world.open(S1)
    for number, days in enumerate((0, 3650, -3650, 0), 1):
        world.take(number, seconds=days * 86400)
        world.after(20)
    assert world.settled() == []
    world.after(10.1)
    assert world.settled() == [(S1, 1, "complete", 4)]


def test_what_was_held_before_there_were_routes_is_not_sent(world: World) -> None:
    world.take(1, 2)
    with world.database.write() as connection:  # as the migration leaves it
        (facts,) = series.each(connection, [1])
        assert series.settle(connection, facts, NOW) == 1
        progress.save(connection, decisions.JOB, "2", NOW)
    world.routed(route("scans", "archive"), route("now", "fast", level=orders.When.INSTANCE))
    world.after(1000)
    assert (world.settled(), world.owed()) == ([], [])
    world.take(3)
    world.after(2.1)
    world.take(4)
    world.after(2.1)
    assert [row[:3] for row in world.settled()] == [(S1, 2, "complete"), (S1, 3, "complete")]
    assert world.delivered_to("archive") == world.delivered_to("fast") == uids(S1, [3, 4])


def test_routes_that_come_with_a_reload_are_for_what_comes_then(world: World) -> None:
    router = world.routed()
    world.take(1, 2)
    world.after(2.1)
    assert world.decided() == [(S1, 1, "", "", "")], "that nothing is to happen is a decision too"
    world.settings = dataclasses.replace(
        world.settings,
        routes=(route("scans", "archive"), route("now", "fast", level=orders.When.INSTANCE)),
    )
    router.apply(world.settings)
    world.after(0)
    world.after(100)
    assert world.owed() == []
    world.take(1, uid=S2)
    world.after(2.1)
    assert world.delivered_to("archive") == world.delivered_to("fast") == uids(S2, [1])


def test_a_default_and_a_discard(world: World) -> None:
    world.routed(
        route("scouts", discard="nobody reads them", when=when(instances="1")),
        routing=orders.Routing(default=("archive",)),
    )
    world.take(1)
    world.take(1, 2, uid=S2)
    world.after(0)
    world.after(2.1)
    assert sorted(world.decided(), key=str) == [
        (S1, 1, "scouts", "", "nobody reads them"),
        (S2, 1, "default", "archive", ""),
    ]
    assert world.delivered_to("archive") == uids(S2, [1, 2])


def test_a_study_settles_when_all_its_series_are_and_nothing_came_for_a_while(either: World) -> None:
    either.routed(route("reports", "archive", level=orders.When.STUDY))
    either.take(1, 2)
    either.after(50)
    either.take(1, uid=S2)
    either.after(59)
    assert [row[0] for row in either.settled()] == [S1, S2]
    assert either.owed() == []
    either.after(1.1)
    assert either.settled()[2:] == [("", 1, "complete", 3)]
    assert either.owed() == [("archive", S1, 1, "due", 2), ("archive", S2, 1, "due", 1)]
    either.take(2, uid=S2)
    either.after(2.1)
    either.after(60)
    assert either.settled()[3:] == [(S2, 2, "complete", 2), ("", 2, "complete", 4)]
    assert either.owed()[2:] == [("archive", S2, 2, "due", 1)]


def test_a_study_waits_for_the_series_that_its_route_requires(world: World) -> None:
    needs = (when(instances="3"),)
    world.routed(
        route("pair", "archive", level=orders.When.STUDY, requires=needs),
        route("strict", "research", level=orders.When.STUDY, requires=needs, partial=False),
    )
    world.take(1, 2)
    world.after(100)
    assert [row[0] for row in world.settled()] == [S1], "it may still come"
    world.take(1, 2, 3, uid=S2)
    world.after(2.1)
    world.after(60)
    assert world.settled()[2:] == [("", 1, "complete", 5)]
    assert {row[3] for row in world.owed()} == {"due"}


def test_a_study_that_lacks_what_is_required_is_partial_in_the_end(world: World) -> None:
    needs = (when(instances="3"),)
    world.routed(
        route("pair", "archive", level=orders.When.STUDY, requires=needs),
        route("strict", "research", level=orders.When.STUDY, requires=needs, partial=False),
    )
    world.take(1, 2)
    world.after(2.1)
    world.after(655)
    assert [row[0] for row in world.settled()] == [S1]
    world.after(4)
    assert world.settled()[1:] == [("", 1, "partial", 2)]
    assert world.owed() == [("archive", S1, 1, "due", 2), ("research", S1, 1, "held", 2)]
    world.take(1, 2, 3, uid=S2)
    world.after(2.1)
    world.after(60)
    assert ("", 2, "complete", 5) in world.settled()
    assert {(row[0], row[3]) for row in world.owed()} == {("archive", "due"), ("research", "due")}


def test_a_group_has_the_series_once_whichever_member_is_up(either: World) -> None:
    group = orders.Group("pair", ("one", "two"))
    either.routed(route("scans", "pair"), groups=(group,))
    either.take(1, 2)
    either.after(2.1)
    assert either.owed() == [("one", S1, 1, "due", 2)]
    with either.database.write() as connection:
        lanes.set_lane(connection, "one", orders.LaneState.DOWN, NOW, reason="test")
    either.take(3)
    either.after(2.1)
    assert either.owed()[1:] == [("two", S1, 2, "due", 1)]
    assert either.rows(tables.consignment, "group") == [("pair",), ("pair",)]


def test_a_source_is_asked_and_what_it_has_more_is_waited_for(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([3, 3, 3])
    monkeypatch.setattr(asker, "related", lambda *_: next(answers))
    peer = model.Peer("ct", "MODALITY", host="127.0.0.1")
    router = world.routed(
        route("scans", "archive"), policy=dataclasses.replace(POLICY, ask="ct"), peers=(peer,)
    )
    world.take(1, 2)
    world.after(2.1)
    router._asker.close()  # the answer is here
    world.after(0)
    assert world.settled() == []
    world.take(3)
    world.after(2.1)
    assert world.settled() == [(S1, 1, "complete", 3)]


def test_a_source_that_is_not_configured_does_not_hold_anything_up(world: World) -> None:
    world.routed(route("scans", "archive"), policy=dataclasses.replace(POLICY, ask="nobody"))
    world.take(1)
    world.after(2.1)
    world.after(0)
    assert world.settled() == [(S1, 1, "complete", 1)]


def test_a_thousand_series_at_once_all_settle(world: World) -> None:
    world.routed(route("scans", "archive"))
    count = 230  # more than one look judges
    indexed.take(
        world.database, [indexed.item(number, series=f"1.2.3.{number}") for number in range(1, count + 1)]
    )
    world.after(0)
    world.after(2.1)
    assert len(world.settled()) == count
    assert len(world.delivered_to("archive")) == count
