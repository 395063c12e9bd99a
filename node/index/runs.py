"""What became of the runs of schedules: one row each among the jobs that resume, as JSON."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import json
from typing import Any

import sqlalchemy

from node.index import progress


class State(enum.StrEnum):
    """How it stands with the run of a schedule that was last begun, or is asked for."""

    WAITING = "waiting"  # none was begun yet: it is new
    ASKED = "asked"  # a person wants one now
    RUNNING = "running"  # it runs, or its worker died over it
    FINISHED = "finished"  # it did what it should
    FAILED = "failed"  # it did not, for the reason that it says
    STOPPED = "stopped"  # the node was stopped meanwhile; it goes on when the node is back


@dataclasses.dataclass(frozen=True, slots=True)
class Run:
    """The last run of a schedule."""

    last: datetime.datetime  # when its time was last taken, from which the next one is counted
    state: State  # how it stands
    tries: int = 0  # times that this run was begun
    again: datetime.datetime | None = None  # when it is tried again; None: not before its next time
    begun: datetime.datetime | None = None  # when it was last begun
    ended: datetime.datetime | None = None  # when it last ended
    says: str = ""  # how far it is, what came of it, or why it failed


def load(connection: sqlalchemy.Connection, schedule: str) -> Run | None:
    """The last run of a schedule; None: it is new."""
    text = progress.load(connection, _job(schedule))
    return None if text is None else _read(text)


def save(connection: sqlalchemy.Connection, schedule: str, run: Run, now: datetime.datetime) -> None:
    """Write down how it stands."""
    values = {key: _word(value) for key, value in dataclasses.asdict(run).items()}
    progress.save(connection, _job(schedule), json.dumps(values, ensure_ascii=False), now)


def _job(schedule: str) -> str:
    return f"schedule:{schedule}"


def _word(value: object) -> object:
    return value.isoformat() if isinstance(value, datetime.datetime) else value


def _read(text: str) -> Run:
    if not text.startswith("{"):
        return Run(datetime.datetime.fromisoformat(text), State.FINISHED)  # as versions before 0.6 wrote it
    said: dict[str, Any] = json.loads(text)
    moments = {
        key: datetime.datetime.fromisoformat(said[key]) if said.get(key) else None
        for key in ("last", "again", "begun", "ended")
    }
    assert moments["last"] is not None
    return Run(
        moments["last"],
        State(said["state"]),
        tries=int(said["tries"]),
        again=moments["again"],
        begun=moments["begun"],
        ended=moments["ended"],
        says=str(said["says"]),
    )
