"""Images for the tests of formats: small, oblique, each voxel another value."""

from __future__ import annotations

from typing import Any

import numpy as np

from node.volume import geometry, image, stack

OBLIQUE = geometry.Geometry(
    origin=(-12.5, 40.25, 7.0), column=(0.6, 0.8, 0.0), row=(-1.6, 1.2, 0.0), slice=(0.0, 0.0, 3.5)
)
_LEADING = {"time": ("s", [0.0, 1.5, 3.25]), "b": ("s/mm2", [0.0, 700.0, 1000.0]), "te": ("ms", [5.0, 10.0])}


def made(
    *leading: str,
    dtype: str = "<i2",
    colour: bool = False,
    where: geometry.Geometry | None = OBLIQUE,
    slope: float = 1.0,
    intercept: float = 0.0,
    size: tuple[int, int, int] = (4, 3, 5),
) -> image.Image:
    """An image of 4 slices with 3 rows and 5 columns; leading axes by name."""
    extra = tuple(stack.Axis(name, np.asarray(_LEADING[name][1]), _LEADING[name][0]) for name in leading)
    shape = (*(len(axis.values) for axis in extra), *size, *((3,) if colour else ()))
    values = (np.arange(np.prod(shape)) * 37 % 251).astype(np.dtype(dtype)).reshape(shape)
    spacing = (1.0, 1.0, 1.0) if where is None else where.spacing
    spatial = [
        stack.Axis(name, np.arange(count) * step, "mm")
        for name, count, step in zip(("slice", "row", "column"), size, spacing, strict=True)
    ]
    last = (stack.Axis("rgb", np.arange(3)),) if colour else ()
    return image.Image(
        shape=shape,
        dtype=np.dtype(dtype),
        axes=(*extra, *spatial, *last),
        geometry=where,
        slope=slope,
        intercept=intercept,
        unit="HU",
        voxels=values.copy,
    )


def real(found: image.Image) -> Any:
    """Its real values."""
    return found.voxels() * found.slope + found.intercept


def same(found: image.Image, wanted: image.Image, *, values: bool = True) -> None:
    """Assert that both are the same volume: voxels, geometry, names and values of axes."""
    assert found.shape == wanted.shape
    assert [axis.name for axis in found.axes] == [axis.name for axis in wanted.axes]
    np.testing.assert_allclose(real(found), real(wanted), rtol=0, atol=1e-4)
    if wanted.geometry is not None:
        assert found.geometry is not None
        np.testing.assert_allclose(found.geometry.patient, wanted.geometry.patient, rtol=0, atol=1e-6)
    if values:
        for one, other in zip(found.axes, wanted.axes, strict=True):
            np.testing.assert_allclose(one.values, other.values, rtol=0, atol=1e-6)
