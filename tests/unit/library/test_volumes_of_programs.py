"""`import node`: series become arrays, arrays become series, and nothing is guessed silently."""

from __future__ import annotations

import dataclasses
import gc
import itertools
import os
import pathlib
import pickle
import subprocess
import sys
import zipfile

import nibabel
import numpy as np
import pytest

import node
from node import errors
from node.volume import geometry as geometries
from node.volume import stack
from tests import series, series_base


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("series")
    for name in (
        "ct_oblique",
        "ct_sagittal",
        "ct_localizer",
        "mr_time",
        "mr_echoes",
        "dwi_siemens",
        "truncated",
    ):
        series.write(name, folder / name)
    return folder


def test_a_folder_a_list_and_an_archive_are_the_same_volume(
    root: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    folder = node.open(root / "ct_oblique")
    files = sorted((root / "ct_oblique").iterdir(), reverse=True)
    listed = node.open(files)
    archive = tmp_path / "ct.zip"
    with zipfile.ZipFile(archive, "w") as made:
        for path in files:
            made.write(path, f"a/{path.name}")
    unpacked = node.open(str(archive))
    for other in (listed, unpacked):
        found = node.compare(folder, other)
        assert found.equal
        assert str(found) == "the same"
    assert np.array_equal(node.open(files, scaling="stored"), series_base.expected(5))
    assert np.array_equal(folder, series_base.expected(5) - 1024)
    assert folder.names == ("slice", "row", "column")
    assert folder.verdict is stack.Verdict.COMPLETE
    # The headers of the archive are there for as long as somebody may ask, and no longer.
    sources = [pathlib.Path(source.path) for source in unpacked.table.sources]
    assert unpacked[2:].tag("SOPInstanceUID").tolist() == folder[2:].tag("SOPInstanceUID").tolist()
    assert unpacked.identity == folder.identity
    del unpacked, other
    gc.collect()
    assert not sources[0].exists()


def test_identity_is_known_and_not_shown(root: pathlib.Path) -> None:
    volume = node.open(root / "ct_oblique")
    whose = (volume[1] * 2).identity
    assert whose.patient_name
    assert whose.modality == "CT"
    assert whose.study.startswith("2.25.")
    assert whose.patient_name not in repr(whose) + repr(volume) + str(volume)
    assert whose.patient_id not in repr(whose) + repr(volume) + str(volume)


def test_elements_that_sorting_did_not_need_are_read_when_they_are_asked_for(root: pathlib.Path) -> None:
    volume = node.open(root / "mr_time")
    assert volume.tag("InstanceNumber").shape == (3, 4)
    assert set(volume.tag("Modality").ravel()) == {"MR"}
    assert volume[1, 2:].tag("InstanceNumber").tolist() == volume.tag("InstanceNumber")[1, 2:].tolist()
    assert volume.tag("position").shape == (3, 4, 3)
    assert np.isnan(volume.tag("SliceLocation")).all() or np.isfinite(volume.tag("SliceLocation")).all()
    with pytest.raises(errors.UsageError, match="there is no element 'NoSuchThing'"):
        volume.tag("NoSuchThing")
    again = pickle.loads(pickle.dumps(volume))
    assert again.tag("Modality").tolist() == volume.tag("Modality").tolist()
    assert isinstance(again, node.Volume)


def test_time_and_diffusion_are_axes(root: pathlib.Path) -> None:
    over_time = node.open(root / "mr_time", order="time")
    assert over_time.names == ("time", "slice", "row", "column")
    assert over_time.timeline.tolist() == [0, 2, 4]
    assert over_time[1:].timeline.tolist() == [2, 4]
    assert over_time.mean(axis="time").shape == (4, 8, 10)
    diffusion = node.open(root / "dwi_siemens")
    assert diffusion.bvalues.tolist() == [0, 1000, 1000, 2000]
    assert diffusion.bvectors.shape == (4, 3)
    assert np.linalg.norm(diffusion[1:].bvectors, axis=1) == pytest.approx([1, 1, 1])
    assert diffusion[:2].bvalues.tolist() == [0, 1000]
    by_function = node.open(root / "mr_time", order=lambda table: table["temporal_position"])
    assert by_function.shape == (3, 4, 8, 10)
    assert node.open(root / "ct_oblique").timeline is None


def test_several_volumes_are_not_chosen_from_silently(root: pathlib.Path) -> None:
    with pytest.raises(
        errors.UsageError, match=r"there are 3 volumes: choose with series= or stack="
    ) as refused:
        node.open(root / "ct_localizer")
    assert "stack=2: " in str(refused.value)
    assert [one.label for one in node.open_all(root / "ct_localizer")] == ["axial", "sagittal", "coronal"]
    assert node.open(root / "ct_localizer", stack=2).label == "sagittal"
    assert node.open(root / "ct_localizer", stack="coronal").label == "coronal"
    with pytest.raises(errors.UsageError, match="there is no stack 'oblique'; there are stack=1"):
        node.open(root / "ct_localizer", stack="oblique")
    both = [root / "ct_oblique", root / "mr_time"]
    uid = node.open(root / "mr_time").identity.series
    assert node.open(both, series=uid).shape == (3, 4, 8, 10)


def test_what_cannot_be_opened_is_said(root: pathlib.Path, tmp_path: pathlib.Path) -> None:
    with pytest.warns(node.LeftOut, match="left out: .*damaged"):
        volume = node.open(root / "truncated")
    assert volume.verdict is stack.Verdict.GAPS
    with pytest.raises(errors.UsageError, match="there is no volume in"):
        node.open(tmp_path)
    with pytest.raises(errors.UsageError, match=r"there is no volume in .*No such file"):
        node.open(tmp_path / "nothing")
    with pytest.raises(errors.UsageError, match="of type NoneType cannot be opened"):
        node.open(None)
    with pytest.raises(errors.UsageError, match="0 x 8 x 10 has no voxels"):
        node.open(root / "ct_oblique")[:0].write(tmp_path / "x.nii")
    with pytest.raises(errors.UsageError, match="scaling 'loud'"):
        node.open(root / "ct_oblique", scaling="loud")
    with pytest.raises(errors.NotFound, match="no data directory of a node"):
        node.open(f"dicom-node://{tmp_path}?series=1.2.3")
    with pytest.raises(errors.UsageError, match=r"write dicom-node:///DATA/DIRECTORY\?series=UID"):
        node.open(f"dicom-node://{tmp_path}")


@pytest.mark.parametrize(
    "name", ["x.nii", "x.nii.gz", "x.mha", "x.mhd", "x.nrrd", "x.mat", "x.npz", "x.zarr"]
)
def test_files_of_other_formats_come_back_with_their_place(
    root: pathlib.Path, tmp_path: pathlib.Path, name: str
) -> None:
    volume = node.open(root / "ct_sagittal")
    half = volume[::-1, 1:, ::2] / 2
    made = half.write(tmp_path / name)
    assert made.paths[0] == tmp_path / name
    back = node.open(made.paths[0])
    found = node.compare(half, back)
    assert found.equal, str(found)
    with pytest.raises(errors.UsageError, match="is there already: give another place, or overwrite=True"):
        half.write(tmp_path / name)
    half.write(tmp_path / name, overwrite=True)


def test_results_go_back_to_dicom_as_a_new_series(root: pathlib.Path, tmp_path: pathlib.Path) -> None:
    volume = node.open(root / "mr_time")
    mean = volume[:, 1:].mean(axis="time")
    mean.round().astype(np.int16).write(tmp_path / "out", description="mean")
    back = node.open(tmp_path / "out")
    found = node.compare(mean.round(), back)
    assert found.equal
    assert found.identity == ("series",)
    assert back.identity.series_description == "mean"
    with pytest.raises(errors.UsageError, match="is there already"):
        mean.write(tmp_path / "out")
    mean.write(tmp_path / "out", overwrite=True)
    (tmp_path / "out" / "letter.txt").write_text("mine")
    with pytest.raises(errors.UsageError, match="holds more than DICOM files"):
        mean.write(tmp_path / "out", overwrite=True)
    assert (tmp_path / "out" / "letter.txt").exists()
    mean.write(tmp_path / "mean.zip")
    assert node.open(tmp_path / "mean.zip").shape == mean.shape


def test_an_array_gets_its_identity_from_a_template(root: pathlib.Path) -> None:
    volume = node.open(root / "mr_time")
    plain = node.open(np.asarray(volume) * 2, template=root / "mr_time")
    assert plain.identity == volume.identity
    assert plain.timeline.tolist() == [0, 2, 4]
    assert node.compare(plain, volume * 2).equal
    mean = node.open(np.asarray(volume).mean(axis=0), template=volume)
    assert node.compare(mean, volume.mean(axis="time")).equal
    for like in (volume[1, 2], volume[:, 0], volume.T, volume[None]):
        assert node.compare(node.open(np.asarray(like), template=like), like).equal
    turned = node.open(np.asarray(volume[0]), template=volume.transpose(1, 2, 3, 0))
    assert node.compare(turned, volume[0]).equal
    with pytest.raises(errors.UsageError, match="9 x 8 does not fit a template of 1 x 8 x 10"):
        node.open(np.zeros((9, 8)), template=volume[0, 0])
    coloured = node.open(np.zeros((4, 8, 10, 3), np.uint8), template=volume)
    assert coloured.colour
    assert coloured.geometry == volume.geometry
    with pytest.raises(errors.UsageError, match="2 x 8 x 10 does not fit a template of 3 x 4 x 8 x 10"):
        node.open(np.zeros((2, 8, 10)), template=volume)


@pytest.mark.parametrize("order", list(itertools.permutations((1, 2, 3))))
def test_a_template_turns_what_another_program_turned(root: pathlib.Path, order: tuple[int, ...]) -> None:
    volume = node.open(root / "mr_time")
    part = volume[:, 1:, 2:, :7]
    for count in range(4):
        for flips in itertools.combinations((1, 2, 3), count):
            other = elsewhere(np.flip(part.transpose(0, *order), flips))
            assert not other.identity.known
            found = node.open(other, template=volume)
            assert node.compare(found, part).equal
            assert found.tag("InstanceNumber").tolist() == part.tag("InstanceNumber").tolist()
            assert found.timeline.tolist() == [0, 2, 4]
    geometry = other.geometry
    x, y, z = geometry.origin
    aside = other.with_header(geometry=dataclasses.replace(geometry, origin=(x + 0.4, y, z)))
    with pytest.raises(errors.UsageError, match=r"voxels lie up to .* mm apart"):
        node.open(aside, template=volume)


def elsewhere(turned: node.Volume) -> node.Volume:
    """As it comes back from a program that calls the last three axes slice, row and column."""
    vectors = {name: getattr(turned.geometry, name) for name in ("slice", "row", "column")}
    slice_, row, column = (vectors[name] for name in turned.names[1:])
    axes = [stack.Axis("", np.arange(turned.shape[0]))]
    axes += [
        stack.Axis(name, np.arange(length))
        for name, length in zip(("slice", "row", "column"), turned.shape[1:], strict=True)
    ]
    return node.Volume(np.asarray(turned)).with_header(
        axes=tuple(axes), geometry=geometries.Geometry(turned.geometry.origin, column, row, slice_)
    )


@pytest.mark.parametrize("name", ["ct_oblique", "ct_sagittal", "mr_time"])
def test_another_reader_finds_each_voxel_where_the_volume_says_it_lies(
    root: pathlib.Path, tmp_path: pathlib.Path, name: str
) -> None:
    volume = node.open(root / name)[..., 1:, ::-1, ::2]
    volume.write(tmp_path / "x.nii")
    read = nibabel.load(tmp_path / "x.nii")
    voxels = np.asarray(read.dataobj)
    for at in np.random.default_rng(3).integers(0, volume.shape, (20, volume.ndim)):
        assert voxels[tuple(at[::-1])] == volume[tuple(at)]
        place = read.affine @ (*at[::-1][:3], 1)
        assert place[:3] * (-1, -1, 1) == pytest.approx(volume.position(*at), abs=1e-4)


def test_what_went_through_another_program_goes_back_as_dicom(
    root: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    volume = node.open(root / "ct_sagittal")
    volume.write(tmp_path / "x.nii.gz")
    came_back = node.open(tmp_path / "x.nii.gz") * 2
    assert not came_back.identity.known
    for number, template in enumerate((volume, root / "ct_sagittal")):
        came_back.write(tmp_path / f"d{number}", template=template)
        found = node.compare(node.open(tmp_path / f"d{number}"), volume * 2)
        assert found.equal, str(found)
        assert found.identity == ("series",)
    with pytest.raises(errors.UsageError, match="mm"):
        came_back.write(tmp_path / "d2", template=node.open(root / "mr_time"))
    assert came_back.write(tmp_path / "nobody").notes


def test_series_are_put_together_and_compared(root: pathlib.Path) -> None:
    first, second, third = node.open(root / "mr_echoes")
    assert node.stack([first, second, third], axis="te").axes[0].values.tolist() == pytest.approx(
        node.open(root / "mr_echoes").axes[0].values.tolist()
    )
    assert node.stack([first, second], axis="dose", values=[1, 5]).axis("dose").values.tolist() == [1, 5]
    again = node.stack([first[:2], first[2:]], axis="slice")
    assert node.compare(again, first).equal
    with pytest.raises(errors.UsageError, match="they do not go on where the last one ended"):
        node.stack([first[2:], first[:2]], axis="slice")
    with pytest.raises(errors.UsageError, match="they are of 4 x 8 x 10, 3 x 8 x 10"):
        node.stack([first, first[1:]])
    changed = first.copy()
    changed[0, 0, :3] += 4
    found = node.compare(first, changed)
    assert (found.different, found.largest, found.equal) == (3, 4, False)
    assert "3 of 320 differ, by up to 4" in str(found)
    elsewhere = node.compare(first, node.open(root / "ct_oblique"))
    assert not elsewhere
    assert elsewhere.different is None
    assert elsewhere.identity
    assert elsewhere.words[0] == "shape: 4 x 8 x 10 against 5 x 8 x 10"


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("s3://bucket/x", "is no place to write to"),
        ("x.docx", "does not say a format"),
        ("dicom://host:0x/PACS", "is no DICOM application"),
        ("dicom://host:104", "is no DICOM application"),
        ("dicom://host:104/A%5CB", "is no DICOM application"),
        ("dicom://host:104/PACS?called=X", "is no DICOM application"),
    ],
)
def test_places_that_are_none_are_refused(
    root: pathlib.Path, tmp_path: pathlib.Path, url: str, why: str
) -> None:
    volume = node.open(root / "ct_oblique")
    with pytest.raises(errors.UsageError, match=why):
        volume.write(url if "://" in url else tmp_path / url)
    with pytest.raises(errors.UsageError, match="there is no format 'tiff'"):
        volume.write(tmp_path / "x.nii", format="tiff")
    with pytest.raises(errors.UsageError, match="nifti cannot be sent"):
        volume.write("dicom://host:104/PACS", format="nifti")
    assert not list(tmp_path.iterdir())


def test_importing_it_loads_next_to_nothing() -> None:
    told = "import node, sys; print(sorted(m for m in sys.modules if m.startswith(('numpy', 'node.'))))"
    said = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"
    heavy = "('pydicom', 'sqlalchemy', 'rich', 'typer', 'highdicom', 'PIL', 'imagecodecs')"
    told = f"import node, sys; node.open; print([m for m in {heavy} if m in sys.modules])"
    env = {**os.environ, "PYTHONPATH": os.getcwd()}
    said = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True, env=env)
    assert said.stdout.strip() == "[]"
