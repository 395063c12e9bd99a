"""npz: what `numpy.load` reads: `voxels`, `affine`, and the header as `header.json`; nothing is pickled."""

from __future__ import annotations

import io
import json
import pathlib
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from node import errors
from node.formats import axes, base, described, whole
from node.volume import image

Array = np.ndarray[Any, np.dtype[Any]]

_VOXELS, _AFFINE, _HEADER = "voxels.npy", "affine.npy", "header.json"
_MOST_HEADER = 1 << 24
# What zipfile and numpy raise over archives that lie.
_BROKEN = (OSError, EOFError, RuntimeError, ValueError, NotImplementedError, zipfile.BadZipFile, zlib.error)


class Npz:
    """`npz`."""

    name = "npz"
    suffixes = (".npz",)
    about = "numpy (.npz): voxels as stored, affine, header.json with axes, slope and intercept"

    def check(self, options: Mapping[str, str]) -> str | None:
        """What is wrong with options: compress=yes."""
        return axes.wrong(options, self.name, {"compress": ("yes", "no")})

    def write(
        self,
        made: image.Image,
        target: pathlib.Path,
        options: Mapping[str, str],
        progress: base.Progress | None = None,
    ) -> base.Written:
        """Write one image."""
        path = target.with_name(target.name + ".npz")
        packed = zipfile.ZIP_DEFLATED if options.get("compress") == "yes" else zipfile.ZIP_STORED
        affine = io.BytesIO()
        npy.write_array(affine, axes.grid(made).scanner, allow_pickle=False)
        with (
            whole.whole(path) as descriptor,
            open(descriptor, "wb", closefd=False) as file,
            zipfile.ZipFile(file, "w", packed, compresslevel=2) as archive,
        ):
            # The header first: who only wants to know what is in it need not pass the voxels.
            archive.writestr(_HEADER, json.dumps(described.told(made), indent=1))
            archive.writestr(_AFFINE, affine.getvalue())
            with archive.open(_VOXELS, "w", force_zip64=True) as out:
                _write(out, made, progress)
        return base.Written((path,))

    def read(self, paths: Sequence[pathlib.Path]) -> image.Image:
        """Read one image; of another's npz `voxels`, or its only array."""
        path = paths[0]
        try:
            with zipfile.ZipFile(path) as archive:
                name = _chosen(path, archive)
                header: object = {}
                if _HEADER in archive.namelist():
                    with archive.open(_HEADER) as file:
                        header = described.parsed(str(path), file.read(_MOST_HEADER))
                with archive.open(name) as file:
                    shape, fortran, dtype = _head(file)
                size = archive.getinfo(name).file_size
        except _BROKEN as error:
            raise errors.BadData(f"{path} is no npz that can be read ({error})") from error
        if dtype.kind not in "iuf" or fortran:
            raise errors.BadData(f"{path}: {name} holds no numbers in C order")
        axes.checked(str(path), shape, dtype, size)

        def voxels() -> Array:
            try:
                with zipfile.ZipFile(path) as archive, archive.open(name) as file:
                    _head(file)
                    out = np.empty(shape, dtype)
                    _fill(path, file, out)
            except _BROKEN as error:
                raise errors.BadData(f"{path} cannot be read ({error})") from error
            return out.astype(dtype.newbyteorder("<"), copy=False)

        return described.image_of(str(path), header, shape, dtype.newbyteorder("<"), voxels)


def _write(out: IO[bytes], made: image.Image, progress: base.Progress | None) -> None:
    head = {"descr": npy.dtype_to_descr(made.dtype), "fortran_order": False, "shape": made.shape}
    npy.write_array_header_1_0(out, head)
    voxels = np.ascontiguousarray(made.voxels())
    flat = voxels.reshape(-1, *voxels.shape[-2 - made.colour :])
    for number, frame in enumerate(flat, 1):
        out.write(frame.data.cast("B"))
        if progress is not None:
            progress(number, len(flat), "slices")


def _chosen(path: pathlib.Path, archive: zipfile.ZipFile) -> str:
    names = [name for name in archive.namelist() if name.endswith(".npy")]
    if _VOXELS in names:
        return _VOXELS
    if len(names) != 1:
        raise errors.BadData(f"{path} has {len(names)} arrays and none is called voxels")
    return names[0]


def _head(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = npy.read_magic(file)
    if version == (1, 0):
        return npy.read_array_header_1_0(file)
    if version == (2, 0):
        return npy.read_array_header_2_0(file)
    raise ValueError(f"an array of version {version}")


def _fill(path: pathlib.Path, file: IO[bytes], out: Array) -> None:
    room = out.data.cast("B")
    place = 0
    while place < len(room):
        part = file.read(min(1 << 22, len(room) - place))
        if not part:
            raise errors.BadData(f"{path}: its voxels end after {place} of {len(room)} bytes")
        room[place : place + len(part)] = part
        place += len(part)


FORMAT: base.Format = Npz()
