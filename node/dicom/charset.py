"""Specific Character Set to Unicode and back, code extensions included (PS3.3 C.12.1.1.2, PS3.5 6.1).

Decoding never fails: what a set does not hold comes out as U+FFFD. Encoding fails with `Unencodable`,
so that nobody replaces a patient's name by question marks unasked.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence

from node import errors

Charsets = Sequence[str]  # the values of Specific Character Set; empty: the default repertoire

UTF8 = "ISO_IR 192"
_ESC = 0x1B
_RESET = frozenset(b"\t\n\f\r")  # code extensions end here, and at the delimiters of a value
_DELIMITERS = frozenset("\\^=\t\n\f\r")


class Unencodable(errors.Permanent):
    """A character that the data set's character set does not hold."""

    def __init__(self, text: str, charsets: Charsets) -> None:
        shown = "\\".join(charsets) or "the default repertoire"
        super().__init__(f"{text[:64]!r} holds a character that {shown} does not have")
        self.discreet = f"a text holds a character that {shown} does not have"  # for logs


# codec of the defined terms by number; ISO_IR n and ISO 2022 IR n name the same set
_CODECS = {
    "6": "ascii",
    "100": "latin_1",
    "101": "iso8859_2",
    "109": "iso8859_3",
    "110": "iso8859_4",
    "144": "iso8859_5",
    "127": "iso8859_6",
    "126": "iso8859_7",
    "138": "iso8859_8",
    "148": "iso8859_9",
    "203": "iso8859_15",
    "13": "shift_jis",
    "166": "tis_620",
    "192": "utf_8",
    "58": "gb2312",
    "149": "euc_kr",
    "87": "iso2022_jp",
    "159": "iso2022_jp_2",
}
_G1_ESCAPES = {  # escape sequence (without ESC) that puts a set in G1, by its number
    b"-A": "100",
    b"-B": "101",
    b"-C": "109",
    b"-D": "110",
    b"-L": "144",
    b"-G": "127",
    b"-F": "126",
    b"-H": "138",
    b"-M": "148",
    b"-b": "203",
    b"-T": "166",
    b")I": "13",
    b"$)C": "149",
    b"$)A": "58",
}
_G0_ESCAPES = {b"(B": "6", b"(J": "13", b"$B": "87", b"$@": "87", b"$(D": "159"}
_G1_BY_SET = {number: escape for escape, number in _G1_ESCAPES.items()}
_PAIRS = {"87": b"\x1b$B", "159": b"\x1b$(D"}  # sets of two bytes in G0
_NUMBER = re.compile(r"^(?:ISO[-_ ]?(?:2022[-_ ]?)?IR[-_ ]?)(\d+)$")
_NAMES = {"GB18030": "gb18030", "GBK": "gbk", "UTF8": "utf_8", "UTF-8": "utf_8", "LATIN1": "latin_1"}


def number(term: str) -> str:
    """The registration number in a defined term, `6` for none, "" when it has none or is unknown."""
    term = term.strip().upper()
    if not term:
        return "6"
    match = _NUMBER.match(term)
    return match[1] if match and match[1] in _CODECS else ""


def known(charsets: Charsets) -> bool:
    """Whether every term is one that this module knows."""
    return all(number(term) or term.strip().upper() in _NAMES for term in charsets)


def decode(raw: bytes, charsets: Charsets = ()) -> str:
    """The text of a value, delimiters and padding included."""
    return decoder(tuple(charsets))(raw)


@functools.lru_cache(maxsize=256)
def decoder(charsets: tuple[str, ...]) -> Callable[[bytes], str]:
    """A function that decodes values of a data set with these character sets."""
    codec = _single(charsets)
    if codec is None:
        return functools.partial(_decode_2022, numbers=tuple(number(term) or "6" for term in charsets))
    if codec in ("ascii", "latin_1"):  # bytes beyond the default repertoire are most often Latin 1
        return lambda raw: str(raw, "latin_1")

    def plain(raw: bytes) -> str:
        if 0x1B in raw:  # escapes although the set knows none
            return _decode_2022(raw, numbers=(number(charsets[0]) or "6",))
        return str(raw, codec, "replace")

    return plain


def _single(charsets: tuple[str, ...]) -> str | None:
    """The one codec that does it, None when ISO 2022 is needed."""
    terms = [term.strip().upper() for term in charsets]
    for term in terms:
        if _NAMES.get(term):
            return _NAMES[term]
    numbers = [number(term) for term in terms]
    if "192" in numbers:
        return "utf_8"
    if not numbers:
        return "ascii"
    if len(numbers) > 1 or numbers[0] in ("87", "159", "149", "58") or terms[0].startswith("ISO 2022"):
        return None if any(numbers) else "latin_1"
    return _CODECS.get(numbers[0], "latin_1")


def _initial(numbers: tuple[str, ...]) -> tuple[str, str]:
    """G0 and G1 at the beginning of a value."""
    first = numbers[0] if numbers else "6"
    if first == "13":
        return "13", "13"
    if first in ("6", *_PAIRS):
        # G1 is free: a lone set of two bytes, or Latin 1 for what some write without saying so
        return "6", next((n for n in numbers[1:] if n in ("149", "58")), "100")
    return "6", first


def _decode_2022(raw: bytes, numbers: tuple[str, ...]) -> str:
    """Runs of bytes, each in the set that the last escape sequence put where the run's high bit points."""
    raw = bytes(raw)
    start = _initial(numbers)
    g0, g1 = start
    out: list[str] = []
    pos, end = 0, len(raw)
    while pos < end:
        byte = raw[pos]
        if byte == _ESC:
            for width in (2, 3):
                escape = raw[pos + 1 : pos + 1 + width]
                if escape in _G0_ESCAPES:
                    g0 = _G0_ESCAPES[escape]
                elif escape in _G1_ESCAPES:
                    g1 = _G1_ESCAPES[escape]
                else:
                    continue
                pos += 1 + width
                break
            else:
                out.append("\N{REPLACEMENT CHARACTER}")
                pos += 1
            continue
        stop = pos + 1
        if byte >= 0x80:
            while stop < end and raw[stop] >= 0x80:
                stop += 1
            out.append(str(raw[pos:stop], _CODECS[g1], "replace"))
        elif g0 in _PAIRS and byte > 0x20:
            while stop < end and 0x20 < raw[stop] < 0x80:
                stop += 1
            run = raw[pos:stop]
            out.append(str(_PAIRS[g0] + run[: len(run) & ~1] + b"\x1b(B", _CODECS[g0], "replace"))
            if len(run) & 1:
                out.append("\N{REPLACEMENT CHARACTER}")
        else:
            out.append(chr(byte))
            if byte in _RESET or byte in b"\\^=":
                g0, g1 = start
        pos = stop
    return "".join(out)


def fits(text: str, charsets: Charsets) -> bool:
    """Whether a text can be written in these character sets."""
    try:
        encode(text, charsets)
    except Unencodable:
        return False
    return True


def encode(text: str, charsets: Charsets = ()) -> bytes:
    """The bytes of a text, not padded; `Unencodable` when a character is missing from the sets."""
    if text.isascii():
        return text.encode("ascii")
    key = tuple(charsets)
    codec = _single(key)
    if codec is None:
        return _encode_2022(text, key)
    try:
        return text.encode(codec)
    except UnicodeEncodeError:
        raise Unencodable(text, key) from None


def _encode_2022(text: str, charsets: tuple[str, ...]) -> bytes:
    """Each character in the first of the sets that holds it, with escapes where the set changes."""
    numbers = tuple(number(term) or "6" for term in charsets)
    first_g1 = numbers[0] if numbers[0] in _G1_BY_SET else ""
    out = bytearray()
    g0, g1 = "6", first_g1
    for char in text:
        if char < "\x80":
            if g0 != "6":
                out += b"\x1b(B"
                g0 = "6"
            out += char.encode("ascii")
            if char in _DELIMITERS:
                g1 = first_g1
            continue
        for candidate in numbers:
            raw = _in_set(char, candidate)
            if raw is None:
                continue
            if candidate in _PAIRS:
                if g0 != candidate:
                    out += _PAIRS[candidate]
                    g0 = candidate
            elif g1 != candidate:
                out += b"\x1b" + _G1_BY_SET[candidate]
                g1 = candidate
            out += raw
            break
        else:
            raise Unencodable(text, charsets)
    if g0 != "6":
        out += b"\x1b(B"
    return bytes(out)


def _in_set(char: str, candidate: str) -> bytes | None:
    """The bytes of one character beyond ASCII in a set, without escapes; None when it is not there."""
    try:
        raw = char.encode(_CODECS[candidate])
    except UnicodeEncodeError:
        return None
    if candidate in _PAIRS:
        escape = _PAIRS[candidate]
        return raw[len(escape) : len(escape) + 2] if raw.startswith(escape) else None
    if candidate not in _G1_BY_SET or raw[0] < 0x80:
        return None
    if candidate == "13":
        return raw if len(raw) == 1 else None
    return raw
