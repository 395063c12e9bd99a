"""What is to be said of a stack that sorting made, in sentences."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from node.volume import stack
from node.volume.sorting import codes, grid

Array = np.ndarray[Any, np.dtype[Any]]

_NAMED = 8  # gaps, and other stacks, that are told one by one


def gaps(along: grid.Along, depths: Array) -> tuple[stack.Note, ...]:
    """Where slices are missing, or lie at distances that differ."""
    if along.verdict is stack.Verdict.UNEQUAL:
        spans = np.diff(depths)
        text = (
            f"slices are {spans.min():.4g} to {spans.max():.4g} mm apart, up to {along.worst:.3g} mm"
            " from where equal distances would have them"
        )
        return (stack.Note(stack.Kind.UNEQUAL, text),)
    steps = np.diff(along.index)
    at = np.flatnonzero(steps > 1)
    if not len(at):
        return ()
    told = "; ".join(
        f"{steps[one] - 1} missing between {depths[one]:.2f} and {depths[one + 1]:.2f} mm of the normal"
        for one in at[:_NAMED].tolist()
    )
    more = f"; and {len(at) - _NAMED} more gaps" if len(at) > _NAMED else ""
    return (stack.Note(stack.Kind.GAP, told + more),)


def headers(columns: codes.Columns, row: int, along: grid.Along, tilt: float) -> tuple[stack.Note, ...]:
    """A tilt, and what headers say otherwise than positions do."""
    notes = []
    stated = float(columns["gantry_tilt"][row])
    if grid.tilted(tilt):
        also = f" (the header says {abs(stated):.2f})" if abs(stated) > 0.1 else ""
        text = f"the slices shift as with a gantry tilt of {tilt:.2f} degrees{also}"
        notes.append(stack.Note(stack.Kind.TILT, text))
    between = float(columns["spacing_between"][row])
    if along.spacing > 0 and between > 0 and abs(between - along.spacing) > 0.1 * along.spacing:
        text = f"Spacing Between Slices says {between:.4g} mm, the positions say {along.spacing:.4g} mm"
        notes.append(stack.Note(stack.Kind.HEADER, text))
    return tuple(notes)


def twice(many: int) -> stack.Note:
    """Slices were there already."""
    text = (
        f"{_many(many, 'slice lies', 'slices lie')} where another does whose header says the same: left out"
    )
    return stack.Note(stack.Kind.DUPLICATE, text)


def empty(many: int) -> stack.Note:
    """Places that other volumes of the stack have are empty."""
    return stack.Note(
        stack.Kind.GAP, f"{_many(many, 'slice is', 'slices are')} missing in some of its volumes"
    )


def unfinished(volumes: int, there: int, cells: int) -> stack.Note:
    """Volumes at the end were begun and not finished."""
    text = f"{_many(volumes, 'volume', 'volumes')} at the end left out: {there} of {cells} slices are there"
    return stack.Note(stack.Kind.GAP, text)


def apart(name: str, names: Sequence[str], differing: Sequence[str]) -> stack.Note:
    """What else of its series there is."""
    others = len(names) - 1
    told = ", ".join(itertools.islice((other for other in names if other != name), _NAMED))
    told += f" and {others - _NAMED} more" if others > _NAMED else ""
    what = ", ".join(differing)
    return stack.Note(stack.Kind.SPLIT, f"its series has {others} more, which differ in {what}: {told}")


def _many(many: int, one: str, several: str) -> str:
    return f"{many} {one if many == 1 else several}"
