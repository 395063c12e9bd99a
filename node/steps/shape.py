"""What becomes of one text value: patterns, tables, case, dates, text around it; for `coerce`.

Numbers are shaped as the shortest text that means them: 2.50 is matched as "2.5". A value that no shape
changes stays as it is written, byte for byte.
"""

from __future__ import annotations

import csv
import datetime
import functools
import io
import pathlib
import re
from collections.abc import Callable, Mapping, Sequence

from node import errors
from node.dicom import changes as words
from node.dicom import values
from node.dicom.values import Value

LONGEST_MATCHED = 10_240  # characters; what is longer is text that no pattern should be run over
LARGEST_TABLE = 64 << 20  # bytes of a lookup table
MOST_DAYS = 40_000  # of a date shift, a century and some

KEYS = ("match", "to", "lookup", "missing", "case", "shift", "prefix", "suffix")
_MISSING = ("keep", "empty", "remove", "fail")

Shape = Callable[[str], Value]  # one text value to its new form, KEEP, REMOVE, or None for empty
Tables = Callable[[str], Mapping[str, str]]  # the lookup table of a name


def made(step: Mapping[str, object], tables: Tables) -> tuple[tuple[Shape, ...], str]:
    """The shapes that a step names, in the order in which they apply, and what they do in words."""
    found: list[Shape] = []
    said: list[str] = []
    for keys, make in _MAKERS:
        if any(key in step for key in keys):
            shape, told = make(step, tables)
            found.append(shape)
            said.append(told)
    return tuple(found), ", then ".join(said)


def apply(shapes: Sequence[Shape], value: Value) -> Value:
    """Run the shapes over each value of an element; KEEP when nothing comes of it."""
    if value is None:
        return words.KEEP
    if not isinstance(value, tuple):
        return _one(shapes, value)
    parts = [_one(shapes, part) for part in value]
    if all(part is words.KEEP for part in parts):
        return words.KEEP
    if all(part is words.REMOVE for part in parts):
        return words.REMOVE
    kept = [_text(old) if new is words.KEEP else new for old, new in zip(value, parts, strict=True)]
    return tuple("" if part is None or part is words.REMOVE else part for part in kept)


def text(step: Mapping[str, object], key: str) -> str:
    """The text under a key; raises UsageError when it is none."""
    value = step.get(key)
    if not isinstance(value, str) or not value:
        raise errors.UsageError(f"{key} = {value!r}: it takes a text")
    return value


def _one(shapes: Sequence[Shape], value: Value) -> Value:
    if value is None or value == "":
        return words.KEEP  # one of several, and empty
    before = now = _text(value)
    for shape in shapes:
        new = shape(now)
        if new is words.REMOVE or new is None:
            return new
        if new is not words.KEEP:
            now = new
    return words.KEEP if now == before else now


def _text(value: Value) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        short = value.is_integer() and abs(value) < 1e15
        return f"{value:.0f}" if short else values.decimal_string(value)
    if isinstance(value, int):
        return str(value)
    if value is None:
        return ""
    raise errors.UsageError(f"it holds {type(value).__name__}, and only text and numbers can be shaped")


# -- the shapes -----------------------------------------------------------------------------------


def _matching(step: Mapping[str, object], tables: Tables) -> tuple[Shape, str]:
    if "match" not in step:
        raise errors.UsageError("to = ... needs a pattern: match = ...")
    pattern, to = text(step, "match"), step.get("to")
    if not isinstance(to, str):
        raise errors.UsageError(f"match = {pattern!r} needs what it becomes: to = TEXT")
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise errors.UsageError(f"match = {pattern!r} is no regular expression: {error}") from error
    try:
        # A match of nothing tells at once whether the template names groups that there are not.
        re.compile(f"(?:{pattern})|").match("").expand(to)  # type: ignore[union-attr]
    except (re.error, IndexError) as error:
        raise errors.UsageError(f"to = {to!r} does not fit match = {pattern!r}: {error}") from error

    def shape(value: str) -> Value:
        if len(value) > LONGEST_MATCHED:
            return words.KEEP
        found = compiled.search(value)
        return words.KEEP if found is None else found.expand(to)

    return shape, f"where it matches {pattern!r} make it {to!r}"


def _looking_up(step: Mapping[str, object], tables: Tables) -> tuple[Shape, str]:
    if "lookup" not in step:
        raise errors.UsageError("missing = ... needs a table: lookup = FILE.csv")
    name, missing = text(step, "lookup"), step.get("missing", "keep")
    if missing not in _MISSING:
        raise errors.UsageError(f"missing = {missing!r}: it is one of {', '.join(_MISSING)}")
    table = tables(name)
    otherwise = {"keep": words.KEEP, "empty": None, "remove": words.REMOVE}

    def shape(value: str) -> Value:
        found = table.get(value.strip())
        if found is not None:
            return found
        if missing == "fail":
            # The value may be a patient's: it stays out of logs.
            raise errors.UsageError(f'the value is not in {name}: add it, or say missing = "keep"')
        return otherwise[str(missing)]

    return shape, f"look it up in {name} ({len(table)} entries; {missing} what is not there)"


def _casing(step: Mapping[str, object], tables: Tables) -> tuple[Shape, str]:
    case = step["case"]
    if case not in ("upper", "lower"):
        raise errors.UsageError(f"case = {case!r}: it is upper or lower")
    return str.upper if case == "upper" else str.lower, f"put it in {case} case"


def _shifting(step: Mapping[str, object], tables: Tables) -> tuple[Shape, str]:
    days = step["shift"]
    if not isinstance(days, int) or isinstance(days, bool) or abs(days) > MOST_DAYS:
        raise errors.UsageError(f"shift = {days!r}: it takes whole days, {-MOST_DAYS} to {MOST_DAYS}")
    said = f"move the date by {days:+d} days, and empty it where it is no whole date"
    return functools.partial(_shifted, days), said


_DATE = re.compile(r"([0-9]{4})\.?([0-9]{2})\.?([0-9]{2})(.*)", re.DOTALL)


def _shifted(days: int, value: str) -> Value:
    found = _DATE.fullmatch(value.strip())
    if found is None:
        return None  # a partial or broken date cannot be moved, and must not stay as it is
    try:
        date = datetime.date(int(found[1]), int(found[2]), int(found[3]))
        moved = date + datetime.timedelta(days=days)
    except (ValueError, OverflowError):
        return None
    return f"{moved.year:04}{moved.month:02}{moved.day:02}{found[4]}"


def _prefixing(step: Mapping[str, object], tables: Tables) -> tuple[Shape, str]:
    before = text(step, "prefix")
    return lambda value: before + value, f"put {before!r} before it"


def _suffixing(step: Mapping[str, object], tables: Tables) -> tuple[Shape, str]:
    behind = text(step, "suffix")
    return lambda value: value + behind, f"put {behind!r} behind it"


_Maker = Callable[[Mapping[str, object], Tables], tuple[Shape, str]]
_MAKERS: tuple[tuple[tuple[str, ...], _Maker], ...] = (
    (("match", "to"), _matching),
    (("lookup", "missing"), _looking_up),
    (("case",), _casing),
    (("shift",), _shifting),
    (("prefix",), _prefixing),
    (("suffix",), _suffixing),
)


def read_table(path: pathlib.Path) -> dict[str, str]:
    """Read a lookup table: CSV, first column to second; lines that begin with # are comments."""
    try:
        if path.stat().st_size > LARGEST_TABLE:
            raise errors.UsageError(f"the lookup table {path} is larger than {LARGEST_TABLE >> 20} MiB")
        content = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise errors.UsageError(f"the lookup table {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise errors.UsageError(
            f"the lookup table {path} is not UTF-8 at byte {error.start}: save it as UTF-8"
        ) from error
    table: dict[str, str] = {}
    rows = csv.reader(io.StringIO(content, newline=""), strict=True)
    try:
        for row in rows:
            if not row or row[0].startswith("#"):
                continue
            if len(row) < 2:
                raise errors.UsageError(
                    f"{path}:{rows.line_num}: two columns are needed, there is {len(row)}"
                )
            key, new = row[0].strip(), row[1].strip()
            if table.setdefault(key, new) != new:
                raise errors.UsageError(
                    f"{path}:{rows.line_num}: the first column stands there before, with another second one"
                )
    except csv.Error as error:
        raise errors.UsageError(f"{path}:{rows.line_num}: this is no CSV: {error}") from error
    return table
