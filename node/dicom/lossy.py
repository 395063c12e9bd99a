"""Compression that loses something: only for who asks for it by name (see transcode.Loss)."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import numpy as np

from node import errors
from node.dicom import codecs, pixels

_GREY = frozenset({"MONOCHROME1", "MONOCHROME2"})


def encoder(target: str, quality: float | None = None) -> codecs.Encoder:
    """The encoder of a lossy transfer syntax.

    Quality is, for JPEG, 1 to 100 (default 90); for JPEG-LS the largest error of a pixel (default 2); for
    JPEG 2000 the ratio of signal to noise in decibels (default 50), with six more for each bit above eight,
    so that the error of a pixel does not grow with their number.
    """
    found = _ENCODERS.get(target)
    if found is None:
        raise errors.UsageError(f"nothing here compresses in {target}")
    default, low, high, plain = found
    level = default if quality is None else quality
    if not low <= level <= high:
        raise errors.UsageError(f"a quality of {level:g} is not between {low:g} and {high:g} for {target}")
    encode = functools.partial(plain.encode, level=level)  # type: ignore[call-arg]
    return codecs.Encoder(
        encode, plain.most, plain.stored, plain.signs, plain.photometric, plain.takes, plain.method
    )


def _plane(array: codecs.Array, shown: pixels.Pixels) -> codecs.Array:
    return np.ascontiguousarray(array[:, :, 0] if shown.samples == 1 else array)


def _jpeg(array: codecs.Array, shown: pixels.Pixels, level: float = 90) -> bytes:
    import imagecodecs

    color = shown.samples == 3
    made = imagecodecs.jpeg8_encode(
        _plane(array, shown),
        level=round(level),
        colorspace="RGB" if color else None,
        outcolorspace="YCBCR" if color else None,
        subsampling="422" if color else None,
        bitspersample=12 if shown.stored > 8 else 8,
    )
    return bytes(made)


def _jpeg_ls(array: codecs.Array, shown: pixels.Pixels, level: float = 2) -> bytes:
    return codecs.encode_jpeg_ls(array, shown, round(level))


def _jpeg_2000(array: codecs.Array, shown: pixels.Pixels, level: float = 50) -> bytes:
    import imagecodecs

    color = shown.photometric == "RGB"
    made = imagecodecs.jpeg2k_encode(
        _plane(array, shown),
        level=round(level + 6.02 * max(shown.stored - 8, 0)),
        codecformat="j2k",
        colorspace="SRGB" if color else "UNSPECIFIED",
        bitspersample=shown.stored,
        reversible=False,
        mct=color,
        numthreads=1,
    )
    return bytes(made)


# Default, least and greatest quality. A sign or a palette does not bear being blurred.
_ENCODERS: Mapping[str, tuple[float, float, float, codecs.Encoder]] = {
    codecs.BASELINE: (
        *(90, 1, 100),
        codecs.Encoder(
            _jpeg,
            most=8,
            signs=False,
            photometric={"RGB": "YBR_FULL_422"},
            takes=_GREY | {"RGB"},
            method="ISO_10918_1",
        ),
    ),
    codecs.EXTENDED: (
        *(90, 1, 100),
        codecs.Encoder(_jpeg, stored=12, signs=False, takes=_GREY, method="ISO_10918_1"),
    ),
    codecs.JPEG_LS_NEAR: (
        *(2, 1, 255),
        codecs.Encoder(_jpeg_ls, signs=False, takes=_GREY | {"RGB"}, method="ISO_14495_1"),
    ),
    codecs.JPEG_2000: (
        *(50, 10, 150),
        codecs.Encoder(
            _jpeg_2000, photometric={"RGB": "YBR_ICT"}, takes=_GREY | {"RGB"}, method="ISO_15444_1"
        ),
    ),
}
