"""Series as scanners make them, small: every kind that sorting and converting must bear, by name.

`series.write("ct_tilted", folder)` makes a folder of Part 10 files whose names are in no useful order.
Frames are `series_base.voxels(n)`: sorted rightly, the voxels of a volume count 0, 1, 2 ... (exceptions: the
colour ones, `ct_signed`, `ct_overlay`). Grids: `series_plain.grids()`, `series_mr.GRID`, `series_base.AXIAL`.
"""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Callable, Sequence

import pydicom

from tests import make, series_base, series_enhanced, series_mr, series_plain

Builder = Callable[[str], Sequence[pydicom.Dataset | bytes]]
_P = functools.partial

BUILDERS: dict[str, Builder] = {
    **{name: _P(series_plain.ct, grid=grid) for name, grid in series_plain.grids().items()},
    "ct_tilted": series_plain.tilted,
    "ct_gap": _P(series_plain.ct, slices=(0, 1, 2, 4, 5)),
    "ct_unequal": _P(series_plain.ct, slices=(0, 1, 2, 3.4, 5.3)),
    "ct_duplicates": series_plain.duplicates,
    "ct_rounded": series_plain.rounded,
    "ct_single": _P(series_plain.ct, slices=(0,)),
    "ct_localizer": series_plain.localizer,
    "ct_mixed": series_plain.mixed,
    "ct_signed": series_plain.signed,
    "ct_overlay": series_plain.overlay,
    "ct_big_endian": series_plain.big_endian,
    "ct_rle": _P(series_plain.compressed, syntax=series_plain.RLE),
    "ct_j2k": _P(series_plain.compressed, syntax=series_plain.J2K),
    "ct_jpeg_lossless": _P(series_plain.compressed, syntax=series_plain.JPEG_LOSSLESS),
    "ct_jpeg_ls": _P(series_plain.compressed, syntax=series_plain.JPEG_LS),
    "mr_time": series_mr.over_time,
    "mr_philips": series_mr.scaled,
    "mr_midnight": series_mr.by_acquisition_time,
    "mr_echoes": series_mr.echoes,
    "mr_phase": series_mr.phase,
    "mr_flip": series_mr.flip_angles,
    "mr_inversion": series_mr.inversions,
    "mr_cardiac": series_mr.cardiac,
    **{f"dwi_{maker}": _P(series_mr.diffusion, maker=maker) for maker in series_mr.MAKERS},
    **{
        f"dwi_{maker}_coronal": _P(series_mr.diffusion, maker=maker, grid=series_base.CORONAL)
        for maker in ("ge", "ge_row")
    },
    "mosaic_time": _P(series_mr.mosaic, diffusing=False),
    "mosaic_reversed": _P(series_mr.mosaic, diffusing=True, reverse=True),
    "mosaic_dwi": _P(series_mr.mosaic, diffusing=True),
    "enhanced_ct": _P(series_enhanced.enhanced, modality="CT"),
    "enhanced_mr": _P(series_enhanced.enhanced, modality="MR"),
    "enhanced_mr_time": _P(series_enhanced.enhanced, modality="MR", times=3),
    "enhanced_mr_philips": _P(
        series_enhanced.enhanced, modality="MR", times=3, maker="Philips Medical Systems"
    ),
    "enhanced_mr_dwi": _P(series_enhanced.enhanced, modality="MR", diffusing=True),
    "enhanced_mr_stacks": _P(
        series_enhanced.enhanced, modality="MR", stacks=(series_base.AXIAL, series_base.SAGITTAL)
    ),
    "enhanced_pet": _P(series_enhanced.enhanced, modality="PT"),
    "pet": series_plain.pet,
    "pet_time": _P(series_plain.pet, times=3),
    "nm": series_plain.nuclear,
    "dose": series_plain.dose,
    "us_ybr": series_plain.ultrasound,
    "rgb": series_plain.rgb,
    "palette": series_plain.palette,
    "unplaced": series_plain.unplaced,
    # what is broken
    "truncated": series_plain.truncated,
    "not_dicom": series_plain.not_dicom,
    "no_frames": series_plain.no_frames,
    "hostile": series_plain.hostile,
}
NAMES = tuple(BUILDERS)
BAD = ("truncated", "not_dicom", "no_frames", "hostile")


@functools.cache
def files(name: str) -> tuple[bytes, ...]:
    """The Part 10 files of a series."""
    made = BUILDERS[name](name)
    return tuple(one if isinstance(one, bytes) else series_base.content(one) for one in made)


def write(name: str, folder: pathlib.Path) -> list[pathlib.Path]:
    """Write a series into `folder`, which is made; the paths in the order that they were built in."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{make.uid(name, at)[-6:]}.dcm" for at in range(len(files(name)))]
    for path, content in zip(paths, files(name), strict=True):
        path.write_bytes(content)
    return paths
