"""Zarr: a folder of chunks, one for each slice, as OME-Zarr 0.5 (version 3) has them.

The group's metadata says axes, units and spacing in OME's words, and everything else in ours; versions 2
and 3 are read, uncompressed or with gzip, zlib or zstd, in C order.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import pathlib
import shutil
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from node import errors
from node.formats import axes, base, described, whole
from node.volume import image

Array = np.ndarray[Any, np.dtype[Any]]

_OME_UNITS = {"mm": "millimeter", "s": "second", "ms": "millisecond"}
_MOST_HEADER = 1 << 24
_MOST_CHUNKS = 1 << 22
_LEVEL = 2


class Zarr:
    """`zarr`."""

    name = "zarr"
    suffixes = (".zarr",)
    about = "Zarr, version 3, with OME's metadata (a folder .zarr, one chunk a slice); voxels as stored"

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
        path = target.with_name(target.name + ".zarr")
        temporary = path.with_name(f".{path.name}.{os.urandom(4).hex()}.new")
        compressed = options.get("compress") == "yes"
        try:
            (temporary / "0").mkdir(parents=True)
            _save(temporary / "zarr.json", _group(made, path.name))
            _save(temporary / "0" / "zarr.json", _array(made, compressed=compressed))
            _chunks(temporary / "0" / "c", made, progress, compressed=compressed)
            if path.exists():
                _replace(temporary, path)
            else:
                temporary.rename(path)
        except OSError as error:
            raise whole.failed(path, error) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return base.Written((path,))

    def read(self, paths: Sequence[pathlib.Path]) -> image.Image:
        """Read one image: the array itself, or the first one of a group."""
        path = paths[0]
        group = _metadata(path)
        folder, told = (path, group) if "shape" in group else _member(path, group)
        stored = _Stored(folder, told)
        attributes = group.get("attributes")
        header = attributes.get("dicom_node") if isinstance(attributes, Mapping) else None
        return described.image_of(
            str(path), header, stored.shape, stored.dtype.newbyteorder("<"), stored.voxels
        )


def _save(path: pathlib.Path, told: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(told, indent=1))


def _replace(temporary: pathlib.Path, path: pathlib.Path) -> None:
    """Put the new folder where another stands; the other one is not gone before."""
    old = temporary.with_name(temporary.name + ".old")
    path.rename(old)
    temporary.rename(path)
    shutil.rmtree(old, ignore_errors=True)


def _group(made: image.Image, name: str) -> dict[str, Any]:
    kinds = {"time": "time", "slice": "space", "row": "space", "column": "space", "rgb": "channel"}
    told, scale, start = [], [], []
    for axis in made.axes:
        one = {"name": axis.name, "type": kinds.get(axis.name, "other")}
        if axis.unit in _OME_UNITS:
            one["unit"] = _OME_UNITS[axis.unit]
        told.append(one)
        scale.append(1.0 if axis.name == "rgb" else abs(axes.step(axis)))
        start.append(0.0 if kinds.get(axis.name) in ("space", "channel") else axes.first(axis))
    steps: list[dict[str, Any]] = [{"type": "scale", "scale": scale}]
    if any(start):
        steps.append({"type": "translation", "translation": start})
    multiscales = [
        {"name": name, "axes": told, "datasets": [{"path": "0", "coordinateTransformations": steps}]}
    ]
    return {
        "zarr_format": 3,
        "node_type": "group",
        "attributes": {
            "ome": {"version": "0.5", "multiscales": multiscales},
            "dicom_node": described.told(made),
        },
    }


def _array(made: image.Image, *, compressed: bool) -> dict[str, Any]:
    frame = 2 + made.colour
    codecs: list[dict[str, Any]] = [{"name": "bytes", "configuration": {"endian": "little"}}]
    if made.dtype.itemsize == 1:
        codecs = [{"name": "bytes"}]
    if compressed:
        codecs.append({"name": "gzip", "configuration": {"level": _LEVEL}})
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(made.shape),
        "data_type": made.dtype.name,
        "chunk_grid": {
            "name": "regular",
            "configuration": {"chunk_shape": [*[1] * (len(made.shape) - frame), *made.shape[-frame:]]},
        },
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0,
        "codecs": codecs,
        "dimension_names": [axis.name for axis in made.axes],
        "attributes": {},
    }


def _chunks(
    folder: pathlib.Path, made: image.Image, progress: base.Progress | None, *, compressed: bool
) -> None:
    voxels = np.ascontiguousarray(made.voxels())
    places = list(np.ndindex(voxels.shape[: -2 - made.colour]))
    rest = ["0"] * (2 + made.colour)
    for number, place in enumerate(places, 1):
        chunk = voxels[place].tobytes()
        if compressed:
            stream = zlib.compressobj(_LEVEL, zlib.DEFLATED, 31)
            chunk = stream.compress(chunk) + stream.flush()
        path = folder.joinpath(*map(str, place), *rest)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(chunk)
        if progress is not None:
            progress(number, len(places), "slices")


def _metadata(folder: pathlib.Path) -> dict[str, Any]:
    """What zarr.json says, or .zarray, or .zgroup with .zattrs."""
    for name in ("zarr.json", ".zarray", ".zgroup"):
        path = folder / name
        if path.is_file():
            found = described.parsed(str(path), _bytes(path))
            if not isinstance(found, dict):
                raise errors.BadData(f"{path} is no object")
            if name == ".zgroup" and (folder / ".zattrs").is_file():
                found["attributes"] = described.parsed(str(folder / ".zattrs"), _bytes(folder / ".zattrs"))
            return found
    raise errors.BadData(f"{folder} is no Zarr: it has neither zarr.json nor .zarray nor .zgroup")


def _bytes(path: pathlib.Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MOST_HEADER)
    except OSError as error:
        raise errors.BadData(f"{path} cannot be read ({error.strerror or error})") from error


def _member(path: pathlib.Path, group: Mapping[str, Any]) -> tuple[pathlib.Path, dict[str, Any]]:
    """The first array of a group, as OME names it or by name; never out of the folder."""
    named = []
    try:
        attributes = group["attributes"]
        multiscales = attributes.get("ome", attributes)["multiscales"]
        named = [str(multiscales[0]["datasets"][0]["path"])]
    except (KeyError, IndexError, TypeError, AttributeError):
        named = sorted(child.name for child in path.iterdir() if child.is_dir())[:100]
    for name in named:
        if name in ("", ".", "..") or os.path.basename(name) != name or "\0" in name:
            raise errors.BadData(
                f"{path} names {name[:80]!r} for its array, which is no part of its own folder"
            )
        if (path / name / "zarr.json").is_file() or (path / name / ".zarray").is_file():
            return path / name, _metadata(path / name)
    raise errors.BadData(f"{path} is a group in which no array was found")


class _Stored:
    """An array in chunks."""

    def __init__(self, folder: pathlib.Path, told: Mapping[str, Any]) -> None:
        self._folder = folder
        try:
            old = told.get("zarr_format") == 2
            self.shape = tuple(map(int, told["shape"]))
            self.dtype = np.dtype(told["dtype"] if old else told["data_type"])
            chunk = told["chunks"] if old else told["chunk_grid"]["configuration"]["chunk_shape"]
            self._chunk = tuple(map(int, chunk))
            self._fill = told.get("fill_value") or 0
            self._codecs = _codecs_2(told) if old else _codecs_3(told)
            if old:
                self._separator, self._prefix = str(told.get("dimension_separator", ".")), ""
            else:
                keys = told.get("chunk_key_encoding", {})
                default = keys.get("name", "default") == "default"
                separator = keys.get("configuration", {}).get("separator", "/" if default else ".")
                self._separator, self._prefix = str(separator), f"c{separator}" if default else ""
            self._fill = self.dtype.type(float(self._fill) if self.dtype.kind == "f" else int(self._fill))
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise errors.BadData(f"{folder}: its metadata cannot be understood ({error})") from error
        if self.dtype.kind not in "iuf" or self._separator not in ("/", "."):
            raise errors.BadData(f"{folder}: an array of {self.dtype} is not read here")
        axes.checked(str(folder), self.shape, self.dtype, None)
        axes.checked(str(folder), self._chunk, self.dtype, axes.MOST_READ, what="one chunk")
        counts = [math.ceil(n / c) for n, c in zip(self.shape, self._chunk, strict=False)]
        if len(self._chunk) != len(self.shape) or math.prod(counts) > _MOST_CHUNKS:
            raise errors.BadData(f"{folder}: {math.prod(counts)} chunks for {len(self.shape)} dimensions")
        self._counts = counts
        # What says that it is large must have brought something: an empty folder is no terabyte of zeros.
        there = sum(1 for _ in itertools.islice(folder.rglob("*"), 10_000))
        if math.prod(self.shape) * self.dtype.itemsize > axes.MOST_READ and there < 2:
            raise errors.BadData(f"{folder}: there are no chunks")

    def voxels(self) -> Array:
        """All of it."""
        out = np.full(self.shape, self._fill, self.dtype.newbyteorder("<"))
        for at in itertools.product(*map(range, self._counts)):
            path = self._folder / (self._prefix + self._separator.join(map(str, at)))
            try:
                raw = path.read_bytes()
            except FileNotFoundError:
                continue  # it holds nothing but the fill value
            except OSError as error:
                raise errors.BadData(f"{path} cannot be read ({error.strerror or error})") from error
            chunk = self._decoded(path, raw)
            place = tuple(
                slice(one * size, min((one + 1) * size, full))
                for one, size, full in zip(at, self._chunk, self.shape, strict=True)
            )
            out[place] = chunk[tuple(slice(0, part.stop - part.start) for part in place)]
        return out

    def _decoded(self, path: pathlib.Path, raw: bytes) -> Array:
        need = math.prod(self._chunk) * self.dtype.itemsize
        for codec in reversed(self._codecs):
            raw = _unpacked(path, codec, raw, need)
        if len(raw) != need:
            raise errors.BadData(f"{path} holds {len(raw)} bytes, and its array says {need}")
        return np.frombuffer(raw, self.dtype).reshape(self._chunk)


def _codecs_3(told: Mapping[str, Any]) -> list[str]:
    names = [str(codec["name"]) for codec in told.get("codecs", [])]
    endian = next(
        (c.get("configuration", {}).get("endian") for c in told["codecs"] if c["name"] == "bytes"), None
    )
    if endian == "big" or names[:1] != ["bytes"]:
        raise ValueError(f"the codecs {', '.join(names)[:60]} are not read here")
    return _known(names[1:])


def _codecs_2(told: Mapping[str, Any]) -> list[str]:
    if told.get("order", "C") != "C" or told.get("filters"):
        raise ValueError("filters and Fortran's order are not read here")
    compressor = told.get("compressor")
    return _known([str(compressor["id"])] if compressor else [])


def _known(names: list[str]) -> list[str]:
    for name in names:
        if name not in ("gzip", "zlib", "zstd"):
            raise ValueError(f"the codec {name[:40]!r} is not read here: gzip, zlib and zstd are")
    return names


def _unpacked(path: pathlib.Path, codec: str, raw: bytes, need: int) -> bytes:
    try:
        if codec == "zstd":
            from imagecodecs import zstd_decode

            return bytes(zstd_decode(raw, out=need))
        stream = zlib.decompressobj(31 if codec == "gzip" else zlib.MAX_WBITS)
        return stream.decompress(raw, need + 1)
    except (zlib.error, RuntimeError, ValueError) as error:
        raise errors.BadData(f"{path} cannot be unpacked ({error})") from error


FORMAT: base.Format = Zarr()
