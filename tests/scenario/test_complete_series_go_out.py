"""From the last instance to the sink, by each signal that settles a series: nothing twice, nothing lost."""

from __future__ import annotations

import contextlib
import json
import pathlib
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

import pytest

from node.faulty import pacs as faulty
from tests import make, oracle, reports, scu
from tests.scenario import harness

# What settles what each of these senders brings: one signal, everything else takes far too long.
POLICIES: Mapping[str, Mapping[str, object]] = {
    "completeness.released": {"peers": ["RELEASED", "NOW"], "released": "0.2s", "quiet": "600s"},
    "completeness.quiet": {"peers": ["QUIET"], "released": False, "quiet": "1s"},
    "completeness.steps": {"peers": ["STEPS"], "released": False, "quiet": "600s"},
    "completeness.short": {"peers": ["SHORT"], "released": "0.2s", "quiet": "0.5s", "wait": "0.5s"},
    "completeness.asked": {"peers": ["ASKED"], "released": "0.2s", "quiet": "600s", "ask": "itself"},
    "completeness.other": {"quiet": "600s", "released": "0.2s", "study_quiet": "1s"},
}
ROUTES: Mapping[str, Mapping[str, object]] = {
    "routes.now": {"level": "instance", "to": ["fast"], "when.source": "NOW"},
    "routes.series": {"to": ["archive"], "when.source": "!STUDY", "when.Modality": "CT"},
    "routes.whole": {"to": ["strict"], "when.source": "SHORT", "partial": False},
    "routes.study": {"level": "study", "to": ["archive"], "when.source": "STUDY"},
}


class World:
    """A node, and the sink behind its destinations."""

    def __init__(self, node: harness.Node, sink: faulty.Faulty) -> None:
        self.node = node
        self.sink = sink

    def send(self, calling: str, instances: Sequence[make.Made], *, release: bool = True) -> scu.Caller:
        """Store all of them over one association, which stays open unless it is to be released."""
        caller = scu.call(self.node.address, instances, timeout=60, calling=calling)
        try:
            assert {caller.store(one).status for one in instances} == {0}
            if release:
                caller.release()
        except BaseException:
            caller.close()
            raise
        return caller

    def rows(self, statement: str, *values: object) -> list[tuple[object, ...]]:
        with contextlib.closing(sqlite3.connect(self.node.data / "index.sqlite", timeout=30)) as database:
            return database.execute(statement, values).fetchall()

    def settled(self, uid: str) -> list[tuple[object, ...]]:
        """(revision, verdict, what settled it) of a series, in order."""
        rows = self.rows(
            "select revision, verdict, signals from settlement where series = ? order by revision", uid
        )
        return [(revision, verdict, json.loads(str(signals))["by"]) for revision, verdict, signals in rows]

    def until(self, holds: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
        end = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < end, f"{what} has not happened\n{self.node.tail()}"
            time.sleep(0.02)

    def arrived(self, instances: Sequence[make.Made]) -> None:
        """Wait until the sink has them, and see that it was sent none of them twice."""
        wanted = {one.sop_instance for one in instances}
        self.until(lambda: wanted <= self.sink.stored.keys(), "the delivery")
        taken = Counter(entry.sop_instance for entry in list(self.sink.journal))
        assert {uid: taken[uid] for uid in wanted} == dict.fromkeys(wanted, 1)

    def done(self, uid: str, count: int) -> None:
        """Wait until the ledger says that so many instances of a series are delivered and none is owed."""
        statement = "select sum(done), sum(total) from consignment where series = ?"
        self.until(lambda: self.rows(statement, uid) == [(count, count)], "the end of the consignments")


def configured(
    make_node: Callable[..., harness.Node], sink: faulty.Faulty, name: str = "node", **more: object
) -> harness.Node:
    """A node that sends to the sink, with the policies and routes of above."""
    peer = {"aet": "FAULTY", "host": "127.0.0.1", "port": sink.address[1]}
    tables: dict[str, object] = {
        "peers.sink": peer,
        "destinations.archive": {"peer": "sink"},
        "destinations.fast": {"peer": "sink"},
        "destinations.strict": {"peer": "sink"},
        **POLICIES,
        **ROUTES,
        **more,
    }
    node = make_node(name, **tables)
    itself = {"aet": harness.AET, "host": "127.0.0.1", "port": node.port, "rights": ["echo", "find"]}
    with node.config.open("a") as file:
        file.write("\n" + harness.toml({"peers.itself": itself}))
    return node


@pytest.fixture
def world(make_node: Callable[..., harness.Node]) -> Iterator[World]:
    with faulty.Faulty() as sink:
        # Two workers see the same: what settles, settles once.
        yield World(configured(make_node, sink, node={"workers": 2}).start(), sink)


def test_each_signal_settles_a_series_and_what_settled_goes_out_once(
    world: World, tmp_path: pathlib.Path
) -> None:
    # All at once, so that one waits while the others do.
    released = make.series(5, seed="released")
    quiet = make.series(3, seed="quiet")
    stepped = make.series(3, seed="steps")
    expected = (make.element(0x00201002, "IS", "5"),)
    short = make.series(2, seed="short", extra=expected)
    asked = make.series(2, seed="asked")
    now = make.series(2, seed="now")
    one = make.instance(1, seed="hundred")
    study = make.uid("two", "study")
    pair = [make.instance(1, study=study, series=make.uid("two", at), seed=f"two {at}") for at in (1, 2)]

    step = world.send("STEPS", stepped, release=False)
    waiting = world.send("QUIET", quiet, release=False)
    going_on = world.send("NOW", now, release=False)
    for calling, instances in (("SHORT", short), ("ASKED", asked), ("STUDY", pair), ("RELEASED", released)):
        world.send(calling, instances)
    journal = oracle.Journal(tmp_path / "answers.jsonl")
    sent = oracle.send(world.node.address, journal, [one] * 100, senders=20)  # D11
    journal.close()
    assert sent.answered == 100

    uid = stepped[0].series
    modality = reports.Modality(world.node.address)
    name = make.uid("mpps", "scenario")
    assert modality.create(name).status == 0
    assert modality.set(name, reports.ended([(uid, len(stepped))])).status == 0
    modality.caller.release()

    world.arrived(released)
    assert world.settled(released[0].series) == [(1, "complete", "release")]
    world.arrived(now)
    assert world.settled(now[0].series) == [], "sent on while its association is open"
    going_on.release()
    world.arrived(stepped)
    assert world.settled(uid) == [(1, "complete", "steps")]
    step.release()
    world.arrived(quiet)
    assert world.settled(quiet[0].series) == [(1, "complete", "quiet")]
    waiting.release()
    world.arrived(asked)
    assert world.settled(asked[0].series) == [(1, "complete", "release")]
    signals = world.rows("select signals from settlement where series = ?", asked[0].series)[0][0]
    assert json.loads(str(signals))["answer"] == {"peer": "itself", "instances": 2, "error": ""}
    world.arrived([one])
    world.done(one.series, 1)
    world.arrived(pair)
    assert world.rows("select verdict, instances from settlement where study = ? and series = ''", study) == [
        ("complete", 2)
    ]

    # What Images in Acquisition names did not come: it goes by the one route, and is held by the other.
    world.until(lambda: bool(world.settled(short[0].series)), "the settlement of what is partial")
    assert world.settled(short[0].series) == [(1, "partial", "wait")]
    found = world.rows("select route, state from consignment where series = ?", short[0].series)
    assert dict(found)["whole"] == "held"  # type: ignore[arg-type]

    # What comes late makes a revision, and goes out alone.
    late = make.stream(7, seed="released")
    world.send("RELEASED", list(late)[5:])
    world.until(lambda: len(world.settled(released[0].series)) == 2, "the second revision")
    world.arrived(make.series(7, seed="released"))
    world.done(released[0].series, 7)
    totals = world.rows(
        "select revision, total from consignment where series = ? order by revision", released[0].series
    )
    assert totals == [(1, 5), (2, 2)]


@pytest.mark.parametrize(
    "place",
    [
        "complete.after-commit",
        pytest.param("complete.before-commit", marks=pytest.mark.soak),
    ],
)
def test_a_worker_that_is_killed_between_settling_and_sending_loses_nothing(
    make_node: Callable[..., harness.Node], place: str
) -> None:
    instances = make.series(20, seed=place)
    with faulty.Faulty() as sink:
        node = configured(make_node, sink)
        world = World(node.start({"DICOM_NODE_FAILPOINT": place}), sink)
        world.send("RELEASED", instances)
        world.until(
            lambda: any(
                event.get("action") == "child_died" and event.get("role") == "work-1"
                for event in node.events()
            ),
            "the death of the worker",
        )
        node.kill()
        node.start()
        world.arrived(instances)
        world.done(instances[0].series, 20)
        assert world.settled(instances[0].series) == [(1, "complete", "release")]
