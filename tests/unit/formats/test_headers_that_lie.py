"""Files of every format that claim what cannot be: one sentence that names them, and nothing allocated."""

from __future__ import annotations

import json
import pathlib
import random
import struct
import zlib

import pytest

from node import errors
from node.formats import registry
from tests.unit.formats import images

_HUGE = "65535 65535 65535"
_META = (
    "NDims = 3\nDimSize = {size}\nElementType = {kind}\nElementSpacing = {step}\nElementDataFile = {data}\n"
)
_NRRD = "NRRD0005\ntype: short\ndimension: 3\nsizes: {size}\nencoding: {encoding}\nendian: little\n{more}\n"


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"size": _HUGE}, "header says"),
        ({"size": "5 0 3"}, "5"),
        ({"size": "5 -1 3"}, "cannot be"),
        ({"size": "1e9 1 1"}, "whole numbers"),
        ({"kind": "MET_QUATERNION"}, "MET_QUATERNION"),
        ({"step": "1 1 nan"}, "ElementSpacing"),
        ({"step": "1 1 0"}, "no volume"),
        ({"step": "1"}, "3 numbers"),
        ({"data": "../../etc/passwd"}, "own folder"),
        ({"data": "/etc/passwd"}, "own folder"),
        ({"data": "absent.raw"}, "absent.raw"),
        ({"data": "s%s.raw 0 2 1"}, "pattern"),
        ({"data": "s%d.raw 0 99999999 1"}, "pattern"),
        ({"data": "LIST"}, "0 files"),
    ],
)
def test_a_metaimage(fields: dict[str, str], names: str, tmp_path: pathlib.Path) -> None:
    told = {"size": "5 4 3", "kind": "MET_SHORT", "step": "1 1 1", "data": "LOCAL", **fields}
    path = tmp_path / "vol.mha"
    path.write_bytes(_META.format(**told).encode() + bytes(120 if told["data"] == "LOCAL" else 0))
    with pytest.raises(errors.BadData, match=names) as raised:
        registry.get("metaimage").read([path]).voxels()
    assert str(tmp_path) in str(raised.value)


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"size": _HUGE}, "header says"),
        ({"size": "5 4"}, "do not describe"),
        ({"encoding": "bzip2"}, "bzip2"),
        ({"more": "data file: ../x.raw\n"}, "own folder"),
        ({"more": "space directions: (1,0,0) (0,1,0) (0,0,0)\n"}, "no volume"),
        ({"more": "space directions: (1,0,0) (0,1,0)\n"}, "2 space directions"),
        ({"more": "space directions: (1,0,0) (0,1,x) (0,0,1)\n"}, "three numbers"),
        ({"more": "space: galactic\nspace directions: (1,0,0) (0,1,0) (0,0,1)\n"}, "galactic"),
        ({"more": "space directions: none (0,1,0) (0,0,1)\n"}, "order"),
    ],
)
def test_a_nrrd(fields: dict[str, str], names: str, tmp_path: pathlib.Path) -> None:
    told = {"size": "5 4 3", "encoding": "raw", "more": "", **fields}
    path = tmp_path / "vol.nrrd"
    path.write_bytes(_NRRD.format(**told).encode() + bytes(120))
    with pytest.raises(errors.BadData, match=names):
        registry.get("nrrd").read([path]).voxels()


def test_a_bomb_is_unpacked_no_further_than_its_header_says(tmp_path: pathlib.Path) -> None:
    stream = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = stream.compress(bytes(50_000_000)) + stream.flush()
    path = tmp_path / "vol.nrrd"
    path.write_bytes(_NRRD.format(size="5 4 3", encoding="gzip", more="").encode() + bomb)
    assert registry.get("nrrd").read([path]).voxels().nbytes == 120


def test_a_compressed_volume_that_ends_early_is_named(tmp_path: pathlib.Path) -> None:
    stream = zlib.compressobj(9, zlib.DEFLATED, 31)
    path = tmp_path / "vol.nrrd"
    short = stream.compress(bytes(100)) + stream.flush()
    path.write_bytes(_NRRD.format(size="5 4 3", encoding="gzip", more="").encode() + short)
    with pytest.raises(errors.BadData, match="100 of 120"):
        registry.get("nrrd").read([path]).voxels()


@pytest.mark.parametrize(
    "change",
    [
        {"shape": [65535, 65535, 65535]},
        {"shape": [4, 3]},
        {"shape": "many"},
        {"data_type": "object"},
        {"chunk_grid": {"configuration": {"chunk_shape": [0, 1, 1]}}},
        {"chunk_grid": {"configuration": {"chunk_shape": [1 << 40, 1, 1]}}},
        {"codecs": [{"name": "blosc"}]},
        {"codecs": [{"name": "bytes"}, {"name": "sharding_indexed"}]},
        {"fill_value": [1]},
    ],
)
def test_a_zarr(change: dict[str, object], tmp_path: pathlib.Path) -> None:
    one = registry.get("zarr")
    (path,) = one.write(images.made(), tmp_path / "vol", {}).paths
    told = json.loads((path / "0" / "zarr.json").read_text())
    (path / "0" / "zarr.json").write_text(json.dumps({**told, **change}))
    with pytest.raises(errors.BadData, match=r"vol\.zarr"):
        one.read([path]).voxels()


def test_a_zarr_whose_chunk_is_too_short_is_named(tmp_path: pathlib.Path) -> None:
    one = registry.get("zarr")
    (path,) = one.write(images.made(), tmp_path / "vol", {}).paths
    (path / "0" / "c" / "2" / "0" / "0").write_bytes(b"short")
    with pytest.raises(errors.BadData, match="5 bytes"):
        one.read([path]).voxels()


def test_a_zarr_does_not_lead_out_of_its_folder(tmp_path: pathlib.Path) -> None:
    one = registry.get("zarr")
    (path,) = one.write(images.made(), tmp_path / "vol", {}).paths
    told = json.loads((path / "zarr.json").read_text())
    told["attributes"]["ome"]["multiscales"][0]["datasets"][0]["path"] = "../other"
    (path / "zarr.json").write_text(json.dumps(told))
    with pytest.raises(errors.BadData, match="own folder"):
        one.read([path])


def test_a_matlab_file_of_another_version_says_what_to_do(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "vol.mat"
    path.write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + struct.pack("<H", 0x0200) + b"XX")
    with pytest.raises(errors.BadData, match="-v7"):
        registry.get("matlab").read([path])


@pytest.mark.parametrize("name", ["metaimage", "nrrd", "matlab", "npz", "zarr"])
def test_changed_bytes_raise_what_is_said_or_nothing(name: str, tmp_path: pathlib.Path) -> None:
    one = registry.get(name)
    (path, *_) = one.write(images.made("time"), tmp_path / "vol", {}).paths
    file = path / "0" / "zarr.json" if path.is_dir() else path
    raw = file.read_bytes()
    chance = random.Random(7)
    for _ in range(150):
        hurt = bytearray(raw)
        for _ in range(chance.randint(1, 4)):
            hurt[chance.randrange(min(len(hurt), 1500))] = chance.randrange(256)
        if chance.random() < 0.2:
            del hurt[chance.randrange(len(hurt)) :]
        file.write_bytes(hurt)
        try:
            found = one.read([path])
            if found.nbytes < 1 << 20:
                found.voxels()
        except errors.BadData as error:
            assert "\n" not in str(error).strip()  # noqa: PT017 - none is as good
