"""What becomes of a run that failed, was stopped, or took its worker along: tried again, not for ever."""

from __future__ import annotations

import contextlib
import datetime
import pathlib

from node import model, orders
from node.index import progress, runs
from node.jobs import clockwork as jobs
from tests import indexed

UTC = datetime.UTC
NOW = datetime.datetime(2026, 11, 21, 12, tzinfo=UTC)
MINUTE = datetime.timedelta(minutes=1)
DAILY = model.Schedule("daily", model.Job.PULL, at="03:00", zone="UTC", retries=2, retry=60.0)
TONIGHT = datetime.datetime(2026, 11, 22, 3, tzinfo=UTC)


def run(state: runs.State, **more: object) -> runs.Run:
    return runs.Run(NOW, state, **more)  # type: ignore[arg-type]


def test_a_failure_is_tried_again_later_and_later_and_then_waits_for_its_time() -> None:
    now, said, waits = NOW, jobs.taken(DAILY, None, NOW), []
    while True:
        said = jobs.failed(DAILY, said, now, "the peer is away", stopped=False)
        assert said.says == "the peer is away"
        if said.again is None:
            break
        waits.append(said.again - now)
        assert jobs.due(DAILY, said, now) == said.again
        now = said.again
        said = jobs.taken(DAILY, said, now)
    assert waits == [MINUTE, 2 * MINUTE]
    assert said.tries == 3
    assert jobs.due(DAILY, said, now) == TONIGHT
    assert jobs.taken(DAILY, said, TONIGHT).tries == 1


def test_waits_have_an_end() -> None:
    patient = model.Schedule("p", model.Job.PULL, every=86400.0, retries=50, retry=60.0)
    said = jobs.failed(patient, run(runs.State.RUNNING, tries=40), NOW, "no", stopped=False)
    assert said.again == NOW + datetime.timedelta(seconds=jobs.LONGEST)


def test_what_a_stop_interrupted_goes_on_at_once_however_often() -> None:
    said = jobs.taken(DAILY, None, NOW)
    for _ in range(10):
        said = jobs.failed(DAILY, said, NOW, "3 of 9 done", stopped=True)
        assert said.state is runs.State.STOPPED
        assert jobs.due(DAILY, said, NOW) <= NOW
        said = jobs.taken(DAILY, said, NOW)
    assert said.tries == 1


def test_work_that_kills_its_worker_is_left_alone_after_some_tries() -> None:
    said = jobs.taken(DAILY, None, NOW)
    tries = 1
    while said.state is runs.State.RUNNING:
        assert jobs.due(DAILY, said, NOW) <= NOW
        said, tries = jobs.taken(DAILY, said, NOW), tries + 1
    assert tries == DAILY.retries + 2
    assert said.state is runs.State.FAILED
    assert "died over it 3 times" in said.says
    assert jobs.due(DAILY, said, NOW) == TONIGHT


def test_a_person_need_not_wait_and_a_clock_that_was_ahead_is_not_waited_for() -> None:
    assert jobs.due(DAILY, run(runs.State.ASKED), NOW) == NOW
    ahead = run(runs.State.FAILED, tries=1, again=NOW + datetime.timedelta(days=3650))
    assert jobs.due(DAILY, ahead, NOW) == NOW


def test_a_closed_calendar_keeps_the_next_try_waiting_too() -> None:
    nights = orders.Calendar(
        "nights", hours=((datetime.time(22), datetime.time(6)),), zone="UTC", days=frozenset(range(7))
    )
    said = run(runs.State.FAILED, tries=1, again=NOW + MINUTE)
    assert jobs.due(DAILY, said, NOW, nights) == NOW.replace(hour=22)


def test_what_is_written_down_is_read_again(tmp_path: pathlib.Path) -> None:
    with contextlib.closing(indexed.sqlite(tmp_path)) as database, database.write() as connection:
        assert runs.load(connection, "s") is None
        said = run(runs.State.FAILED, tries=2, again=NOW + MINUTE, begun=NOW, says="\u00fcnder way")
        runs.save(connection, "s", said, NOW)
        assert runs.load(connection, "s") == said
        # As versions before wrote it: the moment alone.
        progress.save(connection, "schedule:s", NOW.isoformat(), NOW)
        assert runs.load(connection, "s") == run(runs.State.FINISHED)
