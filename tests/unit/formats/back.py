"""Series as images and written series as data sets, for tests of the way back to DICOM."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from typing import Any

import numpy as np
import pydicom

from node.formats import registry
from node.loading import headers, voxels
from node.volume import image
from node.volume.sorting import sort
from tests import series


def images(folder: pathlib.Path) -> list[image.Image]:
    """The volumes in a folder."""
    found = headers.read(list(headers.walk([str(folder)])))
    return [voxels.image(one) for one in sort.sort(found).stacks]


def template(name: str, folder: pathlib.Path) -> pathlib.Path:
    """A folder with a series of `tests.series`."""
    path = folder / name
    path.mkdir()
    series.write(name, path)
    return path


def only(folder: pathlib.Path) -> image.Image:
    """The one volume in a folder."""
    (found,) = images(folder)
    return found


def real(made: image.Image) -> np.ndarray:
    """Its real values."""
    return made.voxels() * made.slope + made.intercept


def with_voxels(made: image.Image, held: np.ndarray, **changes: Any) -> image.Image:
    """The image with other voxels."""
    return dataclasses.replace(
        made,
        shape=held.shape,
        dtype=held.dtype,
        voxels=functools.partial(np.asarray, held),
        spans=None,
        **changes,
    )


def stranger(made: image.Image) -> image.Image:
    """The image as a file of another format gives it: no table, nobody's."""
    return dataclasses.replace(made, table=None, rows=None, verdict=None, label="", notes=())


def write(
    format_: str, made: image.Image, target: pathlib.Path, **options: str
) -> tuple[list[pydicom.Dataset], tuple[str, ...]]:
    """Write an image; the data sets of its files, and what was said."""
    written = registry.get(format_).write(made, target, options)
    assert written.paths == (target,)
    return [pydicom.dcmread(path) for path in sorted(target.iterdir())], written.notes
