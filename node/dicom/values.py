"""An element's bytes as Python values and Python values as an element's bytes, by VR."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import math
import re
import struct
from collections.abc import Callable, Sequence
from typing import Any

from node import errors
from node.dicom import charset as charsets
from node.dicom import uids
from node.dicom import vr as vrs

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
    if vr in ("IS", "DS"):
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
    for part in map(str.strip, parts):
        try:
            out.append(read(part) if part else None)
        except ValueError:
            out.append(part)
    return out[0] if len(out) == 1 else tuple(out)


class BadValue(errors.Permanent):
    """A value that its VR cannot hold."""

    def __init__(self, value: object, vr: str, why: str) -> None:
        super().__init__(f"{str(value)[:80]!r} cannot be a {vr}: {why}")
        self.discreet = f"its new value cannot be a {vr}: {why}"  # for logs: the value may be a patient's


@dataclasses.dataclass(frozen=True, slots=True)
class Raw:
    """A value's bytes, to be written as they are (an even length is made by padding)."""

    data: bytes  # in the data set's own byte order and character set
    vr: str | None = None  # written as this VR, None: as the element's


def encode(value: Value, vr: str, order: str = "<", sets: charsets.Charsets = ()) -> bytes:
    """The bytes of a value, padded to an even length; else `BadValue` or `charset.Unencodable`."""
    if value is None or (isinstance(value, (str, bytes, tuple, list)) and len(value) == 0):
        return b""
    if isinstance(value, Raw):
        return pad(value.data, vr)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return pad(bytes(value), vr)
    if vr in NUMBERS:
        return _pack(value, vr, order)
    if vr == "AT":
        halves = [half for one in _several(value) for half in _halves(one)]
        return struct.pack(f"{order}{len(halves)}H", *halves)
    if vr in BYTES_VRS:
        if vr in _ARRAYS and not isinstance(value, str):
            return _pack(value, vr, order)
        raise BadValue(value, vr, "it takes bytes")
    if vr == "SQ":
        raise BadValue(value, vr, "it takes a list of items")
    text = _text(value, vr)
    if vr in TEXT_VRS:
        raw = charsets.encode(text, sets)
    else:
        try:
            raw = text.encode("ascii")
        except UnicodeEncodeError:
            raise BadValue(value, vr, "only ASCII characters are allowed") from None
    return pad(raw, vr)


_ARRAYS = {"OW": "H", "OF": "f", "OL": "I", "OD": "d", "OV": "Q"}


def pad(raw: bytes, vr: str) -> bytes:
    """An even number of bytes: text is padded by a space, UIDs and bytes by NUL."""
    if len(raw) & 1:
        return raw + (b" " if vr in TEXT_VRS or (vr in CODE_VRS and vr != "UI") else b"\0")
    return raw


def _several(value: Value) -> Sequence[Any]:
    if isinstance(value, str):
        return value.split("\\")
    return value if isinstance(value, (tuple, list)) else (value,)


def _pack(value: Value, vr: str, order: str) -> bytes:
    code = NUMBERS.get(vr) or _ARRAYS[vr]
    read: Callable[[Any], Any] = float if code in "fd" else int
    try:
        numbers = [read(one) for one in _several(value)]
        return struct.pack(f"{order}{len(numbers)}{code}", *numbers)
    except (ValueError, TypeError):
        raise BadValue(value, vr, "it is not a number") from None
    except (struct.error, OverflowError):
        raise BadValue(value, vr, "it is out of range") from None


def _halves(value: Any) -> tuple[int, int]:
    """Group and element of a tag given as a number, as `gggg,eeee`, or as a keyword."""
    if isinstance(value, str):
        known = vrs.keywords().get(value)
        digits = value.strip("() ").replace(",", "")
        if known is None:
            if _TAG.fullmatch(digits) is None:
                raise BadValue(value, "AT", "it is neither a tag nor a keyword")
            known = int(digits, 16)
        value = known
    if not isinstance(value, int) or not 0 <= value <= 0xFFFFFFFF:
        raise BadValue(value, "AT", "it is not a tag")
    return value >> 16, value & 0xFFFF


def _text(value: Value, vr: str) -> str:
    """The text of a value, each part checked against what its VR allows."""
    parts = [value] if vr in _ONE_VALUE and isinstance(value, str) else _several(value)
    if vr in _ONE_VALUE and len(parts) > 1:
        raise BadValue(value, vr, "it takes one value")
    texts = [_part(part, vr) for part in parts]
    check = _CHECKS.get(vr)
    if check is not None:
        for text in texts:
            if text and (why := check(text)):
                raise BadValue(text, vr, why)
    return "\\".join(texts)


def _part(part: Any, vr: str) -> str:
    if part is None:
        return ""
    if isinstance(part, str):
        return part
    if isinstance(part, dt.datetime):
        return part.strftime({"DA": "%Y%m%d", "TM": "%H%M%S.%f"}.get(vr, "%Y%m%d%H%M%S.%f%z"))
    if isinstance(part, dt.date):
        return part.strftime("%Y%m%d")
    if isinstance(part, dt.time):
        return part.strftime("%H%M%S.%f")
    if vr == "DS" and isinstance(part, float):
        return decimal_string(part)
    if isinstance(part, (int, float, decimal.Decimal)) and not isinstance(part, bool):
        return str(part)
    raise BadValue(part, vr, f"a {type(part).__name__} is none of its values")


def decimal_string(number: float) -> str:
    """The closest decimal string of at most 16 characters."""
    if not math.isfinite(number):
        raise BadValue(number, "DS", "it is not finite")
    text = repr(number)
    digits = 16
    while len(text) > 16:
        text = f"{number:.{digits}g}"
        digits -= 1
    return text


_TAG = re.compile(r"[0-9A-Fa-f]{8}")
_CONTROL = re.compile(r"[\x00-\x1a\x1c-\x1f\x7f]")
_CONTROL_IN_TEXT = re.compile(r"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f\x7f]")  # tab, newlines and ESC are allowed
_TIME = r"(?:[01]\d|2[0-3])(?:[0-5]\d(?:(?:[0-5]\d|60)(?:\.\d{1,6})?)?)?"
_DATETIME = rf"\d{{4}}(?:(?:0[1-9]|1[0-2])(?:(?:0[1-9]|[12]\d|3[01])(?:{_TIME})?)?)?(?:[+-]\d{{4}})?"


def _pattern(expression: str, why: str) -> Callable[[str], str]:
    matches = re.compile(expression).fullmatch
    return lambda text: "" if matches(text.rstrip(" ")) else why


def _line(most: int) -> Callable[[str], str]:
    def check(text: str) -> str:
        if len(text) > most:
            return f"it has {len(text)} characters, {most} are allowed"
        return "control characters are not allowed" if _CONTROL.search(text) else ""

    return check


def _paragraph(most: int) -> Callable[[str], str]:
    def check(text: str) -> str:
        if len(text) > most:
            return f"it has {len(text)} characters, {most} are allowed"
        return "control characters are not allowed" if _CONTROL_IN_TEXT.search(text) else ""

    return check


def _date(text: str) -> str:
    why = "it is not a date of the form YYYYMMDD"
    if len(text) != 8 or not text.isdecimal():
        return why
    try:
        dt.date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError:
        return why
    return ""


def _name(text: str) -> str:
    groups = text.split("=")
    if len(groups) > 3:
        return "a name has at most three component groups"
    for group in groups:
        if len(group) > 64:
            return "a component group has at most 64 characters"
        if group.count("^") > 4:
            return "a component group has at most five components"
    return "control characters are not allowed" if _CONTROL.search(text) else ""


def _integer(text: str) -> str:
    if len(text) > 12:
        return "it has more than 12 characters"
    try:
        number = int(text)
    except ValueError:
        return "it is not an integer"
    return "" if -(1 << 31) <= number < 1 << 31 else "it is out of range"


def _decimal(text: str) -> str:
    if len(text) > 16:
        return "it has more than 16 characters"
    return "" if _DECIMAL.fullmatch(text.strip(" ")) else "it is not a decimal number"


_DECIMAL = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[Ee][+-]?\d+)?")


def _uid(text: str) -> str:
    text = text.rstrip("\0")
    if len(text) > 64:
        return "it has more than 64 characters"
    return "" if uids.valid(text) else "a UID has digits and dots"


_CHECKS: dict[str, Callable[[str], str]] = {
    "AE": _line(16),
    "AS": _pattern(r"\d{3}[DWMY]", "an age is three digits and one of D, W, M, Y"),
    "CS": _pattern(
        r"[A-Z0-9_ ]{0,16}", "a code has at most 16 capital letters, digits, spaces and underscores"
    ),
    "DA": _date,
    "DS": _decimal,
    "DT": _pattern(_DATETIME, "it is not a date and time of the form YYYYMMDDHHMMSS.FFFFFF+ZZZZ"),
    "IS": _integer,
    "LO": _line(64),
    "LT": _paragraph(10240),
    "PN": _name,
    "SH": _line(16),
    "ST": _paragraph(1024),
    "TM": _pattern(_TIME, "it is not a time of the form HHMMSS.FFFFFF"),
    "UC": _line(1 << 31),
    "UI": _uid,
    "UR": _pattern(r"[^\x00-\x20\x7f]*", "an address has no spaces"),
    "UT": _paragraph(1 << 31),
}
