"""What can be done to elements: the words that an edit is written in.

Of two changes that reach the same element the later one counts, so a list reads from the general rule to
the exception.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Mapping
from typing import Protocol

from node.dicom.values import Value


class When(enum.StrEnum):
    """Which state of the element a change waits for."""

    ALWAYS = "always"  # replaced when there, inserted when not
    PRESENT = "present"  # only replaced
    ABSENT = "absent"  # only inserted, or filled where it is empty


class Facts(Protocol):
    """What a function may ask of the data set that is being changed; the values from before the edit."""

    def get(self, path: str) -> Value:
        """The value of an element by keyword, tag or path, None when absent or empty."""


class Verdict(enum.Enum):
    """What a function may return instead of a value."""

    KEEP = "keep"  # leave the element as it is
    REMOVE = "remove"  # take it out


KEEP, REMOVE = Verdict.KEEP, Verdict.REMOVE
Function = Callable[[Value, Facts], Value]  # the new value, KEEP or REMOVE


@dataclasses.dataclass(frozen=True, slots=True)
class Set:
    """Give an element a value; sequences on the way are made when their item is named by a number."""

    path: str  # as in node.dicom.path
    value: Value  # a str (backslashes part values), a number, bytes, values.Raw, a list of these, or of dicts
    vr: str | None = None  # None: as it is written, or by the dictionary
    when: When = When.ALWAYS  # which state it waits for

    def __str__(self) -> str:
        shown = f"set {self.path} to {self.value!r}"
        return shown if self.when is When.ALWAYS else f"{shown} when {self.when}"


@dataclasses.dataclass(frozen=True, slots=True)
class Empty:
    """Leave an element without a value; one that is absent stays so."""

    path: str  # as in node.dicom.path

    def __str__(self) -> str:
        return f"empty {self.path}"


@dataclasses.dataclass(frozen=True, slots=True)
class Remove:
    """Take an element out."""

    path: str  # as in node.dicom.path

    def __str__(self) -> str:
        return f"remove {self.path}"


@dataclasses.dataclass(frozen=True, slots=True)
class Keep:
    """Leave an element as it is, whatever an earlier and more general change says."""

    path: str  # as in node.dicom.path

    def __str__(self) -> str:
        return f"keep {self.path}"


@dataclasses.dataclass(frozen=True, slots=True)
class Apply:
    """Let a function say what becomes of a value."""

    path: str  # as in node.dicom.path
    function: Function  # called with the value (None when empty) and the facts
    words: str = "change"  # what it does, for people
    absent: bool = False  # called for an element that is not there too, with None
    vr: str | None = None  # None: as it is written, or by the dictionary

    def __str__(self) -> str:
        return f"{self.words} {self.path}"


@dataclasses.dataclass(frozen=True, slots=True)
class RemapUids:
    """Replace UIDs wherever they stand, references and file meta included, by one consistent map.

    A mapping replaces what it holds, wherever it stands. A function is asked for every UID that names an
    instance of something, and must give the same answer every time; it is not asked for the standard's own
    (1.2.840.10008...), nor for elements that name classes, transfer syntaxes and coding schemes.
    """

    uids: Mapping[str, str] | Callable[[str], str]

    def __str__(self) -> str:
        return "replace UIDs by one consistent map"


Change = Set | Empty | Remove | Keep | Apply | RemapUids
