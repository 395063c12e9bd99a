"""`queue` and `why` beside no running node: what they show, what they change, what they refuse."""

from __future__ import annotations

import datetime
import io
import json
import pathlib
import shutil
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import sqlalchemy
from rich import console
from typer.testing import CliRunner

from node import cli, errors, log, model, orders
from node.commands import queue_view
from node.files import book, layout
from node.index import db, decisions, lanes, ledger, manager, tables
from node.queue import bell
from tests import make, stored

SERIES = make.series(4, seed="queue")
OTHER = make.series(2, seed="other queue")
CONFIG = """
[peers.pacs]
aet = "PACS"
host = "192.0.2.1"

[destinations.archive]
peer = "pacs"

[destinations.mirror]
peer = "pacs"

[routes.scans]
when.Modality = "CT"
to = ["archive"]

[routes.reports]
when.Modality = "SR"
to = ["mirror"]
"""
NOW = datetime.datetime.now(datetime.UTC)
REASON = "0xA900 (the data set does not match its SOP class)"

Invoke = Callable[..., str]


def owe(database: db.Database, made: Sequence[make.Made], destination: str) -> int:
    with database.write() as connection:
        held = tables.instance.c
        uids = [one.sop_instance for one in made]
        rows = connection.execute(sqlalchemy.select(held.key, held.sop_instance))
        pairs = [(key, uid) for key, uid in rows if uid in uids]
        order = ledger.Order(destination, made[0].study, made[0].series, "scans", 1)
        key = ledger.enqueue(connection, order, pairs, NOW - datetime.timedelta(minutes=3))
    assert key is not None
    return key


def answer(database: db.Database, key: int, statuses: list[int]) -> None:
    """Record what a destination said of each instance of a consignment, as a worker does."""
    from node.index import outcomes

    with database.write() as connection:
        claimed = connection.execute(
            sqlalchemy.update(tables.consignment)
            .where(tables.consignment.c.key == key)
            .values(state="running", claim="work-1", fence=tables.consignment.c.fence + 1)
        )
        assert claimed.rowcount == 1
        parcel = ledger.get(connection, key)
        assert parcel is not None
        attempts = [
            orders.Attempt(
                one.key, NOW, orders.State.DEAD if status else orders.State.DONE, status,
                make.EXPLICIT, 1000, 0.02, REASON if status else "",
            )
            for one, status in zip(ledger.due(connection, key, 0, 100), statuses, strict=True)
        ]  # fmt: skip
        outcomes.record(connection, key, attempts, NOW)
        outcomes.finish(connection, key, parcel.fence, NOW)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Archive is down and owed four, mirror refused one of four, two more are owed to nobody."""
    log.configure(model.LogSettings(), "test", io.StringIO())
    data = stored.data(tmp_path_factory.mktemp("queue") / "data")
    with stored.database(data) as database, stored.receiver(data) as receiver:
        for one in (*SERIES, *OTHER):
            stored.send(receiver, one)
        stored.file_all(data, database)
        owe(database, SERIES, "archive")
        answer(database, owe(database, SERIES, "mirror"), [0, 0xA900, 0, 0])
        with database.write() as connection:
            lanes.set_lane(
                connection, "archive", orders.LaneState.DOWN, NOW,
                failures=3, probe=NOW + datetime.timedelta(hours=1), reason="nobody there",
            )  # fmt: skip
            first = SERIES[0]
            decisions.settled(
                connection,
                decisions.Settlement(
                    orders.When.SERIES, first.study, first.series, 1, orders.Completeness.COMPLETE, 4,
                    {"policy": "built-in", "by": "quiet", "reasons": ["settled by quiet", "4 came"]},
                ),
                NOW,
            )  # fmt: skip
            decisions.decide(
                connection,
                [
                    decisions.Decision(
                        first.study, first.series, 1, "scans", {"Modality": ["CT"]}, ("archive",)
                    )
                ],
                NOW,
            )
    return data.root


@pytest.fixture
def root(made: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
    """A copy of it, to be changed."""
    return pathlib.Path(shutil.copytree(made, tmp_path / "data", ignore=shutil.ignore_patterns("journal")))


@pytest.fixture
def run(root: pathlib.Path) -> Invoke:
    config = root.parent / "node.toml"
    config.write_text(CONFIG)

    def invoke(*words: str, typed: str | None = None) -> str:
        arguments = [*words, "--data", str(root), "--config", str(config)]
        result = CliRunner().invoke(cli.program(arguments), arguments, input=typed)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.stdout

    return invoke


def standing(run: Invoke, name: str) -> dict[str, Any]:
    found = json.loads(run("queue", "--json"))["destinations"]
    return next(one for one in found if one["destination"] == name)


def consignments(run: Invoke, *words: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(run("queue", "list", "--json", *words))
    return found


def test_each_destination_says_what_waits_and_what_happens_next(run: Invoke) -> None:
    said = run("queue")
    assert "nobody there; a C-ECHO tries it at " in said
    assert "no node runs here" in said
    archive, mirror = standing(run, "archive"), standing(run, "mirror")
    assert (archive["lane"], archive["due"], archive["failures"], archive["dead"]) == ("down", 4, 3, 0)
    assert (mirror["lane"], mirror["due"], mirror["dead"], mirror["next"]) == ("up", 0, 1, "")


def test_dead_letters_say_why(run: Invoke) -> None:
    said = run("queue", "list", "--state", "dead")
    assert SERIES[1].sop_instance in said
    assert REASON in said
    (letter,) = json.loads(run("queue", "list", "--state", "dead", "--json"))
    assert (letter["destination"], letter["status"]) == ("mirror", 0xA900)


def test_what_was_answered_lately_makes_a_rate(run: Invoke, root: pathlib.Path) -> None:
    with stored.database(layout.Data(root)) as database, database.read() as connection:
        (parcel,) = [ledger.get(connection, one["key"]) for one in consignments(run)]
    assert parcel is not None
    written = book.Book(layout.Data(root), "work-1@here")
    at = datetime.datetime.now(datetime.UTC)
    for number in range(120):
        done = orders.State.DONE if number % 2 else orders.State.DUE
        written.write(parcel, f"1.2.{number}", orders.Attempt(number, at, done, 0, "1.2", 10, 0.1, ""))
    try:
        assert 0 < standing(run, "archive")["rate"] <= 1  # sixty of a minute, however slow this machine is
        assert standing(run, "mirror")["rate"] == 0
    finally:
        written.close()


def test_a_destination_is_held_and_released(run: Invoke) -> None:
    assert run("queue", "hold", "archive", "--why", "migration") == "archive is held\n"
    archive = standing(run, "archive")
    assert archive["lane"] == "held"
    assert "migration" in archive["next"]
    run("queue", "release", "archive")
    assert standing(run, "archive")["lane"] == "up"


def test_a_consignment_a_series_or_an_instance_may_be_meant(run: Invoke) -> None:
    (number,) = [str(one["key"]) for one in consignments(run)]
    for what in (number, SERIES[0].series, SERIES[0].study, SERIES[0].sop_instance, SERIES[0].series[:-3]):
        run("queue", "hold", what, "--why", "look", "--lane", "archive")
        assert [one["state"] for one in consignments(run)] == ["held"]
        run("queue", "release", what)
        assert [one["state"] for one in consignments(run)] == ["due"]


def test_workers_are_woken_by_what_is_done(run: Invoke, root: pathlib.Path) -> None:
    listening = bell.Bell(layout.Data(root), "test")
    try:
        run("queue", "retry", "archive")
        assert listening.wait(30)
    finally:
        listening.close()


def test_a_retry_probes_at_once_and_forgets_what_was_refused(run: Invoke, root: pathlib.Path) -> None:
    with stored.database(layout.Data(root)) as database:
        with database.write() as connection:
            lanes.remember(connection, "archive", {"refused": ["1.2"]}, NOW)
        run("queue", "retry", "archive")
        with database.read() as connection:
            assert lanes.memory(connection, "archive") == {}
            lane = lanes.lane(connection, "archive")
    assert lane.state is orders.LaneState.DOWN
    assert lane.probe is not None
    assert lane.probe <= datetime.datetime.now(datetime.UTC)


def test_dead_letters_are_replayed(run: Invoke) -> None:
    said = run("queue", "replay", "mirror", "--why", "cured")
    assert said == "1 instance in 1 consignment is replayed\n"
    mirror = standing(run, "mirror")
    assert (mirror["dead"], mirror["due"]) == (0, 1)
    assert "nothing of it stands so" in run("queue", "replay", "mirror")


def test_who_cancels_is_asked_first(run: Invoke) -> None:
    (number,) = [str(one["key"]) for one in consignments(run)]
    with pytest.raises(errors.UsageError, match="nothing was changed"):
        run("queue", "cancel", number, "--why", "test", typed="n\n")
    assert [one["state"] for one in consignments(run)] == ["due"]
    run("queue", "cancel", number, "--why", "test", typed="y\n")
    assert consignments(run) == []
    assert consignments(run, "--state", "cancelled")[0]["cancelled"] == 4


def test_what_waits_goes_elsewhere(run: Invoke) -> None:
    run("queue", "move", "archive", "--to", "mirror", "--why", "gone for good")
    # Three of the four are there already, and the one that mirror refused is asked for again.
    assert standing(run, "archive")["due"] == 0
    assert standing(run, "mirror")["due"] == 1


def test_what_nobody_owed_is_sent_when_somebody_says_so(run: Invoke) -> None:
    said = run("queue", "resend", OTHER[0].series, "--to", "archive", "--why", "for the archive")
    assert said == "2 instances in 1 consignment are to be sent\n"
    assert standing(run, "archive")["due"] == 6
    (made,) = [one for one in consignments(run) if one["series"] == OTHER[0].series]
    assert made["route"].startswith("by ")


def test_what_is_urgent_is_said_to_be(run: Invoke) -> None:
    run("queue", "priority", SERIES[0].study, "urgent")
    assert [one["priority"] for one in consignments(run)] == ["urgent"]
    with pytest.raises(errors.UsageError, match=r"'soon' is no priority: it is one of urgent"):
        run("queue", "priority", SERIES[0].study, "soon")


def test_what_cannot_be_meant_is_refused_with_the_way_out(run: Invoke) -> None:
    with pytest.raises(errors.NotFound, match=r"'archve' is no destination.*did you mean 'archive'"):
        run("queue", "hold", "archve", "--why", "x")
    with pytest.raises(errors.NotFound, match="no consignment 4711"):
        run("queue", "retry", "4711")
    with pytest.raises(errors.UsageError, match="'nowhere' in the configuration; destinations are archive"):
        run("queue", "move", "archive", "--to", "nowhere", "--why", "x")


def test_the_live_table_fits_a_narrow_terminal(root: pathlib.Path) -> None:
    settings = model.Settings(
        node=model.NodeSettings(data=root), destinations=(orders.Destination("archive", peer="pacs"),)
    )
    data = layout.Data(root)
    with stored.database(data) as database, database.read() as connection:
        found = queue_view.overview(connection, settings, data, datetime.datetime.now(datetime.UTC))
    shown = io.StringIO()
    console.Console(file=shown, width=100).print(queue_view.drawn(found))
    lines = shown.getvalue().splitlines()
    assert max(map(len, lines)) <= 100
    assert "no node runs here" in lines[0]
    (archive,) = [line.split() for line in lines if line.startswith(" archive")]
    assert archive[:3] == ["archive", "down", "4"]


# -- why ------------------------------------------------------------------------------------------------


def test_a_series_tells_its_whole_story(run: Invoke) -> None:
    run("queue", "hold", "archive", "--why", "stop")
    run("queue", "priority", SERIES[0].series, "high", "--why", "the ward waits")
    said = run("why", SERIES[0].series)
    for words in (
        "4 instances held",
        f"{stored.SENDER.calling}",
        "4 stored",
        "revision 1: complete, 4 instances",
        "settled by quiet; 4 came",
        "route scans: archive",
        "because Modality is 'CT'",
        "reports: no, ",
        "archive: due, 0 of 4 delivered",
        "archive is held by ",
        "mirror: dead, 3 of 4 delivered, 1 given up",
        f"{SERIES[1].sop_instance}: dead, {REASON}",
        "gave another priority to what goes to archive: high: the ward waits",
    ):
        assert words in said, said
    order = [said.index(title) for title in ("it came", "it settled", "it was routed", "it was sent")]
    assert order == sorted(order)


def test_an_instance_tells_every_attempt(run: Invoke) -> None:
    run("queue", "replay", "mirror")
    said = run("why", SERIES[1].sop_instance)
    assert f"refused for good: {REASON}, as Explicit VR Little Endian, 1.0 kB, 20 ms" in said
    assert "replayed what goes to mirror" in said
    taken = run("why", SERIES[0].sop_instance)
    assert "taken: 0x0000 (success)" in taken
    assert "refused" not in taken


def test_programs_get_every_fact(run: Invoke) -> None:
    (told,) = json.loads(run("why", SERIES[1].sop_instance, "--json"))
    (series,) = told["series"]
    assert told["level"] == "instance"
    assert series["came"][0]["verdict"] == "stored"
    assert series["settled"][0]["signals"]["by"] == "quiet"
    sent = {one["consignment"]["destination"]: one for one in series["sent"]}
    assert sent["mirror"]["deliveries"][0]["tries"][0]["status"] == 0xA900
    assert sent["archive"]["lane"]["state"] == "down"
    assert [one["matches"] for one in told["routes"][SERIES[0].series]] == [True, False]


def test_names_of_ones_own_and_beginnings_are_understood(run: Invoke, root: pathlib.Path) -> None:
    with stored.database(layout.Data(root)) as database:
        manager.Images(database).name_series(SERIES[0].series, "first-head")
    assert SERIES[0].series in run("why", "first-head")
    assert f"study {SERIES[0].study}" in run("why", SERIES[0].study)
    with pytest.raises(errors.NotFound, match=r"nothing is known of 1\.2\.3\.4\.5"):
        run("why", "1.2.3.4.5")
    with pytest.raises(errors.NotFound, match="nothing is called 'nobody'"):
        run("why", "nobody")


def test_the_beginning_of_two_names_both(run: Invoke) -> None:
    first, second = sorted([SERIES[0].series, OTHER[0].series])
    common = first[: next(at for at in range(len(first)) if first[at] != second[at])]
    with pytest.raises(errors.UsageError, match="several begin with") as caught:
        run("why", common)
    assert first in str(caught.value)
    assert second in str(caught.value)
