"""Lookup tables of a data set: palettes and their segments, modality tables."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from node import errors
from node.dicom import scan

Array = np.ndarray[Any, np.dtype[Any]]

MODALITY = 0x00283000  # Modality LUT Sequence
_DESCRIPTOR, _TYPE, _DATA = 0x00283002, 0x00283004, 0x00283006
_MOST = 65536  # entries


@dataclasses.dataclass(frozen=True, slots=True)
class Lookup:
    """What stored values stand for."""

    values: Array  # uint8 or uint16
    first: int  # the stored value of the first entry; lower ones are that one too
    bits: int  # of an entry
    unit: str = ""  # Modality LUT Type

    def of(self, found: Array) -> Array:
        """What these values stand for."""
        at = np.clip(found.astype(np.int64) - self.first, 0, len(self.values) - 1)
        made: Array = self.values[at]
        return made


def modality(header: scan.Table, *, signed: bool) -> Lookup | None:
    """The modality lookup table, None when there is none."""
    row = header.find(MODALITY)
    items = [] if row is None else header.children(row)
    if not items:
        return None
    found = table(header, _DESCRIPTOR, _DATA, None, signed=signed, within=items[0])
    unit = header.get(_TYPE, items[0])
    return dataclasses.replace(found, unit=unit.strip() if isinstance(unit, str) else "")


def table(
    header: scan.Table, descriptor: int, data: int, segmented: int | None, *, signed: bool, within: int = -1
) -> Lookup:
    """A table by its descriptor and its entries, plain or in segments; BadData when it cannot be."""
    count, first, bits = _descriptor(header, descriptor, within, signed=signed)
    row = header.find(data, within)
    order = header.encoding.order
    if row is not None:
        vr = header[row].vr
        return Lookup(_plain(header.raw(row), count, bits, order, vr, data), first, bits)
    row = None if segmented is None else header.find(segmented, within)
    if row is None:
        raise errors.BadData("a lookup table has no entries", tag=data)
    words = _words(header.raw(row), bits, order)
    return Lookup(_unfolded(words, count, bits), first, bits)


def _descriptor(header: scan.Table, tag: int, within: int, *, signed: bool) -> tuple[int, int, int]:
    """(entries, first value, bits of an entry)."""
    row = header.find(tag, within)
    raw = b"" if row is None else header.raw(row)
    if len(raw) < 6:
        raise errors.BadData("a lookup table has no descriptor of three numbers", tag=tag)
    # US or SS: which of them the first stored value is, Pixel Representation says.
    count, first, bits = (int(word) for word in np.frombuffer(raw, f"{header.encoding.order}u2", 3))
    if signed and first >= 0x8000:
        first -= 0x10000
    if not 8 <= bits <= 16:
        raise errors.BadData(f"a lookup table with entries of {bits} bits cannot be", tag=tag)
    return count or _MOST, first, bits


def _plain(raw: bytes, count: int, bits: int, order: str, vr: str, tag: int) -> Array:
    if len(raw) >= 2 * count:
        return np.frombuffer(raw, f"{order}u2", count).astype("<u2")
    if bits == 8 and len(raw) >= count:  # two entries in a word
        packed = np.frombuffer(raw, np.uint8)
        if order == ">" and vr == "OW" and not len(raw) % 2:
            packed = packed.reshape(-1, 2)[:, ::-1].reshape(-1)
        return packed[:count]
    raise errors.BadData(f"a lookup table of {len(raw)} bytes for {count} entries of {bits} bits", tag=tag)


def _words(raw: bytes, bits: int, order: str) -> Array:
    if bits == 8:
        return np.frombuffer(raw, np.uint8)
    return np.frombuffer(raw, f"{order}u2", len(raw) // 2)


def _unfolded(words: Array, count: int, bits: int) -> Array:
    """The entries of segments: runs of values, straight lines, and repetitions of those (PS3.3 C.7.9.2)."""
    out = np.zeros(count, np.uint16)
    made = at = 0
    wide = 2 if bits > 8 else 4  # parts of the offset that an indirect segment points with
    known: dict[int, tuple[int, Array]] = {}  # by where a segment begins: opcode and what follows its length
    again: list[int] = []
    steps = 0
    while (at + 1 < len(words) or again) and made < count:
        steps += 1
        if steps > 4 * _MOST:
            raise errors.BadData("the segments of a lookup table never end")
        if again:
            opcode, body = known[again.pop(0)]
        else:
            begun, opcode, length = at, int(words[at]), int(words[at + 1])
            size = {0: length, 1: 1, 2: wide}.get(opcode)
            if size is None or at + 2 + size > len(words):
                raise errors.BadData(f"a segment of kind {opcode} in a lookup table cannot be")
            body = words[at + 2 : at + 2 + size]
            at += 2 + size
            if opcode == 2:
                again = _pointed(body, length, bits, known)
                continue
            if opcode == 1:
                body = np.array((length, int(body[0])))
            known[begun] = (opcode, body)
        if opcode == 0:
            entries: Array = body
        elif not made:
            raise errors.BadData("the first segment of a lookup table goes on from nothing")
        else:
            length, end = int(body[0]), int(body[1])
            start = int(out[made - 1])
            entries = np.rint(np.linspace(start, end, length + 1)[1:])
        entries = entries[: count - made]
        out[made : made + len(entries)] = entries
        made += len(entries)
    if made < count:
        raise errors.BadData(f"the segments of a lookup table make {made} of {count} entries")
    return out


def _pointed(body: Array, copies: int, bits: int, known: dict[int, tuple[int, Array]]) -> list[int]:
    """Where the segments begin that an indirect one repeats."""
    parts = [int(part) for part in body]
    width = 16 if bits > 8 else 8
    place = sum(part << width * at for at, part in enumerate(parts))
    place //= 2 if bits > 8 else 1
    starts = sorted(known)
    if place not in known or starts.index(place) + copies > len(starts):
        raise errors.BadData("a segment of a lookup table repeats what is not there")
    return starts[starts.index(place) : starts.index(place) + copies]
