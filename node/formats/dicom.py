"""DICOM: a series of single-frame objects in the class of the series that the volume comes from."""

from __future__ import annotations

import collections
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from node import errors
from node.dicom import uids
from node.formats import base, building, classic, derived, enhanced, identity, instances, stored
from node.volume import image

Array = np.ndarray[Any, np.dtype[Any]]
_Parts = tuple[bytes | memoryview, ...]
_Slice = tuple[str, str, _Parts, str]  # class, instance, parts of the data set, transfer syntax


class Classic:
    """Writes one file for each slice; reads a folder of them."""

    suffixes: tuple[str, ...] = ()

    def __init__(self, name: str, about: str, *, capture: bool) -> None:
        self.name = name
        self.about = about
        self._capture = capture  # always as secondary capture

    def check(self, options: Mapping[str, str]) -> str | None:
        """What is wrong with options, in a sentence."""
        return derived.check(options, self.name)

    def write(
        self,
        made: image.Image,
        target: pathlib.Path,
        options: Mapping[str, str],
        progress: base.Progress | None = None,
    ) -> base.Written:
        """Write a folder of files, one for each slice."""
        chosen = derived.parse(options, self.name)
        with identity.placed(made, chosen) as placed:
            if not self._capture and enhanced.is_own(placed):
                return enhanced.write(placed, target, chosen, progress)
            sop_class = classic.class_of(placed, capture=self._capture)
            writing = _Writing(placed, chosen, sop_class)
            with instances.folder(target) as new:
                writing.write(new, progress)
            return base.Written((target,), writing.notes)

    def read(self, paths: Sequence[pathlib.Path]) -> image.Image:
        """Read the one volume that files or folders hold."""
        return instances.read(paths)


def _plain(slices: Iterable[tuple[pathlib.Path, str, str, _Parts, str]]) -> Iterator[int]:
    """Write one slice after the other; how many are written."""
    for number, one in enumerate(slices):
        building.write(*one)
        yield number + 1


def _compressed(slices: Iterable[tuple[pathlib.Path, str, str, _Parts, str]]) -> Iterator[int]:
    """The same side by side, since codecs leave the interpreter to others; few slices are held at a time."""
    from concurrent import futures  # only where something is compressed

    workers = os.cpu_count() or 1
    written = 0
    with futures.ThreadPoolExecutor(workers) as pool:
        running: collections.deque[futures.Future[None]] = collections.deque()
        for one in slices:
            running.append(pool.submit(building.write, *one))
            if len(running) > 2 * workers:
                running.popleft().result()
                written += 1
                yield written
        for job in running:
            job.result()
            written += 1
            yield written


class _Writing:
    """One volume on its way into files."""

    def __init__(self, placed: identity.Placed, options: derived.Options, sop_class: str) -> None:
        self._placed = placed
        self._options = options
        self._class = sop_class
        self._voxels = placed.image.voxels()
        self._turned = placed.fit.view(self._voxels, colour=placed.image.colour)
        self._uid = self._series_uid()
        self._former = identity.former(placed, self._turned, zero=sop_class == classic.PET)
        self._how: stored.Stored | None = None  # of every slice; None: each has its own
        if self._former is None and options.scale == "volume":
            self._how = self._plan(stored.limits(self._slices()))
        self._window: tuple[float, float] | None = None
        self._common: building.Elements | None = None  # whose series it is, where frames are of several
        self._cache: tuple[int, building.Elements] | None = None
        self.notes: tuple[str, ...] = placed.notes
        template = placed.template
        if template is not None and sop_class == classic.SECONDARY and not placed.image.colour:
            self.notes += ("the volume was written as secondary capture",)

    def _series_uid(self) -> str:
        made, template = self._placed, self._placed.template
        if not self._options.keep_uids:
            return instances.series_uid(made, self._options, self._voxels, self._class)
        rows = [frame.row for frame in made.frames]
        if template is None or len({template.table.source(row).sop_instance for row in rows}) != len(rows):
            raise errors.UsageError("keep_uids: the slices are not one for one those of the template's files")
        return str(template.table["series"][rows[0]])

    def _slices(self) -> Iterator[Array]:
        for frame in self._placed.frames:
            yield self._placed.frame_of(self._turned, frame)

    def _plan(self, found: stored.Limits) -> stored.Stored:
        made = self._placed.image
        wide = self._class in classic.OWN
        if made.colour:
            if made.dtype != np.uint8:
                raise errors.UsageError(
                    f"colour of {made.dtype} cannot be written: scale it to 8 bits before"
                )
            wide = False
        zero = self._class == classic.PET
        return stored.plan(made.dtype, found, made.slope, made.intercept, wide=wide, zero=zero)

    def write(self, target: pathlib.Path, progress: base.Progress | None) -> None:
        """Write every slice."""
        frames = self._placed.frames
        width = max(5, len(str(len(frames))))
        if self._placed.several:
            self._common = self._template(next(frame.row for frame in frames if frame.row >= 0)).copy()
        self._window = classic.span(self._placed.image, self._options, self._voxels)
        # An object of an empty place would be a slice that nobody took.
        there = [(at, one) for at, one in enumerate(frames) if not self._placed.hole(self._turned, one)]
        if len(there) < len(frames):
            self.notes += (f"{len(frames) - len(there)} empty places of missing slices became no objects",)
        slices = (
            (target / f"{number + 1:0{width}d}.dcm", *self._slice(number, frame)) for number, frame in there
        )
        many = _compressed(slices) if self._options.compress else _plain(slices)
        for number in many:
            if progress is not None:
                progress(number, len(frames), "slices")
        if self._how is not None and self._how.note:
            self.notes += (self._how.note,)
        elif self._how is None and self._former is None and self._placed.image.dtype.kind == "f":
            self.notes += ("values were scaled to 16 bits, slice by slice",)

    def _template(self, row: int) -> building.Elements:
        """The header of the data set that a row is of; of many rows in one it is read once."""
        template = self._placed.template
        if template is None or row < 0:
            return building.Elements({}, ())
        at = int(template.table["source"][row])
        if self._cache is None or self._cache[0] != at:
            self._cache = (at, building.read(template.table.sources[at], private=self._options.private))
        return self._cache[1]

    def _slice(self, number: int, frame: identity.Frame) -> _Slice:
        """A slice as the arguments of `building.write` behind the path."""
        placed, options = self._placed, self._options
        voxels = placed.frame_of(self._turned, frame)
        how = self._former[number] if self._former else self._how or self._plan(stored.limits([voxels]))
        one = how.cast(voxels)
        before = self._template(frame.row)
        made = classic.kept(before, self._class)
        if self._class == classic.SECONDARY and placed.template is None:
            made.set(0x00080005, building.UTF8)
            made.sets = (building.UTF8,)
        if 0x00080008 in before:
            made.held[0x00080008] = before.held[0x00080008]
        if self._common is not None:
            classic.one_series(made, self._common)
        classic.series(made, placed, options, self._class, self._uid)
        made.set(0x00080016, self._class)
        instance = before.text(0x00080018) if options.keep_uids else uids.derived("", self._uid, str(number))
        made.set(0x00080018, instance)
        made.set(0x00200013, number + 1)
        self._where_and_when(made, frame, before)
        classic.pixels(made, how, one.shape, before)
        if one.ndim == 2:
            classic.rescale(made, how, self._class, placed.image.unit, before)
            classic.extremes(made, one)
            same = self._class == classic.CT and not how.note
            classic.window(made, self._window, options, same=same or options.keep_uids)
        if not options.keep_uids:
            classic.sources(made, placed, [frame.row] if frame.row >= 0 else [])
        head, pad = building.native(one.nbytes, "OB" if one.itemsize == 1 else "OW")
        target = derived.COMPRESSIONS.get(options.compress, building.EXPLICIT)
        return self._class, instance, (made.bytes(), head, one.data.cast("B"), pad), target

    def _where_and_when(
        self, made: building.Elements, frame: identity.Frame, before: building.Elements
    ) -> None:
        placed = self._placed
        classic.place(made, placed, frame, self._class, before)
        if placed.leading and (self._class == classic.SECONDARY or not placed.same):
            classic.moment(made, placed, frame)
        if self._class == classic.MR:
            classic.diffusion(made, placed, frame.row)


FORMAT: base.Format = Classic(
    "dicom", "DICOM, one file for each slice, in the template's class", capture=False
)
