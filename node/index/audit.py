"""The proof that every acknowledged instance is accounted for: each arrival leads to a row that has it."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Iterator
from typing import Any

import sqlalchemy
from sqlalchemy import func

from node import model, orders
from node.index import tables

_arrival = tables.arrival.c
_gone = tables.deletion.c


@dataclasses.dataclass(frozen=True, slots=True)
class Unaccounted:
    """An instance that was answered with success and that nothing accounts for."""

    slot: str  # the journal it was acknowledged from
    generation: int  # which use of the journal's segment
    position: int  # where in it
    received: str  # when
    calling: str  # who sent it
    association: str  # on which association
    study: str  # Study Instance UID
    series: str  # Series Instance UID
    sop_instance: str  # SOP Instance UID
    digest: str  # over what was acknowledged
    verdict: str  # what was said to have become of it
    why: str  # in words, what is missing


@dataclasses.dataclass(frozen=True, slots=True)
class Forgotten:
    """An instance that should have gone somewhere and did not, and that nobody will send any more."""

    study: str  # Study Instance UID
    series: str  # Series Instance UID
    sop_instance: str  # SOP Instance UID
    destination: str  # where it should have gone; "": where the routes sent its series
    why: str  # in words, what is missing


_FIELDS = (
    _arrival.slot,
    _arrival.generation,
    _arrival.position,
    _arrival.received,
    _arrival.calling,
    _arrival.association,
    _arrival.study,
    _arrival.series,
    _arrival.sop_instance,
    _arrival.digest,
    _arrival.verdict,
)


def counts(connection: sqlalchemy.Connection) -> dict[str, int]:
    """How many arrivals there are of each verdict."""
    statement = sqlalchemy.select(_arrival.verdict, func.count()).group_by(_arrival.verdict)
    return {row[0]: row[1] for row in connection.execute(statement)}


def unaccounted(connection: sqlalchemy.Connection) -> Iterator[Unaccounted]:
    """Every arrival that is not stored, a conflict, quarantined, discarded by a named rule, or deleted.

    One whose file is known to be corrupt or missing is listed too: what was acknowledged is not there.
    """
    yield from _held(connection)
    yield from _aside(connection, model.Verdict.CONFLICT, tables.conflict)
    yield from _aside(connection, model.Verdict.QUARANTINED, tables.quarantine)
    discarded = sqlalchemy.select(*_FIELDS).where(
        _arrival.verdict == model.Verdict.DISCARDED.value, _arrival.rule == ""
    )
    for row in _streamed(connection, discarded):
        yield Unaccounted(*[*row, "it was discarded and no rule is named"])
    known = [verdict.value for verdict in model.Verdict]
    for row in _streamed(connection, sqlalchemy.select(*_FIELDS).where(_arrival.verdict.not_in(known))):
        yield Unaccounted(*[*row, "its verdict is none that this program knows"])


def _held(connection: sqlalchemy.Connection) -> Iterator[Unaccounted]:
    instance = tables.instance.c
    whole = sqlalchemy.and_(
        instance.sop_instance == _arrival.sop_instance,
        instance.digest == _arrival.digest,
        instance.state == model.Held.HELD.value,
    )
    statement = (
        sqlalchemy.select(*_FIELDS, instance.key, instance.state, instance.digest.label("held"))
        .select_from(
            tables.arrival.outerjoin(tables.instance, instance.key == _arrival.target).outerjoin(
                tables.deletion, sqlalchemy.and_(_gone.kind == "instance", _gone.target == _arrival.target)
            )
        )
        .where(
            _arrival.verdict.in_([model.Verdict.STORED.value, model.Verdict.DUPLICATE.value]),
            _gone.key.is_(None),
            sqlalchemy.or_(instance.key.is_(None), sqlalchemy.not_(whole)),
        )
    )
    for row in _streamed(connection, statement):
        *fields, key, state, held = row
        if key is None:
            why = "no instance and no deletion accounts for it"
        elif held != row.digest:
            why = f"what is held under its name has the digest {held}"
        elif state != model.Held.HELD.value:
            why = f"its file is {state}"
        else:
            why = "the row that should hold it is another instance's"
        yield Unaccounted(*[*fields, why])


def _aside(
    connection: sqlalchemy.Connection, verdict: model.Verdict, table: sqlalchemy.Table
) -> Iterator[Unaccounted]:
    kept = sqlalchemy.and_(table.c.key == _arrival.target, table.c.digest == _arrival.digest)
    deleted = sqlalchemy.and_(_gone.kind == table.name, _gone.target == _arrival.target)
    statement = (
        sqlalchemy.select(*_FIELDS)
        .select_from(tables.arrival.outerjoin(table, kept).outerjoin(tables.deletion, deleted))
        .where(_arrival.verdict == verdict.value, table.c.key.is_(None), _gone.key.is_(None))
    )
    for row in _streamed(connection, statement):
        yield Unaccounted(*[*row, f"no row of {table.name} and no deletion accounts for it"])


def forgotten(connection: sqlalchemy.Connection) -> Iterator[Forgotten]:
    """Every held instance of a settled series that no destination has or is owed, though its routes name one.

    And every delivery that is owed in a consignment that is closed: no lane ever comes to it.
    """
    yield from _unsent(connection)
    consignment, delivery = tables.consignment.c, tables.delivery.c
    closed = (
        sqlalchemy.select(
            consignment.study,
            consignment.series,
            delivery.sop_instance,
            delivery.destination,
            consignment.state,
        )
        .select_from(
            tables.delivery.outerjoin(tables.consignment, consignment.key == delivery.consignment_key)
        )
        .where(
            delivery.state == orders.State.DUE.value,
            func.coalesce(consignment.state, "").not_in([state.value for state in orders.OPEN]),
        )
    )
    for study, series, uid, destination, state in _streamed(connection, closed):
        why = f"it is owed, and its consignment is {state}" if state else "it is owed in no consignment"
        yield Forgotten(study or "", series or "", uid, destination, why)


def _unsent(connection: sqlalchemy.Connection) -> Iterator[Forgotten]:
    series, study, instance = tables.series.c, tables.study.c, tables.instance.c
    settlement, decision, delivery = tables.settlement.c, tables.decision.c, tables.delivery.c
    same = sqlalchemy.and_(decision.study == study.study, decision.series == series.series)
    decided = sqlalchemy.select(decision.key).where(same, decision.revision > 0)
    somewhere = decided.where(decision.destinations != "").exists()
    nowhere = decided.where(decision.destinations == "").exists()
    owed = sqlalchemy.select(delivery.key).where(delivery.instance_key == instance.key)
    statement = (
        sqlalchemy.select(study.study, series.series, instance.sop_instance, settlement.signals)
        .select_from(
            tables.series.join(tables.study, study.key == series.study_key)
            .join(
                tables.settlement,
                sqlalchemy.and_(
                    settlement.study == study.study,
                    settlement.series == series.series,
                    settlement.revision == series.revision,
                ),
            )
            .join(tables.instance, instance.series_key == series.key)
        )
        .where(series.settled_instances == series.instances, somewhere, ~nowhere, ~owed.exists())
        .order_by(series.key, instance.key)
    )
    rows = _streamed(connection, statement)
    for _, of in itertools.groupby(rows, lambda row: (row[0], row[1])):
        found = list(of)
        signals = json.loads(found[0][3])
        # The oldest of a series may have been there before there were routes: they are sent nowhere.
        before = int(signals.get("before", 0)) if isinstance(signals, dict) else 0
        for where, named, uid, _ in found[before:]:
            yield Forgotten(where, named, uid, "", "its series is settled, and no destination is owed it")


def _streamed(connection: sqlalchemy.Connection, statement: sqlalchemy.Executable) -> Iterator[Any]:
    yield from connection.execution_options(yield_per=1000).execute(statement)
