"""Command lines that need no explaining, read without the library that explains the others.

That library takes longer to load than most edits take to be made. What is not plain here (help, a mistake, a
value that begins with a dash) is left to it; where both read a command line, they read the same.
"""

from __future__ import annotations

import enum
import pathlib
from collections.abc import Mapping, Sequence
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


CONVERT = {
    "--to": ("to", Kind.TEXT),
    "--order": ("order", Kind.TEXT),
    "--split": ("split", Kind.TEXT),
    "--template": ("template", Kind.TEXT),
    "--series": ("series", Kind.TEXTS),
    "--stack": ("stacks", Kind.TEXTS),
    "--scaling": ("scaling", Kind.TEXT),
    "--correct-tilt": ("tilt", Kind.FLAG),
    "--complete": ("whole", Kind.FLAG),
    "--option": ("given", Kind.TEXTS),
    "--name": ("name", Kind.TEXT),
    "--force": ("force", Kind.FLAG),
    "--json": ("as_json", Kind.FLAG),
    "--quiet": ("quiet", Kind.FLAG),
    "-q": ("quiet", Kind.FLAG),
}


def edit(words: Sequence[str]) -> dict[str, Any] | None:
    """What `editing.run` is to be called with for the words behind `edit`; None when they are not plain."""
    read = _read(words, EDIT)
    if read is None or not read[0]:
        return None
    return {"paths": [pathlib.Path(word) for word in read[0]], **read[1]}


def convert(words: Sequence[str]) -> dict[str, Any] | None:
    """What `converting.run` is to be called with for the words behind `convert`; None as above."""
    read = _read(words, CONVERT)
    if read is None or len(read[0]) < 2:
        return None
    return {"paths": read[0], **read[1]}


def _read(
    words: Sequence[str], options: Mapping[str, tuple[str, Kind]]
) -> tuple[list[str], dict[str, Any]] | None:
    """The words that are no options, and what the options say."""
    given: dict[str, Any] = {}
    others: list[str] = []
    rest = iter(words)
    for word in rest:
        if not word.startswith("-"):
            others.append(word)
            continue
        option, attached, value = word.partition("=")
        name, kind = options.get(option, ("", Kind.FLAG))
        if not name or (attached and (kind is Kind.FLAG or not option.startswith("--"))):
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
    return others, given
