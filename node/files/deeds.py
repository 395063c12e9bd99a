"""What people did to the queue, read back from the file ledger: few lines among many."""

from __future__ import annotations

import json
import mmap
import pathlib
from collections.abc import Iterator
from typing import Any, NamedTuple

from node.files import layout, ledger

_MARK = f'"kind":"{ledger.OPERATED}"'.encode()
_MOST = 1000  # deeds that are told of one study


class Deed(NamedTuple):
    """One action of a person."""

    at: str  # when: a moment as the index writes it
    who: str  # a person
    action: str  # hold, release, retry, cancel, replay, resend, move, priority
    why: str  # the reason that was given; "": none
    destination: str  # whose consignment
    series: str  # Series Instance UID
    more: dict[str, Any]  # what else is known of it: the priority, where it was moved to


def of(data: layout.Data, study: str, series: frozenset[str]) -> list[Deed]:
    """What people did to consignments of these series of a study, the oldest first."""
    found: list[Deed] = []
    for path in sorted(data.ledger.glob("*.jsonl")):
        for words in _operated(path):
            for named in words.get("of", ()):
                if named.get("study") != study or named.get("series") not in series:
                    continue
                more = {
                    name: value
                    for name, value in words.items()
                    if name in ("priority", "to", "instances") and value is not None
                }
                found.append(
                    Deed(
                        str(words.get("at", "")),
                        str(words.get("who", "")),
                        str(words.get("action", "")),
                        str(words.get("why", "")),
                        str(named.get("destination", "")),
                        str(named.get("series", "")),
                        more,
                    )
                )
                if len(found) >= _MOST:
                    return found
    return found


def _operated(path: pathlib.Path) -> Iterator[dict[str, Any]]:
    """The lines of one file that tell of a person's action."""
    with path.open("rb") as file:
        if not file.seek(0, 2):
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
            at = text.find(_MARK)
            while at >= 0:
                begin, end = text.rfind(b"\n", 0, at) + 1, text.find(b"\n", at)
                if end < 0:
                    return  # it is being written
                try:
                    words = json.loads(text[begin:end])
                except ValueError:
                    words = None
                if isinstance(words, dict):
                    yield words
                at = text.find(_MARK, end)
