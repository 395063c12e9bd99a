"""numpy's functions of volumes: those that a header survives, and how.

Every other function gives the plain array that it gives for plain arrays.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from node import errors
from node.volume import combining, stack
from node.volume import header as headers

Array = np.ndarray[Any, np.dtype[Any]]
Made = tuple[Any, headers.Header | None]  # what numpy gave, and its header; None: a plain array

# Over axes; the unit of what comes out is that of what went in, or none.
_REDUCE = frozenset(
    (
        "mean",
        "sum",
        "max",
        "min",
        "amax",
        "amin",
        "std",
        "median",
        "percentile",
        "quantile",
        "ptp",
        "nanmean",
        "nansum",
        "nanmax",
        "nanmin",
        "nanstd",
        "nanmedian",
        "nanpercentile",
        "nanquantile",
    )
)
_REDUCE_UNITLESS = frozenset(
    (
        "var",
        "nanvar",
        "prod",
        "nanprod",
        "any",
        "all",
        "argmax",
        "argmin",
        "nanargmax",
        "nanargmin",
        "count_nonzero",
    )
)
# Voxel by voxel, or along an axis without moving a voxel.
_SAME = frozenset(
    (
        "clip",
        "round",
        "around",
        "nan_to_num",
        "fix",
        "real",
        "imag",
        "cumsum",
        "nancumsum",
        "copy",
        "astype",
        "where",
        "real_if_close",
        "zeros_like",
        "ones_like",
        "empty_like",
        "full_like",
        "sort",
    )
)
_SAME_UNITLESS = frozenset(
    (
        "isclose",
        "angle",
        "cumprod",
        "isin",
        "digitize",
        "argsort",
        "i0",
        "sinc",
        "select",
        "isneginf",
        "isposinf",
        "iscomplex",
        "isreal",
    )
)

_KEEPS_UNIT = frozenset(
    (
        "add",
        "subtract",
        "negative",
        "positive",
        "absolute",
        "fabs",
        "maximum",
        "minimum",
        "fmax",
        "fmin",
        "rint",
        "floor",
        "ceil",
        "trunc",
        "conjugate",
        "remainder",
        "fmod",
        "clip",
        "hypot",
    )
)
_SCALES = frozenset(("multiply", "divide", "true_divide", "floor_divide"))


def unit_of(name: str, inputs: Sequence[Any], are: Sequence[bool], unit: str) -> str:
    """The unit of what a ufunc makes of volumes (where `are` is true) and plain numbers."""
    if name in _KEEPS_UNIT:
        return unit
    plain = sum(are) == 1
    if name == "multiply" and plain:
        return unit
    return unit if name in _SCALES and plain and are[0] else ""


def named(header: headers.Header, axis: Any) -> Any:
    """An `axis` argument in which axes may be called by their names."""
    if isinstance(axis, str):
        at = header.find(axis)
        if at is None:
            there = ", ".join(name or "?" for name in header.names)
            raise errors.UsageError(f"there is no axis {axis!r} among {there}")
        return at
    if isinstance(axis, tuple):
        return tuple(named(header, one) for one in axis)
    return axis


def dimensions(axis: Any, count: int) -> tuple[int, ...]:
    """The dimensions that an `axis` argument means; None is all of them."""
    if axis is None:
        return tuple(range(count))
    given = axis if isinstance(axis, tuple | list) else (axis,)
    return tuple(int(one) % count for one in given)


def call(
    func: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    header_of: Callable[[Any], headers.Header | None],
    plain: Callable[[Any], Any],
) -> Made:
    """What numpy's function gives for volumes."""
    handler = _handlers().get(func)
    if handler is None:
        return func(*[plain(one) for one in args], **{k: plain(v) for k, v in kwargs.items()}), None
    return handler(_Call(func, args, kwargs, header_of, plain))


@dataclasses.dataclass(slots=True)
class _Call:
    """One call of a function of numpy."""

    func: Callable[..., Any]
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    header_of: Callable[[Any], headers.Header | None]  # of an argument; None: it is no volume
    plain: Callable[[Any], Any]  # an argument without headers

    def bound(self) -> dict[str, Any]:
        """The arguments by name."""
        try:
            found = inspect.signature(self.func).bind(*self.args, **self.kwargs)
        except ValueError:  # a function in C that does not say what it takes
            return dict(self.kwargs)
        return found.arguments

    def result(self, **changed: Any) -> Any:
        """What numpy gives for the plain arrays."""
        kwargs = {**self.kwargs, **changed}
        args = list(self.args)
        names = list(inspect.signature(self.func).parameters)
        for name, value in changed.items():  # an argument stays where it was given
            at = names.index(name)
            if at < len(args):
                args[at] = value
                del kwargs[name]
        return self.func(*[self.plain(one) for one in args], **{k: self.plain(v) for k, v in kwargs.items()})


def _reduce(call_: _Call, *, unit: bool) -> Made:
    given = call_.bound()
    header = call_.header_of(call_.args[0]) if call_.args else None
    axis = given.get("axis")
    if header is None:
        return call_.result(), None
    axis = named(header, axis)
    made = call_.result(axis=axis) if "axis" in given else call_.result()
    if given.get("out") is not None or not isinstance(made, np.ndarray):
        return made, None
    gone = dimensions(axis, len(header.axes))
    found = headers.reduced(header, gone, keep=bool(given.get("keepdims") is True))
    if not unit:
        found = dataclasses.replace(found, unit="")
    asked = given.get("q")
    if asked is not None and np.ndim(asked) == 1:
        found = headers.inserted(found, 0, stack.Axis("quantile", np.asarray(asked, np.float64)))
    return made, _unscaled(found)


def _same(call_: _Call, *, unit: bool) -> Made:
    volumes = [one for one in (*call_.args, *call_.kwargs.values()) if call_.header_of(one) is not None]
    header = call_.header_of(volumes[0]) if volumes else None
    given = call_.bound()
    if header is not None and isinstance(given.get("axis"), str):
        made = call_.result(axis=named(header, given["axis"]))
    else:
        made = call_.result()
    if given.get("out") is not None or not isinstance(made, np.ndarray) or header is None:
        return made, None
    parts = []
    for one in volumes:
        its = call_.header_of(one)
        if its is not None:
            parts.append((its, np.shape(one)))
    if np.broadcast_shapes(*(shape for _, shape in parts)) != made.shape:
        return made, None
    found = combining.broadcast(parts, made.shape)
    return made, found if unit else _unscaled(dataclasses.replace(found, unit=""))


def _flip(call_: _Call) -> Made:
    header = call_.header_of(call_.args[0])
    made = call_.args[0]
    if header is None:
        return call_.result(), None
    name = call_.func.__name__
    axis = call_.bound().get("axis") if name == "flip" else {"flipud": 0, "fliplr": 1}[name]
    gone = dimensions(named(header, axis), len(header.axes))
    key = tuple(slice(None, None, -1) if at in gone else slice(None) for at in range(len(header.axes)))
    return made[key], header_or_none(call_, made[key])


def header_or_none(call_: _Call, made: Any) -> headers.Header | None:
    """The header that indexing a volume gave."""
    return call_.header_of(made)


def _transpose(call_: _Call) -> Made:
    header = call_.header_of(call_.args[0])
    given = call_.bound()
    if header is None:
        return call_.result(), None
    count = len(header.axes)
    name = call_.func.__name__
    if name == "transpose":
        axes = given.get("axes")
        order = (
            list(range(count))[::-1] if axes is None else list(dimensions(named(header, tuple(axes)), count))
        )
    elif name == "swapaxes":
        a, b = dimensions((named(header, given["axis1"]), named(header, given["axis2"])), count)
        order = list(range(count))
        order[a], order[b] = order[b], order[a]
    else:
        start, end = given["source"], given["destination"]
        from_ = dimensions(named(header, start), count)
        to = dimensions(end, count)
        order = [at for at in range(count) if at not in from_]
        for place, at in sorted(zip(to, from_, strict=True)):
            order.insert(place, at)
    plain = call_.plain(call_.args[0])
    return plain.transpose(order), headers.ordered(header, order)


def _squeeze(call_: _Call) -> Made:
    header = call_.header_of(call_.args[0])
    plain = call_.plain(call_.args[0])
    if header is None:
        return call_.result(), None
    axis = named(header, call_.bound().get("axis"))
    made = plain.squeeze(axis)
    gone = [at for at, length in enumerate(plain.shape) if length == 1]
    if axis is not None:
        gone = list(dimensions(axis, plain.ndim))
    for at in sorted(gone, reverse=True):
        verdict = header.verdict
        header = dataclasses.replace(headers.dropped(header, at, 0), verdict=verdict)
    return made, header


def _expand(call_: _Call) -> Made:
    header = call_.header_of(call_.args[0])
    made = call_.result()
    if header is None:
        return made, None
    for at in sorted(dimensions(call_.bound()["axis"], made.ndim)):
        header = headers.inserted(header, at, headers.unnamed(1))
    return made, header


def _take(call_: _Call) -> Made:
    given = call_.bound()
    header = call_.header_of(call_.args[0])
    if header is None or given.get("axis") is None or given.get("out") is not None or "mode" in given:
        return call_.result(), None
    at = dimensions(named(header, given["axis"]), len(header.axes))[0]
    made = call_.args[0][(slice(None),) * at + (given["indices"],)]
    return made, header_or_none(call_, made)


def _several(call_: _Call) -> list[combining.Part] | None:
    """The headers and shapes of all arrays that are put together; None when one has none."""
    arrays = call_.args[0] if call_.args else ()
    parts = []
    for one in arrays:
        header = call_.header_of(one)
        if header is None:
            return None
        parts.append((header, np.shape(one)))
    return parts or None


def _concatenate(call_: _Call) -> Made:
    parts = _several(call_)
    given = call_.kwargs
    axis = call_.args[1] if len(call_.args) > 1 else given.get("axis", 0)
    if parts is None or axis is None or given.get("out") is not None:
        return call_.result(), None
    at = dimensions(named(parts[0][0], axis), len(parts[0][1]))[0]
    rest = {name: value for name, value in given.items() if name != "axis"}
    made = np.concatenate([call_.plain(one) for one in call_.args[0]], axis=at, **rest)
    return made, combining.along(parts, at)


def _stack(call_: _Call) -> Made:
    parts = _several(call_)
    made = call_.result()
    given = call_.bound()
    if parts is None or given.get("out") is not None:
        return made, None
    at = dimensions(given.get("axis", 0), made.ndim)[0]
    return made, combining.together(parts, at, headers.unnamed(len(parts)))


def _unscaled(header: headers.Header) -> headers.Header:
    """Of values that are no stored values any more."""
    if (header.slope, header.intercept) == (1, 0):
        return header
    said = stack.Note(
        stack.Kind.HEADER, "computed from stored values: their slope and intercept are left out"
    )
    return dataclasses.replace(header, slope=1.0, intercept=0.0, unit="", notes=(*header.notes, said))


unscaled = _unscaled


def _handlers() -> Mapping[Callable[..., Any], Callable[[_Call], Made]]:
    """Which function is handled how."""
    if not _TABLE:
        named_: dict[str, Callable[[_Call], Made]] = {
            **dict.fromkeys(_REDUCE, lambda one: _reduce(one, unit=True)),
            **dict.fromkeys(_REDUCE_UNITLESS, lambda one: _reduce(one, unit=False)),
            **dict.fromkeys(_SAME, lambda one: _same(one, unit=True)),
            **dict.fromkeys(_SAME_UNITLESS, lambda one: _same(one, unit=False)),
            **dict.fromkeys(("flip", "flipud", "fliplr"), _flip),
            **dict.fromkeys(("transpose", "swapaxes", "moveaxis"), _transpose),
            "squeeze": _squeeze,
            "expand_dims": _expand,
            "take": _take,
            "concatenate": _concatenate,
            "stack": _stack,
        }
        for name, handler in named_.items():
            found = getattr(np, name, None)
            if found is not None:
                _TABLE[found] = handler
    return _TABLE


_TABLE: dict[Callable[..., Any], Callable[[_Call], Made]] = {}  # filled when it is asked for first
