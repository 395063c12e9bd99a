"""How answers to a query are shown: a table as wide as the terminal, with the UIDs whole."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence

from node.commands import columns, output
from node.dicom import identifier
from node.dicom import vr as vrs
from node.send import keys

_GAP = "  "
_LEAST = 8  # cells that a column keeps when there is no room
_DATE = re.compile(r"(\d{4})(\d\d)(\d\d)")
_TIME = re.compile(r"(\d\d)(\d\d)(?:\d\d(?:\.\d+)?)?")


def table(answers: Iterable[identifier.Fields], paths: Sequence[keys.Path], width: int | None = None) -> int:
    """Print the answers; how many there were. Nothing is cut where the output is no terminal."""
    if width is None and sys.stdout.isatty():
        width = shutil.get_terminal_size().columns
    rows = [
        [_shown(value, path) for value, path in zip(columns.values(answer, paths), paths, strict=True)]
        for answer in answers
    ]
    if rows:
        for line in lines([columns.column(path).upper() for path in paths], rows, width):
            print(line)
    return len(rows)


def lines(headings: Sequence[str], rows: Sequence[Sequence[str]], width: int | None) -> Iterator[str]:
    """The lines of a table. What does not fit is cut, except the last column: it goes onto lines of its own.

    The last column is the UID, which somebody wants to copy.
    """
    widths = [max(_cells(row[at]) for row in (headings, *rows)) for at in range(len(headings))]
    below = False
    if width is not None and sum(widths) + len(_GAP) * (len(widths) - 1) > width and len(widths) > 1:
        below = widths[-1] > width // 3
        widths = [*_shrink(widths[:-1], width), 0] if below else _shrink(widths, width)
    for number, row in enumerate((headings, *rows)):
        cells = row[: len(row) - below]
        yield _GAP.join(_fit(cell, size) for cell, size in zip(cells, widths, strict=False)).rstrip()
        if below and number:
            yield f"{_GAP * 2}{row[-1]}"


def _shrink(widths: Sequence[int], width: int) -> list[int]:
    """The widths with the widest made narrower until they fit; nothing below what can be read."""
    made = list(widths)
    room = width - len(_GAP) * (len(made) - 1)
    while sum(made) > room:
        widest = max(range(len(made)), key=made.__getitem__)
        if made[widest] <= _LEAST:
            break
        made[widest] -= 1
    return made


def _cells(text: str) -> int:
    """How many columns of a terminal a text takes; a Chinese character takes two."""
    if text.isascii():
        return len(text)
    from rich import cells

    return cells.cell_len(text)


def _fit(text: str, size: int) -> str:
    if text.isascii():
        return text.ljust(size) if len(text) <= size else text[: size - 1] + "…"
    from rich import cells

    if cells.cell_len(text) <= size:
        return cells.set_cell_size(text, size)
    return cells.set_cell_size(text, size - 1) + "…"


def _shown(value: str | None, path: keys.Path) -> str:
    """A value as people read it; nothing of it can steer the terminal."""
    if value is None:
        return "-"
    vr = vrs.of(identifier.tag_of(path[-1]))
    if vr == "DA":
        value = _DATE.sub(r"\1-\2-\3", value)
    elif vr == "TM":
        value = _TIME.sub(r"\1:\2", value)
    elif vr == "UI":
        value = vrs.uid_name(value) or value
    elif vr == "PN":
        value = value.rstrip("=^")
    return output.cell(value.replace("\\", ", " if vr != "UI" else "\\"))
