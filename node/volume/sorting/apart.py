"""What of a series does not belong together, and what each part is called among the others."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from node.volume.sorting import axes, codes

Array = np.ndarray[Any, np.dtype[Any]]

_COMPONENTS = {"M": "magnitude", "P": "phase", "R": "real", "I": "imaginary", "B": "velocity"}
_PLANES = ("sagittal", "coronal", "axial")  # by the axis of the patient that the normal is nearest to
_MOST = 40  # characters of a label's word


@dataclasses.dataclass(frozen=True, slots=True)
class Key:
    """Something in which all frames of a stack are the same."""

    name: str  # in words
    columns: tuple[str, ...]  # what must be the same
    label: Callable[[tuple[Any, ...]], str]  # what a value is called
    same: float = 0.0  # by how much numbers may differ


def _component(value: tuple[Any, ...]) -> str:
    return _COMPONENTS.get(value[0], str(value[0]).lower() or "plain")


def _matrix(value: tuple[Any, ...]) -> str:
    return "x".join(f"{one:g}" for one in value)


def _plane(value: tuple[Any, ...]) -> str:
    along = np.asarray(value[0], dtype=np.float64)
    normal = np.abs(np.cross(along[:3], along[3:]))
    if not np.isfinite(normal).all():
        return ""
    word = _PLANES[int(np.argmax(normal))]
    return word if normal.max() > 0.9998 else f"oblique {word}"


def _text(name: str) -> Callable[[tuple[Any, ...]], str]:
    return lambda value: f"{name} {str(value[0])[:_MOST] or 'none'}".strip()


def _bits(value: tuple[Any, ...]) -> str:
    return f"{value[0]:g} bits{' signed' if value[1] == 1 else ''}"


def _spacing(value: tuple[Any, ...]) -> str:
    if np.isnan(value[0][0]):
        return ""
    return "pixels " + "x".join(f"{one:.4g}" for one in value[0]) + " mm"


# What counts most first: the first that tells two stacks apart gives them their names.
KEYS = (
    Key("component", ("component",), _component),
    Key("image type", ("image_type",), _text("")),
    Key("orientation", ("#orientation",), _plane, 5e-4),
    Key("matrix", ("rows", "columns"), _matrix),
    Key("pixel spacing", ("#spacing",), _spacing, 1e-4),
    Key("colour", ("photometric", "samples"), lambda value: str(value[0]).lower()),
    Key("type of numbers", ("bits_allocated", "signed"), _bits),
    Key("Stack ID", ("stack",), _text("stack")),
    Key("frame of reference", ("frame_of_reference",), lambda _: "frame of reference"),
    Key("modality", ("modality",), _text("")),
)
# Asked for as an axis, these must not part what they are to order.
_WITH = {"component": {"image_type"}, "image_type": {"component"}}


def keys(order: Sequence[axes.Asked], split: Sequence[str]) -> tuple[Key, ...]:
    """What parts frames, when these axes are asked for, and when it is asked to part by these."""
    free = {one.column for one in order}
    for name in tuple(free):
        free |= _WITH.get(name, set())
    made = [key for key in KEYS if not free.intersection(key.columns)]
    made += [
        Key(name, (axes.column(name),), _value(name), 0.01 if name in axes.AXES else 0.0) for name in split
    ]
    return tuple(made)


def _value(name: str) -> Callable[[tuple[Any, ...]], str]:
    def label(value: tuple[Any, ...]) -> str:
        one = value[0]
        return f"{name} {one:g}" if isinstance(one, float) else f"{name} {str(one)[:_MOST]}"

    return label


def code(columns: codes.Columns, key: Key, rows: Array) -> tuple[Array, int]:
    """Numbers for what is the same in a key."""
    found, many = codes.of(columns[key.columns[0]][rows], key.same)
    for name in key.columns[1:]:
        found, many = codes.join(found, codes.of(columns[name][rows], key.same)[0])
    return found, many


def labels(
    columns: codes.Columns, used: Sequence[Key], firsts: Array, within: Sequence[str]
) -> tuple[list[str], list[str]]:
    """A label for each stack of a series by its first row, none twice; and what they differ in, in words.

    `within` is what each is called among those that no key tells apart.
    """
    told, many = np.zeros(len(firsts), np.int64), 1
    words: list[list[str]] = [[] for _ in firsts]
    differing = []
    for key in used:
        mine, kinds = code(columns, key, firsts)
        joint, count = codes.join(told, mine)
        if kinds == 1 or count == many:
            continue
        told, many = joint, count
        differing.append(key.name)
        values = [tuple(columns[name][row] for name in key.columns) for row in firsts.tolist()]
        shown = _types(values) if key.name == "image type" else [key.label(value) for value in values]
        for list_, word in zip(words, shown, strict=True):
            list_.append(word)
    found = [" ".join(filter(None, [*list_, inner])) for list_, inner in zip(words, within, strict=True)]
    if len(differing) == 0 and len(set(within)) > 1:
        differing.append("place or time")
    return _numbered(found), differing


def _types(values: Sequence[tuple[Any, ...]]) -> list[str]:
    """Image types by the words that not all of them have."""
    parts = [[one for one in str(value[0]).lower().split("\\") if one] for value in values]
    common = set(parts[0]).intersection(*parts[1:])
    found = [" ".join(one for one in own if one not in common)[:_MOST] for own in parts]
    return [one or "plain" for one in found]


def _numbered(found: Sequence[str]) -> list[str]:
    """The same words, with a number behind those that stand there again."""
    if len(found) == 1:
        return list(found)
    seen: dict[str, int] = {}
    made = []
    for word in found:
        seen[word] = seen.get(word, 0) + 1
        again = seen[word] > 1 or not word
        made.append(f"{word} {seen[word]}".strip() if again else word)
    return made
