"""What other routes would have made of the past: `replay` reads headers, tells, and changes nothing."""

from __future__ import annotations

import datetime
import json
import pathlib
from collections.abc import Iterator, Mapping

import pytest
import sqlalchemy
from typer.testing import CliRunner

from node import cli, errors
from node.commands import replay
from node.files import layout
from node.index import db, keys, tables
from tests import make, stored

NOW = datetime.datetime(2026, 11, 21, 12, tzinfo=datetime.UTC)
SINCE = "2026-11-20"
HEAD, CHEST = make.series(2), make.series(1, seed=2, extra=[make.element(0x00180010, "LO", "CHEST")])

CONFIGURATION = """
[peers.pacs]
aet = "PACS"
host = "127.0.0.1"
[destinations.archive]
peer = "pacs"
[destinations.spare]
peer = "pacs"
[destinations.research]
kind = "folder"
folder = "research"
[groups.pair]
members = ["spare", "archive"]
[routing]
default = ["archive"]
"""


@pytest.fixture
def node(tmp_path: pathlib.Path) -> Iterator[tuple[layout.Data, db.Database]]:
    data = stored.data(tmp_path / "data")
    with stored.database(data) as database:
        with stored.receiver(data) as receiver:
            for one in (*HEAD, *CHEST):
                stored.send(receiver, one)
        stored.file_all(data, database)
        yield data, database


def decide(
    database: db.Database,
    one: make.Made,
    revision: int = 1,
    taken: Mapping[str, str] = {"default": "archive"},
    *,
    at: datetime.datetime = NOW,
    verdict: str = "complete",
    study_too: bool = False,
) -> None:
    """As the router writes it down: route -> destinations, or a reason that begins with !."""
    with database.write() as connection:
        for route, to in taken.items():
            connection.execute(
                sqlalchemy.insert(tables.decision).values(
                    key=keys.take(connection, "decision"),
                    study=one.study,
                    series=one.series,
                    revision=revision,
                    route=route,
                    at=at.isoformat(),
                    matched="{}",
                    destinations="" if to.startswith("!") else to,
                    discard=to[1:] if to.startswith("!") else "",
                )
            )
        for level, series in (("series", one.series), *([("study", "")] if study_too else [])):
            if revision:
                connection.execute(
                    sqlalchemy.insert(tables.settlement).values(
                        key=keys.take(connection, "settlement"),
                        level=level,
                        study=one.study,
                        series=series,
                        revision=revision,
                        at=at.isoformat(),
                        verdict=verdict,
                        instances=2,
                        signals="{}",
                    )
                )


def again(data: layout.Data, routes: str = "", *words: str) -> tuple[int, list[str]]:
    """The exit code and the lines of a replay."""
    path = data.root.parent / "new.toml"
    path.write_text(CONFIGURATION + routes)
    words = ("replay", "--since", SINCE, "--config", str(path), "--data", str(data.root), *words)
    result = CliRunner().invoke(cli.program(words), words)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout.splitlines()


def summary(data: layout.Data, routes: str = "") -> dict[str, int]:
    code, lines = again(data, routes, "--json")
    found = json.loads(lines[-1])["summary"]
    assert code == (1 if found["moved"] or found["renamed"] else 0)
    assert len(lines) == 1 + found["moved"] + found["renamed"]
    return {name: count for name, count in found.items() if count and name != "kinds"}


def everything(database: db.Database) -> list[object]:
    return [stored.rows(database, table) for table in tables.metadata.sorted_tables]


def test_nothing_differs(node: tuple[layout.Data, db.Database]) -> None:
    data, database = node
    decide(database, HEAD[0])
    decide(database, CHEST[0])
    before = everything(database)
    code, lines = again(data)
    assert (code, lines) == (
        0,
        ["2 decisions looked at: 2 the same, 0 to somewhere else, 0 to the same by other routes"],
    )
    assert everything(database) == before


def test_what_would_go_elsewhere_is_listed_counted_and_explained(
    node: tuple[layout.Data, db.Database],
) -> None:
    data, database = node
    decide(database, HEAD[0])
    decide(database, CHEST[0])
    routes = '[routes.chest]\nto = ["research"]\nwhen.ContrastBolusAgent = "CHEST"\n'
    code, lines = again(data, routes, "--why")
    assert code == 1
    assert lines[0].endswith(f"series {CHEST[0].series} (revision 1) of study {CHEST[0].study}")
    assert lines[1:4] == [
        "  was archive by default",
        "  is  research by chest",
        "    chest: yes, ContrastBolusAgent has 'CHEST' as in 'CHEST'",
    ]
    assert [line.split() for line in lines[5:7]] == [
        ["COUNT", "WAS", "WOULD", "BE"],
        ["1", "archive", "by", "default", "research", "by", "chest"],
    ]
    assert lines[-1].startswith("2 decisions looked at: 1 the same, 1 to somewhere else")


def test_another_route_to_the_same_is_told_apart(node: tuple[layout.Data, db.Database]) -> None:
    data, database = node
    decide(database, HEAD[0])
    assert summary(data, '[routes.all]\nto = ["archive"]\n') == {"renamed": 1}


def test_a_group_stands_for_the_member_that_was_chosen(node: tuple[layout.Data, db.Database]) -> None:
    data, database = node
    decide(database, HEAD[0], taken={"all": "archive"})
    assert summary(data, '[routes.all]\nto = ["pair"]\n') == {"same": 1}
    decide(database, CHEST[0], taken={"all": "research"})
    _, lines = again(data, '[routes.all]\nto = ["pair"]\n')
    assert lines[2] == "  is  pair (spare or archive) by all"


def test_discarding_more_or_less_is_a_difference(node: tuple[layout.Data, db.Database]) -> None:
    data, database = node
    decide(database, HEAD[0], taken={"noise": "!not wanted"})
    assert summary(data) == {"moved": 1}
    assert summary(data, '[routes.noise]\ndiscard = "not wanted"\n') == {"same": 1}


def test_each_revision_is_judged_by_its_own_verdict(node: tuple[layout.Data, db.Database]) -> None:
    data, database = node
    routes = '[routes.whole]\nto = ["research"]\nwhen.verdict = "complete"\nwhen.instances = 2\n'
    decide(database, HEAD[0], 1, verdict="partial")
    decide(database, HEAD[0], 2, {"whole": "research"})
    assert summary(data, routes) == {"same": 2}


def test_what_was_sent_on_as_it_came_is_asked_at_that_level(node: tuple[layout.Data, db.Database]) -> None:
    data, database = node
    now = '[routes.now]\nlevel = "instance"\nto = ["spare"]\nwhen.ContrastBolusAgent = "CHEST"\n'
    decide(database, CHEST[0], 0, {"now": "spare"})
    assert summary(data, now) == {"same": 1}
    # Where there was no such route, nothing was written down of it: the first settlement stands for it.
    decide(database, HEAD[0], 1, {"later": "archive"})
    later = '[routes.later]\nto = ["archive"]\nwhen.ContrastBolusAgent = "!CHEST"\n'
    assert summary(data, now + later) == {"same": 2}
    assert summary(data, now.replace('"CHEST"', '["CHEST", ""]') + later) == {"same": 1, "moved": 1}


def test_a_level_that_said_nothing_then_may_say_something_now(
    node: tuple[layout.Data, db.Database],
) -> None:
    data, database = node
    now = '[routes.now]\nlevel = "instance"\nto = ["spare"]\n'
    decide(database, HEAD[0], 0, {"now": "spare", "other": "research"})
    decide(database, HEAD[0], 1, {})
    other = '[routes.other]\nlevel = "instance"\nto = ["research"]\n'
    assert summary(data, now + other) == {"same": 2}
    assert summary(data, now + other + '[routes.later]\nto = ["archive"]\n') == {"same": 1, "moved": 1}


def test_a_study_is_asked_when_it_had_settled(node: tuple[layout.Data, db.Database]) -> None:
    data, database = node
    routes = '[routes.both]\nlevel = "study"\nto = ["research"]\n'
    decide(database, HEAD[0], taken={"both": "research"}, study_too=True)
    decide(database, CHEST[0], taken={"": ""})
    assert summary(data, routes) == {"same": 2}
    assert summary(data, '[routes.other]\nlevel = "study"\nto = ["spare"]\n') == {"moved": 1, "same": 1}


def test_what_is_older_or_gone_is_left_out(node: tuple[layout.Data, db.Database]) -> None:
    data, database = node
    decide(database, HEAD[0], at=NOW - datetime.timedelta(days=3))
    assert summary(data, '[routes.all]\nto = ["research"]\n') == {}
    decide(database, make.series(1, seed=9)[0])
    for path in (data.root / "store").rglob("*.dcm"):
        path.unlink()
    decide(database, CHEST[0])
    assert summary(data, '[routes.all]\nto = ["research"]\nwhen.Modality = "CT"\n') == {
        "gone": 1,
        "unreadable": 1,
    }


def test_many_pages(node: tuple[layout.Data, db.Database]) -> None:
    data, database = node
    for revision in range(1, 111):
        decide(database, HEAD[0], revision, {"default": "archive", "more": "spare"})
    assert summary(data) == {"moved": 110}
    code, lines = again(data, "", "--limit", "3")
    assert code == 1
    assert sum(line.startswith("  was ") for line in lines) == 3
    assert "... and 107 more; list them with --limit 110" in lines


def test_how_far_back_is_a_time_or_a_date() -> None:
    assert replay.moment("7d", NOW) == NOW - datetime.timedelta(days=7)
    assert replay.moment("12h30m", NOW) == NOW - datetime.timedelta(hours=12.5)
    assert replay.moment("2026-11-14T10:00+00:00", NOW) == NOW - datetime.timedelta(days=7, hours=2)
    for wrong in ("yesterday", "0s", "2026-13-01"):
        with pytest.raises(errors.UsageError, match=f"--since {wrong}: give how far back"):
            replay.moment(wrong, NOW)
