"""From an image's name to where it is: one look into an index, whatever the number of images."""

from __future__ import annotations

import dataclasses
import re

import sqlalchemy
from sqlalchemy import bindparam

from node import errors, model
from node.index import db, tables, words

_instance = tables.instance.c
_series = tables.series.c
_override = tables.image_override.c
_UID = re.compile(r"[0-9.]{1,64}")


@dataclasses.dataclass(frozen=True, slots=True)
class Location:
    """Where an image is."""

    key: int  # row of its instance
    study: str  # Study Instance UID
    series: str  # Series Instance UID
    sop_instance: str  # SOP Instance UID
    frame: int | None  # 1-based; None: the whole instance
    frames: int  # how many the instance has


_PLACE = (
    sqlalchemy.select(
        _instance.key,
        tables.study.c.study.label("study"),
        _series.series.label("series"),
        _instance.sop_instance,
        _instance.frames,
    )
    .join(tables.series, _series.key == _instance.series_key)
    .join(tables.study, tables.study.c.key == _series.study_key)
)
_BY_UID = _PLACE.where(
    _instance.sop_hash == bindparam("hash"), _instance.sop_instance == bindparam("uid")
).order_by(_instance.key)
_BY_CUSTOM = (
    _PLACE.add_columns(_override.frame)
    .join(tables.image_override, _override.instance_key == _instance.key)
    .where(_override.custom_id == bindparam("name"))
)


def is_uid(name: str) -> bool:
    """Whether a name could be a UID; a custom id must not, so that one look is enough."""
    return _UID.fullmatch(name) is not None


def parse(name: str) -> tuple[str, int | None]:
    """An image's name and its frame: `UID`, `UID#frame`, and the same with a custom id for the UID."""
    base, mark, frame = name.partition("#")
    if not mark:
        return base, None
    if not (frame.isascii() and frame.isdigit() and len(frame) <= 9 and int(frame) > 0):
        raise errors.UsageError(f"{name!r} names frame {frame!r}; frames are counted from 1, as in {base}#1")
    return base, int(frame)


class Tracker:
    """Locates images; holds nothing in memory, so a restart or another process changes nothing."""

    def __init__(self, database: db.Database) -> None:
        self._database = database

    def locate(self, image: str | model.ImageId) -> Location:
        """Where `image` is; raises NotFound, or UsageError for a name that cannot be one."""
        with self._database.read() as connection:
            return locate(connection, str(image))


def locate(connection: sqlalchemy.Connection, image: str) -> Location:
    """As `Tracker.locate`, inside a scope that is open."""
    base, frame = parse(image)
    if is_uid(base):
        row = connection.execute(_BY_UID, {"uid": base, "hash": words.uid_hash(base)}).first()
    else:
        row = connection.execute(_BY_CUSTOM, {"name": base}).first()
        if row is not None and row.frame:  # the custom id is a frame's
            if frame is not None:
                raise errors.UsageError(f"{base!r} already names a frame; leave out #{frame}")
            frame = row.frame
    if row is None:
        raise errors.NotFound(f"no image {image!r} is held")
    if frame is not None and frame > row.frames:
        raise errors.NotFound(f"{image!r}: {row.sop_instance} has {row.frames} frames")
    return Location(row.key, row.study, row.series, row.sop_instance, frame, row.frames)
