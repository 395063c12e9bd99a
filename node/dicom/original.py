"""The Original Attributes Sequence: what stood there before an edit (PS3.3 C.12.1.1.9)."""

from __future__ import annotations

import dataclasses
import datetime as dt

from node.dicom import encode, lengths
from node.dicom import run as runs
from node.dicom import vr as vrs

_SEQUENCE = 0x04000561
_MODIFIED = 0x04000550


@dataclasses.dataclass(frozen=True, slots=True)
class Original:
    """Who changes, and why; written beside the values from before."""

    system: str  # Modifying System
    reason: str = "COERCE"  # Reason for the Attribute Modification: COERCE or CORRECT
    source: str = ""  # Source of Previous Values
    when: dt.datetime | None = None  # Attribute Modification DateTime; None: now


def record(run: runs.Run, who: Original) -> None:
    """Add an item with the top-level elements that are replaced or removed, byte for byte as they are."""
    table = run.table
    touched: set[int] = set()
    places = [(start, end) for start, end, _ in lengths.patches(run) if end > start]
    for row in table.top.values():
        tag, _, start, _, end, _ = table.rows[row]
        if tag & 0xFFFF == 0 or tag in (vrs.PIXEL_DATA, _SEQUENCE):
            continue
        if any(at < end and to > start for at, to in places):
            touched.add(row)
    for insert in run.inserts:  # an element inserted into a sequence changes that sequence
        row = insert.scope
        while row >= 0 and table.rows[row][5] >= 0:
            row = table.rows[row][5]
        if row >= 0:
            touched.add(row)
    if not touched:
        return
    form = run.form(-1)
    before = b"".join(
        bytes(table.buffer[table.rows[row][2] : table.rows[row][4]])
        for row in sorted(touched, key=lambda row: table.rows[row][0])
    )
    when = who.when or dt.datetime.now(dt.UTC)
    content = b"".join(
        (
            encode.sequence(_MODIFIED, [before], form),
            encode.whole(0x04000562, "DT", when, form),
            encode.whole(0x04000563, "LO", who.system, form),
            encode.whole(0x04000564, "LO", who.source, form),
            encode.whole(0x04000565, "CS", who.reason, form),
        )
    )
    held = table.top.get(_SEQUENCE)
    if held is None:
        run.add(_SEQUENCE, encode.sequence(_SEQUENCE, [content], form), -1)
    elif held not in run.outcomes:
        run.append_item(held, encode.item(content, form))
