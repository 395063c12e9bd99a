"""Whole elements, items and sequences as bytes."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from node import errors
from node.dicom import charset as charsets
from node.dicom import path as paths
from node.dicom import values
from node.dicom import vr as vrs


class Form(NamedTuple):
    """How elements are written at a place."""

    explicit: bool  # VRs are written
    order: str  # "<" or ">"
    sets: tuple[str, ...] = ()  # the character sets that govern it


_SHORT = frozenset(vrs.SHORT_VRS)
_HEADS = {
    order: (
        struct.Struct(order + "HH2sH").pack,
        struct.Struct(order + "HH2sHI").pack,
        struct.Struct(order + "HHI").pack,
        struct.Struct(order + "I").pack,
    )
    for order in "<>"
}


def number(value: int, order: str) -> bytes:
    """A length of four bytes."""
    return _HEADS[order][3](value)


def element(tag: int, vr: str, value: bytes, form: Form) -> bytes:
    """Header and value. A value too long for its VR's two-byte length is written as UN (PS3.5 6.2.2)."""
    length = len(value)
    if length > 0xFFFFFFFE:
        raise errors.UsageError(f"{vrs.show(tag)} cannot hold {length} bytes")
    short, long, implicit, _ = _HEADS[form.order]
    group, rest = tag >> 16, tag & 0xFFFF
    if not form.explicit:
        return implicit(group, rest, length) + value
    if vr in _SHORT:
        if length <= 0xFFFF:
            return short(group, rest, vr.encode(), length) + value
        vr = "UN"
    return long(group, rest, vr.encode(), 0, length) + value


def item(content: bytes, form: Form) -> bytes:
    """An item of defined length."""
    return _HEADS[form.order][2](0xFFFE, 0xE000, len(content)) + content


def sequence(tag: int, items: Sequence[bytes], form: Form) -> bytes:
    """A sequence of defined length, of items' contents."""
    return element(tag, "SQ", b"".join(item(content, form) for content in items), form)


def whole(tag: int, vr: str, value: values.Value, form: Form) -> bytes:
    """An element from a Python value; a list of mappings makes a sequence."""
    if vr == "SQ" and not isinstance(value, (bytes, values.Raw)):
        if value is None:
            value = ()
        several = (value,) if isinstance(value, Mapping) else value
        if not isinstance(several, (list, tuple)) or not all(isinstance(one, Mapping) for one in several):
            raise values.BadValue(value, vr, "it takes a list of items, each a mapping of element to value")
        return sequence(tag, [dataset(one, form) for one in several], form)
    if isinstance(value, values.Raw):
        vr = value.vr or vr
    if vr == "UN" and isinstance(value, (str, int, float)):
        raise values.BadValue(value, vr, f"nothing says what {vrs.show(tag)} is; name its VR")
    return element(tag, vr, values.encode(value, vr, form.order, form.sets), form)


def dataset(content: Mapping[Any, values.Value], form: Form) -> bytes:
    """The elements of an item, named by keyword or tag, in the order of their tags."""
    tags: dict[int, values.Value] = {}
    for name, value in content.items():
        tag = name if isinstance(name, int) else _tag(str(name))
        tags[tag] = value
    return b"".join(whole(tag, vrs.of(tag), tags[tag], form) for tag in sorted(tags))


def _tag(name: str) -> int:
    path = paths.parse(name)
    if len(path.steps) != 1 or not path.leaf.exact:
        raise errors.UsageError(f"{name!r} must be the keyword or tag of one element")
    return path.leaf.tag


def fits(value: values.Value, vr: str, sets: charsets.Charsets) -> bool:
    """Whether a value's text can be written in these character sets."""
    try:
        values.encode(value, vr, "<", sets)
    except charsets.Unencodable:
        return False
    return True
