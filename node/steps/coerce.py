"""`coerce`: change elements on the way, by constants, patterns, tables, dates and maps.

A step is one table of the configuration (or of a file given to `dicom-node edit --steps`). It names what it
does by one key, and may shape the value by others:

    set = "PATH", to = VALUE                      a constant; when = "present" or "absent", vr = "LO"
    copy = "PATH", into = "PATH"                  another element's value, which may be shaped as below
    change = "PATH"                               shape the value that is there, in this order:
        match = "REGEX", to = "\\\\1"                 captures (a value that does not match stays)
        lookup = "FILE.csv", missing = "keep"       first column to second; keep, empty, remove or fail
        case = "upper" | "lower"
        shift = DAYS                                dates and date-times by whole days
        prefix = "TEXT", suffix = "TEXT"
    remove = "PATH"    empty = "PATH"    keep = "PATH"
    remap = "SECRET"                              every UID by one consistent map, references included
    original = "SYSTEM"                           keep the old values in Original Attributes Sequence

Paths are those of `node.dicom.path`. Each step sees the values from before all of them; of two steps that
reach the same element the later one counts.
"""

from __future__ import annotations

import dataclasses
import datetime
import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from node import errors
from node.dicom import changes as words
from node.dicom import edit, encode, uids, values
from node.dicom import path as paths
from node.dicom import syntax as syntaxes
from node.dicom import vr as vrs
from node.dicom.values import Value
from node.steps import shape

if TYPE_CHECKING:
    from node import model

_NO_TEXT = values.BYTES_VRS | {"AT", "SQ"}
_PROBE = encode.Form(explicit=True, order="<", sets=("ISO_IR 192",))  # every text can be written in it
_REASONS = ("COERCE", "CORRECT")  # PS3.3 C.12.1.1.9


class Mistakes(errors.UsageError):
    """Everything that is wrong with a list of steps."""

    def __init__(self, mistakes: Sequence[str]) -> None:
        self.mistakes = tuple(mistakes)  # each a sentence that begins with the step's name
        text = mistakes[0] if len(mistakes) == 1 else "\n  ".join(["these steps cannot be:", *mistakes])
        super().__init__(text)


@dataclasses.dataclass(frozen=True, slots=True)
class Coercion:
    """Steps made ready, to be applied to any number of data sets."""

    program: edit.Program  # what node.dicom.edit applies
    original: edit.Original | None  # who is named in the Original Attributes Sequence; None: not kept
    descriptions: tuple[str, ...]  # one sentence per step, in order

    def apply(self, buffer: syntaxes.Buffer, syntax: str) -> edit.Patched:
        """Change a data set's bytes; raises BadData and UsageError as `edit.edit` does."""
        return edit.edit(buffer, syntax, self.program, original=self.original)

    def at(self, moment: datetime.datetime) -> Coercion:
        """The same with a fixed moment for when it was done, so that the result is always equal."""
        if self.original is None:
            return self
        return dataclasses.replace(self, original=dataclasses.replace(self.original, when=moment))

    @property
    def renames(self) -> bool:
        """Whether the SOP Class or Instance UID may become another one."""
        return self.program.renames


def ready(
    steps: Sequence[Mapping[str, object]],
    *,
    base: pathlib.Path = pathlib.Path(),
    tables: shape.Tables | None = None,
    names: Sequence[str] = (),
    files: bool = True,
    receipt: bool = False,
) -> Coercion:
    """Make steps ready; `names` say in messages which step is meant.

    Lookup tables are read below `base`, or come from `tables`. Without `files`, the steps are for data sets
    that have no file meta information. At `receipt`, they must leave an instance's identity alone.
    Raises Mistakes with everything that cannot be.
    """
    made: list[_Made] = []
    mistakes: list[str] = []
    read = tables or functools.cache(lambda name: shape.read_table(base / name))
    for number, step in enumerate(steps):
        try:
            one = _made(step, read)
            if not files and one.change is not None and edit.ready([one.change]).meta:
                raise errors.UsageError("file meta information is not sent, so that it cannot be changed")
            made.append(one)
        except errors.NodeError as error:
            mistakes.append(f"{_name(names, number)}: {error}")
    if mistakes:
        raise Mistakes(mistakes)
    program = edit.ready([one.change for one in made if one.change is not None])
    if receipt:
        which = [number for number, one in enumerate(made) if one.change is not None]
        for index, touched in _identities(program):
            mistakes.append(f"{_name(names, which[index])}: {touched} {_AT_RECEIPT}")
        if mistakes:
            raise Mistakes(mistakes)
    original = next((one.original for one in reversed(made) if one.original is not None), None)
    return Coercion(program, original, tuple(one.said for one in made))


def configured(
    wanted: model.Coercion, *, tables: shape.Tables | None = None, receipt: bool = False
) -> Coercion:
    """Make the steps of a configuration ready; a mistake is told with its file and line."""
    names = [f"{place}: coerce.{wanted.name}" for place in wanted.places]
    return ready(wanted.steps, base=wanted.base, tables=tables, names=names, files=False, receipt=receipt)


_IDENTITY = (0x0020000D, 0x0020000E, 0x00080018, 0x00080016)
_AT_RECEIPT = (
    "would become another one, and a coercion at receipt must not change under what name an instance is held "
    "and asked for; add a step that keeps it, or use the coercion at a destination"
)


def _identities(program: edit.Program) -> list[tuple[int, str]]:
    """The changes by which an instance would get another identity, with the elements that they touch."""
    touched: dict[int, list[str]] = {}
    for tag in _IDENTITY:
        rule = program.at_top(tag, "UI")
        if rule is not None and not isinstance(rule.change, words.Keep):
            touched.setdefault(rule.index, []).append(vrs.keyword(tag))
    return [(index, " and ".join(keywords)) for index, keywords in sorted(touched.items())]


def _name(names: Sequence[str], number: int) -> str:
    return names[number] if names else f"step {number + 1}"


# -- each kind of step ----------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class _Made:
    """What one step comes to."""

    said: str  # in words
    change: words.Change | None = None  # what it does
    original: edit.Original | None = None  # the record that it asks for


def _made(step: Mapping[str, object], tables: shape.Tables) -> _Made:
    kinds = [kind for kind in _KINDS if kind in step]
    if len(kinds) != 1:
        found = " and ".join(kinds) or ", ".join(map(repr, step)) or "nothing"
        raise errors.UsageError(f"it has {found}: a step takes exactly one of {', '.join(_KINDS)}")
    kind = kinds[0]
    allowed, make = _KINDS[kind]
    for key in step:
        if key != kind and key not in allowed:
            also = f"it takes {', '.join(allowed)}" if allowed else "it takes nothing else"
            raise errors.UsageError(f"{key!r} does not go with {kind!r}: {also}")
    made = make(step, tables)
    if made.change is not None:
        edit.ready([made.change])  # a path that cannot be is this step's mistake
    return made


def _constant(step: Mapping[str, object], tables: shape.Tables) -> _Made:
    path = shape.text(step, "set")
    if "to" not in step:
        raise errors.UsageError(f"set = {path!r} needs a value: to = ...")
    when = str(step.get("when", words.When.ALWAYS.value))
    if when not in list(words.When):
        raise errors.UsageError(f"when = {when!r}: it is one of {', '.join(words.When)}")
    vr = _vr(step)
    _check_value(path, step["to"], vr)
    change = words.Set(path, step["to"], vr, words.When(when))
    return _Made(str(change), change)


def _vr(step: Mapping[str, object]) -> str | None:
    if "vr" not in step:
        return None
    vr = shape.text(step, "vr")
    if vr not in vrs.SHORT_VRS and vr not in vrs.LONG_VRS:
        raise errors.UsageError(f"there is no VR {vr!r}")
    return vr


def _check_value(path: str, value: Value, vr: str | None) -> None:
    """Refuse what the element cannot hold before the first file is opened, where its VR is known."""
    leaf = paths.parse(path).leaf
    if not leaf.exact or (vr is None and vrs.signed_or_not(leaf.tag)):
        return
    wanted = vr or vrs.of(leaf.tag)
    if wanted != "UN":  # a private element: its file may know more
        try:
            encode.whole(leaf.tag, wanted, value, _PROBE)
        except values.BadValue as fault:
            raise errors.UsageError(f"{path} {vrs.show(leaf.tag)}: {fault}") from None


def _copy(step: Mapping[str, object], tables: shape.Tables) -> _Made:
    source, into = shape.text(step, "copy"), shape.text(step, "into")
    found = paths.parse(source)
    if found.anywhere or not all(one.exact or one.creator is not None for one in found.steps):
        raise errors.UsageError(f"copy = {source!r} may be many elements: name one")
    if found.leaf.tag >> 16 == 0x0002:
        raise errors.UsageError(f"copy = {source!r} is file meta information, which cannot be copied")
    shapes, said = shape.made(step, tables)
    _check_text(found)

    def function(value: Value, facts: words.Facts) -> Value:
        there = facts.get(source)
        if there is None:
            return words.KEEP
        if not shapes:
            return there
        shaped = shape.apply(shapes, there)
        return there if shaped is words.KEEP else shaped

    change = words.Apply(into, function, words=f"copy {source} into", absent=True)
    return _Made(f"copy {source} into {into}" + (f", {said}" if said else ""), change)


def _shaped(step: Mapping[str, object], tables: shape.Tables) -> _Made:
    path = shape.text(step, "change")
    _check_text(paths.parse(path))
    shapes, said = shape.made(step, tables)
    if not shapes:
        raise errors.UsageError(f"change = {path!r} says nothing to do: give one of {', '.join(shape.KEYS)}")

    def function(value: Value, facts: words.Facts) -> Value:
        return shape.apply(shapes, value)

    return _Made(f"change {path}: {said}", words.Apply(path, function, words=f"{said}:"))


def _check_text(path: paths.Path) -> None:
    leaf = path.leaf
    vr = leaf.vr or (vrs.of(leaf.tag) if leaf.exact and not leaf.tag & 0x10000 else "")
    if vr in _NO_TEXT:
        raise errors.UsageError(f"{path} holds {vr}: only text and numbers can be copied or shaped")


def _removal(step: Mapping[str, object], tables: shape.Tables) -> _Made:
    change = words.Remove(shape.text(step, "remove"))
    return _Made(str(change), change)


def _emptying(step: Mapping[str, object], tables: shape.Tables) -> _Made:
    change = words.Empty(shape.text(step, "empty"))
    return _Made(str(change), change)


def _keeping(step: Mapping[str, object], tables: shape.Tables) -> _Made:
    change = words.Keep(shape.text(step, "keep"))
    return _Made(f"{change} as it is", change)


def _remapping(step: Mapping[str, object], tables: shape.Tables) -> _Made:
    # A study refers to the same few UIDs over and over; the bound keeps memory flat over a whole archive.
    derived = functools.lru_cache(1 << 16)(functools.partial(uids.derived, "", shape.text(step, "remap")))
    said = "replace each UID by one derived from it with a secret, the same everywhere, references included"
    return _Made(said, words.RemapUids(derived))


def _record(step: Mapping[str, object], tables: shape.Tables) -> _Made:
    system, reason, source = (
        shape.text(step, "original"),
        step.get("reason", "COERCE"),
        step.get("source", ""),
    )
    if reason not in _REASONS:
        raise errors.UsageError(f"reason = {reason!r}: it is one of {', '.join(_REASONS)}")
    for tag, value in ((0x04000563, system), (0x04000564, source)):
        try:
            encode.whole(tag, "LO", value, _PROBE)
        except values.BadValue as fault:
            raise errors.UsageError(f"{vrs.keyword(tag)}: {fault}") from None
    said = f"keep the values from before in Original Attributes Sequence, as changed by {system}"
    return _Made(said, original=edit.Original(system, str(reason), str(source)))


_Maker = Callable[[Mapping[str, object], shape.Tables], _Made]
_KINDS: Mapping[str, tuple[tuple[str, ...], _Maker]] = {
    "set": (("to", "vr", "when"), _constant),
    "copy": (("into", *shape.KEYS), _copy),
    "change": (shape.KEYS, _shaped),
    "remove": ((), _removal),
    "empty": ((), _emptying),
    "keep": ((), _keeping),
    "remap": ((), _remapping),
    "original": (("reason", "source"), _record),
}
