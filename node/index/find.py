"""Questions about what is held: `model.Query` becomes one statement that uses indexes, and answers stream.

What a key means in SQL is in `matching.py`, which attribute is in which column in `attributes.py`. A key of
a level above the query's narrows like any other. A key of a level below does where the query is relational:
something below must match all of them, along one branch; it is not answered, for there may be many. Instances
are only looked at below what an index leads to: a query that would go through all of them is refused.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import sqlalchemy

from node import errors, model
from node.dicom import match, ranges
from node.index import attributes, matching, tables
from node.index.attributes import Kind

Value: TypeAlias = "str | list[dict[str, Value]] | None"

_ORDER = (model.Level.PATIENT, model.Level.STUDY, model.Level.SERIES, model.Level.IMAGE)
_TABLES = (tables.patient, tables.study, tables.series, tables.instance)
_ABOVE = (None, tables.study.c.patient_key, tables.series.c.study_key, tables.instance.c.series_key)
_PAGE = 500  # answers that are read at a time
_SORTED = 20_000  # rows that a database sorts at a time; most answers are fewer


@dataclasses.dataclass(frozen=True, slots=True)
class Match:
    """One answer."""

    key: int  # row at the query's level
    values: dict[str, Value]  # keyword -> text as DICOM writes it, or a sequence's items; None: empty


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """A query understood."""

    statement: sqlalchemy.Select[*tuple[Any, ...]]  # the row's key, a column per keyword, what checks look at
    keywords: tuple[str, ...]  # what the columns are
    sequences: Mapping[str, tuple[str, ...]]  # sequences that are answered, with the keys of their items
    checks: tuple[tuple[tuple[int, ...], Callable[..., bool]], ...]  # columns, and what they must pass too
    below: tuple[str, ...]  # keys of a lower level that narrow and are not answered
    unknown: tuple[str, ...]  # keys that the index does not answer: from the stored header, or a warning
    unmatched: tuple[str, ...]  # keys with a value that is not looked at: they are only answered


def find(
    connection: sqlalchemy.Connection, query: model.Query, planned: Plan | None = None
) -> Iterator[Match]:
    """Answers in the order things came; nothing is kept in memory but a page."""
    planned = planned or plan(query, connection.dialect.name)
    shown = _shown(planned, query.level)
    if not planned.checks and query.limit is not None:
        statement = planned.statement.offset(query.offset or None).limit(query.limit)
        for page in _pages(connection, statement):
            yield from shown(connection, page)
        return
    skip, left = query.offset, query.limit
    for page in _all_pages(connection, planned, _TABLES[_ORDER.index(query.level)].c.key):
        passed = [row for row in page if _passes(row, planned.checks)] if planned.checks else page
        passed, skip = passed[skip:], max(0, skip - len(passed))
        if left is not None:
            passed, left = passed[:left], max(0, left - len(passed))
        yield from shown(connection, passed)
        if left == 0:
            return


def _pages(
    connection: sqlalchemy.Connection, statement: sqlalchemy.Select[*tuple[Any, ...]]
) -> Iterator[Sequence[Any]]:
    with contextlib.closing(connection.execution_options(yield_per=_PAGE).execute(statement)) as rows:
        yield from rows.partitions(_PAGE)


def _all_pages(
    connection: sqlalchemy.Connection, planned: Plan, key: sqlalchemy.Column[int]
) -> Iterator[Sequence[Any]]:
    """Every row that a plan selects; in parts, where the database must sort them in memory."""
    statement = planned.statement
    if statement.whereclause is None:
        yield from _pages(connection, statement)
        return
    last, seen = 0, _SORTED
    while seen == _SORTED:
        seen = 0
        # As in the order: an expression, so that the planner does not take the key for the way to the rows.
        for page in _pages(connection, statement.where(key + 0 > last).limit(_SORTED)):
            yield page
            last, seen = page[-1][0], seen + len(page)


def _passes(row: Any, checks: tuple[tuple[tuple[int, ...], Callable[..., bool]], ...]) -> bool:
    return all(test(*(row[column] for column in columns)) for columns, test in checks)


def _shown(
    planned: Plan, level: model.Level
) -> Callable[[sqlalchemy.Connection, Sequence[Any]], Iterator[Match]]:
    """What makes answers of rows; worked out once for all of them."""
    keywords = planned.keywords
    kinds = [attributes.KNOWN[keyword].kind for keyword in keywords]
    # Most columns are answered as they are read.
    other = [
        (keyword, str if kind is Kind.NUMBER else _decimal if kind is Kind.DECIMAL else _decimals)
        for keyword, kind in zip(keywords, kinds, strict=True)
        if kind in (Kind.NUMBER, Kind.DECIMAL, Kind.DECIMALS)
    ]
    last = len(keywords) + 1

    def shown(connection: sqlalchemy.Connection, rows: Sequence[Any]) -> Iterator[Match]:
        items = {
            name: _items(connection, name, wanted, {row[-1] for row in rows})
            for name, wanted in planned.sequences.items()
        }
        for row in rows:
            values: dict[str, Value] = dict(zip(keywords, row[1:last], strict=True))
            for keyword, text in other:
                if (value := values[keyword]) is not None:
                    values[keyword] = text(value)  # type: ignore[arg-type]
            for name, found in items.items():
                values[name] = found.get(row[-1], [])
            yield Match(row[0], values)

    return shown


def _decimal(value: float) -> str:
    """A number in the sixteen characters that DS has, whole ones without a point."""
    text = repr(value).removesuffix(".0")
    digits = 15
    while len(text) > 16:
        text, digits = f"{value:.{digits}g}", digits - 1
    return text


def _decimals(text: str) -> str:
    return "\\".join(_decimal(float(one)) for one in text.split("\\"))


def _items(
    connection: sqlalchemy.Connection, name: str, wanted: tuple[str, ...], owners: set[int]
) -> dict[int, list[dict[str, Value]]]:
    """The items of a sequence for a page of answers."""
    sequence = attributes.SEQUENCES[name]
    columns = [sequence.keys[keyword].column for keyword in wanted]
    statement = (
        sqlalchemy.select(sequence.owner, *columns)
        .where(sequence.owner.in_(sorted(owners)))
        .order_by(sequence.owner, sequence.order)
    )
    found: dict[int, list[dict[str, Value]]] = {}
    for owner, *values in connection.execute(statement).all():
        item: dict[str, Value] = {
            keyword: value or None for keyword, value in zip(wanted, values, strict=True)
        }
        found.setdefault(owner, []).append(item)
    return found


@dataclasses.dataclass(slots=True)
class _Sorted:
    """A query's keys by what can be done with them."""

    keywords: dict[str, None]  # of this level and those above
    sequences: dict[str, dict[str, None]]  # of this level and those above, with the keys of their items
    below: dict[str, None]  # of a level below, sequences included
    unknown: dict[str, None]


def plan(query: model.Query, dialect: str = "sqlite") -> Plan:
    """The statement that answers `query`; raises UsageError for a value that its attribute cannot have."""
    level = _ORDER.index(query.level)
    manner = matching.Manner(dialect, query.fuzzy, query.combined, _zone(query))
    keys = _sorted(query, level, manner)
    asked = {keyword: query.keys[keyword] for keyword in keys.keywords if keyword in query.keys}
    wanted = matching.wanted(asked, attributes.KNOWN, manner)
    for name, inner in keys.sequences.items():
        _add_items(wanted, name, _within(query.keys, name, inner), manner)
    _add_below(wanted, query.keys, keys.below, level, manner)

    if level == 3:
        _refuse_scans(wanted)

    looked_at = [column for check in wanted.checks for column in check.columns]
    statement = _asking(
        level,
        (*(attributes.KNOWN[keyword].column for keyword in keys.keywords), *looked_at),
        bool(keys.sequences),
        bool(wanted.conditions),
    )
    at = len(keys.keywords) + 1
    checks = []
    for check in wanted.checks:
        checks.append((tuple(range(at, at + len(check.columns))), check.test))
        at += len(check.columns)
    return Plan(
        statement.where(*wanted.conditions) if wanted.conditions else statement,
        tuple(keys.keywords),
        {name: tuple(inner) for name, inner in keys.sequences.items()},
        tuple(checks),
        tuple(keys.below),
        tuple(keys.unknown),
        tuple(wanted.unmatched),
    )


@functools.lru_cache(maxsize=256)
def _asking(
    level: int, columns: tuple[sqlalchemy.Column[Any], ...], sequences: bool, narrowed: bool
) -> sqlalchemy.Select[*tuple[Any, ...]]:
    """A statement without its conditions: clients ask for the same columns all day."""
    key = _TABLES[level].c.key
    chosen = [key, *columns, tables.series.c.key] if sequences else [key, *columns]
    highest = min(_TABLES.index(column.table) for column in chosen if column.table in _TABLES)
    labelled = (column.label(f"c{number}") for number, column in enumerate(chosen))
    # With conditions the order must not tempt the planner to walk the whole table for it.
    order = key + 0 if narrowed else key
    return sqlalchemy.select(*labelled).select_from(_joined(highest, level)).order_by(order)


def _zone(query: model.Query) -> Any:
    if query.timezone is None:
        return None
    zone = ranges.offset(query.timezone)
    if zone is None:
        raise errors.UsageError(
            f"TimezoneOffsetFromUTC = {query.timezone[:16]!r} is no offset such as +0100 or -0500"
        )
    return zone


def _sorted(query: model.Query, level: int, manner: matching.Manner) -> _Sorted:
    found = _Sorted(dict.fromkeys(attributes.UNIQUE[query.level]), {}, {}, {})
    for keyword in dict.fromkeys((*query.keys, *query.wanted)):
        base, _, inner = keyword.partition(".")
        sequence = attributes.SEQUENCES.get(base)
        attribute = attributes.KNOWN.get(keyword)
        if sequence is not None and (not inner or inner in sequence.keys):
            if _ORDER.index(sequence.level) <= level:
                more = dict.fromkeys([inner] if inner else sequence.keys)
                found.sequences.setdefault(base, {}).update(more)
                continue
            attribute = sequence.keys.get(inner)
        elif attribute is not None and _ORDER.index(attribute.level) <= level:
            found.keywords[keyword] = None
            continue
        narrows = query.relational and _narrows(keyword, attribute, query.keys.get(keyword), manner)
        (found.below if narrows else found.unknown)[keyword] = None
    return found


def _narrows(
    keyword: str, attribute: attributes.Attribute | None, key: str | None, manner: matching.Manner
) -> bool:
    """Whether a key of a lower level is one that SQL alone can decide."""
    if attribute is None or key is None or match.universal(key):
        return False
    known = attributes.KNOWN | {keyword: attribute}
    if manner.zone is not None and attribute.zone is not None:
        return False  # only what is answered can be compared in another zone
    if attribute.level is model.Level.IMAGE and keyword not in ("SOPInstanceUID", "SOPClassUID"):
        return False  # it would have to be looked for in every instance
    return not matching.wanted({keyword: key}, known, manner).checks


def _known_below(instances: bool) -> dict[str, attributes.Attribute]:
    """Attributes of lower levels; of an instance's class its series knows, where no instance is named."""
    return attributes.KNOWN if instances else attributes.KNOWN | {"SOPClassUID": _CLASSES}


_CLASSES = attributes.Attribute(model.Level.SERIES, Kind.TEXTS, tables.series.c.sop_classes)


def _refuse_scans(wanted: matching.Wanted) -> None:
    """Of all instances only those of some study, series or patient are looked at."""
    if (wanted.conditions or wanted.checks) and not wanted.narrow:
        raise errors.UsageError(
            "the query would look at every instance; name a study, a series, a patient, a date or an instance"
        )


def _joined(highest: int, lowest: int) -> sqlalchemy.FromClause:
    """The tables of these levels and those between."""
    joined: sqlalchemy.FromClause = _TABLES[lowest]
    for level in range(lowest, highest, -1):
        joined = joined.join(_TABLES[level - 1], _TABLES[level - 1].c.key == _ABOVE[level])
    return joined


def _within(keys: Mapping[str, str], name: str, inner: Mapping[str, None]) -> dict[str, str]:
    """The keys of a sequence's item."""
    return {keyword: keys[f"{name}.{keyword}"] for keyword in inner if f"{name}.{keyword}" in keys}


def _add_items(wanted: matching.Wanted, name: str, keys: Mapping[str, str], manner: matching.Manner) -> None:
    """All keys of a sequence must match within one and the same item."""
    sequence = attributes.SEQUENCES[name]
    inside = matching.wanted(keys, sequence.keys, manner)
    if inside.conditions:
        select = sqlalchemy.select(sequence.owner).where(*inside.conditions)
        _add_among(wanted, tables.series.c.key, sequence.owner, select, narrow=inside.narrow)


def _add_below(
    wanted: matching.Wanted,
    keys: Mapping[str, str],
    below: Mapping[str, None],
    level: int,
    manner: matching.Manner,
) -> None:
    """Something below must match all keys of lower levels, along one branch."""
    known = _known_below("SOPInstanceUID" in below)
    asked = {keyword: keys[keyword] for keyword in below if keyword in known}
    inside = matching.wanted(asked, known, manner)
    lowest = max((_ORDER.index(known[keyword].level) for keyword in asked), default=0)
    for name, sequence in attributes.SEQUENCES.items():
        inner = {keyword: None for keyword in sequence.keys if f"{name}.{keyword}" in below}
        if inner:
            _add_items(inside, name, _within(keys, name, inner), manner)
            lowest = max(lowest, _ORDER.index(sequence.level))
    if lowest <= level:
        wanted.add(inside)  # what a series says of its instances
    elif inside.conditions:
        link = _ABOVE[level + 1]
        assert link is not None
        select = sqlalchemy.select(link).select_from(_joined(level + 1, lowest)).where(*inside.conditions)
        _add_among(wanted, _TABLES[level].c.key, link, select, narrow=inside.narrow)


def _add_among(
    wanted: matching.Wanted,
    key: sqlalchemy.Column[Any],
    link: sqlalchemy.Column[Any],
    select: sqlalchemy.Select[*tuple[Any, ...]],
    *,
    narrow: bool,
) -> None:
    """A row must be among others: these are looked up first, or for each row when the rows are few."""
    if narrow or not wanted.narrow:
        wanted.conditions.append(key.in_(select))
    else:
        wanted.conditions.append(sqlalchemy.exists(select.where(link == key).correlate(key.table)))
    wanted.narrow = wanted.narrow or narrow
