"""Names of elements at any depth, as people write them.

PatientName                          a keyword
0010,0010   (0010,0010)              a tag
60xx,3000                            every overlay's data
RequestAttributesSequence[0].AccessionNumber      an element of the first item
RequestAttributesSequence[*].AccessionNumber      of each item; without brackets the same
0029,xx10 "SIEMENS CSA HEADER"       a private element in the block that this creator reserves
**.PatientName                       wherever it stands, in sequences too
**.@PN   **.@private                 everything of a VR; every private element
"""

from __future__ import annotations

import dataclasses
import re

from node import errors
from node.dicom import vr as vrs

ALL = -1  # every item

_STEP = re.compile(
    r"""\s*(?:
        (?P<any>\*\*)
      | @(?P<vr>[A-Za-z]+)
      | \(?(?P<group>[0-9A-Fa-fxX]{4}),?\s*(?P<element>[0-9A-Fa-fxX]{4})\)?(?![A-Za-z0-9])
        (?:\s*,?\s*"(?P<creator>[^"]*)")?
      | (?P<keyword>[A-Za-z][A-Za-z0-9]*)
    )\s*(?:\[(?P<index>\d{1,9}|\*)\])?\s*""",
    re.VERBOSE,
)


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """One name in a path."""

    tag: int  # the tag; its masked bits are zero
    mask: int = 0xFFFFFFFF  # the bits that count
    creator: str | None = None  # the private creator whose block it must lie in
    index: int = ALL  # the item that the path goes on in
    vr: str = ""  # `@PN`, `@private`: this instead of a tag

    @property
    def exact(self) -> bool:
        """Whether it names one tag."""
        return self.mask == 0xFFFFFFFF and not self.vr

    def __str__(self) -> str:
        if self.vr:
            return "@" + self.vr
        if not self.exact:
            digits = f"{self.tag:08X}"
            shown = "".join("x" if not self.mask >> 4 * (7 - i) & 15 else d for i, d in enumerate(digits))
            text = f"{shown[:4]},{shown[4:]}"
            return f'{text} "{self.creator}"' if self.creator is not None else text
        return vrs.keyword(self.tag) or f"{self.tag >> 16:04X},{self.tag & 0xFFFF:04X}"


@dataclasses.dataclass(frozen=True, slots=True)
class Path:
    """Where a change applies."""

    steps: tuple[Step, ...]  # sequences on the way, the element itself last
    anywhere: bool = False  # at any depth

    @property
    def leaf(self) -> Step:
        """The element itself."""
        return self.steps[-1]

    def __str__(self) -> str:
        parts = [f"{step}[{'*' if step.index == ALL else step.index}]" for step in self.steps[:-1]]
        return ".".join([*(["**"] if self.anywhere else []), *parts, str(self.leaf)])


def parse(text: str) -> Path:
    """The path that a text means; `errors.UsageError` with the nearest keyword when it means none."""
    steps: list[Step] = []
    anywhere = False
    pos = 0
    while True:
        match = _STEP.match(text, pos)
        if match is None:
            raise errors.UsageError(f"{text!r} is not the path of an element (see `{text[pos:]}`)")
        pos = match.end()
        if match["any"]:
            if steps or anywhere:
                raise errors.UsageError(f"** stands only at the beginning of a path, not as in {text!r}")
            anywhere = True
        else:
            steps.append(_step(match, text))
        if pos == len(text):
            break
        if text[pos] != ".":
            raise errors.UsageError(f"{text!r} is not the path of an element (see `{text[pos:]}`)")
        pos += 1
    if not steps or match["index"]:
        raise errors.UsageError(f"{text!r} names no element; an item alone cannot be changed")
    if anywhere and len(steps) > 1:
        raise errors.UsageError(f"** takes one name behind it, not as in {text!r}")
    if not anywhere and any(step.vr for step in steps):
        raise errors.UsageError(f"@ is meant for every depth: write **.{steps[-1]}, not {text!r}")
    return Path(tuple(steps), anywhere)


def _step(match: re.Match[str], text: str) -> Step:
    index = ALL if match["index"] in (None, "*") else int(match["index"])
    if match["vr"]:
        name = match["vr"].upper() if match["vr"].lower() != "private" else "private"
        if name != "private" and name not in vrs.SHORT_VRS and name not in vrs.LONG_VRS:
            raise errors.UsageError(f"there is no VR {match['vr']!r} (in {text!r})")
        return Step(0, 0, vr=name)
    if match["keyword"]:
        tag = vrs.keywords().get(match["keyword"])
        if tag is None:
            raise errors.UsageError(
                f"there is no element {match['keyword']!r}{vrs.nearest(match['keyword'])}"
            )
        return Step(tag, index=index)
    digits = (match["group"] + match["element"]).lower()
    tag = int(digits.replace("x", "0"), 16)
    mask = int("".join("0" if c == "x" else "F" for c in digits), 16)
    creator = match["creator"]
    if creator is not None:
        if not tag >> 16 & 1:
            raise errors.UsageError(f"{text!r}: only odd groups have private creators")
        tag, mask = tag & 0xFFFF00FF, 0xFFFF00FF  # the block is whichever the creator reserves
    if tag & mask >= 0xFFFE0000 or tag >> 16 == 0:
        raise errors.UsageError(f"{text!r} is not an element of a data set")
    return Step(tag, mask, creator, index)
