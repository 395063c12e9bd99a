"""Pixels in other transfer syntaxes: what comes out is what went in, and the data set says what it is."""

from __future__ import annotations

import io
import pathlib
import subprocess
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import openjpeg
import pydicom
import pydicom.pixels
import pytest

from node import errors
from node.dicom import codecs, pixels, transcode
from node.dicom import syntax as syntaxes
from node.wire import contexts
from tests import encoded, make, peers

EXPLICIT, IMPLICIT, BIG = make.EXPLICIT, make.IMPLICIT, make.BIG
JPEG = "1.2.840.10008.1.2.4."
TEST_FILES = pathlib.Path(pydicom.__file__).parent / "data" / "test_files"


def image(
    array: np.ndarray[Any, Any],
    *,
    stored: int,
    photometric: str = "MONOCHROME2",
    planar: int = 0,
    syntax: str = EXPLICIT,
    frames: int = 1,
    extra: Sequence[make.Element] = (),
    vr: str | None = None,
) -> bytes:
    """A data set with these pixels: rows, columns and, of colours, samples; frames first when several."""
    shape = array.shape[1:] if frames > 1 else array.shape
    samples = shape[2] if len(shape) == 3 else 1
    raw = array
    if planar:
        raw = np.moveaxis(array, -1, -3)
    allocated = array.dtype.itemsize * 8
    own = {
        0x00280002: make.element(0x00280002, "US", samples),
        0x00280004: make.element(0x00280004, "CS", photometric),
        0x00280008: make.element(0x00280008, "IS", frames),
        0x00280100: make.element(0x00280100, "US", allocated),
        0x00280101: make.element(0x00280101, "US", stored),
        0x00280102: make.element(0x00280102, "US", stored - 1),
        0x00280103: make.element(0x00280103, "US", int(array.dtype.kind == "i")),
        **({0x00280006: make.element(0x00280006, "US", planar)} if samples > 1 else {}),
        **{one.tag: one for one in extra},
    }
    head = make.head(
        sop_class=make.SECONDARY,
        sop_instance=make.uid("pixels"),
        study=make.uid("s"),
        series=make.uid("r"),
        rows=shape[0],
        columns=shape[1],
    )
    elements = [one for one in head if one.tag not in own] + list(own.values())
    elements.append(make.Element(0x7FE00010, vr or ("OB" if allocated == 8 else "OW"), raw.tobytes()))
    elements.sort(key=lambda one: one.tag)
    return make.encode(elements, syntax)


def made(data: bytes, syntax: str, target: str) -> bytes:
    out = io.BytesIO()
    out.write(b"before")
    size = transcode.transcode(data, syntax, target, out)
    assert size == len(out.getvalue()) - 6
    assert size % 2 == 0
    return out.getvalue()[6:]


def part10(data: bytes, syntax: str) -> bytes:
    return make.part10(make.Made(make.SECONDARY, make.uid("pixels"), "1.2", "1.3", syntax, data))


def read(data: bytes, syntax: str) -> pydicom.Dataset:
    return pydicom.dcmread(io.BytesIO(part10(data, syntax)))


def seen(found: pydicom.Dataset) -> np.ndarray[Any, Any]:
    """The pixels, with no conversion of colours."""
    return pydicom.pixels.pixel_array(found, raw=True)


def noise(shape: tuple[int, ...], bits: int, kind: str, seed: int = 1) -> np.ndarray[Any, Any]:
    """Half a slope, half noise, of these bits."""
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if kind.startswith("i") else (0, (1 << bits) - 1)
    found = np.random.default_rng(seed).integers(low, high + 1, shape)
    flat = found.reshape(-1)
    flat[: flat.size // 2] = np.arange(flat.size // 2) % (high - low + 1) + low
    return found.astype(f"<{kind}")


KINDS = {
    "8 bits": (noise((20, 30), 8, "u1"), 8, "MONOCHROME2", 0),
    "10 of 16 bits": (noise((20, 30), 10, "u2"), 10, "MONOCHROME1", 0),
    "12 signed bits": (noise((20, 30), 12, "i2"), 12, "MONOCHROME2", 0),
    "16 bits": (noise((21, 31), 16, "u2"), 16, "MONOCHROME2", 0),
    "16 signed bits": (noise((20, 30), 16, "i2"), 16, "MONOCHROME2", 0),
    "an odd length": (noise((15, 15), 8, "u1"), 8, "MONOCHROME2", 0),
    "a palette": (noise((20, 30), 8, "u1"), 8, "PALETTE COLOR", 0),
    "colours": (noise((20, 30, 3), 8, "u1"), 8, "RGB", 0),
    "colours in planes": (noise((20, 30, 3), 8, "u1"), 8, "RGB", 1),
    "colours of 16 bits": (noise((20, 30, 3), 16, "u2"), 16, "RGB", 1),
    "chrominances": (noise((21, 31, 3), 8, "u1"), 8, "YBR_FULL", 0),
    "odd colours": (noise((15, 15, 3), 8, "u1"), 8, "RGB", 0),
}
DCMTK = {JPEG + "70": "dcmdjpeg", JPEG + "80": "dcmdjpls", make.RLE: "dcmdrle"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("target", transcode.COMPRESSED)
def test_compressed_by_us_and_read_by_others(kind: str, target: str, tmp_path: pathlib.Path) -> None:
    array, stored, photometric, planar = KINDS[kind]
    before = image(array, stored=stored, photometric=photometric, planar=planar)
    after = made(before, EXPLICIT, target)
    found = read(after, target)
    assert found.BitsAllocated == array.dtype.itemsize * 8
    assert found["PixelData"].is_undefined_length
    if target in DCMTK:
        (tmp_path / "in").write_bytes(part10(after, target))
        out = tmp_path / "out"
        words = [peers.require(DCMTK[target]), *(["+cn"] if target == JPEG + "70" else [])]
        done = subprocess.run([*words, tmp_path / "in", out], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        other = pydicom.dcmread(out)
        assert other.PhotometricInterpretation == photometric
    else:
        assert found.PhotometricInterpretation == {"RGB": "YBR_RCT"}.get(photometric, photometric)
    if target == make.JPEG2000:
        (frame,) = pydicom.encaps.generate_frames(found.PixelData, number_of_frames=1)
        assert np.array_equal(openjpeg.decode(frame), array)
    else:
        assert np.array_equal(seen(other), array)
    # And back, by us.
    again = read(made(after, target, EXPLICIT), EXPLICIT)
    assert again.PhotometricInterpretation == photometric
    assert np.array_equal(seen(again), array)
    assert "LossyImageCompression" not in again


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("source", [IMPLICIT, BIG, make.DEFLATED])
def test_whatever_the_encoding_before(kind: str, source: str) -> None:
    array, stored, photometric, planar = KINDS[kind]
    data = image(array, stored=stored, photometric=photometric, planar=planar, syntax=source)
    back = read(made(made(data, source, make.RLE), make.RLE, BIG), BIG)
    assert np.array_equal(seen(back), array)


def test_frames_of_odd_length_as_words_in_big_endian() -> None:
    array = noise((2, 3, 5), 8, "u1")
    assert array[0].size % 2
    data = image(array, stored=8, frames=2, syntax=BIG, vr="OW")
    back = read(made(data, BIG, make.RLE), make.RLE)
    assert np.array_equal(seen(back), array)


def test_frames_keep_their_order_and_their_offsets() -> None:
    array = noise((5, 20, 30), 12, "u2")
    data = made(image(array, stored=12, frames=5), EXPLICIT, make.JPEG_LS)
    found = read(data, make.JPEG_LS)
    assert np.array_equal(seen(found), array)
    offsets = pydicom.encaps.parse_basic_offsets(found.PixelData)
    frames = list(pydicom.encaps.generate_frames(found.PixelData, number_of_frames=5))
    assert len(offsets) == len(frames) == 5
    starts = np.cumsum([0, *(8 + len(frame) for frame in frames[:-1])])
    assert list(offsets) == list(starts)


@pytest.mark.parametrize(
    ("program", "words", "undo"),
    [
        ("dcmcjpeg", ("+eb",), "dcmdjpeg"),  # chrominances at half the width
        ("dcmcjpeg", ("+eb", "+cr"), "dcmdjpeg"),  # RGB
        ("dcmcjpeg", ("+ep", "+s4"), "dcmdjpeg"),  # progressive, full chrominances
        ("dcmcjpeg", ("+e1",), "dcmdjpeg"),
        ("dcmcjpeg", ("+el", "+sv", "6"), "dcmdjpeg"),
        ("dcmcjpls", ("+el", "+il"), "dcmdjpls"),  # by line
        ("dcmcjpls", ("+el", "+iv"), "dcmdjpls"),  # by sample
        ("dcmcrle", (), "dcmdrle"),
    ],
)
def test_colours_come_out_as_dcmtk_has_them(
    program: str, words: tuple[str, ...], undo: str, tmp_path: pathlib.Path
) -> None:
    slopes = np.stack([np.add.outer(np.arange(40), np.arange(64) * step) % 256 for step in (1, 2, 3)], -1)
    (tmp_path / "before").write_bytes(
        part10(
            image(np.stack([slopes, slopes[::-1]]).astype("u1"), stored=8, frames=2, photometric="RGB"),
            EXPLICIT,
        )
    )
    for call in (
        [program, *words, tmp_path / "before", tmp_path / "coded"],
        [undo, tmp_path / "coded", tmp_path / "after"],
    ):
        done = subprocess.run(
            [peers.require(str(call[0])), *call[1:]], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    coded = encoded.read((tmp_path / "coded").read_bytes())
    theirs = pydicom.dcmread(tmp_path / "after")
    ours = read(made(coded.data, coded.syntax, EXPLICIT), EXPLICIT)
    assert np.array_equal(seen(ours), seen(theirs))
    for keyword in (
        "PhotometricInterpretation",
        "PlanarConfiguration",
        "BitsAllocated",
        "BitsStored",
        "NumberOfFrames",
        "LossyImageCompression",
        "LossyImageCompressionRatio",
        "LossyImageCompressionMethod",
    ):
        assert ours.get(keyword) == theirs.get(keyword), keyword


@pytest.mark.parametrize("words", [("+fs", "1"), ("+fs", "1", "-ot")])
def test_frames_in_many_fragments_are_put_together(words: tuple[str, ...], tmp_path: pathlib.Path) -> None:
    array = noise((3, 64, 64), 12, "u2")
    (tmp_path / "before").write_bytes(part10(image(array, stored=12, frames=3), EXPLICIT))
    call = [peers.require("dcmcjpeg"), "+e1", *words, str(tmp_path / "before"), str(tmp_path / "coded")]
    subprocess.run(call, check=True, capture_output=True)
    coded = encoded.read((tmp_path / "coded").read_bytes())
    assert np.array_equal(seen(read(made(coded.data, coded.syntax, EXPLICIT), EXPLICIT)), array)


def test_an_icon_is_decompressed_with_its_image(tmp_path: pathlib.Path) -> None:
    icon = (
        make.element(0x00280002, "US", 1),
        make.element(0x00280004, "CS", "MONOCHROME2"),
        make.element(0x00280010, "US", 16),
        make.element(0x00280011, "US", 16),
        make.element(0x00280100, "US", 8),
        make.element(0x00280101, "US", 8),
        make.element(0x00280102, "US", 7),
        make.element(0x00280103, "US", 0),
    )
    shown = pixels.Pixels(16, 16, 1, "MONOCHROME2", False, 1, 8, 8, False)
    small = noise((16, 16), 8, "u1")
    coded = codecs.ENCODERS[make.JPEG_LS].encode(small[:, :, None], shown)
    whole = (*icon, make.Element(0x7FE00010, "OB", fragments=(b"", coded + b"\0" * (len(coded) % 2))))
    array = noise((20, 30), 12, "u2")
    elements = [make.Element(0x00880200, "SQ", items=(whole,))]
    plain = made(image(array, stored=12), EXPLICIT, make.JPEG_LS)
    at = plain.index(b"\xe0\x7f\x10\x00OB")
    data = plain[:at] + make.encode(elements, EXPLICIT) + plain[at:]
    for target in (EXPLICIT, IMPLICIT, make.RLE):
        found = read(made(data, make.JPEG_LS, target), target)
        assert np.array_equal(seen(found), array)
        held = found.IconImageSequence[0]
        assert held.PixelData == small.tobytes()
        assert held.Rows == 16


def test_only_what_must_change_does() -> None:
    """From one compression to explicit little endian, the header stays byte for byte."""
    array = noise((20, 30), 12, "u2")
    data = image(array, stored=12)
    coded = made(data, EXPLICIT, make.JPEG_LS)
    assert made(coded, make.JPEG_LS, EXPLICIT) == data


def test_a_loss_that_nobody_spoke_of_is_said(tmp_path: pathlib.Path) -> None:
    import imagecodecs

    array = np.add.outer(np.arange(40), np.arange(64)).astype("u1")
    coded = bytes(imagecodecs.jpeg8_encode(array, level=60))
    data = image(array, stored=8)
    at = data.index(b"\xe0\x7f\x10\x00OB")
    fragments = make.encode([make.Element(0x7FE00010, "OB", fragments=(b"", coded))])
    found = read(made(data[:at] + fragments, JPEG + "50", EXPLICIT), EXPLICIT)
    assert found.LossyImageCompression == "01"
    assert found.LossyImageCompressionMethod == "ISO_10918_1"
    assert float(found.LossyImageCompressionRatio) == pytest.approx(
        array.size / (len(coded) + len(coded) % 2), 0.01
    )


@pytest.mark.parametrize(("uid", "reversible"), [("90", True), ("91", True), ("91", False)])
def test_jpeg_2000_that_lost_nothing_is_not_called_lossy(uid: str, reversible: bool) -> None:
    import imagecodecs

    array = noise((40, 64), 12, "u2")
    coded = bytes(
        imagecodecs.jpeg2k_encode(
            array, level=0 if reversible else 40, codecformat="j2k", bitspersample=12, reversible=reversible
        )
    )
    data = image(array, stored=12)
    at = data.index(b"\xe0\x7f\x10\x00OW")
    fragments = make.encode([make.Element(0x7FE00010, "OB", fragments=(b"", coded))])
    found = read(made(data[:at] + fragments, JPEG + uid, EXPLICIT), EXPLICIT)
    assert found.get("LossyImageCompression") == (None if reversible else "01")
    assert np.array_equal(seen(found), array) is reversible


@pytest.mark.parametrize(("name", "uids"), [("htj2k", ("201", "202", "203")), ("jpegxl", ("110", "112"))])
def test_the_newer_ones_are_read(name: str, uids: tuple[str, ...]) -> None:
    import imagecodecs

    encode: dict[str, Any] = {
        "htj2k": lambda one: imagecodecs.htj2k_encode(one, reversible=True),
        "jpegxl": lambda one: imagecodecs.jpegxl_encode(one, lossless=True, usecontainer=False, numthreads=1),
    }
    for array, photometric in (
        (noise((40, 64), 16, "u2"), "MONOCHROME2"),
        (noise((40, 64, 3), 8, "u1"), "RGB"),
    ):
        data = image(array, stored=array.dtype.itemsize * 8, photometric=photometric)
        coded = bytes(encode[name](array))
        at = data.index(b"\xe0\x7f\x10\x00O")
        fragments = make.encode([make.Element(0x7FE00010, "OB", fragments=(b"", coded))])
        for uid in uids:
            found = read(made(data[:at] + fragments, JPEG + uid, EXPLICIT), EXPLICIT)
            assert np.array_equal(seen(found), array), uid


def test_files_of_other_makers_keep_their_pixels() -> None:
    """What pydicom brings along, against what pydicom makes of it."""
    tried = 0
    for path in sorted(TEST_FILES.glob("*.dcm")):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                theirs = pydicom.dcmread(path)
                syntax = str(theirs.file_meta.TransferSyntaxUID)
                want = theirs.pixel_array
                coded = encoded.read(path.read_bytes())
                data = made(coded.data, syntax, IMPLICIT)
                found = read(data, IMPLICIT)
                got = found.pixel_array
            except (
                AttributeError,
                NotImplementedError,
                RuntimeError,
                ValueError,
                KeyError,
                pydicom.errors.InvalidDicomError,
                errors.NodeError,
            ):
                continue  # one of the two cannot read it: broken on purpose, or no decoder there
        if theirs.BitsAllocated == 32 and syntax == BIG:
            continue  # of which there are two traditions
        tried += 1
        assert np.array_equal(got, want), path.name
    assert tried >= 20


# -- with loss, where somebody says so -------------------------------------------------------------

BLURRED = {
    JPEG + "50": (np.add.outer(np.arange(40), np.arange(64)).astype("u1"), 8, "MONOCHROME2", 4),
    JPEG + "51": (np.add.outer(np.arange(40) * 9, np.arange(64) * 20).astype("u2"), 12, "MONOCHROME1", 40),
    JPEG + "81": (noise((40, 64), 12, "u2"), 12, "MONOCHROME2", 2),
    JPEG + "91": (
        np.add.outer(np.arange(40) * 9, np.arange(64) * 20).astype("i2") - 900,
        16,
        "MONOCHROME2",
        90,
    ),
    "colours": (
        np.stack([np.add.outer(np.arange(40), np.arange(64) * k) for k in (1, 2, 3)], -1).astype("u1"),
        8,
        "RGB",
        8,
    ),
}


@pytest.mark.parametrize("kind", BLURRED)
def test_a_loss_is_wanted_bounded_and_told(kind: str) -> None:
    array, stored, photometric, error = BLURRED[kind]
    target = JPEG + "50" if kind == "colours" else kind
    data = image(array, stored=stored, photometric=photometric)
    with pytest.raises(errors.UsageError, match="nothing here makes"):
        made(data, EXPLICIT, target)
    out = io.BytesIO()
    transcode.transcode(data, EXPLICIT, target, out, loss=transcode.Loss("1.2.3.4"))
    found = read(out.getvalue(), target)
    assert len(out.getvalue()) < len(data)
    assert found.SOPInstanceUID == "1.2.3.4"
    assert found.SourceImageSequence[0].ReferencedSOPInstanceUID == make.uid("pixels")
    assert list(found.ImageType)[:2] == ["DERIVED", "PRIMARY"]
    assert found.LossyImageCompression == "01"
    assert found.LossyImageCompressionRatio > 1
    assert found.PhotometricInterpretation == ("YBR_FULL_422" if kind == "colours" else photometric)
    plain = read(made(out.getvalue(), target, EXPLICIT), EXPLICIT)
    assert plain.PhotometricInterpretation == photometric
    assert np.abs(seen(plain).astype(int) - array.astype(int)).max() <= error
    # A second loss is added to the first.
    again = io.BytesIO()
    transcode.transcode(out.getvalue(), target, target, again, loss=transcode.Loss("1.2.3.5"))
    twice = read(again.getvalue(), target)
    assert len(twice.LossyImageCompressionMethod) == len(twice.LossyImageCompressionRatio) == 2
    assert "; " in twice.DerivationDescription


def test_what_does_not_bear_a_loss_gets_none() -> None:
    signed, palette = noise((20, 30), 12, "i2"), noise((20, 30), 8, "u1")
    for data, target in (
        (image(signed, stored=12), JPEG + "51"),
        (image(palette, stored=8, photometric="PALETTE COLOR"), JPEG + "50"),
        (image(noise((20, 30), 12, "u2"), stored=12), JPEG + "50"),
        (image(noise((20, 30), 16, "u2"), stored=16), JPEG + "51"),
    ):
        with pytest.raises(errors.UsageError, match="cannot be compressed"):
            transcode.transcode(data, EXPLICIT, target, io.BytesIO(), loss=transcode.Loss("1.2.3.4"))
    with pytest.raises(errors.UsageError, match="quality of 101"):
        transcode.transcode(
            image(palette, stored=8), EXPLICIT, JPEG + "50", io.BytesIO(), loss=transcode.Loss("1.2.3.4", 101)
        )
    with pytest.raises(errors.UsageError, match="nothing here makes"):  # which would lose nothing
        transcode.transcode(
            image(palette, stored=8), EXPLICIT, make.RLE, io.BytesIO(), loss=transcode.Loss("1.2.3.4")
        )


# -- what must be refused -------------------------------------------------------------------------


def _with(data: bytes, tag: int, vr: str, value: object) -> bytes:
    from node.dicom import edit
    from node.dicom import vr as vrs

    return edit.edit(data, EXPLICIT, [edit.Set(vrs.keyword(tag), value, vr=vr)]).tobytes()  # type: ignore[arg-type]


@pytest.mark.parametrize("coded", [*transcode.COMPRESSED])
@pytest.mark.parametrize(
    ("tag", "vr", "value"),
    [
        (0x00280010, "US", 65535),
        (0x00280011, "US", 31),
        (0x00280002, "US", 3),
        (0x00280008, "IS", 2_000_000_000),
        (0x00280100, "US", 8),
        (0x00280100, "US", 13),
    ],
)
def test_a_header_that_lies_about_its_image(coded: str, tag: int, vr: str, value: object) -> None:
    data = made(image(noise((20, 30), 12, "u2"), stored=12), EXPLICIT, coded)
    with pytest.raises(errors.BadData):
        made(_with(data, tag, vr, value), coded, EXPLICIT)


@pytest.mark.parametrize("coded", [*transcode.COMPRESSED])
def test_an_image_that_breaks_off_or_is_none(coded: str) -> None:
    data = made(image(noise((20, 30), 12, "u2"), stored=12), EXPLICIT, coded)
    start = data.index(b"\xe0\x7f\x10\x00OB")
    head = data[:start]
    fragment = data[start + 12 + 12 + 8 : -8]
    for bad in (b"", b"\0\0", fragment[:4], fragment[: len(fragment) // 2 & ~1], b"\xff" * 100):
        broken = head + make.encode([make.Element(0x7FE00010, "OB", fragments=(b"", bad))])
        try:
            after = made(broken, coded, EXPLICIT)
        except errors.BadData:
            continue
        # Some decoders go on over what lacks: then the frame is at least as large as it must be.
        assert read(after, EXPLICIT).pixel_array.shape == (20, 30)


@pytest.mark.parametrize("at", [24, 28, 32, 36])
def test_jpeg_2000_tiles_that_cannot_be(at: int) -> None:
    """Decoders loop for minutes over such a grid."""
    data = bytearray(made(image(noise((20, 30), 12, "u2"), stored=12), EXPLICIT, make.JPEG2000))
    begin = data.index(b"\xff\x4f\xff\x51")
    for value in (b"\xff\xff\0\0",) if at >= 32 else (b"\0\0\0\0",):
        data[begin + at : begin + at + 4] = value
        with pytest.raises(errors.BadData, match="JPEG 2000 tiles"):
            made(bytes(data), make.JPEG2000, EXPLICIT)


def test_native_pixels_that_are_not_all_there() -> None:
    data = _with(image(noise((20, 30), 12, "u2"), stored=12), 0x00280010, "US", 21)
    with pytest.raises(errors.BadData, match="bytes of pixel data where"):
        made(data, EXPLICIT, make.RLE)
    # As it is, it can be written in another encoding all the same: nothing is lost by that.
    assert len(made(data, EXPLICIT, IMPLICIT)) > 1200


def test_bits_beyond_those_stored_are_not_lost_silently() -> None:
    array = noise((20, 30), 12, "u2") | 0xF000
    data = image(array, stored=12)
    for target in (make.JPEG_LS, make.JPEG2000, JPEG + "70"):
        with pytest.raises(errors.UsageError, match="more than the 12 bits"):
            made(data, EXPLICIT, target)
    assert made(made(data, EXPLICIT, make.RLE), make.RLE, EXPLICIT) == data


def test_what_has_no_pixels_is_not_compressed_and_is_written_anew() -> None:
    report = make.encode([make.element(0x00080016, "UI", "1.2"), make.element(0x00080060, "CS", "SR")])
    with pytest.raises(errors.UsageError, match="no pixel data"):
        made(report, EXPLICIT, make.JPEG_LS)
    assert made(report, EXPLICIT, IMPLICIT) == make.encode(
        [make.element(0x00080016, "UI", "1.2"), make.element(0x00080060, "CS", "SR")], IMPLICIT
    )


def test_a_deflated_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transcode, "INFLATE_CAP", 1 << 16)
    bomb = syntaxes.deflate(bytes(1 << 20))
    with pytest.raises(errors.BadData, match="inflates to more"):
        made(bomb, make.DEFLATED, EXPLICIT)


def test_no_way_is_said_and_every_way_has_its_codec() -> None:
    for uid in (JPEG + "102", JPEG + "94", JPEG + "66", "1.2.3"):
        assert transcode.targets(uid) == ()
        with pytest.raises(errors.UsageError, match="nothing here makes"):
            made(b"", uid, EXPLICIT)
    assert set(transcode.COMPRESSED) == set(codecs.ENCODERS)
    readable = {uid for uid in contexts.TRANSFER_SYNTAXES if transcode.targets(uid)}
    assert readable == {*transcode.NATIVE, *codecs.DECODERS}
    assert transcode.targets(JPEG + "50")[:2] == (EXPLICIT, IMPLICIT)
    assert EXPLICIT not in transcode.targets(EXPLICIT)
