"""All that `dicom-node why UID` tells: what came, what settled it, what was decided, and what became of it.

Bounded whatever is asked: of a study the first series, of a series sums and a few examples, of an instance
every attempt.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy
from sqlalchemy import func

from node import orders
from node.index import consignments, lanes, queue, tables, words

MOST_SERIES = 100  # series of a study that are told of
MOST_CONSIGNMENTS = 200  # of one series
MOST_ARRIVALS = 200  # groups of arrivals of one series
EXAMPLES = 5  # deliveries of a consignment of each state that is not done
MOST_ATTEMPTS = 100  # of one delivery
_EARLIER = 3600.0  # seconds that a clock may have been set back while something came

_arrival, _settlement, _decision = tables.arrival.c, tables.settlement.c, tables.decision.c
_consignment, _delivery, _attempt = tables.consignment.c, tables.delivery.c, tables.attempt.c
_study, _series, _instance = tables.study.c, tables.series.c, tables.instance.c
_gone, _verification = tables.deletion.c, tables.verification.c


class Level(enum.StrEnum):
    """What a UID names."""

    STUDY = "study"
    SERIES = "series"
    INSTANCE = "instance"


class Came(NamedTuple):
    """Arrivals of one association that came to the same."""

    association: str  # its number in the journal
    calling: str  # AE title of the sender
    called: str  # AE title it called us by
    address: str  # where it sent from
    peer: str  # configured name of the sender
    verdict: str  # model.Verdict
    rule: str  # the rule at receipt; "": none matched
    reason: str  # what that rule says
    many: int  # instances
    first: datetime.datetime  # when the first came
    last: datetime.datetime  # when the last came


class Settled(NamedTuple):
    """A revision of a series or study."""

    level: str  # series or study
    revision: int  # 1 is the first
    at: datetime.datetime  # when
    verdict: str  # orders.Completeness
    instances: int  # held then
    signals: Mapping[str, Any]  # what was known and what it said


class Decided(NamedTuple):
    """What one route made of a revision."""

    revision: int  # 0: sent on as it came
    route: str  # "default" when none matched; "" when nothing is to happen
    at: datetime.datetime  # when
    matched: Mapping[str, Any]  # the values on which it matched
    destinations: tuple[str, ...]  # names
    discard: str  # the reason for which nothing is sent


class Try(NamedTuple):
    """One attempt."""

    at: datetime.datetime  # when its answer came
    outcome: orders.State  # done, due (again later) or dead
    status: int | None  # what the destination said; None: nothing
    syntax: str  # transfer syntax UID that it went in; "": it did not go
    size: int  # bytes that were sent
    seconds: float | None  # from the first byte to the answer
    error: str  # in words


class Delivered(NamedTuple):
    """One instance and one destination."""

    sop_instance: str  # SOP Instance UID
    state: orders.State  # how it stands
    attempts: int  # tries since it was last asked for
    tries: tuple[Try, ...]  # oldest first; of examples the last one
    verified: datetime.datetime | None  # when the destination was found to keep it
    error: str  # why it stands so, in words


class Asked(NamedTuple):
    """How far a consignment is being made sure."""

    transaction_uid: str | None  # of the request for commitment that is out
    asked: datetime.datetime | None  # when it went out
    due: datetime.datetime  # when something is done next
    attempts: int  # so far
    error: str  # of the last one


class Sent(NamedTuple):
    """A consignment, and how it stands with it."""

    consignment: orders.Consignment
    claim: str  # the worker that has it; ""
    changed: datetime.datetime  # when something last happened to it
    lane: orders.Lane  # of its destination
    verification: Asked | None  # None: it is not being made sure
    bytes: int  # that went out with the last attempt of each
    verified: int  # instances that the destination was found to keep
    deliveries: tuple[Delivered, ...]  # of an instance its own; else examples of what is not done


class Removed(NamedTuple):
    """Instances that somebody took out together."""

    many: int  # how many
    at: datetime.datetime  # when the last of them went
    who: str  # a person, or the job that did it
    why: str  # in words


@dataclasses.dataclass(frozen=True, slots=True)
class Series:
    """What is known of one series, or of one instance of it."""

    series: str  # Series Instance UID
    modality: str | None  # as its first instance says
    held: int  # instances that are held
    first: datetime.datetime | None  # when the first of what is held came
    last: datetime.datetime | None  # when the last came
    revision: int  # how often it was settled
    settled_instances: int  # how many it had then
    came: tuple[Came, ...]  # by association
    settled: tuple[Settled, ...]  # each revision
    decided: tuple[Decided, ...]  # each route of each revision
    sent: tuple[Sent, ...]  # consignments, oldest first
    removed: tuple[Removed, ...]  # what was taken out
    unrouted: int  # held instances that no destination has or is owed


@dataclasses.dataclass(frozen=True, slots=True)
class Story:
    """All that is known of a study, series or instance."""

    uid: str  # as it was asked for
    level: Level  # what it names
    study: str  # Study Instance UID
    settled: tuple[Settled, ...]  # revisions of the study
    series: tuple[Series, ...]  # of an instance or series the one
    more: int  # series of the study that are left out


def story(connection: sqlalchemy.Connection, uid: str) -> list[Story]:
    """What is known of a UID: one story for each study that it is in; none when nothing is known."""
    found: list[Story] = []
    for level, study, series in _named(connection, uid):
        alone = uid if level is Level.INSTANCE else None
        told = tuple(_series_story(connection, study, one, alone) for one in series[:MOST_SERIES])
        settled = tuple(_settled(connection, study, ""))
        found.append(Story(uid, level, study, settled, told, max(len(series) - MOST_SERIES, 0)))
    return found


def _named(connection: sqlalchemy.Connection, uid: str) -> list[tuple[Level, str, list[str]]]:
    """What a UID names, with study and series: held, or known from what became of it."""

    def both(*statements: sqlalchemy.Select[*tuple[str, ...]]) -> list[tuple[str, str]]:
        rows = (row for one in statements for row in connection.execute(one))
        return list(dict.fromkeys((row[0], row[1]) for row in rows))

    held = sqlalchemy.select(_study.study, _series.series).join(
        tables.series, _series.study_key == _study.key
    )
    sent = sqlalchemy.select(_consignment.study, _consignment.series).order_by(_consignment.key)
    found = both(held.where(_study.study == uid).order_by(_series.key), sent.where(_consignment.study == uid))
    if found:
        return [(Level.STUDY, uid, [series for _, series in found])]
    found = both(held.where(_series.series == uid), sent.where(_consignment.series == uid))
    level = Level.SERIES
    if not found:
        of_hash = _instance.sop_hash == words.uid_hash(uid)
        here = held.join(tables.instance, _instance.series_key == _series.key)
        gone = sqlalchemy.select(_gone.study, _gone.series).where(_gone.sop_instance == uid)
        found, level = both(here.where(of_hash, _instance.sop_instance == uid), gone), Level.INSTANCE
    if not found:
        return _left_no_row(connection, uid)
    return [(level, study, [series]) for study, series in found]


def _left_no_row(connection: sqlalchemy.Connection, uid: str) -> list[tuple[Level, str, list[str]]]:
    """What a UID names of which nothing is held: every arrival is looked at."""
    columns = (_arrival.study, _arrival.series, _arrival.sop_instance)
    statement = sqlalchemy.select(*columns).where(sqlalchemy.or_(*(column == uid for column in columns)))
    rows = connection.execute(statement.distinct().limit(MOST_ARRIVALS)).all()
    found: dict[str, tuple[Level, list[str]]] = {}
    for study, series, _ in rows:
        level = Level.STUDY if study == uid else Level.SERIES if series == uid else Level.INSTANCE
        named = found.setdefault(study, (level, []))[1]
        if series not in named:
            named.append(series)
    return [(level, study, series) for study, (level, series) in found.items()]


def _series_story(connection: sqlalchemy.Connection, study: str, uid: str, alone: str | None) -> Series:
    row = connection.execute(
        sqlalchemy.select(tables.series)
        .join(tables.study, _study.key == _series.study_key)
        .where(_series.series == uid, _study.study == study)
    ).first()
    rows = queue.instances(connection, alone) if alone is not None else None
    held, first, last = _held(connection, row, alone)
    return Series(
        series=uid,
        modality=None if row is None else row.modality,
        held=held,
        first=first,
        last=last,
        revision=0 if row is None else row.revision,
        settled_instances=0 if row is None else row.settled_instances,
        came=tuple(_came(connection, study, uid, alone, first)),
        settled=tuple(_settled(connection, study, uid)),
        decided=tuple(_decided(connection, study, uid)),
        sent=tuple(_sent(connection, study, uid, rows)),
        removed=tuple(_removed(connection, study, uid, alone)),
        unrouted=0 if row is None else _unrouted(connection, row.key, rows),
    )


def _held(
    connection: sqlalchemy.Connection, row: sqlalchemy.Row[*tuple[Any, ...]] | None, alone: str | None
) -> tuple[int, datetime.datetime | None, datetime.datetime | None]:
    if row is None:
        return 0, None, None
    if alone is None:
        return row.instances, words.when(row.first_arrival), words.when(row.last_arrival)
    received = connection.execute(
        sqlalchemy.select(_instance.received).where(
            _instance.series_key == row.key, _instance.sop_instance == alone
        )
    ).scalar()
    moment = None if received is None else words.when(received)
    return int(moment is not None), moment, moment


# -- what came ----------------------------------------------------------------------------------------


def _came(
    connection: sqlalchemy.Connection,
    study: str,
    series: str,
    alone: str | None,
    first: datetime.datetime | None,
) -> list[Came]:
    """Arrivals lie in the order in which they came: those before the first that is held are not read."""
    which = (
        _arrival.association,
        _arrival.calling,
        _arrival.called,
        _arrival.address,
        _arrival.peer,
        _arrival.verdict,
        _arrival.rule,
        _arrival.reason,
    )
    found: list[Came] = []
    for slot in _slots(connection):
        begin = _generation(connection, slot, first) if first is not None else 0
        statement = (
            sqlalchemy.select(*which, func.count(), func.min(_arrival.received), func.max(_arrival.received))
            .where(
                _arrival.slot == slot,
                _arrival.generation >= begin,
                _arrival.series == series,
                _arrival.study == study,
            )
            .group_by(*which)
            .limit(MOST_ARRIVALS)
        )
        if alone is not None:
            statement = statement.where(_arrival.sop_instance == alone)
        rows = connection.execute(statement).all()
        found += [Came._make((*one[:9], words.when(one[9]), words.when(one[10]))) for one in rows]
    return sorted(found, key=lambda came: came.first)[:MOST_ARRIVALS]


def _slots(connection: sqlalchemy.Connection) -> list[str]:
    """The journals that there are: one look at the index for each, not one at each row."""
    found: list[str] = []
    after = sqlalchemy.select(func.min(_arrival.slot)).where(_arrival.slot > sqlalchemy.bindparam("after"))
    while (slot := connection.execute(after, {"after": found[-1] if found else ""}).scalar()) is not None:
        found.append(slot)
    return found


def _generation(connection: sqlalchemy.Connection, slot: str, first: datetime.datetime) -> int:
    """The use of a journal's segment in which something came at `first`, or one before it."""
    before = words.later(first, -_EARLIER)
    edges = sqlalchemy.select(func.min(_arrival.generation), func.max(_arrival.generation))
    low, high = connection.execute(edges.where(_arrival.slot == slot)).one()
    began = (
        sqlalchemy.select(_arrival.generation, _arrival.received)
        .where(_arrival.slot == slot, _arrival.generation >= sqlalchemy.bindparam("at"))
        .order_by(_arrival.generation, _arrival.position)
        .limit(1)
    )
    found = int(low)
    while low <= high:
        middle = (low + high) // 2
        row = connection.execute(began, {"at": middle}).first()
        if row is not None and row.received < before:
            found, low = row.generation, max(middle, row.generation) + 1
        else:
            high = middle - 1
    return found


def _removed(connection: sqlalchemy.Connection, study: str, series: str, alone: str | None) -> list[Removed]:
    if alone is None:
        # Without an index on the series, what was removed is found by what was owed of it.
        owned = sqlalchemy.select(_delivery.instance_key).join(
            tables.consignment, _consignment.key == _delivery.consignment_key
        )
        mine = owned.where(_consignment.series == series, _consignment.study == study)
        where: sqlalchemy.ColumnElement[bool] = _gone.target.in_(mine)
    else:
        where = _gone.sop_instance == alone
    statement = (
        sqlalchemy.select(func.count(), func.max(_gone.at), _gone.who, _gone.why)
        .where(where, _gone.kind == "instance", _gone.series == series, _gone.study == study)
        .group_by(_gone.who, _gone.why)
        .limit(MOST_ARRIVALS)
    )
    return [Removed(row[0], words.when(row[1]), row[2], row[3]) for row in connection.execute(statement)]


# -- what was decided ---------------------------------------------------------------------------------


def _settled(connection: sqlalchemy.Connection, study: str, series: str) -> list[Settled]:
    statement = (
        sqlalchemy.select(tables.settlement)
        .where(_settlement.study == study, _settlement.series == series)
        .order_by(_settlement.revision)
    )
    return [
        Settled(row.level, row.revision, words.when(row.at), row.verdict, row.instances, _json(row.signals))
        for row in connection.execute(statement)
    ]


def _decided(connection: sqlalchemy.Connection, study: str, series: str) -> list[Decided]:
    statement = (
        sqlalchemy.select(tables.decision)
        .where(_decision.study == study, _decision.series == series)
        .order_by(_decision.revision, _decision.key)
    )
    return [
        Decided(
            row.revision,
            row.route,
            words.when(row.at),
            _json(row.matched),
            words.split(row.destinations),
            row.discard,
        )
        for row in connection.execute(statement)
    ]


def _json(written: str) -> Mapping[str, Any]:
    found = json.loads(written)
    return found if isinstance(found, dict) else {"": found}


# -- what became of it --------------------------------------------------------------------------------


def _sent(
    connection: sqlalchemy.Connection, study: str, series: str, rows: Sequence[int] | None
) -> list[Sent]:
    statement = (
        sqlalchemy.select(tables.consignment)
        .where(_consignment.series == series, _consignment.study == study)
        .order_by(_consignment.key.desc())
        .limit(MOST_CONSIGNMENTS)
    )
    if rows is not None:
        mine = sqlalchemy.select(_delivery.consignment_key).where(_delivery.instance_key.in_(rows))
        statement = statement.where(_consignment.key.in_(mine))
    known = lanes.lanes(connection)
    found = []
    for row in connection.execute(statement).mappings().all():
        sums = connection.execute(_SUMS, {"which": row["key"]}).one()
        found.append(
            Sent(
                consignments.of(row),
                row["claim"],
                words.when(row["changed"]),
                known.get(row["destination"], orders.Lane(row["destination"])),
                # The row stays for a day, for reports that come late or twice.
                _asked(connection, row["key"]) if row["state"] == orders.State.VERIFYING.value else None,
                int(sums[0] or 0),
                sums[1],
                tuple(_deliveries(connection, row["key"], rows)),
            )
        )
    return found[::-1]


_SUMS = sqlalchemy.select(func.sum(_delivery.size), func.count(_delivery.verified)).where(
    _delivery.consignment_key == sqlalchemy.bindparam("which")
)


def _asked(connection: sqlalchemy.Connection, key: int) -> Asked | None:
    row = connection.execute(
        sqlalchemy.select(tables.verification).where(_verification.consignment_key == key)
    ).first()
    if row is None:
        return None
    asked = None if row.asked is None else words.when(row.asked)
    return Asked(row.transaction_uid, asked, words.when(row.due), row.attempts, row.error)


def _deliveries(connection: sqlalchemy.Connection, key: int, rows: Sequence[int] | None) -> list[Delivered]:
    statement = (
        sqlalchemy.select(tables.delivery)
        .where(_delivery.consignment_key == key)
        .order_by(_delivery.instance_key)
    )
    if rows is not None:
        wanted = [statement.where(_delivery.instance_key.in_(rows))]
    else:
        states = (orders.State.DEAD, orders.State.DUE, orders.State.CANCELLED)
        wanted = [statement.where(_delivery.state == state.value).limit(EXAMPLES) for state in states]
    return [
        _delivered(connection, row, whole=rows is not None)
        for one in wanted
        for row in connection.execute(one).all()
    ]


def _delivered(
    connection: sqlalchemy.Connection, row: sqlalchemy.Row[*tuple[Any, ...]], *, whole: bool
) -> Delivered:
    state = orders.State(row.state)
    tries = []
    if whole:
        statement = (
            sqlalchemy.select(tables.attempt)
            .where(_attempt.delivery_key == row.key)
            .order_by(_attempt.key.desc())
            .limit(MOST_ATTEMPTS)
        )
        tries = [_try(one, orders.State(one.outcome)) for one in connection.execute(statement)][::-1]
    if row.at is not None:
        final = state if state in (orders.State.DONE, orders.State.DEAD) else orders.State.DUE
        tries.append(_try(row, final))
    verified = None if row.verified is None else words.when(row.verified)
    return Delivered(row.sop_instance, state, row.attempts, tuple(tries), verified, row.error)


def _try(row: sqlalchemy.Row[*tuple[Any, ...]], outcome: orders.State) -> Try:
    return Try(words.when(row.at), outcome, row.status, row.syntax, row.size, row.seconds, row.error)


def _unrouted(connection: sqlalchemy.Connection, series_key: int, rows: Sequence[int] | None) -> int:
    """How many of what is held nobody ever owed to anybody."""
    owed = sqlalchemy.select(_delivery.key).where(_delivery.instance_key == _instance.key)
    statement = sqlalchemy.select(func.count()).where(
        _instance.series_key == series_key, sqlalchemy.not_(owed.exists())
    )
    if rows is not None:
        statement = statement.where(_instance.key.in_(rows))
    return connection.execute(statement).scalar_one()
