"""Colours as red, green and blue: luminance and chrominance undone, palettes looked up."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from node import errors
from node.dicom import scan
from node.volume.pixels import lookup

Array = np.ndarray[Any, np.dtype[Any]]

PALETTE = "PALETTE COLOR"
_FULL = frozenset({"YBR_FULL", "YBR_FULL_422"})
_PARTIAL = frozenset({"YBR_PARTIAL_422", "YBR_PARTIAL_420"})
_MADE = frozenset({"RGB", "YBR_ICT", "YBR_RCT"})  # whoever decodes undoes the transforms of JPEG 2000

_DESCRIPTORS = (0x00281101, 0x00281102, 0x00281103)
_DATA = (0x00281201, 0x00281202, 0x00281203)
_SEGMENTED = (0x00281221, 0x00281222, 0x00281223)
_PIECE = 1 << 18  # pixels converted at a time: what is between lies in the processor's cache

# PS3.3 C.7.6.3.1.2: red, green, blue of (Y, Cb - half, Cr - half).
_FROM_FULL = np.array(((1.0, 0.0, 1.402), (1.0, -0.344136, -0.714136), (1.0, 1.772, 0.0)))
_FROM_PARTIAL = np.array(((1.1644, 0.0, 1.5960), (1.1644, -0.3917, -0.8130), (1.1644, 2.0173, 0.0)))


@dataclasses.dataclass(frozen=True, slots=True)
class Palette:
    """The colours that stored values stand for."""

    colours: Array  # (entries, 3), uint8
    first: int  # the stored value of the first entry; lower ones are that one too

    def of(self, found: Array) -> Array:
        """Colours of values."""
        at = np.clip(found.astype(np.int64) - self.first, 0, len(self.colours) - 1)
        made: Array = self.colours[at]
        return made


def known(photometric: str) -> bool:
    """Whether colours of this Photometric Interpretation can be made red, green and blue."""
    return photometric in _FULL or photometric in _PARTIAL or photometric in _MADE or photometric == PALETTE


def rgb(found: Array, photometric: str, bits: int) -> Array:
    """Red, green, blue of an array whose last axis is the samples as `photometric` names them."""
    if photometric in _MADE:
        return found
    full = photometric in _FULL
    if not full and photometric not in _PARTIAL:
        raise errors.BadData(f"colours of {photometric[:16]!r} cannot be made red, green and blue")
    half, most = 1 << (bits - 1), (1 << bits) - 1
    matrix = (_FROM_FULL if full else _FROM_PARTIAL).T
    base = (0.0 if full else 16.0 * (1 << (bits - 8)), half, half)
    flat = found.reshape(-1, 3)
    out = np.empty(flat.shape, found.dtype)
    for at in range(0, len(flat), _PIECE):
        made = (flat[at : at + _PIECE] - base) @ matrix
        np.floor(made + 0.5, out=made)
        out[at : at + _PIECE] = np.clip(made, 0, most)
    return out.reshape(found.shape)


def palette(header: scan.Table, *, signed: bool) -> Palette:
    """The palette of a data set, in 8 bits for each colour; BadData when it has none."""
    parts = [
        lookup.table(header, descriptor, data, segmented, signed=signed)
        for descriptor, data, segmented in zip(_DESCRIPTORS, _DATA, _SEGMENTED, strict=True)
    ]
    if len({(len(part.values), part.first) for part in parts}) != 1:
        raise errors.BadData("the red, green and blue of the palette differ in length", tag=_DESCRIPTORS[0])
    colours = np.stack([part.values for part in parts], axis=-1)
    if parts[0].bits > 8 and int(colours.max(initial=0)) > 0xFF:  # some say 16 bits and mean 8
        colours = colours >> (parts[0].bits - 8)
    return Palette(colours.astype(np.uint8), parts[0].first)
