"""What a configuration may say of scheduled work: its kinds of values, and what must fit together."""

from __future__ import annotations

import re
from collections.abc import Mapping

from node import model, orders
from node.config import fit, hours
from node.config import values as kinds

_KEYWORD = re.compile(r"[A-Za-z][A-Za-z0-9.]{0,200}|\(?[0-9A-Fa-f]{4},?[0-9A-Fa-f]{4}\)?")
_MODALITY = re.compile(r"same|[A-Z][A-Z0-9_ ]{0,15}")


def _cron(value: object) -> object:
    from node import cron  # for those who need it

    if not isinstance(value, str):
        raise kinds.Wrong
    try:
        cron.parse(value)
    except cron.Wrong as wrong:
        raise kinds.Wrong(str(wrong)) from None
    return value


def _query(value: object) -> object:
    if not isinstance(value, Mapping) or not value:
        raise kinds.Wrong
    for key, text in value.items():
        if not _KEYWORD.fullmatch(key) or not isinstance(text, str) or not text.strip():
            raise kinds.Wrong(f"{key} = {kinds.show(text)} is none of them")
    return dict(value)


def _modality(value: object) -> object:
    if not isinstance(value, str) or not _MODALITY.fullmatch(value):
        raise kinds.Wrong
    return value


def _level(value: object) -> object:
    return model.Level("IMAGE" if _LEVEL.read(value) == "instance" else str(value).upper())


_LEVEL = kinds.choice(("study", "series", "instance"))

KEYS: Mapping[str, kinds.Kind] = {
    "job": kinds.choice(model.Job),
    "at": kinds.TIME_OF_DAY,
    "every": kinds.WAIT,
    "cron": kinds.Kind('a cron expression, as in "30 2 * * mon-fri"', _cron),
    "zone": hours.ZONE,
    "calendar": kinds.NAME,
    "missed": kinds.choice(model.Missed),
    "retries": kinds.whole(0, 100),
    "retry": kinds.WAIT,
    "rate": kinds.size_from(1),
    "peer": kinds.NAME,
    "query": kinds.Kind('keys of a query, as in {StudyDate = "-1d..today", Modality = "CT"}', _query),
    "level": kinds.Kind(_LEVEL.allowed, _level),
    "by": kinds.choice(model.By),
    "limit": kinds.whole(1, 100_000),
    "worklist": kinds.NAME,
    "days": kinds.whole(1, 31),
    "modalities": kinds.list_of(kinds.Kind("", _modality), 'modalities, as in ["same", "CT"]'),
    "body_parts": kinds.list_of(kinds.WORDS, 'body parts, as in ["CHEST"]'),
    "priors": kinds.whole(1, 100),
    "age": kinds.WAIT,
    "to": kinds.list_of(kinds.NAME, 'names of destinations and groups, as in ["archive"]'),
    "again": kinds.FLAG,
    "priority": kinds.numbered(orders.Priority),
}

_PULL, _PREFETCH, _FORWARD = model.Job.PULL, model.Job.PREFETCH, model.Job.FORWARD
_WHOSE: Mapping[str, tuple[model.Job, ...]] = {  # keys that not every job has
    "rate": (model.Job.SCRUB,),
    "peer": (_PULL, _PREFETCH),
    "query": (_PULL, _FORWARD),
    "level": (_PULL, _FORWARD),
    "by": (_PULL, _PREFETCH),
    "limit": (_PULL, _PREFETCH, _FORWARD),
    "worklist": (_PREFETCH,),
    "days": (_PREFETCH,),
    "modalities": (_PREFETCH,),
    "body_parts": (_PREFETCH,),
    "priors": (_PREFETCH,),
    "age": (_PREFETCH,),
    "to": (_FORWARD,),
    "again": (_FORWARD,),
    "priority": (_FORWARD,),
}
_NEEDED: Mapping[model.Job, Mapping[str, str]] = {
    _PULL: {
        "peer": "the name of a configured peer that has a host",
        "query": 'what is fetched, as in {StudyDate = "-1d..today"}',
    },
    _PREFETCH: {"peer": "the name of a configured peer that has a host"},
    _FORWARD: {
        "query": 'what is sent, as in {StudyDate = "-1d..today"}',
        "to": 'where it goes, as in ["archive"]',
    },
}


def check(parts: fit.Parts) -> None:
    """Tell of everything in the schedules that does not fit."""
    for schedule in parts.made["schedules"]:
        _times(parts, schedule)
        _keys(parts, schedule)
        _names(parts, schedule)


def _times(parts: fit.Parts, schedule: model.Schedule) -> None:
    path = ("schedules", schedule.name)
    given = [key for key in ("at", "every", "cron") if getattr(schedule, key) is not None]
    if len(given) != 1:
        have = f"has {' and '.join(given)}" if given else "has none of at, every and cron"
        examples = 'at = "03:30", every = "6h" or cron = "30 2 * * mon-fri"'
        parts.tell(path, f" {have}: give one of them, as in {examples}")
    if schedule.zone is not None and schedule.every is not None:
        parts.tell((*path, "zone"), ": every is counted from the last run, and only at and cron have a zone")


def _keys(parts: fit.Parts, schedule: model.Schedule) -> None:
    path, job = ("schedules", schedule.name), schedule.job
    for key, jobs in _WHOSE.items():
        if job not in jobs and parts.given((*path, key)):
            whose = " and ".join(f'"{one}"' for one in jobs)
            has = "has" if len(jobs) == 1 else "have"
            article = "a rate" if key == "rate" else key
            parts.tell((*path, key), f': job is "{job}", and only {whose} {has} {article}')
    for key, what in _NEEDED.get(job, {}).items():
        if not parts.given((*path, key)):
            parts.tell(path, f' has no {key}: job is "{job}", give {what}')


def _names(parts: fit.Parts, schedule: model.Schedule) -> None:
    path = ("schedules", schedule.name)
    if schedule.calendar is not None:
        parts.known((*path, "calendar"), schedule.calendar, "calendars", "calendar")
    for key in ("peer", "worklist"):
        name = getattr(schedule, key)
        if name is not None and parts.known((*path, key), name, "peers", "peer"):
            host = next((peer.host for peer in parts.made["peers"] if peer.name == name), "")
            if host is None:
                why = f"this peer has no host to ask: give [peers.{name}] one"
                parts.tell((*path, key), f" = {kinds.show(name)}: {why}")
    known = {*parts.names["destinations"], *parts.names["groups"]}
    for name in schedule.to:
        if name not in known:
            near = fit.among(name, known)
            parts.tell((*path, "to"), f": there is no destination or group {kinds.show(name)}{near}")
