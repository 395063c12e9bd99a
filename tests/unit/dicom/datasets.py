"""Random data sets for property tests: every VR, sequences in both length forms, private blocks."""

from __future__ import annotations

import io
import struct
import warnings
from pathlib import Path
from typing import Any

import pydicom
from hypothesis import strategies as st
from pydicom import encaps, filebase, filewriter
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
BIG = "1.2.840.10008.1.2.2"
JPEG = "1.2.840.10008.1.2.4.70"
SYNTAXES = (IMPLICIT, EXPLICIT, BIG)

ascii_text = st.text(
    st.characters(min_codepoint=0x20, max_codepoint=0x7E, exclude_characters="\\^= "), max_size=14
)
latin_text = st.text(
    st.characters(
        min_codepoint=0x21,
        max_codepoint=0xFF,
        exclude_characters="\\^=\x7f" + "".join(map(chr, range(0x80, 0xA1))),
    ),
    max_size=14,
)
code = st.text("ABCXYZ019_", max_size=16)
uid = st.lists(st.integers(1, 99999), min_size=3, max_size=6).map(lambda n: "1.2." + ".".join(map(str, n)))
dates = st.dates().map(lambda d: f"{d.year:04}{d.month:02}{d.day:02}")
times = st.times().map(lambda t: t.strftime("%H%M%S.%f"))

VALUES: dict[str, st.SearchStrategy[Any]] = {
    "AE": ascii_text,
    "AS": st.integers(0, 999).map(lambda n: f"{n:03}Y"),
    "AT": st.integers(0x00080000, 0x0040FFFF),
    "CS": st.one_of(code, st.lists(code.filter(bool), min_size=2, max_size=3)),
    "DA": dates,
    "DS": st.one_of(st.integers(-9999, 9999).map(str), st.just("1.25"), st.just(["0.5", "-2", "3e4"])),
    "DT": dates,
    "FD": st.floats(allow_nan=False),
    "FL": st.floats(allow_nan=False, width=32),
    "IS": st.integers(-(2**31), 2**31 - 1).map(str),
    "LO": latin_text,
    "LT": latin_text,
    "OB": st.binary(max_size=9),
    "OD": st.integers(0, 3).map(lambda n: b"\1\2\3\4\5\6\7\x08" * n),
    "OF": st.integers(0, 3).map(lambda n: b"\1\2\3\4" * n),
    "OL": st.integers(0, 3).map(lambda n: b"\1\2\3\4" * n),
    "OV": st.integers(0, 3).map(lambda n: b"\1\2\3\4\5\6\7\x08" * n),
    "OW": st.integers(0, 9).map(lambda n: b"\1\2" * n),
    "PN": st.tuples(latin_text, latin_text).map("^".join),
    "SH": latin_text,
    "SL": st.integers(-(2**31), 2**31 - 1),
    "SS": st.integers(-(2**15), 2**15 - 1),
    "ST": latin_text,
    "SV": st.integers(-(2**63), 2**63 - 1),
    "TM": times,
    "UC": latin_text,
    "UI": uid,
    "UL": st.integers(0, 2**32 - 1),
    "UN": st.binary(max_size=10),
    "UR": st.just("http://example.org/a"),
    "US": st.one_of(st.integers(0, 2**16 - 1), st.lists(st.integers(0, 2**16 - 1), min_size=2, max_size=4)),
    "UT": latin_text,
    "UV": st.integers(0, 2**64 - 1),
}
# a few public elements of each VR; `unique` by tag keeps data sets legal
TAGS = {
    0x00080016: "UI", 0x00080018: "UI", 0x00080020: "DA", 0x00080030: "TM", 0x00080050: "SH",
    0x00080054: "AE", 0x00080060: "CS", 0x00080008: "CS", 0x00081030: "LO", 0x0008002A: "DT",
    0x00080120: "UR", 0x00080119: "UC", 0x00090010: "LO", 0x00100010: "PN", 0x00100020: "LO",
    0x00101010: "AS", 0x00101030: "DS", 0x001021B0: "LT", 0x00200013: "IS",
    0x0020000D: "UI", 0x0020000E: "UI", 0x00280009: "AT", 0x00280010: "US", 0x00081163: "FD",
    0x00186024: "US", 0x00186020: "SL", 0x00189219: "SS", 0x0040A30A: "DS", 0x00081161: "UL",
    0x00720064: "IS", 0x00720067: "OF", 0x00720069: "OW", 0x00720073: "OD", 0x00720075: "OL",
    0x00720065: "OB", 0x00720076: "FL", 0x0072007A: "US", 0x00720082: "SV", 0x00720083: "UV",
    0x00720081: "OV", 0x0040A160: "UT", 0x00204000: "LT", 0x00402400: "LT", 0x00102000: "LO",
}  # fmt: skip
SEQUENCES = (0x00081140, 0x00400275, 0x00089215, 0x00720422)


@st.composite
def contents(draw: st.DrawFn, depth: int = 2) -> Dataset:
    """The elements of a data set or an item."""
    ds = Dataset()
    for tag in draw(st.lists(st.sampled_from(sorted(TAGS)), unique=True, max_size=12)):
        vr = TAGS[tag]
        if tag == 0x00090010:
            continue
        ds.add_new(tag, vr, draw(VALUES[vr]))
    if draw(st.booleans()):
        block = ds.private_block(0x0009, "NODE TEST", create=True)
        for low, vr in draw(
            st.dictionaries(st.integers(0, 255), st.sampled_from(["LO", "US", "OB", "UN", "DS"]), max_size=3)
        ).items():
            block.add_new(low, vr, draw(VALUES[vr]))
    if depth:
        for tag in draw(st.lists(st.sampled_from(SEQUENCES), unique=True, max_size=2)):
            items = draw(st.lists(contents(depth - 1), max_size=3))
            for item in items:
                item.is_undefined_length_sequence_item = draw(st.booleans())
            ds.add_new(tag, "SQ", Sequence(items))
            ds[tag].is_undefined_length = draw(st.booleans())
    return ds


@st.composite
def datasets(draw: st.DrawFn) -> Dataset:
    """A whole data set, in Latin 1 when it needs a character set."""
    ds = draw(contents())
    ds.SpecificCharacterSet = draw(st.sampled_from(["ISO_IR 100", "ISO_IR 192"]))
    return ds


def write(ds: Dataset, syntax: str, fragments: list[bytes] | None = None) -> bytes:
    """The data set's bytes as pydicom writes them; with fragments, encapsulated pixel data at the end."""
    out = filebase.DicomBytesIO()
    out.is_implicit_VR = syntax == IMPLICIT
    out.is_little_endian = syntax != BIG
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if fragments is not None:
            ds.add_new(0x7FE00010, "OB", encaps.encapsulate(fragments))
            ds["PixelData"].is_undefined_length = True
        filewriter.write_dataset(out, ds)
    return out.getvalue()


def read(data: bytes, syntax: str) -> Dataset:
    """What pydicom makes of the bytes of a data set."""
    from pydicom.filereader import read_dataset

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds = read_dataset(io.BytesIO(data), syntax == IMPLICIT, syntax != BIG)
        ds.walk(
            lambda _ds, _element: None
        )  # every value is decoded here, where warnings are nobody's business
    return ds


def file(
    ds_bytes: bytes, syntax: str, sop_class: str = "1.2.840.10008.5.1.4.1.1.7", instance: str = "1.2.3.4"
) -> bytes:
    """A Part 10 file around a data set."""

    def element(tag: int, vr: bytes, value: bytes) -> bytes:
        value += b"\0" * (len(value) & 1)
        if vr == b"OB":
            return struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, vr, 0, len(value)) + value
        return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value

    meta = element(0x00020001, b"OB", b"\0\1")
    for tag, text in ((2, sop_class), (3, instance), (0x10, syntax), (0x12, "1.2.3")):
        meta += element(0x00020000 | tag, b"UI", text.encode())
    length = element(0x00020000, b"UL", struct.pack("<I", len(meta)))
    return bytes(128) + b"DICM" + length + meta + ds_bytes


_PACKAGED = Path(pydicom.__file__).parent / "data" / "test_files"


def samples() -> list[str]:
    """pydicom's packaged test files; what it would fetch from elsewhere is not asked for."""
    return sorted(str(path) for path in _PACKAGED.rglob("*.dcm"))


def packaged(name: str) -> Path:
    """One of them by name."""
    return next(path for path in sorted(_PACKAGED.rglob(name)) if path.is_file())
