"""The worklist's table: entries that the API and the command line add, and which of them a query may mean."""

from __future__ import annotations

import dataclasses
import datetime
import json
from typing import Any

import sqlalchemy

from node import errors
from node.dicom import identifier, match, mpps, ranges, worklist
from node.files import ledger
from node.index import keys, tables, witness, words

_entry = tables.worklist_entry.c
_ONE = sqlalchemy.select(tables.worklist_entry).where(_entry.name == sqlalchemy.bindparam("entry_name"))
_COMPLETED = (
    sqlalchemy.select(tables.performed_schedule.c.step_key)
    .join(tables.performed_step, tables.performed_step.c.key == tables.performed_schedule.c.step_key)
    .where(
        tables.performed_schedule.c.study == _entry.study,
        tables.performed_schedule.c.scheduled_step_id == _entry.step_id,
        tables.performed_step.c.state == mpps.State.COMPLETED.value,
    )
    .correlate(tables.worklist_entry)
    .exists()
)
_ORDER = (_entry.start_date, _entry.start_time, _entry.key)


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One entry and what became of it."""

    entry: worklist.Entry  # what it says
    added: datetime.datetime  # when it came
    changed: datetime.datetime  # when it was written last
    changed_by: str  # by whom


class Taken(errors.Permanent):
    """Another entry has the name, or is about the same scheduled step."""


def put(
    connection: sqlalchemy.Connection,
    entry: worklist.Entry,
    *,
    by: str,
    now: datetime.datetime,
    new: bool,
    ledgers: witness.Witness | None = None,
) -> bool:
    """Add an entry, or replace the one of its name unless it must be `new`; whether it was added.

    Raises Taken. Call `database.durable()` before it is answered with success.
    """
    keys.lock(connection)
    found = connection.execute(_ONE, {"entry_name": entry.name}).first()
    if found is not None and new:
        raise Taken(f"there is an entry {entry.name} already: remove it, or replace it")
    values = _columns(entry) | {"changed": words.moment(now), "changed_by": words.clean(by)}
    same = sqlalchemy.select(_entry.name).where(
        _entry.study == values["study"], _entry.step_id == values["step_id"], _entry.name != entry.name
    )
    other = connection.execute(same).scalar()
    if other is not None:
        raise Taken(
            f"entry {other} is about step {values['step_id']} of study {values['study']} already: "
            "give another ScheduledProcedureStepID, or replace that entry"
        )
    if ledgers is not None:
        ledgers.given(ledger.WORKLIST, name=entry.name, fields=entry.fields, by=by, at=words.moment(now))
    if found is not None:
        connection.execute(
            sqlalchemy.update(tables.worklist_entry).where(_entry.key == found.key).values(values)
        )
        return False
    key = keys.take(connection, "worklist_entry")
    connection.execute(
        sqlalchemy.insert(tables.worklist_entry).values(
            key=key, name=entry.name, added=words.moment(now), **values
        )
    )
    return True


def remove(
    connection: sqlalchemy.Connection, name: str, ledgers: witness.Witness | None = None
) -> worklist.Entry | None:
    """Take an entry away; what it said, or nothing when there is none."""
    keys.lock(connection)
    found = connection.execute(_ONE, {"entry_name": name}).first()
    if found is None:
        return None
    if ledgers is not None:
        ledgers.given(ledger.WORKLIST_REMOVED, names=[name])
    connection.execute(sqlalchemy.delete(tables.worklist_entry).where(_entry.key == found.key))
    return _row(found).entry


def expire(
    connection: sqlalchemy.Connection,
    before: datetime.datetime,
    *,
    most: int,
    ledgers: witness.Witness | None = None,
) -> int:
    """Take away entries that began, and were written last, before a moment; how many, at most so many."""
    keys.lock(connection)
    old = sqlalchemy.select(_entry.key, _entry.name).where(
        _entry.start_date < before.strftime("%Y%m%d"), _entry.changed < words.moment(before)
    )
    gone = connection.execute(old.limit(most)).all()
    if gone:
        if ledgers is not None:
            ledgers.given(ledger.WORKLIST_REMOVED, names=[row.name for row in gone])
        connection.execute(
            sqlalchemy.delete(tables.worklist_entry).where(_entry.key.in_([row.key for row in gone]))
        )
    return len(gone)


def replay(connection: sqlalchemy.Connection, fact: dict[str, Any]) -> None:
    """Do again what the ledger says of an entry."""
    if fact["kind"] == ledger.WORKLIST_REMOVED:
        for name in fact["names"]:
            remove(connection, str(name))
        return
    name = str(fact["name"])
    entry = worklist.Entry(name, fact["fields"])
    # The last word on a step is the one that came about: another entry's line was of a lost transaction.
    same = (_entry.study == entry.study, _entry.step_id == entry.step_id, _entry.name != name)
    connection.execute(sqlalchemy.delete(tables.worklist_entry).where(*same))
    put(connection, entry, by=str(fact["by"]), now=words.when(fact["at"]), new=False)


def get(connection: sqlalchemy.Connection, name: str) -> Row | None:
    """One entry."""
    found = connection.execute(_ONE, {"entry_name": name}).first()
    return None if found is None else _row(found)


def count(connection: sqlalchemy.Connection) -> int:
    """How many entries there are."""
    statement = sqlalchemy.select(sqlalchemy.func.count()).select_from(tables.worklist_entry)
    return connection.execute(statement).scalar_one()


def page(connection: sqlalchemy.Connection, *, limit: int, offset: int = 0) -> list[Row]:
    """Entries in the order in which their steps begin."""
    statement = sqlalchemy.select(tables.worklist_entry).order_by(*_ORDER).limit(limit).offset(offset)
    return [_row(row) for row in connection.execute(statement)]


def candidates(
    connection: sqlalchemy.Connection, asked: identifier.Fields, *, most: int, completed: bool = True
) -> list[worklist.Entry]:
    """The entries that a query may mean: all that match are among them, for `worklist.Question` to tell.

    Without those whose step was completed, unless they are wanted too.
    """
    statement = sqlalchemy.select(_entry.name, _entry.fields).where(*_narrowed(asked)).order_by(*_ORDER)
    if not completed:
        statement = statement.where(~_COMPLETED)
    return [
        worklist.Entry(name, json.loads(fields)) for name, fields in connection.execute(statement.limit(most))
    ]


def _narrowed(asked: identifier.Fields) -> list[sqlalchemy.ColumnElement[bool]]:
    """What of a query an index can tell; the rest of its meaning is `dicom.match`'s alone."""
    where: list[sqlalchemy.ColumnElement[bool]] = []
    items = asked.get(worklist.STEP)
    step = items[0] if isinstance(items, list) and items else {}
    for column, key in (
        (_entry.patient_id, asked.get("PatientID")),
        (_entry.accession_number, asked.get("AccessionNumber")),
        (_entry.study, asked.get("StudyInstanceUID")),
    ):
        if isinstance(key, str) and _plain(key):
            where.append(column == words.clean(key.strip(" \0")))
    date = step.get("ScheduledProcedureStepStartDate")
    if isinstance(date, str) and not match.universal(date) and "\\" not in date and date != match.EMPTY:
        low, high = ranges.dates(date)
        if low is not None:
            where.append(_entry.start_date >= low)
        if high is not None:
            where.append(_entry.start_date <= high)
    return where


def _plain(key: str) -> bool:
    """Whether a key means one text and nothing else."""
    return bool(key.strip(" \0")) and not match.wild(key) and "\\" not in key and key.strip() != match.EMPTY


def _columns(entry: worklist.Entry) -> dict[str, str | None]:
    whole, step = entry.fields, entry.step
    said = {
        "patient_id": worklist.text(whole, "PatientID"),
        "accession_number": worklist.text(whole, "AccessionNumber"),
        "study": entry.study,
        "step_id": entry.step_id,
        "modality": worklist.text(step, "Modality"),
        "station": worklist.text(step, "ScheduledStationAETitle"),
        "start_date": worklist.text(step, "ScheduledProcedureStepStartDate"),
        "start_time": worklist.text(step, "ScheduledProcedureStepStartTime"),
    }
    # In ASCII, which every database can hold.
    return {name: words.clean(value) for name, value in said.items()} | {"fields": json.dumps(whole)}


def _row(row: sqlalchemy.Row[*tuple[object, ...]]) -> Row:
    values = row._asdict()
    return Row(
        worklist.Entry(str(values["name"]), json.loads(str(values["fields"]))),
        words.when(str(values["added"])),
        words.when(str(values["changed"])),
        str(values["changed_by"]),
    )
