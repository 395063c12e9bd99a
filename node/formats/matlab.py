"""Matlab files of level 5 (`save -v6`, `-v7`): arrays and one struct, written and read by hand.

The variable `img` holds real values as (row, column, slice, ...), as Matlab shows images; `info` is a struct
with the affine, spacing, axes and units. By hand, because the one package that knows the format is a hundred
megabytes, and the part of the format that is needed is two pages.
"""

from __future__ import annotations

import dataclasses
import math
import pathlib
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from node import errors
from node.formats import axes, base, whole
from node.volume import image, stack

Array = np.ndarray[Any, np.dtype[Any]]

_MATRIX, _COMPRESSED, _INT8, _UINT16, _INT32, _UINT32, _UTF8 = 14, 15, 1, 4, 5, 6, 16
_STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_STORES = {code: kind for kind, code in _STORED.items()}
_CLASSES = {"f8": 6, "f4": 7, "i1": 8, "u1": 9, "i2": 10, "u2": 11, "i4": 12, "u4": 13, "i8": 14, "u8": 15}
_OF_CLASS = {kind: code for code, kind in _CLASSES.items()}
_STRUCT, _CHAR = 2, 4
_MOST = (1 << 31) - 1  # bytes of one variable
_NAME = 32  # bytes of a field's name
_SMALL = 1 << 24  # bytes of what is no image: a struct, a name


class Matlab:
    """`matlab`."""

    name = "matlab"
    suffixes = (".mat",)
    about = "Matlab (.mat, level 5): img as (row, column, slice, ...) in real values, and a struct info"

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
        real = axes.real(made)
        path = target.with_name(target.name + ".mat")
        code = f"{real.dtype.kind}{real.dtype.itemsize}"
        if code not in _CLASSES:
            raise errors.UsageError(f"Matlab holds no voxels of type {real.dtype}")
        if real.nbytes > _MOST - 4096:
            raise errors.UsageError(
                f"the volume has {real.nbytes} bytes, and a variable of a Matlab file of level 5 holds"
                " 2 GiB: take npz, zarr or nifti, or fewer volumes"
            )
        with whole.whole(path) as file:
            whole.write(file, _head(), _info(made, real))
            _image(file, real, code, progress, compressed=options.get("compress") == "yes")
        return base.Written((path,), axes.lost(made, kept=lambda _: True))

    def read(self, paths: Sequence[pathlib.Path]) -> image.Image:
        """Read one image: `img`, or the largest numeric variable of three or more dimensions."""
        path = paths[0]
        found = _variables(path)
        arrays = {
            name: one for name, one in found.items() if isinstance(one, _Numbers) and len(one.dims) >= 2
        }
        if not arrays:
            raise errors.BadData(f"{path}: it has no variable with numbers")
        chosen = arrays.get("img") or max(arrays.values(), key=lambda one: math.prod(one.dims))
        told = found.get("info")
        return _read(path, chosen, told if isinstance(told, dict) else {})


def _head() -> bytes:
    return b"MATLAB 5.0 MAT-file".ljust(116) + bytes(8) + struct.pack("<HH", 0x0100, 0x4D49)


def _element(kind: int, data: bytes) -> bytes:
    if 0 < len(data) <= 4:
        return struct.pack("<HH", kind, len(data)) + data.ljust(4, b"\0")
    return struct.pack("<II", kind, len(data)) + data + bytes(-len(data) % 8)


def _begin(matlab_class: int, dims: Sequence[int], name: str) -> bytes:
    """What stands before the values of an array."""
    return (
        _element(_UINT32, struct.pack("<II", matlab_class, 0))
        + _element(_INT32, struct.pack(f"<{len(dims)}i", *dims))
        + _element(_INT8, name.encode())
    )


def _array(values: Any, name: str = "") -> bytes:
    found = np.asarray(values, dtype="<f8")
    dims = found.shape if found.ndim > 1 else (1, found.size)
    body = _begin(_CLASSES["f8"], dims, name) + _element(_STORES["f8"], found.T.tobytes())
    return struct.pack("<II", _MATRIX, len(body)) + body


def _text(text: str, name: str = "") -> bytes:
    units = text.encode("utf-16-le")
    body = _begin(_CHAR, (1, len(units) // 2), name) + _element(_UINT16, units)
    return struct.pack("<II", _MATRIX, len(body)) + body


def _struct(fields: Mapping[str, bytes], name: str) -> bytes:
    body = _begin(_STRUCT, (1, 1), name) + _element(_INT32, struct.pack("<i", _NAME))
    body += _element(_INT8, b"".join(field.encode().ljust(_NAME, b"\0") for field in fields))
    body += b"".join(fields.values())
    return struct.pack("<II", _MATRIX, len(body)) + body


def _info(made: image.Image, real: image.Image) -> bytes:
    """The struct: the affine takes (column, row, slice, 1), counted from 0, to RAS."""
    fields = {"affine": _array(axes.grid(made).scanner), "spacing": _array(axes.grid(made).spacing)}
    fields["axes"] = _text(",".join(axis.name for axis in made.axes))
    fields["units"] = _text(",".join(axis.unit for axis in made.axes))
    fields["unit"] = _text(made.unit)
    for axis in axes.leading(made):
        fields[_identifier(axis.name)] = _array(axis.values)
    fields["placed"] = _array([made.geometry is not None])
    return _struct(fields, "info")


def _identifier(name: str) -> str:
    return "axis_" + "".join(char if char.isascii() and char.isalnum() else "_" for char in name)[:20]


def _image(
    file: int, real: image.Image, code: str, progress: base.Progress | None, *, compressed: bool
) -> None:
    frames, last = _frames(real)
    dims = [*real.shape[::-1]][real.colour :]
    dims[:2] = dims[1], dims[0]
    if real.colour:  # (row, column, 3, slice, ...), as Matlab has pictures
        dims.insert(2, 3)
    begin = _begin(_CLASSES[code], dims, "img") + struct.pack("<II", _STORES[code], real.nbytes)
    padding = bytes(-real.nbytes % 8)
    head = struct.pack("<II", _MATRIX, len(begin) + real.nbytes + len(padding)) + begin
    if not compressed:
        whole.write(file, head)
        for number, frame in enumerate(frames, 1):
            whole.write(file, frame)
            if progress is not None:
                progress(number, last, "slices")
        whole.write(file, padding)
        return
    stream = zlib.compressobj(2)
    packed = [stream.compress(head)]
    packed += [stream.compress(frame) for frame in frames]
    packed += [stream.compress(padding), stream.flush()]
    whole.write(file, struct.pack("<II", _COMPRESSED, sum(map(len, packed))), *packed)


def _frames(real: image.Image) -> tuple[Iterator[bytes], int]:
    """Each slice as Matlab has it: down a column first; and how many there are."""
    voxels = real.voxels()
    flat = voxels.reshape(-1, *voxels.shape[-2 - real.colour :])
    turned = (np.moveaxis(frame, -1, 0) if real.colour else frame for frame in flat)
    return (np.ascontiguousarray(np.swapaxes(frame, -1, -2)).tobytes() for frame in turned), len(flat)


@dataclasses.dataclass(frozen=True, slots=True)
class _Numbers:
    """A numeric array in the file's own order."""

    dims: tuple[int, ...]
    dtype: np.dtype[Any]  # of the class; what is stored may be narrower
    stored: np.dtype[Any]
    data: memoryview

    def array(self) -> Array:
        """It, in Fortran's order."""
        flat = np.frombuffer(self.data, self.stored).astype(self.dtype.newbyteorder("<"), copy=False)
        return flat.reshape(self.dims, order="F")


def _variables(path: pathlib.Path) -> dict[str, Any]:
    """Numbers, text and structs of the file by name; of compressed ones no more than the image may have."""
    try:
        with path.open("rb") as file:
            raw = memoryview(file.read(axes.MOST_READ))
    except OSError as error:
        raise errors.BadData(f"{path} cannot be read ({error.strerror or error})") from error
    if len(raw) < 128 or bytes(raw[126:128]) not in (b"IM", b"MI"):
        hint = "; it is of version 7.3: save it with -v7" if bytes(raw[:10]) == b"MATLAB 7.3" else ""
        raise errors.BadData(f"{path} is no Matlab file of level 5{hint}")
    order = "<" if bytes(raw[126:128]) == b"IM" else ">"
    found: dict[str, Any] = {}
    try:
        for outer, content in _elements(raw[128:], order):
            kind, data = outer, content
            if outer == _COMPRESSED:
                kind, data = next(_elements(memoryview(_inflated(path, content)), order), (0, content))
            if kind == _MATRIX:
                name, value = _matrix(data, order, depth=0)
                found.setdefault(name, value)
    except (struct.error, zlib.error, ValueError, StopIteration, IndexError) as error:
        raise errors.BadData(f"{path}: it is damaged ({error})") from error
    return found


def _inflated(path: pathlib.Path, data: memoryview) -> bytes:
    stream = zlib.decompressobj()
    made = stream.decompress(data, axes.MOST_READ)
    if stream.unconsumed_tail:
        raise errors.BadData(f"{path}: a variable unpacks to more than {axes.MOST_READ} bytes")
    return made


def _elements(raw: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    place = 0
    while place + 8 <= len(raw):
        kind, length = struct.unpack_from(order + "II", raw, place)
        if kind >> 16:  # a small one has its length in the upper half
            kind, length, start, step = kind & 0xFFFF, kind >> 16, place + 4, 8
        else:
            start = place + 8
            step = 8 + length + (0 if kind == _COMPRESSED else -length % 8)
        if start + length > len(raw):
            raise ValueError("an element is longer than what is there")
        yield kind, raw[start : start + length]
        place += step


def _matrix(data: memoryview, order: str, depth: int) -> tuple[str, Any]:
    """Name and value of an array: numbers, text, a struct as a dict, None of what else there is."""
    if depth > 8:
        raise ValueError("structs within structs, deeper than any that is known")
    parts = _elements(data, order)
    flags = struct.unpack_from(order + "I", next(parts)[1])[0]
    raw_dims = next(parts)[1]
    dims = struct.unpack_from(f"{order}{len(raw_dims) // 4}i", raw_dims)
    name = bytes(next(parts)[1]).decode("latin-1")
    if any(count < 0 for count in dims) or len(dims) > 8:
        raise ValueError(f"an array of {dims}")
    matlab_class = flags & 0xFF
    if matlab_class in _OF_CLASS and not flags & 0x800:
        kind, values = next(parts)
        stored = np.dtype(order + _STORED.get(kind, "V0")) if kind in _STORED else None
        if stored is None or math.prod(dims) * stored.itemsize != len(values):
            raise ValueError(f"{math.prod(dims)} numbers in {len(values)} bytes")
        return name, _Numbers(dims, np.dtype(_OF_CLASS[matlab_class]), stored, values)
    if matlab_class == _CHAR:
        kind, values = next(parts)
        coding = {_UINT16: "utf-16" + ("-le" if order == "<" else "-be"), _UTF8: "utf-8"}.get(kind, "latin-1")
        return name, bytes(values[:_SMALL]).decode(coding, "replace")
    if matlab_class == _STRUCT and math.prod(dims) == 1:
        width = struct.unpack_from(order + "i", next(parts)[1])[0]
        names = bytes(next(parts)[1])
        if width < 1:
            raise ValueError(f"names of {width} bytes")
        fields = [
            names[at : at + width].split(b"\0")[0].decode("latin-1") for at in range(0, len(names), width)
        ]
        members = [_matrix(part, order, depth + 1)[1] if len(part) else None for _, part in parts]
        return name, dict(zip(fields, members, strict=False))
    return name, None


def _read(path: pathlib.Path, chosen: _Numbers, info: Mapping[str, Any]) -> image.Image:
    names = info["axes"].split(",") if isinstance(info.get("axes"), str) else []
    colour = names[-1:] == ["rgb"]
    dims = list(chosen.dims)
    if colour and len(dims) > 2:
        dims.pop(2)
    count = max(len(names) - colour, len(dims), 3)
    dims += [1] * (count - len(dims))  # Matlab drops ones at the end
    shape = (*reversed(dims[2:]), dims[0], dims[1], *([3] if colour else []))
    axes.checked(str(path), shape, chosen.dtype, None)
    affine = info.get("affine")
    where = None
    if isinstance(affine, _Numbers) and affine.dims == (4, 4) and not _false(info.get("placed")):
        where = axes.placed(str(path), affine.array().astype(float))
    units = info["units"].split(",") if isinstance(info.get("units"), str) else []
    extra = []
    for at in range(count - 3):
        name = names[at] if at < len(names) else ("time" if at == count - 4 else f"axis{at}")
        told = info.get(_identifier(name))
        good = isinstance(told, _Numbers) and math.prod(told.dims) == shape[at]
        values = (
            told.array().ravel().astype(float) if good and told is not None else np.arange(float(shape[at]))
        )
        extra.append(stack.Axis(name, values, units[at] if at < len(units) else axes.unit(name)))

    def voxels() -> Array:
        found = chosen.array()
        if colour:
            found = np.moveaxis(found, 2, 0)  # rgb is the fastest again, once all is turned around
            found = found.reshape(3, dims[0], dims[1], *dims[2:], order="F")
            return np.ascontiguousarray(np.swapaxes(found, 1, 2).T)
        found = found.reshape(dims, order="F")
        return np.ascontiguousarray(np.swapaxes(found, 0, 1).T)

    return image.Image(
        shape=shape,
        dtype=chosen.dtype.newbyteorder("<"),
        axes=axes.of(shape, where, extra, colour=colour),
        geometry=where,
        slope=1.0,
        intercept=0.0,
        unit=info["unit"] if isinstance(info.get("unit"), str) else "",
        voxels=voxels,
    )


def _false(value: object) -> bool:
    return isinstance(value, _Numbers) and not value.array().any()


FORMAT: base.Format = Matlab()
