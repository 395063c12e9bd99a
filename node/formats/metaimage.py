"""MetaImage: a header of lines and raw voxels, in one file (.mha) or in two (.mhd and .raw).

It knows the patient's coordinates as DICOM has them (LPS), any number of dimensions and channels, and no
rescaling: what is written are real values. Names, values and units of further axes go into fields of our own,
which other readers pass over.
"""

from __future__ import annotations

import math
import pathlib
import re
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from node import errors
from node.formats import axes, base, raw, whole
from node.loading import spans
from node.volume import geometry, image, stack

Array = np.ndarray[Any, np.dtype[Any]]

_TYPES = {
    "MET_UCHAR": "u1",
    "MET_CHAR": "i1",
    "MET_USHORT": "u2",
    "MET_SHORT": "i2",
    "MET_UINT": "u4",
    "MET_INT": "i4",
    "MET_ULONG_LONG": "u8",
    "MET_LONG_LONG": "i8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
_NAMES = {code: name for name, code in _TYPES.items()}
_MOST_HEADER = 1 << 20  # bytes; the longest are lists of b values
_MOST_FILES = 1 << 16  # of a LIST


class MetaImage:
    """`metaimage`."""

    name = "metaimage"
    suffixes = (".mha", ".mhd")
    about = "MetaImage (.mha, or .mhd with .raw), as ITK, 3D Slicer and elastix read it; real values"

    def check(self, options: Mapping[str, str]) -> str | None:
        """What is wrong with options: suffix=.mhd, compress=yes."""
        return axes.wrong(options, self.name, {"suffix": self.suffixes, "compress": ("yes", "no")})

    def write(
        self,
        made: image.Image,
        target: pathlib.Path,
        options: Mapping[str, str],
        progress: base.Progress | None = None,
    ) -> base.Written:
        """Write one image."""
        real = axes.real(made)
        packed = None
        if options.get("compress") == "yes":
            packed = zlib.compress(np.ascontiguousarray(real.voxels()).data, 2)
        suffix = options.get("suffix", ".mha")
        apart = None
        if suffix != ".mha":
            apart = target.with_name(target.name + (".raw" if packed is None else ".zraw"))
        data = "LOCAL" if apart is None else apart.name
        lines = _header(real, data, None if packed is None else len(packed))
        head = "".join(f"{name} = {value}\n" for name, value in lines).encode()

        def put(file: int, offset: int) -> None:
            if packed is None:
                spans.copy(file, offset, real, progress)
            else:
                whole.write(file, packed)

        paths = whole.headed(target.with_name(target.name + suffix), head, apart, put)
        return base.Written(paths, axes.lost(made, kept=lambda _: True))

    def read(self, paths: Sequence[pathlib.Path]) -> image.Image:
        """Read one image; of several paths the header's counts."""
        path = next((one for one in paths if one.suffix.lower() in self.suffixes), paths[0])
        fields, end = _fields(path)
        return _image(path, fields, end)


def _header(made: image.Image, data: str, packed: int | None) -> list[tuple[str, str]]:
    extra = axes.leading(made)[::-1]  # its dimensions count from the fastest
    count = 3 + len(extra)
    where = axes.grid(made)
    matrix = np.eye(count)
    for at, (vector, length) in enumerate(
        zip((where.column, where.row, where.slice), reversed(where.spacing), strict=True)
    ):
        matrix[at, :3] = np.asarray(vector) / length
    sizes = [made.shape[::-1][made.colour :][at] for at in range(count)]
    lines = [
        ("ObjectType", "Image"),
        ("NDims", str(count)),
        ("BinaryData", "True"),
        ("BinaryDataByteOrderMSB", "False"),
        ("CompressedData", str(packed is not None)),
    ]
    if packed is not None:
        lines.append(("CompressedDataSize", str(packed)))
    lines += [
        ("TransformMatrix", _numbers(matrix.ravel())),
        ("Offset", _numbers([*where.origin, *map(axes.first, extra)])),
        ("CenterOfRotation", _numbers([0] * count)),
    ]
    if made.geometry is not None and not _sheared(made.geometry):
        lines.append(("AnatomicalOrientation", _letters(made.geometry)))
    lines += [
        ("ElementSpacing", _numbers([*reversed(where.spacing), *(abs(axes.step(one)) for one in extra)])),
        ("DimSize", " ".join(map(str, sizes))),
    ]
    for at, axis in enumerate(extra, 3):
        lines += [(f"AxisName{at}", axis.name), (f"AxisUnit{at}", axis.unit or "none")]
        lines.append((f"AxisValues{at}", _numbers(axis.values)))
    if made.colour:
        lines.append(("ElementNumberOfChannels", "3"))
    lines += [("ElementType", _element_type(made.dtype)), ("ElementDataFile", data)]
    return lines


def _element_type(dtype: np.dtype[Any]) -> str:
    name = _NAMES.get(f"{dtype.kind}{dtype.itemsize}")
    if name is None:
        raise errors.UsageError(f"MetaImage holds no voxels of type {dtype}")
    return name


def _numbers(values: Any) -> str:
    return " ".join(f"{float(value) + 0.0:.17g}" for value in values)


def _sheared(where: geometry.Geometry) -> bool:
    return (
        abs(abs(float(np.dot(np.cross(where.column, where.row), where.slice))) / math.prod(where.spacing) - 1)
        > 1e-4
    )


def _letters(where: geometry.Geometry) -> str:
    """Where each axis comes from, nearest letter: RAI is a head first scan in axial slices."""
    made = ""
    for vector in (where.column, where.row, where.slice):
        at = int(np.argmax(np.abs(vector)))
        made += ("RL", "AP", "IS")[at][vector[at] < 0]
    return made


def _fields(path: pathlib.Path) -> tuple[dict[str, str], int]:
    """The header's fields, and where the voxels begin if they are in the same file."""
    try:
        with path.open("rb") as file:
            head = file.read(_MOST_HEADER)
    except OSError as error:
        raise errors.BadData(f"{path} cannot be read ({error.strerror or error})") from error
    fields: dict[str, str] = {}
    place = 0
    while place < len(head):
        end = head.find(b"\n", place)
        if end < 0:
            break
        name, sign, value = head[place:end].decode("latin-1").partition("=")
        place = end + 1
        if not sign:
            break
        fields[name.strip()] = value.strip()
        if name.strip() == "ElementDataFile":
            return fields, place
    raise errors.BadData(f"{path} is no MetaImage: it has no line ElementDataFile")


def _image(path: pathlib.Path, fields: Mapping[str, str], end: int) -> image.Image:
    where = str(path)
    sizes = _whole(where, fields, "DimSize")
    count = len(sizes)
    if not 2 <= count <= 6:
        raise errors.BadData(f"{where}: {count} dimensions, where 2 to 6 can be")
    channels = _whole(where, fields, "ElementNumberOfChannels", (1,))[0]
    if channels not in (1, 3):
        raise errors.BadData(f"{where}: {channels} channels; one can be read, or three of colour")
    code = _TYPES.get(fields.get("ElementType", "").removesuffix("_ARRAY"))
    if code is None:
        raise errors.BadData(
            f"{where}: ElementType {fields.get('ElementType', '')[:40]!r} is none that is known"
        )
    big = _said(fields, "BinaryDataByteOrderMSB", "ElementByteOrderMSB")
    dtype = np.dtype(f"{'>' if big else '<'}{code}")
    if fields.get("BinaryData", "True").lower() == "false":
        raise errors.BadData(f"{where}: its voxels are written as text, which is not read here")
    shape = [*([1] if count == 2 else []), *reversed(sizes), *([3] if channels == 3 else [])]
    found = _geometry(where, fields, count)
    extra = [_axis(where, fields, at, sizes[at]) for at in range(count - 1, 2, -1)]
    axes.checked(where, shape, dtype, None)
    frames = math.prod(shape[: len(extra) + 1])
    if _said(fields, "CompressedData"):
        source, start = _data(path, fields, end)
        load, places = raw.loader(source, start, zlib.MAX_WBITS, shape, dtype), None
    else:
        told = _raw(path, fields, end, tuple(shape), dtype)
        load, places = told.voxels, told.spans(frames)
    return image.Image(
        shape=tuple(shape),
        dtype=dtype.newbyteorder("<"),
        axes=axes.of(shape, found, extra, colour=channels == 3),
        geometry=found,
        slope=1.0,
        intercept=0.0,
        unit="",
        voxels=load,
        spans=places,
    )


def _raw(
    path: pathlib.Path, fields: Mapping[str, str], end: int, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> raw.Raw:
    named = fields["ElementDataFile"]
    if named.split()[:1] == ["LIST"]:
        with path.open("rb") as file:
            file.seek(end)
            names = file.read(_MOST_HEADER).decode("latin-1").splitlines()
        return _parts(path, [name.strip() for name in names if name.strip()], shape, dtype)
    if "%" in named:
        return _parts(path, _pattern(path, named, shape), shape, dtype)
    source, start = _data(path, fields, end)
    return raw.Raw((source,), start, shape, dtype)


def _parts(path: pathlib.Path, names: Sequence[str], shape: tuple[int, ...], dtype: np.dtype[Any]) -> raw.Raw:
    frames = math.prod(shape) // math.prod(shape[-2:])
    if not 0 < len(names) <= _MOST_FILES or frames % len(names):
        raise errors.BadData(f"{path} lists {len(names)} files for {frames} slices")
    return raw.Raw(tuple(raw.sibling(path, name) for name in names), -1, shape, dtype)


def _pattern(path: pathlib.Path, named: str, shape: tuple[int, ...]) -> list[str]:
    """The names that a pattern of printf with first, last and step stands for."""
    words = named.split()
    found = re.fullmatch(r"([^%]*)%(0?)(\d{0,2})d([^%]*)", words[0])
    numbers = [int(word) for word in words[1:4] if word.isdecimal() and len(word) < 8]
    if found is None or len(numbers) != len(words) - 1:
        raise errors.BadData(f"{path}: ElementDataFile = {named[:80]!r} is no pattern that can be read")
    first, last, step = [*numbers, *(1, shape[-3], 1)[len(numbers) :]]
    if not step or not 0 <= last - first < _MOST_FILES * step:
        raise errors.BadData(f"{path}: ElementDataFile = {named[:80]!r} stands for no files")
    before, zero, width, after = found.groups()
    return [f"{before}{number:{zero}{width}d}{after}" for number in range(first, last + 1, step)]


def _data(path: pathlib.Path, fields: Mapping[str, str], end: int) -> tuple[pathlib.Path, int]:
    """The file with the voxels, and where they begin."""
    named = fields["ElementDataFile"]
    if named.upper() == "LOCAL":
        return path, end
    (skipped,) = _whole(str(path), fields, "HeaderSize", (0,))[:1]
    return raw.sibling(path, named), skipped


def _geometry(where: str, fields: Mapping[str, str], count: int) -> geometry.Geometry | None:
    spacing = _floats(where, fields, "ElementSpacing", "ElementSize", count=count, default=[1.0] * count)
    offset = _floats(where, fields, "Offset", "Position", "Origin", count=count, default=[0.0] * count)
    matrix = _floats(
        where,
        fields,
        "TransformMatrix",
        "Rotation",
        "Orientation",
        count=count**2,
        default=list(np.eye(count).flat),
    )
    turned = np.eye(3)
    turned[: min(count, 3), : min(count, 3)] = np.reshape(matrix, (count, count))[:3, :3]
    steps = [*(abs(value) for value in spacing[:3]), 1.0][:3]
    if not all(steps) or abs(np.linalg.det(turned)) < 1e-6:
        raise errors.BadData(f"{where}: its spacing and its matrix span no volume")
    columns, rows, slices = (tuple(map(float, turned[at] * steps[at])) for at in range(3))
    return geometry.Geometry(tuple([*offset[:3], 0.0][:3]), columns, rows, slices)  # type: ignore[arg-type]


def _axis(where: str, fields: Mapping[str, str], at: int, count: int) -> stack.Axis:
    name = fields.get(f"AxisName{at}", "time" if at == 3 else f"axis{at}")
    if f"AxisValues{at}" in fields:
        values = _floats(where, fields, f"AxisValues{at}", count=count, default=[])
        unit = fields.get(f"AxisUnit{at}", "")
        return stack.Axis(name, np.asarray(values), "" if unit == "none" else unit)
    spacing = _floats(where, fields, "ElementSpacing", count=at + 1, default=[1.0] * (at + 1))[at]
    offset = _floats(where, fields, "Offset", count=at + 1, default=[0.0] * (at + 1))[at]
    return stack.Axis(name, offset + spacing * np.arange(count), axes.unit(name))


def _said(fields: Mapping[str, str], *names: str) -> bool:
    return any(fields.get(name, "").lower() == "true" for name in names)


def _whole(
    where: str, fields: Mapping[str, str], name: str, default: tuple[int, ...] | None = None
) -> tuple[int, ...]:
    words = fields.get(name, "").split()
    if not words and default is not None:
        return default
    if not words or not all(re.fullmatch(r"-?\d{1,9}", word) for word in words):
        raise errors.BadData(f"{where}: {name} = {fields.get(name, '')[:40]!r} is no list of whole numbers")
    return tuple(map(int, words))


def _floats(
    where: str, fields: Mapping[str, str], *names: str, count: int, default: list[float]
) -> list[float]:
    name = next((one for one in names if one in fields), None)
    if name is None:
        return default
    try:
        found = [float(word) for word in fields[name].split()]
    except ValueError:
        found = []
    if len(found) < count:
        raise errors.BadData(f"{where}: {name} = {fields[name][:60]!r} is no list of {count} numbers")
    axes.finite(where, name, found)
    return found[:count]


FORMAT: base.Format = MetaImage()
