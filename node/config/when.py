"""Conditions as they stand in the configuration: `when` of rules and routes, `requires` of routes.

A key is a fact, or an element by the names that `dicom-node edit` takes. Dots may make tables of it, as TOML
has them: `when.RequestAttributesSequence.ScheduledProcedureStepID = "7"` is a path of two names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from node import conditions, errors, evaluate, orders
from node.config import values as kinds

ARRIVED = evaluate.ASSOCIATION  # facts that rules at receipt may ask for
SETTLED = evaluate.ASSOCIATION | evaluate.SETTLED  # and routes of settled series

Key = tuple[str, ...]
Tell = Callable[[Key, str], None]  # records a mistake: where, and what follows the key in its message

_TAG = re.compile(r"\(?([0-9A-Fa-f]{4}),?([0-9A-Fa-f]{4})\)?")
_NO_TEXT = frozenset({"SQ", "OB", "OD", "OF", "OL", "OV", "OW", "UN", "AT"})
_ALL, _ANY, _NOT = "all", "any", "not"
_PIXELS = 0x7FE0  # the group behind which no header reaches
_BEHIND = "it stands behind the pixels, and a condition looks at the header alone"
_DEEPEST = 8  # conditions in conditions
_MOST = 1000  # keys of one condition


def read(
    table: Mapping[str, object], path: Key, facts: Collection[str], tell: Tell
) -> orders.Condition | None:
    """Return the condition that a table means; None after a mistake was told."""
    reader = _Reader(facts, tell)
    found = reader.condition(table, path, 0)
    if reader.count > _MOST:
        tell(path, f" has more than {_MOST} keys: make several of it")
        return None
    return found if reader.sound else None


class _Reader:
    """Reads one condition; what is wrong is told, and the rest is read all the same."""

    def __init__(self, facts: Collection[str], tell: Tell) -> None:
        self.sound = True
        self.count = 0
        self._facts = facts
        self._tell = tell

    def condition(self, table: Mapping[str, object], path: Key, depth: int) -> orders.Condition:
        """One level of the tree."""
        tests: dict[str, tuple[str, ...]] = {}
        parts: dict[str, tuple[orders.Condition, ...]] = {}
        for key, value in table.items():
            if key in (_ALL, _ANY, _NOT):
                parts[key] = self._inner(key, value, (*path, key), depth)
            else:
                self._test(tests, "", key, value, (*path, key))
        return orders.Condition(
            tuple(tests.items()), parts.get(_ALL, ()), parts.get(_ANY, ()), parts.get(_NOT, ())
        )

    def _inner(self, key: str, value: object, path: Key, depth: int) -> tuple[orders.Condition, ...]:
        listed: list[Any] = value if isinstance(value, list) else [value]
        if not listed or not all(isinstance(one, Mapping) and one for one in listed):
            self._wrong(path, f" = {kinds.show(value)}: give conditions, as in {_EXAMPLES[key]}")
            return ()
        if depth >= _DEEPEST:
            self._wrong(path, f": conditions lie in each other more than {_DEEPEST} deep")
            return ()
        return tuple(self.condition(one, path, depth + 1) for one in listed)

    def _test(
        self, tests: dict[str, tuple[str, ...]], before: str, key: str, value: object, path: Key
    ) -> None:
        name = f"{before}.{key}" if before else key
        self.count += 1
        if isinstance(value, Mapping):
            if not value:
                self._wrong(path, ": this is empty; give what is asked of it")
            for inner, wanted in value.items():
                self._test(tests, name, inner, wanted, (*path, inner))
            return
        fault = not_a_key(name, self._facts)
        if fault:
            self._wrong(path, f": {fault}")
            return
        try:
            read = CONDITION.read(value)
        except kinds.Wrong as wrong:
            hint = f"; {wrong}" if str(wrong) else ""
            self._wrong(path, f" = {kinds.show(value)}: give {CONDITION.allowed}{hint}")
            return
        entries: tuple[str, ...] = read  # type: ignore[assignment]
        if name == evaluate.VERDICT:
            self._one_of(list(orders.Completeness), entries, path)
        if name == evaluate.SORTED:
            self._one_of(list(orders.Sorting), entries, path)
        if tests.setdefault(written(name), entries) is not entries:
            self._wrong(path, ": this element stands there twice; give a list, or use all = [{...}, {...}]")

    def _one_of(self, words: Sequence[str], entries: tuple[str, ...], path: Key) -> None:
        """A verdict that there is not would never be found."""
        for entry in entries:
            test = conditions.parse(entry)
            if test.kind is conditions.Kind.EQUAL and test.text.lower() not in words:
                self._wrong(path, f" = {kinds.show(entry)}: give one of {', '.join(words)}")

    def _wrong(self, path: Key, text: str) -> None:
        self.sound = False
        self._tell(path, text)


_EXAMPLES = {
    _ALL: 'all = [{Modality = "CT"}, {StudyDescription = "*head*"}], of which each must hold',
    _ANY: 'any = [{Modality = "CT"}, {StudyDescription = "*head*"}], of which one must hold',
    _NOT: 'not = {Modality = "SR"}, which must not hold',
}


def _entries(value: object) -> tuple[str, ...]:
    listed = value if isinstance(value, list) else [value]
    read = []
    for entry in listed:
        if isinstance(entry, bool) or not isinstance(entry, str | int | float):
            raise kinds.Wrong
        try:
            conditions.parse(str(entry))
        except ValueError as fault:
            raise kinds.Wrong(str(fault)) from None
        read.append(str(entry))
    if not read:
        raise kinds.Wrong("an empty list matches nothing")
    return tuple(read)


CONDITION = kinds.Kind("a value, a wildcard, a range, or a list of these", _entries)


def _entry(value: object) -> object:
    if not isinstance(value, str) or not value.strip():
        raise kinds.Wrong
    return _entries(value)[0]


def entries(what: str) -> kinds.Kind:
    """A list of what may stand on the right of a condition."""
    return kinds.list_of(kinds.Kind("", _entry), what)


# -- names of elements --------------------------------------------------------------------------


def written(key: str) -> str:
    """Return a tag in the one form that the rest of the program takes: gggg,eeee."""
    tag = _TAG.fullmatch(key)
    return f"{tag[1]},{tag[2]}".lower() if tag else key


def not_a_key(key: str, facts: Collection[str] = ARRIVED) -> str | None:
    """Return why a condition cannot name this; None: it can."""
    if key in facts:
        return None
    tag = _TAG.fullmatch(key)
    if tag is not None:
        return _BEHIND if int(tag[1], 16) >= _PIXELS else None
    if key in SETTLED:
        return f"{key} is known of settled series only: leave it to routes of level series or study"
    from node.dicom import path as paths  # and with it the dictionary, for who names elements
    from node.dicom import vr as vrs

    known = vrs.keywords()
    if key.isalnum() and key not in known:
        near = kinds.nearest(key, [*facts, *known])
        hint = (
            f"did you mean {near}?"
            if near
            else f"name a DICOM keyword, a tag (gggg,eeee), or {', '.join(sorted(facts))}"
        )
        return f"there is no such element; {hint}"
    try:
        path = paths.parse(key)
    except errors.UsageError as error:
        return str(error)
    if path.anywhere:
        return "a condition looks in one place: write the sequences that lead there instead of **"
    if path.steps[0].tag >> 16 >= _PIXELS:
        return _BEHIND
    leaf = path.leaf
    vr = vrs.of(leaf.tag) if leaf.exact and not leaf.tag >> 16 & 1 else ""
    if vr in _NO_TEXT:
        return f"a rule cannot look into {key}, which is no text or number ({vr})"
    for step in path.steps[:-1]:
        if step.exact and not step.tag >> 16 & 1 and vrs.of(step.tag) != "SQ":
            return f"{step} is no sequence ({vrs.of(step.tag)}), so that nothing lies in it"
    return None
