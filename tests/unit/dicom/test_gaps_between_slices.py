"""Slices that are missing are found, and what only looks like a gap is none."""

from __future__ import annotations

import itertools
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.dicom import gaps

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
OBLIQUE = (math.cos(0.3), math.sin(0.3), 0.0, -math.sin(0.3), math.cos(0.3), 0.0)


def stack(
    depths: list[float], *, numbers: list[int | None] | None = None, **more: object
) -> list[gaps.Slice]:
    """Axial slices at these depths, numbered in their order unless told otherwise."""
    named = numbers if numbers is not None else list(range(1, len(depths) + 1))
    return [
        gaps.Slice((0.0, 0.0, depth), AXIAL, number, **more)  # type: ignore[arg-type]
        for depth, number in zip(depths, named, strict=True)
    ]


def without(slices: list[gaps.Slice], *missing: int) -> list[gaps.Slice]:
    return [one for at, one in enumerate(slices) if at not in missing]


def test_a_whole_stack_has_no_gap() -> None:
    found = gaps.find(stack([2.5 * at for at in range(40)]))
    assert (found.stacks, found.slices, found.missing, found.gaps) == (1, 40, 0, ())


@pytest.mark.parametrize("spacing", [0.625, 1.0, 3.3, -5.0])
def test_missing_slices_are_counted_and_told_where(spacing: float) -> None:
    whole = stack([spacing * at for at in range(30)])
    found = gaps.find(without(whole, 7, 8, 20))
    assert found.missing == 3
    assert len(found.gaps) == 2
    assert "mm along the normal" in found.gaps[0]


def test_oblique_slices_are_measured_along_their_normal() -> None:
    normal = (OBLIQUE[1] * OBLIQUE[5] - OBLIQUE[2] * OBLIQUE[4], 0.0, 1.0)
    whole = [gaps.Slice((10 + at * normal[0], -3.0, at * 4.0), OBLIQUE, at + 1) for at in range(20)]
    assert gaps.find(whole).missing == 0
    assert gaps.find(without(whole, 9)).missing == 1


def test_interleaved_arrival_and_numbers_in_reverse_say_the_same() -> None:
    whole = stack([3.0 * at for at in range(24)], numbers=list(range(24, 0, -1)))
    holed = without(whole, 11)
    random.Random(5).shuffle(holed)
    assert gaps.find(holed).missing == 1


def test_echoes_phases_and_kinds_are_stacks_of_their_own() -> None:
    depths = [2.0 * at for at in range(10)]
    numbers = itertools.count(1)
    several: list[gaps.Slice] = []
    for echo, temporal, kind in [(10.0, 1, ("ORIGINAL",)), (20.0, 1, ("ORIGINAL",)), (10.0, 2, ("DERIVED",))]:
        several += stack(
            depths, numbers=[next(numbers) for _ in depths], echo=echo, temporal=temporal, kind=kind
        )
    assert gaps.find(several).stacks == 3
    assert gaps.find(without(several, 14)).missing == 1


@pytest.mark.parametrize(
    "slices",
    [
        [],
        stack([0.0]),
        stack([0.0, 2.0, 6.0]),  # too few to know the spacing
        without(stack([2.0 * at for at in range(20)], kind=("ORIGINAL", "PRIMARY", "LOCALIZER")), 5),
        without(stack([2.0 * at for at in range(20)], frames=8), 5),
        [gaps.Slice(None, None, at) for at in range(20)],
        [gaps.Slice((0.0, 0.0), AXIAL, at) for at in range(20)],
        [gaps.Slice((math.nan, 0.0, float(at)), AXIAL, at) for at in range(20)],
        [gaps.Slice((0.0, 0.0, 1e300 * at), AXIAL, at) for at in range(20)],
        stack([at * at / 3 for at in range(20)]),  # no regular spacing
        stack([0.0] * 20),  # the same place in time
    ],
)
def test_what_cannot_be_judged_is_not(slices: list[gaps.Slice]) -> None:
    assert gaps.find(slices) == gaps.Geometry()


def test_slabs_that_lie_apart_are_not_a_gap_where_their_numbers_go_on() -> None:
    neck = [1.0 * at for at in range(20)]
    abdomen = [60.0 + at for at in range(20)]
    found = gaps.find(stack(neck + abdomen))
    assert (found.stacks, found.missing) == (1, 0)
    numbered = stack(neck + abdomen, numbers=[*range(1, 21), *range(24, 44)])
    assert gaps.find(numbered).missing == 3, "no more than the numbers leave room for"


def test_without_numbers_the_positions_speak_alone() -> None:
    whole = stack([2.0 * at for at in range(12)], numbers=[None] * 12)
    assert gaps.find(without(whole, 4, 5)).missing == 2


@given(
    st.lists(
        st.builds(
            gaps.Slice,
            st.none() | st.lists(st.floats(), min_size=2, max_size=4).map(tuple),
            st.none() | st.just(AXIAL) | st.lists(st.floats(), min_size=6, max_size=6).map(tuple),
            st.none() | st.integers(-(2**63), 2**63),
            st.none() | st.floats(),
        ),
        max_size=30,
    )
)
def test_whatever_headers_say_it_is_answered(slices: list[gaps.Slice]) -> None:
    found = gaps.find(slices)
    assert found.missing >= 0
    assert (found.missing == 0) is (not found.gaps)


@given(st.integers(6, 60), st.floats(0.5, 10), st.data())
def test_holes_are_found_wherever_they_are(count: int, spacing: float, data: st.DataObject) -> None:
    inner = st.integers(1, count - 2)
    holes = data.draw(st.sets(inner, max_size=max(1, count // 8)))
    assert gaps.find(without(stack([spacing * at for at in range(count)]), *holes)).missing == len(holes)
