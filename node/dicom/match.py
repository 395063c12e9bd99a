"""What a key of a query means (PS3.4 C.2.2.2), on values in memory; `index/matching.py` says the same in SQL.

Values and keys are text as DICOM writes it, several joined with a backslash. Where the standard leaves a
choice, it is made here:
- names compare without case, width and empty trailing components; a key of one component group is meant for
  whichever group of the name is written that way; everything else compares with case, without outer spaces;
- of several values in a key any may match, with wildcards too;
- a time or date-time with fewer digits means all that begins so;
- IS and DS compare as numbers; two quotation marks match what is empty or absent.
"""

from __future__ import annotations

import decimal
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from node import errors
from node.dicom import names, ranges
from node.dicom import vr as vrs

Test = Callable[[str | None], bool]

EMPTY = '""'  # the key that matches only what has no value
_MOST = 4096  # characters of a key with wildcards; no value that people look for has as many
_WILD_VRS = frozenset({"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})
_SINGLE_VRS = frozenset({"LT", "ST", "UT", "UR"})  # a backslash is a character like any other
_NUMBER_VRS = frozenset({"IS", "DS", "US", "SS", "UL", "SL", "UV", "SV", "FL", "FD"})


def universal(key: str | None) -> bool:
    """Whether a key matches everything, the absent too."""
    return not key or (key[0] == "*" and not key.strip("*"))


def wild(key: str) -> bool:
    """Whether a key has wildcards; which of them count depends on its VR."""
    return "*" in key or "?" in key


def pattern(key: str, *, fold: bool = False) -> re.Pattern[str]:
    """`*` is any text and `?` any character; for `fullmatch`, in linear time."""
    if len(key) > _MOST:
        raise errors.UsageError(f"a key of {len(key)} characters has wildcards; {_MOST} are the most")
    if fold:
        key = names.fold(key)
    first, *rest = (_literal(part) for part in re.split(r"\*+", key))
    if not rest:
        return re.compile(first, re.DOTALL)
    # What lies between two stars is looked for once, at its first place, and never again: were it taken
    # back for another try, a key of many stars would take for ever.
    middle = "".join(f"(?>.*?{part})" for part in rest[:-1])
    tail = rest[-1]
    return re.compile(f"{first}{middle}.*{tail}" if tail else f"{first}{middle}.*", re.DOTALL)


def _literal(text: str) -> str:
    return "".join("." if mark == "?" else re.escape(mark) for mark in text)


def wildcards(vr: str) -> bool:
    """Whether `*` and `?` mean more than themselves in values of this VR."""
    return vr in _WILD_VRS


def values(text: str, vr: str = "") -> list[str]:
    """The values of an element or a key, without outer spaces."""
    several = [text] if vr in _SINGLE_VRS else text.split("\\")
    return [one.strip(" \0") for one in several]


def matcher(vr: str, key: str, *, fuzzy: bool = False) -> Test:
    """The test that a key stands for; raises UsageError for a key that its VR cannot have."""
    if key.strip(" ") == EMPTY:
        return _empty
    wanted = [one for one in values(key, vr) if one]
    if not wanted or any(universal(one) for one in wanted):
        return _always
    if vr == "PN":
        tests = [_name(one, fuzzy) for one in wanted]
        return _always if None in tests else _any(vr, [test for test in tests if test])
    if vr == "DA":
        return _any(vr, [ranges.day(one) for one in wanted])
    if vr == "TM":
        return _any(vr, [ranges.time(one) for one in wanted])
    if vr == "DT":
        return _any(vr, [ranges.moment(one) for one in wanted])
    if vr in _NUMBER_VRS:
        numbers = [number(vr, one) for one in wanted]
        return _any(vr, [lambda held: _same_number(held, numbers)])
    if vr in _WILD_VRS:
        return _any(vr, [_text(one) for one in wanted])
    return _any(vr, [frozenset(wanted).__contains__])


def _always(held: str | None) -> bool:
    return True


def _empty(held: str | None) -> bool:
    return not held or not held.strip(" \\=^\0")


def _any(vr: str, tests: Sequence[Callable[[str], bool]]) -> Test:
    """Whether any of an element's values passes any of the tests of a key's values."""

    def test(held: str | None) -> bool:
        return any(one and passes(one) for one in values(held or "", vr) for passes in tests)

    return test


def _text(key: str) -> Callable[[str], bool]:
    if not wild(key):
        return key.__eq__
    found = pattern(key).fullmatch
    return lambda held: found(held) is not None


def _name(key: str, fuzzy: bool) -> Callable[[str], bool] | None:
    """Groups with groups, one group with any of them; nothing when all of them match everything."""
    tests = [None if universal(group) else _group(group, fuzzy) for group in groups(key)]
    if not any(tests):
        return None

    def test(held: str) -> bool:
        folded = [names.fold(one) for one in held.split("=")[:3]]
        if len(tests) == 1:
            only = tests[0]
            return only is None or any(one and only(one) for one in folded)
        folded += [""] * (3 - len(folded))
        return all(one is None or one(name) for one, name in zip(tests, folded, strict=False))

    return test


def groups(key: str) -> list[str]:
    """The component groups of a name that is a key; "" where nothing but empty components stands."""
    return [group.strip(" ") if group.strip(" ^") else "" for group in key.split("=")[:3]]


def _group(key: str, fuzzy: bool) -> Callable[[str], bool]:
    if fuzzy:
        return names.beginning(key)
    found = [pattern(one).fullmatch for one in names.variants(key)]
    return lambda held: any(one(held) is not None for one in found)


def number(vr: str, text: str) -> decimal.Decimal:
    """A key of a numeric VR; UsageError when it is no number."""
    try:
        found = decimal.Decimal(text)
    except decimal.InvalidOperation:
        raise errors.UsageError(f"{text[:64]!r} is no number, as a key of VR {vr} must be") from None
    if not found.is_finite():
        raise errors.UsageError(f"{text[:64]!r} is no number, as a key of VR {vr} must be")
    return found


def _same_number(held: str, wanted: Sequence[decimal.Decimal]) -> bool:
    try:
        return decimal.Decimal(held) in wanted
    except decimal.InvalidOperation:
        return False


NEVER_KEYS = frozenset({"SpecificCharacterSet", "QueryRetrieveLevel", "TimezoneOffsetFromUTC"})


def fields(
    asked: Mapping[str, Any], *, fuzzy: bool = False, together: bool = False
) -> Callable[[Mapping[str, Any]], bool]:
    """Whether a data set matches a query, both with keywords for keys and lists of data sets for sequences.

    All keys of a sequence's item must match within one item. `together`: dates and times are moments.
    """
    tests: list[Callable[[Mapping[str, Any]], bool]] = []
    left = {keyword: key for keyword, key in asked.items() if keyword not in NEVER_KEYS and key}
    for day, time in ranges.PAIRS.items() if together else ():
        if isinstance(left.get(day), str) and isinstance(left.get(time), str):
            tests.append(_paired(day, time, ranges.combined(left.pop(day), left.pop(time))))
    for keyword, key in left.items():
        if isinstance(key, str):
            if not universal(key):
                tests.append(_valued(keyword, matcher(_vr(keyword), key, fuzzy=fuzzy)))
        elif any(wants(key[0])):
            tests.append(_within(keyword, fields(key[0], fuzzy=fuzzy, together=together)))
    return lambda held: all(test(held) for test in tests)


def wants(item: Mapping[str, Any]) -> list[str]:
    """The keys of a data set that ask for more than an answer."""
    return [
        keyword
        for keyword, key in item.items()
        if keyword not in NEVER_KEYS
        and key
        and (not universal(key) if isinstance(key, str) else any(wants(one) for one in key))
    ]


def _vr(keyword: str) -> str:
    tag = vrs.keywords().get(keyword)
    if tag is not None:
        return vrs.of(tag)
    return vrs.of(int(keyword, 16)) if re.fullmatch(r"[0-9A-F]{8}", keyword) else "LO"


def _valued(keyword: str, test: Test) -> Callable[[Mapping[str, Any]], bool]:
    def valued(held: Mapping[str, Any]) -> bool:
        value = held.get(keyword)
        return test(value if isinstance(value, str) else None)

    return valued


def _paired(
    day: str, time: str, test: Callable[[str | None, str | None], bool]
) -> Callable[[Mapping[str, Any]], bool]:
    return lambda held: test(held.get(day), held.get(time))


def _within(keyword: str, test: Callable[[Mapping[str, Any]], bool]) -> Callable[[Mapping[str, Any]], bool]:
    def within(held: Mapping[str, Any]) -> bool:
        items = held.get(keyword)
        return isinstance(items, list) and any(test(item) for item in items)

    return within
