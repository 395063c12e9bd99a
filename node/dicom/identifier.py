"""The data sets of queries, worklists and procedure steps as plain Python: `Fields`, from bytes and to bytes.

A key is a keyword, or `GGGGEEEE` in upper-case hex for what the dictionary does not name. A value is None
(zero length), text as DICOM writes it (numbers too; several values joined with a backslash; a tag as
`GGGGEEEE`, bytes in hex), or a list of the items of a sequence. Values are taken and written as they are,
wildcards and ranges included; nothing here says what may stand in an element.
"""

from __future__ import annotations

import contextlib
import functools
import re
import struct
from collections.abc import Callable, Collection
from typing import Literal, NamedTuple, TypeAlias

from node import errors
from node.dicom import charset as charsets
from node.dicom import encode as writing
from node.dicom import scan, syntax, values, walk
from node.dicom import vr as vrs

Value: TypeAlias = "str | list[Fields] | None"
Fields: TypeAlias = dict[str, Value]

LARGEST = 4 << 20  # bytes of an identifier; 5,000 UIDs of full length are a tenth of it
MOST = 20_000  # elements and items of an identifier
PICKED = 64 << 10  # bytes of an element that an answer repeats from a stored header
DEPTH = 32  # sequences and items within each other; the worklist's answers have six

CHARSET = "SpecificCharacterSet"
_HEX = re.compile(r"[0-9A-F]{8}")
_ONE_VALUE = frozenset({"LT", "ST", "UT", "UR"})  # a backslash is a character there


# -- reading ----------------------------------------------------------------------------------------


def decode(data: bytes, transfer: str, *, largest: int = LARGEST, most: int = MOST) -> Fields:
    """The elements of an identifier; BadData when it is no data set of this transfer syntax, or too large."""
    enc = syntax.encoding(transfer)
    if len(data) > largest:
        raise errors.BadData(f"an identifier of {len(data)} bytes; {largest} are the most")
    if enc.deflated:
        data = syntax.inflate(data, largest)
    rows, end = walk.walk(data, 0, len(data), enc, depth=DEPTH, most=most)
    return _fields(scan.Table(data, enc, rows, end), -1)


def _fields(table: scan.Table, within: int) -> Fields:
    found: Fields = {}
    for row in table.children(within):
        tag = table.rows[row][0]
        if tag & 0xFFFF:  # a group length says nothing
            found.setdefault(name(tag), _value(table, row))
    return found


def pick(table: scan.Table, tags: Collection[int]) -> Fields:
    """Some elements of a data set that was not made to be an identifier; large ones are left out."""
    found: Fields = {}
    for tag in tags:
        row = table.find(tag)
        if row is not None and table.rows[row][4] - table.rows[row][3] <= PICKED:
            found[name(tag)] = _value(table, row)
    return found


def _value(table: scan.Table, row: int) -> Value:
    tag, vr, _, start, end, _ = table.rows[row]
    if vr == "SQ" or (vr == "UN" and (table.children(row) or table.undefined(row))):
        return [_fields(table, item) for item in table.children(row)]
    if table.undefined(row):
        raise errors.BadData("encapsulated data stands in an identifier", offset=start, tag=tag)
    order = table.encoding.order
    if vr == "UN":  # known although written as unknown, and little endian then (PS3.5 6.2.2)
        vr, order = vrs.of(tag), "<"
        if vr == "UN" and tag & 0x10000 and (creator := table.creator(row)):
            vr = vrs.private(creator, tag)
    if start == end:
        return [] if vr == "SQ" else None
    raw = bytes(table.buffer[start:end])
    if vr in values.NUMBERS or vr == "AT":
        return _numbers(raw, vr, order)
    if vr in values.BYTES_VRS and vr != "UN":
        return raw.hex().upper()
    if vr in values.CODE_VRS:
        return _trimmed(str(raw, "latin-1"), vr)
    return _trimmed(charsets.decode(raw, table.charsets(row)), vr)


def _trimmed(text: str, vr: str) -> str | None:
    """The text without its padding."""
    if vr in _ONE_VALUE or "\\" not in text:
        return text.rstrip(" \0") or None
    return "\\".join(part.rstrip(" \0") for part in text.split("\\"))


def _numbers(raw: bytes, vr: str, order: str) -> str | None:
    value = values.decode(raw, vr, order)
    several = value if isinstance(value, tuple) else () if value is None else (value,)
    shown = {"AT": "{:08X}".format, "FL": _single}.get(vr, str)
    return "\\".join(map(shown, several)) or None


def _single(number: float) -> str:
    """The shortest text of a number that comes from four bytes."""
    packed = struct.pack("<f", number)
    for digits in range(6, 9):
        text = f"{number:.{digits}g}"
        if struct.pack("<f", float(text)) == packed:
            return text
    return f"{number:.9g}"


@functools.lru_cache(maxsize=4096)
def name(tag: int) -> str:
    """The key of an element: its keyword, or its tag in hex."""
    return vrs.keyword(tag) or f"{tag:08X}"


@functools.lru_cache(maxsize=4096)
def tag_of(key: str) -> int:
    """The tag that a key names; UsageError for one that names none."""
    found = vrs.keywords().get(key)
    if found is None:
        if not _HEX.fullmatch(key):
            raise errors.UsageError(
                f"{key[:64]!r} is no keyword, and no tag as in 00100010{vrs.nearest(key)}"
            )
        found = int(key, 16)
    if found >> 16 < 0x0004 or found >= 0xFFFE0000:
        raise errors.UsageError(f"{key!r} is not an element of a data set")
    return found


def private(key: str) -> bool:
    """Whether a key is a private element's, its block's creator included."""
    return _HEX.fullmatch(key) is not None and bool(int(key[:4], 16) & 1)


def terms(fields: Fields) -> str:
    """The character sets that fields say they were written in, "" when they say none."""
    value = fields.get(CHARSET)
    return value if isinstance(value, str) else ""


# -- writing ----------------------------------------------------------------------------------------


class _Place(NamedTuple):
    """How one element is written, worked out once for all data sets of the same keys."""

    key: str  # what it is called in the fields
    vr: str
    head: bytes  # its header up to the length
    width: int  # bytes of the length
    empty: bytes  # the whole element with nothing in it
    pad: bytes  # what makes its length even
    text: bool  # its value is text and written as it stands


class _Form(NamedTuple):
    """How a data set is written."""

    transfer: str  # transfer syntax UID
    order: str  # "<" or ">"
    charset: str  # terms of the character set, joined with a backslash
    coder: Callable[[str], bytes]  # text beyond ASCII in that set; raises charset.Unencodable


def encode(fields: Fields, transfer: str, charset: str = "", spare: str = "") -> bytes:
    """The bytes of fields in this set (its terms joined with a backslash), in the spare, or in UTF-8.

    Specific Character Set is written as it was used, whatever `fields` says of it, and left out where nobody
    named one and nothing needs it. UsageError for a key that is none, or a value that its VR cannot have.
    """
    for one in (charset, spare) if spare else (charset,):
        with contextlib.suppress(charsets.Unencodable):
            body = _whole(fields, _form(transfer, one))
            break
    else:
        body = _whole(fields, _form(transfer, charsets.UTF8))
    return syntax.deflate(body) if transfer == syntax.DEFLATED_LITTLE else body


@functools.lru_cache(maxsize=64)
def _form(transfer: str, charset: str) -> _Form:
    sets = tuple(part.strip() for part in charset.split("\\")) if charset else ()
    if charset == charsets.UTF8:
        coder: Callable[[str], bytes] = str.encode
    elif charsets.known(sets):
        coder = functools.partial(charsets.encode, charsets=sets)
    else:
        charset, coder = "", functools.partial(_refuse, sets)
    return _Form(transfer, syntax.encoding(transfer).order, charset, coder)


def _refuse(sets: tuple[str, ...], text: str) -> bytes:
    raise charsets.Unencodable(text, sets)


def _whole(fields: Fields, form: _Form) -> bytes:
    """A data set with the character set that it is written in."""
    if form.charset:
        fields = {**fields, CHARSET: form.charset}
    elif fields.get(CHARSET):
        fields = {key: value for key, value in fields.items() if key != CHARSET}
    return _body(fields, form)


def _body(fields: Fields, form: _Form) -> bytes:
    parts: list[bytes] = []
    order: Literal["little", "big"] = "little" if form.order == "<" else "big"
    for key, vr, head, width, empty, pad, text in _layout(tuple(fields), form.transfer):
        value = fields[key]
        if not value:
            parts.append(empty)
            continue
        if text and type(value) is str:
            raw = value.encode() if value.isascii() else form.coder(value)
        else:
            raw = _raw(key, vr, value, form)
        if len(raw) & 1:
            raw += pad
        if width == 2 and len(raw) > 0xFFFF:  # only UN has room for it (PS3.5 6.2.2)
            parts.append(
                writing.element(tag_of(key), "UN", raw, writing.Form(explicit=True, order=form.order))
            )
        else:
            parts += (head, len(raw).to_bytes(width, order), raw)
    return b"".join(parts)


def _raw(key: str, vr: str, value: Value, form: _Form) -> bytes:
    """The value of a sequence, of numbers, of bytes."""
    if vr == "SQ" and isinstance(value, list):
        if not all(isinstance(one, dict) for one in value):
            raise errors.UsageError(f"{key} takes items, each of them fields of its own")
        shape = writing.Form(explicit=False, order=form.order)
        items = ({inner: one[inner] for inner in one if inner != CHARSET} for one in value)
        return b"".join(writing.item(_body(one, form), shape) for one in items)
    if not isinstance(value, str) or vr == "SQ":
        raise errors.UsageError(f"{key} is a {vr}, which {type(value).__name__} {str(value)[:64]!r} is not")
    if vr in values.BYTES_VRS:
        try:
            return bytes.fromhex(value)
        except ValueError:
            raise errors.UsageError(
                f"{key} is a {vr}, which takes bytes in hex, not {value[:64]!r}"
            ) from None
    return values.encode(value, vr, form.order)


@functools.lru_cache(maxsize=1024)
def _layout(keys: tuple[str, ...], transfer: str) -> tuple[_Place, ...]:
    """The elements in the order of their tags."""
    tags = {tag_of(key): key for key in keys}
    if len(tags) != len(keys):
        raise errors.UsageError("an element stands there twice, by its keyword and by its tag")
    enc = syntax.encoding(transfer)
    form = writing.Form(enc.explicit, enc.order)
    return tuple(_place(tag, tags[tag], form) for tag in sorted(tags))


def _place(tag: int, key: str, form: writing.Form) -> _Place:
    vr = vrs.of(tag)
    empty = writing.element(tag, vr, b"", form)
    width = 2 if form.explicit and vr in vrs.SHORT_VRS else 4
    text = vr in values.TEXT_VRS or vr in values.CODE_VRS or vr == "UN"
    pad = b"\0" if vr in ("UI", "UN") else b" "
    return _Place(key, vr, empty[:-width], width, empty, pad, text)
