"""Slices that lie at one place several times get an axis: asked for, or found by what varies."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from node import errors
from node.volume import stack, table
from node.volume.sorting import sort
from tests import tabled

S = 4  # slices


def only(frames: table.Table, **asked: Any) -> stack.Stack:
    found = sort.sort(frames, **asked)
    assert len(found.stacks) == 1
    return found.stacks[0]


def axes(one: stack.Stack) -> dict[str, list[float]]:
    return {axis.name: axis.values.tolist() for axis in one.axes[:-1]}


@pytest.mark.parametrize(
    ("column", "values", "name"),
    [
        ("echo_time", (5.0, 10.0, 15.0), "te"),
        ("inversion_time", (100.0, 200.0, 400.0), "ti"),
        ("flip_angle", (5.0, 10.0, 15.0), "fa"),
        ("repetition_time", (500.0, 1000.0, 2000.0), "tr"),
        ("trigger_time", (0.0, 50.0, 100.0), "trigger"),
        ("temporal_position", (1.0, 2.0, 3.0), "dynamic"),
        ("acquisition_number", (1.0, 2.0, 3.0), "acquisition"),
        ("time", (0.0, 2.0, 4.0), "time"),
    ],
)
def test_what_varies_is_an_axis(column: str, values: tuple[float, ...], name: str) -> None:
    turned = tabled.frames(S, 3, **{column: tabled.each(values[::-1], S)})
    found = only(turned)
    assert axes(found) == {name: list(values)}
    assert found.order[0].tolist() == [8, 9, 10, 11]  # the smallest value came last
    assert found.verdict is stack.Verdict.COMPLETE


def test_two_of_them_make_five_dimensions() -> None:
    made = tabled.frames(
        S, 6, echo_time=tabled.each((5, 9, 5, 9, 5, 9), S), time=tabled.each((0, 0, 2, 2, 4, 4), S)
    )
    assert axes(only(made)) == {"time": [0, 2, 4], "te": [5, 9]}
    assert axes(only(made, order=("te", "time"))) == {"te": [5, 9], "time": [0, 2, 4]}
    assert only(made, order=("te",)).order.shape == (2, 3, S)


def test_each_direction_of_a_b_value_is_a_volume_in_the_order_of_acquisition() -> None:
    b = (0, 1000, 1000, 0, 1000)
    directions = np.array([(np.nan,) * 3, (1, 0, 0), (0, 1, 0), (np.nan,) * 3, (0, 0, 1)])
    made = tabled.frames(S, 5, b_value=tabled.each(b, S), gradient=tabled.each(directions, S))
    found = only(made)
    assert axes(found) == {"b": [0, 1000, 1000, 0, 1000]}
    assert found.order.tolist() == np.arange(5 * S).reshape(5, S).tolist()


def test_times_of_slices_are_counted_within_each_place() -> None:
    """Interleaved slices, each acquired at a time of its own."""
    offsets = np.array((0.0, 1.0, 0.5, 1.5))
    made = tabled.frames(S, 3, time=(np.arange(3)[:, None] * 2 + offsets + 86390).ravel())
    found = only(made)
    assert axes(found) == {"time": [0, 2, 4]}
    assert found.axes[0].unit == "s"


def test_heartbeats_that_differ_from_slice_to_slice_are_counted() -> None:
    beats = np.array((40.0, 42.0, 39.0, 45.0))
    made = tabled.frames(S, 3, trigger_time=(np.arange(3)[:, None] * beats).ravel())
    assert axes(only(made)) == {"trigger": [0, 41, 82]}
    assert axes(only(made, order=("phase",))) == {"phase": [0, 1, 2]}


def test_numbers_are_the_last_resort_and_it_says_so() -> None:
    found = only(tabled.frames(S, 3))
    assert axes(found) == {"instance": [0, 1, 2]}
    assert tabled.kinds(found) == {stack.Kind.ORDER}


def test_slices_that_differ_in_nothing_are_left_out() -> None:
    made = tabled.frames(S, 2, instance_number=np.tile(np.arange(S), 2))
    found = sort.sort(made)
    assert found.stacks[0].order.shape == (S,)
    assert [one.why for one in found.left] == [table.Why.DUPLICATE] * S
    assert stack.Kind.DUPLICATE in tabled.kinds(found.stacks[0])


def test_a_volume_that_was_not_finished_is_left_out() -> None:
    made = tabled.frames(S, 5, time=tabled.each(np.arange(5) * 2.0, S))
    found = sort.sort(tabled.without(made, 18, 19))
    assert found.stacks[0].order.shape == (4, S)
    assert axes(found.stacks[0]) == {"time": [0, 2, 4, 6]}
    assert found.stacks[0].verdict is stack.Verdict.GAPS
    assert [(one.name, one.why) for one in found.left] == [
        ("16.dcm", table.Why.APART),
        ("17.dcm", table.Why.APART),
    ]


@pytest.mark.parametrize("lost", range(8))
def test_a_lost_slice_leaves_a_hole_in_its_own_volume(lost: int) -> None:
    made = tabled.frames(S, 5, time=tabled.each(np.arange(5) * 2.0, S))
    found = only(tabled.without(made, lost))
    assert found.verdict is stack.Verdict.GAPS
    assert np.argwhere(found.order < 0).tolist() == [[lost // S, lost % S]]
    times = found.table["time"][found.order[found.order >= 0]]
    assert times.tolist() == np.delete(made["time"], lost).tolist()


def test_anything_can_be_asked_for() -> None:
    words = tabled.each(np.array(("REST", "STRESS"), dtype=object), S)
    made = tabled.frames(S, 2, StudyPhase=words)
    found = only(made, order=("StudyPhase",))
    assert axes(found) == {"StudyPhase": [0, 1]}
    assert "0 is REST, 1 is STRESS" in found.notes[0].text
    made = tabled.frames(S, 2, **{"0018,1060": tabled.each(np.array(("100", "20"), dtype=object), S)})
    assert axes(only(made, order=("0018,1060",))) == {"0018,1060": [20, 100]}
    made = tabled.frames(S, 2)
    odd = only(made, order=("late",), functions={"late": lambda frames: frames["instance_number"] > S})
    assert axes(odd) == {"late": [0, 1]}


def test_magnitude_and_phase_are_an_axis_when_asked_for() -> None:
    types = tabled.each(np.array(("ORIGINAL\\PRIMARY\\M", "ORIGINAL\\PRIMARY\\P"), dtype=object), S)
    made = tabled.frames(S, 2, component=tabled.each(np.array(("M", "P"), dtype=object), S), image_type=types)
    assert only(made, order=("component",)).order.shape == (2, S)
    assert [one.label for one in sort.sort(made).stacks] == ["magnitude", "phase"]


@pytest.mark.parametrize(
    ("order", "said"),
    [
        (("nonsense",), "'nonsense' is no axis"),
        (("time", "time"), "names an axis twice"),
        (("position",), "several values"),
        (("time", "b", "te", "ti", "fa", "tr"), "6 axes"),
    ],
)
def test_what_is_no_axis_is_refused(order: tuple[str, ...], said: str) -> None:
    with pytest.raises(errors.UsageError, match=said):
        sort.sort(tabled.frames(S), order=order)
    with pytest.raises(errors.UsageError, match="give one for each"):
        sort.sort(tabled.frames(S), order=("f",), functions={"f": lambda _: np.zeros(2)})


def test_what_headers_must_be_read_for() -> None:
    assert sort.needs(("time", "b", "StudyPhase", "EchoTime", "component", "0018,1060")) == (
        "StudyPhase",
        "0018,1060",
    )


def test_an_axis_that_does_not_vary_is_none() -> None:
    assert only(tabled.frames(S, time=3.0), order=("time", "te")).order.shape == (S,)


def test_one_slice_over_time() -> None:
    found = only(tabled.frames(1, 3, time=np.arange(3) * 0.5))
    assert axes(found) == {"time": [0, 0.5, 1]}
    assert found.verdict is stack.Verdict.SINGLE
