"""Readers of one value each, in the form that the index wants, or a `ValueError` that says what is wrong."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable
from typing import Any

# How an element's bytes become a field. A kind is only a name here; `READERS` says what it does.
TEXT = "text"  # one value in the data set's character set, padding removed
TEXTS = "texts"  # several such values
CODE = "code"  # one value of a VR that knows only ASCII
CODES = "codes"  # several such values
UID = "uid"  # one UID
DATE = "date"  # YYYYMMDD, the form of the 1980s (YYYY.MM.DD) too
TIME = "time"  # HHMMSS.FFFFFF as far as given, the form of the 1980s (HH:MM:SS) too
INTEGER = "integer"  # IS or US or UL or SS or SL, by the VR that is there
DECIMALS = "decimals"  # DS or FL or FD, each value a float
DECIMAL = "decimal"  # the first of these

Decoder = Callable[[bytes], str]
Reader = Callable[[bytes, str, str, Decoder], Any]  # (value, VR, byte order, text decoder) -> field
_TIME = re.compile(r"(?:[01]\d|2[0-3])(?:[0-5]\d(?:(?:[0-5]\d|60)(?:\.\d{1,6})?)?)?")


def clean(text: str) -> str:
    """Padding removed; NUL within becomes U+FFFD, because no database takes it."""
    text = text.strip("\0 ")
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}") if "\0" in text else text


def codes(raw: bytes) -> tuple[str, ...]:
    text = clean(str(raw, "latin-1"))
    return tuple([part.strip() for part in text.split("\\")]) if text else ()


def _read_text(raw: bytes, vr: str, order: str, decode: Decoder) -> str | None:
    return clean(decode(raw)) or None


def _read_texts(raw: bytes, vr: str, order: str, decode: Decoder) -> tuple[str, ...]:
    text = clean(decode(raw))
    return tuple([part.strip() for part in text.split("\\")]) if text else ()


def _read_code(raw: bytes, vr: str, order: str, decode: Decoder) -> str | None:
    return clean(str(raw, "latin-1")) or None


def _read_codes(raw: bytes, vr: str, order: str, decode: Decoder) -> tuple[str, ...]:
    return codes(raw)


def _read_date(raw: bytes, vr: str, order: str, decode: Decoder) -> str | None:
    text = str(raw, "latin-1").strip("\0 ")
    if len(text) == 10 and text[4] == text[7] and text[4] in ".-":
        text = text[:4] + text[5:7] + text[8:]
    if len(text) == 8 and text.isdecimal() and "01" <= text[4:6] <= "12" and "01" <= text[6:] <= "31":
        return text
    if not text:
        return None
    raise ValueError("not a date")


def _read_time(raw: bytes, vr: str, order: str, decode: Decoder) -> str | None:
    text = str(raw, "latin-1").strip("\0 ").replace(":", "")
    if not text:
        return None
    if _TIME.fullmatch(text) is None:
        raise ValueError("not a time")
    return text


_SIGNED = {"US": False, "UL": False, "SS": True, "SL": True}


def _read_integer(raw: bytes, vr: str, order: str, decode: Decoder) -> int | None:
    signed = _SIGNED.get(vr)
    if signed is not None:
        width = 2 if vr in ("US", "SS") else 4
        if len(raw) < width:
            raise ValueError(f"{len(raw)} bytes are too short for {vr}")
        number = int.from_bytes(raw[:width], "little" if order == "<" else "big", signed=signed)
    else:
        text = str(raw, "latin-1").split("\\", 1)[0].strip("\0 ")
        if not text:
            return None
        number = _whole(text)
    if not -0x80000000 <= number <= 0x7FFFFFFF:
        raise ValueError("an integer beyond 32 bits")
    return number


def _whole(text: str) -> int:
    """An integer, also the one that some write as a decimal."""
    if len(text) > 32:
        raise ValueError("not an integer")
    try:
        return int(text)
    except ValueError:
        number = _finite(text)
        if number != int(number):
            raise ValueError("not an integer") from None
        return int(number)


def _finite(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise ValueError("not a number") from None
    if not math.isfinite(number):
        raise ValueError("not a finite number")
    return number


def _read_decimals(raw: bytes, vr: str, order: str, decode: Decoder) -> tuple[float, ...] | None:
    if vr in ("FL", "FD"):
        code, width = ("f", 4) if vr == "FL" else ("d", 8)
        numbers = struct.unpack_from(f"{order}{len(raw) // width}{code}", raw)
        if not all(map(math.isfinite, numbers)):
            raise ValueError("not a finite number")
        return numbers or None
    text = str(raw, "latin-1").strip("\0 ")
    if not text:
        return None
    return tuple([_finite(part) for part in text.split("\\")])


def _read_decimal(raw: bytes, vr: str, order: str, decode: Decoder) -> float | None:
    numbers = _read_decimals(raw.split(b"\\", 1)[0] if vr not in ("FL", "FD") else raw, vr, order, decode)
    return numbers[0] if numbers else None


READERS: dict[str, Reader] = {
    TEXT: _read_text,
    TEXTS: _read_texts,
    CODE: _read_code,
    CODES: _read_codes,
    UID: _read_code,
    DATE: _read_date,
    TIME: _read_time,
    INTEGER: _read_integer,
    DECIMAL: _read_decimal,
    DECIMALS: _read_decimals,
}
