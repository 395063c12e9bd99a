"""The header of NIfTI-1 and NIfTI-2: fields to bytes and back, the matrix as quaternion and as rows."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal

import numpy as np

from node import errors
from node.formats import axes

Array = np.ndarray[Any, np.dtype[Any]]

RGB, RGBA = 128, 2304
TYPES = {
    2: "u1",
    4: "i2",
    8: "i4",
    16: "f4",
    64: "f8",
    256: "i1",
    512: "u2",
    768: "u4",
    1024: "i8",
    1280: "u8",
}
CODES = {name: code for code, name in TYPES.items()}
SCANNER = 1  # coordinates of the scanner, which those of the patient are on the day of the acquisition
MOST_DIM1 = 32767  # of an axis in NIfTI-1
_MILLIMETRES, _SECONDS = 2, 8
_LENGTHS = {1: 1000.0, 2: 1.0, 3: 0.001}  # xyzt_units: metres, millimetres, micrometres
_TIMES = {8: 1.0, 16: 1e-3, 24: 1e-6}  # seconds, milliseconds, microseconds
_SHEAR = 1e-4  # of a unit; a quaternion says rotations only

_NIFTI1 = np.dtype(
    [
        ("sizeof_hdr", "<i4"),
        ("unused", "V35"),
        ("dim_info", "u1"),
        ("dim", "<i2", 8),
        ("intent_p", "<f4", 3),
        ("intent_code", "<i2"),
        ("datatype", "<i2"),
        ("bitpix", "<i2"),
        ("slice_start", "<i2"),
        ("pixdim", "<f4", 8),
        ("vox_offset", "<f4"),
        ("scl_slope", "<f4"),
        ("scl_inter", "<f4"),
        ("slice_end", "<i2"),
        ("slice_code", "u1"),
        ("xyzt_units", "u1"),
        ("cal", "<f4", 2),
        ("slice_duration", "<f4"),
        ("toffset", "<f4"),
        ("gl", "<i4", 2),
        ("descrip", "S80"),
        ("aux_file", "S24"),
        ("qform_code", "<i2"),
        ("sform_code", "<i2"),
        ("quatern", "<f4", 3),
        ("qoffset", "<f4", 3),
        ("srow", "<f4", (3, 4)),
        ("intent_name", "S16"),
        ("magic", "V4"),
    ]
)
_NIFTI2 = np.dtype(
    [
        ("sizeof_hdr", "<i4"),
        ("magic", "V8"),
        ("datatype", "<i2"),
        ("bitpix", "<i2"),
        ("dim", "<i8", 8),
        ("intent_p", "<f8", 3),
        ("pixdim", "<f8", 8),
        ("vox_offset", "<i8"),
        ("scl_slope", "<f8"),
        ("scl_inter", "<f8"),
        ("cal", "<f8", 2),
        ("slice_duration", "<f8"),
        ("toffset", "<f8"),
        ("slice_start", "<i8"),
        ("slice_end", "<i8"),
        ("descrip", "S80"),
        ("aux_file", "S24"),
        ("qform_code", "<i4"),
        ("sform_code", "<i4"),
        ("quatern", "<f8", 3),
        ("qoffset", "<f8", 3),
        ("srow", "<f8", (3, 4)),
        ("slice_code", "<i4"),
        ("xyzt_units", "<i4"),
        ("intent_code", "<i4"),
        ("intent_name", "S16"),
        ("dim_info", "u1"),
        ("unused", "V15"),
    ]
)
SIZES = {1: _NIFTI1.itemsize, 2: _NIFTI2.itemsize}  # 348, 540
MOST_HEADER = 1 << 24  # bytes before the voxels: header and extensions


@dataclasses.dataclass(frozen=True, slots=True)
class Header:
    """What a NIfTI header says, in millimetres and seconds."""

    dim: tuple[int, ...]  # voxels along each axis, the fastest first; without the colours
    dtype: np.dtype[Any]  # of a voxel or of each of its colours, in the byte order of the file
    colours: int = 0  # 3: RGB, 4: RGBA, 0: no colour
    spacing: tuple[float, ...] = ()  # pixdim[1:], one for each axis
    affine: Array | None = None  # from (i, j, k, 1) to right-anterior-superior; None: not said
    slope: float = 1.0
    intercept: float = 0.0
    offset: int = 0  # of the voxels, in their file
    apart: bool = False  # whether they are in another file (.img)
    frequency: int = 0  # axis of the readout, 1 to 3; 0 unknown
    phase: int = 0  # axis of the phase encoding
    slice_code: int = 0  # order of the slices in time, 0 unknown
    slice_duration: float = 0.0  # seconds
    start: float = 0.0  # toffset, seconds
    description: str = ""


def encode(header: Header, version: int) -> bytes:
    """The header in little endian, with the four bytes that say that no extension follows."""
    made = np.zeros((), _NIFTI1 if version == 1 else _NIFTI2)
    size = made.dtype.itemsize
    made["sizeof_hdr"] = size
    made["magic"] = np.void(b"n+1\0" if version == 1 else b"n+2\0\r\n\x1a\n")
    if version == 1:
        made["unused"] = np.void(bytes(34) + b"r")  # "regular", which readers of ANALYZE ask for
    made["dim"] = [len(header.dim), *header.dim, *[1] * (7 - len(header.dim))]
    made["datatype"] = RGB if header.colours else CODES[header.dtype.str[1:]]
    made["bitpix"] = 8 * header.dtype.itemsize * (header.colours or 1)
    made["dim_info"] = header.frequency | header.phase << 2 | 3 << 4
    made["vox_offset"] = offset(version)
    made["scl_slope"], made["scl_inter"] = header.slope, header.intercept
    made["xyzt_units"] = _MILLIMETRES | _SECONDS
    made["slice_code"], made["slice_duration"] = header.slice_code, header.slice_duration
    if header.slice_code:
        made["slice_end"] = header.dim[2] - 1
    made["toffset"] = header.start
    made["descrip"] = header.description.encode("ascii", "replace")[:79]
    pixdim = [1.0, *header.spacing, *[0.0] * (7 - len(header.spacing))]
    if header.affine is not None:
        made["sform_code"], made["srow"] = SCANNER, header.affine[:3]
        turn = quaternion(header.affine)
        if turn is not None:
            pixdim[0], made["quatern"] = turn[0], turn[1:]
            made["qform_code"], made["qoffset"] = SCANNER, header.affine[:3, 3]
    made["pixdim"] = pixdim
    return made.tobytes() + bytes(offset(version) - size)


def offset(version: int) -> int:
    """Where voxels begin that follow the header in its file: on 16 bytes, as the standard recommends."""
    return 352 if version == 1 else 544


def quaternion(affine: Array) -> tuple[float, float, float, float] | None:
    """qfac, b, c, d of the rotation in a matrix; None when it has a shear, which they cannot say."""
    steps = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(steps).all() or (steps <= 0).any():
        return None
    turn = affine[:3, :3] / steps
    if np.abs(turn.T @ turn - np.eye(3)).max() > _SHEAR:
        return None
    factor = 1.0 if np.linalg.det(turn) > 0 else -1.0
    turn = turn * (1.0, 1.0, factor)
    # The greatest of the four squares is at least 1/4, so that nothing is divided by a rounding error.
    diagonal = np.diag(turn)
    squares = 0.25 * (1 + np.array([diagonal.sum(), *(2 * diagonal - diagonal.sum())]))
    most = int(np.argmax(squares))
    (_, xy, xz), (yx, _, yz), (zx, zy, _) = turn.tolist()
    rows = {
        0: (4 * squares[0], zy - yz, xz - zx, yx - xy),
        1: (zy - yz, 4 * squares[1], yx + xy, xz + zx),
        2: (xz - zx, yx + xy, 4 * squares[2], zy + yz),
        3: (yx - xy, xz + zx, zy + yz, 4 * squares[3]),
    }
    found = np.array(rows[most]) / (4 * math.sqrt(squares[most]))
    _, b, c, d = (found if found[0] >= 0 else -found).tolist()
    return factor, b, c, d


def rotated(factor: float, turn: Array, offsets: Array, steps: Array) -> Array:
    """The matrix that qfac, b, c, d, the offsets and the spacing of a header say."""
    b, c, d = (float(value) for value in turn)
    square = 1.0 - (b * b + c * c + d * d)
    if square < 1e-7:  # half a turn, written with less precision than it was made with
        length = math.sqrt(b * b + c * c + d * d)
        a, b, c, d = 0.0, b / length, c / length, d / length
    else:
        a = math.sqrt(square)
    made = np.eye(4)
    made[:3, :3] = [
        [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
        [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
        [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
    ]
    made[:3, :3] *= np.asarray(steps) * (1.0, 1.0, -1.0 if factor < 0 else 1.0)
    made[:3, 3] = offsets
    return made


def decode(found: bytes, where: str) -> Header:
    """What a header says; BadData when it is none or when its numbers cannot be."""
    version, order = _version(found, where)
    kind = (_NIFTI1 if version == 1 else _NIFTI2).newbyteorder(order)
    if len(found) < kind.itemsize:
        raise errors.BadData(
            f"{where}: a NIfTI-{version} header has {kind.itemsize} bytes, here are {len(found)}"
        )
    read = np.frombuffer(found, kind, 1)[0]
    magic = bytes(read["magic"])[:3]
    if magic not in (b"n+1", b"ni1", b"n+2", b"ni2"):
        raise errors.BadData(f"{where}: it is no NIfTI header (magic {magic!r})")
    dim = _dim(read["dim"], where)
    code = int(read["datatype"])
    colours = {RGB: 3, RGBA: 4}.get(code, 0)
    name = "u1" if colours else TYPES.get(code)
    if name is None:
        raise errors.BadData(f"{where}: NIfTI data type {code} is none that is read here")
    dtype = np.dtype(name).newbyteorder(order)
    if int(read["bitpix"]) not in (0, 8 * dtype.itemsize * (colours or 1)):
        raise errors.BadData(
            f"{where}: {int(read['bitpix'])} bits for each voxel is not what type {code} has"
        )
    length, time = _units(int(read["xyzt_units"]))
    pixdim = [float(value) for value in read["pixdim"]]
    spacing = tuple(
        abs(value) * (length if at < 3 else time if at == 3 else 1.0)
        for at, value in enumerate(pixdim[1 : len(dim) + 1])
    )
    apart = magic[1:2] == b"i"
    slope, intercept = float(read["scl_slope"]), float(read["scl_inter"])
    if not math.isfinite(slope) or slope == 0 or not math.isfinite(intercept):
        slope, intercept = 1.0, 0.0  # as the standard has it for 0, and as programs write it for "unknown"
    info = int(read["dim_info"])
    return Header(
        dim=dim,
        dtype=dtype,
        colours=colours,
        spacing=spacing,
        affine=_affine(read, pixdim, length, where),
        slope=slope,
        intercept=intercept,
        offset=_offset(read["vox_offset"], 0 if apart else SIZES[version], where),
        apart=apart,
        frequency=info & 3,
        phase=info >> 2 & 3,
        slice_code=int(read["slice_code"]),
        slice_duration=_finite(float(read["slice_duration"])) * time,
        start=_finite(float(read["toffset"])) * time,
        description=bytes(read["descrip"]).decode("latin-1").strip("\0 "),
    )


def _version(found: bytes, where: str) -> tuple[int, Literal["<", ">"]]:
    for version, size in SIZES.items():
        if found[:4] == size.to_bytes(4, "little"):
            return version, "<"
        if found[:4] == size.to_bytes(4, "big"):
            return version, ">"
    raise errors.BadData(f"{where}: it is no NIfTI file: neither 348 nor 540 stands at its beginning")


def _dim(read: Array, where: str) -> tuple[int, ...]:
    count = int(read[0])
    if not 1 <= count <= 7:
        raise errors.BadData(f"{where}: an image of {count} dimensions is none of NIfTI's")
    dim = [int(value) for value in read[1 : count + 1]]
    while len(dim) > 3 and dim[-1] == 1:
        dim.pop()
    dim += [1] * (3 - len(dim))
    if any(value < 1 for value in dim):
        raise errors.BadData(f"{where}: an image of {' x '.join(map(str, dim))} voxels cannot be")
    return tuple(dim)


def _units(code: int) -> tuple[float, float]:
    return _LENGTHS.get(code & 7, 1.0), _TIMES.get(code & 56, 1.0)


def _offset(value: Any, least: int, where: str) -> int:
    found = float(value)
    if not (math.isfinite(found) and found == int(found) and 0 <= found <= MOST_HEADER):
        raise errors.BadData(f"{where}: its voxels cannot begin at {found}")
    return max(int(found), least)


def _affine(read: Any, pixdim: list[float], length: float, where: str) -> Array | None:
    if int(read["sform_code"]) > 0:
        made = np.eye(4)
        with np.errstate(invalid="ignore"):  # what is no number is refused by who asked
            made[:3] = read["srow"]
    elif int(read["qform_code"]) > 0:
        steps = np.abs(np.array(pixdim[1:4]))
        axes.finite(where, "its quaternion", [*map(float, read["quatern"]), *map(float, read["qoffset"])])
        made = rotated(pixdim[0], read["quatern"], read["qoffset"], np.where(steps > 0, steps, 1.0))
    else:
        return None
    made[:3] *= length
    axes.finite(where, "its matrix", [float(value) for value in made.ravel()])
    if abs(np.linalg.det(made[:3, :3])) < 1e-12:
        raise errors.BadData(f"{where}: its matrix puts all voxels into one plane")
    return made


def _finite(value: float) -> float:
    return value if math.isfinite(value) else 0.0
