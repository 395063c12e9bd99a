"""An element's bytes as Python values and Python values as an element's bytes, by VR."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from node.dicom import charset as charsets

Value = Any  # str, int, float, bytes, or a tuple of these; None when empty

TEXT_VRS = frozenset(
    {"LO", "LT", "PN", "SH", "ST", "UC", "UT"}
)  # the ones that Specific Character Set governs
CODE_VRS = frozenset({"AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI", "UR"})
_ONE_VALUE = frozenset({"LT", "ST", "UT", "UR"})  # a backslash is a character there
NUMBERS = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d", "UV": "Q", "SV": "q"}
BYTES_VRS = frozenset({"OB", "OW", "OD", "OF", "OL", "OV", "UN"})
WORD = {"OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}  # what is swapped in big endian
_SIZE = {vr: struct.calcsize("=" + code) for vr, code in NUMBERS.items()}


def decode(raw: bytes, vr: str, order: str = "<", sets: charsets.Charsets = ()) -> Value:
    """The value, several of them as a tuple, None when empty; numbers that are none come back as text."""
    if not raw:
        return None
    if vr in NUMBERS:
        count = len(raw) // _SIZE[vr]
        found = struct.unpack_from(f"{order}{count}{NUMBERS[vr]}", raw)
        return found[0] if count == 1 else found or None
    if vr == "AT":
        count = len(raw) // 4
        halves = struct.unpack_from(f"{order}{count * 2}H", raw)
        tags = tuple(halves[i] << 16 | halves[i + 1] for i in range(0, count * 2, 2))
        return tags[0] if count == 1 else tags or None
    if vr in TEXT_VRS:
        return _split(charsets.decode(raw, sets), vr)
    if vr == "IS" or vr == "DS":
        return _numbers(str(raw, "latin-1"), vr)
    if vr in CODE_VRS:
        return _split(str(raw, "latin-1"), vr)
    return bytes(raw)


def _split(text: str, vr: str) -> Value:
    if vr in _ONE_VALUE:
        return text.rstrip(" \0") or None
    if "\\" not in text:
        return _strip(text, vr) or None
    return tuple(_strip(part, vr) for part in text.rstrip("\0").split("\\"))


def _strip(text: str, vr: str) -> str:
    if vr == "UI":
        return text.rstrip("\0 ")
    return text.rstrip(" \0") if vr in ("PN", "UC") else text.strip(" \0")


def _numbers(text: str, vr: str) -> Value:
    parts = text.strip(" \0").split("\\")
    read: Callable[[str], Any] = int if vr == "IS" else float
    out: list[Any] = []
    for part in parts:
        part = part.strip()
        try:
            out.append(read(part) if part else None)
        except ValueError:
            out.append(part)
    return out[0] if len(out) == 1 else tuple(out)
