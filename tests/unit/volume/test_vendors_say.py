"""What vendors say in elements of their own, as one table for all of them."""

import gzip
import io
import pathlib
import struct

import nibabel
import numpy as np
import pydicom
import pytest

from node.dicom import part10
from node.loading import headers
from node.volume import table
from node.volume.reading import csa, makers, vendors
from tests import series, series_base, series_mr

_NICOM = pathlib.Path(nibabel.__file__).parent / "nicom" / "tests" / "data"


def _table(name: str, folder: pathlib.Path) -> table.Table:
    return headers.read([str(path) for path in series.write(name, folder)])


def _weightings(found: table.Table) -> set[tuple[float, ...]]:
    """(b, x, y, z) of every volume; zeros where there is no direction."""
    both = np.column_stack((found["b_value"], np.nan_to_num(found["gradient"])))
    return {tuple(float(value) + 0.0 for value in row) for row in np.round(both, 4)}


_SAID = {(b, *(direction if b else (0.0, 0.0, 0.0))) for b, direction in series_mr.DIFFUSION}


@pytest.mark.parametrize(
    "name", ["dwi_standard", "dwi_siemens", "dwi_philips", "mosaic_dwi", "enhanced_mr_dwi"]
)
def test_directions_in_the_patients_coordinates_stay_as_they_are(tmp_path: pathlib.Path, name: str) -> None:
    assert _weightings(_table(name, tmp_path)) == _SAID


@pytest.mark.parametrize(("name", "signs"), [("dwi_ge", (-1, -1, 1)), ("dwi_uih", (1, 1, 1))])
def test_directions_along_the_image_are_turned_with_it(
    tmp_path: pathlib.Path, name: str, signs: tuple[int, int, int]
) -> None:
    grid = series_mr.GRID
    axes = np.array((grid.along, grid.down, np.cross(grid.along, grid.down)))
    wanted = {
        (b, *(float(part) + 0.0 for part in np.round(np.multiply(direction, signs) @ axes, 4)))
        if b
        else (0.0, 0.0, 0.0, 0.0)
        for b, direction in series_mr.DIFFUSION
    }
    found = _weightings(_table(name, tmp_path))
    assert len(found) == len(wanted)
    for one in wanted:
        assert min(np.abs(np.subtract(one, other)).max() for other in found) < 2e-4


def test_phase_encoding_along_rows_swaps_what_ge_says(tmp_path: pathlib.Path) -> None:
    orientation = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    assert makers.ge_gradient((1.0, 0.0, 0.0), orientation, "COL") == (-1.0, 0.0, 0.0)
    assert makers.ge_gradient((0.0, 1.0, 0.0), orientation, "COL") == (0.0, -1.0, 0.0)
    assert makers.ge_gradient((1.0, 0.0, 0.0), orientation, "ROW") == (0.0, 1.0, 0.0)
    assert makers.ge_gradient((0.0, 1.0, 0.0), orientation, "ROW") == (-1.0, 0.0, 0.0)
    assert makers.ge_gradient((0.0, 0.0, 1.0), orientation, "ROW") == (0.0, 0.0, 1.0)


@pytest.mark.parametrize("phase", ["COL", "ROW"])
@pytest.mark.parametrize(
    "grid", [series_base.AXIAL, series_base.SAGITTAL, series_base.CORONAL, series_mr.GRID]
)
def test_ges_axes_stay_at_right_angles_in_every_plane(grid: series_base.Grid, phase: str) -> None:
    axes = [
        makers.ge_gradient(one, tuple(grid.orientation), phase) for one in ((1, 0, 0), (0, 1, 0), (0, 0, 1))
    ]
    np.testing.assert_allclose(np.array(axes) @ np.transpose(axes), np.eye(3), atol=1e-6)


@pytest.mark.parametrize(("phase", "along", "down"), [("COL", -0.6, 0.8), ("ROW", 0.8, 0.6)])
def test_phase_of_ge_runs_the_other_way_in_coronal_images(phase: str, along: float, down: float) -> None:
    orientation = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)

    found = makers.ge_gradient((0.6, 0.8, 0.0), orientation, phase)

    assert found == pytest.approx((along, 0.0, -down))


@pytest.mark.parametrize(
    ("written", "meant"), [(1000, 1000), (1_000_000_700, 700), (0, 0), (1_000_000_000, 0)]
)
def test_ge_adds_a_thousand_million_to_some_b_values(written: float, meant: float) -> None:
    assert makers.ge_b_value(written) == meant


@pytest.mark.parametrize(
    ("kind", "said", "meant"),
    [
        ("ORIGINAL\\PRIMARY\\M\\ND", "", "M"),
        ("ORIGINAL\\PRIMARY\\P\\ND", "", "P"),
        ("ORIGINAL\\PRIMARY\\M_FFE\\M\\FFE", "", "M"),
        ("ORIGINAL\\PRIMARY\\R_IR\\R\\IR", "", "R"),
        ("ORIGINAL\\PRIMARY\\VELOCITY MAP\\P\\PCA", "", "B"),
        ("ORIGINAL\\PRIMARY\\PHASE MAP\\P\\FFE", "", "P"),
        ("DERIVED\\PRIMARY\\ADC\\NONE", "IMAGINARY", "I"),
        ("ORIGINAL\\PRIMARY\\DIFFUSION\\NONE", "", ""),
        ("", "MIXED", ""),
    ],
)
def test_parts_of_a_complex_image_are_told(kind: str, said: str, meant: str) -> None:
    assert makers.component(kind, said) == meant


def test_an_isotropic_image_of_philips_has_no_direction(tmp_path: pathlib.Path) -> None:
    made = series_base.instance("philips_adc", series_base.MR, "MR", 1)
    series_base.pixels(made, series_base.voxels(0))
    made.Manufacturer = "Philips Medical Systems"
    block = made.private_block(0x2001, "Philips Imaging DD 001", create=True)
    block.add_new(0x03, "FL", 800.0)
    mr = made.private_block(0x2005, "Philips MR Imaging DD 001", create=True)
    for element in (0xB0, 0xB1, 0xB2):
        mr.add_new(element, "FL", 0.5)
    path = tmp_path / "it.dcm"
    path.write_bytes(series_base.content(made))
    found = headers.read([str(path)])
    assert (found["b_value"][0], found["gradient"][0].tolist()) == (800.0, [0.5, 0.5, 0.5])
    block.add_new(0x04, "CS", "I")
    path.write_bytes(series_base.content(made))
    found = headers.read([str(path)])
    assert found["b_value"][0] == 800.0
    assert np.isnan(found["gradient"][0]).all()


def test_a_grid_of_united_imaging_says_where_each_slice_lies(tmp_path: pathlib.Path) -> None:
    made = series_base.instance("uih_grid", series_base.MR, "MR", 1)
    series_base.pixels(made, np.zeros((12, 18), "<u2"))
    made.Manufacturer = "UIH"
    made.ImageType = ["ORIGINAL", "PRIMARY", "VFRAME"]
    made.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    block = made.private_block(0x0065, "Image Private Header", create=True)
    block.add_new(0x50, "DS", "5")  # three across, two down
    items = []
    for number in range(5):
        one = pydicom.Dataset()
        one.ImagePositionPatient = [1, 2, 3 * number]
        one.AcquisitionDate, one.AcquisitionTime = "20260314", f"101500.{number}"
        items.append(one)
    block.add_new(0x51, "SQ", pydicom.Sequence(items))
    path = tmp_path / "it.dcm"
    path.write_bytes(series_base.content(made))
    found = headers.read([str(path)])
    assert found.sources[0].mosaic == table.Mosaic(5, 3, 6, 6)
    assert found["position"][:, 2].tolist() == [0, 3, 6, 9, 12]
    np.testing.assert_allclose(found["slice_time"], [0, 100, 200, 300, 400], atol=1e-3)


def test_a_mosaic_that_hides_its_number_of_slices_is_not_guessed(tmp_path: pathlib.Path) -> None:
    made = series_base.instance("mosaic", series_base.MR, "MR", 1)
    series_base.pixels(made, np.zeros((12, 12), "<u2"))
    made.Manufacturer = "SIEMENS"
    made.ImageType = ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]
    path = tmp_path / "it.dcm"
    path.write_bytes(series_base.content(made))
    (skipped,) = headers.read([str(path)]).skipped
    assert skipped.why is table.Why.UNSUPPORTED


# ---------------------------------------------------------------------------------------- CSA headers


def test_both_layouts_of_a_header_in_the_header_say_the_same() -> None:
    values = {"B_value": ["1000"], "SliceNormalVector": ["0", "0.6", "0.8"], "Empty": []}
    newer = csa.read(series_mr.csa(values))
    assert newer == {"B_value": ("1000",), "SliceNormalVector": ("0", "0.6", "0.8")}
    assert csa.numbers(newer, "SliceNormalVector") == (0.0, 0.6, 0.8)
    assert csa.read(_older(values)) == newer


def _older(values: dict[str, list[str]]) -> bytes:
    """The layout without a signature: the first length of an item has the first tag's items added."""
    out = [struct.pack("<II", len(values), 77)]
    first = len(next(iter(values.values())))
    for name, texts in values.items():
        out.append(struct.pack("<64si4siii", name.encode(), 1, b"IS", 6, len(texts), 77))
        for text in texts:
            raw = text.encode() + b"\0"
            out.append(struct.pack("<4i", len(raw) + first, len(raw), 77, 0) + raw + bytes(-len(raw) % 4))
    return b"".join(out)


def test_a_header_in_the_header_that_lies_ends_the_reading() -> None:
    whole = (_NICOM / "csa2_b1000.bin").read_bytes()
    full = csa.read(whole)
    assert full["B_value"] == ("1000",)
    rng = np.random.default_rng(7)
    for cut in rng.integers(0, len(whole), 200).tolist():
        part = csa.read(whole[:cut])
        assert all(full[name] == value for name, value in part.items())
    for _ in range(300):
        changed = bytearray(whole)
        for at in rng.integers(0, len(whole), 8).tolist():
            changed[at] = int(rng.integers(256))
        csa.read(bytes(changed))  # whatever it gives, it gives it soon and without an error
    assert csa.read(b"SV10" + struct.pack("<III", 0, 0xFFFFFFFF, 77)) == {}


# ---------------------------------------------------------------------------------------- of a series


def _acquisition(made: pydicom.Dataset) -> vendors.Acquisition:
    out = io.BytesIO()
    made.save_as(out, enforce_file_format=True)
    head = part10.part10(out.getvalue())
    return vendors.acquisition(out.getvalue()[head.offset :], head.syntax)


def test_siemens_says_how_it_encoded_the_phase() -> None:
    content = gzip.decompress((_NICOM / "siemens_dwi_1000.dcm.gz").read_bytes())
    head = part10.part10(content)
    found = vendors.acquisition(content[head.offset :], head.syntax)
    assert (found.manufacturer, found.phase_axis, found.phase_positive) == ("SIEMENS", "COL", True)
    assert found.bandwidth_per_pixel_phase == 19.055
    assert found.dwell_time == 2.8e-6
    assert (found.parallel_factor, found.parallel_technique) == (2.0, "GRAPPA")
    assert found.acquisition_matrix == (128, 0, 0, 128)
    assert (found.partial_fourier, found.base_resolution, found.field_strength) == (0.75, 128.0, 3.0)
    assert (found.coil, found.coil_elements, found.reference_lines) == ("HeadMatrix", "T:HEA;HEP", 38.0)


def test_ge_says_the_spacing_of_the_echoes_it_acquired() -> None:
    # The example of the vendor's readers: 128 lines, every 1.5th acquired, partial Fourier, 636 us.
    made = series_base.instance("ge_epi", series_base.MR, "MR", 1)
    made.Manufacturer = "GE MEDICAL SYSTEMS"
    made.Rows = made.Columns = 128
    made.InPlanePhaseEncodingDirection = "COL"
    made.AcquisitionMatrix = [128, 0, 0, 128]
    made.ScanOptions = ["EPI_GEMS", "ACC_GEMS", "PFF"]
    made.RectilinearPhaseEncodeReordering = "REVERSE_LINEAR"
    block = made.private_block(0x0043, "GEMS_PARM_01", create=True)
    block.add_new(0x2C, "SS", 636)
    block.add_new(0x83, "DS", ["0.666667", "1"])
    block.add_new(0xB6, "LO", ["2", "4", "19"])
    made.file_meta = pydicom.dataset.FileMetaDataset()
    made.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
    found = _acquisition(made)
    assert found.total_readout_time == pytest.approx(0.055332, abs=1e-6)
    assert found.effective_echo_spacing == pytest.approx(0.055332 / 127, abs=1e-8)
    assert found.parallel_factor == pytest.approx(1.5, abs=1e-4)
    assert (found.phase_positive, found.multiband_factor) == (False, 2.0)


def test_an_enhanced_object_is_asked_for_its_first_frame(tmp_path: pathlib.Path) -> None:
    (path,) = series.write("enhanced_mr_time", tmp_path)
    made = pydicom.dcmread(path)
    for number, frame in enumerate(made.PerFrameFunctionalGroupsSequence):
        one = pydicom.Dataset()
        one.ParallelReductionFactorInPlane = 3.0 + number
        frame.MRModifierSequence = pydicom.Sequence([one])
    assert _acquisition(made).parallel_factor == 3.0
    made["PerFrameFunctionalGroupsSequence"].is_undefined_length = True
    for frame in made.PerFrameFunctionalGroupsSequence:
        frame.is_undefined_length_sequence_item = True
    assert _acquisition(made).parallel_factor == 3.0
