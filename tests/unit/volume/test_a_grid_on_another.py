"""A volume that another program wrote lies on the grid of its series, whichever way its axes run."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from node import errors
from node.volume import geometry, onto

_TILTED = geometry.Geometry((-40.0, -60.0, 20.0), (0.7, 0.1, 0.0), (-0.1, 0.7, 0.05), (0.0, 0.3, 2.5))
_SHAPE = (3, 4, 5)


def _voxel_places(found: geometry.Geometry, shape: onto.Three) -> np.ndarray:
    return np.array([found.at(*map(float, index)) for index in np.ndindex(shape)]).reshape(*shape, 3)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("flips", list(itertools.product((False, True), repeat=3)))
def test_every_turn_is_found_and_undone(order: onto.Three, flips: tuple[bool, bool, bool]) -> None:
    there = onto.Fit(order, flips, (0, 0, 0))
    turned, shape = there.grid(_TILTED, _SHAPE), there.shape(_SHAPE)
    voxels = there.view(np.arange(60).reshape(_SHAPE))

    fit = onto.onto(turned, shape, _TILTED, "it")

    assert (fit.view(voxels) == np.arange(60).reshape(_SHAPE)).all()
    assert fit.shift == (0, 0, 0)
    back = fit.grid(turned, shape)
    assert np.allclose(back.patient, _TILTED.patient)


def test_a_turn_moves_each_voxel_with_its_place() -> None:
    fit = onto.Fit((2, 0, 1), (True, False, True), (0, 0, 0))
    places = _voxel_places(_TILTED, _SHAPE)
    turned = _voxel_places(fit.grid(_TILTED, _SHAPE), fit.shape(_SHAPE))
    assert np.allclose(turned, fit.view(places, colour=True))


def test_what_was_cropped_or_extended_by_whole_voxels_still_fits() -> None:
    cropped = dataclasses.replace(_TILTED, origin=_TILTED.at(1.0, 2.0, -3.0))
    assert onto.onto(cropped, (9, 2, 2), _TILTED, "it").shift == (1, 2, -3)


def test_single_precision_of_the_other_file_does_not_matter() -> None:
    loose = geometry.Geometry.of(_TILTED.patient.astype(np.float32).astype(float))
    assert onto.onto(loose, _SHAPE, _TILTED, "it").shift == (0, 0, 0)


@pytest.mark.parametrize(
    ("change", "by"),
    [
        ({"origin": _TILTED.at(0.0, 0.4, 0.0)}, "0.2"),
        ({"slice": (0.0, 0.3, 2.6)}, "0.2"),
        ({"row": (0.1, 0.7, 0.05)}, "mm apart"),
    ],
)
def test_another_grid_is_refused_by_how_much_it_differs(change: dict[str, geometry.Vector], by: str) -> None:
    with pytest.raises(errors.UsageError, match="is not that of the template") as caught:
        onto.onto(dataclasses.replace(_TILTED, **change), _SHAPE, _TILTED, "the template")
    assert by in str(caught.value)
    assert "geometry=own" in str(caught.value)


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
def test_a_grid_that_cannot_be_is_refused(value: float) -> None:
    with pytest.raises(errors.UsageError):
        onto.onto(dataclasses.replace(_TILTED, column=(value, 0.0, 0.0)), _SHAPE, _TILTED, "it")
    with pytest.raises(errors.UsageError):
        onto.onto(dataclasses.replace(_TILTED, origin=(1e300, 0.0, 0.0)), _SHAPE, _TILTED, "it")
