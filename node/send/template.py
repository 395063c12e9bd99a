"""Names of files made of what data sets say; nothing of it becomes more than one part of a path.

A template is a path below a folder, with elements in braces by keyword: `{StudyDate}/{SeriesNumber:04}`. The
number behind the colon says to how many digits a number is filled up with zeros.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Mapping, Sequence

from node import errors
from node.dicom import path as paths
from node.dicom import values
from node.dicom import vr as vrs

_LONGEST_VALUE = 64  # characters of a value
_LONGEST_PART = 200  # bytes of a part of the path; file systems take 255
_FIELD = re.compile(r"\{([^{}:]*)(?::([^{}]*))?\}")
_FORMAT = re.compile(r"0?[1-9]?[0-9]")
_LITERAL = re.compile(r"[A-Za-z0-9 ._+@=,~#()-]*")
_NO_TEXT = values.BYTES_VRS - {"UN"} | {"SQ"}
_PLAIN = str.maketrans({" ": "_", "^": "_", "=": "_"})  # written otherwise without a further mark
_DEVICES = frozenset(
    {"CON", "PRN", "AUX", "NUL"} | {f"{name}{digit}" for name in ("COM", "LPT") for digit in "0123456789"}
)


class Template:
    """A template made ready."""

    def __init__(self, text: str) -> None:
        """Raises UsageError with what is wrong with it."""
        self._parts: list[list[str | tuple[str, str]]] = []
        for part in text.split("/"):
            self._parts.append(_pieces(text, part))
        if not self.keywords:
            raise errors.UsageError(f"template {text!r} names no element: all files would have one name")

    @property
    def keywords(self) -> tuple[str, ...]:
        """The elements that it names."""
        named = (piece[0] for part in self._parts for piece in part if isinstance(piece, tuple))
        return tuple(dict.fromkeys(named))

    def parts(self, found: Mapping[str, Sequence[str]]) -> list[str]:
        """The parts of a path for these values; each is one, whatever the values are."""
        return [_part(part, found) for part in self._parts]


def check(text: str) -> str | None:
    """What is wrong with a template, in a sentence; None: nothing."""
    try:
        Template(text)
    except errors.UsageError as error:
        return str(error)
    return None


def safe(value: str) -> str:
    """A value as a piece of a name: letters, digits, dots and dashes, of a length that everybody takes.

    Where more than blanks and carets is written otherwise, a hash of the value keeps it apart from others.
    """
    text = unicodedata.normalize("NFC", value.strip(" \0"))
    plain = text.translate(_PLAIN)
    kept = "".join(char if char.isalnum() or char in "._-" else "_" for char in plain)
    kept = kept.strip(".")[:_LONGEST_VALUE]
    if kept == plain:
        return kept
    return f"{kept}-{hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()[:8]}"


def numbered(name: str, number: int) -> str:
    """The name with a number, before its ending."""
    stem, dot, ending = name.rpartition(".")
    return f"{stem}-{number}{dot}{ending}" if stem else f"{name}-{number}"


def _pieces(text: str, part: str) -> list[str | tuple[str, str]]:
    if part in ("", ".", ".."):
        raise errors.UsageError(f"template {text!r}: {part!r} is no part of a path below a folder")
    pieces: list[str | tuple[str, str]] = []
    at = 0
    for found in _FIELD.finditer(part):
        pieces.append(_literal(text, part[at : found.start()]))
        keyword, form = found[1], found[2] or ""
        try:
            path = paths.parse(keyword)
        except errors.UsageError as error:
            raise errors.UsageError(f"template {text!r}: {error}") from None
        if path.anywhere or (path.leaf.exact and vrs.of(path.leaf.tag) in _NO_TEXT):
            raise errors.UsageError(f"template {text!r}: {keyword} is no text")
        if form and not _FORMAT.fullmatch(form):
            wanted = f"{{{keyword}:04}}"
            raise errors.UsageError(f"template {text!r}: {form!r} is no number of digits, as in {wanted}")
        pieces.append((keyword, form))
        at = found.end()
    pieces.append(_literal(text, part[at:]))
    return [piece for piece in pieces if piece]


def _literal(text: str, piece: str) -> str:
    if not _LITERAL.fullmatch(piece):
        bad = next(char for char in piece if not _LITERAL.fullmatch(char))
        raise errors.UsageError(f"template {text!r}: {bad!r} cannot stand in a name")
    return piece


def _part(pieces: Sequence[str | tuple[str, str]], found: Mapping[str, Sequence[str]]) -> str:
    made = "".join(piece if isinstance(piece, str) else _value(*piece, found) for piece in pieces)
    if made.startswith("."):
        made = "_" + made[1:]
    if made.endswith((".", " ")):  # a name that some systems cut
        made = made.rstrip(". ") + "_"
    stem, dot, ending = made.partition(".")
    if stem.rstrip(" ").upper() in _DEVICES:
        made = f"{stem}_{dot}{ending}"
    if len(made.encode()) <= _LONGEST_PART:
        return made
    stem, dot, ending = made.rpartition(".")
    ending = dot + ending if stem and len(ending) <= 8 else ""
    mark = "-" + hashlib.sha256(made.encode()).hexdigest()[:8] + ending
    return made.encode()[: _LONGEST_PART - len(mark)].decode("utf-8", "ignore") + mark


def _value(keyword: str, form: str, found: Mapping[str, Sequence[str]]) -> str:
    several = found.get(keyword) or ("",)
    value = several[0].strip(" \0")
    if not value:
        return safe(f"no-{keyword}")
    if form and value.isascii() and value.isdigit():
        value = value.lstrip("0").zfill(int(form))
    return safe(value) or "_"
