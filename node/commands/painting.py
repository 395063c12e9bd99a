"""Pictures in a terminal: two pixels a character where it has colours, else shades of characters."""

from __future__ import annotations

import enum
import os
from collections.abc import Mapping

import numpy as np

from node.volume import shown

_SHADES = " .:-=+*#%@"
_HALF = "\N{UPPER HALF BLOCK}"
_RESET = "\x1b[0m"


class Colours(enum.Enum):
    """What a terminal can show."""

    TRUE = "true"  # 24 bits
    MANY = "256"  # the palette of 256, of which 24 are greys
    NONE = "none"  # characters alone


def colours(environment: Mapping[str, str], *, terminal: bool) -> Colours:
    """What can be shown, as the environment says it."""
    term = environment.get("TERM", "")
    if not terminal or environment.get("NO_COLOR") or term in ("", "dumb"):
        return Colours.NONE
    if environment.get("COLORTERM", "").lower() in ("truecolor", "24bit") or "direct" in term:
        return Colours.TRUE
    return Colours.MANY


def paint(picture: shown.Bytes, size: os.terminal_size, seen: Colours) -> str:
    """The picture as lines of text that fit into so many columns and lines."""
    if seen is Colours.NONE:
        return _shaded(picture, size)
    found = shown.fitted(picture, max(2, size.lines * 2), max(2, size.columns))
    if len(found) % 2:
        found = np.concatenate([found, np.zeros_like(found[:1])])
    if found.ndim == 2:
        found = np.repeat(found[..., None], 3, axis=2)
    lines = []
    for upper, lower in zip(found[::2].tolist(), found[1::2].tolist(), strict=True):
        parts, before = [], ""
        for top, bottom in zip(upper, lower, strict=True):
            code = _code(top, "38", seen) + ";" + _code(bottom, "48", seen)
            parts.append(_HALF if code == before else f"\x1b[{code}m{_HALF}")  # only changes are written
            before = code
        lines.append("".join(parts) + _RESET)
    return "\n".join(lines)


def _code(pixel: list[int], ground: str, seen: Colours) -> str:
    red, green, blue = pixel
    if seen is Colours.TRUE:
        return f"{ground};2;{red};{green};{blue}"
    if red == green == blue:
        grey = round((red - 8) / 10)
        return f"{ground};5;{16 if grey < 0 else 231 if grey > 23 else 232 + grey}"
    cube = [round(value / 51) for value in pixel]
    return f"{ground};5;{16 + 36 * cube[0] + 6 * cube[1] + cube[2]}"


def _shaded(picture: shown.Bytes, size: os.terminal_size) -> str:
    # A character is about twice as high as it is wide.
    grey = picture if picture.ndim == 2 else (picture @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)
    found = shown.fitted(np.repeat(grey, 2, axis=1), max(1, size.lines), max(1, size.columns))
    at = (found.astype(np.int64) * len(_SHADES)) // 256
    return "\n".join("".join(_SHADES[value] for value in row).rstrip() for row in at.tolist())
