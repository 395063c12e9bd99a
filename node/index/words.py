"""How values are written in the index, so that they sort and compare as text."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Iterable

from node.dicom import names

UTC = datetime.UTC
_LARGEST = 2**63 - 1


def moment(when: datetime.datetime) -> str:
    """UTC, to the microsecond, always of one length: `2026-11-21T05:06:07.000000`."""
    if when.tzinfo is not None and when.tzinfo is not UTC:
        when = when.astimezone(UTC)
    return when.isoformat(timespec="microseconds")[:26]


_FIRST = moment(datetime.datetime(1, 1, 1, tzinfo=UTC))
_LAST = moment(datetime.datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC))


def later(start: datetime.datetime, seconds: float) -> str:
    """The moment so many seconds after; the first or last there is where the calendar ends."""
    try:
        return moment(start + datetime.timedelta(seconds=seconds))
    except OverflowError:
        return _FIRST if seconds < 0 else _LAST


def when(written: str) -> datetime.datetime:
    """The moment that `moment` wrote."""
    return datetime.datetime.fromisoformat(written).replace(tzinfo=UTC)


def uid_hash(uid: str) -> int:
    """Forty-eight bits of a UID: what its index is made of, for UIDs are long and often random.

    An index of the text would be six times as large, and at millions of instances every insert would
    touch another page of it. Made so that nobody can think up UIDs that share one.
    """
    return int.from_bytes(hashlib.blake2b(uid.encode("utf-8", "replace"), digest_size=6).digest())


def clean(value: str | None) -> str | None:
    """What both databases can hold: no NUL (PostgreSQL), no half of a surrogate pair (SQLite)."""
    if value is None or (value.isascii() and "\0" not in value):
        return value
    return value.replace("\0", "").encode("utf-8", "replace").decode("utf-8")


def number(value: int | None) -> int | None:
    """Nothing where a database's largest integer does not reach."""
    return None if value is None or not -_LARGEST <= value <= _LARGEST else value


def joined(values: Iterable[str]) -> str | None:
    """Several values as DICOM writes them; nothing for none."""
    return clean("\\".join(values)) or None


def split(text: str | None) -> tuple[str, ...]:
    """The values that `joined` joined."""
    return tuple(text.split("\\")) if text else ()


def numbers(values: tuple[float, ...] | None) -> str | None:
    """Several numbers, each in the shortest form that reads back the same."""
    return None if values is None else "\\".join(map(repr, values))


def floats(text: str | None) -> tuple[float, ...] | None:
    """The numbers that `numbers` wrote."""
    return None if text is None else tuple(map(float, text.split("\\")))


def name_groups(name: str | None) -> tuple[str, str, str]:
    """The folded alphabetic, ideographic and phonetic groups of a person name; "" where there is none."""
    groups = [names.fold(group) for group in (clean(name) or "").split("=")[:3]]
    return (*groups, "", "", "")[:3]  # type: ignore[return-value]
