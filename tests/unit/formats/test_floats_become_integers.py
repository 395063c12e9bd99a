"""Voxels of any type as the integers that DICOM stores, with no more lost than half a step."""

from __future__ import annotations

import hypothesis
import hypothesis.extra.numpy as arrays
import hypothesis.strategies as st
import numpy as np
import pytest

from node import errors
from node.formats import stored

_FINITE = st.floats(-(2.0**100), 2.0**100, allow_nan=False, width=32)


def _plan(
    voxels: np.ndarray, slope: float = 1.0, intercept: float = 0.0, *, zero: bool = False
) -> stored.Stored:
    return stored.plan(voxels.dtype, stored.limits([voxels]), slope, intercept, wide=True, zero=zero)


@hypothesis.given(
    arrays.arrays(np.float32, 12, elements=_FINITE),
    st.floats(-1e3, 1e3).filter(lambda slope: abs(slope) > 1e-3),
    st.floats(-1e3, 1e3),
    st.booleans(),
)
@hypothesis.settings(max_examples=25, deadline=None)
def test_floats_come_back_within_half_a_step(
    voxels: np.ndarray, slope: float, intercept: float, zero: bool
) -> None:
    how = _plan(voxels, slope, intercept, zero=zero)
    real = voxels.astype(float) * slope + intercept
    back = how.cast(voxels).astype(float) * how.slope + how.intercept
    room = abs(how.slope) / 2 * (1 + 1e-9) + np.abs(real).max() * 1e-15
    assert (np.abs(back - real) <= room).all()
    assert len(repr(how.slope)) <= 20
    assert stored.said(how.slope) == how.slope, "the file would say another slope than was used"
    assert stored.said(how.intercept) == how.intercept
    if zero:
        assert how.intercept == 0


@pytest.mark.parametrize(
    ("kind", "values", "written"),
    [
        ("u1", [0, 255], "<u2"),
        ("i1", [-128, 127], "<i2"),
        (">i2", [-32768, 32767], "<i2"),
        ("u2", [0, 65535], "<u2"),
        ("i4", [-5, 700], "<i2"),
        ("u8", [0, 65535], "<u2"),
        ("f4", [-1000.0, 3000.0], "<i2"),
        ("?", [0, 1], "<u2"),
    ],
)
def test_whole_numbers_stay_what_they_are(kind: str, values: list[float], written: str) -> None:
    voxels = np.array(values, dtype=kind)
    how = _plan(voxels, 2.0, -5.0)
    assert how.dtype == np.dtype(written)
    assert how.cast(voxels).tolist() == [int(value) for value in values]
    assert (how.slope, how.intercept, how.note) == (2.0, -5.0, "")


def test_integers_too_large_for_sixteen_bits_are_scaled_and_it_is_said() -> None:
    voxels = np.array([0, 1_000_000], dtype=np.int32)
    how = _plan(voxels)
    assert "scaled to 16 bits" in how.note
    assert np.allclose(how.cast(voxels) * how.slope + how.intercept, voxels, atol=how.slope / 2)


def test_what_is_not_finite_becomes_an_end_and_is_counted() -> None:
    voxels = np.array([0.5, 1.5, np.nan, np.inf, -np.inf], dtype=np.float32)
    how = _plan(voxels)
    assert how.cast(voxels).tolist() == [0, 65535, 0, 65535, 0]
    assert "3 that are not finite" in how.note


def test_nothing_finite_and_nothing_varying_are_written_too() -> None:
    for voxels in (np.full(3, np.nan, np.float32), np.full(3, 0.25, np.float32)):
        how = _plan(voxels)
        back = how.cast(voxels) * how.slope + how.intercept
        assert np.isfinite(back).all()
        if np.isfinite(voxels).all():
            assert (back == 0.25).all()


def test_complex_numbers_are_refused() -> None:
    with pytest.raises(errors.UsageError, match="magnitude and phase"):
        stored.limits([np.zeros(3, complex)])


def test_floats_that_were_integers_become_the_same_integers() -> None:
    whole = np.array([0, 1, 777, 32767], dtype=np.int16)
    floats = (whole * 0.00123 + 5.5).astype(np.float32)
    how = stored.again(floats, 1.0, 0.0, (0.00123, 5.5), signed=True)
    assert how is not None
    assert how.cast(floats).tolist() == whole.tolist()
    assert stored.again(floats * 1.37, 1.0, 0.0, (0.00123, 5.5), signed=True) is None
    assert stored.again(floats, 1.0, 0.0, (float("nan"), 5.5), signed=True) is None
    assert stored.again(np.full(2, np.nan, np.float32), 1.0, 0.0, (1.0, 0.0), signed=True) is None
