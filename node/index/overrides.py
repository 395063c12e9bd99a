"""Names and orders that people gave to series and images here; no file of the store carries them."""

from __future__ import annotations

from typing import Any

import sqlalchemy

from node import errors
from node.files import ledger
from node.index import db, tables, tracker

_instance = tables.instance.c
_series = tables.series.c
_study = tables.study.c
_named = tables.series_override.c
_placed = tables.image_override.c


def check_custom(custom_id: str | None) -> None:
    """Refuse a name that could be taken for a UID or a frame, or that nobody can type."""
    if custom_id is None:
        return
    if tracker.is_uid(custom_id) or "#" in custom_id or not custom_id.isprintable() or not custom_id.strip():
        raise errors.UsageError(
            f"{custom_id!r} cannot be a custom id: it needs a character that no UID has, "
            "and none that is # or cannot be printed"
        )


def set_series(connection: sqlalchemy.Connection, key: int, **values: object) -> None:
    """Change what a series was given."""
    _put(connection, tables.series_override, {"series_key": key}, values)


def set_image(connection: sqlalchemy.Connection, at: tracker.Location, **values: object) -> None:
    """Change what an image was given."""
    series_key = sqlalchemy.select(_instance.series_key).where(_instance.key == at.key).scalar_subquery()
    named: dict[str, object] = {"instance_key": at.key, "frame": at.frame or 0}
    _put(connection, tables.image_override, named, values, {"series_key": series_key})


def _put(
    connection: sqlalchemy.Connection,
    table: sqlalchemy.Table,
    named: dict[str, object],
    values: dict[str, object],
    more: dict[str, object] | None = None,
) -> None:
    where = [table.c[name] == value for name, value in named.items()]
    if not connection.execute(sqlalchemy.update(table).where(*where).values(values)).rowcount:
        connection.execute(sqlalchemy.insert(table).values({**named, **values, **(more or {})}))


def unorder(connection: sqlalchemy.Connection, series_key: int) -> None:
    """Take the order of a series away, and leave the names."""
    mine = _placed.series_key == series_key
    connection.execute(sqlalchemy.update(tables.image_override).where(mine).values(position=None))
    connection.execute(sqlalchemy.delete(tables.image_override).where(mine, _placed.custom_id.is_(None)))


def reset(connection: sqlalchemy.Connection, series_key: int) -> None:
    """Take the names and the order of a series and its images away."""
    connection.execute(sqlalchemy.delete(tables.image_override).where(_placed.series_key == series_key))
    connection.execute(sqlalchemy.delete(tables.series_override).where(_named.series_key == series_key))


def replay(connection: sqlalchemy.Connection, fact: dict[str, Any]) -> None:
    """Do again what the ledger says was given; what it was given to may be gone, and come again since."""
    uids = {"study_uid": fact["study"], "series_uid": fact["series"]}
    key = connection.execute(_SERIES_KEY, uids).scalar()
    if key is None:
        return
    match fact["kind"]:
        case ledger.SERIES_NAME:
            _free(connection, tables.series_override, fact["custom_id"])
            set_series(connection, key, custom_id=fact["custom_id"])
        case ledger.IMAGE_NAME:
            _free(connection, tables.image_override, fact["custom_id"])
            _replay_image(connection, fact, fact["sop_instance"], fact["frame"], custom_id=fact["custom_id"])
        case ledger.ORDER:
            unorder(connection, key)
            for position, (uid, frame) in enumerate(fact["images"]):
                _replay_image(connection, fact, uid, frame, position=position)
            set_series(connection, key, ordered=True)
        case ledger.RESET:
            reset(connection, key)


def _replay_image(
    connection: sqlalchemy.Connection, fact: dict[str, Any], uid: str, frame: int, **values: object
) -> None:
    uids = {"study_uid": fact["study"], "series_uid": fact["series"], "uid": uid}
    found = connection.execute(_INSTANCE_KEYS, uids).first()
    # What came after the name was given is another copy, and the name went with the first.
    if found is not None and found.received <= fact["at"]:
        named: dict[str, object] = {"instance_key": found.key, "frame": frame}
        _put(connection, tables.image_override, named, values, {"series_key": found.series_key})


def _free(connection: sqlalchemy.Connection, table: sqlalchemy.Table, custom_id: str | None) -> None:
    """Take a name from whoever had it: the last one that it was given to has it."""
    if custom_id is not None:
        taken = table.c.custom_id == custom_id
        connection.execute(sqlalchemy.update(table).where(taken).values(custom_id=None))


def carry(old: db.Database, new: db.Database) -> int:
    """Give what series and images had in the old index to those of the new; how many were not found."""
    lost = 0
    with old.read() as source, new.write() as target:
        for table in (tables.image_override, tables.series_override):
            target.execute(sqlalchemy.delete(table))  # what the ledger says of them; the index knows better
        for row in source.execute(_ALL_SERIES).all():
            key = target.execute(_SERIES_KEY, {"study_uid": row.study, "series_uid": row.series}).scalar()
            if key is None:
                lost += 1
            else:
                set_series(target, key, custom_id=row.custom_id, ordered=row.ordered)
        for one in source.execute(_ALL_IMAGES).all():
            uids = {"study_uid": one.study, "series_uid": one.series, "uid": one.sop_instance}
            found = target.execute(_INSTANCE_KEYS, uids).first()
            if found is None:
                lost += 1
                continue
            named: dict[str, object] = {"instance_key": found.key, "frame": one.frame}
            given: dict[str, object] = {"custom_id": one.custom_id, "position": one.position}
            _put(target, tables.image_override, named, given, {"series_key": found.series_key})
    return lost


_ALL_SERIES = (
    sqlalchemy.select(_study.study, _series.series, _named.custom_id, _named.ordered)
    .join(tables.series, _series.key == _named.series_key)
    .join(tables.study, _study.key == _series.study_key)
)
_ALL_IMAGES = (
    sqlalchemy.select(
        _study.study,
        _series.series,
        _instance.sop_instance,
        _placed.frame,
        _placed.custom_id,
        _placed.position,
    )
    .join(tables.instance, _instance.key == _placed.instance_key)
    .join(tables.series, _series.key == _instance.series_key)
    .join(tables.study, _study.key == _series.study_key)
)
_SERIES_KEY = (
    sqlalchemy.select(_series.key)
    .join(tables.study, _study.key == _series.study_key)
    .where(
        _series.series == sqlalchemy.bindparam("series_uid"),
        _study.study == sqlalchemy.bindparam("study_uid"),
    )
)
_INSTANCE_KEYS = (
    sqlalchemy.select(_instance.key, _instance.series_key, _instance.received)
    .join(tables.series, _series.key == _instance.series_key)
    .join(tables.study, _study.key == _series.study_key)
    .where(
        _instance.sop_instance == sqlalchemy.bindparam("uid"),
        _series.series == sqlalchemy.bindparam("series_uid"),
        _study.study == sqlalchemy.bindparam("study_uid"),
    )
)
