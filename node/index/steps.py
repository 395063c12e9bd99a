"""Performed procedure steps that modalities report: what they say, how far they are, what series they name.

Rows are written only by the rules of `dicom.mpps`; here they are kept, found, and turned into signals for
whoever wants to know whether a series is complete.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime
import json
import zlib
from collections.abc import Iterable
from typing import Any

import sqlalchemy

from node.dicom import identifier, mpps
from node.files import ledger
from node.index import keys, tables, witness, words

_step = tables.performed_step.c
_schedule = tables.performed_schedule.c
_made = tables.performed_series.c
_CHUNK = 500  # values in one IN
_SHORT = 2048  # characters of fields that are kept as they are
_PACKED = "zlib:"  # how longer ones begin

State = mpps.State


@dataclasses.dataclass(frozen=True, slots=True)
class Scheduled:
    """What a step answers to: one item of its Scheduled Step Attributes Sequence."""

    study: str  # Study Instance UID
    accession_number: str  # "" where nothing was ordered
    procedure_id: str  # Requested Procedure ID
    scheduled_step_id: str  # "" when nothing was scheduled


@dataclasses.dataclass(frozen=True, slots=True)
class Made:
    """One series that a step made."""

    series: str  # Series Instance UID
    instances: int  # images and other objects that it names


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """One performed procedure step."""

    sop_instance: str  # its SOP Instance UID
    state: State  # how far it is
    calling: str  # AE title that created it
    address: str  # where it was created from
    modality: str  # of its images
    station: str  # Performed Station AE Title
    created: datetime.datetime  # when we heard of it
    changed: datetime.datetime  # when it was changed last
    ended: datetime.datetime | None  # when we heard of its end
    scheduled: tuple[Scheduled, ...]  # what it answers to
    series: tuple[Made, ...]  # what it made
    fields: identifier.Fields  # everything that it says


@dataclasses.dataclass(frozen=True, slots=True)
class Signal:
    """What a step says of a series' completeness."""

    step: str  # SOP Instance UID of the step
    state: State  # while it is in progress more may come
    ended: datetime.datetime | None  # when we heard of its end
    instances: int  # how many instances of this series it names; final once it ended


_ONE = sqlalchemy.select(tables.performed_step).where(
    _step.sop_instance == sqlalchemy.bindparam("sop_instance")
)
_SIGNALS = (
    sqlalchemy.select(_step.sop_instance, _step.state, _step.ended, sqlalchemy.func.sum(_made.instances))
    .join(tables.performed_series, _made.step_key == _step.key)
    .where(_made.series == sqlalchemy.bindparam("series_uid"))
    .group_by(_step.key, _step.sop_instance, _step.state, _step.ended)
    .order_by(_step.key)
)


def create(
    connection: sqlalchemy.Connection,
    sop_instance: str,
    fields: identifier.Fields,
    *,
    calling: str,
    address: str,
    now: datetime.datetime,
    ledgers: witness.Witness | None = None,
) -> bool:
    """Write a new step down; False when there is one of that UID.

    Call `database.durable()` before the request is answered with success.
    """
    keys.lock(connection)
    if connection.execute(_ONE, {"sop_instance": sop_instance}).first() is not None:
        return False
    if ledgers is not None:
        ledgers.given(
            ledger.STEP,
            step=sop_instance,
            fields=_packed(fields),
            calling=calling,
            address=address,
            at=words.moment(now),
        )
    key = keys.take(connection, "performed_step")
    connection.execute(
        sqlalchemy.insert(tables.performed_step).values(
            key=key,
            sop_instance=words.clean(sop_instance),
            calling=words.clean(calling),
            address=address,
            created=words.moment(now),
            **_columns(fields, mpps.state_of(fields), now),
        )
    )
    rows = [
        {
            "step_key": key,
            "position": position,
            "study": words.clean(one.study),
            "accession_number": words.clean(one.accession_number),
            "procedure_id": words.clean(one.procedure_id),
            "scheduled_step_id": words.clean(one.scheduled_step_id),
        }
        for position, one in enumerate(scheduled(fields))
    ]
    if rows:
        connection.execute(sqlalchemy.insert(tables.performed_schedule), rows)
    _write_series(connection, key, fields)
    return True


def claim(connection: sqlalchemy.Connection, sop_instance: str) -> Step | None:
    """A step that is about to be changed; nobody else changes it before this transaction ends."""
    keys.lock(connection)
    return get(connection, sop_instance)


def change(
    connection: sqlalchemy.Connection,
    held: Step,
    fields: identifier.Fields,
    *,
    now: datetime.datetime,
    ledgers: witness.Witness | None = None,
) -> None:
    """Write down what a step says now that said `held` at `claim`, in the same transaction."""
    if ledgers is not None:
        new = {
            key: value for key, value in fields.items() if key not in held.fields or held.fields[key] != value
        }
        ledgers.given(ledger.STEP_CHANGED, step=held.sop_instance, fields=_packed(new), at=words.moment(now))
    state = mpps.state_of(fields)
    key = connection.execute(_ONE, {"sop_instance": held.sop_instance}).one().key
    connection.execute(
        sqlalchemy.update(tables.performed_step).where(_step.key == key).values(_columns(fields, state, now))
    )
    connection.execute(sqlalchemy.delete(tables.performed_series).where(_made.step_key == key))
    _write_series(connection, key, fields)


def replay(connection: sqlalchemy.Connection, fact: dict[str, Any]) -> None:
    """Do again what the ledger says of a step; after a line of a lost transaction, the next one holds."""
    uid, fields, now = str(fact["step"]), _unpacked(fact["fields"]), words.when(fact["at"])
    held = claim(connection, uid)
    if fact["kind"] == ledger.STEP:
        if held is not None:
            _forget(connection, uid)
        create(connection, uid, fields, calling=fact["calling"], address=fact["address"], now=now)
    elif held is not None:
        change(connection, held, held.fields | fields, now=now)


def get(connection: sqlalchemy.Connection, sop_instance: str) -> Step | None:
    """One step, or nothing."""
    row = connection.execute(_ONE, {"sop_instance": sop_instance}).first()
    return None if row is None else _whole(row._asdict())


def each(connection: sqlalchemy.Connection, *, state: State | None = None, limit: int = 100) -> list[Step]:
    """The steps that were created last, newest first."""
    statement = sqlalchemy.select(tables.performed_step).order_by(_step.created.desc(), _step.key.desc())
    if state is not None:
        statement = statement.where(_step.state == state.value)
    return [_whole(row._asdict()) for row in connection.execute(statement.limit(limit))]


def signals(connection: sqlalchemy.Connection, series_uid: str) -> list[Signal]:
    """What steps say of a series, in the order in which they were created; empty: none named it so far."""
    return [
        Signal(uid, State(state), None if ended is None else words.when(ended), int(count))
        for uid, state, ended, count in connection.execute(_SIGNALS, {"series_uid": series_uid})
    ]


def of_studies(
    connection: sqlalchemy.Connection, studies: Iterable[str]
) -> dict[tuple[str, str], frozenset[State]]:
    """How far the work on scheduled steps is, by study and Scheduled Procedure Step ID."""
    found: dict[tuple[str, str], set[State]] = {}
    asked = sorted({study for study in studies if study})
    for start in range(0, len(asked), _CHUNK):
        rows = connection.execute(
            sqlalchemy.select(_schedule.study, _schedule.scheduled_step_id, _step.state)
            .join(tables.performed_step, _step.key == _schedule.step_key)
            .where(_schedule.study.in_(asked[start : start + _CHUNK]))
        )
        for study, step_id, state in rows:
            found.setdefault((study, step_id), set()).add(State(state))
    return {name: frozenset(states) for name, states in found.items()}


# -- what the fields say --------------------------------------------------------------------------


def scheduled(fields: identifier.Fields) -> tuple[Scheduled, ...]:
    """What a step answers to."""
    return tuple(
        Scheduled(
            _text(item, "StudyInstanceUID"),
            _text(item, "AccessionNumber"),
            _text(item, "RequestedProcedureID"),
            _text(item, "ScheduledProcedureStepID"),
        )
        for item in _items(fields, mpps.SCHEDULED)
    )


def made(fields: identifier.Fields) -> tuple[Made, ...]:
    """The series that a step made, with how many instances it names of each."""
    return tuple(
        Made(
            uid,
            len(_items(item, "ReferencedImageSequence"))
            + len(_items(item, "ReferencedNonImageCompositeSOPInstanceSequence")),
        )
        for item in _items(fields, mpps.SERIES)
        if (uid := _text(item, "SeriesInstanceUID"))
    )


def _text(fields: identifier.Fields, key: str) -> str:
    value = fields.get(key)
    return value if isinstance(value, str) else ""


def _items(fields: identifier.Fields, key: str) -> list[identifier.Fields]:
    value = fields.get(key)
    return value if isinstance(value, list) else []


# -- rows -----------------------------------------------------------------------------------------


def _packed(fields: identifier.Fields) -> str:
    """Fields as ASCII, which every database can hold; a step of many images is mostly UIDs alike."""
    plain = json.dumps(fields)
    if len(plain) < _SHORT:
        return plain
    return _PACKED + base64.b85encode(zlib.compress(plain.encode("ascii"))).decode("ascii")


def _unpacked(text: str) -> identifier.Fields:
    if text.startswith(_PACKED):
        text = zlib.decompress(base64.b85decode(text.removeprefix(_PACKED))).decode("ascii")
    found: identifier.Fields = json.loads(text)
    return found


def _columns(fields: identifier.Fields, state: State, now: datetime.datetime) -> dict[str, object]:
    return {
        "state": state.value,
        "modality": words.clean(_text(fields, "Modality")),
        "station": words.clean(_text(fields, "PerformedStationAETitle")),
        "fields": _packed(fields),
        "changed": words.moment(now),
        "ended": words.moment(now) if state.final else None,
    }


def _forget(connection: sqlalchemy.Connection, sop_instance: str) -> None:
    key = connection.execute(_ONE, {"sop_instance": sop_instance}).one().key
    for table, column in (
        (tables.performed_series, _made.step_key),
        (tables.performed_schedule, _schedule.step_key),
        (tables.performed_step, _step.key),
    ):
        connection.execute(sqlalchemy.delete(table).where(column == key))


def _write_series(connection: sqlalchemy.Connection, key: int, fields: identifier.Fields) -> None:
    rows = [
        {
            "step_key": key,
            "position": position,
            "series": words.clean(one.series),
            "instances": one.instances,
        }
        for position, one in enumerate(made(fields))
    ]
    if rows:
        connection.execute(sqlalchemy.insert(tables.performed_series), rows)


def _whole(values: dict[str, object]) -> Step:
    ended = values["ended"]
    fields = _unpacked(str(values["fields"]))
    return Step(
        sop_instance=str(values["sop_instance"]),
        state=State(str(values["state"])),
        calling=str(values["calling"]),
        address=str(values["address"]),
        modality=str(values["modality"]),
        station=str(values["station"]),
        created=words.when(str(values["created"])),
        changed=words.when(str(values["changed"])),
        ended=None if ended is None else words.when(str(ended)),
        scheduled=scheduled(fields),
        series=made(fields),
        fields=fields,
    )
