"""How commands print: aligned columns for people, JSON for programs."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import json
import pathlib
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from node import errors


def as_json(value: object) -> None:
    """Print a value of ours as JSON."""
    print(json.dumps(value, default=_plain, indent=2, ensure_ascii=False))


def line(value: object) -> None:
    """Print a value as one line of JSON, for output that grows while a command runs."""
    print(json.dumps(value, default=_plain, ensure_ascii=False), flush=True)


def _plain(value: object) -> object:
    from node import model  # most commands print no JSON

    if isinstance(value, model.ImageId | pathlib.Path):
        return str(value)
    if isinstance(value, enum.Enum):
        return value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        # Not asdict(): it would take our own values apart before they get here.
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, datetime.datetime):
        return value.isoformat()
    if isinstance(value, set | frozenset | tuple):
        return list(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> int:
    """Print rows below their headings, cells as wide as needed; how many rows there were."""
    cells = [[cell(value) for value in row] for row in rows]
    widths = [max([len(name), *(len(row[at]) for row in cells)]) for at, name in enumerate(columns)]
    for row in [[name.upper() for name in columns], *cells]:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
    return len(cells)


def cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, datetime.datetime):
        return value.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    return errors.printable(str(value))


def size(count: int) -> str:
    """Bytes in words."""
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def count(many: int, what: str) -> str:
    """So many of something."""
    return f"{many:,} {what}" if many == 1 else f"{many:,} {what}s"


@contextmanager
def progress(what: str, total: int | None, *, shown: bool = True) -> Iterator[Callable[[int], Any]]:
    """Show a bar on a terminal while a block runs; call what it yields with how much further it is."""
    with _bar(what, total, shown) as (bar, task):
        yield lambda advance: None if bar is None else bar.advance(task, advance)


@contextmanager
def counted(what: str, *, shown: bool = True) -> Iterator[Callable[[int, int | None], Any]]:
    """Show a bar whose end may become known, or move, on the way; call it with how many of how many."""
    with _bar(what, None, shown) as (bar, task):
        yield lambda done, total: None if bar is None else bar.update(task, completed=done, total=total)


@contextmanager
def _bar(what: str, total: int | None, shown: bool) -> Iterator[tuple[Any, Any]]:
    """A bar and its one task; None, None where there is nobody to see it."""
    if not shown or not sys.stderr.isatty():
        yield None, None
        return
    from rich import progress as bars
    from rich.console import Console

    columns = (
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.MofNCompleteColumn(),
        bars.TimeElapsedColumn() if total is None else bars.TimeRemainingColumn(),
    )
    # What is printed meanwhile stands above the bar, but a pipe or file gets it as ever.
    mixed = sys.stdout.isatty()
    with bars.Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=mixed) as bar:
        yield bar, bar.add_task(what, total=total)
