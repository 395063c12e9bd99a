"""What is written in a format and read again is the same volume."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest

from node.formats import registry
from node.volume import image
from tests.unit.formats import images

KINDS = {
    "3D": images.made(),
    "one slice": images.made(size=(1, 3, 5)),
    "4D": images.made("time"),
    "5D": images.made("b", "te"),
    "colour": images.made(dtype="u1", colour=True),
    "4D colour": images.made("time", dtype="u1", colour=True),
    "unsigned": images.made(dtype="<u2"),
    "float": images.made(dtype="<f4"),
    "double": images.made("time", dtype="<f8"),
    "HU": images.made(dtype="<u2", intercept=-1024.0),
    "scaled": images.made(slope=0.25, intercept=3.5),
}
FORMATS = [
    ("metaimage", {}),
    ("metaimage", {"suffix": ".mhd"}),
    ("metaimage", {"compress": "yes"}),
    ("nrrd", {}),
    ("nrrd", {"suffix": ".nhdr", "compress": "yes"}),
    ("matlab", {}),
    ("matlab", {"compress": "yes"}),
    ("npz", {}),
    ("npz", {"compress": "yes"}),
    ("zarr", {}),
    ("zarr", {"compress": "yes"}),
]


@pytest.mark.parametrize(("name", "options"), FORMATS, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_it_comes_back_as_it_was(
    kind: str, name: str, options: dict[str, str], tmp_path: pathlib.Path
) -> None:
    wanted = KINDS[kind]
    one = registry.get(name)
    assert one.check(options) is None
    written = one.write(wanted, tmp_path / "vol", options)
    assert registry.of(written.paths[0]) is one
    found = one.read(written.paths)
    images.same(found, wanted)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    if found.spans is not None:  # the other way to the voxels gives the same
        _by_spans(found)


def _by_spans(found: image.Image) -> None:
    assert found.spans is not None
    made = b""
    for file, offset in zip(found.spans.file, found.spans.offset, strict=True):
        raw = pathlib.Path(found.spans.paths[file]).read_bytes()
        made += raw[offset : offset + found.spans.length]
    assert np.array_equal(np.frombuffer(made, found.dtype).reshape(found.shape), found.voxels())


@pytest.mark.parametrize("name", ["metaimage", "nrrd", "matlab", "npz", "zarr"])
def test_an_image_without_a_place_is_written_too(name: str, tmp_path: pathlib.Path) -> None:
    one = registry.get(name)
    written = one.write(images.made(where=None), tmp_path / "vol", {})
    found = one.read(written.paths)
    assert np.array_equal(found.voxels(), images.made(where=None).voxels())
    if found.geometry is not None:  # then a note says that it is not the patient's
        assert any("where the slices lie" in note for note in written.notes)


@pytest.mark.parametrize("name", ["metaimage", "nrrd", "matlab", "npz", "zarr"])
def test_progress_ends_at_its_end(name: str, tmp_path: pathlib.Path) -> None:
    seen: list[tuple[int, int]] = []
    one = registry.get(name)
    one.write(images.made("time"), tmp_path / "vol", {}, lambda done, total, what: seen.append((done, total)))
    assert seen
    assert seen[-1][0] == seen[-1][1]


@pytest.mark.parametrize("name", ["metaimage", "nrrd", "matlab", "npz", "zarr"])
def test_an_option_that_is_none_is_named(name: str) -> None:
    one = registry.get(name)
    assert "speed" in str(one.check({"speed": "high"}))
    assert "'maybe'" in str(one.check({"compress": "maybe"}))


@pytest.mark.parametrize("name", ["metaimage", "nrrd", "matlab", "npz", "zarr"])
def test_what_stood_there_is_replaced_whole(name: str, tmp_path: pathlib.Path) -> None:
    one = registry.get(name)
    one.write(images.made(size=(6, 7, 8)), tmp_path / "vol", {})
    written = one.write(images.made("te"), tmp_path / "vol", {})
    images.same(one.read(written.paths), images.made("te"))
    assert len(list(tmp_path.iterdir())) == len(written.paths)
