"""Whose a volume is: the frames of a series that it takes its identity from, one for each of its own."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from node import errors
from node.formats import axes, derived, stored
from node.volume import geometry, image, onto, stack, table

Array = np.ndarray[Any, np.dtype[Any]]


@dataclasses.dataclass(frozen=True, slots=True)
class Template:
    """A series, sorted."""

    table: table.Table  # its frames
    order: Array  # rows of the table in the shape (..., slice); -1: missing
    leading: tuple[stack.Axis, ...]  # axes before the slices
    grid: geometry.Geometry | None  # None: nothing says where it lies


@dataclasses.dataclass(frozen=True, slots=True)
class Frame:
    """One slice of the volume, and the frame of the template that its header comes from."""

    index: tuple[int, ...]  # its place along the leading axes
    slice: int  # its place among the slices, after the turn
    row: int  # of the template's table; -1: there is no template
    own: bool  # the frame is of the same slice, volume and time
    place: bool  # the frame is of the same slice


@dataclasses.dataclass(frozen=True, slots=True)
class Placed:
    """A volume with its identity."""

    image: image.Image  # as it was given
    fit: onto.Fit  # how its voxels must be turned
    shape: onto.Three  # slices, rows, columns after that
    grid: geometry.Geometry | None  # of the voxels so turned
    leading: tuple[stack.Axis, ...]  # axes before the slices
    template: Template | None  # None: nobody's
    frames: tuple[Frame, ...]  # in the order of the voxels: slices fastest
    same: bool  # the template has the very volumes of the image
    exact: bool  # slices lie where the headers say, even where the grid is only their mean
    notes: tuple[str, ...] = ()

    def position(self, frame: Frame) -> geometry.Vector | None:
        """Where the first voxel of a slice lies."""
        if self.grid is None:
            return None
        there = self.grid.at(frame.slice, 0, 0)
        if self.template is None or frame.row < 0 or not frame.place:
            return there
        said = self.template.table["position"][frame.row]
        if not np.isfinite(said).all():
            return there
        return _nearby(self.grid, there, said, exact=self.exact)

    @property
    def several(self) -> bool:
        """Whether the frames come from more than one series."""
        if self.template is None:
            return False
        held = self.template.table
        rows = {frame.row for frame in self.frames if frame.row >= 0}
        return len({(held["study"][row], held["series"][row]) for row in rows}) > 1

    @property
    def volumes(self) -> int:
        """How many volumes the leading axes make."""
        return len(self.frames) // self.shape[0]

    def volume(self, frame: Frame) -> int:
        """Which of them a slice is of, from 0."""
        counts = _frames_shape(self.image)[:-1]
        return int(np.ravel_multi_index(frame.index, counts)) if counts else 0

    def elapsed(self, frame: Frame) -> float:
        """Seconds from the first volume's header at the same slice to the one that the frame takes."""
        if self.template is None or frame.row < 0:
            return 0.0
        times = self.template.table["time"]
        found = float(times[frame.row] - times[self.frames[frame.slice].row])
        return found if math.isfinite(found) else 0.0

    def hole(self, turned: Array, frame: Frame) -> bool:
        """Whether a slice is the place of one that the template lacks, and nobody put anything there."""
        if self.template is None or frame.place:
            return False
        if not 0 <= frame.slice + self.fit.shift[0] < self.template.order.shape[-1]:
            return False
        found = self.frame_of(turned, frame)
        return bool((found == found.flat[0]).all()) if found.size else True

    def frame_of(self, turned: Array, frame: Frame) -> Array:
        """The voxels of one slice out of the turned array."""
        found: Array = turned[(*frame.index, frame.slice)]
        return found


def _nearby(grid: geometry.Geometry, there: geometry.Vector, said: Array, *, exact: bool) -> geometry.Vector:
    """The position in the header, moved within its plane to where a cropped slice begins.

    The grid knows a position to single precision at worst, and of slices at unequal distances only the mean.
    """
    away = np.array(there) - said
    normal = np.array(grid.normal)
    across = float(away @ normal)
    within = away - normal * across
    steps, *_ = np.linalg.lstsq(np.array([grid.row, grid.column]).T, within, rcond=None)
    whole = np.rint(steps)
    apart = float(np.linalg.norm(within - whole[0] * np.array(grid.row) - whole[1] * np.array(grid.column)))
    if apart > 0.02 * min(grid.spacing[1:]):
        return there
    if abs(across) > 1e-2 * max(grid.spacing[0], 1e-3) and not exact:
        return there
    x, y, z = (float(v) for v in said + whole[0] * np.array(grid.row) + whole[1] * np.array(grid.column))
    return x, y, z


def former(found: Placed, turned: Array, *, zero: bool) -> tuple[stored.Stored, ...] | None:
    """How each slice of floats was stored in the template, where they are still the same numbers; else None.

    PET has another slope for each slice, so that its volume is of floats though every slice is of integers.
    """
    if found.image.dtype.kind != "f" or found.template is None or not all(one.own for one in found.frames):
        return None
    held = found.template.table
    signed = {bool(held["signed"][one.row] == 1) for one in found.frames}
    out: list[stored.Stored] = []
    for one in found.frames:
        scaled = (float(held["slope"][one.row]), float(held["intercept"][one.row]))
        if len(signed) > 1 or (zero and scaled[1]):
            return None
        how = stored.again(
            found.frame_of(turned, one),
            found.image.slope,
            found.image.intercept,
            scaled,
            signed=True in signed,
        )
        if how is None:
            return None
        out.append(how)
    return tuple(out)


@contextlib.contextmanager
def placed(made: image.Image, options: derived.Options) -> Iterator[Placed]:
    """Find the template of an image and lay the image on it; UsageError when it does not fit.

    The files of a template that is an archive are there as long as the context.
    """
    if not options.template:
        yield _own(made)
        return
    from node.loading import headers  # reads files: only where a template is asked for

    with headers.opened(options.template) as files:
        yield _on_template(made, options, load(files, options.template[0]))


def _own(made: image.Image) -> Placed:
    """The image with the identity that it brings, or nobody's."""
    rows = _own_rows(made)
    if rows is not None and made.table is not None:
        own = Template(made.table, rows, axes.leading(made), made.geometry)
        there = rows[rows >= 0]
        same = len(np.unique(there)) == len(there)  # else the volume was made of one header many times
        frames = _frames(made, own, onto.AS_IT_IS, rows.shape[-1], own_frames=same)
        exact = made.verdict in (stack.Verdict.UNEQUAL, stack.Verdict.GAPS)
        return _as_it_is(made, own, frames, same=same, exact=exact)
    frames = tuple(
        Frame(index[:-1], index[-1], -1, own=False, place=False) for index in np.ndindex(_frames_shape(made))
    )
    note = "no template was given: the objects have neither a patient nor a study that exists"
    return dataclasses.replace(_as_it_is(made, None, frames, same=False, exact=False), notes=(note,))


def _as_it_is(
    made: image.Image, own: Template | None, frames: tuple[Frame, ...], *, same: bool, exact: bool
) -> Placed:
    return Placed(
        image=made,
        fit=onto.AS_IT_IS,
        shape=_spatial(made),
        grid=made.geometry,
        leading=axes.leading(made),
        template=own,
        frames=frames,
        same=same,
        exact=exact,
    )


def _own_rows(made: image.Image) -> Array | None:
    """The rows of the table that an image of DICOM files brings; None where it brings none."""
    if made.table is None or made.rows is None or not _sourced(made.table):
        return None
    if not (made.rows >= 0).any() or int(made.rows.max()) >= len(made.table):
        return None
    try:
        found: Array = np.broadcast_to(made.rows, _frames_shape(made))
    except ValueError:
        return None
    return found


def _sourced(found: table.Table) -> bool:
    """Whether the table speaks of DICOM files that can be read."""
    return bool(found.sources) and all(source.sop_instance for source in found.sources)


def _spatial(made: image.Image) -> onto.Three:
    slices, rows, columns = made.shape[-4:-1] if made.colour else made.shape[-3:]
    return slices, rows, columns


def _frames_shape(made: image.Image) -> tuple[int, ...]:
    return made.shape[: -3 if made.colour else -2]


def _on_template(made: image.Image, options: derived.Options, templates: Sequence[Template]) -> Placed:
    template, fit, own_positions = _chosen(made, options, templates)
    shape = fit.shape(_spatial(made))
    notes: list[str] = []
    grid = template.grid if made.geometry is None else fit.grid(made.geometry, _spatial(made))
    if made.geometry is None:
        notes.append("the volume does not say where it lies; it was given the template's grid")
    elif template.grid is not None and not own_positions:
        grid = _snapped(template.grid, fit)
    frames = _frames(made, template, fit, shape[0], own_frames=_same_leading(made, template))
    notes += _said(made, template, fit, shape[0], own_positions=own_positions)
    return Placed(
        image=made,
        fit=fit,
        shape=shape,
        grid=grid,
        leading=axes.leading(made),
        template=template,
        frames=frames,
        same=_same_leading(made, template),
        exact=not own_positions,
        notes=tuple(notes),
    )


def _snapped(grid: geometry.Geometry, fit: onto.Fit) -> geometry.Geometry:
    """The template's own grid from the voxel on where the volume begins, in its full precision."""
    return dataclasses.replace(grid, origin=grid.at(*(float(step) for step in fit.shift)))


def _chosen(
    made: image.Image, options: derived.Options, found: Sequence[Template]
) -> tuple[Template, onto.Fit, bool]:
    """The stack of the template that the image lies on; whether its own positions count."""
    fitting: list[tuple[Template, onto.Fit]] = []
    why: list[str] = []
    for one in found:
        try:
            fitting.append((one, _fit(made, one)))
        except errors.UsageError as fault:
            why.append(str(fault))
    if fitting:
        template, fit = min(fitting, key=lambda pair: _unlike(made, *pair))
        best = [one for one, other in fitting if _unlike(made, one, other) == _unlike(made, template, fit)]
        series = {one.table["series"][one.order.max()] for one in best}
        if len(series) > 1:
            raise errors.UsageError(
                f"the volume fits {len(series)} series of the template equally: give a folder with one"
            )
        return template, fit, False
    if options.geometry != "own" or made.geometry is None:
        raise errors.UsageError(why[0])
    template = found[0]
    turn = onto.AS_IT_IS if template.grid is None else onto.turned(made.geometry, template.grid)
    return template, turn, True


def _fit(made: image.Image, template: Template) -> onto.Fit:
    if made.geometry is None or template.grid is None:
        row = int(template.order.max())
        size = tuple(float(template.table[name][row]) for name in ("rows", "columns"))
        mine = _spatial(made)
        if size != mine[1:] or template.order.shape[-1] != mine[0]:
            raise errors.UsageError(
                f"the volume has {mine[0]} slices of {mine[1]} x {mine[2]}, the template"
                f" {template.order.shape[-1]} of {size[0]:.0f} x {size[1]:.0f}, and nothing says where"
            )
        return onto.AS_IT_IS
    return onto.onto(made.geometry, _spatial(made), template.grid, "the template")


def _unlike(made: image.Image, template: Template, fit: onto.Fit) -> tuple[int, ...]:
    """How much a template differs from the image; the least fits best."""
    slices = fit.shape(_spatial(made))[0]
    away = abs(template.order.shape[-1] - slices) + abs(fit.shift[0])
    return (away, abs(int(np.prod(template.order.shape[:-1])) - int(np.prod(_frames_shape(made)[:-1]))))


def load(files: Sequence[str], name: str) -> tuple[Template, ...]:
    """The stacks of a template series."""
    from node.loading import headers
    from node.volume.sorting import sort

    found = headers.read(files)
    stacks = sort.sort(found).stacks
    if not stacks:
        why = f": {found.skipped[0].why.value}" if found.skipped else ""
        raise errors.UsageError(f"the template {name} holds no images{why}")
    return tuple(Template(one.table, one.order, one.axes[:-1], one.geometry) for one in stacks)


def _same_leading(made: image.Image, template: Template) -> bool:
    return tuple(_frames_shape(made)[:-1]) == tuple(template.order.shape[:-1])


def _frames(
    made: image.Image, template: Template, fit: onto.Fit, slices: int, *, own_frames: bool
) -> tuple[Frame, ...]:
    """For each slice the template's frame at the same place and time, or the nearest that there is."""
    lead = _frames_shape(made)[:-1]
    order = template.order.reshape(-1, template.order.shape[-1])
    held = [np.flatnonzero(one >= 0) for one in order]
    any_volume = next(at for at, one in enumerate(held) if len(one))
    out: list[Frame] = []
    for number, index in enumerate(np.ndindex(lead)):
        volume = number if own_frames else min(_volume(made, template, index), len(order) - 1)
        if not len(held[volume]):
            volume = any_volume
        for at in range(slices):
            there = at + fit.shift[0]
            nearest = int(held[volume][np.argmin(np.abs(held[volume] - there))])
            place = nearest == there
            own = place and own_frames and volume == number
            out.append(Frame(tuple(index), at, int(order[volume][nearest]), own=own, place=place))
    return tuple(out)


def _volume(made: image.Image, template: Template, index: tuple[int, ...]) -> int:
    """Which volume of the template is nearest to one of the image: by the axes of the same name."""
    if not template.leading:
        return 0
    names = [axis.name for axis in axes.leading(made)]
    place = []
    for axis in template.leading:
        if axis.name in names:
            mine = axes.leading(made)[names.index(axis.name)].values[index[names.index(axis.name)]]
            apart = np.abs(np.asarray(axis.values, dtype=float) - float(mine))
            place.append(int(np.argmin(np.where(np.isfinite(apart), apart, np.inf))))
        else:
            place.append(0)
    return int(np.ravel_multi_index(place, template.order.shape[:-1]))


def _said(
    made: image.Image, template: Template, fit: onto.Fit, slices: int, *, own_positions: bool
) -> list[str]:
    notes = []
    mine, theirs = _frames_shape(made)[:-1], template.order.shape[:-1]
    if own_positions:
        notes.append("the volume does not lie on the template's grid; its own positions were written")
    if slices != template.order.shape[-1] or fit.shift[0]:
        notes.append(
            f"the volume has {slices} slices, the template {template.order.shape[-1]};"
            " each has the header of the nearest"
        )
    if mine != theirs:
        notes.append(
            f"the volume has {int(np.prod(mine))} volumes, the template {int(np.prod(theirs))};"
            " each has the headers of the nearest"
        )
    return notes
