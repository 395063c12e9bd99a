"""NIfTI files made to mislead: every one is refused in a sentence, before anything is allocated for it."""

from __future__ import annotations

import dataclasses
import gzip
import pathlib
import random
import struct
import zlib

import numpy as np
import pytest

from node import errors
from node.formats import gzipped, nifti
from tests.unit.formats import images


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    return nifti.FORMAT.write(images.made("time"), tmp_path / "made", {}).paths[0]


def patched(path: pathlib.Path, offset: int, value: bytes) -> pathlib.Path:
    there = bytearray(path.read_bytes())
    there[offset : offset + len(value)] = value
    path.write_bytes(there)
    return path


LIES = {
    "no header": (0, b"\0\0\0\0", "neither 348 nor 540"),
    "no magic": (344, b"abc\0", "no NIfTI header"),
    "no dimension": (40, struct.pack("<h", 0), "0 dimensions"),
    "nine dimensions": (40, struct.pack("<h", 9), "9 dimensions"),
    "a negative axis": (42, struct.pack("<h", -5), "cannot be"),
    "more than the file has": (42, struct.pack("<7h", *[32767] * 7), "bytes of voxels"),
    "more than the file has by a little": (46, struct.pack("<h", 5), "its header says"),
    "a type of no size": (70, struct.pack("<h", 0), "data type 0"),
    "a type that is not read": (70, struct.pack("<h", 1792), "data type 1792"),
    "bits of another type": (72, struct.pack("<h", 64), "64 bits"),
    "voxels before the file": (108, struct.pack("<f", -4), "cannot begin at -4"),
    "voxels at no place": (108, struct.pack("<f", float("nan")), "cannot begin at nan"),
    "voxels far away": (108, struct.pack("<f", 1e30), "cannot begin"),
    "a matrix of nothing": (280, bytes(48), "one plane"),
    "a matrix without numbers": (280, struct.pack("<12f", *[float("inf")] * 12), "a value that cannot be"),
}


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("zipped", [True, False])
def test_lies_are_refused(lie: str, zipped: bool, path: pathlib.Path) -> None:
    offset, value, why = LIES[lie]
    patched(path, offset, value)
    if zipped:
        if "than the file has" in lie and "little" in lie:
            return  # how much it holds is known when it is unpacked
        packed = path.with_suffix(".nii.gz")
        packed.write_bytes(gzip.compress(path.read_bytes()))
        path = packed

    with pytest.raises(errors.BadData, match=why):
        nifti.FORMAT.read([path])


def test_every_header_that_is_cut_short_is_refused(path: pathlib.Path) -> None:
    whole = path.read_bytes()
    for length in (0, 3, 4, 40, 347, 348, 352, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(errors.BadData):
            nifti.FORMAT.read([path])


def test_a_bomb_is_unpacked_no_further_than_it_says(tmp_path: pathlib.Path) -> None:
    made = images.made()
    path = nifti.FORMAT.write(made, tmp_path / "made", {"gz": "yes"}).paths[0]
    inside = gzip.decompress(path.read_bytes())
    stream = zlib.compressobj(9, zlib.DEFLATED, 31)
    path.write_bytes(stream.compress(inside + bytes(64 << 20)) + stream.flush())

    assert np.array_equal(nifti.FORMAT.read([path]).voxels(), made.voxels())


def test_a_stream_that_ends_early_or_is_damaged(tmp_path: pathlib.Path) -> None:
    path = nifti.FORMAT.write(images.made(), tmp_path / "made", {"gz": "yes"}).paths[0]
    inside, there = gzip.decompress(path.read_bytes()), path.read_bytes()

    path.write_bytes(gzip.compress(inside[:-10]))
    with pytest.raises(errors.BadData, match="end after 110 of 120"):
        nifti.FORMAT.read([path]).voxels()
    path.write_bytes(there[:-20])
    with pytest.raises(errors.BadData, match=r"end after|unpacked"):
        nifti.FORMAT.read([path]).voxels()
    path.write_bytes(b"\x1f\x8b\x08\x00" + b"\xff" * 100)
    with pytest.raises(errors.BadData, match="no gzip file"):
        nifti.FORMAT.read([path])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("made.json", "[1, 2"),
        ("made.json", "[" * 100_000),
        ("made.json", "[]"),
        ("made.json", '{"ArrayAxes": [{"Name": "slice", "Unit": "", "Values": [1, 2, 3]}], "Units": 3}'),
        ("made.json", '{"ArrayAxes": [{"Name": "te", "Unit": "", "Values": [1, 2]}]}'),
        ("made.json", '{"FrameTimesStart": [1, "a", 3]}'),
        ("made.bval", "1 2 x"),
        ("made.bval", "nan 1 2"),
    ],
)
def test_what_lies_beside_it_may_be_nonsense(name: str, text: str, path: pathlib.Path) -> None:
    path.with_name("made.json").unlink()
    path.with_name(name).write_text(text)

    found = nifti.FORMAT.read([path])

    assert [axis.name for axis in found.axes] == ["time", "slice", "row", "column"]
    assert found.axes[0].values[0] == 0


def test_members_that_follow_one_another_are_one_stream(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "made.gz"
    path.write_bytes(b"".join(gzip.compress(part) for part in (b"abc", b"", b"defgh")))
    room = bytearray(5)

    gzipped.fill(path, 2, memoryview(room))

    assert gzipped.head(path, 2) == b"ab"
    assert bytes(room) == b"cdefg"


@pytest.mark.parametrize("threads", [1, 3])
def test_pieces_of_any_size_make_one_member(threads: int, tmp_path: pathlib.Path) -> None:
    generator = np.random.default_rng(1)
    parts = [generator.integers(0, 9, size, dtype=np.uint8).tobytes() for size in (0, 1, 5 << 19, 7, 1 << 20)]
    path = tmp_path / "made.gz"

    with path.open("wb") as file:
        size = gzipped.write(file.fileno(), parts, threads=threads)

    stream = zlib.decompressobj(31)
    assert stream.decompress(path.read_bytes()) == b"".join(parts)
    assert stream.eof
    assert stream.unused_data == b""
    assert size == sum(map(len, parts))


def test_a_source_that_fails_leaves_no_thread_and_no_file(tmp_path: pathlib.Path) -> None:
    made = images.made()

    def fails() -> np.ndarray:  # type: ignore[type-arg]
        raise errors.BadData("the frame breaks off")

    with pytest.raises(errors.BadData, match="breaks off"):
        nifti.FORMAT.write(
            dataclasses.replace(made, voxels=fails),
            tmp_path / "made",
            {"gz": "yes"},
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("version", ["1", "2"])
def test_changed_bytes_give_an_image_or_a_sentence(version: str, tmp_path: pathlib.Path) -> None:
    path = nifti.FORMAT.write(images.made("time"), tmp_path / "made", {"version": version}).paths[0]
    there = path.read_bytes()
    chance = random.Random(int(version))
    refused = 0
    for _ in range(300):
        hurt = bytearray(there)
        for _ in range(chance.randint(1, 4)):
            hurt[chance.randrange(560)] = chance.randrange(256)
        path.write_bytes(hurt)
        try:
            found = nifti.FORMAT.read([path])
            assert found.voxels().shape == found.shape
            assert found.geometry is not None
            assert np.isfinite(found.geometry.patient).all()
        except errors.BadData as error:
            refused += 1
            assert str(path) in str(error)  # noqa: PT017 - some are none
    assert 20 < refused < 300
