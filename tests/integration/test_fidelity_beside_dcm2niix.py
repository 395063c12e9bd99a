"""What we make of series as scanners make them, beside what dcm2niix makes of them."""

from __future__ import annotations

import dataclasses
import functools
import json
import pathlib
import subprocess
from collections.abc import Sequence
from typing import Any

import nibabel
import numpy as np
import pytest

from node import converting
from tests import peers, series, series_base, series_mr, series_plain

Array = np.ndarray[Any, np.dtype[Any]]

VERSION = "v1.0.20220720"
# Where the two differ, and why; docs/fidelity.md says who is right and by which paragraph.
DIFFERS = {
    "ct_jpeg_ls": "dcm2niix is built without JPEG-LS",
    "ct_duplicates": "dcm2niix keeps both slices of one place, and all that follow lie a step too far",
    "ct_gap": "dcm2niix closes the gap, and all that follow lie a step too near",
    "ct_unequal": "dcm2niix takes the first distance for all of them, or any other",
    "ct_rounded": "dcm2niix takes the distance of the first two slices, with what the header rounded away",
    "ct_tilted": "dcm2niix makes a matrix without the lean, and leaves the lean in the voxels",
    "dwi_ge_row_coronal": "dcm2niix has another sign, until its version of September 2025",
    "enhanced_mr_time": "dcm2niix takes the frames as they lie in the file, where it does not know the maker",
    "enhanced_mr_stacks": "dcm2niix makes one series over time of two stacks that lie across each other",
    "enhanced_pet": "dcm2niix takes the slope of one frame for all of them",
    "dose": "dcm2niix does not read Dose Grid Scaling",
    "us_ybr": "dcm2niix takes YBR for RGB, and frames over time for slices",
    "palette": "dcm2niix gives the numbers of the colours and not the colours",
    "rgb": "dcm2niix turns the rows about, we where its layout is asked for; nothing says how they lie",
    "unplaced": "dcm2niix turns the rows about, we where its layout is asked for; nothing says how they lie",
}
# What sidecars say alike where both say it.
TOLD = (
    "SliceTiming",
    "RepetitionTime",
    "EchoTime",
    "InversionTime",
    "FlipAngle",
    "PhaseEncodingDirection",
    "EffectiveEchoSpacing",
    "TotalReadoutTime",
)
# Parted by what dcm2niix parts by, where we make an axis of it.
SPLIT = {"mr_echoes": ("echo_time",)}
# What dcm2niix takes without being asked.
SCALING = {"mr_philips": "philips"}


@dataclasses.dataclass(frozen=True, slots=True)
class Volume:
    """A NIfTI file and what lies beside it."""

    path: pathlib.Path
    image: Any
    told: dict[str, Any]
    bvals: Array | None
    bvecs: Array | None  # a row each, along the axes of the file


def volume(path: pathlib.Path) -> Volume:
    beside = path.with_suffix(".json")
    bval, bvec = path.with_suffix(".bval"), path.with_suffix(".bvec")
    return Volume(
        path,
        nibabel.load(path),
        json.loads(beside.read_text()) if beside.exists() else {},
        np.atleast_1d(np.loadtxt(bval)) if bval.exists() else None,
        np.loadtxt(bvec, ndmin=2).T if bvec.exists() else None,
    )


def world(found: Volume) -> Array:
    """Directions in RAS: FSL's first axis is turned where the axes of the file are right handed."""
    assert found.bvecs is not None
    axes = found.image.affine[:3, :3] / np.linalg.norm(found.image.affine[:3, :3], axis=0)
    turned = found.bvecs * ([-1, 1, 1] if np.linalg.det(axes) > 0 else [1, 1, 1])
    made: Array = turned @ axes.T
    return made


def unlike(one: Volume, other: Volume) -> list[str]:
    """In what two volumes differ; nothing when they are the same."""
    canonical = [nibabel.as_closest_canonical(each.image) for each in (one, other)]
    shapes = [each.shape for each in canonical]
    if shapes[0] != shapes[1]:
        return [f"shape {shapes[0]} and {shapes[1]}"]
    found = []
    arrays = [np.asanyarray(each.dataobj) for each in canonical]
    if (arrays[0].dtype.fields is None) != (arrays[1].dtype.fields is None):
        return ["colours of one only"]
    if arrays[0].dtype.fields is None and not np.allclose(arrays[0], arrays[1], rtol=1e-6, atol=0):
        found.append("voxels")
    elif arrays[0].dtype.fields is not None and not np.array_equal(arrays[0], arrays[1]):
        found.append("colours")
    away = np.abs(canonical[0].affine - canonical[1].affine).max()
    if away > 1e-4:
        found.append(f"affine by {away:.4g} mm")
    if (one.bvals is None) != (other.bvals is None):
        found.append("b values of one only")
    elif one.bvals is not None and other.bvals is not None:
        if not np.array_equal(one.bvals, other.bvals):
            found.append(f"b values {one.bvals} and {other.bvals}")
        # A direction and its opposite are the same weighting.
        same = np.sign(np.sum(world(one) * world(other), axis=1))[:, None]
        if not np.allclose(world(one) * same, world(other) * np.abs(same), atol=1e-4):
            found.append("directions")
    return found + [
        f"{key} {one.told[key]} and {other.told[key]}"
        for key in TOLD
        if key in one.told and key in other.told and not _alike(key, one, other)
    ]


def _alike(key: str, one: Volume, other: Volume) -> bool:
    mine, theirs = one.told[key], other.told[key]
    if isinstance(mine, list) and not isinstance(theirs, list):
        mine = mine[0]  # an axis of our volume; dcm2niix says what its first frame has
    if key == "SliceTiming" and np.dot(one.image.affine[:3, 2], other.image.affine[:3, 2]) < 0:
        mine = mine[::-1]  # each in the order of its own slices
    if key != "PhaseEncodingDirection":
        return bool(np.allclose(mine, theirs, atol=1e-4))
    return bool(np.allclose(_phase(one), _phase(other), atol=1e-4))


def _phase(found: Volume) -> Array:
    """The direction of phase encoding in the world."""
    text = found.told["PhaseEncodingDirection"]
    column: Array = found.image.affine[:3, "ijk".index(text[0])]
    made: Array = column / np.linalg.norm(column) * (-1 if text.endswith("-") else 1)
    return made


def matched(ours: Sequence[Volume], theirs: Sequence[Volume]) -> list[str]:
    """Each of theirs beside the one of ours that is like it; what is over, or like none."""
    found = [] if len(ours) == len(theirs) else [f"{len(ours)} volumes and {len(theirs)}"]
    for other in theirs:
        each = [unlike(one, other) for one in ours]
        if all(each):
            found += min(each, key=len, default=[f"nothing like {other.path.name}"])
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Every series that is whole, and what dcm2niix makes of each.

    Each in a run of its own: within one, the order of frames in an enhanced object stays for the next files.
    """
    folder = tmp_path_factory.mktemp("fidelity")
    program = peers.require("dcm2niix")
    for name in series.NAMES:
        if name in series.BAD:
            continue
        series.write(name, folder / "in" / name)
        out = folder / "theirs" / name
        out.mkdir(parents=True)
        words = ["-b", "y", "-ba", "n", "-z", "n", "-f", "it", "-o", str(out), str(folder / "in" / name)]
        # It says 1 when something could not be read.
        subprocess.run([program, *words], capture_output=True, timeout=60, check=False)
    return folder


@functools.cache
def _version() -> str:
    words = [peers.require("dcm2niix"), "--version"]
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False).stdout


def theirs(folder: pathlib.Path, name: str) -> list[Volume]:
    return [volume(path) for path in sorted((folder / "theirs" / name).glob("*.nii"))]


def ours(folder: pathlib.Path, name: str) -> list[Volume]:
    return _converted(folder, name, "stored")


@functools.cache
def _converted(folder: pathlib.Path, name: str, layout: str, *, like: bool = False) -> list[Volume]:
    """`like`: parted and scaled as dcm2niix does."""
    out = folder / "ours" / f"{name}-{layout}-{like}"
    request = converting.Request(
        "nifti",
        out,
        inputs=(str(folder / "in" / name),),
        split=SPLIT.get(name, ()) if like else (),
        scaling=SCALING.get(name, "stored") if like else "stored",
        options={"layout": layout},
    )
    report = converting.convert(request)
    paths = [pathlib.Path(path) for made in report.made for path in made.paths]
    return [volume(path) for path in paths if path.suffix == ".nii"]


SAME = [name for name in series.NAMES if name not in DIFFERS and name not in series.BAD]
# Where each lies, and its leading axes as NIfTI has them (..., slice).
MADE: dict[str, tuple[series_base.Grid, tuple[int, ...]]] = {
    **{name: (grid, (5,)) for name, grid in series_plain.grids().items() if name != "ct_feet_first"},
    **dict.fromkeys(("ct_duplicates", "ct_big_endian", "ct_rle", "ct_j2k"), (series_base.AXIAL, (5,))),
    **dict.fromkeys(("ct_jpeg_lossless", "ct_jpeg_ls", "nm", "dose"), (series_base.AXIAL, (5,))),
    "ct_tilted": (series_base.Grid(down=(0.0, np.cos(np.pi / 12), np.sin(np.pi / 12))), (5,)),
    "ct_single": (series_base.AXIAL, (1,)),
    **dict.fromkeys(
        ("mr_time", "mr_philips", "mr_midnight", "mr_echoes", "mr_flip"), (series_mr.GRID, (3, 4))
    ),
    **dict.fromkeys(("mr_inversion", "mr_cardiac", "enhanced_mr_time"), (series_mr.GRID, (3, 4))),
    **{
        name: (series_mr.GRID, (4, 4))
        for name in series.NAMES
        if "dwi" in name and "mosaic" not in name and "coronal" not in name
    },
    "mosaic_time": (series_mr.GRID, (3, 5)),
    "mosaic_dwi": (series_mr.GRID, (4, 5)),
    "enhanced_ct": (series_base.OBLIQUE, (4,)),
    "enhanced_mr": (series_base.OBLIQUE, (4,)),
    "enhanced_mr_philips": (series_base.OBLIQUE, (3, 4)),
}


@pytest.mark.parametrize("name", SAME)
def test_the_same_volume(name: str, folder: pathlib.Path) -> None:
    found = theirs(folder, name)

    assert found, "dcm2niix made nothing of it"
    assert matched(_converted(folder, name, "stored", like=True), found) == []


# Slices against the normal stay so in dcm2niix; ours always run along it.
@pytest.mark.parametrize("name", [*(one for one in SAME if one != "mosaic_reversed"), "rgb", "unplaced"])
def test_the_same_file_where_its_layout_is_asked_for(name: str, folder: pathlib.Path) -> None:
    found = theirs(folder, name)

    assert found
    for other, one in zip(
        found, _ordered(_converted(folder, name, "dcm2niix", like=True), found), strict=True
    ):
        mine, its = np.asanyarray(one.image.dataobj), np.asanyarray(other.image.dataobj)
        assert mine.shape == its.shape
        if mine.dtype.fields is None:
            np.testing.assert_allclose(mine, its, rtol=1e-6)
        else:
            np.testing.assert_array_equal(mine, its)
        np.testing.assert_allclose(one.image.affine, other.image.affine, atol=1e-4)


def _ordered(ours: Sequence[Volume], theirs: Sequence[Volume]) -> list[Volume]:
    """Ours in the order of theirs, told apart by where they lie and their least value."""

    def key(one: Volume) -> tuple[float, ...]:
        least = float(np.asanyarray(one.image.dataobj).min()) if len(ours) > 1 else 0.0
        return (least, *np.round(one.image.affine[:3, :3].ravel(), 2).tolist())

    keys = [key(one) for one in theirs]
    return sorted(ours, key=lambda one: keys.index(key(one))) if len(ours) > 1 else list(ours)


@pytest.mark.parametrize("name", DIFFERS)
def test_they_differ_where_it_is_written_that_they_do(name: str, folder: pathlib.Path) -> None:
    if VERSION not in _version():
        pytest.skip(f"what is written is of dcm2niix {VERSION}")
    assert matched(ours(folder, name), theirs(folder, name)) != []


@pytest.mark.parametrize("name", MADE)
def test_the_volume_that_was_made(name: str, folder: pathlib.Path) -> None:
    grid, leading = MADE[name]

    (found,) = ours(folder, name)

    stored = np.asanyarray(found.image.dataobj.get_unscaled()).T
    np.testing.assert_array_equal(stored, series_base.expected(*leading))
    np.testing.assert_allclose(found.image.affine, np.diag([-1, -1, 1, 1]) @ grid.affine, atol=1e-4)


@pytest.mark.parametrize(
    "name", [name for name in MADE if "dwi" in name and "_ge" not in name and "uih" not in name]
)
def test_directions_are_those_of_the_patient(name: str, folder: pathlib.Path) -> None:
    (found,) = ours(folder, name)

    assert found.bvals is not None
    assert found.bvals.tolist() == [b for b, _ in series_mr.DIFFUSION]
    wanted = np.array([direction for _, direction in series_mr.DIFFUSION]) * [-1, -1, 1]
    np.testing.assert_allclose(world(found), wanted, atol=1e-5)


def test_slices_run_along_the_normal_though_the_table_moved_against_it(folder: pathlib.Path) -> None:
    (found,) = ours(folder, "ct_feet_first")

    grid = series_plain.grids()["ct_feet_first"]
    stored = np.asanyarray(found.image.dataobj.get_unscaled()).T
    np.testing.assert_array_equal(stored[::-1], series_base.expected(5))
    np.testing.assert_allclose(found.image.affine[:3, 2], np.negative(grid.step))
    np.testing.assert_allclose(found.image.affine[:3, 3], np.multiply(grid.at(4), (-1, -1, 1)))


def test_distances_are_those_of_all_slices(folder: pathlib.Path) -> None:
    (found,) = ours(folder, "ct_rounded")

    assert found.image.affine[2, 2] == pytest.approx(12 / 7, abs=1e-4)
    assert (found.image.affine @ [0, 0, 4, 1])[2] == pytest.approx(20 + 4 * 12 / 7, abs=6e-4)


def test_a_gap_stays_open(folder: pathlib.Path) -> None:
    (found,) = ours(folder, "ct_gap")

    stored = np.asanyarray(found.image.dataobj.get_unscaled()).T
    np.testing.assert_array_equal(stored[[0, 1, 2, 4, 5]], series_base.expected(5))
    assert abs(found.image.affine[2, 2]) == pytest.approx(3.0)


def test_stacks_that_lie_across_each_other_are_two(folder: pathlib.Path) -> None:
    found = ours(folder, "enhanced_mr_stacks")

    places = sorted(tuple(np.round(one.image.affine[:3, 2], 4)) for one in found)
    grids = (series_base.AXIAL, series_base.SAGITTAL)
    assert places == sorted(tuple(np.round(np.multiply(grid.step, (-1, -1, 1)), 4)) for grid in grids)
    stored = sorted(int(np.asanyarray(one.image.dataobj)[0, 0, 0]) for one in found)
    assert stored == [0, 4 * series_base.ROWS * series_base.COLUMNS]


@pytest.mark.parametrize(("name", "first", "step"), [("pet", 0.5, 0.125), ("enhanced_pet", 0.5, 0.25)])
def test_slopes_that_differ_from_slice_to_slice(
    name: str, first: float, step: float, folder: pathlib.Path
) -> None:
    (found,) = ours(folder, name)

    real = np.asanyarray(found.image.dataobj).T
    slopes = first + step * np.arange(len(real))
    np.testing.assert_allclose(real, series_base.expected(len(real)) * slopes[:, None, None], rtol=1e-6)


def test_dose_is_in_gray(folder: pathlib.Path) -> None:
    (found,) = ours(folder, "dose")

    np.testing.assert_allclose(np.asanyarray(found.image.dataobj).T, series_base.expected(5) * 0.001)
