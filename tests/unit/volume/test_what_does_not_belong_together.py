"""What of a series does not belong together is parted, and named by what it differs in."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.volume import stack, table
from node.volume.sorting import sort
from tests import tabled

S = 4


def words(*values: str) -> Any:
    return tabled.each(np.array(values, dtype=object), S)


@pytest.mark.parametrize(
    ("column", "values", "labels"),
    [
        ("component", words("M", "P"), ["magnitude", "phase"]),
        ("component", words("R", "I"), ["real", "imaginary"]),
        ("image_type", words("ORIGINAL\\PRIMARY\\AXIAL", "DERIVED\\PRIMARY\\AXIAL"), ["original", "derived"]),
        ("image_type", words("ORIGINAL\\PRIMARY\\M", "ORIGINAL\\PRIMARY\\M\\NORM"), ["plain", "norm"]),
        ("rows", tabled.each((8.0, 16.0), S), ["8x10", "16x10"]),
        ("photometric", words("MONOCHROME2", "RGB"), ["monochrome2", "rgb"]),
        ("signed", tabled.each((0.0, 1.0), S), ["16 bits", "16 bits signed"]),
        ("stack", words("1", "2"), ["stack 1", "stack 2"]),
        ("frame_of_reference", words("1.2", "1.3"), ["frame of reference", "frame of reference 2"]),
    ],
)
def test_each_gets_a_name(column: str, values: Any, labels: list[str]) -> None:
    made = tabled.frames(S, 2, bits_allocated=16.0)
    made.columns[column] = values
    found = sort.sort(made)
    assert [one.label for one in found.stacks] == labels
    assert [one.order.tolist() for one in found.stacks] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    for one in found.stacks:
        assert tabled.kinds(one) == {stack.Kind.SPLIT}
    assert labels[1] in found.stacks[0].notes[0].text


def test_three_planes_of_a_localizer() -> None:
    made = tabled.frames(S, 3)
    sagittal, coronal = (0, 1, 0, 0, 0, -1), (1, 0, 0, 0, 0, -1)
    made.columns["orientation"] = tabled.each((tabled.AXIAL, sagittal, coronal), S).astype(float)
    place = np.arange(S)[:, None] * 5.0
    made.columns["position"] = np.concatenate([place * (0, 0, 1), place * (1, 0, 0), place * (0, 1, 0)])
    assert [one.label for one in sort.sort(made).stacks] == ["axial", "sagittal", "coronal"]


def test_echoes_of_other_slices_are_parted() -> None:
    made = tabled.frames(S, 2, echo_time=tabled.each((5.0, 10.0), S))
    made.columns["position"][S:, 2] += 1000
    assert [one.label for one in sort.sort(made).stacks] == ["te 5", "te 10"]


def test_it_is_parted_by_what_is_asked() -> None:
    made = tabled.frames(S, 2, echo_time=tabled.each((5.0, 10.0), S))
    assert [one.label for one in sort.sort(made, split=("te",)).stacks] == ["te 5", "te 10"]


def test_overlapping_acquisitions_are_parted() -> None:
    made = tabled.frames(S, 2, acquisition_number=tabled.each((1.0, 2.0), S), time=np.arange(2 * S) * 1.0)
    made.columns["position"][S:, 2] += 3 * 2.5  # its first slice lies where the last of the other does
    assert [one.label for one in sort.sort(made).stacks] == ["acquisition 1", "acquisition 2"]


def test_series_are_never_joined() -> None:
    made = tabled.frames(S, 2, series=words("1.2.4", "1.2.3"), series_number=tabled.each((7.0, 3.0), S))
    found = sort.sort(made)
    assert [one.order.tolist() for one in found.stacks] == [[4, 5, 6, 7], [0, 1, 2, 3]]
    assert [one.label for one in found.stacks] == ["", ""]
    assert found.stacks[0].notes == ()


def test_directions_that_were_rounded_belong_together() -> None:
    made = tabled.frames(S)
    made.columns["orientation"] = made["orientation"] + np.array([[1e-5], [-2e-5], [0], [1e-5]])
    assert len(sort.sort(made).stacks) == 1


numbers = st.sampled_from([0.0, 1.0, 50.0, 900.0, np.nan, np.inf, 1e300])


@st.composite
def anything(draw: st.DrawFn) -> table.Table:
    slices, volumes = draw(st.integers(1, 5)), draw(st.integers(1, 4))
    many = slices * volumes
    made = tabled.frames(slices, volumes)
    names = ["time", "trigger_time", "echo_time", "b_value", "temporal_position", "acquisition_number"]
    for name in draw(st.lists(st.sampled_from(names), max_size=4, unique=True)):
        if draw(st.booleans()):
            each = draw(st.lists(numbers, min_size=volumes, max_size=volumes))
            made.columns[name] = tabled.each(each, slices)
        else:
            made.columns[name] = np.array(draw(st.lists(numbers, min_size=many, max_size=many)))
    jumps = st.sampled_from([0.0, 0.0, 0.0, 0.001, 2.5, 400.0, np.nan])
    if draw(st.booleans()):
        made.columns["position"][:, draw(st.integers(0, 2))] += draw(
            st.lists(jumps, min_size=many, max_size=many)
        )
    return made


@given(
    anything(), st.sampled_from([(), ("time",), ("b", "te"), ("trigger",), ("acquisition",)]), st.randoms()
)
@settings(max_examples=120, deadline=None)
def test_every_frame_is_in_one_stack_or_left_with_a_reason(
    made: table.Table, order: tuple[str, ...], random: Any
) -> None:
    found = sort.sort(made, order=order)
    rows = [row for one in found.stacks for row in one.order.ravel().tolist() if row >= 0]
    left = [int(one.name.removesuffix(".dcm")) for one in found.left]
    assert sorted(rows + left) == list(range(len(made)))
    for one in found.stacks:
        assert one.order.shape == tuple(len(axis.values) for axis in one.axes)
        if one.geometry is None or one.verdict is stack.Verdict.UNEQUAL:
            continue
        for cell, row in np.ndenumerate(one.order):
            if row >= 0:
                place = one.geometry.at(cell[-1], 0, 0)
                np.testing.assert_allclose(place, made["position"][row], atol=0.12)
    labels = [one.label for one in found.stacks]
    assert len(set(labels)) == len(labels)
    # The order in which they were found is of no consequence.
    turn = list(range(len(made)))
    random.shuffle(turn)
    again = sort.sort(made.take(np.array(turn)), order=order)
    back = np.array([*turn, -1])
    assert [one.label for one in again.stacks] == labels
    for one, other in zip(found.stacks, again.stacks, strict=True):
        assert one.order.tolist() == back[other.order].tolist()


@pytest.mark.parametrize(
    ("column", "values", "labels"),
    [
        ("acquisition_number", (1.0, 2.0), ["acquisition 1", "acquisition 2"]),
        ("slice_thickness", (2.5, 5.0), ["thickness 2.5", "thickness 5"]),
    ],
)
def test_what_is_regular_by_itself_is_parted(
    column: str, values: tuple[float, ...], labels: list[str]
) -> None:
    made = tabled.frames(S, 2, time=np.arange(2 * S) * 1.0)
    made.columns[column] = tabled.each(values, S)
    made.columns["position"][S:, 2] = 40.0 + 1.1 + np.arange(S) * 5.0
    found = sort.sort(made).stacks
    assert [one.label for one in found] == labels
    assert all(one.verdict is stack.Verdict.COMPLETE for one in found)


def test_positions_that_were_rounded_lie_in_line() -> None:
    along, down = (0.8, 0.6, 0.0), (-0.3, 0.4, 0.8660254)
    made = tabled.frames(20, spacing=3.0, orientation=(*along, *down))
    made.columns["position"] = np.round(made["position"], 1)
    (found,) = sort.sort(made).stacks
    assert found.verdict is stack.Verdict.COMPLETE


def test_volumes_that_follow_a_moving_patient_have_a_geometry_each() -> None:
    made = tabled.frames(S, 3, time=tabled.each((0.0, 2.0, 4.0), S))
    moved = np.array([(0, 0, 0), (0.1, 0.4, 0.05), (-0.2, 0.3, 0.11)])
    made.columns["position"] = made["position"] + tabled.each(moved, S)
    found = sort.sort(made).stacks
    assert [one.order.tolist() for one in found] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    for one, by in zip(found, moved, strict=True):
        assert one.verdict is stack.Verdict.COMPLETE
        assert one.geometry is not None
        np.testing.assert_allclose(one.geometry.origin, np.array((-100, -120, 40)) + by)
