"""Acknowledged instances become rows, many a transaction; running the same batch again changes nothing.

The caller (node/adopt.py) works in one `database.write()` scope per batch:
`decide`, then put the bytes where the verdicts say, then `record`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import sqlalchemy

from node import model
from node.dicom import header


@dataclasses.dataclass(frozen=True, slots=True)
class Item:
    """One acknowledged instance as the adopter read it from the journal."""

    arrival: model.Arrival  # who, what, when, from where
    header: header.Header  # what the rows say about it
    slot: str  # the journal it was acknowledged from, e.g. "listen-1"
    generation: int  # which use of the journal's segment
    position: int  # where in that generation; (slot, generation, position) names the arrival for ever
    action: model.Action = model.Action.KEEP  # what the rules at receipt said
    rule: str = ""  # name of the rule that said so; "" when none matched
    reason: str = ""  # in words, for discard and quarantine
    keep: float | None = None  # seconds that a rule keeps it; None: the default policy


@dataclasses.dataclass(frozen=True, slots=True)
class Decided:
    """What becomes of an item; `record` writes it down."""

    item: Item
    verdict: model.Verdict
    replayed: bool = False  # its arrival row is there already: write the file again, the rows stand
    held: str | None = None  # digest of the instance that is held, for DUPLICATE and CONFLICT
    path: str = ""  # filled in by the caller: place below the store's root, "" when no file was written
    offset: int = 0  # filled in by the caller: where the data set starts in that file


def decide(connection: sqlalchemy.Connection, items: Sequence[Item]) -> list[Decided]:
    """One verdict per item, in order, from what is held and from what stands earlier in the batch.

    A file is due for STORED (in the store), CONFLICT (beside the first, digest in its name) and
    QUARANTINED (in quarantine); none for DUPLICATE and DISCARDED. The same verdict comes back for an item
    that was recorded before (`replayed`), so that a file that a power loss took is written again.
    """
    raise NotImplementedError


def record(connection: sqlalchemy.Connection, decided: Sequence[Decided]) -> None:
    """Insert the rows and move the counters; replayed items are passed over."""
    raise NotImplementedError
