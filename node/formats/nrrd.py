"""NRRD: a header of lines, an empty line, raw voxels (.nrrd), or the voxels in a file beside it (.nhdr).

Geometry is the patient's as DICOM has it (`space: left-posterior-superior`). It knows no rescaling: what is
written are real values. A further axis has its name as its label, and its values in a field of our own.
"""

from __future__ import annotations

import math
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from node import errors
from node.formats import axes, base, gzipped, raw, whole
from node.loading import spans
from node.volume import geometry, image, stack

_TYPES = {
    "u1": ("uint8", "uchar", "unsigned char", "uint8_t"),
    "i1": ("int8", "signed char", "int8_t"),
    "u2": ("uint16", "ushort", "unsigned short", "unsigned short int", "uint16_t"),
    "i2": ("int16", "short", "short int", "signed short", "signed short int", "int16_t"),
    "u4": ("uint32", "uint", "unsigned int", "uint32_t"),
    "i4": ("int32", "int", "signed int", "int32_t"),
    "u8": ("uint64", "ulonglong", "unsigned long long", "uint64_t"),
    "i8": ("int64", "longlong", "long long", "signed long long", "int64_t"),
    "f4": ("float",),
    "f8": ("double",),
}
_CODES = {name: code for code, several in _TYPES.items() for name in several}
_SPACES = {  # how each turns into LPS
    "left-posterior-superior": (1, 1, 1),
    "lps": (1, 1, 1),
    "left-posterior-superior-time": (1, 1, 1),
    "lpst": (1, 1, 1),
    "right-anterior-superior": (-1, -1, 1),
    "ras": (-1, -1, 1),
    "left-anterior-superior": (1, -1, 1),
    "las": (1, -1, 1),
}
_MOST_HEADER = 1 << 20
_MOST_FILES = 1 << 16
_VECTOR = re.compile(r"none|\(([^()]*)\)")
_RGB = ("rgb-color", "rgb-colour", "3-color", "vector", "3-vector")


class Nrrd:
    """`nrrd`."""

    name = "nrrd"
    suffixes = (".nrrd", ".nhdr")
    about = "NRRD (.nrrd, or .nhdr with .raw), as 3D Slicer reads it; real values"

    def check(self, options: Mapping[str, str]) -> str | None:
        """What is wrong with options: suffix=.nhdr, compress=yes."""
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
        compressed = options.get("compress") == "yes"
        suffix = options.get("suffix", ".nrrd")
        apart = None
        if suffix != ".nrrd":
            apart = target.with_name(target.name + (".raw.gz" if compressed else ".raw"))
        lines = _header(real, compressed=compressed, data=None if apart is None else apart.name)

        def put(file: int, offset: int) -> None:
            if compressed:
                found = np.ascontiguousarray(real.voxels())
                gzipped.write(file, [found.reshape(-1).view(np.uint8).data])
            else:
                spans.copy(file, offset, real, progress)

        head = ("\n".join(lines) + "\n\n").encode()
        paths = whole.headed(target.with_name(target.name + suffix), head, apart, put)
        return base.Written(paths, axes.lost(made, kept=lambda _: True))

    def read(self, paths: Sequence[pathlib.Path]) -> image.Image:
        """Read one image; of several paths the header's counts."""
        path = next((one for one in paths if one.suffix.lower() in self.suffixes), paths[0])
        return _read(path)


def _header(made: image.Image, *, compressed: bool, data: str | None) -> list[str]:
    code = f"{made.dtype.kind}{made.dtype.itemsize}"
    if code not in _TYPES:
        raise errors.UsageError(f"NRRD holds no voxels of type {made.dtype}")
    extra = axes.leading(made)[::-1]
    where = axes.grid(made)
    first = ["none"] if made.colour else []
    directions = [*first, *map(_vector, (where.column, where.row, where.slice)), *("none" for _ in extra)]
    kinds = [*(["RGB-color"] if made.colour else []), *["domain"] * 3]
    kinds += ["time" if axis.name == "time" else "list" for axis in extra]
    labels = [*(["rgb"] if made.colour else []), "column", "row", "slice", *(axis.name for axis in extra)]
    lines = [
        "NRRD0005",
        f"type: {_TYPES[code][0]}",
        f"dimension: {len(made.shape)}",
        "space: left-posterior-superior",
        f"sizes: {' '.join(map(str, reversed(made.shape)))}",
        f"space directions: {' '.join(directions)}",
        f"kinds: {' '.join(kinds)}",
        f"labels: {' '.join(_quoted(label) for label in labels)}",
        'space units: "mm" "mm" "mm"',
        f"space origin: {_vector(where.origin)}",
        f"encoding: {'gzip' if compressed else 'raw'}",
    ]
    if made.dtype.itemsize > 1:
        lines.append("endian: little")
    if data is not None:
        lines.append(f"data file: {data}")
    for axis in extra:  # fields of our own: what a list of directions or of b values cannot say
        lines.append(f"axis {axis.name} values:={' '.join(f'{float(v):.17g}' for v in axis.values)}")
        if axis.unit:
            lines.append(f"axis {axis.name} unit:={axis.unit}")
    return lines


def _vector(values: Sequence[float]) -> str:
    return f"({','.join(f'{float(value) + 0.0:.17g}' for value in values)})"


def _quoted(label: str) -> str:
    return '"' + label.replace('"', "'").replace("\\", "/") + '"'


def _fields(path: pathlib.Path) -> tuple[dict[str, str], dict[str, str], list[str], int]:
    """Fields, keys of one's own, the files of a LIST, and where the header ends."""
    try:
        with path.open("rb") as file:
            head = file.read(_MOST_HEADER)
    except OSError as error:
        raise errors.BadData(f"{path} cannot be read ({error.strerror or error})") from error
    if not re.match(rb"NRRD000[1-5]\r?\n", head):
        raise errors.BadData(f"{path} is no NRRD")
    fields: dict[str, str] = {}
    keys: dict[str, str] = {}
    place = head.index(b"\n") + 1
    while (end := head.find(b"\n", place)) >= 0:
        line = head[place:end].decode("utf-8", "replace").rstrip("\r")
        place = end + 1
        if not line:
            return fields, keys, [], place
        if line.startswith("#"):
            continue
        key, sign, value = line.partition(":=")
        field, colon, said = line.partition(": ")
        if sign and (not colon or len(key) < len(field)):
            keys[key] = value
        elif colon:
            fields[field.strip().lower()] = said.strip()
            if field.lower() in ("data file", "datafile") and said.split()[:1] == ["LIST"]:
                return fields, keys, head[place:].decode("utf-8", "replace").split("\n"), place
    return fields, keys, [], len(head)


def _read(path: pathlib.Path) -> image.Image:
    fields, keys, listed, end = _fields(path)
    where = str(path)
    sizes = [int(word) for word in fields.get("sizes", "").split() if re.fullmatch(r"\d{1,9}", word)]
    code = _CODES.get(fields.get("type", "").lower())
    if code is None or not sizes or fields.get("dimension") != str(len(sizes)):
        raise errors.BadData(f"{where}: its type, dimension and sizes do not describe an array")
    dtype = np.dtype(f"{'>' if fields.get('endian', '').lower() == 'big' else '<'}{code}")
    kinds = [word.lower() for word in fields.get("kinds", "").split()] or ["domain"] * len(sizes)
    colour = kinds[0] in _RGB and sizes[0] == 3
    directions, origin = _space(where, fields, len(sizes))
    spatial = [at for at, direction in enumerate(directions) if direction is not None]
    expected = list(range(int(colour), int(colour) + len(spatial)))
    if len(spatial) not in (2, 3) or spatial != expected:
        raise errors.BadData(f"{where}: its axes are not in the order column, row, slice and what leads them")
    steps = [direction for direction in directions if direction is not None]
    found = _geometry(where, steps, origin)
    shape = list(reversed(sizes))
    if len(spatial) == 2:
        shape.insert(len(shape) - colour - 2, 1)
    axes.checked(where, shape, dtype, None)
    labels = re.findall(r'"([^"]*)"', fields.get("labels", ""))
    extra = [
        _axis(where, at, sizes[at], labels, keys, kinds)
        for at in range(len(sizes) - 1, int(colour) + len(spatial) - 1, -1)
    ]
    load, places = _content(
        path, fields, listed, end, tuple(shape), dtype, math.prod(shape[: len(extra) + 1])
    )
    return image.Image(
        shape=tuple(shape),
        dtype=dtype.newbyteorder("<"),
        axes=axes.of(shape, found, extra, colour=colour),
        geometry=found,
        slope=1.0,
        intercept=0.0,
        unit="",
        voxels=load,
        spans=places,
    )


def _content(
    path: pathlib.Path,
    fields: Mapping[str, str],
    listed: Sequence[str],
    end: int,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    frames: int,
) -> tuple[Any, image.Spans | None]:
    encoding = fields.get("encoding", "").lower()
    named = fields.get("data file", fields.get("datafile"))
    skip = fields.get("byte skip", fields.get("byteskip", "0"))
    if fields.get("line skip", fields.get("lineskip", "0")) != "0" or not re.fullmatch(r"-1|\d{1,12}", skip):
        raise errors.BadData(f"{path}: what it skips before its voxels cannot be read here")
    files: tuple[pathlib.Path, ...] = (path,) if named is None else ()
    if listed:
        names = [name.strip() for name in listed if name.strip()]
        if len(names) > _MOST_FILES or not names or frames % len(names):
            raise errors.BadData(f"{path} lists {len(names)} files for {frames} slices")
        files = tuple(raw.sibling(path, name) for name in names)
    elif named is not None:
        files = (raw.sibling(path, named),)
    start = int(skip) if named is not None else end + max(int(skip), 0)
    if encoding in ("gzip", "gz"):
        if len(files) != 1 or int(skip) < 0:
            raise errors.BadData(f"{path}: compressed voxels in several files are not read here")
        return raw.loader(files[0], start, 31, shape, dtype), None
    if encoding != "raw":
        raise errors.BadData(f"{path}: the encoding {encoding[:20]!r} is not read here; raw and gzip are")
    told = raw.Raw(files, -1 if int(skip) < 0 else start, shape, dtype)
    return told.voxels, told.spans(frames)


def _space(
    where: str, fields: Mapping[str, str], count: int
) -> tuple[list[tuple[float, ...] | None], tuple[float, ...]]:
    """The direction of each axis in LPS, None of one that is not in space; and the origin."""
    if "space directions" not in fields:
        steps = [float(word) for word in fields.get("spacings", "").split() if word.lower() != "nan"] or [
            1.0
        ] * 3
        axes.finite(where, "spacings", steps)
        made = [
            (s, 0.0, 0.0) if at == 0 else (0.0, s, 0.0) if at == 1 else (0.0, 0.0, s)
            for at, s in enumerate([*steps, 1.0, 1.0][:3])
        ]
        return [*made[: min(count, 3)], *[None] * (count - 3)], (0.0, 0.0, 0.0)
    turn = _SPACES.get(fields.get("space", "left-posterior-superior").lower())
    if turn is None:
        raise errors.BadData(f"{where}: the space {fields['space'][:40]!r} is none of a patient")
    directions = [_numbers(where, found) for found in _VECTOR.finditer(fields["space directions"])]
    if len(directions) != count:
        raise errors.BadData(f"{where}: {len(directions)} space directions for {count} axes")
    origin = next(
        (_numbers(where, found) for found in _VECTOR.finditer(fields.get("space origin", ""))), None
    )
    turned = [
        None if one is None else tuple(s * v for s, v in zip(turn, one, strict=False)) for one in directions
    ]
    return turned, tuple(s * v for s, v in zip(turn, origin or (0.0, 0.0, 0.0), strict=False))


def _numbers(where: str, found: re.Match[str]) -> tuple[float, ...] | None:
    if found[1] is None:
        return None
    try:
        values = tuple(float(word) for word in found[1].split(","))
    except ValueError:
        values = ()
    if len(values) not in (3, 4):
        raise errors.BadData(f"{where}: {found[0][:60]!r} is no vector of three numbers")
    axes.finite(where, "a vector", values)
    return values[:3]


def _geometry(where: str, steps: Sequence[tuple[float, ...]], origin: tuple[float, ...]) -> geometry.Geometry:
    vectors = [np.asarray(step) for step in steps]
    if len(vectors) == 2:
        across = np.cross(vectors[0], vectors[1])
        vectors.append(across / (np.linalg.norm(across) or 1.0))
    if abs(np.linalg.det(np.asarray(vectors))) < 1e-9:
        raise errors.BadData(f"{where}: its space directions span no volume")
    patient = np.eye(4)
    patient[:3, :3] = np.asarray(vectors).T
    patient[:3, 3] = origin
    return geometry.Geometry.of(patient)


def _axis(
    where: str,
    at: int,
    count: int,
    labels: Sequence[str],
    keys: Mapping[str, str],
    kinds: Sequence[str],
) -> stack.Axis:
    name = (
        labels[at]
        if at < len(labels) and labels[at]
        else "time"
        if "time" in kinds[at : at + 1]
        else f"axis{at}"
    )
    values = np.arange(count, dtype=float)
    told = keys.get(f"axis {name} values", "").split()
    if len(told) == count:
        try:
            values = np.asarray([float(word) for word in told])
        except ValueError as error:
            raise errors.BadData(f"{where}: the values of the axis {at} are no numbers") from error
    return stack.Axis(name, values, keys.get(f"axis {name} unit", axes.unit(name)))


FORMAT: base.Format = Nrrd()
