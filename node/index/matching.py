"""What a key means in SQL: `dicom/match.py` in conditions that use indexes (PS3.4 C.2.2.2).

Where SQL can only come close, the condition lets a little too much through, and a check in Python decides.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy

from node import errors
from node.dicom import match, names, ranges
from node.index import words
from node.index.attributes import Attribute, Kind

Condition = sqlalchemy.ColumnElement[bool]
_Column = sqlalchemy.ColumnElement[Any]

_MOST_LISTED = 5000  # values of one key; databases bind no more than some 30,000 in a statement
_MOST_TRIED = 50  # those that take a condition each; SQLite nests no more than a thousand
_UNHEARD = re.compile("[\0\ud800-\udfff]")  # what no stored text has, and no database takes
_LISTED = (Kind.UID, Kind.NUMBER, Kind.DECIMAL)
_VRS = {Kind.TEXTS: "LO", Kind.NAME: "PN", Kind.NAMES: "PN", Kind.DECIMALS: "DS"}


@dataclasses.dataclass(frozen=True, slots=True)
class Check:
    """What an answer must pass beside the conditions."""

    columns: tuple[sqlalchemy.Column[Any], ...]  # whose values decide
    test: Callable[..., bool]  # takes these values


@dataclasses.dataclass(slots=True)
class Wanted:
    """What a query's keys ask for."""

    conditions: list[Condition] = dataclasses.field(default_factory=list)
    checks: list[Check] = dataclasses.field(default_factory=list)
    narrow: bool = False  # an index leads to few rows
    unmatched: list[str] = dataclasses.field(default_factory=list)  # keys that are answered and never matched

    def add(self, more: Wanted) -> None:
        """Ask for this too."""
        self.conditions += more.conditions
        self.checks += more.checks
        self.narrow = self.narrow or more.narrow
        self.unmatched += more.unmatched


@dataclasses.dataclass(frozen=True, slots=True)
class Manner:
    """How the keys of a query are meant."""

    dialect: str = "sqlite"  # the database's name
    fuzzy: bool = False  # names match by the beginnings of their words
    combined: bool = False  # a date range and its time range are one range of moments
    zone: datetime.timedelta | None = (
        None  # what the asker's time zone adds to UTC; None: values as they stand
    )


def wanted(keys: Mapping[str, str], known: Mapping[str, Attribute], manner: Manner) -> Wanted:
    """What these keys ask for; raises UsageError for a value that its attribute cannot have."""
    found = Wanted()
    left = {keyword: key for keyword, key in keys.items() if not match.universal(key)}
    for day, time in ranges.PAIRS.items():
        if (day in left or time in left) and known.keys() >= {day, time}:
            _moments(found, left, day, time, known, manner)
    for keyword, key in left.items():
        with _naming(keyword):
            found.add(_wanted(keyword, known[keyword], key, manner))
    return found


@contextlib.contextmanager
def _naming(keyword: str) -> Iterator[None]:
    try:
        yield
    except errors.UsageError as fault:
        raise errors.UsageError(f"{keyword}: {fault}") from fault


def _wanted(keyword: str, attribute: Attribute, key: str, manner: Manner) -> Wanted:
    column = attribute.column
    if attribute.kind is Kind.SHOWN:
        return Wanted(unmatched=[keyword])
    if key.strip(" ") == match.EMPTY:
        return Wanted([_empty(attribute)])
    keys = [one for one in match.values(key, attribute.vr) if one]
    listed = attribute.kind in _LISTED or (not any(map(match.wild, keys)) and attribute.kind is Kind.TEXT)
    most = _MOST_LISTED if listed else _MOST_TRIED
    if len(keys) > most:
        raise errors.UsageError(f"it lists {len(keys)} values; ask for {most} at a time")
    if any(map(_UNHEARD.search, keys)):
        raise errors.UsageError("it has a character that no text can have")
    if not keys or any(match.universal(one) for one in keys):
        return Wanted()
    match attribute.kind:
        case Kind.UID:
            return Wanted(_uids(attribute, keys), narrow=attribute.narrow)
        case Kind.TEXT:
            narrow = attribute.narrow and all(one[0] not in "*?" for one in keys)
            return Wanted([_text(column, keys, manner.dialect)], narrow=narrow)
        case Kind.NAME:
            return _name(attribute, keys, manner)
        case Kind.TEXTS | Kind.NAMES | Kind.DECIMALS:
            return _several(attribute, keys, manner)
        case Kind.DATE:
            spans = [_between(column, *ranges.dates(one)) for one in keys]
            return Wanted([sqlalchemy.or_(*spans)], narrow=attribute.narrow)
        case Kind.TIME:
            return Wanted([sqlalchemy.or_(*(_between(column, *ranges.times(one)) for one in keys))])
        case Kind.NUMBER:
            return Wanted([column.in_([_number(one) for one in keys])])
        case Kind.DECIMAL:
            return Wanted([column.in_([float(match.number("DS", one)) for one in keys])])


def _empty(attribute: Attribute) -> Condition:
    column = attribute.column
    if attribute.kind in (Kind.NUMBER, Kind.DECIMAL):
        return column.is_(None)
    return sqlalchemy.or_(column.is_(None), column == "")


def _uids(attribute: Attribute, keys: Sequence[str]) -> list[Condition]:
    listed: Condition = attribute.column.in_(keys)
    if attribute.hashed is None:
        return [listed]
    return [attribute.hashed.in_([words.uid_hash(one) for one in keys]), listed]


# -- text -------------------------------------------------------------------------------------------


def _text(column: _Column, keys: Sequence[str], dialect: str) -> Condition:
    """Any of these keys, wildcards and all."""
    exact = [one for one in keys if not match.wild(one)]
    found: list[Condition] = [column.in_(exact)] if len(exact) > 1 else [column == one for one in exact]
    for one in keys:
        if match.wild(one):
            prefix = re.split(r"[*?]", one, maxsplit=1)[0]
            # The range is what the index is searched by; the pattern decides, if there is more of it.
            conditions = [*_prefixed(column, prefix)] if prefix else []
            if one != prefix + "*":
                conditions.append(_like(column, one, dialect))
            found.append(sqlalchemy.and_(*conditions))
    return _any_of(found)


def _any_of(conditions: list[Condition]) -> Condition:
    return conditions[0] if len(conditions) == 1 else sqlalchemy.or_(*conditions)


def _prefixed(column: _Column, prefix: str) -> tuple[Condition, Condition]:
    return column >= prefix, column < prefix + ranges.LAST


def _like(column: _Column, key: str, dialect: str) -> Condition:
    match.pattern(key)  # refuses what is too long
    if dialect == "sqlite":  # its LIKE knows no case
        return column.op("GLOB", is_comparison=True)(key.replace("[", "[[]"))
    escaped = re.sub(r"([%_\\])", r"\\\1", key).replace("*", "%").replace("?", "_")
    return column.like(escaped, escape="\\")


def _several(attribute: Attribute, keys: Sequence[str], manner: Manner) -> Wanted:
    """Any of the values that a column holds."""
    column = attribute.column
    vr = _VRS[attribute.kind]
    test = match.matcher(vr, "\\".join(keys), fuzzy=manner.fuzzy)
    if test(None):
        return Wanted()  # it matches everything, as `*=*` does
    if attribute.kind is not Kind.TEXTS:  # neither names nor numbers compare as they are written
        return Wanted([column != ""], [Check((column,), test)])
    fenced = sqlalchemy.literal("\\").concat(column).concat("\\")
    found = [_like(fenced, f"*\\{one}\\*", manner.dialect) for one in keys]
    checks = [Check((column,), test)] if any(map(match.wild, keys)) else []
    return Wanted([sqlalchemy.or_(*found)], checks)


# -- names ------------------------------------------------------------------------------------------


def _name(attribute: Attribute, keys: Sequence[str], manner: Manner) -> Wanted:
    found = [_one_name(attribute, key, manner) for key in keys]
    conditions = [one.conditions for one in found]
    if not all(conditions):
        return Wanted()  # one of them matches everything
    whole = Wanted(
        [_any_of([sqlalchemy.and_(*each) for each in conditions])],
        narrow=all(one.narrow for one in found),
    )
    if len(attribute.folded) == 1:
        test = match.matcher("PN", "\\".join(keys), fuzzy=manner.fuzzy)
        whole.checks.append(Check((attribute.column,), test))
    return whole


def _one_name(attribute: Attribute, key: str, manner: Manner) -> Wanted:
    groups = match.groups(key)
    if all(match.universal(group) for group in groups):
        return Wanted()
    if len(attribute.folded) == 1:
        return _whole_name(attribute.folded[0], groups, manner)
    if len(groups) == 1:
        # One group is meant for whichever group of the stored name is written that way.
        any_group = sqlalchemy.or_(*(_group(column, groups[0], manner) for column in attribute.folded))
        return Wanted([any_group], narrow=_leads(groups[0], manner))
    pairs = [
        (column, group)
        for column, group in zip(attribute.folded, groups, strict=False)
        if not match.universal(group)
    ]
    return Wanted(
        [_group(column, group, manner) for column, group in pairs],
        narrow=any(_leads(group, manner) for _, group in pairs),
    )


def _leads(group: str, manner: Manner) -> bool:
    return not manner.fuzzy and group[:1] not in ("*", "?")


def _group(column: _Column, group: str, manner: Manner) -> Condition:
    if manner.fuzzy:
        return _beginnings(column, group, manner.dialect)
    found = _text(column, names.variants(group), manner.dialect)
    return sqlalchemy.and_(column != "", found) if group[:1] == "*" else found


def _whole_name(column: _Column, groups: Sequence[str], manner: Manner) -> Wanted:
    """Of a name whose groups stand in one column: a part of it that the index has, for a check decides.

    A key of one group in ASCII is meant for the first, for that is what the index is sorted by.
    """
    first = groups[0]
    if match.universal(first) or (len(groups) == 1 and not first.isascii()):
        return Wanted([column != ""])
    if manner.fuzzy:
        return Wanted([_beginnings(column, first, manner.dialect)])
    prefixes = [re.split(r"[*?]", one, maxsplit=1)[0] for one in names.variants(first)]
    shortest = min(prefixes, key=len)
    if not shortest:
        return Wanted([column != "", _like(column, f"{names.variants(first)[-1]}*", manner.dialect)])
    return Wanted(list(_prefixed(column, shortest)), narrow=True)


def _beginnings(column: _Column, group: str, dialect: str) -> Condition:
    """Every word of the key begins a word of the name, in one of its spellings."""
    return sqlalchemy.and_(
        column != "",
        *(
            sqlalchemy.or_(*(_begins(column, spelling, dialect) for spelling in spellings))
            for spellings in names.words(group)
        ),
    )


def _begins(column: _Column, word: names.Word, dialect: str) -> Condition:
    letters = "".join(one if len(one) == 1 and one != "[" else f"[{one}]" for one in word)
    if dialect != "sqlite":
        letters = "".join(re.escape(one) if len(one) == 1 else f"[{one}]" for one in word)
        return column.op("~", is_comparison=True)(f"(^|[ ^=,-]){letters}")
    starts = ("", "*[ ^=,-]")
    return sqlalchemy.or_(*(column.op("GLOB", is_comparison=True)(f"{one}{letters}*") for one in starts))


# -- dates and times --------------------------------------------------------------------------------


def _between(column: _Column, low: str | None, high: str | None) -> Condition:
    if low is not None and low == high:
        return column == low
    found = [column >= low] if low is not None else []
    return sqlalchemy.and_(*found, column <= high) if high is not None else found[0]


def _moments(
    found: Wanted,
    left: dict[str, str],
    day: str,
    time: str,
    known: Mapping[str, Attribute],
    manner: Manner,
) -> None:
    """A date and its time, where they mean more than each alone; what is taken care of leaves `left`."""
    both = all(one in left and left[one] != match.EMPTY and "\\" not in left[one] for one in (day, time))
    zone = known[day].zone
    if manner.zone is not None and zone is not None:
        _zoned(found, left, day, time, known, manner, together=both and manner.combined)
    elif both and manner.combined:
        with _naming(day):
            first, last = ranges.dates(left.pop(day))
        with _naming(time):
            earliest, latest = ranges.times(left.pop(time))
        days = known[day].column
        times = sqlalchemy.func.coalesce(known[time].column, "")
        found.conditions.append(_between(days, first, last))
        found.narrow = found.narrow or known[day].narrow
        if first is not None and earliest is not None:
            found.conditions.append(sqlalchemy.or_(days > first, times >= earliest))
        if last is not None and latest is not None:
            found.conditions.append(sqlalchemy.or_(days < last, times <= latest))


def _zoned(
    found: Wanted,
    left: dict[str, str],
    day: str,
    time: str,
    known: Mapping[str, Attribute],
    manner: Manner,
    *,
    together: bool,
) -> None:
    """Dates and times in the asker's zone: SQL gives a day more at either end, a check decides."""
    days, times, zone, asker = known[day].column, known[time].column, known[day].zone, manner.zone
    assert zone is not None
    assert asker is not None
    day_key, time_key = left.pop(day, ""), left.pop(time, "")
    if together:
        with _naming(f"{day} and {time}"):
            both = ranges.combined(day_key, time_key)
    with _naming(day):
        day_test = match.matcher("DA", day_key)
        for one in (
            match.values(day_key) if day_key and "\\" not in day_key and day_key != match.EMPTY else ()
        ):
            low, high = ranges.dates(one)
            found.conditions.append(_between(days, _next(low, -1), _next(high, 1)))
            found.narrow = found.narrow or known[day].narrow
    with _naming(time):
        time_test = match.matcher("TM", time_key)

    def test(held_day: str | None, held_time: str | None, held_zone: str | None) -> bool:
        theirs = ranges.offset(held_zone)
        if theirs is not None and held_day and held_time:
            held_day, held_time = ranges.moved(held_day, held_time, asker - theirs)
        if together:
            return both(held_day, held_time)
        return day_test(held_day) and time_test(held_time)

    found.checks.append(Check((days, times, zone), test))


def _next(day: str | None, by: int) -> str | None:
    """So many days later; the day itself where the calendar does not go on, or has no such day."""
    if day is None:
        return None
    try:
        then = datetime.date(int(day[:4]), int(day[4:6]), int(day[6:])) + datetime.timedelta(days=by)
    except (ValueError, OverflowError):
        return day
    return then.strftime("%Y%m%d").rjust(8, "0")


_WHOLE = re.compile(r"[+-]?\d+", re.ASCII)


def _number(key: str) -> int:
    if not _WHOLE.fullmatch(key) or len(key) > 30:
        raise errors.UsageError(f"{key[:64]!r} is no whole number")
    if words.number(int(key)) is None:
        raise errors.UsageError(f"{key} is larger than a number can be")
    return int(key)
