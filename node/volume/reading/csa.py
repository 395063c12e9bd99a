"""The headers in headers of Siemens (CSA): names with texts, in two layouts; no length is trusted."""

from __future__ import annotations

import math
import struct
from collections.abc import Collection, Mapping

_MOST_TAGS = 1000  # of one header; real ones have some hundred
_MOST_ITEMS = 1000  # of one tag
_COUNTS = struct.Struct("<II").unpack_from
_TAG = struct.Struct("<64si4siii").unpack_from  # name, multiplicity, VR, type, items, delimiter
_ITEM = struct.Struct("<4i").unpack_from
_TAG_BYTES, _ITEM_BYTES = 84, 16

Csa = Mapping[str, tuple[str, ...]]  # the texts of each tag that has any


def read(raw: bytes, wanted: Collection[str] | None = None) -> Csa:
    """The tags of a header (those wanted, or all); what breaks off or lies ends the reading.

    In the older layout the length of an item has the number of items of the first tag added to it.
    """
    newer = raw[:4] == b"SV10"
    at = 8 if newer else 0
    if len(raw) < at + 8:
        return {}
    count, check = _COUNTS(raw, at)
    if not 0 < count <= _MOST_TAGS or check not in (77, 205, 0):
        return {}
    at += 8
    first = 0
    found: dict[str, tuple[str, ...]] = {}
    for number in range(count):
        if at + _TAG_BYTES > len(raw):
            break
        name, _, _, _, items, _ = _TAG(raw, at)
        at += _TAG_BYTES
        if not 0 <= items <= _MOST_ITEMS:
            break
        if number == 0:
            first = items
        keyword = name.split(b"\0", 1)[0].decode("latin-1")
        keep = wanted is None or keyword in wanted
        texts: list[str] = []
        for _ in range(items):
            if at + _ITEM_BYTES > len(raw):
                return found
            one, two, _, _ = _ITEM(raw, at)
            length = two if newer else max(0, one - first)
            at += _ITEM_BYTES
            if length < 0 or at + length > len(raw):
                return found
            if keep and length:
                texts.append(raw[at : at + length].split(b"\0", 1)[0].decode("latin-1").strip())
            at += length + -length % 4
        if keep and any(texts):
            found[keyword] = tuple(text for text in texts if text)
    return found


def numbers(csa: Csa, name: str) -> tuple[float, ...]:
    """The numbers of a tag; () where one of them cannot be read."""
    try:
        found = tuple(map(float, csa.get(name, ())))
    except ValueError:
        return ()
    return found if all(map(math.isfinite, found)) else ()


def number(csa: Csa, name: str) -> float:
    """The first number of a tag, NaN where there is none."""
    found = numbers(csa, name)
    return found[0] if found else math.nan


def protocol(csa_series: bytes, names: Collection[str]) -> dict[str, str]:
    """Lines of the protocol in the series header (`sPat.lAccelFactPE = 2`), as far as they stand there."""
    begin = csa_series.find(b"### ASCCONV BEGIN")
    end = csa_series.find(b"### ASCCONV END", begin + 1)
    if begin < 0 or end < 0 or end - begin > _MOST_PROTOCOL:
        return {}
    found: dict[str, str] = {}
    for line in csa_series[begin:end].decode("latin-1").splitlines():
        name, sign, value = line.partition("=")
        name = name.strip()
        if sign and name in names:
            found[name] = value.split("#", 1)[0].strip().strip('"')
    return found


def value(told: Mapping[str, str], name: str) -> float | None:
    """A number of the protocol, which may be written in hexadecimal; None where there is none."""
    text = told.get(name, "")
    try:
        found = float(int(text, 16)) if text.lower().startswith("0x") else float(text)
    except ValueError:
        return None
    return found if math.isfinite(found) else None


_MOST_PROTOCOL = 4 << 20  # bytes; real ones have some hundred thousand
