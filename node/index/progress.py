"""Where a long job resumes: a word per job, in the job's own language."""

from __future__ import annotations

import datetime

import sqlalchemy

from node.index import tables, words

_progress = tables.progress.c


def load(connection: sqlalchemy.Connection, job: str) -> str | None:
    """What the job saved last; nothing when it starts anew."""
    return connection.execute(
        sqlalchemy.select(_progress.value).where(_progress.job == job)
    ).scalar_one_or_none()


def save(connection: sqlalchemy.Connection, job: str, value: str, now: datetime.datetime) -> None:
    """Remember `value` for the next start."""
    values = {"value": value, "updated": words.moment(now)}
    changed = connection.execute(
        sqlalchemy.update(tables.progress).where(_progress.job == job).values(values)
    )
    if not changed.rowcount:
        connection.execute(sqlalchemy.insert(tables.progress).values(values | {"job": job}))


def clear(connection: sqlalchemy.Connection, job: str) -> None:
    """Let the job start anew."""
    connection.execute(sqlalchemy.delete(tables.progress).where(_progress.job == job))
