"""Slices are laid out by where they lie, whatever their numbers and the order in which they were found."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.volume import stack, table
from node.volume.sorting import sort
from tests import series_plain, tabled


def only(frames: table.Table, **asked: object) -> stack.Stack:
    found = sort.sort(frames, **asked)  # type: ignore[arg-type]
    assert len(found.stacks) == 1
    assert not found.left
    return found.stacks[0]


@st.composite
def orientations(draw: st.DrawFn) -> tuple[float, ...]:
    x, y, z, w = (draw(st.floats(-1, 1)) for _ in range(4))
    length = np.sqrt(x * x + y * y + z * z + w * w)
    x, y, z, w = np.array((x, y, z, w)) / length if length > 0.1 else (0.0, 0.0, 0.0, 1.0)
    along = (1 - 2 * (y * y + z * z), 2 * (x * y + z * w), 2 * (x * z - y * w))
    down = (2 * (x * y - z * w), 1 - 2 * (x * x + z * z), 2 * (y * z + x * w))
    return tuple(float(one) for one in (*along, *down))


@given(
    orientations(),
    st.floats(0.1, 9),
    st.integers(2, 12),
    st.integers(1, 4),
    st.randoms(use_true_random=False),
)
@settings(max_examples=40, deadline=None)
def test_a_volume_is_found_again_with_its_geometry(
    orientation: tuple[float, ...], spacing: float, slices: int, volumes: int, random: object
) -> None:
    times = tabled.each(np.arange(volumes) * 3.0, slices)
    made = tabled.frames(slices, volumes, spacing=spacing, orientation=orientation, time=times)
    shuffled = list(range(len(made)))
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    found = only(made.take(np.array(shuffled)))
    assert found.verdict is stack.Verdict.COMPLETE
    # A naive sort: by time, then along the normal.
    normal = np.cross(orientation[:3], orientation[3:])
    naive = sorted(
        range(len(made)),
        key=lambda at: (made["time"][shuffled[at]], made["position"][shuffled[at]] @ normal),
    )
    assert found.order.ravel().tolist() == naive
    geometry = found.geometry
    assert geometry is not None
    np.testing.assert_allclose(geometry.origin, (-100, -120, 40), atol=1e-9)
    np.testing.assert_allclose(geometry.slice, normal * spacing, atol=1e-6)
    np.testing.assert_allclose(geometry.column, np.array(orientation[:3]) * 0.75, atol=1e-9)
    np.testing.assert_allclose(geometry.row, np.array(orientation[3:]) * 0.5, atol=1e-9)


@pytest.mark.parametrize("name", sorted(series_plain.grids()))
def test_every_geometry_is_right_handed(name: str) -> None:
    grid = series_plain.grids()[name]
    made = tabled.frames(4, orientation=tuple(grid.orientation), instance_number=(4, 3, 2, 1))
    geometry = only(made).geometry
    assert geometry is not None
    assert np.linalg.det(geometry.patient[:3, :3]) > 0


def test_instance_numbers_do_not_order_slices_that_have_a_place() -> None:
    made = tabled.frames(6, instance_number=(3, 1, 6, 2, 5, 4))
    assert only(made).order.tolist() == [0, 1, 2, 3, 4, 5]


def test_one_slice_has_the_thickness_that_its_header_says() -> None:
    found = only(tabled.frames(1, slice_thickness=4.0))
    assert found.verdict is stack.Verdict.SINGLE
    assert found.geometry is not None
    assert found.geometry.spacing == (4.0, 0.5, 0.75)


def test_slices_without_a_place_are_in_the_order_of_their_numbers() -> None:
    made = tabled.frames(3, instance_number=(2, 3, 1), position=np.full((3, 3), np.nan))
    found = only(made)
    assert found.order.tolist() == [2, 0, 1]
    assert found.verdict is stack.Verdict.UNPLACED
    assert found.geometry is None
    assert tabled.kinds(found) == {stack.Kind.ORDER}


@pytest.mark.parametrize(
    "wrong",
    [
        {"orientation": np.tile((1.0, 0, 0, 0.5, 0.8, 0), (3, 1))},
        {"orientation": np.tile((2.0, 0, 0, 0, 1, 0), (3, 1))},
        {"orientation": np.tile((1e200, 0, 0, 0, 1e200, 0), (3, 1))},
        {"spacing": np.tile((0.0, 1.0), (3, 1))},
        {"spacing": np.tile((-1.0, 1.0), (3, 1))},
        {"position": np.tile((0, 0, 1e9), (3, 1))},
    ],
)
def test_a_geometry_that_cannot_be_is_not_believed(wrong: dict[str, np.ndarray]) -> None:  # type: ignore[type-arg]
    made = tabled.frames(3)
    made.columns.update(wrong)
    found = only(made)
    assert found.verdict is stack.Verdict.UNPLACED
    assert stack.Kind.HEADER in tabled.kinds(found)


def test_the_same_instance_twice_is_one() -> None:
    made = tabled.frames(4)
    again = table.Table([*made.sources, made.sources[2]], made.columns, 4)
    again.columns = {name: np.concatenate((column, column[2:3])) for name, column in made.columns.items()}
    again.columns["source"], again.length = np.arange(5), 5
    found = sort.sort(again)
    assert [one.why for one in found.left] == [table.Why.DUPLICATE]
    assert found.stacks[0].order.tolist() == [0, 1, 2, 3]
    assert found.stacks[0].verdict is stack.Verdict.COMPLETE


def test_no_frames_make_no_stack() -> None:
    assert sort.sort(table.Table((), {}, 0)) == stack.Sorted((), ())
    assert sort.sort(tabled.frames(3, rows=np.nan)).stacks == ()
