"""What we make of files that public packages bring for their tests, beside dcm2niix, nibabel and pydicom."""

from __future__ import annotations

import gzip
import pathlib
import subprocess
import warnings

import nibabel
import numpy as np
import pydicom.data
import pytest

from node import converting
from tests import peers

NICOM = pathlib.Path(nibabel.__file__).parent / "nicom" / "tests" / "data"
# Each with the files of one volume; these are alike in both programs.
ALIKE = {
    "decimal_rescale": ("decimal_rescale.dcm",),
    "ct": ("CT_small.dcm",),
    "mr": ("MR_small.dcm",),
    "mr_rle": ("MR_small_RLE.dcm",),
    "mr_big_endian": ("MR_small_bigendian.dcm",),
    "mr_implicit": ("MR_small_implicit.dcm",),
    "mr_jpeg_2000": ("MR_small_jp2klossless.dcm",),
    "mr_padded": ("MR_small_padded.dcm",),
    "ct_jpeg_2000": ("693_J2KI.dcm",),
    "philips_enhanced": ("philips_mprage.dcm.gz",),
}


def public(name: str) -> bytes:
    """A file of nibabel or pydicom, as they are installed for the tests."""
    path = NICOM / name
    if not path.exists():
        found = pydicom.data.get_testdata_file(name, download=False)
        assert isinstance(found, str), f"{name} is not there"
        path = pathlib.Path(found)
    return gzip.decompress(path.read_bytes()) if name.endswith(".gz") else path.read_bytes()


def ours(folder: pathlib.Path, names: tuple[str, ...], layout: str = "stored") -> pathlib.Path:
    source = folder / "in"
    source.mkdir()
    for at, name in enumerate(names):
        (source / f"{at}.dcm").write_bytes(public(name))
    report = converting.convert(
        converting.Request("nifti", folder / "ours", inputs=(str(source),), options={"layout": layout})
    )
    assert report.left == ()
    (made,) = report.made
    return pathlib.Path(made.paths[0])


def theirs(folder: pathlib.Path) -> pathlib.Path:
    words = ["-b", "n", "-z", "n", "-f", "it", "-o", str(folder), str(folder / "in")]
    subprocess.run([peers.require("dcm2niix"), *words], capture_output=True, timeout=60, check=False)
    (made,) = folder.glob("*.nii")
    return made


LARGE = {"philips_enhanced"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.soak) if name in LARGE else name for name in ALIKE]
)
def test_the_same_file(name: str, tmp_path: pathlib.Path) -> None:
    one = nibabel.load(ours(tmp_path, ALIKE[name], "dcm2niix"))
    other = nibabel.load(theirs(tmp_path))

    # A volume of slices that stand upright is turned by dcm2niix; both are turned the same way here.
    one, other = nibabel.as_closest_canonical(one), nibabel.as_closest_canonical(other)
    np.testing.assert_allclose(np.asanyarray(one.dataobj), np.asanyarray(other.dataobj), rtol=1e-6)
    np.testing.assert_allclose(one.affine, other.affine, atol=1e-4)


def test_a_mosaic_lies_where_nibabel_finds_it(tmp_path: pathlib.Path) -> None:
    names = ("siemens_dwi_0.dcm.gz", "siemens_dwi_1000.dcm.gz")

    path = ours(tmp_path, names)

    made = nibabel.load(path)
    assert made.shape == (128, 128, 48, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nibabel calls its reader an experiment
        from nibabel.nicom import dicomwrappers

        found = dicomwrappers.wrapper_from_file(tmp_path / "in" / "1.dcm")
        affine = np.diag([-1, -1, 1, 1]) @ found.affine
        b, direction = found.b_value, found.rotation_matrix @ found.b_vector
    for row, column, slice_ in np.ndindex(2, 2, 2):
        at = np.array([row * 127, column * 127, slice_ * 47])
        expected = affine @ [*at, 1]
        np.testing.assert_allclose(made.affine @ [at[1], at[0], at[2], 1], expected, atol=1e-4)
    np.testing.assert_allclose(np.loadtxt(path.with_suffix(".bval")), [0, 1000])
    assert b == pytest.approx(
        1000, rel=0.01
    )  # nibabel's is of the b matrix, which has the imaging gradients too
    along = made.affine[:3, :3] / np.linalg.norm(made.affine[:3, :3], axis=0)
    turned = np.loadtxt(path.with_suffix(".bvec"))[:, 1] * [-1 if np.linalg.det(along) > 0 else 1, 1, 1]
    same = abs(float((along @ turned) @ (np.array([-1, -1, 1]) * direction)))
    assert same == pytest.approx(1, abs=1e-3)


def test_the_header_says_whether_values_are_signed_though_the_codestream_does_not(
    tmp_path: pathlib.Path,
) -> None:
    made = nibabel.load(ours(tmp_path, ("J2K_pixelrep_mismatch.dcm",)))

    read = pydicom.dcmread(tmp_path / "in" / "0.dcm")
    stored = np.asanyarray(made.dataobj.get_unscaled()).T[0]
    assert read.PixelRepresentation == 1
    assert stored.min() == -2000
    np.testing.assert_array_equal(stored, read.pixel_array)


def test_doses_lie_where_their_offsets_say(tmp_path: pathlib.Path) -> None:
    made = nibabel.load(ours(tmp_path, ("rtdose.dcm",)))

    read = pydicom.dcmread(tmp_path / "in" / "0.dcm")
    offsets = np.array(read.GridFrameOffsetVector, dtype=float)
    lies = (made.affine @ np.array([[0, 0, at, 1] for at in range(len(offsets))]).T)[2]
    np.testing.assert_allclose(sorted(lies), sorted(read.ImagePositionPatient[2] + offsets), atol=1e-4)
    gray = read.pixel_array * float(read.DoseGridScaling)
    real = np.asanyarray(made.dataobj).T
    np.testing.assert_allclose(real if lies[1] > lies[0] else real[::-1], gray, rtol=1e-6)


def test_a_mosaic_that_its_slices_do_not_divide_is_refused(tmp_path: pathlib.Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "0.dcm").write_bytes((NICOM / "0.dcm").read_bytes())

    report = converting.convert(
        converting.Request("nifti", tmp_path / "ours", inputs=(str(tmp_path / "in"),))
    )

    assert report.made == ()
    assert "48 slices" in report.left[0].detail
