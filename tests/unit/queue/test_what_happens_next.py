"""What people are told of what waits: the reason, and the moment at which it ends."""

from __future__ import annotations

import dataclasses
import datetime

import pytest

from node import orders, outlook

NOW = datetime.datetime(2026, 11, 21, 12, 0, tzinfo=datetime.UTC)  # a Saturday
SOON = NOW + datetime.timedelta(seconds=95)
NIGHTS = orders.Calendar(
    "nights", hours=((datetime.time(20), datetime.time(6)),), zone="UTC", days=frozenset(range(7))
)
CALENDARS = {"nights": NIGHTS}
ARCHIVE = orders.Destination("archive", peer="pacs")
UP = orders.Lane("archive")
DOWN = orders.Lane("archive", orders.LaneState.DOWN, NOW, 3, SOON, "nobody there")
HELD = orders.Lane("archive", orders.LaneState.HELD, NOW, reason="held by alice: migration")

PARCEL = orders.Consignment(
    key=1, destination="archive", group="", study="1.2", series="1.2.3", route="scans", revision=1,
    priority=orders.Priority.NORMAL, calendar=None, steps=(), state=orders.State.DUE, created=NOW, due=NOW,
    attempts=0, crashes=0, total=3, done=0, dead=0, fence=0, error="",
)  # fmt: skip


def of(lane: orders.Lane = UP, destination: orders.Destination | None = ARCHIVE, **changed: object) -> str:
    parcel = dataclasses.replace(PARCEL, **changed)  # type: ignore[arg-type]
    return outlook.consignment(parcel, lane, destination=destination, calendars=CALENDARS, now=NOW)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (of(), "goes out when its turn comes"),
        (of(destination=None), "archive is not in the configuration"),
        (of(HELD), "archive is held by alice: migration"),
        (of(DOWN), "archive is down: nobody there; a C-ECHO tries it at "),
        (of(DOWN), "(in 95 s)"),
        (of(dataclasses.replace(DOWN, probe=NOW)), "a C-ECHO tries it now"),
        (of(calendar="nights"), "the calendar nights opens at "),
        (of(calendar="nights"), "(in 8 h)"),
        (
            of(destination=dataclasses.replace(ARCHIVE, calendar="nights")),
            "the calendar nights opens at ",
        ),
        (of(calendar="nights", priority=orders.Priority.URGENT), "goes out when its turn comes"),
        (of(due=SOON, error="0xA700 (out of resources)"), "(in 95 s): 0xA700 (out of resources)"),
        (of(dataclasses.replace(DOWN, state=orders.LaneState.UP)), "(in 95 s): nobody there"),
        (of(state=orders.State.HELD, error="the series is partial"), "the series is partial; it waits until"),
        (of(state=orders.State.RUNNING), "a worker is sending it"),
        (of(state=orders.State.VERIFYING), "whether it keeps it"),
        (
            of(state=orders.State.DEAD, error="2 of 3 were given up"),
            "2 of 3 were given up; a person may replay",
        ),
        (of(state=orders.State.CANCELLED, error="cancelled by bob"), "cancelled by bob"),
    ],
)
def test_a_consignment_says_why_it_is_not_there(said: str, words: str) -> None:
    assert words in said


def test_what_is_done_needs_no_words() -> None:
    assert of(state=orders.State.DONE) == ""


def lane(of: orders.Lane = UP, destination: orders.Destination | None = ARCHIVE, **changed: object) -> str:
    given: dict[str, object] = {"waiting": 3, "running": 0, "soonest": NOW, "error": "", **changed}
    return outlook.lane(of, destination=destination, calendars=CALENDARS, now=NOW, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (lane(), "goes out when its turn comes"),
        (lane(running=1), "being sent"),
        (lane(HELD, waiting=0), "held by alice: migration"),
        (lane(DOWN), "nobody there; a C-ECHO tries it at "),
        (lane(destination=None), "not in the configuration"),
        (lane(destination=dataclasses.replace(ARCHIVE, calendar="nights")), "the calendar nights opens at "),
        (lane(soonest=SOON, error="busy"), "(in 95 s): busy"),
        (lane(dataclasses.replace(DOWN, state=orders.LaneState.UP)), "(in 95 s): nobody there"),
    ],
)
def test_a_destination_says_what_keeps_it(said: str, words: str) -> None:
    assert words in said


def test_a_destination_without_anything_to_get_needs_no_words() -> None:
    assert lane(waiting=0) == ""


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-3, "0 s"), (0, "0 s"), (119, "119 s"), (600, "10 min"), (7200 * 3, "6 h"), (86_400 * 9, "9 days")],
)
def test_times_are_short(seconds: float, words: str) -> None:
    assert outlook.span(seconds) == words
