"""What stands beside a NIfTI file: of series as scanners make them, and of images that say little."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from typing import Any

import nibabel
import numpy as np
import pytest

from node.formats import base, bids, nifti
from node.loading import headers, voxels
from node.volume import geometry, image, table
from node.volume.sorting import sort
from tests import series
from tests.unit.formats import images

LAYOUTS = ("stored", "dcm2niix", "ras")


@pytest.fixture
def opened(tmp_path: pathlib.Path) -> Any:
    def one(name: str) -> image.Image:
        paths = [str(path) for path in series.write(name, tmp_path / name)]
        return voxels.image(sort.sort(headers.read(paths)).stacks[0])

    return one


def told(made: image.Image, folder: pathlib.Path, **options: str) -> tuple[dict[str, Any], base.Written]:
    written = nifti.FORMAT.write(made, folder / "made", options)
    return json.loads((folder / "made.json").read_text()), written


def world(folder: pathlib.Path) -> Any:
    """The directions of a .bvec in RAS, as FSL and MRtrix read them."""
    affine = nibabel.load(folder / "made.nii").affine[:3, :3]
    axes = affine / np.linalg.norm(affine, axis=0)
    found = np.loadtxt(folder / "made.bvec").T * ((-1, 1, 1) if np.linalg.det(axes) > 0 else (1, 1, 1))
    return found @ axes.T


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["dwi_siemens", "dwi_ge", "mosaic_dwi"])
def test_directions_mean_the_same_in_every_layout(
    name: str, layout: str, opened: Any, tmp_path: pathlib.Path
) -> None:
    made = opened(name)
    first = made.rows[:, 0]
    wanted = np.nan_to_num(made.table["gradient"][first]) * (-1, -1, 1)
    b = made.table["b_value"][first]

    told(made, tmp_path, layout=layout)

    np.testing.assert_allclose(np.loadtxt(tmp_path / "made.bval"), b)
    np.testing.assert_allclose(world(tmp_path), wanted, atol=1e-5)
    assert np.linalg.norm(world(tmp_path), axis=1) == pytest.approx((b > 0).astype(float), abs=1e-6)


def test_volumes_of_b_read_back(opened: Any, tmp_path: pathlib.Path) -> None:
    made = opened("dwi_siemens")
    path = nifti.FORMAT.write(made, tmp_path / "made", {}).paths[0]
    named = nifti.FORMAT.read([path]).axes[0]
    (tmp_path / "made.json").unlink()
    plain = nifti.FORMAT.read([path]).axes[0]

    assert (named.name, plain.name) == (made.axes[0].name, "b")
    np.testing.assert_allclose(named.values, made.axes[0].values)
    np.testing.assert_allclose(plain.values, np.loadtxt(tmp_path / "made.bval"))


@pytest.mark.parametrize(
    ("layout", "direction"), [("stored", "j"), ("dcm2niix", "j-")], ids=["stored", "dcm2niix"]
)
def test_the_phase_encoding_follows_the_axes_of_the_file(
    layout: str, direction: str, opened: Any, tmp_path: pathlib.Path
) -> None:
    found, written = told(opened("mosaic_time"), tmp_path, layout=layout)

    assert found["PhaseEncodingDirection"] == direction
    assert found["SliceTiming"] == [0, 1, 0.5, 1.5, 0.25]
    assert found["TotalReadoutTime"] == pytest.approx(
        found["EffectiveEchoSpacing"] * (found["ReconMatrixPE"] - 1)
    )
    assert nibabel.load(written.paths[0]).header.get_dim_info() == (0, 1, 2)


def test_times_of_slices_turn_with_the_slices(opened: Any, tmp_path: pathlib.Path) -> None:
    made = opened("mosaic_time")
    where = made.geometry
    end = where.at(made.shape[1] - 1, 0, 0)
    turned = dataclasses.replace(
        made,
        geometry=geometry.Geometry(end, where.column, where.row, tuple(-step for step in where.slice)),
        rows=made.rows[:, ::-1],
    )

    straight, _ = told(turned, tmp_path)
    found, _ = told(turned, tmp_path, layout="dcm2niix")

    assert straight["SliceTiming"] == [0.25, 1.5, 0.5, 1, 0]
    assert found["SliceTiming"] == [0, 1, 0.5, 1.5, 0.25]


def test_what_an_index_does_not_say_is_read(opened: Any, tmp_path: pathlib.Path) -> None:
    made = opened("mr_time")
    wanted, _ = told(made, tmp_path)
    frames = made.table
    kept = {name: frames[name] for name in frames.columns if name not in ("repetition_time", "slice_time")}
    indexed = dataclasses.replace(made, table=table.Table(frames.sources, kept, len(frames)))

    found, _ = told(indexed, tmp_path)

    assert wanted["SliceTiming"] == [0, 0.05, 0.1, 0.15]
    assert found == wanted


def test_nobody_is_named(opened: Any, tmp_path: pathlib.Path) -> None:
    made = opened("mr_time")

    found, written = told(made, tmp_path)

    import pydicom

    header = pydicom.dcmread(made.table.source(0).path)
    text = json.dumps(found) + written.paths[0].read_bytes()[:352].decode("latin-1")
    assert header.PatientName
    for word in (str(header.PatientName), header.PatientID, header.StudyInstanceUID, header.StudyDate):
        assert word not in text
    assert found["Modality"] == "MR"
    assert found["RepetitionTime"] == header.RepetitionTime / 1000
    assert found["AcquisitionTime"] == "10:17:00.000000"


def test_positron_emission(opened: Any, tmp_path: pathlib.Path) -> None:
    found, _ = told(opened("pet_time"), tmp_path)

    assert found["Units"] == "Bq/mL"
    assert found["FrameReferenceTime"] == [30, 90, 150]
    assert found["FrameDuration"] == [60, 60, 60]


def test_files_that_are_gone_leave_less_to_say(opened: Any, tmp_path: pathlib.Path) -> None:
    made = opened("mr_time")
    filled = made.voxels()
    for source in made.table.sources:
        pathlib.Path(source.path).unlink()

    found, _ = told(dataclasses.replace(made, voxels=filled.copy, spans=None), tmp_path)

    assert "Modality" not in found
    assert found["ArrayAxes"][0]["Name"] == made.axes[0].name


def diffusing(values: list[float], directions: list[list[float]], where: geometry.Geometry) -> image.Image:
    made = images.made("b", where=where)
    frames = table.Table(
        (),
        {"b_value": np.repeat(values, 4), "gradient": np.repeat(np.array(directions, float), 4, axis=0)},
        4 * len(values),
    )
    return dataclasses.replace(made, table=frames, rows=np.arange(12).reshape(3, 4))


def test_a_trace_has_no_direction_and_a_note(tmp_path: pathlib.Path) -> None:
    nothing = [np.nan] * 3
    made = diffusing([0, 1000, 1000], [nothing, nothing, [0, 0, 2]], images.OBLIQUE)

    written = nifti.FORMAT.write(made, tmp_path / "made", {})

    assert np.loadtxt(tmp_path / "made.bvec").T.tolist() == [[0, 0, 0], [0, 0, 0], [0, 0, 1]]
    assert "1 of 3 volumes have a b value above 0 and no direction" in written.notes[-1]


def test_b_values_that_are_missing_make_no_file(tmp_path: pathlib.Path) -> None:
    made = diffusing([0, np.nan, 1000], [[np.nan] * 3, [1, 0, 0], [1, 0, 0]], images.OBLIQUE)

    written = nifti.FORMAT.write(made, tmp_path / "made", {})

    assert not (tmp_path / "made.bval").exists()
    assert "1 of 3 volumes do not say their b value" in written.notes[-1]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_directions_are_read_back(layout: str, opened: Any, tmp_path: pathlib.Path) -> None:
    made = opened("dwi_siemens")
    path = nifti.FORMAT.write(made, tmp_path / "made", {"layout": layout}).paths[0]

    found = nifti.FORMAT.read([path])
    again = nifti.FORMAT.write(found, tmp_path / "again", {})

    first = made.rows[:, 0]
    np.testing.assert_allclose(
        found.table["gradient"][found.rows[:, 0]], made.table["gradient"][first], atol=1e-5
    )
    np.testing.assert_allclose(found.table["b_value"][found.rows[:, 0]], made.table["b_value"][first])
    assert [one.suffix for one in again.paths] == [".nii", ".json", ".bval", ".bvec"]
    assert (tmp_path / "again.bval").read_text() == (tmp_path / "made.bval").read_text()
    if layout == "stored":
        np.testing.assert_allclose(
            np.loadtxt(tmp_path / "again.bvec"), np.loadtxt(tmp_path / "made.bvec"), atol=1e-6
        )


@pytest.mark.parametrize("text", ["1 2", "a b c d", "1 0 0\n0 1 0\n0 0", "9 9 9 9\n" * 3, "nan 1 1 1\n" * 3])
def test_directions_that_are_none_are_left_with_a_note(
    text: str, opened: Any, tmp_path: pathlib.Path
) -> None:
    path = nifti.FORMAT.write(opened("dwi_siemens"), tmp_path / "made", {}).paths[0]
    (tmp_path / "made.bvec").write_text(text)

    found = nifti.FORMAT.read([path])

    assert found.table is None
    assert "holds something else than directions" in found.notes[-1].text


def test_a_tilted_gantry_bends_no_direction(tmp_path: pathlib.Path) -> None:
    tilted = geometry.Geometry((1, 2, 3), (0.5, 0, 0), (0, 0.5, 0), (0, 0.6, 3))
    made = diffusing([0, 700, 700], [[np.nan] * 3, [0, 0, 1], [0, 1, 0]], tilted)

    nifti.FORMAT.write(made, tmp_path / "made", {})

    assert np.loadtxt(tmp_path / "made.bvec").T.tolist() == [[0, 0, 0], [0, 0, 1], [0, 1, 0]]


@pytest.mark.parametrize(
    ("times", "code"),
    [
        ([0, 1, 2, 3, 4], 1),
        ([4, 3, 2, 1, 0], 2),
        ([0, 3, 1, 4, 2], 3),
        ([2, 4, 1, 3, 0], 4),
        ([2, 0, 3, 1, 4], 5),
        ([4, 1, 3, 0, 2], 6),
        ([0, 1, 0, 1, 0], 0),
        ([0, 2, 1, 4, 3], 0),
        ([0, 1], 0),
    ],
)
def test_the_order_of_slices_has_a_number(times: list[float], code: int) -> None:
    assert bids.slice_code(np.array(times, float)) == code
