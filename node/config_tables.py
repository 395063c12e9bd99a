"""What the configuration may hold: for each table its keys, their kinds, and what becomes of them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any

from node import config_values as kinds
from node import model, orders


@dataclasses.dataclass(frozen=True, slots=True)
class Table:
    """What one table of the file may hold, and what it becomes."""

    keys: Mapping[str, kinds.Kind]  # by key
    build: Callable[..., Any]  # makes the settings' value of it
    required: tuple[str, ...] = ()  # keys that have no default
    renamed: Mapping[str, str] = dataclasses.field(default_factory=dict)  # key -> field, where they differ


_MANY = 1_000_000  # a bound where none is known
_CHOICES = {
    "level": kinds.choice(("debug", "info", "warning", "error")),
    "format": kinds.choice(("auto", "json", "text")),
}

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
        {"peer": kinds.NAME, "calling": kinds.AET, "coerce": kinds.NAME},
        orders.Destination,
        required=("peer",),
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
    ),
    "schedules": Table(
        {
            "job": kinds.choice(model.Job),
            "at": kinds.TIME_OF_DAY,
            "every": kinds.WAIT,
            "rate": kinds.size_from(1),
        },
        model.Schedule,
        required=("job",),
    ),
}

STEPS = "coerce"  # its tables come in lists, [[coerce.NAME]]; what stands in them is node.steps.coerce's
SECTIONS = (*dict.fromkeys(path[0] for path in TABLES), *NAMED, STEPS)


# -- names in rules -----------------------------------------------------------------------------

_FACTS = ("source", "called", "peer", "address")
_TAG = re.compile(r"\(?([0-9A-Fa-f]{4}),?([0-9A-Fa-f]{4})\)?")
_NO_TEXT = frozenset({"SQ", "OB", "OD", "OF", "OL", "OV", "OW", "UN", "AT"})


def written(key: str) -> str:
    """Return a tag in the one form that the rest of the program takes: gggg,eeee."""
    tag = _TAG.fullmatch(key)
    return f"{tag[1]},{tag[2]}".lower() if tag else key


def not_a_key(key: str) -> str | None:
    """Return why a condition cannot name this; None: it can."""
    if key in _FACTS or _TAG.fullmatch(key):
        return None
    # pydicom takes half a second to import: paid only by configurations whose rules name elements.
    from pydicom import datadict

    tag = datadict.tag_for_keyword(key)
    if tag is not None:
        vr = datadict.dictionary_VR(tag)
        if vr.split(" or ")[0] in _NO_TEXT:
            return f"a rule cannot look into {key}, which is no text or number ({vr})"
        return None
    near = kinds.nearest(key, [*_FACTS, *datadict.keyword_dict])
    hint = (
        f"did you mean {near}?"
        if near
        else f"name a DICOM keyword, a tag (gggg,eeee), or {', '.join(_FACTS)}"
    )
    return f"there is no such element; {hint}"
