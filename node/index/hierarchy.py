"""The rows above the instances: patients, studies and series of a batch, found or made, with their counters.

The instance of a series (study, patient) that was received first says what its row says; the others only
count. So the rows do not depend on the order in which journals were read, and a rebuild makes the same.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import sqlalchemy
from sqlalchemy import bindparam

from node.dicom import header, names
from node.index import keys, remove, tables, words

if TYPE_CHECKING:
    from node.index import ingest

_Row = dict[str, Any]
_Place = tuple[str, str]  # Study and Series Instance UID

# The header of an instance of which nothing is known.
NOTHING = header.attributes(b"", "1.2.840.10008.1.2.1")

_COUNTERS = ("instances", "bytes", "first_arrival", "last_arrival")
_SERIES_MOVES = ("frames", "expires", "sop_classes", *_COUNTERS)
_STUDY_MOVES = ("series", "modalities", "sop_classes", *_COUNTERS)
_PATIENT_MOVES = ("studies", "series", *_COUNTERS)


def _columns(table: sqlalchemy.Table, names: Iterable[str]) -> list[sqlalchemy.Column[Any]]:
    return [table.c[name] for name in names]


_FIND_SERIES = (
    sqlalchemy.select(
        tables.series.c.key,
        tables.series.c.study_key,
        tables.study.c.study.label("study"),
        tables.series.c.series.label("series"),
        *_columns(tables.series, _SERIES_MOVES),
    )
    .join(tables.study, tables.study.c.key == tables.series.c.study_key)
    .where(tables.series.c.series.in_(bindparam("uids", expanding=True)))
)
_FIND_STUDIES = sqlalchemy.select(
    tables.study.c.key,
    tables.study.c.patient_key,
    tables.study.c.study.label("uid"),
    *_columns(tables.study, _STUDY_MOVES),
).where(tables.study.c.study.in_(bindparam("uids", expanding=True)))
_PATIENT_COLUMNS = (
    tables.patient.c.key,
    tables.patient.c.identity,
    *_columns(tables.patient, _PATIENT_MOVES),
)
_FIND_PATIENTS = sqlalchemy.select(*_PATIENT_COLUMNS).where(
    tables.patient.c.key.in_(bindparam("keys", expanding=True))
)
_FIND_PATIENT = sqlalchemy.select(*_PATIENT_COLUMNS).where(tables.patient.c.identity == bindparam("name"))


def _move(table: sqlalchemy.Table, names: Iterable[str]) -> sqlalchemy.Update:
    return (
        sqlalchemy.update(table)
        .where(table.c.key == bindparam("which"))
        .values({name: bindparam(f"new_{name}") for name in names})
    )


_MOVE_SERIES = _move(tables.series, _SERIES_MOVES)
_MOVE_STUDY = _move(tables.study, _STUDY_MOVES)
_MOVE_PATIENT = _move(tables.patient, _PATIENT_MOVES)


@dataclasses.dataclass(slots=True)
class _Node:
    """A row of patient, study or series with its counters, which move while the batch is counted."""

    key: int
    parent: int  # the key of the study or patient above; 0 above a patient
    row: _Row  # the counters of a row that was there; every column of a new one
    new: bool  # whether it is still to be inserted
    said: ingest.Item | None = (
        None  # an instance from before all that were there: the row is to say what it says
    )


class Tree:
    """The patients, studies and series that a batch belongs to; `write` puts what moved into the tables."""

    def __init__(self, connection: sqlalchemy.Connection, places: Iterable[_Place]) -> None:
        self._connection = connection
        self._series: dict[_Place, _Node] = {}
        self._studies: dict[str, _Node] = {}
        self._patients: dict[int, _Node] = {}
        self._identities: dict[str, _Node] = {}
        self._requests: list[_Row] = []
        self._mixed: dict[str, None] = {}
        self._load(list(places))

    @property
    def new_series(self) -> tuple[str, ...]:
        """Series Instance UIDs that were not held before."""
        return tuple(uid for (_, uid), node in self._series.items() if node.new)

    @property
    def mixed_studies(self) -> tuple[str, ...]:
        """Studies with an instance in this batch that names another patient than the study's."""
        return tuple(self._mixed)

    def _load(self, places: list[_Place]) -> None:
        execute = self._connection.execute
        studies = list(dict.fromkeys(study for study, _ in places))
        for row in execute(_FIND_STUDIES, {"uids": studies}).mappings():
            self._studies[row["uid"]] = _Node(
                row["key"], row["patient_key"], _moving(row, _STUDY_MOVES), False
            )
        if not self._studies:
            return
        series = list(dict.fromkeys(series for _, series in places))
        for row in execute(_FIND_SERIES, {"uids": series}).mappings():
            if row["study"] in self._studies:
                node = _Node(row["key"], row["study_key"], _moving(row, _SERIES_MOVES), False)
                self._series[row["study"], row["series"]] = node
        patients = list({node.parent for node in self._studies.values()})
        for row in execute(_FIND_PATIENTS, {"keys": patients}).mappings():
            self._keep_patient(row["identity"], _Node(row["key"], 0, _moving(row, _PATIENT_MOVES), False))

    def _keep_patient(self, identity: str, node: _Node) -> None:
        self._patients[node.key] = node
        self._identities[identity] = node

    def series(self, place: _Place, item: ingest.Item) -> int:
        """The key of the series at `place`; `item` says what a new row says."""
        node = self._series.get(place)
        if node is None:
            study = self._study(place[0], item)
            node = _Node(keys.take(self._connection, "series"), study.key, {}, True)
            node.row = _series_row(node.key, study.key, item)
            self._requests += _request_rows(node.key, item.header or NOTHING)
            self._series[place] = node
            study.row["series"] += 1
            self._patients[study.parent].row["series"] += 1
            study.row["modalities"] = _with(study.row["modalities"], node.row["modality"])
        return node.key

    def _study(self, uid: str, item: ingest.Item) -> _Node:
        node = self._studies.get(uid)
        if node is None:
            patient = self._patient(uid, item)
            node = _Node(keys.take(self._connection, "study"), patient.key, {}, True)
            node.row = _study_row(node.key, patient.key, item)
            self._studies[uid] = node
            patient.row["studies"] += 1
        return node

    def _patient(self, study: str, item: ingest.Item) -> _Node:
        identity = patient_identity(item.header or NOTHING, study)
        node = self._identities.get(identity)
        if node is None:
            row = self._connection.execute(_FIND_PATIENT, {"name": identity}).mappings().one_or_none()
            if row is not None:
                node = _Node(row["key"], 0, _moving(row, _PATIENT_MOVES), False)
            else:
                key = keys.take(self._connection, "patient")
                node = _Node(key, 0, _patient_row(key, identity, item), True)
            self._keep_patient(identity, node)
        return node

    def count(self, place: _Place, item: ingest.Item, frames: int, received: str) -> None:
        """Count one instance that is stored at `place`; those of a batch in the order of their receipt."""
        arrival = item.arrival
        series = self._series[place]
        study = self._studies[place[0]]
        patient = self._patients[study.parent]
        same = self._identities.get(patient_identity(item.header or NOTHING, place[0])) is patient
        if not same:
            self._mixed[place[0]] = None
        for node in (series, study, patient):
            row = node.row
            if received < row["first_arrival"] and (same or node is not patient):
                node.said = item
            row["instances"] += 1
            row["bytes"] += arrival.size
            row["last_arrival"] = max(row["last_arrival"], received)
            row["first_arrival"] = min(row["first_arrival"], received)
        sop_class = arrival.identity.sop_class
        series.row["frames"] += frames
        if sop_class != series.row["sop_classes"]:  # most series have one class
            series.row["sop_classes"] = _with(series.row["sop_classes"], sop_class)
        if sop_class != study.row["sop_classes"]:
            study.row["sop_classes"] = _with(study.row["sop_classes"], sop_class)
        if item.keep is not None:
            until = words.later(arrival.received, item.keep)
            series.row["expires"] = max(series.row["expires"] or "", until)

    def write(self) -> None:
        """Insert what is new and move the counters of what was there."""
        self._put(tables.patient, self._patients.values(), _MOVE_PATIENT)
        self._put(tables.study, self._studies.values(), _MOVE_STUDY)
        self._put(tables.series, self._series.values(), _MOVE_SERIES)
        if self._requests:
            self._connection.execute(sqlalchemy.insert(tables.series_request), self._requests)

    def settle(self) -> None:
        """Let rows say what an instance says that came before all others; called when these are in."""
        touched: set[int] = set()
        patients: set[int] = set()
        for node in self._patients.values():
            if node.said is not None:
                self._say(tables.patient, node, _patient_row(node.key, "", node.said), _PATIENT_SAID)
        for uid, node in self._studies.items():
            if node.said is None:
                continue
            self._say(tables.study, node, _study_row(node.key, 0, node.said), _STUDY_SAID)
            patient = self._patient(uid, node.said)
            if patient.key != node.parent:
                if patient.new and patient.row["instances"] == 0:
                    self._connection.execute(sqlalchemy.insert(tables.patient), [patient.row])
                    patient.new = False  # another study of this batch may move to the same
                moved = sqlalchemy.update(tables.study).where(tables.study.c.key == node.key)
                self._connection.execute(moved.values(patient_key=patient.key))
                patients |= {patient.key, node.parent}
        for node in self._series.values():
            if node.said is not None:
                self._say(tables.series, node, _series_row(node.key, 0, node.said), _SERIES_SAID)
                requests = tables.series_request
                self._connection.execute(sqlalchemy.delete(requests).where(requests.c.series_key == node.key))
                if rows := _request_rows(node.key, node.said.header or NOTHING):
                    self._connection.execute(sqlalchemy.insert(requests), rows)
                touched.add(node.key)
        if touched or patients:
            remove.recount(self._connection, sorted(touched), sorted(patients))

    def _say(self, table: sqlalchemy.Table, node: _Node, row: _Row, names: Iterable[str]) -> None:
        values = {name: row[name] for name in names}
        self._connection.execute(sqlalchemy.update(table).where(table.c.key == node.key).values(values))

    def _put(self, table: sqlalchemy.Table, nodes: Iterable[_Node], move: sqlalchemy.Update) -> None:
        new: list[_Row] = []
        moved: list[_Row] = []
        for node in nodes:
            if node.new:
                new.append(node.row)
            else:
                moved.append({f"new_{name}": value for name, value in node.row.items()} | {"which": node.key})
        if new:
            self._connection.execute(sqlalchemy.insert(table), new)
        if moved:
            self._connection.execute(move, moved)


def patient_identity(known: header.Header, study: str) -> str:
    """What makes two instances one patient's: id and issuer; without an id nothing but the study does."""
    if known.patient_id:
        identity = f"{known.patient_id}\\{known.issuer_of_patient_id or ''}"
        return identity if identity.isascii() and "\0" not in identity else words.clean(identity) or ""
    return f"\\\\{study}"


def _moving(row: sqlalchemy.RowMapping, names: Iterable[str]) -> _Row:
    return {name: row[name] for name in names}


def _with(joined: str, value: str | None) -> str:
    """The sorted list with one more value."""
    if not value:
        return joined
    found = joined.split("\\") if joined else []
    return joined if value in found else "\\".join(sorted([*found, value]))


def _copied(known: header.Header, names: Iterable[str]) -> _Row:
    row: _Row = {}
    for name in names:
        value = getattr(known, name)
        if isinstance(value, str):
            value = words.clean(value)
        elif isinstance(value, tuple):
            value = words.joined(value)
        elif isinstance(value, int):
            value = words.number(value)
        row[name] = value
    return row


def _same(table: sqlalchemy.Table) -> tuple[str, ...]:
    """The columns that hold a field of the header as it is."""
    taken = {*_PATIENT_MOVES, *_STUDY_MOVES, *_SERIES_MOVES, "study", "series"}
    return tuple(column.name for column in table.c if column.name in header.TAGS and column.name not in taken)


_PATIENT_FIELDS = _same(tables.patient)
_STUDY_FIELDS = _same(tables.study)
_SERIES_FIELDS = _same(tables.series)
# What an instance says of the row above it: the fields, and what is made of them.
_PATIENT_SAID = (*_PATIENT_FIELDS, "name_alphabetic", "name_ideographic", "name_phonetic")
_STUDY_SAID = (*_STUDY_FIELDS, "referring_folded")
_SERIES_SAID = (*_SERIES_FIELDS, "source", "peer")


def _counters(item: ingest.Item) -> _Row:
    received = words.moment(item.arrival.received)
    return {"instances": 0, "bytes": 0, "first_arrival": received, "last_arrival": received}


def _patient_row(key: int, identity: str, item: ingest.Item) -> _Row:
    known = item.header or NOTHING
    alphabetic, ideographic, phonetic = words.name_groups(known.patient_name)
    row = _copied(known, _PATIENT_FIELDS) | _counters(item)
    row |= {"key": key, "identity": identity, "studies": 0, "series": 0}
    row |= {"name_alphabetic": alphabetic, "name_ideographic": ideographic, "name_phonetic": phonetic}
    row["patient_id"] = row["patient_id"] or ""
    row["issuer_of_patient_id"] = row["issuer_of_patient_id"] or ""
    return row


def _study_row(key: int, patient: int, item: ingest.Item) -> _Row:
    known = item.header or NOTHING
    row = _copied(known, _STUDY_FIELDS) | _counters(item)
    row |= {"key": key, "patient_key": patient, "study": item.arrival.identity.study, "series": 0}
    row |= {"modalities": "", "sop_classes": ""}
    row["referring_folded"] = names.fold(words.clean(known.referring_physician) or "")
    return row


def _series_row(key: int, study: int, item: ingest.Item) -> _Row:
    known = item.header or NOTHING
    row = _copied(known, _SERIES_FIELDS) | _counters(item)
    row |= {"key": key, "study_key": study, "series": item.arrival.identity.series}
    row |= {"frames": 0, "sop_classes": "", "expires": None}
    return row | {"source": words.clean(item.arrival.calling), "peer": item.arrival.peer}


def _request_rows(key: int, known: header.Header) -> list[_Row]:
    return [
        {"series_key": key, "position": position}
        | {name: words.clean(value) for name, value in request._asdict().items()}
        for position, request in enumerate(known.requests)
    ]
