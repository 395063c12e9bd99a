"""The image manager: everything held, by series, instance and frame, with names and orders of one's own."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy
from sqlalchemy import bindparam, func

from node import errors, model
from node.files import ledger
from node.index import db, lookup, overrides, remove, tables, tracker, witness, words
from node.index import ledger as deliveries

_instance = tables.instance.c
_series = tables.series.c
_study = tables.study.c
_patient = tables.patient.c
_named = tables.series_override.c
_placed = tables.image_override.c
_reference = tables.reference.c


@dataclasses.dataclass(frozen=True, slots=True)
class SeriesEntry:
    """A series that is held."""

    key: int  # its row
    study: str  # Study Instance UID
    series: str  # Series Instance UID
    custom_id: str | None  # the name it was given here
    ordered: bool  # whether its order was set here
    modality: str | None  # Modality
    number: int | None  # Series Number
    description: str | None  # Series Description
    instances: int  # how many are held
    frames: int  # of all of them together
    bytes: int  # of their data sets
    last_arrival: datetime.datetime  # when the last of them came


@dataclasses.dataclass(frozen=True, slots=True)
class ReferenceEntry:
    """An instance that a presentation state (or another object) refers to, or one that refers to it."""

    image: model.ImageId  # the instance, or one frame of it
    series: str  # Series Instance UID, "" when neither held nor said
    held: bool  # whether it is here


_ENTRY = (
    sqlalchemy.select(
        _series.key,
        _study.study.label("study"),
        _series.series.label("series"),
        _named.custom_id,
        func.coalesce(_named.ordered, sqlalchemy.false()).label("ordered"),
        _series.modality,
        _series.series_number.label("number"),
        _series.series_description.label("description"),
        _series.instances,
        _series.frames,
        _series.bytes,
        _series.last_arrival,
    )
    .join(tables.study, _study.key == _series.study_key)
    .outerjoin(tables.series_override, _named.series_key == _series.key)
)
_HELD = (
    sqlalchemy.select(
        _instance.key,
        _study.study.label("study"),
        _series.series.label("series"),
        _instance.sop_class,
        _instance.sop_instance,
        _instance.syntax,
        _instance.digest,
        _instance.path,
        _instance.offset,
        _instance.size,
        _instance.frames,
        _instance.received,
        _instance.source,
        _instance.coercion,
    )
    .join(tables.series, _series.key == _instance.series_key)
    .join(tables.study, _study.key == _series.study_key)
)


class Images:
    """Look up, name, order and remove what is held; every call is a transaction of its own."""

    def __init__(self, database: db.Database, ledgers: witness.Witness | None = None) -> None:
        """With a witness, what is given and removed here outlives the index as well."""
        self._database = database
        self._witness = ledgers
        self.tracker = tracker.Tracker(database)

    # Looking

    def series(self, *, study: str | None = None, after: int = 0, limit: int = 1000) -> list[SeriesEntry]:
        """Series in the order they came, page by page: `after` is the key of the last one seen."""
        statement = _ENTRY.where(_series.key > after).order_by(_series.key).limit(limit)
        if study is not None:
            statement = statement.where(_study.study == study)
        with self._database.read() as connection:
            return [_entry(row) for row in connection.execute(statement)]

    def one_series(self, name: str) -> SeriesEntry:
        """The series of that Series Instance UID or custom id; raises NotFound."""
        with self._database.read() as connection:
            return _one_series(connection, name)

    def instance(self, image: str | model.ImageId) -> model.Instance:
        """The instance behind an image's name; raises NotFound."""
        with self._database.read() as connection:
            at = tracker.locate(connection, str(image))
            return lookup.instance(connection.execute(_HELD.where(_instance.key == at.key)).one())

    def instances(self, name: str, *, after: int = 0, limit: int = 100_000) -> list[model.Instance]:
        """The instances of a series in its order: the one set here, else by instance number."""
        with self._database.read() as connection:
            series = _one_series(connection, name)
            statement = (
                _HELD.outerjoin(
                    _first_places(series.key),
                    sqlalchemy.literal_column("places.instance_key") == _instance.key,
                )
                .where(_instance.series_key == series.key)
                .order_by(
                    sqlalchemy.nulls_last(sqlalchemy.literal_column("places.position")),
                    sqlalchemy.nulls_last(_instance.instance_number.asc()),
                    _instance.sop_instance,
                )
                .offset(after)
                .limit(limit)
            )
            return [lookup.instance(row) for row in connection.execute(statement)]

    def images(self, name: str) -> list[model.ImageId]:
        """Every image of a series in its order: whole instances, and the frames of what has several."""
        with self._database.read() as connection:
            series = _one_series(connection, name)
            return [image for image, _ in _images(connection, series)]

    def frames(self, image: str | model.ImageId) -> list[model.ImageId]:
        """The frames of an instance, from 1."""
        at = self.tracker.locate(image)
        return [model.ImageId(at.sop_instance, number + 1) for number in range(at.frames)]

    def metadata(self, image: str | model.ImageId) -> dict[str, Any]:
        """Everything the index knows of an image, its series, study and patient, and the name given here.

        Keys are the columns of the tables, outermost level first, with `frame` and `custom_id`.
        """
        with self._database.read() as connection:
            at = tracker.locate(connection, str(image))
            return _metadata(connection, at)

    def references(self, image: str | model.ImageId) -> list[ReferenceEntry]:
        """The images that a presentation state or another object refers to, in its order."""
        with self._database.read() as connection:
            at = tracker.locate(connection, str(image))
            return list(_references(connection, at.key))

    def presentations(self, image: str | model.ImageId) -> list[ReferenceEntry]:
        """The held presentation states, and other objects, that refer to an image."""
        with self._database.read() as connection:
            at = tracker.locate(connection, str(image))
            return list(_referring(connection, at))

    # Changing

    def name_series(self, name: str, custom_id: str | None) -> None:
        """Give a series another name, or take it away with None."""
        overrides.check_custom(custom_id)
        with self._database.write() as connection:
            series = _one_series(connection, name)
            taken = sqlalchemy.select(_named.series_key).where(
                _named.custom_id == custom_id, _named.series_key != series.key
            )
            if custom_id is not None and connection.execute(taken).first():
                raise errors.UsageError(f"another series is called {custom_id!r} already")
            overrides.set_series(connection, series.key, custom_id=custom_id)
            self._given(ledger.SERIES_NAME, series.study, series.series, custom_id=custom_id)

    def name_image(self, image: str | model.ImageId, custom_id: str | None) -> None:
        """Give an instance or a frame another name, or take it away with None."""
        overrides.check_custom(custom_id)
        with self._database.write() as connection:
            at = tracker.locate(connection, str(image))
            taken = connection.execute(
                sqlalchemy.select(_placed.instance_key, _placed.frame).where(_placed.custom_id == custom_id)
            ).first()
            if custom_id is not None and taken is not None and tuple(taken) != (at.key, at.frame or 0):
                raise errors.UsageError(f"another image is called {custom_id!r} already")
            overrides.set_image(connection, at, custom_id=custom_id)
            named = {"sop_instance": at.sop_instance, "frame": at.frame or 0, "custom_id": custom_id}
            self._given(ledger.IMAGE_NAME, at.study, at.series, **named)

    def order(self, name: str, images: Sequence[str | model.ImageId]) -> None:
        """Put images of a series in this order; those that are not named come after, in their own."""
        with self._database.write() as connection:
            series = _one_series(connection, name)
            places = [tracker.locate(connection, str(image)) for image in images]
            seen: set[tuple[int, int]] = set()
            for at, image in zip(places, images, strict=True):
                if (at.study, at.series) != (series.study, series.series):
                    raise errors.UsageError(f"{image} is not of series {series.series} but of {at.series}")
                if (at.key, at.frame or 0) in seen:
                    raise errors.UsageError(f"{image} stands in the order twice")
                seen.add((at.key, at.frame or 0))
            overrides.unorder(connection, series.key)
            for position, at in enumerate(places):
                overrides.set_image(connection, at, position=position)
            overrides.set_series(connection, series.key, ordered=True)
            ordered = [(at.sop_instance, at.frame or 0) for at in places]
            self._given(ledger.ORDER, series.study, series.series, images=ordered)

    def reset(self, name: str) -> None:
        """Forget the names and the order given here to a series and its images; nothing else changes."""
        with self._database.write() as connection:
            series = _one_series(connection, name)
            overrides.reset(connection, series.key)
            self._given(ledger.RESET, series.study, series.series)

    def _given(self, kind: str, study: str, series: str, **fact: object) -> None:
        if self._witness is not None:
            now = words.moment(datetime.datetime.now(datetime.UTC))
            self._witness.given(kind, study=study, series=series, at=now, **fact)

    def owed(self, level: model.Level, name: str) -> dict[str, int]:
        """By destination, how much of what is named it is still owed: a removal calls that off."""
        with self._database.read() as connection:
            return deliveries.owed_of(connection, _below(connection, level, name))

    def remove(
        self, level: model.Level, name: str, *, who: str, why: str, now: datetime.datetime | None = None
    ) -> list[remove.Removed]:
        """Remove a patient (by Patient ID), study, series or instance with an audit row for each instance.

        The rows are gone when this returns, the files go with the next sweep.
        """
        if not why.strip():
            raise errors.UsageError("a removal needs a reason, which the audit trail keeps")
        with self._database.write() as connection:
            chosen = _below(connection, level, name)
            at = now if now is not None else datetime.datetime.now(datetime.UTC)
            return remove.instances(connection, chosen, who=who, why=why, now=at, witness=self._witness)


def _entry(row: sqlalchemy.Row[*tuple[Any, ...]]) -> SeriesEntry:
    values = row._asdict()
    values["last_arrival"] = words.when(values["last_arrival"])
    values["ordered"] = bool(values["ordered"])
    return SeriesEntry(**values)


def _one_series(connection: sqlalchemy.Connection, name: str) -> SeriesEntry:
    column = _series.series if tracker.is_uid(name) else _named.custom_id
    found = connection.execute(_ENTRY.where(column == name).limit(2)).all()
    if not found:
        raise errors.NotFound(f"no series {name!r} is held")
    if len(found) > 1:
        studies = " and ".join(row.study for row in found)
        raise errors.UsageError(
            f"series {name} is held in the studies {studies}; give each its own name and use that"
        )
    return _entry(found[0])


def _first_places(series_key: int) -> sqlalchemy.Subquery:
    """The first place in the order that each instance, or a frame of it, was given."""
    return (
        sqlalchemy.select(_placed.instance_key, func.min(_placed.position).label("position"))
        .where(_placed.series_key == series_key)
        .group_by(_placed.instance_key)
        .subquery("places")
    )


def _images(connection: sqlalchemy.Connection, series: SeriesEntry) -> Iterator[tuple[model.ImageId, int]]:
    rows = connection.execute(
        sqlalchemy.select(_instance.key, _instance.sop_instance, _instance.frames)
        .where(_instance.series_key == series.key)
        .order_by(sqlalchemy.nulls_last(_instance.instance_number.asc()), _instance.sop_instance)
    ).all()
    if not series.ordered:
        places: dict[tuple[int, int], int] = {}
    else:
        statement = sqlalchemy.select(_placed.instance_key, _placed.frame, _placed.position).where(
            _placed.series_key == series.key, _placed.position.is_not(None)
        )
        places = {(key, frame): position for key, frame, position in connection.execute(statement)}
    natural: list[tuple[model.ImageId, int, int]] = []
    for key, uid, frames in rows:
        # The object says how many frames it has; a list of more than can be is no use to anyone.
        numbers = range(1, min(frames, 1_000_000) + 1) if frames > 1 else (None,)
        natural += [(model.ImageId(uid, number), key, number or 0) for number in numbers]
    last = len(places)
    natural.sort(key=lambda one: places.get((one[1], one[2]), places.get((one[1], 0), last)))
    for image, key, _ in natural:
        yield image, key


def _metadata(connection: sqlalchemy.Connection, at: tracker.Location) -> dict[str, Any]:
    joined = (
        sqlalchemy.select(tables.patient, tables.study, tables.series, tables.instance)
        .select_from(
            tables.instance.join(tables.series, _series.key == _instance.series_key)
            .join(tables.study, _study.key == _series.study_key)
            .join(tables.patient, _patient.key == _study.patient_key)
        )
        .where(_instance.key == at.key)
    )
    row = connection.execute(joined).mappings().one()
    found: dict[str, Any] = {}
    for table in (tables.patient, tables.study, tables.series, tables.instance):
        for column in table.c:
            # Counters of the levels above have the names of facts of the instance: `bytes`, `series`.
            if column.name in _NO_METADATA.get(table.name, ()) or column.name.endswith("key"):
                continue
            found[column.name] = row[column]
    custom = sqlalchemy.select(_placed.custom_id).where(
        _placed.instance_key == at.key, _placed.frame == (at.frame or 0)
    )
    found["frame"] = at.frame
    found["custom_id"] = connection.execute(custom).scalar()
    return found


_COUNTS = frozenset({"studies", "series", "instances", "bytes", "first_arrival", "last_arrival"})
_NO_METADATA = {
    "patient": _COUNTS | {"identity", "name_alphabetic", "name_ideographic", "name_phonetic"},
    "study": _COUNTS | {"sop_classes", "referring_folded"},
    "series": (_COUNTS | {"sop_classes", "frames", "source", "peer", "timezone"}) - {"series"},
}


def _references(connection: sqlalchemy.Connection, key: int) -> Iterator[ReferenceEntry]:
    there = tables.instance.alias("there")
    of = tables.series.alias("of")
    statement = (
        sqlalchemy.select(
            _reference.sop_instance, _reference.series, _reference.frames, func.min(of.c.series).label("at")
        )
        .outerjoin(
            there,
            sqlalchemy.and_(
                there.c.sop_hash == _reference.sop_hash, there.c.sop_instance == _reference.sop_instance
            ),
        )
        .outerjoin(of, of.c.key == there.c.series_key)
        .where(_reference.instance_key == key)
        .group_by(_reference.position, _reference.sop_instance, _reference.series, _reference.frames)
        .order_by(_reference.position)
    )
    for uid, series, frames, at in connection.execute(statement).all():
        for frame in map(int, words.split(frames)) if frames else (None,):
            yield ReferenceEntry(model.ImageId(uid, frame), at or series, at is not None)


_REFERRING = (
    sqlalchemy.select(_instance.sop_instance, _series.series, _reference.frames)
    .join(tables.reference, _reference.instance_key == _instance.key)
    .join(tables.series, _series.key == _instance.series_key)
    .where(_reference.sop_hash == bindparam("hash"), _reference.sop_instance == bindparam("uid"))
    .order_by(_instance.key)
)


def _referring(connection: sqlalchemy.Connection, at: tracker.Location) -> Iterator[ReferenceEntry]:
    seen = set()
    for uid, series, frames in connection.execute(
        _REFERRING, {"uid": at.sop_instance, "hash": words.uid_hash(at.sop_instance)}
    ).all():
        if at.frame is not None and frames and str(at.frame) not in words.split(frames):
            continue
        if uid not in seen:
            seen.add(uid)
            yield ReferenceEntry(model.ImageId(uid), series, True)


def _below(connection: sqlalchemy.Connection, level: model.Level, name: str) -> list[int]:
    """Keys of the instances at or below what `name` names."""
    chosen = sqlalchemy.select(_instance.key)
    if level is model.Level.IMAGE:
        at = tracker.locate(connection, name)
        if at.frame is not None:
            raise errors.UsageError(f"{name} is a frame: only whole instances can be removed")
        return [at.key]
    if level is model.Level.SERIES:
        chosen = chosen.where(_instance.series_key == _one_series(connection, name).key)
    else:
        chosen = chosen.join(tables.series, _series.key == _instance.series_key)
        chosen = chosen.join(tables.study, _study.key == _series.study_key)
        if level is model.Level.STUDY:
            chosen = chosen.where(_study.study == name)
        else:
            chosen = chosen.join(tables.patient, _patient.key == _study.patient_key)
            chosen = chosen.where(_patient.patient_id == name)
            if not name:
                raise errors.UsageError("a patient without an id can only be removed study by study")
    keys = list(connection.execute(chosen.order_by(_instance.key)).scalars())
    if not keys:
        raise errors.NotFound(f"no {level.lower()} {name!r} is held")
    return keys
