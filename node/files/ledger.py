"""Append-only facts that no file of the store carries, a JSON line each, so that a rebuilt index is equal.

Arrivals that left no file of their own (duplicates, discards), deletions, names and orders given here,
storage commitments, the worklist's table and performed steps stand here. A line may stand here twice after
a crash; its natural key says that it is the same fact. What is about to be deleted stands in `open/` until
its file is gone: a file for each transaction of the index that took rows out, written before it was
committed.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import pathlib
import time
from collections.abc import Iterator, Sequence
from typing import Any

from node.files import disk as disks
from node.files import layout

_encode = json.JSONEncoder(ensure_ascii=True, separators=(",", ":")).encode

ARRIVAL = "arrival"
DELETION = "deletion"
SERIES_NAME = "series-name"  # a custom id of a series; None: it was taken away
IMAGE_NAME = "image-name"  # a custom id of an instance or a frame
ORDER = "order"  # of the images of a series
RESET = "reset"  # names and order of a series are gone
COMMITMENT = "commitment"  # a request for storage commitment that was accepted, perhaps once more
COMMITMENT_CLOSED = "commitment-closed"  # reported, or given up
WORKLIST = "worklist"  # an entry of the worklist's table as it was written
WORKLIST_REMOVED = "worklist-removed"
STEP = "step"  # a performed step as a modality began it
STEP_CHANGED = "step-changed"  # what it said of it later
FORWARDING = "forwarding"  # from when on what is held is to be sent: what came before counts as settled
SETTLED = "settled"  # a revision of a series or study: the columns of `settlement`
DECIDED = "decided"  # what a route made of it: the columns of `decision`
ENQUEUED = "enqueued"  # instances that a destination is owed, in a consignment that is new or grows
CALLED_OFF = "called-off"  # deliveries that are not to be sent any more
ATTEMPTED = "attempted"  # what became of deliveries, where no book says it
GIVEN_UP = "given-up"  # what was due of a consignment became dead letters, without an attempt of each
VERIFYING = "verifying"  # all of a consignment was taken; it is made sure
VERIFIED = "verified"  # instances that a destination was found to keep
MISSING = "missing"  # instances that it has not after all
OPERATED = "operated"  # what a person did to consignments: hold, release, retry, cancel, move, priority
LANE = "lane"  # a person stopped a destination, or let it go on


@dataclasses.dataclass(frozen=True, slots=True)
class Damaged:
    """A line that cannot be read."""

    path: pathlib.Path  # the file
    number: int  # the line, from 1


def append(data: layout.Data, lines: Sequence[dict[str, Any]], *, sync: bool = False) -> None:
    """Add facts to this month's file; with `sync`, they survive a power loss when this returns."""
    if not lines:
        return
    path = data.ledger / f"{datetime.datetime.now(datetime.UTC):%Y-%m}.jsonl"
    text = "".join(_encode(line) + "\n" for line in lines).encode("ascii")
    try:
        new = not path.exists()
        fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            size = os.fstat(fd).st_size
            if size and os.pread(fd, 1, size - 1) != b"\n":
                text = b"\n" + text  # the line before was torn: it must not spoil this one
            written = 0
            while written < len(text):
                written += os.write(fd, text[written:])
            if sync:
                os.fsync(fd)
                if new:
                    disks.sync_directory(disks.Disk(), data.ledger)
        finally:
            os.close(fd)
    except OSError as error:
        raise disks.failure(error, f"writing {path}") from error


def intend(data: layout.Data, lines: Sequence[dict[str, Any]]) -> None:
    """Write down what a transaction is about to delete; durable when this returns."""
    if not lines:
        return
    folder = data.ledger / "open"
    path = folder / f"{time.time_ns()}-{os.getpid()}.jsonl"
    try:
        if not folder.is_dir():
            folder.mkdir(mode=0o750, exist_ok=True)
            disks.sync_directory(disks.Disk(), data.ledger)
        with open(path, "xb", opener=_private) as file:
            file.write("".join(_encode(line) + "\n" for line in lines).encode("ascii"))
            file.flush()
            os.fsync(file.fileno())
        disks.sync_directory(disks.Disk(), folder)
    except OSError as error:
        raise disks.failure(error, f"writing {path}") from error


def intents(data: layout.Data) -> list[pathlib.Path]:
    """The files of `intend` that nobody has seen through yet, oldest first."""
    return sorted((data.ledger / "open").glob("*.jsonl"))


def forget(data: layout.Data, seen_through: Sequence[pathlib.Path]) -> None:
    """Remove files of `intend`: each of their deletions is a fact of the ledger, or never came about."""
    try:
        for path in seen_through:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise disks.failure(error, f"removing {path}") from error


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o640)


def read_intents(data: layout.Data) -> Iterator[dict[str, Any]]:
    """Every deletion that was begun; a torn line is of a transaction that was never committed."""
    for path in intents(data):
        for _, fact in _lines(path):
            if fact is not None:
                yield fact


def read(data: layout.Data) -> Iterator[dict[str, Any] | Damaged]:
    """Every fact, in the order written; torn lines come out as `Damaged`."""
    for path in sorted(data.ledger.glob("*.jsonl")):
        for number, fact in _lines(path):
            yield Damaged(path, number) if fact is None else fact


def _lines(path: pathlib.Path) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """Number and fact of each line; None for one that cannot be read."""
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                fact = json.loads(line)
            except ValueError:
                yield number, None
                continue
            yield number, fact if isinstance(fact, dict) else None
