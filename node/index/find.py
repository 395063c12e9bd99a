"""Questions about what is held: `model.Query` becomes one statement that uses indexes, and answers stream.

Every condition stands in SQL. Where SQL can only come close (a wildcard within one of several values) the
rows that it lets through are checked here.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Callable, Iterator
from typing import Any

import sqlalchemy

from node import errors, model
from node.dicom import names
from node.index import attributes, tables, words
from node.index.attributes import Attribute, Kind

_Condition = sqlalchemy.ColumnElement[bool]
_Check = Callable[[str | None], bool]

_ORDER = (model.Level.PATIENT, model.Level.STUDY, model.Level.SERIES, model.Level.IMAGE)
_TABLES = {
    model.Level.PATIENT: tables.patient,
    model.Level.STUDY: tables.study,
    model.Level.SERIES: tables.series,
    model.Level.IMAGE: tables.instance,
}
_LAST = "\U0010ffff"  # sorts behind whatever follows a prefix
_MOST_LISTED = 5000  # values of one key; databases bind no more than some 30,000 in a statement


@dataclasses.dataclass(frozen=True, slots=True)
class Match:
    """One answer."""

    key: int  # row at the query's level
    values: dict[
        str, Any
    ]  # keyword -> text, number, list of texts, or, of a sequence, list of dicts; None: empty


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """A query understood."""

    statement: sqlalchemy.Select[*tuple[Any, ...]]  # selects the row's key, then a column per keyword
    keywords: tuple[str, ...]  # what the columns are
    requests: tuple[str, ...]  # what of the Request Attributes Sequence is wanted
    checks: tuple[tuple[int, _Check], ...]  # (column, test) that an answer must pass too
    unknown: tuple[str, ...]  # keys that the index does not answer: from the stored header, or a warning


def find(connection: sqlalchemy.Connection, query: model.Query) -> Iterator[Match]:
    """Answers in the order things came; nothing is kept in memory but a page."""
    planned = plan(query, connection.dialect.name)
    statement = planned.statement
    skip, left = 0, query.limit
    if planned.checks:
        skip = query.offset  # only what passes counts
    else:
        statement = statement.offset(query.offset or None).limit(query.limit)
    with contextlib.closing(connection.execution_options(yield_per=500).execute(statement)) as rows:
        for row in rows:
            if not all(check(row[column]) for column, check in planned.checks):
                continue
            if skip:
                skip -= 1
                continue
            if left is not None:
                if left <= 0:
                    return
                left -= 1
            yield _match(connection, row, planned)


def _match(connection: sqlalchemy.Connection, row: Any, planned: Plan) -> Match:
    values: dict[str, Any] = {}
    for keyword, value in zip(planned.keywords, row[1:], strict=False):
        if attributes.KNOWN[keyword].kind is Kind.TEXTS:
            values[keyword] = list(words.split(value))
        else:
            values[keyword] = value
    if planned.requests:
        values[attributes.REQUESTS] = _requests(connection, row[-1], planned.requests)
    return Match(row[0], values)


def _requests(
    connection: sqlalchemy.Connection, series_key: int, wanted: tuple[str, ...]
) -> list[dict[str, Any]]:
    columns = [attributes.REQUEST[keyword].column for keyword in wanted]
    table = tables.series_request
    statement = sqlalchemy.select(*columns).where(table.c.series_key == series_key).order_by(table.c.position)
    return [dict(zip(wanted, row, strict=True)) for row in connection.execute(statement).all()]


def plan(query: model.Query, dialect: str = "sqlite") -> Plan:
    """The statement that answers `query`; raises UsageError for a value that its attribute cannot have."""
    level = _ORDER.index(query.level)
    own = _TABLES[query.level]
    keywords: dict[str, None] = dict.fromkeys(attributes.UNIQUE[query.level])
    requests: dict[str, None] = {}
    unknown: list[str] = []
    for keyword in (*query.keys, *query.wanted):
        base, _, inner = keyword.partition(".")
        if base == attributes.REQUESTS and level >= _ORDER.index(model.Level.SERIES):
            if inner in attributes.REQUEST:
                requests[inner] = None
            elif inner:
                unknown.append(keyword)
            else:
                requests |= dict.fromkeys(attributes.REQUEST)
        elif keyword in attributes.KNOWN and _ORDER.index(attributes.KNOWN[keyword].level) <= level:
            keywords[keyword] = None
        else:
            unknown.append(keyword)
    conditions: list[_Condition] = []
    checks: list[tuple[int, _Check]] = []
    places = {keyword: place + 1 for place, keyword in enumerate(keywords)}
    matched = {
        keyword: query.keys[keyword] for keyword in keywords if not _universal(query.keys.get(keyword))
    }
    if query.combined:
        conditions += _combine(matched)
    for keyword, value in matched.items():
        attribute = attributes.KNOWN[keyword]
        conditions += _conditions(keyword, attribute, value, query.fuzzy, dialect)
        if attribute.kind is Kind.TEXTS and _wild(value):
            checks.append((places[keyword], _any_value(value)))
    conditions += _request_conditions(query, requests, dialect)
    chosen = [own.c.key, *(attributes.KNOWN[keyword].column for keyword in keywords)]
    if requests:
        chosen.append(tables.series.c.key)
    reached = max((_ORDER.index(attributes.KNOWN[keyword].level) for keyword in keywords), default=0)
    lowest = min((_ORDER.index(attributes.KNOWN[keyword].level) for keyword in keywords), default=level)
    assert reached <= level
    statement = sqlalchemy.select(*chosen).select_from(_joined(lowest, level)).where(*conditions)
    # With conditions the order must not tempt the planner to walk the whole table for it.
    statement = statement.order_by(own.c.key + 0 if conditions else own.c.key)
    return Plan(statement, tuple(keywords), tuple(requests), tuple(checks), tuple(dict.fromkeys(unknown)))


def _joined(lowest: int, level: int) -> sqlalchemy.FromClause:
    patient, study, series, instance = (_TABLES[one] for one in _ORDER)
    joined: sqlalchemy.FromClause = _TABLES[_ORDER[level]]
    if level >= 3 and lowest < 3:
        joined = joined.join(series, series.c.key == instance.c.series_key)
    if level >= 2 and lowest < 2:
        joined = joined.join(study, study.c.key == series.c.study_key)
    if level >= 1 and lowest < 1:
        joined = joined.join(patient, patient.c.key == study.c.patient_key)
    return joined


def _universal(value: str | None) -> bool:
    return value is None or value == "" or set(value) == {"*"}


def _conditions(
    keyword: str, attribute: Attribute, value: str, fuzzy: bool, dialect: str
) -> list[_Condition]:
    column = attribute.column
    match attribute.kind:
        case Kind.UID:
            listed = [one.strip(" \0") for one in value.split("\\") if one.strip(" \0")]
            if len(listed) > _MOST_LISTED:
                raise errors.UsageError(
                    f"{keyword} lists {len(listed)} UIDs; ask for {_MOST_LISTED} at a time"
                )
            if column is tables.instance.c.sop_instance and listed:
                hashes = [words.uid_hash(one) for one in listed]
                return [tables.instance.c.sop_hash.in_(hashes), column.in_(listed)]
            return [column.in_(listed)] if listed else []
        case Kind.TEXT:
            return [_text(column, value.strip(" "), dialect)]
        case Kind.TEXTS:
            return [sqlalchemy.or_(*(_one_of(column, one.strip(" "), dialect) for one in value.split("\\")))]
        case Kind.NAME:
            return _name(attribute.folded, value, fuzzy, dialect)
        case Kind.DATE:
            return _range(column, *_dates(keyword, value))
        case Kind.TIME:
            return _range(column, *_times(keyword, value))
        case Kind.NUMBER:
            return [column.in_(_numbers(keyword, value))]
        case Kind.COUNT:
            return []


def _wild(value: str) -> bool:
    return "*" in value or "?" in value


def _text(column: sqlalchemy.Column[Any], value: str, dialect: str) -> _Condition:
    if not _wild(value):
        return column == value
    prefix = re.split(r"[*?]", value, maxsplit=1)[0]
    like = _like(column, value, dialect)
    # The range is what the index is searched by; the pattern decides.
    return sqlalchemy.and_(column >= prefix, column < prefix + _LAST, like) if prefix else like


def _like(column: sqlalchemy.ColumnElement[Any], value: str, dialect: str) -> _Condition:
    if dialect == "sqlite":  # its LIKE knows no case
        return column.op("GLOB", is_comparison=True)(value.replace("[", "[[]"))
    escaped = re.sub(r"([%_\\])", r"\\\1", value).replace("*", "%").replace("?", "_")
    return column.like(escaped, escape="\\")


def _one_of(column: sqlalchemy.Column[Any], value: str, dialect: str) -> _Condition:
    """Whether one of the values that a column holds could match; exact without wildcards."""
    fenced = sqlalchemy.literal("\\").concat(column).concat("\\")
    return _like(fenced, f"*\\{value}\\*", dialect)


def _any_value(value: str) -> _Check:
    patterns = [_regex(one.strip(" ")) for one in value.split("\\")]
    return lambda held: any(pattern.fullmatch(one) for one in words.split(held) for pattern in patterns)


def _regex(value: str) -> re.Pattern[str]:
    parts = {"*": ".*", "?": "."}
    return re.compile("".join(parts.get(mark) or re.escape(mark) for mark in value), re.DOTALL)


def _name(
    folded: tuple[sqlalchemy.Column[Any], ...], value: str, fuzzy: bool, dialect: str
) -> list[_Condition]:
    groups = [names.fold(group) for group in value.split("=")[:3]]
    if len(groups) > 1 and len(folded) > 1:
        pairs = [
            (column, group) for column, group in zip(folded, groups, strict=False) if not _universal(group)
        ]
        return [_one_name(column, group, fuzzy, dialect) for column, group in pairs]
    # One group is meant for whichever group of the stored name is written that way.
    return [sqlalchemy.or_(*(_one_name(column, groups[0], fuzzy, dialect) for column in folded))]


def _one_name(column: sqlalchemy.Column[Any], group: str, fuzzy: bool, dialect: str) -> _Condition:
    if not fuzzy:
        return _text(column, group, dialect)
    beginnings = [word for word in re.split(r"[\s^*?,]+", group) if word]
    return sqlalchemy.and_(
        *(
            sqlalchemy.or_(*(_like(column, f"{before}{word}*", dialect) for before in ("", "*^", "* ", "*-")))
            for word in beginnings
        )
    )


_DATE = re.compile(r"\d{8}")
_TIME = re.compile(r"(?:[01]\d|2[0-3])(?:[0-5]\d(?:(?:[0-5]\d|60)(?:\.\d{1,6})?)?)?")


def _ends(value: str) -> tuple[str, str, bool]:
    low, mark, high = value.strip(" ").partition("-")
    return low.strip(" "), high.strip(" "), bool(mark)


def _dates(keyword: str, value: str) -> tuple[str | None, str | None]:
    low, high, ranged = _ends(value.replace(".", ""))
    for end in (low, high):
        if end and not _DATE.fullmatch(end):
            raise errors.UsageError(
                f"{keyword} = {value!r} is no date or range of dates, as in 20260101-20261231"
            )
    if not ranged:
        return low, low
    return low or None, high or None


def _times(keyword: str, value: str) -> tuple[str | None, str | None]:
    low, high, ranged = _ends(value.replace(":", ""))
    for end in (low, high):
        if end and not _TIME.fullmatch(end):
            raise errors.UsageError(f"{keyword} = {value!r} is no time or range of times, as in 0800-1200")
    return (_earliest(low) or None), (_latest(high if ranged else low) or None)


def _earliest(written: str) -> str:
    """The shortest way to write a time, which sorts before every longer way to write the same."""
    if "." in written:
        written = written.rstrip("0").rstrip(".")
    while len(written) in (4, 6) and written.endswith("00"):
        written = written[:-2]
    return written


def _latest(written: str) -> str:
    """Sorts behind every time within what was written: 10 is until 10:59:59.999999."""
    return written and written + _LAST


def _range(column: sqlalchemy.ColumnElement[Any], low: str | None, high: str | None) -> list[_Condition]:
    found: list[_Condition] = []
    if low is not None and low == high:
        return [column == low]
    if low is not None:
        found.append(column >= low)
    if high is not None:
        found.append(column <= high)
    return found


_PAIRS = {
    "StudyDate": "StudyTime",
    "SeriesDate": "SeriesTime",
    "PatientBirthDate": "PatientBirthTime",
    "PerformedProcedureStepStartDate": "PerformedProcedureStepStartTime",
    "ContentDate": "ContentTime",
    "AcquisitionDate": "AcquisitionTime",
}


def _combine(matched: dict[str, str]) -> list[_Condition]:
    """Dates and times asked together as ranges of moments; what it takes care of leaves `matched`."""
    found: list[_Condition] = []
    for day, time in _PAIRS.items():
        if day not in matched or time not in matched:
            continue
        first, last = _dates(day, matched.pop(day))
        earliest, latest = _times(time, matched.pop(time))
        days = attributes.KNOWN[day].column
        times = sqlalchemy.func.coalesce(attributes.KNOWN[time].column, "")
        found += _range(days, first, last)
        if first is not None and earliest is not None:
            found.append(sqlalchemy.or_(days > first, times >= earliest))
        if last is not None and latest is not None:
            found.append(sqlalchemy.or_(days < last, times <= latest))
    return found


def _numbers(keyword: str, value: str) -> list[int]:
    try:
        found = [int(one) for one in value.split("\\") if one.strip()]
    except ValueError as fault:
        raise errors.UsageError(f"{keyword} = {value!r} is no whole number") from fault
    if any(words.number(one) is None for one in found):
        raise errors.UsageError(f"{keyword} = {value!r} is larger than a number can be")
    return found


def _request_conditions(query: model.Query, requests: dict[str, None], dialect: str) -> list[_Condition]:
    """All keys of the sequence must match within one and the same item."""
    inside: list[_Condition] = []
    for keyword in requests:
        value = query.keys.get(f"{attributes.REQUESTS}.{keyword}")
        if not _universal(value):
            inside += _conditions(keyword, attributes.REQUEST[keyword], value or "", False, dialect)
    if not inside:
        return []
    return [tables.series.c.key.in_(sqlalchemy.select(tables.series_request.c.series_key).where(*inside))]
