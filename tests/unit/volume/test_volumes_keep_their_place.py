"""Whatever is done to a volume, each voxel stays where it was in the patient, or there is no geometry."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from node import errors
from node.volume import geometry, image, stack, table
from node.volume.arrays import header as headers
from node.volume.arrays import volume

OBLIQUE = geometry.Geometry((-10.0, 20.0, 30.5), (0.6, 0.1, 0.0), (-0.1, 0.6, 0.2), (0.1, -0.3, 2.5))


def made(shape: tuple[int, ...] = (3, 4, 5, 6), *, where: geometry.Geometry = OBLIQUE, **more: Any) -> Any:
    """A volume in time whose voxels all differ, with a row of a table for each frame."""
    names = ("time", "slice", "row", "column")[4 - len(shape) :]
    axes = tuple(
        stack.Axis(name, np.arange(length) * 2.0, "s" if name == "time" else "mm")
        for name, length in zip(names, shape, strict=True)
    )
    frames = int(np.prod(shape[:-2]))
    columns = {
        "source": np.arange(frames),
        "instance_number": np.arange(frames) + 1.0,
        "series": np.full(frames, "1.2.3", dtype=object),
    }
    found = table.Table([source(at) for at in range(frames)], columns, frames)
    header = headers.Header(
        axes, where, unit="HU", table=found, rows=np.arange(frames).reshape(shape[:-2]), **more
    )
    return volume.Volume(np.arange(np.prod(shape), dtype=np.int16).reshape(shape), header)


def source(at: int) -> table.Source:
    return table.Source(f"{at}.dcm", 0, 10, "1.2.840.10008.1.2.1", "1.2", f"1.2.3.{at}")


def places(of: volume.Volume) -> dict[int, tuple[float, ...]]:
    """Where each voxel lies, by its value."""
    return {int(of[at]): tuple(np.round(of.position(*at), 6)) for at in np.ndindex(of.shape)}


def same_places(found: volume.Volume, whole: volume.Volume) -> None:
    there = places(whole)
    for value, place in places(found).items():
        assert place == pytest.approx(there[value], abs=1e-5)


def one_index(length: int) -> st.SearchStrategy[Any]:
    return st.one_of(
        st.integers(-length, length - 1),
        st.slices(length),
        st.lists(st.integers(-length, length - 1), min_size=1, max_size=3, unique=True),
        st.lists(st.booleans(), min_size=length, max_size=length).map(np.array),
    )


@hypothesis.given(st.data())
@hypothesis.settings(max_examples=70, deadline=None)
def test_any_index_leaves_each_voxel_where_it_was(data: st.DataObject) -> None:
    whole = made((2, 4, 3, 5))
    count = data.draw(st.integers(1, 4))
    key: list[Any] = [data.draw(one_index(length)) for length in whole.shape[:count]]
    if data.draw(st.booleans()):
        key.insert(data.draw(st.integers(0, count)), None)
    plain = np.asarray(whole)
    try:
        expected = plain[tuple(key)]
    except IndexError:  # lists of different lengths
        return
    found = whole[tuple(key)]
    assert np.array_equal(np.asarray(found), expected)
    if not isinstance(found, volume.Volume):
        lists = sum(isinstance(one, list | np.ndarray) for one in key)
        assert expected.ndim == 0 or lists
        return
    assert [len(axis.values) for axis in found.axes] == list(found.shape)
    if found.geometry is not None:
        same_places(found, whole)
    # The number of the frame says which frame each voxel is of.
    numbers = found.tag("instance_number")
    frame = np.asarray(found) // 15 + 1
    outer = [found.shape[at] if name not in headers.PLANE else 1 for at, name in enumerate(found.names)]
    assert np.array_equal(np.broadcast_to(numbers.reshape(outer), found.shape), frame)


@hypothesis.given(st.permutations(range(4)), st.lists(st.integers(0, 3), unique=True))
@hypothesis.settings(max_examples=25, deadline=None)
def test_turned_and_flipped_volumes_write_as_the_same_place(order: list[int], flips: list[int]) -> None:
    whole = made((2, 3, 4, 5))
    turned = np.flip(whole.transpose(order), flips)
    same_places(turned, whole)
    back = turned.image()
    assert [axis.name for axis in back.axes] == ["time", "slice", "row", "column"]
    same_places(volume.Volume.of(back), whole)


def test_one_slice_knows_where_it_lies_and_is_written_as_a_volume_of_one() -> None:
    whole = made((4, 5, 6))
    one = whole[3]
    assert one.names == ("row", "column")
    assert one.geometry is not None
    assert one.geometry.origin == pytest.approx(OBLIQUE.at(3, 0, 0))
    assert one.image().shape == (1, 5, 6)
    assert one.verdict is stack.Verdict.SINGLE
    assert whole[-1, ::-1, 2].names == ("row",)


def test_indices_at_unequal_distances_have_no_regular_grid() -> None:
    odd = made((4, 5, 6))[[0, 1, 3]]
    assert odd.geometry is None
    assert odd.verdict is stack.Verdict.UNEQUAL
    assert odd.notes[-1].kind is stack.Kind.UNEQUAL
    assert list(odd.axis("slice").values) == [0, 2, 6]
    assert made((4, 5, 6))[[3, 1]].spacing[0] == pytest.approx(2 * OBLIQUE.spacing[0])


def test_slices_at_unequal_distances_lie_where_they_were_and_not_where_their_mean_is() -> None:
    whole = made((5, 3, 4), verdict=stack.Verdict.UNEQUAL)
    pitch = OBLIQUE.spacing[0]
    there = np.array([0, 1, 2, 3.4, 4]) * pitch
    axes = (dataclasses.replace(whole.axes[0], values=there), *whole.axes[1:])
    whole = whole.with_header(axes=axes)
    for at in range(5):
        expected = OBLIQUE.at(there[at] / pitch, 0, 0)
        assert whole[at].position(0, 0) == pytest.approx(expected)
        assert whole.position(at, 0, 0) == pytest.approx(expected)
        assert whole[at:].position(0, 0, 0) == pytest.approx(expected)
        assert whole[::-1][4 - at].position(0, 0) == pytest.approx(expected)
    assert whole[3:].spacing[0] == pytest.approx(0.6 * pitch)


def test_a_part_without_its_gap_is_complete() -> None:
    whole = made((4, 2, 2), verdict=stack.Verdict.GAPS)
    rows = whole.rows.copy()
    rows[1] = -1
    whole = whole.with_header(rows=rows)
    assert whole[1:].verdict is whole[::-1].verdict is stack.Verdict.GAPS
    assert whole[2:].verdict is stack.Verdict.COMPLETE
    assert whole[:1].verdict is stack.Verdict.SINGLE
    assert np.concatenate([whole[2:3], whole[3:]]).verdict is stack.Verdict.COMPLETE


def test_what_has_no_axes_any_more_is_a_plain_array() -> None:
    whole = made()
    for found in (
        whole[np.asarray(whole) > 5],
        whole[whole > 5],
        whole.reshape(12, 30),
        whole.ravel(),
        whole.flatten(),
        np.roll(whole, 1),
        np.repeat(whole, 2, axis=0),
        whole[[0, 1], :, [2, 3]],
        whole[0, :, [2, 3]],
        np.linalg.norm(whole, axis=(2, 3)),
    ):
        assert type(found) is np.ndarray


def test_arithmetic_keeps_the_header() -> None:
    a, b = made(), made()
    mean = (a + b) / 2
    assert mean.names == a.names
    assert mean.unit == "HU"
    assert (mean.geometry, mean.table) == (a.geometry, a.table)
    assert list(mean.timeline) == [0, 2, 4]
    assert np.array_equal(mean, a)
    assert (a * 2).unit == "HU"
    assert (a * b).unit == (a > 3).unit == np.sqrt(abs(a)).unit == ""
    assert (a - a[0]).names == a.names
    assert (a[0] - a).names == a.names
    a += 1
    assert a.unit == "HU"
    assert int(a[0, 0, 0, 0]) == 1


def test_volumes_that_lie_elsewhere_are_not_computed_with_one_another() -> None:
    a = made((4, 5, 6))
    aside = made((4, 5, 6), where=headers.moved(OBLIQUE, "column", 2, 1) or OBLIQUE)
    apart = 2 * OBLIQUE.spacing[2]
    with pytest.raises(errors.UsageError, match=f"{apart:.3g} mm apart"):
        a + aside
    with pytest.raises(errors.UsageError, match="mm apart"):
        a -= aside
    with pytest.raises(errors.UsageError, match="mm apart"):
        np.where(a > 3, a, aside)
    assert type(a + np.asarray(aside)) is volume.Volume
    turned = made((5, 5, 5)).transpose(2, 1, 0)
    with pytest.raises(errors.UsageError, match="of one lies along"):
        turned + made((5, 5, 5))
    with pytest.raises(errors.UsageError, match="slice of one lies along time"):
        made((4, 4, 5, 6)) - made((4, 4, 5, 6)).mean(axis="time")[:, None].transpose(0, 1, 2, 3)


def test_means_over_an_axis_lie_in_the_middle_of_what_they_are_of() -> None:
    whole = made((3, 4, 5, 6))
    assert whole.mean(axis="time").names == ("slice", "row", "column")
    assert whole.mean(axis=0).geometry == OBLIQUE
    flat = whole.max(axis="slice")
    assert flat.names == ("time", "row", "column")
    assert flat.geometry.origin == pytest.approx(OBLIQUE.at(1.5, 0, 0))
    assert flat.spacing[0] == pytest.approx(4 * OBLIQUE.spacing[0])
    flattened = whole - whole.mean(axis=1, keepdims=True)
    assert flattened.geometry == OBLIQUE
    assert np.percentile(whole, [5, 50, 95], axis=0).names == ("quantile", "slice", "row", "column")
    assert np.median(whole, axis=(0, 1)).names == ("row", "column")
    assert float(whole.mean()) == float(np.asarray(whole).mean())
    assert np.add.reduce(whole, axis=1).names == ("time", "row", "column")
    assert np.array_equal(whole.std(axis=0, ddof=1), np.asarray(whole).std(axis=0, ddof=1))
    with pytest.raises(errors.UsageError, match="no axis 'echo' among time, slice, row, column"):
        whole.mean(axis="echo")


def test_parts_laid_end_to_end_are_the_whole_again() -> None:
    whole = made((3, 5, 4, 6))
    for axis in range(4):
        again = np.concatenate(
            [whole.take(range(2), axis), whole.take(range(2, whole.shape[axis]), axis)], axis
        )
        assert np.array_equal(again, whole)
        assert again.geometry == OBLIQUE
        same_places(again, whole)
        assert np.array_equal(again.tag("instance_number"), whole.tag("instance_number"))
    assert type(np.concatenate([whole[:, 1:], whole[:, :1]], axis=1)) is np.ndarray
    beside = np.stack([whole[0], whole[2]])
    assert beside.names == ("", "slice", "row", "column")
    assert np.array_equal(beside.rows, [whole.rows[0], whole.rows[2]])


def test_what_grows_and_what_is_parted_stays_where_it_was() -> None:
    whole = made((3, 4, 5, 6))
    grown = np.pad(whole, ((0, 0), (2, 1), (0, 3), (1, 0)), constant_values=-1)
    assert grown.shape == (3, 7, 8, 7)
    assert np.array_equal(grown[:, 2:-1, :-3, 1:], whole)
    same_places(grown[:, 2:-1, :-3, 1:], whole)
    assert grown.rows[0].tolist() == [-1, -1, 0, 1, 2, 3, -1]
    assert np.isnan(grown.tag("instance_number")[0, :2]).all()
    assert type(np.pad(whole, 1)) is np.ndarray  # nobody knows the time of what was added
    for axis in ("time", 1, 3):
        parts = np.array_split(whole, 2, axis=axis)
        assert len(parts) == 2
        for part in parts:
            same_places(part, whole)
    assert [type(one) for one in np.array_split(whole, [3, 1], axis=2)] == [np.ndarray] * 3
    assert type(np.sort(whole, axis=0)) is np.ndarray
    assert whole.view().geometry == whole.mT.geometry == OBLIQUE
    assert whole.mT.names == ("time", "slice", "column", "row")


def test_tables_of_two_series_become_one() -> None:
    a, b = made((2, 4, 5)), made((2, 4, 5))
    both = np.stack([a, b])
    assert len(both.table) == 4
    assert both.rows.tolist() == [[0, 1], [2, 3]]
    assert both.tag("instance_number").tolist() == [[1, 2], [1, 2]]
    assert [both.table.source(int(row)).path for row in both.rows.ravel()] == ["0.dcm", "1.dcm"] * 2


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda v: pickle.loads(pickle.dumps(v)), np.copy]
)
def test_copies_are_as_good(copied: Any) -> None:
    whole = made()
    found = copied(whole)
    assert np.array_equal(found, whole)
    if type(found) is volume.Volume:  # np.copy leaves subclasses, unless it is asked otherwise
        assert found.geometry == OBLIQUE
        assert found.tag("instance_number").tolist() == whole.tag("instance_number").tolist()
        found[...] = 0
        assert whole.any()


@pytest.mark.parametrize(
    ("dtype", "slope", "intercept", "values", "expected"),
    [
        ("<u2", 1, -1024, [0, 4095], np.int16),
        ("<u2", 1, 0, [0, 65535], np.int32),
        ("<u2", 1, 0, [0, 32767], np.int16),
        ("<i2", 1, 0, [-5, 32767], np.int16),
        ("<i2", 2, 0, [-5, 32767], np.int32),
        ("<i2", -1, 10, [-32768, 32767], np.int32),
        ("<i2", 0.5, 1, [-32768, 32767], np.float32),
        ("u1", 1, 0, [0, 255], np.int16),
        ("<u4", 1, 0, [0, 2**32 - 1], np.int64),
        ("<i4", 0.25, 1, [-(2**31), 2**31 - 1], np.float64),
        ("<f4", 1, 0, [0.5, 1], np.float32),
        ("<f8", 2, 1, [0.5, 1], np.float64),
    ],
)
def test_real_values_take_the_smallest_signed_type(
    dtype: str, slope: float, intercept: float, values: list[float], expected: Any
) -> None:
    stored = np.array(values, dtype).reshape(1, 1, -1)
    axes = tuple(
        stack.Axis(name, np.arange(n)) for name, n in zip(headers.SPATIAL, stored.shape, strict=True)
    )
    read = image.Image(stored.shape, stored.dtype, axes, None, slope, intercept, "HU", stored.copy)
    real = volume.Volume.of(read)
    assert real.dtype == expected
    assert (real.slope, real.intercept) == (1, 0)
    assert np.array_equal(real.ravel(), stored.ravel().astype(float) * slope + intercept)
    kept = volume.Volume.of(read, stored=True)
    assert (kept.dtype, kept.slope, kept.intercept) == (stored.dtype, slope, intercept)
    assert np.array_equal(kept.rescaled(), real)
    assert kept.image().slope == slope


def test_stored_values_that_were_computed_with_lose_their_slope_and_say_so() -> None:
    kept = made((2, 3, 4), slope=2.0, intercept=-5.0)
    assert kept[1:].slope == kept.copy().slope == 2
    both = kept + 1
    assert (both.slope, both.intercept, both.unit) == (1, 0, "")
    assert "slope" in both.notes[-1].text


def test_volumes_of_different_studies_say_so_when_they_were_put_together() -> None:
    mine, theirs = made((2, 3, 4)), made((2, 3, 4))
    for volume_, study in ((mine, "1.1"), (theirs, "1.2")):
        volume_.table.columns["study"] = np.full(len(volume_.table), study, dtype=object)
    assert not (mine + mine[0]).notes
    for found in (mine - theirs, np.stack([mine, theirs]), np.where(mine > 3, mine, theirs)):
        (note,) = found.notes
        assert "different studies" in note.text
    assert len(((mine - theirs) + theirs).notes) == 1


def test_a_slope_that_is_no_number_is_refused() -> None:
    axes = tuple(stack.Axis(name, np.arange(1)) for name in headers.SPATIAL)
    stored = np.zeros((1, 1, 1), "<i2")
    for slope, intercept in ((np.nan, 0.0), (1.0, np.inf)):
        read = image.Image(stored.shape, stored.dtype, axes, None, slope, intercept, "", stored.copy)
        with pytest.raises(errors.BadData, match="slope"):
            volume.Volume.of(read)


def test_it_is_printed_without_anything_that_identifies() -> None:
    whole = made()
    assert repr(whole) == "<Volume 3 time x 4 slice x 5 row x 6 column, int16, 2.52 x 0.6403 x 0.6083 mm, HU>"
    found = headers.Identity(patient_name="Doe^Jane", patient_id="4711", study="1.2.3")
    assert "Doe" not in repr(found)
    assert "4711" not in str(found)
