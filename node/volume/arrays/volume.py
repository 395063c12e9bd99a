"""A numpy array that knows where it lies, what its axes are, and whose it is."""

from __future__ import annotations

import dataclasses
from typing import Any, Self

import numpy as np

from node import errors
from node.volume import geometry as geometries
from node.volume import image as images
from node.volume import stack
from node.volume import table as tables
from node.volume.arrays import calls, combining, functions, methods, scaled, slicing
from node.volume.arrays import header as headers

Array = np.ndarray[Any, np.dtype[Any]]


class Volume(methods.Methods):
    """Voxels in the order (..., slice, row, column[, rgb]), with a header that goes with them.

    It is a numpy array: slicing, arithmetic and numpy's functions keep the header right; what leaves no
    regular axes (masks, reshape) gives a plain array.
    """

    _header: headers.Header | None

    def __new__(cls, voxels: Any, header: headers.Header | None = None) -> Self:
        """From an array and its header; without one, of axes that mean nothing."""
        made = np.asarray(voxels).view(cls)
        if header is not None and len(header.axes) != made.ndim:
            raise errors.UsageError(f"{made.ndim} dimensions cannot have the axes {', '.join(header.names)}")
        made._header = header  # noqa: SLF001 - its own class
        return made

    def __array_finalize__(self, other: Any) -> None:
        """No header by itself: each operation that keeps one says so, so that none is wrong silently."""
        self._header = None

    @classmethod
    def of(
        cls,
        made: images.Image,
        *,
        stored: bool = False,
        ours: bool = False,
        lookup: headers.Lookup | None = None,
    ) -> Self:
        """The voxels of an image; real values unless `stored` values are asked for.

        An image that is `ours`, read for nobody else, may be written over to spare memory.
        """
        header = dataclasses.replace(headers.of(made), lookup=lookup)
        voxels = made.voxels()
        if not stored and not made.colour:
            voxels = scaled.real(voxels, made.slope, made.intercept, ours=ours)
            header = dataclasses.replace(header, slope=1.0, intercept=0.0)
        return cls(voxels if voxels.flags.writeable else voxels.copy(), header)

    def image(self) -> images.Image:
        """As formats take it: (..., slice, row, column[, rgb]), little endian."""
        made = self.in_order()
        header = made.header
        dtype = made.dtype.newbyteorder("<") if made.dtype != bool else np.dtype("u1")
        plain = made.view(np.ndarray)
        return images.Image(
            made.shape,
            dtype,
            header.axes,
            header.geometry,
            header.slope,
            header.intercept,
            header.unit,
            lambda: np.ascontiguousarray(plain, dtype),
            None,
            header.table,
            header.rows,
            header.verdict,
            header.notes,
            header.label,
        )

    # what is known of it

    @property
    def header(self) -> headers.Header:
        """All that is known of it."""
        return self._header if self._header is not None else headers.anonymous(self.shape)

    @property
    def axes(self) -> tuple[stack.Axis, ...]:
        """Name, values and unit of each dimension."""
        return self.header.axes

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the dimensions."""
        return self.header.names

    def axis(self, name: str) -> stack.Axis:
        """The axis of that name."""
        at: int = calls.named(self.header, name)
        return self.axes[at]

    @property
    def geometry(self) -> geometries.Geometry | None:
        """Where it lies; None: nothing says so."""
        return self.header.geometry

    @property
    def spacing(self) -> tuple[float, float, float] | None:
        """Millimetres between slices, rows, columns."""
        return None if self.geometry is None else self.geometry.spacing

    @property
    def patient(self) -> Array | None:
        """The matrix from (column, row, slice, 1) to the patient's coordinates (LPS)."""
        return None if self.geometry is None else self.geometry.patient

    @property
    def scanner(self) -> Array | None:
        """The matrix from (column, row, slice, 1) to right-anterior-superior (RAS+), as NIfTI has it."""
        return None if self.geometry is None else self.geometry.scanner

    def position(self, *index: float) -> geometries.Vector:
        """Where the centre of the voxel of this index lies in the patient's coordinates (LPS), in mm."""
        found = self.geometry
        if found is None:
            raise errors.UsageError("nothing says where this volume lies")
        if len(index) != self.ndim:
            raise errors.UsageError(
                f"a voxel of {self.ndim} dimensions has {self.ndim} indices, not {len(index)}"
            )
        at = {name: float(value) for name, value in zip(self.names, index, strict=True)}
        if self.verdict is stack.Verdict.UNEQUAL and headers.SLICE in at and found.spacing[0]:
            ruler = self.axis(headers.SLICE).values / found.spacing[0]  # the grid is only the mean
            at[headers.SLICE] = float(np.interp(at[headers.SLICE], np.arange(len(ruler)), ruler))
        return found.at(*(at.get(name, 0.0) for name in headers.SPATIAL))

    @property
    def timeline(self) -> Array | None:
        """Seconds from the first volume, one for each; None: it has no axis of time."""
        for name, factor in (("time", 1.0), ("trigger", 1e-3)):
            at = self.header.find(name)
            if at is not None:
                return np.asarray(self.axes[at].values, np.float64) * factor
        return None

    @property
    def bvalues(self) -> Array | None:
        """b values in s/mm2, one for each volume; None: it has none."""
        at = self.header.find("b")
        if at is not None:
            return np.asarray(self.axes[at].values, np.float64)
        found = self._by_volume("b_value")
        return None if found is None or not np.isfinite(found).any() else found

    @property
    def bvectors(self) -> Array | None:
        """Directions of diffusion in the patient's coordinates, zero where there is none; None: unknown."""
        if self.bvalues is None:
            return None
        found = self._by_volume("gradient")
        return None if found is None else np.nan_to_num(found, nan=0.0)

    @property
    def colour(self) -> bool:
        """Whether each voxel is red, green, blue."""
        return bool(self.names) and self.names[-1] == headers.RGB

    @property
    def unit(self) -> str:
        """The unit of the values: "HU", "BQML"; "" unknown."""
        return self.header.unit

    @property
    def slope(self) -> float:
        """Real value = value * slope + intercept; 1 unless stored values were asked for."""
        return self.header.slope

    @property
    def intercept(self) -> float:
        """Real value = value * slope + intercept; 0 unless stored values were asked for."""
        return self.header.intercept

    @property
    def verdict(self) -> stack.Verdict | None:
        """Whether it is a whole volume; None: unknown."""
        return self.header.verdict

    @property
    def notes(self) -> tuple[stack.Note, ...]:
        """What is to be said of it."""
        return self.header.notes

    @property
    def label(self) -> str:
        """What it is among the volumes of its series: "echo 2"; "" for an only one."""
        return self.header.label

    @property
    def table(self) -> tables.Table | None:
        """The frames that it came from; None: it came from none."""
        return self.header.table

    @property
    def rows(self) -> Array | None:
        """Rows of `table`, in the shape of the axes that are not within a frame; -1: none."""
        return self.header.rows

    def tag(self, name: str) -> Array:
        """An element of each frame, by keyword, tag or column, in the shape of `rows`.

        What the sorting did not read is read from the files now.
        """
        header = self.header
        if header.table is None or header.rows is None:
            raise errors.UsageError("this volume came from no DICOM file, so that it has no elements")
        there = header.rows >= 0
        if name in header.table or (name in tables.COLUMNS and header.lookup is None):
            column = header.table[name]
        elif header.lookup is None:
            raise errors.UsageError(f"{name} was not read, and there is no way back to the files")
        else:
            column = header.lookup.values(header.table, np.unique(header.rows[there]), name)
        missing = "" if column.dtype == object else np.nan
        made: Array = column[np.where(there, header.rows, 0)]
        if not there.all():
            made = made.astype(column.dtype if column.dtype == object else np.float64)
            made[~there] = missing
        return made

    @property
    def identity(self) -> headers.Identity:
        """Whose it is, from the header of its first frame; empty where nothing says so."""
        header = self.header
        if header.table is None or header.rows is None or not (header.rows >= 0).any():
            return headers.Identity()
        row = int(header.rows[header.rows >= 0][0])
        if header.lookup is not None:
            return header.lookup.identity(header.table, row)
        return headers.Identity(
            study=header.table["study"][row],
            series=header.table["series"][row],
            series_description=header.table["series_description"][row],
            modality=header.table["modality"][row],
            frame_of_reference=header.table["frame_of_reference"][row],
        )

    def rescaled(self) -> Self:
        """Real values, of a volume of stored values; itself where they are real already."""
        if (self.slope, self.intercept) == (1, 0):
            return self
        voxels = scaled.real(self.view(np.ndarray), self.slope, self.intercept)
        return type(self)(voxels, dataclasses.replace(self.header, slope=1.0, intercept=0.0))

    def in_order(self) -> Self:
        """With slice, row, column and rgb last, in that order, and all of the first three there."""
        made: Any = self
        for name in headers.SPATIAL:
            if made.header.find(name) is None:
                voxels = made.view(np.ndarray)[None]
                made = type(self)(
                    voxels, headers.inserted(made.header, 0, stack.Axis(name, np.zeros(1), "mm"))
                )
        last = [*headers.SPATIAL, *([headers.RGB] if headers.RGB in made.names else [])]
        keep = [at for at, name in enumerate(made.names) if name not in last]
        order = [*keep, *(made.names.index(name) for name in last)]
        if order != list(range(made.ndim)):
            made = np.transpose(made, order)
        for at in reversed(
            [at for at, axis in enumerate(made.axes) if not axis.name and made.shape[at] == 1]
        ):
            made = np.squeeze(made, at)
        found: Self = made
        return found

    def with_header(self, **changed: Any) -> Self:
        """The same voxels with another unit, label, geometry or whatever of the header."""
        return type(self)(self.view(np.ndarray), dataclasses.replace(self.header, **changed))

    def __repr__(self) -> str:
        sizes = " x ".join(f"{n} {name or '?'}" for n, name in zip(self.shape, self.names, strict=True))
        parts = [f"{sizes or 'one voxel'}, {self.dtype}"]
        if self.spacing is not None:
            parts.append(" x ".join(f"{one:.4g}" for one in self.spacing) + " mm")
        parts += [said for said in (self.unit, self.label) if said]
        if self.verdict is not None:
            parts.append(self.verdict.value)
        return f"<Volume {', '.join(parts)}>"

    __str__ = __repr__

    # numpy's ways in

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, Volume):
            key = key.view(np.ndarray)
        elif isinstance(key, tuple):
            key = tuple(one.view(np.ndarray) if isinstance(one, Volume) else one for one in key)
        made = np.ndarray.__getitem__(self.view(np.ndarray), key)
        if not isinstance(made, np.ndarray):
            return made
        header = slicing.indexed(self.header, self.shape, key)
        return made if header is None else type(self)(made, header)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        out = kwargs.get("out")
        plain_kwargs = {name: _plain(value) for name, value in kwargs.items() if name != "subok"}
        parts = [_part(one) for one in inputs]
        known = [part for part in parts if part is not None]
        if method == "reduce" and parts[0] is not None:
            axis = calls.named(parts[0][0], kwargs.get("axis", 0))
            plain_kwargs["axis"] = axis
        if method == "__call__" and ufunc.signature is None and known:  # refuse before anything is changed
            shape = np.broadcast_shapes(*(np.shape(one) for one in inputs))
            header: headers.Header | None = combining.broadcast(known, shape)
        else:
            header = None
        made = getattr(ufunc, method)(*(_plain(one) for one in inputs), **plain_kwargs)
        if out is not None:
            return out[0] if len(out) == 1 else out
        if method == "reduce" and parts[0] is not None:
            gone = calls.dimensions(plain_kwargs["axis"], len(parts[0][0].axes))
            header = headers.reduced(parts[0][0], gone, keep=bool(kwargs.get("keepdims")))
        elif method == "accumulate" and parts[0] is not None:
            header = parts[0][0]
        if header is None:
            return made
        unit = functions.unit_of(ufunc.__name__, inputs, [one is not None for one in parts], header.unit)
        header = functions.unscaled(dataclasses.replace(header, unit=unit))
        if isinstance(made, tuple):
            return tuple(self._wrapped(one, header) for one in made)
        return self._wrapped(made, header)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        made, header = functions.call(func, args, kwargs, _header_of, _plain)
        given = kwargs.get("out")
        if given is not None:
            return given
        if isinstance(made, Volume) or header is None:
            return made
        return self._wrapped(made, header)

    def _wrapped(self, made: Any, header: headers.Header) -> Any:
        if not isinstance(made, np.ndarray) or made.ndim != len(header.axes):
            return made
        return made if made.ndim == 0 else type(self)(made, header)

    # copies and pickles

    def view(self, *args: Any, **kwargs: Any) -> Any:
        """As ndarray.view; `view(numpy.ndarray)` leaves the header away."""
        made: Any = super().view(*args, **kwargs)
        if isinstance(made, Volume) and made.shape == self.shape:
            made._header = self._header  # noqa: SLF001 - its own class
        return made

    def copy(self, order: Any = "C") -> Self:
        """Another array with the same voxels and header."""
        return type(self)(self.view(np.ndarray).copy(order), self._header)

    def astype(self, dtype: Any, *args: Any, **kwargs: Any) -> Any:
        """The same in another type."""
        return type(self)(self.view(np.ndarray).astype(dtype, *args, **kwargs), self._header)

    def __copy__(self) -> Self:
        return self.copy()

    def __deepcopy__(self, memo: Any) -> Self:
        return self.copy()  # a header never changes

    def __reduce__(self) -> Any:
        made: Any = super().__reduce__()
        return made[0], made[1], (made[2], self._header)

    def __setstate__(self, state: Any) -> None:
        super().__setstate__(state[0])
        self._header = state[1]

    # shared

    def _by_volume(self, column: str) -> Array | None:
        """A column's value for each volume, from its first frame that is there."""
        header = self.header
        if header.table is None or header.rows is None or not header.rows.ndim:
            return None
        names = [header.names[at] for at in headers.frames(header.axes)]
        rows = header.rows
        if headers.SLICE in names:
            rows = np.moveaxis(rows, names.index(headers.SLICE), -1)
            first = np.argmax(rows >= 0, axis=-1)
            rows = np.take_along_axis(rows, first[..., None], -1)[..., 0]
        if rows.ndim != 1:
            return None
        values = header.table[column].astype(np.float64)[np.maximum(rows, 0)]
        values[rows < 0] = np.nan
        return values


def _plain(found: Any) -> Any:
    """An argument of numpy without headers."""
    if isinstance(found, Volume):
        return found.view(np.ndarray)
    if isinstance(found, tuple | list) and any(isinstance(one, Volume | tuple | list) for one in found):
        return type(found)([_plain(one) for one in found]) if type(found) in (tuple, list) else found
    return found


def _header_of(found: Any) -> headers.Header | None:
    return found.header if isinstance(found, Volume) else None


def _part(found: Any) -> combining.Part | None:
    return (found.header, found.shape) if isinstance(found, Volume) else None
