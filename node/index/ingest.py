"""Acknowledged instances become rows, many a transaction; running the same batch again changes nothing.

The caller (node/adopt.py) works in one `database.write()` scope per batch:
`decide`, then put the bytes where the verdicts say, then `record`.
"""

from __future__ import annotations

import dataclasses
import datetime
import functools
from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy
from sqlalchemy import bindparam

from node import model
from node.dicom import header
from node.index import hierarchy, keys, tables, words

_Row = dict[str, Any]
_Identity = tuple[str, str, str]  # SOP Instance, Series and Study UID


@dataclasses.dataclass(frozen=True, slots=True)
class Item:
    """One acknowledged instance as the adopter read it from the journal."""

    arrival: model.Arrival  # who, what, when, from where
    header: (
        header.Header | None
    )  # what the rows say about it; None: it could not be read, only the UIDs are known
    slot: str  # the journal it was acknowledged from, e.g. "listen-1"
    generation: int  # which use of the journal's segment
    position: int  # where in that generation; (slot, generation, position) names the arrival for ever
    action: model.Action = model.Action.KEEP  # what the rules at receipt said
    rule: str = ""  # name of the rule that said so; "" when none matched
    reason: str = ""  # in words, for discard and quarantine
    keep: float | None = None  # seconds that a rule keeps it; None: the default policy
    coercion: str = (
        ""  # digest of the steps through which `header` reads, and it is presented; "": as it came
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Decided:
    """What becomes of an item; `record` writes it down."""

    item: Item
    verdict: model.Verdict
    replayed: bool = False  # its arrival row is there already: write the file again, the rows stand
    held: str | None = None  # digest of the instance that is held, for DUPLICATE and CONFLICT
    gone: bool = False  # replayed, and removed on purpose since: no file is due
    repair: bool = False  # a DUPLICATE of an instance whose file is damaged: with a `path` it is whole again
    path: str = ""  # filled in by the caller: place below the store's root, "" when no file was written
    offset: int = 0  # filled in by the caller: where the data set starts in that file

    @property
    def file_due(self) -> bool:
        """Whether the bytes must be put into a file."""
        if self.gone:
            return False
        return self.repair or self.verdict in _WITH_FILE


_WITH_FILE = frozenset({model.Verdict.STORED, model.Verdict.CONFLICT, model.Verdict.QUARANTINED})


@dataclasses.dataclass(frozen=True, slots=True)
class Recorded:
    """What `record` did, for the log and the counters of the process."""

    verdicts: dict[model.Verdict, int]  # how many of each, replayed ones left out
    new_series: tuple[str, ...]  # Series Instance UIDs that were not held before
    mixed_studies: tuple[str, ...]  # studies that got an instance naming another patient than theirs


# What was recorded at these places of a journal.
_KNOWN = sqlalchemy.select(
    tables.arrival.c.position, tables.arrival.c.verdict, tables.arrival.c.rule, tables.arrival.c.reason
).where(
    tables.arrival.c.slot == bindparam("slot"),
    tables.arrival.c.generation == bindparam("generation"),
    tables.arrival.c.position.between(bindparam("low"), bindparam("high")),
)
# What is held under these SOP Instance UIDs in these series.
_HELD = (
    sqlalchemy.select(
        tables.instance.c.sop_instance,
        tables.series.c.series,
        tables.study.c.study,
        tables.instance.c.digest,
        tables.instance.c.state,
        tables.instance.c.coercion,
        tables.instance.c.key,
    )
    .join(tables.series, tables.series.c.key == tables.instance.c.series_key)
    .join(tables.study, tables.study.c.key == tables.series.c.study_key)
    .where(
        tables.series.c.series.in_(bindparam("series_uids", expanding=True)),
        tables.instance.c.sop_instance.in_(bindparam("uids", expanding=True)),
    )
)
_REPAIR = (
    sqlalchemy.update(tables.instance)
    .where(tables.instance.c.key == bindparam("which"))
    .values(
        state=model.Held.HELD.value,
        path=bindparam("new_path"),
        offset=bindparam("new_offset"),
        syntax=bindparam("new_syntax"),
    )
)


_ASIDE = {model.Verdict.CONFLICT: tables.conflict, model.Verdict.QUARANTINED: tables.quarantine}


def decide(connection: sqlalchemy.Connection, items: Sequence[Item]) -> list[Decided]:
    """One verdict per item, in order, from what is held and from what stands earlier in the batch.

    Where `file_due`, the bytes belong in a file: in the store for STORED, and for a DUPLICATE with `repair`;
    beside the first, digest in its name, for CONFLICT; in quarantine for QUARANTINED. The same verdict comes
    back for an item that was recorded before (`replayed`), so that a file that a power loss took is
    written again.
    """
    keys.lock(connection)
    known = _known(connection, items)
    held = {identity: first[:3] for identity, first in _held(connection, items).items()}
    decided = [_verdict(item, known, held) for item in items]
    return [_check_aside(connection, one) if one.replayed else one for one in decided]


def _verdict(
    item: Item,
    known: dict[tuple[str, int, int], tuple[str, str, str]],
    held: dict[_Identity, tuple[str, str, str]],
) -> Decided:
    identity = _identity(item.arrival.identity)
    digest = item.arrival.digest
    first, state, coercion = held.get(identity, (None, "", ""))
    before = known.get((item.slot, item.generation, item.position))
    if before is not None:
        verdict = model.Verdict(before[0])
        # The rules may be others by now: the file is to say again what the rows have said since.
        same = item.rule == before[1]
        item = dataclasses.replace(
            item,
            rule=before[1],
            reason=before[2],
            keep=item.keep if same else None,
            coercion=coercion if first == digest else "",
        )
        gone = verdict is model.Verdict.STORED and first != digest
        repair = verdict is model.Verdict.DUPLICATE and first == digest and state != model.Held.HELD
        return Decided(item, verdict, replayed=True, held=first, gone=gone, repair=repair)
    if item.action is model.Action.DISCARD:
        return Decided(item, model.Verdict.DISCARDED)
    if item.action is model.Action.QUARANTINE:
        return Decided(item, model.Verdict.QUARANTINED)
    if first is None:
        held[identity] = (digest, model.Held.HELD, item.coercion)
        return Decided(item, model.Verdict.STORED)
    if first == digest:
        # A file that it makes whole again is presented as the rows have it.
        item = dataclasses.replace(item, coercion=coercion)
        return Decided(item, model.Verdict.DUPLICATE, held=first, repair=state != model.Held.HELD)
    return Decided(dataclasses.replace(item, coercion=""), model.Verdict.CONFLICT, held=first)


def _check_aside(connection: sqlalchemy.Connection, one: Decided) -> Decided:
    """A replayed conflict or quarantined instance may have been released or removed since."""
    table = _ASIDE.get(one.verdict)
    if table is None:
        return one
    arrival = one.item.arrival
    statement = sqlalchemy.select(table.c.key).where(
        table.c.sop_instance == arrival.identity.sop_instance,
        table.c.series == arrival.identity.series,
        table.c.study == arrival.identity.study,
        table.c.digest == arrival.digest,
    )
    gone = connection.execute(statement).first() is None
    return dataclasses.replace(one, gone=gone)


def _known(
    connection: sqlalchemy.Connection, items: Sequence[Item]
) -> dict[tuple[str, int, int], tuple[str, str, str]]:
    """Verdict, rule and reason of what was recorded before."""
    spans: dict[tuple[str, int], list[int]] = {}
    for item in items:
        spans.setdefault((item.slot, item.generation), []).append(item.position)
    found: dict[tuple[str, int, int], tuple[str, str, str]] = {}
    for (slot, generation), positions in spans.items():
        # A batch is a stretch of the journal, so a range finds no more than the single places would.
        span = {"slot": slot, "generation": generation, "low": min(positions), "high": max(positions)}
        for position, verdict, rule, reason in connection.execute(_KNOWN, span):
            found[slot, generation, position] = (verdict, rule, reason)
    return found


def _held(
    connection: sqlalchemy.Connection, items: Sequence[Item]
) -> dict[_Identity, tuple[str, str, str, int]]:
    """Digest, state, coercion and key of what is held under these identities."""
    uids = list({item.arrival.identity.sop_instance: None for item in items})
    series = list({item.arrival.identity.series: None for item in items})
    rows = connection.execute(_HELD, {"uids": uids, "series_uids": series})
    return {(row[0], row[1], row[2]): (row[3], row[4], row[5], row[6]) for row in rows}


def _identity(identity: model.Identity) -> _Identity:
    return identity.sop_instance, identity.series, identity.study


def record(connection: sqlalchemy.Connection, decided: Sequence[Decided]) -> Recorded:
    """Insert the rows and move the counters; replayed items are passed over."""
    keys.lock(connection)
    fresh = [one for one in decided if not one.replayed]
    by_verdict: dict[model.Verdict, list[Decided]] = {}
    for one in fresh:
        by_verdict.setdefault(one.verdict, []).append(one)
    stored = by_verdict.get(model.Verdict.STORED, [])
    new_series, mixed, targets = _store(connection, stored)
    others = [*by_verdict.get(model.Verdict.DUPLICATE, ()), *by_verdict.get(model.Verdict.CONFLICT, ())]
    if others:
        held = _held(connection, [one.item for one in others])
        firsts = {identity: first[3] for identity, first in held.items()}
        targets |= {id(one): firsts.get(_identity(one.item.arrival.identity), 0) for one in others}
    if conflicts := by_verdict.get(model.Verdict.CONFLICT):
        targets |= _set_aside(connection, tables.conflict, conflicts, targets)
    if quarantined := by_verdict.get(model.Verdict.QUARANTINED):
        targets |= _set_aside(connection, tables.quarantine, quarantined, targets)
    _repair(connection, [one for one in decided if one.repair and one.path])
    _insert(connection, tables.arrival, [arrival_row(one, targets.get(id(one))) for one in fresh])
    return Recorded({verdict: len(of) for verdict, of in by_verdict.items()}, new_series, mixed)


def _store(
    connection: sqlalchemy.Connection, stored: list[Decided]
) -> tuple[tuple[str, ...], tuple[str, ...], dict[int, int]]:
    if not stored:
        return (), (), {}
    groups: dict[tuple[str, str], list[Decided]] = {}
    for one in sorted(stored, key=_received):
        identity = one.item.arrival.identity
        groups.setdefault((identity.study, identity.series), []).append(one)
    tree = hierarchy.Tree(connection, groups)
    first_key = key = keys.take(connection, "instance", len(stored))
    targets: dict[int, int] = {}
    rows: list[_Row] = []
    references: list[_Row] = []
    for place, ones in groups.items():
        series = tree.series(place, ones[0].item)
        for one in ones:
            row = _instance_row(one, key, series)
            tree.count(place, one.item, row["frames"], row["received"])
            rows.append(row)
            if one.item.header is not None and one.item.header.references:
                references += _reference_rows(key, one.item.header.references)
            targets[id(one)] = key
            key += 1
    assert key - first_key == len(stored)
    tree.write()
    _insert(connection, tables.instance, rows)
    _insert(connection, tables.reference, references)
    tree.settle()
    return tree.new_series, tree.mixed_studies, targets


def _received(one: Decided) -> datetime.datetime:
    return one.item.arrival.received


def _instance_row(one: Decided, key: int, series_key: int) -> _Row:
    item = one.item
    arrival = item.arrival
    known = item.header if item.header is not None else hierarchy.NOTHING
    return {
        "key": key,
        "series_key": series_key,
        "sop_instance": arrival.identity.sop_instance,
        "sop_hash": words.uid_hash(arrival.identity.sop_instance),
        "sop_class": arrival.identity.sop_class,
        "instance_number": words.number(known.instance_number),
        "acquisition_number": words.number(known.acquisition_number),
        "content_date": known.content_date,
        "content_time": known.content_time,
        "acquisition_date": known.acquisition_date,
        "acquisition_time": known.acquisition_time,
        "image_type": words.joined(known.image_type),
        "rows": words.number(known.rows),
        "columns": words.number(known.columns),
        "samples_per_pixel": words.number(known.samples_per_pixel),
        "photometric": words.clean(known.photometric),
        "bits_allocated": words.number(known.bits_allocated),
        "bits_stored": words.number(known.bits_stored),
        "pixel_representation": words.number(known.pixel_representation),
        "frames": max(words.number(known.frames) or 1, 1),
        "frame_of_reference": words.clean(known.frame_of_reference),
        "image_position": words.numbers(known.image_position),
        "image_orientation": words.numbers(known.image_orientation),
        "pixel_spacing": words.numbers(known.pixel_spacing),
        "slice_location": known.slice_location,
        "slice_thickness": known.slice_thickness,
        "spacing_between_slices": known.spacing_between_slices,
        "temporal_position": words.number(known.temporal_position),
        "trigger_time": known.trigger_time,
        "echo_time": known.echo_time,
        "content_label": words.clean(known.content_label),
        "content_description": words.clean(known.content_description),
        "completion_flag": words.clean(known.completion_flag),
        "verification_flag": words.clean(known.verification_flag),
        "syntax": arrival.syntax,
        "digest": arrival.digest,
        "path": one.path,
        "offset": one.offset,
        "size": arrival.size,
        "received": words.moment(arrival.received),
        "source": words.clean(arrival.calling),
        "peer": arrival.peer,
        "rule": item.rule,
        "state": "held",
        "coercion": item.coercion,
    }


def arrival_row(one: Decided, target: int | None) -> _Row:
    """The row that says that an instance was acknowledged, and what accounts for it."""
    item = one.item
    arrival = item.arrival
    identity = arrival.identity
    return {
        "slot": item.slot,
        "generation": item.generation,
        "position": item.position,
        "received": words.moment(arrival.received),
        "association": arrival.association,
        "calling": words.clean(arrival.calling),
        "called": words.clean(arrival.called),
        "address": arrival.address,
        "peer": arrival.peer,
        "study": identity.study,
        "series": identity.series,
        "sop_instance": identity.sop_instance,
        "digest": arrival.digest,
        "size": arrival.size,
        "verdict": one.verdict.value,
        "rule": item.rule,
        "reason": item.reason,
        "target": target,
    }


def _reference_rows(key: int, references: Iterable[header.Reference]) -> list[_Row]:
    return [
        {
            "instance_key": key,
            "position": position,
            "sop_class": words.clean(to.sop_class),
            "sop_instance": (uid := words.clean(to.sop_instance) or ""),
            "sop_hash": words.uid_hash(uid),
            "series": words.clean(to.series),
            "frames": words.joined(map(str, to.frames)) or "",
        }
        for position, to in enumerate(references)
    ]


def _repair(connection: sqlalchemy.Connection, ones: Sequence[Decided]) -> None:
    if not ones:
        return
    held = _held(connection, [one.item for one in ones])
    rows = [
        {
            "which": held[_identity(one.item.arrival.identity)][3],
            "new_path": one.path,
            "new_offset": one.offset,
            "new_syntax": one.item.arrival.syntax,
        }
        for one in ones
    ]
    connection.execute(_REPAIR, rows)


def _set_aside(
    connection: sqlalchemy.Connection,
    table: sqlalchemy.Table,
    ones: Sequence[Decided],
    firsts: dict[int, int],
) -> dict[int, int]:
    """Rows of conflict or quarantine: the same bytes under the same UIDs have one, always."""
    columns = table.c
    statement = sqlalchemy.select(
        columns.sop_instance, columns.series, columns.study, columns.digest, columns.key
    ).where(columns.sop_instance.in_(bindparam("uids", expanding=True)))
    uids = list({one.item.arrival.identity.sop_instance: None for one in ones})
    present: dict[tuple[str, ...], int] = {
        tuple(row[:4]): row[4] for row in connection.execute(statement, {"uids": uids})
    }
    rows: list[_Row] = []
    targets: dict[int, int] = {}
    for one in ones:
        arrival = one.item.arrival
        name = (*_identity(arrival.identity), arrival.digest)
        if name not in present:
            present[name] = keys.take(connection, table.name)
            rows.append(_aside_row(table, one, present[name], firsts.get(id(one))))
        targets[id(one)] = present[name]
    _insert(connection, table, rows)
    return targets


def _aside_row(table: sqlalchemy.Table, one: Decided, key: int, first: int | None) -> _Row:
    arrival = one.item.arrival
    row: _Row = {
        "key": key,
        "study": arrival.identity.study,
        "series": arrival.identity.series,
        "sop_instance": arrival.identity.sop_instance,
        "sop_class": arrival.identity.sop_class,
        "syntax": arrival.syntax,
        "digest": arrival.digest,
        "path": one.path,
        "offset": one.offset,
        "size": arrival.size,
        "received": words.moment(arrival.received),
        "source": words.clean(arrival.calling),
        "peer": arrival.peer,
    }
    if table is tables.conflict:
        return row | {"instance_key": first}
    return row | {"rule": one.item.rule, "reason": one.item.reason}


def _insert(connection: sqlalchemy.Connection, table: sqlalchemy.Table, rows: list[_Row]) -> None:
    """Many rows of the same columns, past SQLAlchemy's parameters, which would cost half of all the time."""
    if rows:
        sql = _statement(table, tuple(rows[0]), connection.dialect)
        connection.exec_driver_sql(sql, [tuple(row.values()) for row in rows])


@functools.lru_cache(maxsize=32)
def _statement(table: sqlalchemy.Table, names: tuple[str, ...], dialect: sqlalchemy.Dialect) -> str:
    mark = "?" if dialect.paramstyle == "qmark" else "%s"
    columns = ", ".join(map(dialect.identifier_preparer.quote, names))
    return f"INSERT INTO {table.name} ({columns}) VALUES ({', '.join([mark] * len(names))})"  # noqa: S608 - our own names
