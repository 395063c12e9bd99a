"""`coerce`: change elements on the way, by constants, patterns, tables, dates and maps.

A step is one table of the configuration (or of a file given to `dicom-node edit --steps`). It names what it
does by one key, and may shape the value by others:

    set = "PATH", to = VALUE                      a constant
    copy = "PATH", into = "PATH"                  another element's value
    change = "PATH"                               shape the value that is there, in this order:
        match = "REGEX", to = "\\\\1"                 captures (a value that does not match stays)
        lookup = "FILE.csv", missing = "keep"       first column to second; keep, empty, remove or fail
        case = "upper" | "lower"
        shift = DAYS                                dates and date-times by whole days
        prefix = "TEXT", suffix = "TEXT"
    remove = "PATH"    empty = "PATH"    keep = "PATH"
    remap = "SECRET"                              every UID by one consistent map, references included

Paths are those of `node.dicom.path`. Each step sees the values from before all of them; of two steps that
reach the same element the later one counts.
"""

from __future__ import annotations

import csv
import dataclasses
import datetime
import functools
import pathlib
import re
from collections.abc import Callable, Mapping, Sequence

from node import errors
from node.dicom import changes as words
from node.dicom import edit, uids
from node.dicom.values import Value

LONGEST_MATCHED = 10_240  # characters; what is longer is text that no pattern should be run over
LARGEST_TABLE = 64 << 20  # bytes of a lookup table

_SHAPES = ("match", "to", "lookup", "missing", "case", "shift", "prefix", "suffix")
_KINDS: Mapping[str, frozenset[str]] = {
    "set": frozenset({"to", "vr", "when"}),
    "copy": frozenset({"into", *_SHAPES}),
    "change": frozenset({*_SHAPES}),
    "remove": frozenset(),
    "empty": frozenset(),
    "keep": frozenset(),
    "remap": frozenset(),
}
_MISSING = ("keep", "empty", "remove", "fail")

Shape = Callable[[str], Value]  # one text value to its new form, KEEP, REMOVE, or None for empty


@dataclasses.dataclass(frozen=True, slots=True)
class Coercion:
    """Steps made ready, to be applied to any number of data sets."""

    program: edit.Program  # what node.dicom.edit applies
    descriptions: tuple[str, ...]  # one sentence per step, in order


def ready(steps: Sequence[Mapping[str, object]], *, base: pathlib.Path = pathlib.Path()) -> Coercion:
    """Make steps ready, tables lie below `base`; raises UsageError with the step and key that cannot be."""
    made = []
    for number, step in enumerate(steps, 1):
        try:
            made.append(_change(step, base))
        except errors.NodeError as error:
            raise errors.UsageError(f"step {number}: {error}") from error
    return Coercion(edit.ready([change for change, _ in made]), tuple(said for _, said in made))


def _change(step: Mapping[str, object], base: pathlib.Path) -> tuple[words.Change, str]:
    kinds = [kind for kind in _KINDS if kind in step]
    if len(kinds) != 1:
        found = " and ".join(kinds) or ", ".join(map(repr, step)) or "nothing"
        raise errors.UsageError(f"has {found}: it takes exactly one of {', '.join(_KINDS)}")
    kind = kinds[0]
    for key in step:
        if key != kind and key not in _KINDS[kind]:
            allowed = ", ".join(sorted(_KINDS[kind])) or "nothing else"
            raise errors.UsageError(f"{key!r} does not go with {kind!r}: it takes {allowed}")
    path = _text(step, kind)
    if kind == "set":
        return _constant(step, path)
    if kind == "remove":
        return words.Remove(path), f"remove {path}"
    if kind == "empty":
        return words.Empty(path), f"empty {path}"
    if kind == "keep":
        return words.Keep(path), f"keep {path} as it is"
    if kind == "remap":
        remap = functools.lru_cache(1 << 16)(functools.partial(uids.derived, "", path))
        return words.RemapUids(remap), "replace every UID by one that is derived from it, the same everywhere"
    shapes, said = _shapes(step, base)
    if kind == "copy":
        into = _text(step, "into")
        function = functools.partial(_copied, path, shapes)
        said = f"copy {path} into {into}" + (f", {said}" if said else "")
        return words.Apply(into, function, words=f"copy {path} into", absent=True), said
    if not shapes:
        raise errors.UsageError(f"change = {path!r} says nothing to do: give one of {', '.join(_SHAPES)}")
    return words.Apply(path, functools.partial(_shaped, shapes), words=said), f"{path}: {said}"


def _constant(step: Mapping[str, object], path: str) -> tuple[words.Change, str]:
    if "to" not in step:
        raise errors.UsageError(f"set = {path!r} needs a value: to = ...")
    when = str(step.get("when", words.When.ALWAYS.value))
    if when not in list(words.When):
        raise errors.UsageError(f"when = {when!r}: it is one of {', '.join(words.When)}")
    vr = _text(step, "vr") if "vr" in step else None
    change = words.Set(path, step["to"], vr, words.When(when))
    return change, str(change)


def _text(step: Mapping[str, object], key: str) -> str:
    value = step.get(key)
    if not isinstance(value, str) or not value:
        raise errors.UsageError(f"{key} = {value!r}: it takes a text")
    return value


# -- shapes ---------------------------------------------------------------------------------------


def _shapes(step: Mapping[str, object], base: pathlib.Path) -> tuple[tuple[Shape, ...], str]:
    found: list[Shape] = []
    said: list[str] = []
    if "match" in step or "to" in step:
        pattern, to = _text(step, "match"), step.get("to", "")
        found.append(_matching(pattern, str(to)))
        said.append(f"where it matches {pattern!r} make it {to!r}")
    if "lookup" in step or "missing" in step:
        name, missing = _text(step, "lookup"), str(step.get("missing", "keep"))
        if missing not in _MISSING:
            raise errors.UsageError(f"missing = {missing!r}: it is one of {', '.join(_MISSING)}")
        table = read_table(base / name)
        found.append(functools.partial(_looked_up, table, missing, name))
        said.append(f"look it up in {name} ({len(table)} entries; {missing} what is not there)")
    if "case" in step:
        case = _text(step, "case")
        if case not in ("upper", "lower"):
            raise errors.UsageError(f"case = {case!r}: it is upper or lower")
        found.append(str.upper if case == "upper" else str.lower)
        said.append(f"{case} case")
    if "shift" in step:
        days = step["shift"]
        if not isinstance(days, int) or isinstance(days, bool) or not -40_000 <= days <= 40_000:
            raise errors.UsageError(f"shift = {days!r}: it takes whole days, -40000 to 40000")
        found.append(functools.partial(_shifted, days))
        said.append(f"move the date by {days:+d} days")
    for key, where in (("prefix", "put {!r} before it"), ("suffix", "put {!r} behind it")):
        if key in step:
            text = _text(step, key)
            found.append(functools.partial(_joined, text, key == "prefix"))
            said.append(where.format(text))
    return tuple(found), ", then ".join(said)


def _matching(pattern: str, to: str) -> Shape:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise errors.UsageError(f"match = {pattern!r} is no regular expression: {error}") from error
    try:
        # An empty group set tells at once whether the template names groups that there are not.
        re.compile(pattern + "|").match("").expand(to)  # type: ignore[union-attr]
    except (re.error, IndexError) as error:
        raise errors.UsageError(f"to = {to!r} does not fit {pattern!r}: {error}") from error

    def shape(value: str) -> Value:
        if len(value) > LONGEST_MATCHED:
            return words.KEEP
        found = compiled.search(value)
        return words.KEEP if found is None else found.expand(to)

    return shape


def _looked_up(table: Mapping[str, str], missing: str, name: str, value: str) -> Value:
    found = table.get(value.strip())
    if found is not None:
        return found
    if missing == "fail":
        # The value may be a patient's: it stays out of logs.
        raise errors.UsageError(f"the value is not in {name}")
    return {"keep": words.KEEP, "empty": None, "remove": words.REMOVE}[missing]


_DATE = re.compile(r"(\d{4})\.?(\d{2})\.?(\d{2})(.*)", re.DOTALL)


def _shifted(days: int, value: str) -> Value:
    found = _DATE.fullmatch(value.strip())
    if found is None:
        return None  # a partial or broken date cannot be moved, and must not stay as it is
    try:
        date = datetime.date(int(found[1]), int(found[2]), int(found[3]))
        moved = date + datetime.timedelta(days=days)
    except (ValueError, OverflowError):
        return None
    return f"{moved:%Y%m%d}{found[4]}"


def _joined(text: str, before: bool, value: str) -> str:
    return text + value if before else value + text


def _shaped(shapes: Sequence[Shape], value: Value, facts: words.Facts) -> Value:
    """Run the shapes over each value of an element, one after the other."""
    if value is None:
        return words.KEEP
    if isinstance(value, tuple):
        parts = [_one(shapes, part) for part in value]
        if all(part is words.REMOVE for part in parts):
            return words.REMOVE
        return tuple("" if part is None or part is words.REMOVE else part for part in parts)
    return _one(shapes, value)


def _one(shapes: Sequence[Shape], value: Value) -> Value:
    text = value if isinstance(value, str) else str(value)
    for shape in shapes:
        made = shape(text)
        if made is words.REMOVE or made is None:
            return made
        if made is not words.KEEP:
            text = made
    return text


def _copied(path: str, shapes: Sequence[Shape], value: Value, facts: words.Facts) -> Value:
    source = facts.get(path)
    if source is None:
        return words.KEEP
    return _shaped(shapes, source, facts) if shapes else source


def read_table(path: pathlib.Path) -> dict[str, str]:
    """Read a lookup table: CSV, first column to second; lines that begin with # are comments."""
    try:
        if path.stat().st_size > LARGEST_TABLE:
            raise errors.UsageError(f"{path} is larger than {LARGEST_TABLE >> 20} MiB")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise errors.UsageError(f"the lookup table {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise errors.UsageError(f"the lookup table {path} is not UTF-8 at byte {error.start}") from error
    table: dict[str, str] = {}
    for number, row in enumerate(csv.reader(text.splitlines()), 1):
        if not row or row[0].startswith("#"):
            continue
        if len(row) < 2:
            raise errors.UsageError(f"{path} line {number}: two columns are needed, there is {len(row)}")
        table[row[0].strip()] = row[1].strip()
    return table
