"""Change elements of a data set or file and leave every other byte alone.

`edit` takes a data set's bytes, `edit_file` a whole Part 10 file's. Both return a `Patched`: byte ranges over
the original and what stands between them, so that nothing large is copied. Changes are applied to the data
set as it was: none of them sees what another did. Enclosing lengths and group lengths follow; offset
tables of pixel data are counted from its first fragment and stay right; those of a DICOMDIR are moved.
"""

from __future__ import annotations

import functools
import mmap
import os
from collections.abc import Iterable

from node import errors
from node.dicom import charset as charsets
from node.dicom import differences as differing
from node.dicom import encode, lengths, part10, patched, recode, scan
from node.dicom import original as originals
from node.dicom import program as programs
from node.dicom import run as runs
from node.dicom import syntax as syntaxes
from node.dicom import vr as vrs
from node.dicom import walk as walking
from node.dicom.changes import KEEP, REMOVE, Apply, Change, Empty, Facts, Keep, RemapUids, Remove, Set, When
from node.dicom.original import Original
from node.dicom.patched import Difference, Patched
from node.dicom.program import Program, ready
from node.dicom.syntax import Buffer
from node.dicom.values import Raw

__all__ = [
    "KEEP",
    "REMOVE",
    "Apply",
    "Change",
    "Difference",
    "Empty",
    "Facts",
    "Keep",
    "Original",
    "Patched",
    "Program",
    "Raw",
    "RemapUids",
    "Remove",
    "Set",
    "When",
    "edit",
    "edit_descriptor",
    "edit_file",
    "ready",
]

_DIRECTORY = "1.2.840.10008.1.3.10"


def edit(
    buffer: Buffer,
    syntax: str,
    changes: Program | Iterable[Change],
    *,
    original: Original | None = None,
) -> Patched:
    """Apply changes to a data set.

    With `original`, what was there before is written to the Original Attributes Sequence. A text that the
    data set's character set does not hold makes the whole data set UTF-8, which a note of the result tells.
    Raises `errors.BadData` when the framing breaks, `errors.UsageError` when a value or path cannot be.
    """
    program = ready(changes)
    if program.meta:
        path = next(iter(program.meta.values())).path
        raise errors.UsageError(f"{path} stands in a file's meta information, not in a data set")
    patches, run, notes = _edit_range(buffer, 0, len(buffer), syntax, program, original)
    return _patched(buffer, syntax, patches, run, notes)


def edit_file(
    buffer: Buffer,
    changes: Program | Iterable[Change],
    *,
    original: Original | None = None,
    bare: bool = False,
) -> Patched:
    """Apply changes to a Part 10 file, file meta information included.

    Media Storage SOP Class and Instance UID follow the data set's. With `bare`, a data set without file meta
    is taken too, and stays without.
    """
    program = ready(changes)
    head = part10.part10(buffer, bare=bare)
    patches, run, notes = _edit_range(buffer, head.offset, len(buffer), head.syntax, program, original)
    meta = _edit_meta(buffer, head, program, run) if program.renames else []
    if head.sop_class == _DIRECTORY and (meta or patches):
        patches = _move_directory(buffer, head, patches, sum(len(new) - (to - at) for at, to, new in meta))
    return _patched(buffer, head.syntax, meta + patches, run, notes)


def edit_descriptor(
    source: int,
    target: int,
    changes: Program | Iterable[Change],
    *,
    original: Original | None = None,
    bare: bool = False,
) -> Patched:
    """Edit the Part 10 file behind one descriptor into another, whose position must be its beginning.

    A large source is mapped and copied range by range, so that memory stays flat; it must not shrink.
    """
    size = os.fstat(source).st_size
    buffer: Buffer
    if size > _WORTH_MAPPING:
        buffer = mmap.mmap(source, size, access=mmap.ACCESS_READ)
    else:
        buffer = os.pread(source, size, 0)
    result = edit_file(buffer, changes, original=original, bare=bare)
    result.write(target, source if size > _WORTH_MAPPING else None)
    return result


_WORTH_MAPPING = 4 << 20  # a smaller file is read and written faster than it is mapped and copied by ranges
_Outcome = tuple[list[patched.Patch], runs.Run, list[str]]


def _patched(
    buffer: Buffer, syntax: str, patches: list[patched.Patch], run: runs.Run, notes: list[str]
) -> Patched:
    pieces, length = patched.pieces_of(patches, 0, len(buffer))
    explain = functools.partial(differing.differences, run)
    return Patched(buffer, tuple(pieces), length, syntax, tuple(notes), explain)


def _edit_range(
    buffer: Buffer, start: int, end: int, syntax: str, program: Program, keep: Original | None
) -> _Outcome:
    """The patches of the data set in a range of a buffer, the run that made them, and its notes."""
    enc = syntaxes.encoding(syntax)
    if enc.deflated:
        inner = syntaxes.inflate(memoryview(buffer)[start:end])
        patches, run, notes = _edit_range(inner, 0, len(inner), syntaxes.EXPLICIT_LITTLE, program, keep)
        if patches:
            patches = [(start, end, syntaxes.deflate(_joined(inner, 0, len(inner), patches)))]
        return patches, run, notes
    rows, stopped = walking.walk(buffer, start, end, enc)
    table = scan.Table(buffer, enc, rows, stopped)
    if program.recode is not None:
        return _edit_recoded(table, start, end, program, keep, program.recode)
    run = runs.Run(table, program)
    try:
        run.apply()
    except charsets.Unencodable:
        return _edit_recoded(table, start, end, program, keep, (charsets.UTF8,))
    if keep is not None:
        originals.record(run, keep)
    return lengths.patches(run), run, run.notes


def _edit_recoded(
    table: scan.Table, start: int, end: int, program: Program, keep: Original | None, sets: tuple[str, ...]
) -> _Outcome:
    """Write every text in other character sets first, then edit that; pixel data stays where it is."""
    changes, notes = recode.patches(table, sets)
    cut = _before_pixels(table, end, program)
    head = _joined(table.buffer, start, cut, changes)
    again = scan.Table(head, table.encoding, *walking.walk(head, 0, len(head), table.encoding))
    run = runs.Run(again, program)
    try:
        run.apply()
    except charsets.Unencodable as fault:
        raise programs.Unfit("the data set", fault) from None
    if keep is not None:
        originals.record(run, keep)
    whole = _joined(head, 0, len(head), lengths.patches(run))
    if whole == bytes(table.buffer[start:cut]):
        return [], run, run.notes
    return [(start, cut, whole)], run, notes + run.notes


def _joined(buffer: Buffer, start: int, end: int, patches: list[patched.Patch]) -> bytes:
    """A range of a buffer with its patches, copied."""
    pieces, _ = patched.pieces_of(patches, start, end)
    return b"".join(p if isinstance(p, bytes) else bytes(buffer[p[0] : p[1]]) for p in pieces)


def _before_pixels(table: scan.Table, end: int, program: Program) -> int:
    """Where the last element begins if that is pixel data which no change reaches; else the end."""
    last = max(table.top.values(), default=-1)
    row = table.rows[last] if last >= 0 else None
    if row is None or row[0] != vrs.PIXEL_DATA or program.reaches(vrs.PIXEL_DATA):
        return end
    return row[2]


def _edit_meta(buffer: Buffer, head: part10.Part10, program: Program, run: runs.Run) -> list[patched.Patch]:
    """Patches of the file meta information: what was asked for, and the UIDs that follow the data set's."""
    if not head.rows:
        if program.meta:
            raise errors.UsageError("the file has no file meta information that could be changed")
        return []
    form = encode.Form(explicit=True, order="<")
    wanted: dict[int, bytes | None] = {}
    for source, target in ((0x00080016, 0x00020002), (0x00080018, 0x00020003)):
        new = run.becomes(source)
        if new is not None:
            wanted[target] = encode.whole(target, "UI", new, form)
    for tag, rule in program.meta.items():
        change = rule.change
        if isinstance(change, Remove):
            wanted[tag] = None
        elif isinstance(change, (Set, Empty)):
            wanted[tag] = rule.constant(tag, vrs.of(tag), form)
        else:
            raise errors.UsageError(f"{rule.path}: file meta information can be set, emptied or removed")
    rows = {row[0]: row for row in head.rows}
    found: list[patched.Patch] = []
    for tag, made in sorted(wanted.items()):
        row = rows.get(tag)
        if row is not None:
            if bytes(buffer[row[2] : row[4]]) != (made or b""):
                found.append((row[2], row[4], made or b""))
        elif made is not None and len(made) > 8:
            place = next((row[2] for row in head.rows if row[0] > tag), head.offset)
            found.append((place, place, made))
    delta = sum(len(new) - (to - at) for at, to, new in found)
    length = rows.get(0x00020000)
    if delta and length is not None and length[4] - length[3] == 4:
        old = int.from_bytes(bytes(buffer[length[3] : length[4]]), "little")
        found.append((length[3], length[4], encode.number(max(0, old + delta), "<")))
    return sorted(found)


def _move_directory(
    buffer: Buffer, head: part10.Part10, patches: list[patched.Patch], grown: int
) -> list[patched.Patch]:
    """The offsets that the records of a DICOMDIR hold, which are counted from the beginning of the file."""
    enc = syntaxes.encoding(head.syntax)
    before = scan.Table(buffer, enc, *walking.walk(buffer, head.offset, len(buffer), enc))
    data = bytearray(_joined(buffer, head.offset, len(buffer), patches))
    after = scan.Table(data, enc, *walking.walk(data, 0, len(data), enc))
    old, new = _records(before), _records(after)
    if len(old) != len(new):
        raise errors.UsageError("records of a DICOMDIR cannot be removed or added by an edit")
    moved = {0: 0} | {start: to + head.offset + grown for start, to in zip(old, new, strict=True)}
    for tag, _, _, offset, end, _ in after.rows:
        if tag in _RECORD_OFFSETS and end - offset == 4:
            held = int.from_bytes(data[offset:end], "little" if enc.order == "<" else "big")
            if held in moved:
                data[offset:end] = encode.number(moved[held], enc.order)
    return [(head.offset, len(buffer), bytes(data))]


def _records(table: scan.Table) -> list[int]:
    """Where the directory records begin."""
    sequence = table.find(0x00041220)
    return [table.rows[at][2] for at in table.children(sequence)] if sequence is not None else []


_RECORD_OFFSETS = frozenset({0x00041200, 0x00041202, 0x00041400, 0x00041420})
