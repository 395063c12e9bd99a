"""Pictures of volumes: a contact sheet, one slice, three planes, or each slice, as PNG or JPEG.

Pictures are for looking at: values went through a window, and geometry is lost. A picture that is read
becomes one slice without a place.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from node import errors
from node.dicom import scan
from node.formats import axes, base, whole
from node.loading import locate
from node.volume import image, shown

SHEET = 24  # slices on a contact sheet
TALL = 256  # pixels at most of a slice on it
_MOST_PIXELS = 1 << 28
_WHAT = ("sheet", "slice", "planes", "all")


@dataclasses.dataclass(frozen=True, slots=True)
class View:
    """What is shown of a volume."""

    what: str = "sheet"  # one of sheet, slice, planes, all
    slice: int | None = None  # of all slices of all volumes, from 1; None: the middle one
    window: tuple[float, float] | None = None  # center and width; None: as the header says
    count: int = SHEET  # slices on a sheet

    @classmethod
    def of(cls, options: Mapping[str, str]) -> View:
        """From options; UsageError names what is wrong."""
        known = {"show": _WHAT, "slice": None, "window": None, "count": None}
        for option in options:
            if option not in known:
                raise errors.UsageError(f"a picture has no option {option!r}; it takes {', '.join(known)}")
        what = options.get("show", "slice" if "slice" in options else "sheet")
        if what not in _WHAT:
            raise errors.UsageError(f"show = {what!r}: it is one of {', '.join(_WHAT)}")
        return cls(what, _whole(options, "slice"), _window(options), _whole(options, "count") or SHEET)


def _whole(options: Mapping[str, str], name: str) -> int | None:
    if name not in options:
        return None
    if not options[name].isdecimal() or not 0 < int(options[name][:9]) < 10**6:
        raise errors.UsageError(f"{name} = {options[name]!r}: it is a number from 1")
    return int(options[name])


def _window(options: Mapping[str, str]) -> tuple[float, float] | None:
    if "window" not in options:
        return None
    try:
        center, width = (float(word) for word in options["window"].split(","))
        axes.finite("", "", (center, width))
    except (ValueError, errors.BadData):
        center, width = 0.0, 0.0
    if width <= 0:
        raise errors.UsageError(f"window = {options['window']!r}: it is CENTER,WIDTH, as 40,400")
    return center, width


def pictures(made: image.Image, view: View) -> list[shown.Bytes]:
    """The pictures of an image: one, or of `all` one for each slice."""
    voxels = made.voxels()
    colour = made.colour
    flat = voxels.reshape(-1, *voxels.shape[-2 - colour :])
    _, rows, columns = axes.grid(made).spacing
    if view.what == "planes" and made.shape[-3 - colour] > 1:
        volume = voxels.reshape(-1, *voxels.shape[-3 - colour :])[0]
        seen = None if colour else _seen(made, volume, view)
        three = shown.planes(shown.scaled(made, volume), axes.grid(made).spacing, seen)
        return [shown.sheet(three, 3)]
    chosen = _chosen(len(flat), view)
    seen = None if colour else _seen(made, flat[chosen[len(chosen) // 2]], view)
    planes = [shown.plane(shown.scaled(made, flat[at]), seen, rows, columns) for at in chosen]
    if view.what != "sheet" or len(planes) == 1:
        return planes
    small = [shown.fitted(one, TALL, TALL) if max(one.shape[:2]) > TALL else one for one in planes]
    high, wide = small[0].shape[:2]
    return [shown.sheet(small, shown.across(len(small), high, wide))]


def _chosen(count: int, view: View) -> list[int]:
    if view.what == "all":
        return list(range(count))
    if view.what == "sheet":
        return shown.spread(count, view.count)
    if view.slice is not None and view.slice > count:
        raise errors.UsageError(f"there is no slice {view.slice}; there are {count}")
    return [count // 2 if view.slice is None else view.slice - 1]


def _seen(made: image.Image, values: Any, view: View) -> shown.Window:
    found = shown.window(_header(made), shown.scaled(made, values))
    if view.window is None:
        return found
    return shown.Window(*view.window, inverted=found.inverted)


def _header(made: image.Image) -> scan.Table | None:
    """The header of the middle slice, for its window; None where it has none that can be read."""
    if made.table is None or made.rows is None or not (made.rows >= 0).any():
        return None
    there = made.rows[made.rows >= 0]
    try:
        return locate.whole(made.table.source(int(there[len(there) // 2])))
    except errors.BadData:
        return None


class Picture:
    """`png`, `jpeg`."""

    def __init__(self, name: str, suffixes: tuple[str, ...], about: str) -> None:
        self.name = name
        self.suffixes = suffixes
        self.about = about

    def check(self, options: Mapping[str, str]) -> str | None:
        """What is wrong with options: show=sheet|slice|planes|all, slice=N, window=C,W, count=N."""
        try:
            View.of(options)
        except errors.UsageError as error:
            return str(error)
        return None

    def write(
        self,
        made: image.Image,
        target: pathlib.Path,
        options: Mapping[str, str],
        progress: base.Progress | None = None,
    ) -> base.Written:
        """Write one picture, or one for each slice."""
        found = pictures(made, View.of(options))
        paths = []
        for number, one in enumerate(found, 1):
            end = f"-{number:0{len(str(len(found)))}}" if len(found) > 1 else ""
            path = target.with_name(f"{target.name}{end}{self.suffixes[0]}")
            with whole.whole(path) as file:
                whole.write(file, encoded(one, self.name))
            paths.append(path)
            if progress is not None:
                progress(number, len(found), "pictures")
        return base.Written(tuple(paths), ("a picture shows values through a window and no geometry",))

    def read(self, paths: Sequence[pathlib.Path]) -> image.Image:
        """Read pictures of one size as slices without a place."""
        pictures = [_decoded(path) for path in paths]
        if len({one.shape for one in pictures}) > 1:
            raise errors.BadData(f"{paths[0]} and the others are pictures of different sizes")
        voxels = np.stack(pictures)
        return image.Image(
            shape=voxels.shape,
            dtype=voxels.dtype,
            axes=axes.of(voxels.shape, None, (), colour=voxels.ndim == 4),
            geometry=None,
            slope=1.0,
            intercept=0.0,
            unit="",
            voxels=lambda: voxels,
        )


def encoded(made: shown.Bytes, name: str) -> bytes:
    """A picture as the bytes of a file."""
    import imagecodecs

    found = np.ascontiguousarray(made)
    return bytes(
        imagecodecs.png_encode(found) if name == "png" else imagecodecs.jpeg8_encode(found, level=90)
    )


def _decoded(path: pathlib.Path) -> np.ndarray[Any, np.dtype[Any]]:
    """One picture as grey or as red, green, blue; transparency is left out."""
    from PIL import Image

    try:
        with Image.open(path) as file:
            if file.width * file.height > _MOST_PIXELS:
                raise errors.BadData(f"{path} has {file.width} x {file.height} pixels, which is too large")
            if file.mode.startswith("I;16"):
                return np.asarray(file).astype("<u2")
            return np.asarray(file.convert("L" if file.mode in ("1", "L", "LA") else "RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise errors.BadData(f"{path} is no picture that can be read ({error})") from error


PNG: base.Format = Picture("png", (".png",), "PNG pictures: a contact sheet, one slice, three planes or all")
JPEG: base.Format = Picture("jpeg", (".jpg", ".jpeg"), "JPEG pictures, as png")
