"""Command lines that need no explaining, read without the library that explains the others.

That library takes longer to load than most edits take to be made. What is not plain here (help, a mistake, a
value that begins with a dash) is left to it; where both read a command line, they read the same.
"""

from __future__ import annotations

import enum
import pathlib
from collections.abc import Sequence
from typing import Any


class Kind(enum.Enum):
    """What stands behind an option."""

    FLAG = enum.auto()  # nothing
    TEXT = enum.auto()  # a text; the last one counts
    TEXTS = enum.auto()  # a text each time
    PATH = enum.auto()  # a path; the last one counts


EDIT = {
    "--set": ("sets", Kind.TEXTS),
    "--remove": ("remove", Kind.TEXTS),
    "--empty": ("empty", Kind.TEXTS),
    "--steps": ("steps", Kind.PATH),
    "--remap-uids": ("remap", Kind.TEXT),
    "--out": ("out", Kind.PATH),
    "--in-place": ("in_place", Kind.FLAG),
    "--dry-run": ("dry_run", Kind.FLAG),
    "--together": ("together", Kind.FLAG),
    "--overwrite": ("overwrite", Kind.FLAG),
    "--original": ("original", Kind.TEXT),
    "--json": ("as_json", Kind.FLAG),
}


def edit(words: Sequence[str]) -> dict[str, Any] | None:
    """What `editing.run` is to be called with for the words behind `edit`; None when they are not plain."""
    given: dict[str, Any] = {}
    paths: list[pathlib.Path] = []
    rest = iter(words)
    for word in rest:
        if not word.startswith("-"):
            paths.append(pathlib.Path(word))
            continue
        option, attached, value = word.partition("=")
        name, kind = EDIT.get(option, ("", Kind.FLAG))
        if not name or (attached and kind is Kind.FLAG):
            return None
        if kind is Kind.FLAG:
            given[name] = True
            continue
        if not attached:
            value = next(rest, "-")
            if value.startswith("-"):
                return None
        if kind is Kind.TEXTS:
            given.setdefault(name, []).append(value)
        else:
            given[name] = pathlib.Path(value) if kind is Kind.PATH else value
    return {"paths": paths, **given} if paths else None
