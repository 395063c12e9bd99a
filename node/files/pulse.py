"""How much was delivered lately: the ends of the books that workers are writing."""

from __future__ import annotations

import collections
import contextlib
import datetime
import json
import os
from typing import NamedTuple

from node import orders
from node.files import layout

_TAIL = 512 << 10  # bytes of each book that are looked at, some 2,000 answers


class Answers(NamedTuple):
    """What one worker delivered of one consignment."""

    consignment: int  # its row
    delivered: int  # instances that the destination took
    seconds: float  # within how long


def lately(data: layout.Data, since: datetime.datetime) -> list[Answers]:
    """What workers of this machine delivered since then, or within what the ends of their books cover."""
    found = []
    with contextlib.suppress(OSError):
        for path in (data.books / "open").glob("*.jsonl"):
            with contextlib.suppress(OSError):
                found += _tail(path.read_bytes() if path.stat().st_size <= _TAIL else _end(str(path)), since)
    return found


def _end(path: str) -> bytes:
    with open(path, "rb") as file:
        file.seek(-_TAIL, os.SEEK_END)
        file.readline()  # half a line
        return file.read()


def _tail(text: bytes, since: datetime.datetime) -> list[Answers]:
    counts: collections.Counter[int] = collections.Counter()
    first: datetime.datetime | None = None
    for line in text.splitlines():
        # A line that is being written, or introduces a consignment, is no answer.
        with contextlib.suppress(ValueError, KeyError, TypeError):
            words = json.loads(line)
            at = datetime.datetime.fromisoformat(words["at"])
            first = first or at
            if at >= since and words["outcome"] == orders.State.DONE.value:
                counts[int(words["of"])] += 1
    begun = max(since, first) if first is not None and len(text) >= _TAIL // 2 else since
    seconds = (datetime.datetime.now(datetime.UTC) - begun).total_seconds()
    return [Answers(key, count, seconds) for key, count in counts.items()]
