"""Tables of frames as headers would fill them, without any file."""

from __future__ import annotations

from typing import Any

import numpy as np

from node.volume import stack, table

Array = np.ndarray[Any, np.dtype[Any]]
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def frames(
    slices: int = 6,
    volumes: int = 1,
    *,
    spacing: float = 2.5,
    orientation: tuple[float, ...] = AXIAL,
    origin: tuple[float, float, float] = (-100.0, -120.0, 40.0),
    **columns: Any,
) -> table.Table:
    """So many volumes of slices, one after the other; a column is given for each row, or for all at once."""
    many = slices * volumes
    normal = np.cross(orientation[:3], orientation[3:])
    depth = np.tile(np.arange(slices) * spacing, volumes)
    made: dict[str, Array] = {
        "source": np.arange(many),
        "frame": np.zeros(many, np.int64),
        "position": np.array(origin) + depth[:, None] * normal,
        "orientation": np.tile(orientation, (many, 1)),
        "spacing": np.tile((0.5, 0.75), (many, 1)),
        "rows": np.full(many, 8.0),
        "columns": np.full(many, 10.0),
        "instance_number": np.arange(many) + 1.0,
        "study": texts("1.2", many),
        "series": texts("1.2.3", many),
    }
    for name, value in columns.items():
        if isinstance(value, str):
            made[name] = texts(value, many)
        elif np.ndim(value) == 0:
            made[name] = np.full(many, float(value))
        else:
            column = table.COLUMNS.get(name)
            made[name] = np.array(value, dtype=object if column and column.kind == table.TEXT else None)
    return table.Table(sources(many), made, many)


def texts(word: str, many: int) -> Array:
    """A column in which the same word stands everywhere."""
    return np.full(many, word, dtype=object)


def sources(many: int) -> list[table.Source]:
    """Files of one instance each."""
    return [table.Source(f"{at}.dcm", 0, 0, "1.2.840.10008.1.2.1", "1.2", f"1.9.{at}") for at in range(many)]


def each(values: Any, slices: int) -> Array:
    """A value for each volume, for all of its slices."""
    return np.repeat(np.asarray(values), slices, axis=0)


def without(made: table.Table, *rows: int) -> table.Table:
    """The table without some rows."""
    return made.take(np.setdiff1d(np.arange(len(made)), rows))


def kinds(one: stack.Stack) -> set[stack.Kind]:
    """Of what kinds the notes of a stack are."""
    return {note.kind for note in one.notes}
