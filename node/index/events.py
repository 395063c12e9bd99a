"""The history of forwarding in one line: the file ledger and the books of all workers, merged by moments.

Each of them is in the order in which it was written, whatever the clock did; the moments only say where one
continues after the other.
"""

from __future__ import annotations

import datetime
import heapq
import itertools
import pathlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import sqlalchemy

from node.files import book, layout, ledger
from node.index import db, replay, tables, words

_BATCH = 500  # events in one transaction
_LATER = 100_000  # answers to what is not owed yet that are kept until the end

Skip = Callable[[str, str], None]  # told what could not be taken in, and why
_Event = tuple[str, dict[str, Any] | book.Said]


def make(data: layout.Data, target: db.Database, skip: Skip) -> int:
    """Fill the tables of forwarding of an index that has its instances; how many facts that took."""
    work = replay.Replay()
    later: list[book.Said] = []
    many = 0
    for batch in _batches(heapq.merge(_facts(data), *_books(data, skip), key=lambda event: event[0])):
        many += len(batch)
        with target.write() as connection:
            _take_in(connection, work, batch, later, skip)
    with target.write() as connection:
        # A clock that was set while they were written may have put an answer before what it answers.
        for said in work.said(connection, later):
            if not work.made_up(connection, said):
                skip(f"what {said.destination} said of {said.sop_instance}", "no such instance is known")
        work.close(connection)
    return many


def begun(data: layout.Data, database: db.Database, now: datetime.datetime) -> None:
    """Write down, once, what was held before there was forwarding: a rebuild must not send it either."""
    with database.read() as connection:
        if connection.execute(_BEGUN).first() is not None:
            return
    with database.write() as connection:
        before = connection.execute(_BEFORE).scalar() or ""
        data.ledger.mkdir(parents=True, exist_ok=True, mode=0o750)
        fact = {"kind": ledger.FORWARDING, "before": before, "at": words.moment(now)}
        ledger.append(data, [fact], sync=True)
        connection.execute(sqlalchemy.insert(tables.meta).values(name=replay.BEGUN, value=before))


_BEGUN = sqlalchemy.select(tables.meta.c.name).where(tables.meta.c.name == replay.BEGUN)
# An upgrade made it settled, and nobody wrote down why.
_BEFORE = (
    sqlalchemy.select(sqlalchemy.func.max(tables.series.c.last_arrival))
    .join(tables.study, tables.study.c.key == tables.series.c.study_key)
    .where(
        tables.series.c.revision > 0,
        ~sqlalchemy.select(tables.settlement.c.key)
        .where(
            tables.settlement.c.study == tables.study.c.study,
            tables.settlement.c.series == tables.series.c.series,
        )
        .exists(),
    )
)


def _facts(data: layout.Data) -> Iterator[_Event]:
    for fact in ledger.read(data):
        if not isinstance(fact, ledger.Damaged) and fact.get("kind") in replay.KINDS:
            yield str(fact.get("at", "")), fact


def _books(data: layout.Data, skip: Skip) -> list[Iterator[_Event]]:
    """One line of events for each worker: its books follow on each other."""
    found: dict[str, list[pathlib.Path]] = {}
    for path in book.every(data):
        worker = path.stem.partition("-")[2].rpartition("-")[0]
        found.setdefault(worker, []).append(path)
    return [_lines(paths, skip) for paths in found.values()]


def _lines(paths: list[pathlib.Path], skip: Skip) -> Iterator[_Event]:
    for path in paths:
        for said in book.read(path):
            if said is None:
                skip(f"a line of {path.name}", "cannot be read")
            else:
                yield words.moment(said.attempt.at), said


def _batches(events: Iterable[_Event]) -> Iterator[list[_Event]]:
    rest = iter(events)
    while batch := list(itertools.islice(rest, _BATCH)):
        yield batch


def _take_in(
    connection: sqlalchemy.Connection,
    work: replay.Replay,
    batch: list[_Event],
    later: list[book.Said],
    skip: Skip,
) -> None:
    """What follows on each other of one kind is taken in together."""
    for answers, group in itertools.groupby(batch, lambda event: isinstance(event[1], book.Said)):
        if answers:
            for said in work.said(connection, [one for _, one in group if isinstance(one, book.Said)]):
                if len(later) < _LATER:
                    later.append(said)
                else:
                    skip(f"what {said.destination} said of {said.sop_instance}", "nobody owed it that")
            continue
        for _, fact in group:
            if isinstance(fact, book.Said):
                continue
            try:
                work.fact(connection, fact)
            except (KeyError, TypeError, ValueError) as error:
                skip(f"a {fact['kind']} in the ledger", repr(error))
