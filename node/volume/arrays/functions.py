"""numpy's functions of volumes: those that a header survives, and how.

Every other function gives the plain array that it gives for plain arrays.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from node.volume import stack
from node.volume.arrays import calls, combining, moving
from node.volume.arrays import header as headers
from node.volume.arrays.calls import Made


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Over axes; the unit of what comes out is that of what went in, or none.
_REDUCE = _words(
    "mean sum max min amax amin std median percentile quantile ptp nanmean nansum nanmax nanmin "
    "nanstd nanmedian nanpercentile nanquantile"
)
_REDUCE_UNITLESS = _words("var nanvar prod nanprod any all argmax argmin nanargmax nanargmin count_nonzero")
# Voxel by voxel, or along an axis without moving a voxel.
_SAME = _words(
    "clip round around nan_to_num fix real imag cumsum nancumsum copy astype where "
    "real_if_close zeros_like ones_like empty_like full_like"
)
_SAME_UNITLESS = _words("isclose angle cumprod isin digitize i0 sinc isneginf isposinf iscomplex isreal")

_KEEPS_UNIT = _words(
    "add subtract negative positive absolute fabs maximum minimum fmax fmin rint floor ceil "
    "trunc conjugate remainder fmod clip hypot"
)
_SCALES = _words("multiply divide true_divide floor_divide")


def unit_of(name: str, inputs: Sequence[Any], are: Sequence[bool], unit: str) -> str:
    """The unit of what a ufunc makes of volumes (where `are` is true) and plain numbers."""
    if name in _KEEPS_UNIT:
        return unit
    plain = sum(are) == 1
    if name == "multiply" and plain:
        return unit
    return unit if name in _SCALES and plain and are[0] else ""


def unscaled(header: headers.Header) -> headers.Header:
    """Of values that are no stored values any more."""
    if (header.slope, header.intercept) == (1, 0):
        return header
    said = stack.Note(
        stack.Kind.HEADER, "computed from stored values: their slope and intercept are left out"
    )
    return dataclasses.replace(header, slope=1.0, intercept=0.0, unit="", notes=(*header.notes, said))


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
    return handler(calls.Call(func, args, kwargs, header_of, plain))


def _reduce(call_: calls.Call, *, unit: bool) -> Made:
    given = call_.bound()
    header = call_.header_of(call_.args[0]) if call_.args else None
    axis = given.get("axis")
    if header is None:
        return call_.result(), None
    axis = calls.named(header, axis)
    made = call_.result(axis=axis) if "axis" in given else call_.result()
    if given.get("out") is not None or not isinstance(made, np.ndarray):
        return made, None
    gone = calls.dimensions(axis, len(header.axes))
    found = headers.reduced(header, gone, keep=bool(given.get("keepdims") is True))
    if not unit:
        found = dataclasses.replace(found, unit="")
    asked = given.get("q")
    if asked is not None and np.ndim(asked) == 1:
        found = headers.inserted(found, 0, stack.Axis("quantile", np.asarray(asked, np.float64)))
    return made, unscaled(found)


def _same(call_: calls.Call, *, unit: bool) -> Made:
    volumes = [one for one in (*call_.args, *call_.kwargs.values()) if call_.header_of(one) is not None]
    header = call_.header_of(volumes[0]) if volumes else None
    given = call_.bound()
    if header is not None and isinstance(given.get("axis"), str):
        made = call_.result(axis=calls.named(header, given["axis"]))
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
    return made, found if unit else unscaled(dataclasses.replace(found, unit=""))


@functools.cache
def _handlers() -> Mapping[Callable[..., Any], Callable[[calls.Call], Made]]:
    """Which function is handled how."""
    by_name: dict[str, Callable[[calls.Call], Made]] = {
        **dict.fromkeys(_REDUCE, functools.partial(_reduce, unit=True)),
        **dict.fromkeys(_REDUCE_UNITLESS, functools.partial(_reduce, unit=False)),
        **dict.fromkeys(_SAME, functools.partial(_same, unit=True)),
        **dict.fromkeys(_SAME_UNITLESS, functools.partial(_same, unit=False)),
        **moving.HANDLERS,
    }
    # A name that this version of numpy has not is no function that anybody can call.
    return {getattr(np, name): handler for name, handler in by_name.items() if hasattr(np, name)}
