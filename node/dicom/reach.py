"""The values at a path as texts: nested, private, or of a whole range of tags; for conditions.

Work is bounded by the number of elements, whatever the nesting: a path goes no deeper than it has names.
"""

from __future__ import annotations

from node.dicom import path as paths
from node.dicom import scan, values
from node.dicom import vr as vrs

MOST_ROWS = 4096  # elements that one path reaches; further ones are not looked at
MOST_BYTES = 65_536  # of one value: what is longer is text that nobody routes by


def stop(path: paths.Path) -> int:
    """The top-level tag behind everything that a path reaches."""
    first = path.steps[0]
    return (first.tag | ~first.mask & 0xFFFFFFFF) + 1


def texts(table: scan.Table, path: paths.Path) -> tuple[str, ...]:
    """The values of every element that the path reaches, in the order of the bytes."""
    scopes = [-1]
    for step in path.steps[:-1]:
        scopes = [item for scope in scopes for item in _items(table, step, scope)][:MOST_ROWS]
    found: list[str] = []
    for scope in scopes:
        for row in _matching(table, path.leaf, scope)[:MOST_ROWS]:
            found += text(table, row)
            if len(found) >= MOST_ROWS:
                return tuple(found[:MOST_ROWS])
    return tuple(found)


def text(table: scan.Table, row: int) -> tuple[str, ...]:
    """The values of one element as texts; () for one that is empty, or that holds no text or number."""
    vr, start, end = table.rows[row][1], table.rows[row][3], table.rows[row][4]
    if vr == "SQ" or (vr in values.BYTES_VRS and vr != "UN") or end - start > MOST_BYTES:
        return ()
    if vr in values.CODE_VRS:  # numbers stay as they are written
        return _parts(table.raw(row))
    if vr == "UN" and table.undefined(row):
        return ()
    value = table.value(row)
    if isinstance(value, list):
        return ()  # the rows of items: it was a sequence
    if isinstance(value, bytes):
        # A private element that no dictionary knows, as implicit VR has them: text, if it looks like text.
        shown = value.rstrip(b"\0 ")
        return _parts(value) if shown.isascii() and str(shown, "latin-1").isprintable() else ()
    several = value if isinstance(value, tuple) else () if value is None else (value,)
    return tuple("" if part is None else str(part) for part in several)


def _parts(raw: bytes) -> tuple[str, ...]:
    whole = raw.decode("latin-1").strip("\0 ")
    return tuple(part.strip() for part in whole.split("\\")) if whole else ()


def _items(table: scan.Table, step: paths.Step, scope: int) -> list[int]:
    """The items of the sequences that a step names, or the one that it chooses of each."""
    found: list[int] = []
    for row in _matching(table, step, scope):
        items = [at for at in table.children(row) if table.rows[at][0] == vrs.ITEM]
        found += items if step.index == paths.ALL else items[step.index : step.index + 1]
    return found


def _matching(table: scan.Table, step: paths.Step, scope: int) -> list[int]:
    """The rows of the elements that a step names, directly within a scope."""
    if step.exact:
        row = table.find(step.tag, scope)
        return [] if row is None else [row]
    within = table.children(scope)
    blocks: set[int] | None = None
    if step.creator is not None:
        blocks = _blocks(table, within, step.tag >> 16, step.creator)
    return [
        at
        for at in within
        if table.rows[at][0] & step.mask == step.tag & step.mask
        and (blocks is None or (table.rows[at][0] >> 8 & 0xFF) in blocks)
    ]


def _blocks(table: scan.Table, within: list[int], group: int, creator: str) -> set[int]:
    """The blocks that a creator reserves in a group, by the first element that claims each."""
    owners: dict[int, str] = {}
    for at in within:
        tag = table.rows[at][0]
        if tag >> 16 == group and 0x10 <= tag & 0xFFFF <= 0xFF and tag & 0xFFFF not in owners:
            owners[tag & 0xFFFF] = table.raw(at)[:64].decode("latin-1").strip(" \0")
    return {block for block, owner in owners.items() if owner == creator}
