"""An image of two frames in every transfer syntax of the standard.

Where an encoder is at hand its output is used: DCMTK's programs, OpenJPEG, CharLS, zlib.
For what nothing here encodes (retired JPEG processes, JPEG 2000 Part 2, JPEG XL, HTJ2K, MPEG, HEVC) the
stream is made by hand: well formed as an encapsulated value, with the syntax's own first bytes, and not
to be decoded. The JPIP syntaxes have no pixel data by definition, only the address of them.
"""

from __future__ import annotations

import functools
import io
import pathlib
import struct
import subprocess
import zlib
from collections.abc import Callable

import pydicom
from pydicom import uid as uids

from tests import make, peers

ROWS, COLUMNS, FRAMES = 40, 64, 2
WORDS = "1.2.840.10008.5.1.4.1.1.7.3"  # Multi-frame Grayscale Word Secondary Capture
BYTES = "1.2.840.10008.5.1.4.1.1.7.2"  # Multi-frame Grayscale Byte Secondary Capture

_JPEG = "1.2.840.10008.1.2.4."

# What DCMTK encodes: the program and its words, and the bits stored that the process takes.
DCMTK: dict[str, tuple[int, str, tuple[str, ...]]] = {
    make.IMPLICIT: (12, "dcmconv", ("+ti",)),
    make.EXPLICIT: (12, "dcmconv", ("+te", "-e")),
    make.BIG: (12, "dcmconv", ("+tb",)),
    make.DEFLATED: (12, "dcmconv", ("+td",)),
    _JPEG + "50": (8, "dcmcjpeg", ("+eb",)),
    _JPEG + "51": (12, "dcmcjpeg", ("+ee",)),
    _JPEG + "53": (12, "dcmcjpeg", ("+es",)),
    _JPEG + "55": (12, "dcmcjpeg", ("+ep",)),
    _JPEG + "57": (12, "dcmcjpeg", ("+el",)),
    _JPEG + "70": (12, "dcmcjpeg", ("+e1",)),
    _JPEG + "80": (12, "dcmcjpls", ("+el",)),
    make.RLE: (12, "dcmcrle", ()),
}
NEAR_LOSSLESS = _JPEG + "81"  # CharLS
# What OpenJPEG encodes, and how hard; none: lossless.
OPENJPEG: dict[str, list[float] | None] = {_JPEG + "90": None, _JPEG + "91": [5.0]}
# How a codestream of those begins that nothing here encodes.
BEGINNINGS: dict[str, bytes] = {
    # SOI, then the frame header of the process (ITU-T T.81 table B.1).
    **{
        _JPEG + str(number): b"\xff\xd8\xff" + bytes([frame])
        for number, frame in (
            (52, 0xC9),
            (54, 0xCA),
            (56, 0xCA),
            (58, 0xCB),
            (59, 0xC5),
            (60, 0xCD),
            (61, 0xC6),
            (62, 0xCE),
            (63, 0xC6),
            (64, 0xCE),
            (65, 0xC7),
            (66, 0xCF),
        )
    },
    **{_JPEG + str(number): b"\xff\x4f\xff\x51" for number in (92, 93)},  # SOC, SIZ
    **{_JPEG + str(number): b"\xff\x4f\xff\x51\x00\x2f\x40\x00" for number in (201, 202, 203)},  # and Part 15
    **{_JPEG + str(number): b"\xff\x0a" for number in (110, 111, 112)},  # a bare JPEG XL codestream
}
VIDEO: dict[str, bytes] = {
    **{_JPEG + number: b"\0\0\1\xb3" for number in ("100", "100.1", "101", "101.1")},  # sequence header
    **{
        _JPEG + number: b"\0\0\0\1\x67"  # sequence parameter set
        for number in ("102", "102.1", "103", "103.1", "104", "104.1", "105", "105.1", "106", "106.1")
    },
    **{_JPEG + number: b"\0\0\0\1\x40\1" for number in ("107", "108")},  # video parameter set
}
JPIP = {_JPEG + "94": False, _JPEG + "204": False, _JPEG + "95": True, _JPEG + "205": True}  # deflated?
UNCOMPRESSED_FRAMES = "1.2.840.10008.1.2.1.98"
DEFLATED_FRAMES = "1.2.840.10008.1.2.8.1"
PAPYRUS = "1.2.840.10008.1.20"


def encoded(syntax: str, folder: pathlib.Path) -> make.Made:
    """The image in a transfer syntax; KeyError for one that nobody here knows how to make."""
    if syntax in DCMTK:
        return _dcmtk(syntax, folder)
    if syntax == NEAR_LOSSLESS:
        return _near_lossless(syntax)
    if syntax in JPIP:
        return _jpip(syntax)
    if syntax == PAPYRUS:
        return _built(syntax, make.Element(0x7FE00010, "OW", b"".join(_frames(12))), make.IMPLICIT)
    return _built(syntax, make.Element(0x7FE00010, "OB", fragments=_fragments(syntax)), make.EXPLICIT)


def _frames(bits: int) -> list[bytes]:
    """Slopes that lossy encoders bear, another one in each frame."""
    most = (1 << bits) - 1
    values = [
        [
            (row * 5 + column * (3 + frame) * 2) % (most + 1)
            for row in range(ROWS)
            for column in range(COLUMNS)
        ]
        for frame in range(FRAMES)
    ]
    return [struct.pack(f"<{len(of)}{'H' if bits > 8 else 'B'}", *of) for of in values]


def _elements(syntax: str, bits: int, *, frames: int = FRAMES) -> list[make.Element]:
    series = make.uid("encoded", "series")
    head = make.head(
        sop_class=WORDS if bits > 8 else BYTES,
        sop_instance=make.uid("encoded", syntax),
        study=make.uid("encoded", "study"),
        series=series,
        rows=ROWS,
        columns=COLUMNS,
    )
    own = {
        one.tag: one
        for one in (
            make.element(0x00280008, "IS", frames),
            make.element(0x00280100, "US", 16 if bits > 8 else 8),
            make.element(0x00280101, "US", bits),
            make.element(0x00280102, "US", bits - 1),
        )
    }
    return sorted([*(one for one in head if one.tag not in own), *own.values()], key=lambda one: one.tag)


def _built(syntax: str, pixels: make.Element, written: str, bits: int = 12) -> make.Made:
    """From elements of our own, in the encoding `written`."""
    data = make.encode([*_elements(syntax, bits), pixels], written)
    return make.Made(
        WORDS if bits > 8 else BYTES,
        make.uid("encoded", syntax),
        make.uid("encoded", "study"),
        make.uid("encoded", "series"),
        syntax,
        data,
    )


def _native(syntax: str, bits: int) -> make.Made:
    """Uncompressed, for an encoder to read."""
    pixels = make.Element(0x7FE00010, "OW" if bits > 8 else "OB", b"".join(_frames(bits)))
    made = _built(syntax, pixels, make.EXPLICIT, bits)
    return make.Made(made.sop_class, made.sop_instance, made.study, made.series, make.EXPLICIT, made.data)


def _dcmtk(syntax: str, folder: pathlib.Path) -> make.Made:
    bits, program, words = DCMTK[syntax]
    before, after = folder / "native.dcm", folder / "encoded.dcm"
    before.write_bytes(make.part10(_native(syntax, bits)))
    done = subprocess.run(
        [peers.require(program), *words, str(before), str(after)],
        env=peers.environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return read(after.read_bytes())


def _near_lossless(syntax: str) -> make.Made:
    whole = pydicom.dcmread(io.BytesIO(make.part10(_native(syntax, 12))))
    whole.compress(uids.UID(syntax), encoding_plugin="pyjpegls", jls_error=2)
    out = io.BytesIO()
    whole.save_as(out)
    return read(out.getvalue())


def read(content: bytes) -> make.Made:
    """What a Part 10 file holds."""
    found = pydicom.dcmread(io.BytesIO(content), stop_before_pixels=True)
    offset = 144 + int.from_bytes(content[140:144], "little")
    return make.Made(
        str(found.SOPClassUID),
        str(found.SOPInstanceUID),
        str(found.StudyInstanceUID),
        str(found.SeriesInstanceUID),
        str(found.file_meta.TransferSyntaxUID),
        content[offset:],
    )


def _fragments(syntax: str) -> tuple[bytes, ...]:
    """The basic offset table and the fragments."""
    if syntax in VIDEO:
        # One stream over fragments that end where they like, one of them with what looks like the end.
        stream = VIDEO[syntax] + b"\xfe\xff\xdd\xe0\0\0\0\0" + bytes(range(256)) * 20
        return (b"", stream[:1000], stream[1000:1002], stream[1002:])
    frame: Callable[[bytes], bytes]
    if syntax == UNCOMPRESSED_FRAMES:
        frame = bytes
    elif syntax == DEFLATED_FRAMES:
        frame = _deflated
    elif syntax in OPENJPEG:
        frame = functools.partial(_jpeg2000, ratios=OPENJPEG[syntax])
    else:
        beginning = BEGINNINGS[syntax]

        def frame(raw: bytes) -> bytes:
            return beginning + raw + b"\xff\xd9"

    parts = [frame(raw) for raw in _frames(12)]
    parts = [part + b"\0" * (len(part) & 1) for part in parts]
    return (struct.pack("<II", 0, 8 + len(parts[0])), *parts)


def _jpeg2000(raw: bytes, ratios: list[float] | None) -> bytes:
    from openjpeg import utils

    return bytes(utils.encode_buffer(raw, COLUMNS, ROWS, 1, 12, False, compression_ratios=ratios))


def _deflated(raw: bytes) -> bytes:
    squeeze = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return squeeze.compress(raw) + squeeze.flush()


def _jpip(syntax: str) -> make.Made:
    """The pixels stand at an address; nothing asks for it."""
    provider = make.element(0x00287FE0, "UR", "http://pixels.invalid/frames")
    return _built(syntax, provider, make.DEFLATED if JPIP[syntax] else make.EXPLICIT)
