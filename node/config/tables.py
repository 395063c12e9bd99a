"""What the configuration may hold: for each table its keys, their kinds, and what becomes of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from node import model, orders
from node.config import hours, schedules, when
from node.config import values as kinds


@dataclasses.dataclass(frozen=True, slots=True)
class Table:
    """What one table of the file may hold, and what it becomes."""

    keys: Mapping[str, kinds.Kind]  # by key
    build: Callable[..., Any]  # makes the settings' value of it
    required: tuple[str, ...] = ()  # keys that have no default
    renamed: Mapping[str, str] = dataclasses.field(default_factory=dict)  # key -> field, where they differ
    inner: tuple[str, ...] = ()  # tables that it holds
    lists: tuple[str, ...] = ()  # lists of tables that it holds


_MANY = 1_000_000  # a bound where none is known
_CHOICES = {
    "level": kinds.choice(("debug", "info", "warning", "error")),
    "format": kinds.choice(("auto", "json", "text")),
}

_TARGETS = kinds.list_of(kinds.NAME, 'names of destinations and groups, as in ["archive"]')

TABLES: Mapping[tuple[str, ...], Table] = {
    ("node",): Table(
        {
            "aet": kinds.AET,
            "host": kinds.HOST,
            "port": kinds.PORT,
            "http": kinds.HOST_PORT,
            "api_token_file": kinds.PATH,
            "data": kinds.PATH,
            "listeners": kinds.whole(1, 64),
            "workers": kinds.whole(0, 64),
            "drain": kinds.DURATION,
            "accept_any_called": kinds.FLAG,
            "accept_unknown": kinds.FLAG,
        },
        model.NodeSettings,
    ),
    ("log",): Table({**_CHOICES, "patient_data": kinds.FLAG}, model.LogSettings),
    ("storage",): Table(
        {
            "database": kinds.DATABASE,
            "min_free": kinds.SIZE,
            "journal": kinds.size_from(64 << 20),
            "on_conflict": kinds.choice(model.OnConflict),
        },
        model.StorageSettings,
        inner=("retention",),
    ),
    ("storage", "retention"): Table({"max_age": kinds.WAIT, "max_size": kinds.SIZE}, model.RetentionSettings),
    ("limits",): Table(
        {
            "associations": kinds.whole(1, 10_000),
            "per_peer": kinds.whole(1, 10_000),
            "echo_slots": kinds.whole(0, 1_000),
            "pdu": kinds.whole(4096, 1 << 20, "a number of bytes"),
            "max_instance": kinds.size_from(1 << 20),
            "request_timeout": kinds.WAIT,
            "pdu_timeout": kinds.WAIT,
            "idle_timeout": kinds.WAIT,
            "answers": kinds.whole(1, 1_000_000),
            "http_body": kinds.size_from(1 << 10),
        },
        model.Limits,
    ),
    ("tls",): Table(
        {
            "port": kinds.PORT,
            "certificate": kinds.PATH,
            "key": kinds.PATH,
            "ca": kinds.PATH,
            "client_certificate": kinds.FLAG,
        },
        model.TlsSettings,
    ),
    ("worklist",): Table(
        {"folder": kinds.PATH, "finished": kinds.choice(model.Finished), "keep": kinds.WAIT},
        model.WorklistSettings,
    ),
    ("routing",): Table({"mode": kinds.choice(orders.Mode), "default": _TARGETS}, orders.Routing),
    ("queue",): Table(
        {
            "lanes": kinds.whole(1, 1_000),
            "heartbeat": kinds.WAIT,
            "dead_after": kinds.WAIT,
            "age_up": kinds.WAIT,
            "poison": kinds.whole(1, 1_000),
            "keep": kinds.WAIT,
        },
        orders.QueueSettings,
    ),
}

NAMED: Mapping[str, Table] = {
    "peers": Table(
        {
            "aet": kinds.AET,
            "host": kinds.HOST,
            "port": kinds.PORT,
            "addresses": kinds.NETWORKS,
            "tls": kinds.FLAG,
            "certificate": kinds.WORDS,
            "rights": kinds.list_of(
                kinds.choice(model.Right), "rights out of " + ", ".join(model.Right), frozenset
            ),
            "associations": kinds.whole(1, 10_000),
            "rate": kinds.RATE,
            "max_instance": kinds.SIZE,
            "syntaxes": kinds.SYNTAX_LIST,
            "called": kinds.AET,
        },
        model.Peer,
        required=("aet",),
    ),
    "destinations": Table(
        {
            "kind": kinds.choice(orders.Kind),
            "peer": kinds.NAME,
            "calling": kinds.AET,
            "coerce": kinds.NAME,
            "folder": kinds.PATH,
            "template": kinds.WORDS,
            "command": kinds.PROGRAM,
            "timeout": kinds.WAIT,
            "memory": kinds.size_from(1 << 20),
            "cpu": kinds.WAIT,
            "environment": kinds.ENVIRONMENT,
            "lanes": kinds.whole(1, 64),
            "window": kinds.whole(1, 65_535),
            "bandwidth": kinds.size_from(1_000),
            "rate": kinds.RATE,
            "calendar": kinds.NAME,
            "retry": kinds.WAIT,
            "retry_most": kinds.WAIT,
            "attempts": kinds.whole(1, _MANY),
            "breaker": kinds.whole(1, 1_000),
            "verify": kinds.choice(orders.Verify),
            "verify_after": kinds.DURATION,
            "verify_within": kinds.WAIT,
            "transcode": kinds.FLAG,
        },
        orders.Destination,
    ),
    "groups": Table(
        {
            "members": kinds.list_of(
                kinds.NAME, 'names of destinations, as in ["pacs-a", "pacs-b"]', kinds.some
            ),
            "choose": kinds.choice(orders.Choice),
        },
        orders.Group,
        required=("members",),
        renamed={"choose": "choice"},
    ),
    "calendars": Table(
        {
            "days": hours.DAYS,
            "hours": hours.HOURS,
            "zone": hours.ZONE,
            "holidays": hours.HOLIDAYS,
            "on_holidays": kinds.FLAG,
        },
        orders.Calendar,
    ),
    "completeness": Table(
        {
            "peers": when.entries('peers or AE titles, as in ["ct1", "MR_*"]'),
            "modalities": when.entries('modalities, as in ["CT", "MR"]'),
            "quiet": kinds.WAIT,
            "released": kinds.WAIT_OR_NOT,
            "expected": kinds.FLAG,
            "steps": kinds.FLAG,
            "ask": kinds.NAME,
            "geometry": kinds.FLAG,
            "wait": kinds.DURATION,
            "study_quiet": kinds.WAIT,
        },
        orders.Policy,
    ),
    "routes": Table(
        {
            "level": kinds.choice(orders.When),
            "to": _TARGETS,
            "priority": kinds.numbered(orders.Priority),
            "calendar": kinds.NAME,
            "discard": kinds.WORDS,
            "partial": kinds.FLAG,
            "final": kinds.FLAG,
        },
        orders.Route,
        inner=("when",),
        lists=("steps", "requires"),
    ),
    "rules": Table(
        {
            "action": kinds.choice(model.Action),
            "reason": kinds.WORDS,
            "for": kinds.WAIT,
            "coerce": kinds.NAME,
        },
        model.Rule,
        required=("action",),
        renamed={"for": "keep"},
        inner=("when",),
    ),
    "schedules": Table(schedules.KEYS, model.Schedule, required=("job",)),
}

STEPS = "coerce"  # its tables come in lists, [[coerce.NAME]]; what stands in them is node.steps.coerce's
SECTIONS = (*dict.fromkeys(path[0] for path in TABLES), *NAMED, STEPS)
