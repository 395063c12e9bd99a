"""One frame of pixels in and out of each compression.

Decoded, a frame is an array of (rows, columns, samples), in the width that the data set allocates, little
endian, its sign extended. Runs in a worker process: the libraries underneath read what strangers wrote.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from node import errors
from node.dicom import codestream, pixels, syntax

_JPEG = "1.2.840.10008.1.2.4."
BASELINE, EXTENDED = _JPEG + "50", _JPEG + "51"
LOSSLESS, LOSSLESS_SV1 = _JPEG + "57", _JPEG + "70"
JPEG_LS, JPEG_LS_NEAR = _JPEG + "80", _JPEG + "81"
JPEG_2000_LOSSLESS, JPEG_2000 = _JPEG + "90", _JPEG + "91"
HTJ2K_LOSSLESS, HTJ2K_RPCL, HTJ2K = _JPEG + "201", _JPEG + "202", _JPEG + "203"
JXL_LOSSLESS, JXL_JPEG, JXL = _JPEG + "110", _JPEG + "111", _JPEG + "112"
RLE = "1.2.840.10008.1.2.5"
UNCOMPRESSED_FRAMES = "1.2.840.10008.1.2.1.98"
DEFLATED_FRAMES = syntax.DEFLATED_IMAGE_FRAME

Array = np.ndarray[Any, np.dtype[Any]]


@dataclasses.dataclass(frozen=True, slots=True)
class Codec:
    """A compression that can be undone here."""

    decode: Callable[
        [bytes, pixels.Pixels], tuple[Array, str]
    ]  # the frame, and its Photometric Interpretation
    method: str = ""  # Lossy Image Compression Method; "": it loses nothing
    maybe: bool = False  # it may lose nothing all the same: the image itself says


def _array(found: Any, shown: pixels.Pixels) -> Array:
    """What a library returned, in the shape and width that the data set says."""
    array = np.asarray(found)
    if array.ndim == 2:
        array = array[:, :, None]
    elif array.ndim == 3 and array.shape[0] == shown.samples and array.shape[2] != shown.samples:
        array = np.moveaxis(array, 0, 2)  # plane by plane
    if array.shape != (shown.rows, shown.columns, shown.samples):
        raise errors.BadData(
            f"a frame of {array.shape} where the data set says {shown.rows} rows, {shown.columns} columns"
            f" and {shown.samples} samples"
        )
    if array.dtype.kind not in "iu":
        raise errors.BadData(f"a frame of {array.dtype} where whole numbers belong")
    return _extended(array, shown)


def _extended(array: Array, shown: pixels.Pixels) -> Array:
    """In the width that is allocated, with the sign that the data set says."""
    wide = array.astype(np.dtype(f"<{'i' if array.dtype.kind == 'i' else 'u'}{shown.width}"), copy=False)
    kind = np.dtype(f"<{'i' if shown.signed else 'u'}{shown.width}")
    shift = shown.allocated - shown.stored
    if not shown.signed:
        return wide.view(kind) if wide.dtype.kind == "i" else wide
    if not shift:
        return wide.view(kind)
    # Most compressions know no sign: what they hold are the bits that are stored.
    made: Array = np.right_shift(np.left_shift(wide.view(kind), shift), shift)
    return made


def _check(found: codestream.Image, shown: pixels.Pixels) -> codestream.Image:
    """What the image says of itself must be what the data set says: nothing else is decoded."""
    if (found.rows, found.columns, found.samples) != (shown.rows, shown.columns, shown.samples):
        raise errors.BadData(
            f"a compressed frame of {found.rows} rows, {found.columns} columns and {found.samples} samples;"
            f" the data set says {shown.rows}, {shown.columns} and {shown.samples}"
        )
    if found.bits > shown.allocated:
        raise errors.BadData(f"a compressed frame of {found.bits} bits in {shown.allocated} allocated ones")
    return found


def _decode_jpeg(data: bytes, shown: pixels.Pixels) -> tuple[Array, str]:
    import imagecodecs

    found = _check(codestream.jpeg(data), shown)
    # The library fills up what is missing and only warns; within compressed samples these bytes cannot stand.
    if data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda"):
        raise errors.BadData("a JPEG image breaks off before its end")
    if shown.samples != 3:
        return _array(imagecodecs.jpeg8_decode(data), shown), shown.photometric
    # What the image says counts more than what the data set says: encoders put the former right.
    transformed = found.transformed
    if transformed is None:
        transformed = shown.photometric.startswith("YBR")
    if found.reversible:  # a lossless process: its samples are what the data set says they are
        same = imagecodecs.jpeg8_decode(data, colorspace="RGB", outcolorspace="RGB")
        return _array(same, shown), _untransformed(shown)
    space = "YCBCR" if transformed else "RGB"
    return _array(imagecodecs.jpeg8_decode(data, colorspace=space, outcolorspace="RGB"), shown), "RGB"


def _decode_jpeg_ls(data: bytes, shown: pixels.Pixels) -> tuple[Array, str]:
    import imagecodecs

    _check(codestream.jpeg(data), shown)
    return _array(imagecodecs.jpegls_decode(data), shown), _untransformed(shown)


def _decode_jpeg_2000(data: bytes, shown: pixels.Pixels) -> tuple[Array, str]:
    """Part 15 too, by OpenJPEG: a fuzzer soon had OpenJPH, which is faster, crash."""
    import imagecodecs

    _check(codestream.jpeg2000(data), shown)
    return _array(imagecodecs.jpeg2k_decode(data, numthreads=1), shown), _untransformed(shown)


def _decode_jpeg_xl(data: bytes, shown: pixels.Pixels) -> tuple[Array, str]:
    import imagecodecs

    photometric = "RGB" if shown.samples == 3 else shown.photometric
    found = np.asarray(imagecodecs.jpegxl_decode(data, numthreads=1))
    return _array(found, shown), photometric


def _untransformed(shown: pixels.Pixels) -> str:
    """JPEG 2000 undoes its own transforms while decoding, and no frame comes out with fewer chrominances."""
    if shown.photometric in ("YBR_RCT", "YBR_ICT"):
        return "RGB"
    return "YBR_FULL" if shown.photometric == "YBR_FULL_422" else shown.photometric


def _decode_rle(data: bytes, shown: pixels.Pixels) -> tuple[Array, str]:
    """Byte planes, the highest of each sample first (PS3.5 annex G)."""
    import imagecodecs

    count = shown.samples * shown.width
    if len(data) < 64 or int.from_bytes(data[:4], "little") != count:
        raise errors.BadData(f"an RLE frame without the {count} segments that its data set says")
    starts = [int.from_bytes(data[at : at + 4], "little") for at in range(4, 4 + 4 * count, 4)]
    if starts[0] < 64 or any(a >= b for a, b in zip(starts, [*starts[1:], len(data) + 1], strict=True)):
        raise errors.BadData("the segments of an RLE frame lie across each other or beyond its end")
    size = shown.rows * shown.columns
    out = np.empty((size, shown.samples, shown.width), dtype=np.uint8)
    for at, (start, end) in enumerate(zip(starts, [*starts[1:], len(data)], strict=True)):
        plane = bytearray(size)
        got = imagecodecs.packbits_decode(data[start:end], out=plane)
        if len(got) < size:
            raise errors.BadData(f"an RLE segment of {len(got)} bytes where {size} belong")
        sample, byte = divmod(at, shown.width)
        out[:, sample, shown.width - 1 - byte] = np.frombuffer(plane, np.uint8)
    kind = np.dtype(f"<{'i' if shown.signed else 'u'}{shown.width}")
    # As it is: RLE keeps every bit, those above the stored ones too.
    return out.view(kind).reshape(shown.rows, shown.columns, shown.samples), _untransformed(shown)


def _decode_native(data: bytes, shown: pixels.Pixels) -> tuple[Array, str]:
    return native(data, shown), shown.photometric


def _decode_deflated(data: bytes, shown: pixels.Pixels) -> tuple[Array, str]:
    size = shown.frame_size
    try:
        made = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, size + 2)
    except zlib.error as fault:
        raise errors.BadData(f"a deflated frame cannot be inflated ({fault})") from None
    if not size <= len(made) <= size + 1:
        raise errors.BadData(f"a deflated frame inflates to something else than {size} bytes")
    return native(made, shown), shown.photometric


def native(data: bytes | memoryview, shown: pixels.Pixels) -> Array:
    """An uncompressed frame, little endian, as an array."""
    if len(data) < shown.frame_size or shown.frame_bits != shown.frame_size * 8:
        raise errors.BadData(f"a frame of {len(data)} bytes where {shown.frame_size} belong")
    kind = np.dtype(f"<{'i' if shown.signed else 'u'}{shown.width}")
    array = np.frombuffer(data, kind, shown.rows * shown.columns * shown.samples)
    if shown.planar:
        return np.moveaxis(array.reshape(shown.samples, shown.rows, shown.columns), 0, 2)
    return array.reshape(shown.rows, shown.columns, shown.samples)


DECODERS: Mapping[str, Codec] = {
    BASELINE: Codec(_decode_jpeg, "ISO_10918_1"),
    EXTENDED: Codec(_decode_jpeg, "ISO_10918_1"),
    _JPEG + "53": Codec(_decode_jpeg, "ISO_10918_1"),
    _JPEG + "55": Codec(_decode_jpeg, "ISO_10918_1"),
    LOSSLESS: Codec(_decode_jpeg),
    LOSSLESS_SV1: Codec(_decode_jpeg),
    JPEG_LS: Codec(_decode_jpeg_ls),
    JPEG_LS_NEAR: Codec(_decode_jpeg_ls, "ISO_14495_1", maybe=True),
    JPEG_2000_LOSSLESS: Codec(_decode_jpeg_2000),
    JPEG_2000: Codec(_decode_jpeg_2000, "ISO_15444_1", maybe=True),
    HTJ2K_LOSSLESS: Codec(_decode_jpeg_2000),
    HTJ2K_RPCL: Codec(_decode_jpeg_2000),
    HTJ2K: Codec(_decode_jpeg_2000, "ISO_15444_15", maybe=True),
    JXL_LOSSLESS: Codec(_decode_jpeg_xl),
    JXL_JPEG: Codec(_decode_jpeg_xl, "ISO_10918_1"),
    JXL: Codec(_decode_jpeg_xl, "ISO_18181_1", maybe=True),
    RLE: Codec(_decode_rle),
    UNCOMPRESSED_FRAMES: Codec(_decode_native),
    DEFLATED_FRAMES: Codec(_decode_deflated),
}


def load() -> None:
    """Load every library, so that the first frame need not wait for them."""
    import imagecodecs
    import jpeg_ls  # noqa: F401 - loaded, not used

    for name in ("jpeg8", "jpegls", "jpeg2k", "jpegxl", "packbits"):
        getattr(imagecodecs, f"{name}_decode")


_LIBRARIES: Mapping[Callable[..., Any], str] = {
    _decode_jpeg: "jpeg8",
    _decode_jpeg_ls: "jpegls",
    _decode_jpeg_2000: "jpeg2k",
    _decode_jpeg_xl: "jpegxl",
    _decode_rle: "packbits",
}


def prepare(syntaxes: Iterable[str]) -> None:
    """Load the libraries of these transfer syntaxes, and no others."""
    import imagecodecs

    for one in syntaxes:
        codec = DECODERS.get(one)
        name = None if codec is None else _LIBRARIES.get(codec.decode)
        if name is not None:
            getattr(imagecodecs, f"{name}_decode")


def decode(coded: str, data: bytes, shown: pixels.Pixels) -> tuple[Array, str]:
    """A frame in a transfer syntax, and its Photometric Interpretation; BadData when it is none."""
    try:
        return DECODERS[coded].decode(data, shown)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:  # what the libraries raise
        raise errors.BadData(f"a frame of pixel data cannot be decoded ({error})") from error


@dataclasses.dataclass(frozen=True, slots=True)
class Encoder:
    """A compression that can be made here."""

    encode: Callable[[Array, pixels.Pixels], bytes]
    most: int = 16  # bits allocated
    stored: int = 0  # bits stored at most; 0: as many as are allocated
    signs: bool = True  # it takes signed pixels
    photometric: Mapping[str, str] = dataclasses.field(default_factory=dict)  # what it changes of it
    takes: frozenset[str] = frozenset(
        {"MONOCHROME1", "MONOCHROME2", "RGB", "YBR_FULL", "PALETTE COLOR"}
    )  # Photometric Interpretations
    method: str = ""  # Lossy Image Compression Method; "": it loses nothing


def _encode_rle(array: Array, shown: pixels.Pixels) -> bytes:
    import imagecodecs

    bytes_ = np.ascontiguousarray(array).view(np.uint8).reshape(shown.rows, shown.columns, -1)
    segments: list[bytes] = []
    for sample in range(shown.samples):
        for byte in reversed(range(shown.width)):
            plane = np.ascontiguousarray(bytes_[:, :, sample * shown.width + byte])
            # Each row for itself (PS3.5 G.3.1).
            made = bytes(imagecodecs.packbits_encode(plane, axis=1))
            segments.append(made + b"\0" * (len(made) & 1))
    starts = [64]
    for segment in segments[:-1]:
        starts.append(starts[-1] + len(segment))
    head = [len(segments), *starts]
    if len(head) > 16:
        raise errors.UsageError(f"RLE holds at most 15 segments, and this image has {len(segments)}")
    words = np.zeros(16, "<u4")
    words[: len(head)] = head
    return words.tobytes() + b"".join(segments)


def _raw(array: Array, shown: pixels.Pixels) -> Array:
    """The bits that are stored, without a sign."""
    plain = array.view(np.dtype(f"<u{shown.width}"))
    made: Array = plain & np.array((1 << shown.stored) - 1, plain.dtype)
    return np.ascontiguousarray(made[:, :, 0] if shown.samples == 1 else made)


def encode_jpeg_ls(array: Array, shown: pixels.Pixels, error: int = 0) -> bytes:
    """A frame in JPEG-LS; `error` is by how much a sample may differ."""
    import jpeg_ls

    raw = _raw(array, shown).tobytes()
    mode = {} if shown.samples == 1 else {"interleave_mode": 2}
    made = jpeg_ls.encode_buffer(
        raw,
        rows=shown.rows,
        columns=shown.columns,
        samples_per_pixel=shown.samples,
        bits_stored=max(shown.stored, 2),
        lossy_error=error,
        **mode,
    )
    return bytes(made)


def _encode_jpeg_2000(array: Array, shown: pixels.Pixels) -> bytes:
    import imagecodecs

    plain = np.ascontiguousarray(array[:, :, 0] if shown.samples == 1 else array)
    made = imagecodecs.jpeg2k_encode(
        plain,
        level=0,
        codecformat="j2k",
        colorspace="SRGB" if shown.photometric == "RGB" else "UNSPECIFIED",
        bitspersample=shown.stored,
        reversible=True,
        mct=shown.photometric == "RGB",
        numthreads=1,
    )
    return bytes(made)


def _encode_jpeg_lossless(array: Array, shown: pixels.Pixels) -> bytes:
    import imagecodecs

    space = None if shown.samples == 1 else "RGB"
    made = imagecodecs.jpeg8_encode(
        _raw(array, shown),
        lossless=True,
        predictor=1,
        bitspersample=max(shown.stored, 2),
        colorspace=space,
        outcolorspace=space,
    )
    return bytes(made)


ENCODERS: Mapping[str, Encoder] = {
    JPEG_LS: Encoder(encode_jpeg_ls),
    JPEG_2000_LOSSLESS: Encoder(_encode_jpeg_2000, photometric={"RGB": "YBR_RCT"}),
    LOSSLESS_SV1: Encoder(_encode_jpeg_lossless),
    RLE: Encoder(_encode_rle, most=32),
}
