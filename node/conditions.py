"""The small language of a condition: what `CT`, `*head*`, `!MR`, `>=5`, `1..9`, `~^T[12]` ask of a value.

`TEXT`      equal; case does not count, nor do spaces at either end (AE titles: case counts)
`T*X?`      `*` any characters, `?` one; `*` alone: there is a value
`""`        there is no value
`>=N` `<N`  a number or a date (20260131, or 2026-01-31) on this side; also `>`, `<=`
`A..B`      from A to B, both included; either end may be left out
`~REGEX`    a regular expression (RE2's) finds something in it; case does not count (AE titles: it does)
`!...`      not: any of the above turned round
`=...`      the text as it stands, whatever signs it begins with

A list of these holds when one of its plain entries holds, and none of its `!` entries is broken.
An element with several values fulfils an entry when one of its values does.
"""

from __future__ import annotations

import dataclasses
import decimal
import enum
import functools
import re
import unicodedata
from collections.abc import Sequence
from typing import Any

_COMPARE = re.compile(r"\s*(>=|<=|>|<)\s*(.*?)\s*", re.DOTALL)
_RANGE = re.compile(r"\s*(\S*?)\s*\.\.\s*(\S*?)\s*")
_DATE = re.compile(r"(\d{4})-(\d\d)-(\d\d)")
_NUMBER = re.compile(r"[+-]?(?:\d{1,64}(?:\.\d{0,64})?|\.\d{1,64})(?:[eE][+-]?\d{1,3})?")

_REGEX_MEMORY = 1 << 20  # bytes of one compiled expression


class Kind(enum.StrEnum):
    """How an entry looks at a value."""

    EQUAL = "equal"  # the whole text
    PATTERN = "pattern"  # with * and ?
    RANGE = "range"  # a number or date between two bounds
    REGEX = "regex"  # a regular expression
    ABSENT = "absent"  # there is none


@dataclasses.dataclass(frozen=True, slots=True)
class Test:
    """One entry of a condition, understood."""

    kind: Kind  # how it looks at a value
    negated: bool = False  # it began with !
    text: str = ""  # to be equal to, the pattern, or the regular expression
    low: decimal.Decimal | None = None  # lower bound of a range
    high: decimal.Decimal | None = None  # upper bound
    low_open: bool = False  # the lower bound itself is outside
    high_open: bool = False  # the upper bound itself is outside


@functools.lru_cache(maxsize=4096)
def parse(entry: str) -> Test:
    """Return what the entry asks; raise ValueError with what is wrong with it."""
    negated = entry.startswith("!")
    body = entry[1:] if negated else entry
    if body.startswith("="):
        return Test(Kind.EQUAL, negated, body[1:].strip())
    if body.startswith("~"):
        _regex(body[1:], exact_case=False)
        return Test(Kind.REGEX, negated, body[1:])
    compare = _COMPARE.fullmatch(body)
    if compare is not None:
        sign, bound = compare[1], _bound(compare[2], entry)
        if sign[0] == ">":
            return Test(Kind.RANGE, negated, low=bound, low_open=sign == ">")
        return Test(Kind.RANGE, negated, high=bound, high_open=sign == "<")
    span = _RANGE.fullmatch(body)
    if span is not None and (number(span[1]) is not None or number(span[2]) is not None):
        low = _bound(span[1], entry) if span[1] else None
        high = _bound(span[2], entry) if span[2] else None
        if low is not None and high is not None and low > high:
            raise ValueError(f"the range {entry!r} ends before it begins")
        return Test(Kind.RANGE, negated, low=low, high=high)
    text = body.strip()
    if not text:
        return Test(Kind.ABSENT, negated)
    return Test(Kind.PATTERN if "*" in text or "?" in text else Kind.EQUAL, negated, text)


def holds(entries: Sequence[str], values: Sequence[str], *, exact_case: bool = False) -> bool:
    """Return whether the values fulfil the list of entries."""
    present = [value for value in values if value.strip()]
    met = plain = False
    for entry in entries:
        test = parse(entry)
        if test.negated:
            if _meets(test, present, exact_case):
                return False
        else:
            plain = True
            met = met or _meets(test, present, exact_case)
    return met or not plain


def number(text: str) -> decimal.Decimal | None:
    """Return a number, or a date as the number YYYYMMDD; None for anything else."""
    text = _DATE.sub(r"\1\2\3", text.strip())
    # Decimal alone takes "NaN", "Infinity" and digits without end, from headers that anybody may send.
    return decimal.Decimal(text) if _NUMBER.fullmatch(text) else None


def like(text: str, pattern: str) -> bool:
    """Match `*` and `?` in time proportional to both lengths at worst: patterns meet hostile values."""
    at = mark = 0
    star, i = -1, 0
    while i < len(text):
        if at < len(pattern) and pattern[at] == "*":
            star, mark = at, i
            at += 1
        elif at < len(pattern) and pattern[at] in ("?", text[i]):
            at += 1
            i += 1
        elif star >= 0:
            at, mark = star + 1, mark + 1
            i = mark
        else:
            return False
    return all(sign == "*" for sign in pattern[at:])


def _meets(test: Test, values: Sequence[str], exact_case: bool) -> bool:
    if test.kind is Kind.ABSENT:
        return not values
    if test.kind is Kind.RANGE:
        return any(_within(test, value) for value in values)
    if test.kind is Kind.REGEX:
        regex = _regex(test.text, exact_case=exact_case)
        return any(regex.search(_sound(value)) is not None for value in values)
    wanted = fold(test.text, exact_case)
    if test.kind is Kind.PATTERN:
        return any(like(fold(value, exact_case), wanted) for value in values)
    return any(fold(value, exact_case) == wanted for value in values)


@functools.lru_cache(maxsize=1024)
def _regex(text: str, *, exact_case: bool) -> Any:
    """The expression, by RE2: it takes time in proportion to the value, which anybody may have sent."""
    import re2  # only where somebody uses one

    options = re2.Options()
    options.case_sensitive = exact_case
    options.never_capture = True
    options.log_errors = False
    options.max_mem = _REGEX_MEMORY
    try:
        return re2.compile(text, options)
    except re2.error as fault:
        why = fault.args[0].decode("utf-8", "replace") if fault.args else "it is too large"
        raise ValueError(f"the regular expression {text!r} cannot be ({why})") from None


def _sound(value: str) -> str:
    """The text in composed form, and such that it can be written as UTF-8."""
    return unicodedata.normalize("NFC", value.strip()).encode("utf-8", "replace").decode()


def _within(test: Test, value: str) -> bool:
    found = number(value)
    if found is None:
        return False
    if test.low is not None and (found < test.low or (test.low_open and found == test.low)):
        return False
    return test.high is None or not (found > test.high or (test.high_open and found == test.high))


def fold(text: str, exact_case: bool = False) -> str:
    """Return the form in which texts are compared: composed, trimmed, and without case unless it counts."""
    text = text.strip()
    if text.isascii():  # most are, and have one form
        return text if exact_case else text.lower()
    text = unicodedata.normalize("NFC", text)
    return text if exact_case else unicodedata.normalize("NFC", text.casefold())


def _bound(text: str, entry: str) -> decimal.Decimal:
    found = number(text)
    if found is None:
        raise ValueError(f"{text!r} in {entry!r} is neither a number nor a date (20260131 or 2026-01-31)")
    return found
