"""Every text of a data set in another character set, openly: what cannot be read is named and left alone."""

from __future__ import annotations

from node import errors
from node.dicom import charset as charsets
from node.dicom import encode, lengths, patched, scan, values
from node.dicom import run as runs
from node.dicom import vr as vrs
from node.dicom.program import CHARSET, Program, Unfit

_SHOWN = 8  # elements named in a note


def patches(table: scan.Table, sets: tuple[str, ...]) -> tuple[list[patched.Patch], list[str]]:
    """The patches that write all text in `sets` and say so, and what a person must know of it."""
    if not charsets.known(sets):
        raise errors.UsageError(f"{chr(92).join(sets)!r} is not a character set that can be written")
    run = runs.Run(table, Program(()))
    shown = "\\".join(sets) or "the default repertoire"
    unreadable: list[str] = []
    count = 0
    for at, (tag, vr, _, offset, end, _) in enumerate(table.rows):
        if tag == CHARSET:
            new: bytes | None = None
            if sets:
                new = _element(table, run, at, values.encode("\\".join(sets), "CS"))
            run.outcomes[at] = (0, new)
            continue
        if vr not in values.TEXT_VRS:
            continue
        raw = bytes(table.buffer[offset:end])
        if raw.isascii() and b"\x1b" not in raw:
            continue
        text = charsets.decode(raw, table.charsets(at))
        if "\N{REPLACEMENT CHARACTER}" in text:
            unreadable.append(vrs.keyword(tag) or vrs.show(tag))
            continue
        try:
            made = charsets.encode(text.rstrip(" \0"), sets)
        except charsets.Unencodable as fault:
            raise Unfit(vrs.keyword(tag) or vrs.show(tag), fault) from None
        run.outcomes[at] = (0, _element(table, run, at, values.pad(made, vr)))
        count += 1
    if sets and table.find(CHARSET) is None:
        form = run.form(-1)
        data = encode.element(CHARSET, "CS", values.encode("\\".join(sets), "CS"), form)
        run.inserts.append(runs.Insert(table.place(CHARSET), 0, CHARSET, data, -1))
    declared = "\\".join(table.charsets_in(-1)) or "no character set"
    notes = [f"all text written anew in {shown} (before: {declared}): {count} elements beyond ASCII"]
    if unreadable:
        more = f" and {len(unreadable) - _SHOWN} more" if len(unreadable) > _SHOWN else ""
        names = ", ".join(unreadable[:_SHOWN])
        notes.append(f"could not be read in {declared} and stay as they are: {names}{more}")
    return lengths.patches(run), notes


def _element(table: scan.Table, run: runs.Run, row: int, value: bytes) -> bytes:
    tag, vr, start, offset, _, parent = table.rows[row]
    form = run.form(parent)
    if form.explicit and offset - start == 8 and not run.written_explicit(start, vr):
        form = form._replace(explicit=False)
    return encode.element(tag, vr, value, form)
