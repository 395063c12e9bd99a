"""Rows that a rebuild makes from facts that no file carries: deletions, names, orders, commitments."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import sqlalchemy

from node import model
from node.index import db, ingest, keys, overrides, remove, tables

# With keys of their own that nothing of the tree knows; (table, the counter of its keys).
_CARRIED: tuple[tuple[sqlalchemy.Table, str | None], ...] = (
    (tables.commitment, "commitment"),
    (tables.commitment_item, None),
    (tables.progress, None),
    (tables.lane, None),
    (tables.worklist_entry, "worklist_entry"),
    (tables.performed_step, "performed_step"),
    (tables.performed_schedule, None),
    (tables.performed_series, None),
)


@dataclasses.dataclass(frozen=True, slots=True)
class Deleted:
    """A removal and the arrival that it undid."""

    removed: remove.Removed  # as it was written down; its key is given anew
    arrival: ingest.Decided | None  # the arrival of the file that went; None: it could not be read any more
    file_left: bool = False  # its file may still be there: `remove.doomed` finds it


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
                "file_removed": not one.file_left,
            }
        )
        if one.arrival is not None:
            arrivals.append(ingest.arrival_row(one.arrival, target))
    connection.execute(sqlalchemy.insert(tables.deletion), rows)
    if arrivals:
        connection.execute(sqlalchemy.insert(tables.arrival), arrivals)


def arrivals(connection: sqlalchemy.Connection, ones: Sequence[ingest.Decided]) -> list[ingest.Decided]:
    """Write arrivals that have no file of their own; those that nothing accounts for come back."""
    lost = []
    rows = []
    for one in ones:
        target = None
        if one.verdict is not model.Verdict.DISCARDED:
            target = _target(connection, one)
            if target is None:
                lost.append(one)
                continue
        rows.append(ingest.arrival_row(one, target))
    if rows:
        connection.execute(sqlalchemy.insert(tables.arrival), rows)
    return lost


_KINDS = {
    model.Verdict.DUPLICATE: tables.instance,
    model.Verdict.CONFLICT: tables.conflict,
    model.Verdict.QUARANTINED: tables.quarantine,
}


def _target(connection: sqlalchemy.Connection, one: ingest.Decided) -> int | None:
    """What holds the bytes of an arrival, or the removal that says what held them."""
    table = _KINDS[one.verdict]
    arrival = one.item.arrival
    identity = arrival.identity
    held = sqlalchemy.select(table.c.key).where(
        table.c.sop_instance == identity.sop_instance, table.c.digest == arrival.digest
    )
    if table is tables.instance:
        held = (
            held.join(tables.series, tables.series.c.key == tables.instance.c.series_key)
            .join(tables.study, tables.study.c.key == tables.series.c.study_key)
            .where(tables.series.c.series == identity.series, tables.study.c.study == identity.study)
        )
    else:
        held = held.where(table.c.series == identity.series, table.c.study == identity.study)
    gone = tables.deletion.c
    removed = (
        sqlalchemy.select(gone.target)
        .where(
            gone.sop_instance == identity.sop_instance,
            gone.series == identity.series,
            gone.study == identity.study,
            gone.digest == arrival.digest,
            gone.kind == table.name,
        )
        .order_by(gone.key)
    )
    for statement in (held, removed):
        key = connection.execute(statement).scalar()
        if key is not None:
            return int(key)
    return None


def committed(connection: sqlalchemy.Connection, removed: remove.Removed) -> bool:
    """Whether an index says that this removal came about; the ledger has those too that broke off."""
    gone = tables.deletion.c
    same = [
        gone[field.name] == getattr(removed, field.name)
        for field in dataclasses.fields(removed)
        if field.name != "deletion"
    ]
    return connection.execute(sqlalchemy.select(gone.key).where(*same)).first() is not None


def carry(old: db.Database, new: db.Database) -> None:
    """Take over what only the index knew for certain, in the place of what the ledger says of it.

    That is names and orders given here, commitments, where jobs resume, the worklist, and performed steps.
    """
    overrides.carry(old, new)
    with old.read() as source, new.write() as target:
        known = set(sqlalchemy.inspect(source).get_table_names())
        carried = [
            one for one in _CARRIED if one[0].name in known
        ]  # the old index may be of an older revision
        for table, _ in reversed(carried):
            target.execute(sqlalchemy.delete(table))
        for table, counter in carried:
            rows = [dict(row) for row in source.execute(sqlalchemy.select(table)).mappings()]
            if rows:
                target.execute(sqlalchemy.insert(table), rows)
            if counter:
                keys.reach(target, counter, max((row["key"] for row in rows), default=0))
        # Where the router stood is a row of an instance, and these have other keys now.
        target.execute(sqlalchemy.delete(tables.progress).where(tables.progress.c.job == "router"))
