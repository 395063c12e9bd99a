"""scipy, pynrrd, zarr and numpy read our files, and we read theirs."""

from __future__ import annotations

import pathlib
import struct

import nrrd
import numpy as np
import pytest
import scipy.io
import zarr

from node.formats import registry
from tests.unit.formats import images


@pytest.mark.parametrize("compress", ["yes", "no"])
def test_scipy_reads_a_matlab_file(compress: str, tmp_path: pathlib.Path) -> None:
    made = images.made("time", intercept=-10.0)
    (path,) = registry.get("matlab").write(made, tmp_path / "vol", {"compress": compress}).paths
    found = scipy.io.loadmat(path)
    wanted = np.transpose(images.real(made), (2, 3, 1, 0))  # row, column, slice, time
    assert np.array_equal(found["img"], wanted)
    info = found["info"][0, 0]
    assert made.geometry is not None
    np.testing.assert_allclose(info["affine"], made.geometry.scanner)
    assert info["axes"][0] == "time,slice,row,column"
    np.testing.assert_allclose(info["axis_time"][0], made.axes[0].values)


@pytest.mark.parametrize("compressed", [True, False])
def test_what_scipy_wrote_is_read(compressed: bool, tmp_path: pathlib.Path) -> None:
    values = np.arange(4 * 5 * 6, dtype=np.float64).reshape(4, 5, 6)
    scipy.io.savemat(
        tmp_path / "vol.mat",
        {"volume": values, "name": "text", "cell": np.array([1, "x"], dtype=object), "few": np.ones(3)},
        do_compression=compressed,
    )
    found = registry.get("matlab").read([tmp_path / "vol.mat"])
    assert found.shape == (6, 4, 5)
    assert np.array_equal(found.voxels(), np.transpose(values, (2, 0, 1)))


def test_pynrrd_reads_a_nrrd(tmp_path: pathlib.Path) -> None:
    made = images.made("b")
    (path,) = registry.get("nrrd").write(made, tmp_path / "vol", {}).paths
    data, header = nrrd.read(str(path))
    assert np.array_equal(data.T, made.voxels())
    assert header["space"] == "left-posterior-superior"
    assert made.geometry is not None
    np.testing.assert_allclose(header["space directions"][:3], made.geometry.patient[:3, :3].T)
    np.testing.assert_allclose(header["space origin"], made.geometry.origin)
    assert header["labels"] == ["column", "row", "slice", "b"]


@pytest.mark.parametrize("encoding", ["raw", "gzip"])
@pytest.mark.parametrize("space", ["left-posterior-superior", "right-anterior-superior"])
def test_what_pynrrd_wrote_is_read(space: str, encoding: str, tmp_path: pathlib.Path) -> None:
    values = np.arange(60, dtype=">i2").reshape(5, 4, 3)
    header = {
        "space": space,
        "space directions": [[2, 0, 0], [0, 3, 0], [0, 0, 4]],
        "space origin": [1, 2, 3],
        "encoding": encoding,
        "endian": "big",
    }
    nrrd.write(str(tmp_path / "vol.nhdr"), values, header)
    found = registry.get("nrrd").read([tmp_path / "vol.nhdr"])
    assert np.array_equal(found.voxels(), values.T)
    assert found.geometry is not None
    sign = 1 if space.startswith("left") else -1
    assert found.geometry.origin == (sign * 1, sign * 2, 3)
    assert found.geometry.column == (sign * 2, 0, 0)


@pytest.mark.parametrize("compress", ["yes", "no"])
def test_zarr_reads_a_zarr(compress: str, tmp_path: pathlib.Path) -> None:
    made = images.made("time")
    (path,) = registry.get("zarr").write(made, tmp_path / "vol", {"compress": compress}).paths
    group = zarr.open_group(str(path), mode="r")
    array = group["0"]
    assert np.array_equal(array[:], made.voxels())
    assert array.metadata.dimension_names == ("time", "slice", "row", "column")
    scale = group.attrs["ome"]["multiscales"][0]["datasets"][0]["coordinateTransformations"][0]["scale"]
    assert made.geometry is not None
    np.testing.assert_allclose(scale[1:], made.geometry.spacing)


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("codec", ["none", "zstd", "gzip"])
def test_what_zarr_wrote_is_read(version: int, codec: str, tmp_path: pathlib.Path) -> None:
    import numcodecs
    from zarr import codecs

    values = np.arange(7 * 5 * 6, dtype="<u2").reshape(7, 5, 6)
    if version == 2:
        packed = {"none": None, "zstd": numcodecs.Zstd(), "gzip": numcodecs.GZip()}[codec]
    else:
        packed = {"none": None, "zstd": codecs.ZstdCodec(), "gzip": codecs.GzipCodec()}[codec]
    array = zarr.create_array(
        str(tmp_path / "vol.zarr"),
        shape=values.shape,
        chunks=(2, 3, 4),
        dtype=values.dtype,
        compressors=packed,
        zarr_format=version,
    )
    array[:] = values
    found = registry.get("zarr").read([tmp_path / "vol.zarr"])
    assert np.array_equal(found.voxels(), values)


def test_numpy_reads_an_npz(tmp_path: pathlib.Path) -> None:
    made = images.made("time", dtype="<u2", slope=2.0)
    (path,) = registry.get("npz").write(made, tmp_path / "vol", {}).paths
    with np.load(path, allow_pickle=False) as found:
        assert np.array_equal(found["voxels"], made.voxels())
        assert made.geometry is not None
        np.testing.assert_allclose(found["affine"], made.geometry.scanner)


def test_what_numpy_wrote_is_read(tmp_path: pathlib.Path) -> None:
    values = np.arange(60.0).reshape(3, 4, 5)
    np.savez_compressed(tmp_path / "vol.npz", only=values)
    found = registry.get("npz").read([tmp_path / "vol.npz"])
    assert np.array_equal(found.voxels(), values)


def test_a_metaimage_stands_as_its_documentation_says(tmp_path: pathlib.Path) -> None:
    made = images.made("time")
    (path,) = registry.get("metaimage").write(made, tmp_path / "vol", {}).paths
    raw = path.read_bytes()
    head, _, data = raw.partition(b"ElementDataFile = LOCAL\n")
    fields = dict(line.split(" = ") for line in head.decode().splitlines())
    assert fields["DimSize"] == "5 3 4 3"
    assert fields["ElementType"] == "MET_SHORT"
    values = struct.unpack(f"<{5 * 3 * 4 * 3}h", data)
    assert list(values) == made.voxels().ravel().tolist()
    # a column of the matrix as it is read by lines is the direction of an axis: x' = M^T (index * spacing)
    matrix = np.array(fields["TransformMatrix"].split(), dtype=float).reshape(4, 4)
    spacing = np.array(fields["ElementSpacing"].split(), dtype=float)
    offset = np.array(fields["Offset"].split(), dtype=float)
    index = np.array([4, 2, 3, 1])
    assert made.geometry is not None
    np.testing.assert_allclose((matrix.T @ (index * spacing) + offset)[:3], made.geometry.at(3, 2, 4))


def test_a_metaimage_of_listed_slices_is_read(tmp_path: pathlib.Path) -> None:
    for number in range(3):
        (tmp_path / f"s{number}.raw").write_bytes(b"junk" + bytes([number] * 20))
    lines = ["NDims = 3", "DimSize = 5 4 3", "ElementType = MET_UCHAR", "ElementSpacing = 1 1 2"]
    listed = [*lines, "ElementDataFile = LIST", *(f"s{number}.raw" for number in range(3))]
    (tmp_path / "list.mhd").write_text("\n".join(listed) + "\n")
    pattern = [*lines, "ElementDataFile = s%d.raw 0 2 1"]
    (tmp_path / "pattern.mhd").write_text("\n".join(pattern) + "\n")
    for name in ("list.mhd", "pattern.mhd"):
        found = registry.get("metaimage").read([tmp_path / name])
        assert found.voxels()[:, 0, 0].tolist() == [0, 1, 2]
