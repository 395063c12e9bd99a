"""Rows that a rebuild makes from facts that no file carries: deletions, and what was deleted."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import sqlalchemy

from node import model
from node.index import db, ingest, keys, remove, tables

_CARRIED = (tables.commitment, tables.commitment_item, tables.progress)


@dataclasses.dataclass(frozen=True, slots=True)
class Deleted:
    """A removal and the arrival that it undid."""

    removed: remove.Removed  # as it was written down; its key is given anew
    arrival: ingest.Decided | None  # the arrival of the file that went; None: it could not be read any more


_COLUMNS = tuple(field.name for field in dataclasses.fields(remove.Removed) if field.name != "deletion")


def removals(connection: sqlalchemy.Connection, dues: Sequence[int]) -> dict[int, remove.Removed]:
    """The removals behind these keys of `remove.doomed`, for the ledger."""
    gone = tables.deletion.c
    rows = connection.execute(sqlalchemy.select(tables.deletion).where(gone.key.in_(dues))).mappings()
    return {
        row["key"]: remove.Removed(
            deletion=row["key"],
            kind=row["kind"],
            study=row["study"],
            series=row["series"],
            sop_instance=row["sop_instance"],
            digest=row["digest"],
            size=row["size"],
            path=row["path"],
            at=row["at"],
            who=row["who"],
            why=row["why"],
        )
        for row in rows
    }


def deletions(connection: sqlalchemy.Connection, ones: Sequence[Deleted]) -> None:
    """Write removals and what they undid, with keys that no row has any more."""
    if not ones:
        return
    keys.lock(connection)
    first = keys.take(connection, "deletion", len(ones))
    rows, arrivals = [], []
    for number, one in enumerate(ones):
        removed = one.removed
        target = keys.take(connection, removed.kind)
        rows.append(
            {
                **{
                    f.name: getattr(removed, f.name)
                    for f in dataclasses.fields(removed)
                    if f.name != "deletion"
                },
                "key": first + number,
                "target": target,
                "file_removed": True,
            }
        )
        if one.arrival is not None:
            arrivals.append(ingest.arrival_row(one.arrival, target))
    connection.execute(sqlalchemy.insert(tables.deletion), rows)
    if arrivals:
        connection.execute(sqlalchemy.insert(tables.arrival), arrivals)


def duplicate_of_deleted(connection: sqlalchemy.Connection, one: ingest.Decided) -> bool:
    """Write the arrival of a duplicate whose first was deleted since; False when no deletion says so."""
    gone = tables.deletion.c
    identity = one.item.arrival.identity
    target = connection.execute(
        sqlalchemy.select(gone.target)
        .where(
            gone.sop_instance == identity.sop_instance,
            gone.series == identity.series,
            gone.study == identity.study,
            gone.digest == one.item.arrival.digest,
            gone.kind == "instance",
        )
        .order_by(gone.key)
    ).scalar()
    if target is None:
        return False
    duplicate = dataclasses.replace(one, verdict=model.Verdict.DUPLICATE)
    connection.execute(sqlalchemy.insert(tables.arrival), [ingest.arrival_row(duplicate, target)])
    return True


def carry(old: db.Database, new: db.Database) -> None:
    """Take over what only the index knew: open commitments, and where long jobs resume."""
    with old.read() as source, new.write() as target:
        for table in _CARRIED:
            rows = [dict(row) for row in source.execute(sqlalchemy.select(table)).mappings()]
            if rows:
                target.execute(sqlalchemy.insert(table), rows)
        last = source.execute(sqlalchemy.select(sqlalchemy.func.max(tables.commitment.c.key))).scalar()
        if last:
            keys.take(target, "commitment", last)
