"""Synthetic DICOM instances as bytes, made without a DICOM library so that its bugs are not ours.

No real data: names, ids and pixels are invented here. `series()` is what most tests want.
"""

from __future__ import annotations

import dataclasses
import hashlib
import pathlib
import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import Literal

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
BIG = "1.2.840.10008.1.2.2"
JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
JPEG_LS = "1.2.840.10008.1.2.4.80"
JPEG2000 = "1.2.840.10008.1.2.4.90"
RLE = "1.2.840.10008.1.2.5"

CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"
SECONDARY = "1.2.840.10008.5.1.4.1.1.7"
ROOT = "2.25"  # UUIDs as UIDs: nobody's root

LONG = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
NUL_PADDED = frozenset({"UI", "OB", "UN"})
NUMBERS = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d", "UV": "Q", "SV": "q"}
UNDEFINED = 0xFFFFFFFF

Lengths = Literal["defined", "undefined"]


@dataclasses.dataclass(frozen=True, slots=True)
class Element:
    """One element; a sequence holds its items, encapsulated pixel data its fragments."""

    tag: int  # (gggg,eeee) as ggggeeee
    vr: str  # two letters
    value: bytes = b""  # encoded; padded to an even length when it is written
    items: tuple[tuple[Element, ...], ...] | None = None  # SQ: the items
    fragments: tuple[bytes, ...] | None = None  # pixel data: offset table, then fragments


@dataclasses.dataclass(frozen=True, slots=True)
class Made:
    """A synthetic instance: its identity and its data set, without preamble and file meta."""

    sop_class: str  # SOP Class UID
    sop_instance: str  # SOP Instance UID
    study: str  # Study Instance UID
    series: str  # Series Instance UID
    syntax: str  # transfer syntax UID of `data`
    data: bytes  # the data set

    @property
    def digest(self) -> str:
        """The way the node writes a digest."""
        return "sha256:" + hashlib.sha256(self.data).hexdigest()


def uid(*parts: int | str) -> str:
    """A valid UID that depends on `parts` alone."""
    number = int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:16], "big")
    return f"{ROOT}.{number}"


def element(tag: int, vr: str, value: object = b"", charset: str = "latin-1") -> Element:
    """An element from a str, a number, numbers, bytes, or items (a sequence of element tuples)."""
    if vr == "SQ":
        items = value if isinstance(value, (list, tuple)) else ()
        return Element(tag, vr, items=tuple(tuple(item) for item in items))
    if isinstance(value, (bytes, bytearray)):
        return Element(tag, vr, bytes(value))
    if vr in NUMBERS:
        numbers = value if isinstance(value, (list, tuple)) else (value,)
        return Element(tag, vr, struct.pack(f"<{len(numbers)}{NUMBERS[vr]}", *numbers))
    if isinstance(value, (list, tuple)):
        value = "\\".join(str(one) for one in value)
    return Element(tag, vr, str(value).encode(charset))


def encode(elements: Sequence[Element], syntax: str = EXPLICIT, lengths: Lengths = "defined") -> bytes:
    """The data set of `elements` in their order, deflated where the syntax says so."""
    raw = b"".join(_encoded(one, syntax, lengths) for one in elements)
    if syntax == DEFLATED:
        squeeze = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        raw = squeeze.compress(raw) + squeeze.flush()
        raw += b"\0" * (len(raw) % 2)
    return raw


def _encoded(one: Element, syntax: str, lengths: Lengths) -> bytes:
    """One element as bytes."""
    order = ">" if syntax == BIG else "<"
    if one.items is not None:
        inner = b"".join(_item(encode_plain(item, syntax, lengths), order, lengths) for item in one.items)
        if lengths == "undefined":
            end = struct.pack(order + "HHI", 0xFFFE, 0xE0DD, 0)
            return _head(one, syntax, UNDEFINED) + inner + end
        return _head(one, syntax, len(inner)) + inner
    if one.fragments is not None:
        inner = b"".join(_item(_even(part, "OB"), order, "defined") for part in one.fragments)
        return _head(one, syntax, UNDEFINED) + inner + struct.pack(order + "HHI", 0xFFFE, 0xE0DD, 0)
    value = _even(one.value, one.vr)
    if order == ">":
        value = _swapped(value, one.vr)
    return _head(one, syntax, len(value)) + value


def encode_plain(elements: Sequence[Element], syntax: str, lengths: Lengths) -> bytes:
    """As `encode`, never deflated: what stands inside an item."""
    return b"".join(_encoded(one, syntax, lengths) for one in elements)


def _item(inner: bytes, order: str, lengths: Lengths) -> bytes:
    if lengths == "undefined":
        head = struct.pack(order + "HHI", 0xFFFE, 0xE000, UNDEFINED)
        return head + inner + struct.pack(order + "HHI", 0xFFFE, 0xE00D, 0)
    return struct.pack(order + "HHI", 0xFFFE, 0xE000, len(inner)) + inner


def _head(one: Element, syntax: str, length: int) -> bytes:
    order = ">" if syntax == BIG else "<"
    group, number = one.tag >> 16, one.tag & 0xFFFF
    if syntax == IMPLICIT:
        return struct.pack("<HHI", group, number, length)
    vr = one.vr.encode()
    if vr in LONG:
        return struct.pack(order + "HH2sHI", group, number, vr, 0, length)
    return struct.pack(order + "HH2sH", group, number, vr, length)


def _even(value: bytes, vr: str) -> bytes:
    if len(value) % 2 == 0:
        return value
    return value + (b"\0" if vr in NUL_PADDED else b" ")


def _swapped(value: bytes, vr: str) -> bytes:
    """Numbers of a little-endian value as big endian."""
    width = {"OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8, "AT": 2}.get(vr, 0)
    if vr in NUMBERS:
        width = struct.calcsize(NUMBERS[vr])
    if width < 2:
        return value
    return b"".join(value[at : at + width][::-1] for at in range(0, len(value), width))


def head(
    *,
    sop_class: str,
    sop_instance: str,
    study: str,
    series: str,
    number: int = 1,
    patient: str = "SYNTHETIC^ALPHA",
    charset: str = "ISO_IR 100",
    codec: str = "latin-1",
    rows: int = 64,
    columns: int = 64,
    slice_gap: float = 2.5,
) -> list[Element]:
    """The header of a CT-like image, with a private block and nested sequences, in tag order."""
    modality = "MR" if sop_class == MR else "CT" if sop_class == CT else "OT"
    code = (
        element(0x00080100, "SH", "SYN1"),
        element(0x00080102, "SH", "99SYNTH"),
        element(0x00080104, "LO", "Synthetic protocol"),
    )
    request = (
        element(0x00321060, "LO", "Synthetic procedure"),
        element(0x00400007, "LO", "Synthetic step"),
        element(0x00400008, "SQ", [code]),
        element(0x00400009, "SH", "STEP1"),
    )
    return [
        element(0x00080005, "CS", charset),
        element(0x00080008, "CS", ["ORIGINAL", "PRIMARY", "AXIAL"]),
        element(0x00080016, "UI", sop_class),
        element(0x00080018, "UI", sop_instance),
        element(0x00080020, "DA", "20260102"),
        element(0x00080021, "DA", "20260102"),
        element(0x00080023, "DA", "20260102"),
        element(0x00080030, "TM", "101112"),
        element(0x00080033, "TM", f"1012{number % 60:02d}.25"),
        element(0x00080050, "SH", "ACC0001"),
        element(0x00080060, "CS", modality),
        element(0x00080070, "LO", "Synthetic Systems"),
        element(0x00080080, "LO", "Test Hospital"),
        element(0x00080090, "PN", "REFERRER^SYNTHETIC"),
        element(0x00081010, "SH", "STATION1"),
        element(0x00081030, "LO", "Synthetic study"),
        element(0x0008103E, "LO", "Synthetic series"),
        element(0x00081032, "SQ", [code]),
        element(0x00090010, "LO", "SYNTH HEADER 1"),
        element(0x00091001, "LO", "private text"),
        element(0x00091002, "US", [1, 2, number & 0xFFFF]),
        element(0x00091003, "UN", b"\x00\x01opaque"),
        element(0x00100010, "PN", patient, codec),
        element(0x00100020, "LO", "SYN-0001"),
        element(0x00100030, "DA", "19700101"),
        element(0x00100040, "CS", "O"),
        element(0x00180015, "CS", "PHANTOM"),
        element(0x00180050, "DS", f"{slice_gap}"),
        element(0x00181030, "LO", "Phantom protocol"),
        element(0x0020000D, "UI", study),
        element(0x0020000E, "UI", series),
        element(0x00200010, "SH", "STUDY1"),
        element(0x00200011, "IS", 1),
        element(0x00200013, "IS", number),
        element(0x00200032, "DS", ["-125", "-125", f"{number * slice_gap:.4f}"]),
        element(0x00200037, "DS", ["1", "0", "0", "0", "1", "0"]),
        element(0x00200052, "UI", uid(study, "frame of reference")),
        element(0x00201041, "DS", f"{number * slice_gap:.4f}"),
        element(0x00280002, "US", 1),
        element(0x00280004, "CS", "MONOCHROME2"),
        element(0x00280010, "US", rows),
        element(0x00280011, "US", columns),
        element(0x00280030, "DS", ["0.9765625", "0.9765625"]),
        element(0x00280100, "US", 16),
        element(0x00280101, "US", 12),
        element(0x00280102, "US", 11),
        element(0x00280103, "US", 0),
        element(0x00281052, "DS", "-1024"),
        element(0x00281053, "DS", "1"),
        element(0x00400275, "SQ", [request]),
    ]


def pixels(rows: int, columns: int, seed: int = 0) -> bytes:
    """16-bit little-endian pixels that differ from seed to seed and compress badly."""
    wanted = rows * columns * 2
    block = b"".join(hashlib.sha256(struct.pack("<II", seed, at)).digest() for at in range(32))
    return (block * (wanted // len(block) + 1))[:wanted]


def instance(
    number: int = 1,
    *,
    study: str | None = None,
    series: str | None = None,
    sop_instance: str | None = None,
    sop_class: str = CT,
    syntax: str = EXPLICIT,
    size: int = 4096,
    seed: int | str = 0,
    lengths: Lengths = "defined",
    patient: str = "SYNTHETIC^ALPHA",
    charset: str = "ISO_IR 100",
    codec: str = "latin-1",
    extra: Sequence[Element] = (),
    fragments: Sequence[bytes] | None = None,
) -> Made:
    """One image of about `size` bytes; `seed` changes every UID that is not given, and the pixels."""
    study = study or uid(seed, "study")
    series = series or uid(seed, "study", "series")
    sop_instance = sop_instance or uid(seed, "study", "series", number)
    room = max(size - 2000, 512)
    columns = max(16, min(512, int((room / 2) ** 0.5) & ~1))
    rows = max(1, room // 2 // columns)
    elements = head(
        sop_class=sop_class,
        sop_instance=sop_instance,
        study=study,
        series=series,
        number=number,
        patient=patient,
        charset=charset,
        codec=codec,
        rows=rows,
        columns=columns,
    )
    elements += extra
    elements.sort(key=lambda one: one.tag)
    if fragments is not None:
        elements.append(Element(0x7FE00010, "OB", fragments=(b"", *fragments)))
    else:
        shade = zlib.crc32(repr((seed, number)).encode())
        elements.append(Element(0x7FE00010, "OW", pixels(rows, columns, shade)))
    return Made(sop_class, sop_instance, study, series, syntax, encode(elements, syntax, lengths))


def stream(count: int, *, size: int = 4096, seed: int | str = 0, **more: object) -> Iterator[Made]:
    """As `series`, one at a time: memory stays flat for large counts."""
    for number in range(1, count + 1):
        yield instance(number, size=size, seed=seed, **more)  # type: ignore[arg-type]


def series(count: int, *, size: int = 4096, seed: int | str = 0, **more: object) -> list[Made]:
    """`count` images of one series, each of about `size` bytes; options as for `instance`."""
    return list(stream(count, size=size, seed=seed, **more))


def altered(made: Made) -> Made:
    """The same UIDs with other bytes: the last byte of the pixels is flipped."""
    return dataclasses.replace(made, data=made.data[:-1] + bytes([made.data[-1] ^ 0xFF]))


def part10(made: Made, *, preamble: bytes = bytes(128), source: str = "SYNTH") -> bytes:
    """The instance as a Part 10 file."""
    meta = encode(
        [
            Element(0x00020001, "OB", b"\x00\x01"),
            element(0x00020002, "UI", made.sop_class),
            element(0x00020003, "UI", made.sop_instance),
            element(0x00020010, "UI", made.syntax),
            element(0x00020012, "UI", uid("implementation")),
            element(0x00020013, "SH", "SYNTH_1"),
            element(0x00020016, "AE", source),
        ]
    )
    length = encode([element(0x00020000, "UL", len(meta))])
    return preamble + b"DICM" + length + meta + made.data


def files(folder: pathlib.Path, instances: Sequence[Made]) -> list[pathlib.Path]:
    """Write the instances as Part 10 files into `folder` and return their paths in order."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for at, made in enumerate(instances):
        path = folder / f"{at:06d}.dcm"
        path.write_bytes(part10(made))
        paths.append(path)
    return paths


def nested(depth: int, lengths: Lengths = "undefined", seed: int | str = 0) -> Made:
    """An instance with `depth` sequences one inside the other, built without recursion."""
    inner = b""
    tag = struct.pack("<HH2sH", 0x0040, 0xA730, b"SQ", 0)
    if lengths == "undefined":
        opening = tag + struct.pack("<I", UNDEFINED) + struct.pack("<HHI", 0xFFFE, 0xE000, UNDEFINED)
        closing = struct.pack("<HHI", 0xFFFE, 0xE00D, 0) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
        inner = opening * depth + closing * depth
    else:
        parts = []  # outermost first: each level holds 20 bytes of heads more than the one inside
        for level in range(depth - 1, -1, -1):
            parts.append(tag + struct.pack("<I", 8 + level * 20))
            parts.append(struct.pack("<HHI", 0xFFFE, 0xE000, level * 20))
        inner = b"".join(parts)
    made = instance(seed=f"nested {seed} {depth} {lengths}", size=2048)
    at = made.data.rindex(struct.pack("<HH2s", 0x7FE0, 0x0010, b"OW"))
    return dataclasses.replace(made, data=made.data[:at] + inner + made.data[at:])
