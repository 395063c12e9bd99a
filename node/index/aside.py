"""What was set aside for a person to decide: conflicts, and instances in quarantine."""

from __future__ import annotations

import dataclasses
import datetime
import enum
from typing import Any

import sqlalchemy

from node import model
from node.index import tables, words


class Kind(enum.StrEnum):
    """Why something was set aside; the names are those of the tables."""

    CONFLICT = "conflict"  # its UIDs were held with other bytes
    QUARANTINE = "quarantine"  # a rule at receipt said so


TABLES = {Kind.CONFLICT: tables.conflict, Kind.QUARANTINE: tables.quarantine}


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """One data set that was set aside."""

    kind: Kind  # why
    key: int  # its row
    study: str  # Study Instance UID
    series: str  # Series Instance UID
    sop_instance: str  # SOP Instance UID
    sop_class: str  # SOP Class UID
    syntax: str  # transfer syntax UID on disk
    digest: str  # of its data set
    held: str | None  # digest of what is in the store under the same UIDs; None: nothing is
    path: str  # its file, below the data directory
    offset: int  # where the data set starts in it
    size: int  # of the data set
    received: datetime.datetime  # when it came, UTC
    source: str  # AE title it came from
    peer: str  # configured name of the sender
    rule: str  # the rule that put it into quarantine
    reason: str  # in that rule's words

    @property
    def instance(self) -> model.Instance:
        """The word for it that whoever verifies bytes works with."""
        identity = model.Identity(self.sop_class, self.sop_instance, self.study, self.series)
        return model.Instance(
            identity,
            self.syntax,
            self.digest,
            self.path,
            self.offset,
            self.size,
            1,
            self.received,
            self.source,
        )


# What is held under exactly these study, series and SOP Instance UIDs.
_FIRST = (
    sqlalchemy.select(tables.instance.c.key, tables.instance.c.digest, tables.instance.c.state)
    .join(tables.series, tables.series.c.key == tables.instance.c.series_key)
    .join(tables.study, tables.study.c.key == tables.series.c.study_key)
    .where(
        tables.instance.c.sop_instance == sqlalchemy.bindparam("uid"),
        tables.series.c.series == sqlalchemy.bindparam("series_uid"),
        tables.study.c.study == sqlalchemy.bindparam("study_uid"),
    )
)


@dataclasses.dataclass(frozen=True, slots=True)
class First:
    """The instance that is in the store under the UIDs of an entry."""

    key: int  # its row
    digest: str  # of its data set
    state: model.Held  # how it stands with its bytes


def first(connection: sqlalchemy.Connection, study: str, series: str, sop_instance: str) -> First | None:
    """What is in the store under these UIDs."""
    uids = {"uid": sop_instance, "series_uid": series, "study_uid": study}
    row = connection.execute(_FIRST, uids).first()
    return None if row is None else First(row.key, row.digest, model.Held(row.state))


def each(connection: sqlalchemy.Connection, kind: Kind, after: int = 0, limit: int = 1000) -> list[Entry]:
    """Entries of one kind by their keys, oldest first, page by page."""
    columns = TABLES[kind].c
    statement = sqlalchemy.select(TABLES[kind]).where(columns.key > after).order_by(columns.key).limit(limit)
    return [_entry(connection, kind, row) for row in connection.execute(statement).mappings().all()]


def named(connection: sqlalchemy.Connection, uid: str, digest: str = "") -> list[Entry]:
    """Entries of an instance, or of all of a series or study, whose digests begin with `digest`."""
    # First by the column that has an index: whoever holds files against rows asks for each of them.
    for names in (("sop_instance",), ("series", "study")):
        found: list[Entry] = []
        for kind, table in TABLES.items():
            statement = (
                sqlalchemy.select(table)
                .where(
                    sqlalchemy.or_(*(table.c[name] == uid for name in names)),
                    table.c.digest.startswith(digest, autoescape=True),
                )
                .order_by(table.c.key)
            )
            rows = connection.execute(statement).mappings().all()
            found += [_entry(connection, kind, row) for row in rows]
        if found:
            return found
    return []


def counts(connection: sqlalchemy.Connection) -> dict[Kind, int]:
    """How many there are of each kind."""
    return {
        kind: connection.execute(sqlalchemy.select(sqlalchemy.func.count()).select_from(table)).scalar_one()
        for kind, table in TABLES.items()
    }


def _entry(connection: sqlalchemy.Connection, kind: Kind, row: Any) -> Entry:
    held = first(connection, row["study"], row["series"], row["sop_instance"])
    return Entry(
        kind=kind,
        key=row["key"],
        study=row["study"],
        series=row["series"],
        sop_instance=row["sop_instance"],
        sop_class=row["sop_class"],
        syntax=row["syntax"],
        digest=row["digest"],
        held=None if held is None else held.digest,
        path=row["path"],
        offset=row["offset"],
        size=row["size"],
        received=words.when(row["received"]),
        source=row["source"],
        peer=row["peer"],
        rule=row.get("rule", ""),
        reason=row.get("reason", ""),
    )
