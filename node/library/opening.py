"""From a path, an address or an array to volumes."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from node import converting, errors
from node.formats import registry
from node.library import held, looking, placing, volumes
from node.loading import headers as loading
from node.loading import voxels
from node.volume import image, table
from node.volume import stack as stacks
from node.volume.arrays import volume
from node.volume.sorting import sort

Array = np.ndarray[Any, np.dtype[Any]]
Function = Callable[[table.Table], Array]  # a value for each row
Order = str | Function | Sequence[str | Function]
Source = str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | Array


class LeftOut(UserWarning):
    """Something that was to be opened is in no volume."""


def open(  # noqa: A001 - it is read as `node.open`
    source: Source,
    *,
    order: Order = (),
    split: Sequence[str] = (),
    template: Any = None,
    series: str | int | None = None,
    stack: int | str | None = None,
    scaling: str = "real",
    tilt: bool = False,
) -> volumes.Volume:
    """Open the one volume in files, folders, zip archives, what a node holds, or an array.

    `order` names the axes before the slices ("time", "b", "te", a keyword, a function of the table), `series`
    and `stack` choose where there are several, `template` gives identity and axes to what is not DICOM.
    `scaling` is "real", "stored", "philips" or "rwv"; with `tilt` a gantry tilt is taken out.

    Raises errors.UsageError when there is none or more than one, and says how to choose.
    """
    if isinstance(source, np.ndarray):
        return _array(source, template)
    found, left = _find(source, order, split, series, stack, scaling, tilt=tilt)
    if len(found) != 1:
        raise errors.UsageError(_several(found, source, left))
    _warn(left)
    return _placed(found[0].volume(), template)


def open_all(
    source: Source,
    *,
    order: Order = (),
    split: Sequence[str] = (),
    template: Any = None,
    series: str | int | None = None,
    stack: int | str | None = None,
    scaling: str = "real",
    tilt: bool = False,
) -> list[volumes.Volume]:
    """Open every volume there is, in the order of `dicom-node show`; the parameters are those of `open`."""
    if isinstance(source, np.ndarray):
        return [_array(source, template)]
    found, left = _find(source, order, split, series, stack, scaling, tilt=tilt)
    _warn(left)
    return [_placed(one.volume(), template) for one in found]


@dataclasses.dataclass(frozen=True, slots=True)
class _Found:
    """A volume that was not read yet."""

    image: image.Image
    lookup: looking.Files | None
    scaling: str
    number: int  # as `stack` takes it
    tilt: bool = False

    def volume(self) -> volumes.Volume:
        made = self.image
        if self.tilt and any(note.kind is stacks.Kind.TILT for note in made.notes):
            from node.volume.sorting import tilt  # few series need it

            made = tilt.corrected(made)
        stored = self.scaling == "stored"
        return volumes.Volume.of(made, stored=stored, ours=True, lookup=self.lookup)

    def words(self) -> str:
        """What it is, in a line."""
        made = self.image
        parts = [f"stack={self.number}:"]
        if made.table is not None and made.rows is not None and (made.rows >= 0).any():
            row = int(made.rows[made.rows >= 0][0])
            number = float(made.table["series_number"][row])
            said = str(made.table["series_description"][row])
            parts += [f"series {number:g}" if np.isfinite(number) else "series", repr(said) if said else ""]
        sizes = zip(made.shape, made.axes, strict=True)
        parts += [made.label, " x ".join(f"{length} {axis.name}" for length, axis in sizes)]
        return " ".join(filter(None, parts))


def _find(
    source: Any,
    order: Order,
    split: Sequence[str],
    series: str | int | None,
    which: int | str | None,
    scaling: str,
    *,
    tilt: bool,
) -> tuple[list[_Found], list[str]]:
    """The volumes there are, and lines about what is missing from them."""
    if scaling not in converting.SCALING:
        raise errors.UsageError(f"scaling {scaling!r}: it is one of {', '.join(converting.SCALING)}")
    try:
        several = isinstance(source, list | tuple)
        given = [os.fspath(one) for one in source] if several else [os.fspath(source)]
    except TypeError:
        kind = type(source).__name__
        raise errors.UsageError(
            f"something of type {kind} cannot be opened: give a path, paths or an array"
        ) from None
    left: list[str] = []
    names, functions = _order(order)
    chosen = () if series is None else (str(series),)
    found: list[_Found] = []
    if len(given) == 1 and given[0].startswith(f"{held.SCHEME}:"):
        asked = (*(name for name in names if name not in functions), *split)
        table_, lookup = held.frames(given[0], asked)
        sorted_ = sort.sort(converting.chosen(table_, chosen), order=names, split=split, functions=functions)
        left = _missing(sorted_.left)
        found = _stacks(sorted_, lookup, scaling, tilt=tilt)
    else:
        extra = sort.needs((*(name for name in names if name not in functions), *split))
        with contextlib.ExitStack() as kept:
            files = kept.enter_context(loading.opened(given))
            dicom, others = converting.sorted_out(files, given)
            if dicom:
                lookup = looking.Files(looking.Kept(kept.pop_all()))
                table_ = loading.read(dicom, extra=extra)
                read = converting.chosen(table_, chosen) if len(table_) else table_
                sorted_ = sort.sort(read, order=names, split=split, functions=functions)
                left = _missing((*table_.skipped, *sorted_.left), named=given)
                found = _stacks(sorted_, lookup, scaling, tilt=tilt)
            for path in others:
                found.append(_Found(_other(path, names), None, scaling, len(found) + 1))
    if which is None:
        return found, left
    meant = [one for one in found if which in (one.number, one.image.label)]
    if not meant:
        there = "; ".join(one.words() for one in found) or "none"
        raise errors.UsageError(f"there is no stack {which!r}; there are {there}")
    return meant, left


def _stacks(sorted_: stacks.Sorted, lookup: looking.Files, scaling: str, *, tilt: bool) -> list[_Found]:
    how = "stored" if scaling in ("real", "stored") else scaling
    return [
        _Found(voxels.image(one, scaling=how), lookup, scaling, number, tilt)
        for number, one in enumerate(sorted_.stacks, 1)
    ]


def _other(path: pathlib.Path, order: Sequence[str]) -> image.Image:
    form = registry.of(path)
    if form is None:
        raise errors.UsageError(f"{path} is of no format that is known")
    made = form.read([path])
    leading = [axis.name for axis in made.axes[: -4 if made.colour else -3]]
    if order and any(leading) and leading != list(order):
        raise errors.UsageError(
            f"{path} is no DICOM that could be sorted by {', '.join(order)}:"
            f" its axes are {', '.join(leading)}"
        )
    return made


def _order(order: Order) -> tuple[tuple[str, ...], Mapping[str, Function]]:
    """Names of axes, and the functions behind those that are functions."""
    given = (order,) if isinstance(order, str) or callable(order) else tuple(order)
    functions: dict[str, Function] = {}
    names: list[str] = []
    for at, one in enumerate(given):
        if not callable(one):
            names.extend(part.strip() for part in one.split(","))
            continue
        name = getattr(one, "__name__", "")
        name = name if name.isidentifier() and name not in functions else f"function{at + 1}"
        functions[name] = one
        names.append(name)
    return tuple(names), functions


def _missing(left: Sequence[table.Skipped], named: Sequence[str] = ()) -> list[str]:
    """Lines about what somebody may miss; what nobody means by a folder is no part of it."""
    once = tuple(dict.fromkeys(left))
    return list(converting.told(converting.Report((), once, frozenset(named)).missing))


def _warn(left: Sequence[str]) -> None:
    if left:
        warnings.warn("; ".join(left), LeftOut, stacklevel=3)


def _array(voxels_: Array, template: Any) -> volumes.Volume:
    made = volumes.Volume(np.asarray(voxels_), getattr(voxels_, "header", None))
    return _placed(made, template)


def _placed(made: volumes.Volume, template: Any) -> volumes.Volume:
    if template is None:
        return made
    like = template if isinstance(template, volume.Volume) else open(template)
    return placing.onto(made, like)


def _several(found: Sequence[_Found], source: Any, left: Sequence[str]) -> str:
    if not found:
        return "; ".join((f"there is no volume in {source}", *left))
    shown = "; ".join(one.words() for one in found[:12])
    more = f"; and {len(found) - 12} more" if len(found) > 12 else ""
    return f"there are {len(found)} volumes: choose with series= or stack=, or open_all: {shown}{more}"
