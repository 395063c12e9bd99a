"""Append-only facts that no file of the store carries, a JSON line each, so that a rebuilt index is equal.

Arrivals that left no file of their own (duplicates, discards) and deletions stand here. A line may
stand here twice after a crash; its natural key says that it is the same fact.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

from node.files import disk as disks
from node.files import layout

_encode = json.JSONEncoder(ensure_ascii=True, separators=(",", ":")).encode

ARRIVAL = "arrival"
DELETION = "deletion"


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


def read(data: layout.Data) -> Iterator[dict[str, Any] | Damaged]:
    """Every fact, in the order written; torn lines come out as `Damaged`."""
    for path in sorted(data.ledger.glob("*.jsonl")):
        with open(path, "rb") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                try:
                    fact = json.loads(line)
                except ValueError:
                    yield Damaged(path, number)
                    continue
                yield fact if isinstance(fact, dict) else Damaged(path, number)
