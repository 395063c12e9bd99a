"""What an edit changed, element by element, for people."""

from __future__ import annotations

from node.dicom import encode, patched, scan, values
from node.dicom import path as paths
from node.dicom import run as runs
from node.dicom import vr as vrs
from node.dicom import walk as walking


def differences(run: runs.Run) -> list[patched.Difference]:
    """What an application changed, element by element, in the order of the data set."""
    found: list[tuple[int, int, patched.Difference]] = []
    numbers: dict[int, int] = {}  # of items in their sequences
    rows = run.rows
    until = -1
    for row in sorted(run.outcomes):
        made = run.outcomes[row][1]
        tag, vr, start, _, end, parent = rows[row]
        if made is runs.SAME or start < until:
            continue
        until = end
        if made is not None and bytes(run.table.buffer[start:end]) == made:
            continue
        before = run.table.value(row) if vr != "SQ" else _items(len(run.table.children(row)))
        if made is None:
            found.append(
                (start, 1, patched.Difference(_path(run, row, numbers), tag, vr, before, None, "removed"))
            )
            continue
        new_vr, after = _decoded(made, run.form(parent))
        what = "set" if after is not None else "emptied"
        found.append(
            (start, 1, patched.Difference(_path(run, row, numbers), tag, new_vr, before, after, what))
        )
    for insert in run.inserts:
        if insert.tag == 0:
            path = _path(run, insert.scope, numbers) + "[+]"
            found.append((insert.pos, 0, patched.Difference(path, vrs.ITEM, "", None, _items(1), "inserted")))
            continue
        prefix = _path(run, insert.scope, numbers) + "." if insert.scope != runs.TOP else ""
        vr, after = _decoded(insert.data, run.form(insert.scope))
        name = prefix + str(paths.Step(insert.tag))
        found.append((insert.pos, 0, patched.Difference(name, insert.tag, vr, None, after, "inserted")))
    return [one for _, _, one in sorted(found, key=lambda entry: entry[:2])]


def _items(count: int) -> str:
    return "1 item" if count == 1 else f"{count} items"


def _decoded(element: bytes, form: encode.Form) -> tuple[str, values.Value]:
    """VR and value of an element that was made."""
    _, vr, offset, _ = walking.element_header(element, 0, len(element), form.explicit, form.order)
    if vr == "SQ":
        enc = scan.Encoding(form.explicit, form.order)
        rows, _ = walking.walk(element, 0, len(element), enc)
        return vr, _items(sum(1 for row in rows if row[5] == 0))
    return vr, values.decode(element[offset:], vr, form.order, form.sets)


def _path(run: runs.Run, row: int, numbers: dict[int, int]) -> str:
    """A row's path with keywords and item numbers; of a very deep one, the inner end."""
    parts: list[str] = []
    while row >= 0:
        if len(parts) >= _SHOWN:
            parts.append("...")
            break
        tag, _, _, _, _, parent = run.rows[row]
        if tag == vrs.ITEM:
            if row not in numbers:
                numbers.update((at, number) for number, at in enumerate(run.table.children(parent)))
            parts.append(f"{paths.Step(run.rows[parent][0])}[{numbers[row]}]")
            row = run.rows[parent][5]
        else:
            parts.append(str(paths.Step(tag)))
            row = parent
    return ".".join(reversed(parts))


_SHOWN = 32  # levels of a path
