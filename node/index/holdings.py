"""Every copy held under a SOP Instance UID: the instance, what was kept beside it, what was set aside."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import sqlalchemy
from sqlalchemy import bindparam

from node import model
from node.index import tables, words

_CHUNK = 500  # UIDs in one statement

_instance = tables.instance.c
_conflict = tables.conflict.c
_quarantine = tables.quarantine.c


@dataclasses.dataclass(frozen=True, slots=True)
class Holding:
    """One file that holds the instance."""

    verdict: model.Verdict  # STORED, CONFLICT or QUARANTINED: where it is kept
    sop_class: str  # SOP Class UID
    digest: str  # "sha256:<hex>" over the data set as it came
    path: str  # below the data directory
    offset: int  # where the data set starts in the file
    size: int  # length of the data set
    state: model.Held  # how it stands with the bytes, as far as somebody looked


def _uids(column: Any) -> Any:
    return column.in_(bindparam("uids", expanding=True))


def _file(columns: Any) -> tuple[Any, ...]:
    return columns.digest, columns.path, columns.offset, columns.size


_STORED = sqlalchemy.select(
    _instance.sop_instance, _instance.sop_class, *_file(_instance), _instance.state
).where(_instance.sop_hash.in_(bindparam("hashes", expanding=True)), _uids(_instance.sop_instance))
_BESIDE = sqlalchemy.select(_conflict.sop_instance, _conflict.sop_class, *_file(_conflict)).where(
    _uids(_conflict.sop_instance)
)
_ASIDE = sqlalchemy.select(_quarantine.sop_instance, _quarantine.sop_class, *_file(_quarantine)).where(
    _uids(_quarantine.sop_instance)
)


def find(connection: sqlalchemy.Connection, uids: Iterable[str]) -> dict[str, list[Holding]]:
    """The copies of each instance, those that were stored first; a UID that nothing holds is absent."""
    found: dict[str, list[Holding]] = {}
    wanted = list(dict.fromkeys(uids))
    for start in range(0, len(wanted), _CHUNK):
        chunk = {"uids": wanted[start : start + _CHUNK]}
        hashes = [words.uid_hash(uid) for uid in chunk["uids"]]
        for row in connection.execute(_STORED, chunk | {"hashes": hashes}):
            found.setdefault(row[0], []).append(_holding(model.Verdict.STORED, row, model.Held(row[6])))
        for verdict, statement in (
            (model.Verdict.CONFLICT, _BESIDE),
            (model.Verdict.QUARANTINED, _ASIDE),
        ):
            for row in connection.execute(statement, chunk):
                found.setdefault(row[0], []).append(_holding(verdict, row, model.Held.HELD))
    return found


def _holding(verdict: model.Verdict, row: Any, state: model.Held) -> Holding:
    _, sop_class, digest, path, offset, size = row[:6]
    return Holding(verdict, sop_class or "", digest, path, offset, size, state)
