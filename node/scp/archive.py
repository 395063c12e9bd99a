"""Queries about what is held: an identifier of one of the Query/Retrieve models meets the index."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence

import sqlalchemy

from node import errors, headers, model
from node.dicom import identifier, match, ranges, statuses
from node.dicom import vr as vrs
from node.files import filed, layout
from node.index import attributes, db, find, lookup
from node.scp import find as finding
from node.scp import watch as watching
from node.wire import association, contexts

BARRIER = 10.0  # seconds that what was acknowledged before may take to be filed
HEADERS = 1000  # stored headers that are read for one query

_P, _S, _R, _I = model.Level.PATIENT, model.Level.STUDY, model.Level.SERIES, model.Level.IMAGE
MODELS: Mapping[str, tuple[model.Level, ...]] = {  # SOP class of C-FIND -> its levels
    "1.2.840.10008.5.1.4.1.2.1.1": (_P, _S, _R, _I),
    "1.2.840.10008.5.1.4.1.2.2.1": (_S, _R, _I),
    "1.2.840.10008.5.1.4.1.2.3.1": (_P, _S),
}

# What we can do of extended negotiation (PS3.4 C.5.1.1): relational queries, dates and times matched as one,
# fuzzy names, time zones adjusted; no conversion of enhanced multi-frame images.
EXTENDED = {uid: bytes((1, 1, 1, 1, 0)) for uid in MODELS}

_LEVEL = "QueryRetrieveLevel"
_TITLE = "RetrieveAETitle"
_AVAILABILITY = "InstanceAvailability"
_TIMEZONE = "TimezoneOffsetFromUTC"
_OURS = frozenset({_LEVEL, _TITLE, _AVAILABILITY, identifier.CHARSET})  # answered by us, and never matched
_NOWHERE = frozenset({"StorageMediaFileSetID", "StorageMediaFileSetUID"})  # supported, and always empty


@dataclasses.dataclass(frozen=True, slots=True)
class Terms:
    """What was agreed for the queries of a SOP class."""

    relational: bool = False  # keys of any level, without the unique ones above
    combined: bool = False  # a date and its time are one moment
    fuzzy: bool = False  # names match by the beginnings of their words
    timezone: bool = False  # dates and times are in the asker's time zone

    @classmethod
    def of(cls, agreed: bytes) -> Terms:
        """From the application information of extended negotiation."""
        return cls(*(byte == 1 for byte in agreed[:4]))


@dataclasses.dataclass(frozen=True, slots=True)
class Asked:
    """An identifier understood."""

    query: model.Query
    fields: identifier.Fields  # what every answer has, to begin with
    unsupported: bool  # some keys are not heeded


def understand(asked: identifier.Fields, levels: Sequence[model.Level], terms: Terms, title: str) -> Asked:
    """The query that an identifier means; raises Refused for one that breaks the model's rules."""
    level = _level(asked, levels)
    if not terms.relational:
        for above in levels[: levels.index(level)]:
            _check_unique(asked, above, level)
    keys: dict[str, str] = {}
    wanted: list[str] = []
    unsupported = False
    for key, value in asked.items():
        if key in _OURS or key in _NOWHERE or key == _TIMEZONE:
            continue
        if identifier.private(key):
            unsupported = True
        elif isinstance(value, list):
            unsupported |= _sequence(key, value, keys, wanted)
        elif value:
            keys[key] = value
        else:
            wanted.append(key)
    given = asked.get(_TIMEZONE)
    zone = given if terms.timezone and isinstance(given, str) else None
    if level is not _P and (_TIMEZONE in asked or zone):
        wanted.append(_TIMEZONE)
    if zone:  # midnight is elsewhere at another time
        wanted += [time for day, time in ranges.PAIRS.items() if day in asked]
    if not identifier.terms(asked) and level is not _P:
        wanted.append(identifier.CHARSET)  # for who names no set, the one that the study came in
    query = model.Query(
        level,
        keys,
        tuple(wanted),
        fuzzy=terms.fuzzy,
        combined=terms.combined,
        relational=terms.relational,
        timezone=zone,
    )
    fields: identifier.Fields = {key: None for key in asked if not identifier.private(key)}
    fields |= {_LEVEL: level.value, _TITLE: title}
    if _AVAILABILITY in asked:
        fields[_AVAILABILITY] = "ONLINE"
    return Asked(query, fields, unsupported)


def _level(asked: identifier.Fields, levels: Sequence[model.Level]) -> model.Level:
    value = asked.get(_LEVEL)
    if not isinstance(value, str):
        raise finding.Refused(statuses.DATA_SET_MISMATCH, "there is no Query/Retrieve Level", 0x00080052)
    if value.strip() not in tuple(levels):
        known = ", ".join(levels)
        why = f"Query/Retrieve Level {value[:16]!r} is none of {known}"
        raise finding.Refused(statuses.DATA_SET_MISMATCH, why, 0x00080052)
    return model.Level(value.strip())


def _check_unique(asked: identifier.Fields, above: model.Level, level: model.Level) -> None:
    key = model.UNIQUE[above]
    value = asked.get(key)
    if not isinstance(value, str) or any(mark in value for mark in "\\*?"):
        why = f"level {level} needs one {key}, unless queries are relational"
        raise finding.Refused(statuses.DATA_SET_MISMATCH, why, identifier.tag_of(key))


def _sequence(key: str, items: list[identifier.Fields], keys: dict[str, str], wanted: list[str]) -> bool:
    """Keys within a sequence; whether some of it is more than we do."""
    inner = items[0] if items else {}
    if not inner:
        wanted.append(key)
    beyond = len(items) > 1  # PS3.4 C.2.2.2.6: one item
    for name, value in inner.items():
        if identifier.private(name) or (isinstance(value, list) and any(value)):
            beyond = True
        elif value and isinstance(value, str):
            keys[f"{key}.{name}"] = value
        else:
            wanted.append(f"{key}.{name}")
    return beyond


class Archive:
    """Answers the queries of one model from the index, and from stored headers what that does not hold."""

    def __init__(
        self,
        levels: Sequence[model.Level],
        abstract: str,
        database: db.Database,
        data: layout.Data,
        title: Callable[[], str],
        watch: watching.Watch,
    ) -> None:
        self._levels = levels
        self._abstract = abstract
        self._database = database
        self._filed = filed.Filed(data)
        self._title = title  # the AE title that instances are retrieved from
        self._watch = watch
        self._headers = headers.Headers(data)

    def answers(self, asked: identifier.Fields, who: association.Association) -> Iterator[identifier.Fields]:
        """What matches, in the order it came."""
        terms = Terms.of(who.extended.get(self._abstract, b""))
        understood = understand(asked, self._levels, terms, self._title())
        running = self._watch.of(who) or watching.Running(who, 0)
        # What came from senders that are done is found, and so is what came over this association. For what
        # others are still sending nobody waits: a node that receives at full speed files it seconds later.
        stores = any(contexts.is_storage(context.abstract) for context in who.contexts.values())
        if not self._filed.wait(BARRIER, ended=not stores, unless=running.over):
            raise errors.DatabaseUnavailable(f"what was acknowledged before is not filed after {BARRIER:g} s")
        with self._database.read() as connection, running.interruptible(db.interrupter(connection)):
            yield from self._found(connection, understood)

    def _found(self, connection: sqlalchemy.Connection, asked: Asked) -> Iterator[identifier.Fields]:
        query = asked.query
        planned = find.plan(query, connection.dialect.name)
        beyond = _Beyond.of(planned, query)
        partial = asked.unsupported or beyond.unsupported
        template = asked.fields
        if partial:
            template = {key: value for key, value in template.items() if key not in beyond.left}
        left = HEADERS
        convert = None if query.timezone is None else _converter(query.timezone, planned.keywords)
        for found in find.find(connection, query, planned):
            fields = _fields(template, found.values)
            if convert is not None:
                convert(fields)
            heeded = not partial
            if beyond.tags:
                left -= 1
                more = self._stored(connection, query.level, found.key, beyond) if left >= 0 else None
                if more is None:
                    heeded = False
                elif not beyond.passes(more):
                    continue
                else:
                    fields |= beyond.shown(more)
            yield fields if heeded else finding.Partial(fields)

    def _stored(
        self, connection: sqlalchemy.Connection, level: model.Level, key: int, beyond: _Beyond
    ) -> identifier.Fields | None:
        """What the header of an instance of this answer says; None when it cannot be read."""
        held = lookup.sample(connection, level, key)
        if held is None:
            return None
        try:
            return self._headers.fields(held, beyond.tags)
        except (errors.Permanent, errors.StorageFailed):
            return None  # damaged or gone: scrub says so, and the answer that it lacks something


@dataclasses.dataclass(frozen=True, slots=True)
class _Beyond:
    """Keys that the index does not hold."""

    tags: tuple[int, ...]  # elements that the stored header is asked for
    tests: Mapping[str, Mapping[str, match.Test]]  # element -> "" or keys of its item -> what must match
    inner: Mapping[str, tuple[str, ...]]  # sequence -> what of its items is wanted; (): all
    left: frozenset[str]  # keys that are left out of answers
    unsupported: bool  # there are such keys

    @classmethod
    def of(cls, plan: find.Plan, query: model.Query) -> _Beyond:
        tags: dict[str, int] = {}
        tests: dict[str, dict[str, match.Test]] = {}
        inner: dict[str, list[str]] = {}
        left: set[str] = set()
        for key in plan.unknown:
            base, _, name = key.partition(".")
            tag = identifier.tag_of(base)
            if (
                base in attributes.KNOWN or vrs.of(tag) in _UNTOLD
            ):  # of a level below, or nothing for an answer
                left.add(base)
                continue
            tags[base] = tag
            if name:
                inner.setdefault(base, []).append(name)
            value = query.keys.get(key)
            if value and not match.universal(value):
                vr = vrs.of(identifier.tag_of(name or base))
                tests.setdefault(base, {})[name] = match.matcher(vr, value, fuzzy=query.fuzzy)
        return cls(
            tuple(tags.values()),
            tests,
            {key: tuple(names) for key, names in inner.items()},
            frozenset(left),
            bool(left or plan.unmatched),
        )

    def passes(self, stored: identifier.Fields) -> bool:
        """Whether a header has what was asked for; all keys of a sequence in the same item."""
        for key, tests in self.tests.items():
            value = stored.get(key)
            candidates = value if isinstance(value, list) else [{"": value}]
            if not any(all(test(_text(one.get(name))) for name, test in tests.items()) for one in candidates):
                return False
        return True

    def shown(self, stored: identifier.Fields) -> identifier.Fields:
        """What of a header goes into the answer."""
        shown: identifier.Fields = {}
        for key, value in stored.items():
            names = self.inner.get(key)
            if names and isinstance(value, list):
                shown[key] = [{name: one.get(name) for name in names} for one in value]
            else:
                shown[key] = value
        return shown


_UNTOLD = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})


def _text(value: identifier.Value) -> str | None:
    return value if isinstance(value, str) else None


def _fields(template: identifier.Fields, values: Mapping[str, find.Value]) -> identifier.Fields:
    """An answer from a row of the index; what is empty there stands in the template if it was asked for."""
    return template | {key: value for key, value in values.items() if value}


def _converter(zone: str, keywords: Sequence[str]) -> Callable[[identifier.Fields], None]:
    """Puts the dates and times of an answer into the asker's time zone, where it is known which is theirs."""
    pairs = [
        (day, time)
        for day, time in ranges.PAIRS.items()
        if day in keywords and time in keywords and attributes.KNOWN[day].zone is not None
    ]
    wanted = ranges.offset(zone)

    def convert(fields: identifier.Fields) -> None:
        held = ranges.offset(_text(fields.get(_TIMEZONE)))
        if wanted is None or held is None:
            return
        fields[_TIMEZONE] = zone
        for day, time in pairs:
            then = _text(fields.get(day)) or "", _text(fields.get(time)) or ""
            if all(then):
                fields[day], fields[time] = ranges.moved(*then, wanted - held)

    return convert


def services(
    database: db.Database,
    data: layout.Data,
    title: Callable[[], str],
    watch: watching.Watch,
) -> dict[str, finding.Answerer]:
    """The answerers of all models, by their SOP classes."""
    return {uid: Archive(levels, uid, database, data, title, watch) for uid, levels in MODELS.items()}
