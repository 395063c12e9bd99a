"""What a replay looks up to begin with a fact, and what it says of series and consignments in the end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy
from sqlalchemy import func

from node import orders
from node.index import bulk, outcomes, tables

_consignment, _settlement = tables.consignment.c, tables.settlement.c
_series, _study, _instance = tables.series.c, tables.study.c, tables.instance.c
_gone = tables.deletion.c


def resolved(connection: sqlalchemy.Connection, fact: Mapping[str, Any]) -> list[tuple[int, str]]:
    """Rows of the instances that a fact names, as they were then: held, or removed since."""
    found: list[tuple[int, str]] = []
    for chunk in bulk.chunks(list(fact["instances"])):
        rows: dict[str, int] = {}
        held = (
            sqlalchemy.select(_instance.sop_instance, _instance.key)
            .join(tables.series, _series.key == _instance.series_key)
            .join(tables.study, _study.key == _series.study_key)
            .where(
                _series.series == fact["series"],
                _study.study == fact["study"],
                _instance.sop_instance.in_(chunk),
            )
        )
        rows.update((row[0], row[1]) for row in connection.execute(held))
        gone = (
            sqlalchemy.select(_gone.sop_instance, _gone.target)
            .where(
                _gone.sop_instance.in_(chunk),
                _gone.kind == "instance",
                _gone.series == fact["series"],
                _gone.study == fact["study"],
                _gone.at >= fact["at"],
            )
            .order_by(_gone.at.desc())  # the first removal after it is what was meant
        )
        rows.update((row[0], row[1]) for row in connection.execute(gone))
        found += [(rows[uid], uid) for uid in dict.fromkeys(chunk) if uid in rows]
    return found


def count_as_settled(connection: sqlalchemy.Connection, before: str) -> None:
    """What was held before there was forwarding is not to be sent: it counts as settled."""
    older = (
        sqlalchemy.select(func.count())
        .where(_instance.series_key == _series.key, _instance.received <= before)
        .scalar_subquery()
    )
    connection.execute(
        sqlalchemy.update(tables.series)
        .where(_series.first_arrival <= before)
        .values(revision=1, settled_instances=older, settled_at=_series.last_arrival)
    )


def tell_series(connection: sqlalchemy.Connection) -> None:
    """Give each series the last revision that it was settled as."""
    newest = (
        sqlalchemy.select(_settlement.study, _settlement.series, func.max(_settlement.revision).label("last"))
        .where(_settlement.series != "")
        .group_by(_settlement.study, _settlement.series)
        .subquery()
    )
    statement = (
        sqlalchemy.select(
            _settlement.revision,
            _settlement.instances,
            _settlement.at,
            _series.key.label("series_key"),
        )
        .join(
            newest,
            sqlalchemy.and_(
                newest.c.study == _settlement.study,
                newest.c.series == _settlement.series,
                newest.c.last == _settlement.revision,
            ),
        )
        .join(tables.study, _study.study == _settlement.study)
        .join(
            tables.series,
            sqlalchemy.and_(_series.study_key == _study.key, _series.series == _settlement.series),
        )
    )
    for row in connection.execute(statement).all():
        values = {"revision": row.revision, "settled_instances": row.instances, "settled_at": row.at}
        connection.execute(
            sqlalchemy.update(tables.series).where(_series.key == row.series_key).values(values)
        )


def give_reasons(connection: sqlalchemy.Connection) -> None:
    """Say of what was given up why, as the end of its claim said it."""
    statement = sqlalchemy.select(_consignment.key, _consignment.dead, _consignment.total).where(
        sqlalchemy.text("dead > 0"), _consignment.state == orders.State.DEAD.value, _consignment.error == ""
    )
    for key, dead, total in connection.execute(statement).all():
        reason = bulk.run(connection, outcomes.REASON, key).scalar()
        values = (f"{dead} of {total} were given up: {reason}", key)
        bulk.many(connection, "UPDATE consignment SET error = ? WHERE key = ?", [values])
