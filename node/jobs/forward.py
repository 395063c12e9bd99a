"""What is held is sent on when the clock says so: what a query finds is owed, as by a route."""

from __future__ import annotations

import datetime
import threading
from collections.abc import Callable, Mapping, Sequence

import sqlalchemy

from node import errors, model, orders
from node.files import layout
from node.index import db, decisions, find, forwards, lanes, ledger
from node.index import witness as witnesses
from node.jobs import pull
from node.queue import bell, groups

_AT_ONCE = 50  # studies (series, instances) whose series are looked up together


def forward(
    data: layout.Data,
    database: db.Database,
    settings: model.Settings,
    schedule: model.Schedule,
    *,
    stop: threading.Event,
    tell: Callable[[str], None],
) -> str:
    """Owe the destinations of a schedule what they have not got of what matches its query."""
    rows, cut = _found(database, question(schedule))
    by_name = {group.name: group for group in settings.groups}
    targets = [by_name.get(name, name) for name in schedule.to]
    made = seen = series = 0
    for start in range(0, len(rows), _AT_ONCE):
        with database.read() as connection:
            found = list(forwards.below(connection, schedule.level, rows[start : start + _AT_ONCE]))
        for one in found:
            if stop.is_set():
                break
            series += 1
            seen += len(one.instances)
            made += _enqueue(data, database, schedule, targets, one, turn=series)
        tell(f"{seen} instances in {series} series looked at, {made} owed anew")
    words = f"{seen} instances in {series} series, {made} owed anew"
    return words + (", more than the limit" if cut else "")


def question(schedule: model.Schedule) -> model.Query:
    """The query of a schedule; raises UsageError where it says something that the index cannot match.

    A key that is not looked at would send everything.
    """
    day = pull.today(schedule.zone)
    asked: Mapping[str, str] = {
        ".".join(path): value for path, value in pull.terms(schedule.query, schedule.level, day).items()
    }
    query = model.Query(schedule.level, asked, limit=schedule.limit + 1, relational=True)
    planned = find.plan(query)
    ignored = [key for key in (*planned.unmatched, *planned.unknown) if key in asked]
    if ignored or not asked:
        raise errors.UsageError(
            f"schedule {schedule.name}: {', '.join(ignored) or 'an empty query'} is nothing that the index "
            "can look for; leave it out, or forward by a route instead"
        )
    return query


def _found(database: db.Database, query: model.Query) -> tuple[list[int], bool]:
    """The rows of what matches, and whether there is more than the limit."""
    assert query.limit is not None
    with database.read() as connection:
        rows = [match.key for match in find.find(connection, query)]
    return rows[: query.limit - 1], len(rows) == query.limit


def _enqueue(
    data: layout.Data,
    database: db.Database,
    schedule: model.Schedule,
    targets: Sequence[orders.Group | str],
    one: forwards.Series,
    *,
    turn: int,
) -> int:
    """Owe one series; how many of the targets get something of it."""
    if not schedule.again:
        with database.read() as connection:
            wanting = [target for target in targets if _lacking(connection, target, one)]
        if not wanting:
            return 0  # what most looks find, without the write lock
        targets = wanting
    now = datetime.datetime.now(datetime.UTC)
    made = 0
    with database.write() as connection:
        for target in targets:
            instances = one.instances if schedule.again else _lacking(connection, target, one)
            name = target.name if isinstance(target, orders.Group) else target
            if isinstance(target, orders.Group):
                name = groups.choose(target, lanes.lanes(connection), turn)
            order = ledger.Order(
                name,
                one.study,
                one.series,
                f"schedule {schedule.name}",
                one.revision,
                priority=schedule.priority,
                group=target.name if isinstance(target, orders.Group) else "",
            )
            witness = witnesses.Witness(data)
            key = ledger.enqueue(connection, order, instances, now, again=schedule.again, witness=witness)
            made += key is not None
    if made:
        bell.ring(data)
    return made


def _lacking(
    connection: sqlalchemy.Connection, target: orders.Group | str, one: forwards.Series
) -> list[tuple[int, str]]:
    """What of a series the target has not got; of a group one member is enough."""
    names = target.members if isinstance(target, orders.Group) else (target,)
    has = decisions.owed_or_done(connection, [key for key, _ in one.instances], names)
    return [(key, uid) for key, uid in one.instances if key not in has]
