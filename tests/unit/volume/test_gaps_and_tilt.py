"""Slices that are missing, at distances that differ, or shifted by a tilt: found, told, and taken out."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from node.volume import image, stack, table
from node.volume.sorting import sort, tilt
from tests import tabled


def only(frames: table.Table) -> stack.Stack:
    found = sort.sort(frames)
    assert len(found.stacks) == 1
    return found.stacks[0]


def tilted(slices: int = 6, shift: float = 0.75) -> table.Table:
    """Slices 2.5 mm apart, each this much further down."""
    made = tabled.frames(slices, gantry_tilt=15.0)
    made.columns["position"][:, 1] += np.arange(slices) * shift
    return made


@pytest.mark.parametrize("lost", [(1,), (4,), (2, 3), (1, 4)])
def test_a_gap_keeps_its_place(lost: tuple[int, ...]) -> None:
    whole = only(tabled.frames(8))
    found = only(tabled.without(tabled.frames(8), *lost))
    assert found.verdict is stack.Verdict.GAPS
    assert np.flatnonzero(found.order < 0).tolist() == list(lost)
    assert found.geometry == whole.geometry
    assert tabled.kinds(found) == {stack.Kind.GAP}


def test_distances_that_differ_are_told() -> None:
    made = tabled.frames(6)
    made.columns["position"][:, 2] = (0, 2.5, 5, 8.7, 12, 16)
    found = only(made)
    assert found.verdict is stack.Verdict.UNEQUAL
    assert tabled.kinds(found) == {stack.Kind.UNEQUAL}
    assert found.axes[-1].values.tolist() == [0, 2.5, 5, 8.7, 12, 16]
    assert found.geometry is not None
    assert found.geometry.spacing[0] == pytest.approx(16 / 5)


def test_rounded_positions_are_regular() -> None:
    made = tabled.frames(60, spacing=0.7)
    made.columns["position"][:, 2] = np.round(made["position"][:, 2] + np.arange(60) * 0.0031, 2)
    assert only(made).verdict is stack.Verdict.COMPLETE


def test_slabs_that_lie_far_apart_are_two_stacks() -> None:
    made = tabled.frames(12)
    made.columns["position"][6:, 2] += 500
    found = sort.sort(made).stacks
    assert [one.order.tolist() for one in found] == [list(range(6)), list(range(6, 12))]
    assert all(one.verdict is stack.Verdict.COMPLETE for one in found)
    assert all({stack.Kind.GAP, stack.Kind.SPLIT} <= tabled.kinds(one) for one in found)


def test_slices_beside_each_other_are_two_stacks() -> None:
    made = tabled.frames(5, 2)
    made.columns["position"][5:, 0] += 80
    assert [one.order.tolist() for one in sort.sort(made).stacks] == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]


def test_slices_that_lie_in_no_line_are_no_volume() -> None:
    made = tabled.frames(5)
    made.columns["position"][:, 0] += (0, 30, -20, 45, 10)
    found = sort.sort(made).stacks
    assert [one.verdict for one in found] == [stack.Verdict.SINGLE] * 5


def test_spacing_that_contradicts_positions_is_told() -> None:
    assert tabled.kinds(only(tabled.frames(5, spacing_between=5.0))) == {stack.Kind.HEADER}


def test_a_tilt_is_told_with_its_angle() -> None:
    found = only(tilted())
    assert found.verdict is stack.Verdict.COMPLETE
    (note,) = found.notes
    assert note.kind is stack.Kind.TILT
    assert "16.70 degrees (the header says 15.00)" in note.text
    assert found.geometry is not None
    assert found.geometry.slice == pytest.approx((0, 0.75, 2.5))
    assert found.axes[-1].values[1] == pytest.approx(np.hypot(0.75, 2.5))


def shown(frames: table.Table, voxels: np.ndarray) -> image.Image:  # type: ignore[type-arg]
    found = only(frames)
    axes = (*found.axes, *(stack.Axis(name, np.arange(n) * 1.0) for name, n in (("row", 8), ("column", 10))))
    return image.Image(
        (*found.order.shape, 8, 10),
        voxels.dtype,
        axes,
        found.geometry,
        1.0,
        0.0,
        "",
        lambda: voxels,
        verdict=found.verdict,
    )


@pytest.mark.parametrize("shift", [0.5, -1.0, 0.25, -0.75])
@pytest.mark.parametrize("kind", ["<i2", "<f4"])
def test_a_tilt_is_taken_out(shift: float, kind: str) -> None:
    """Voxels that hold where they lie (mm down a column) do so afterwards, too."""
    frames = tilted(6, shift)
    rows = np.arange(8) * 0.5
    down = frames["position"][:, 1][:, None, None] + rows[:, None] + np.zeros(10)
    made = shown(frames, np.round(down * 100).astype(kind))
    upright = tilt.corrected(made)
    voxels = upright.voxels()
    assert voxels.shape == upright.shape == tuple(len(axis.values) for axis in upright.axes)
    assert voxels.dtype == made.dtype
    geometry = upright.geometry
    assert geometry is not None
    assert geometry.slice == pytest.approx((0, 0, 2.5))
    assert tilt.degrees(geometry) == pytest.approx(0, abs=1e-6)
    fill = int(made.voxels().min())
    for at in range(6):
        covered = 0
        for row in range(upright.shape[1]):
            y = geometry.at(at, row, 0)[1]
            value = float(voxels[at, row, 3])
            if frames["position"][at, 1] <= y <= frames["position"][at, 1] + rows[-1]:
                assert value == pytest.approx(y * 100, abs=1)
                covered += 1
            elif not frames["position"][at, 1] - 0.5 < y < frames["position"][at, 1] + rows[-1] + 0.5:
                assert value == fill
        assert covered >= 7
    assert upright.notes[-1].kind is stack.Kind.TILT


def test_what_is_not_tilted_is_left_alone() -> None:
    made = shown(tabled.frames(6), np.zeros((6, 8, 10), "<i2"))
    assert tilt.corrected(made) is made
    steep = shown(tilted(6, 40.0), np.zeros((6, 8, 10), "<i2"))
    assert tilt.corrected(steep).shape == steep.shape
    unequal = dataclasses.replace(shown(tilted(), np.zeros((6, 8, 10))), verdict=stack.Verdict.UNEQUAL)
    assert tilt.corrected(unequal).notes[-1].kind is stack.Kind.TILT
