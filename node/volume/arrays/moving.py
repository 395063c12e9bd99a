"""numpy's functions that move, take, part or put together whole axes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np

from node.volume.arrays import calls, combining
from node.volume.arrays import header as headers
from node.volume.arrays.calls import Made, dimensions, named


def _flip(call_: calls.Call) -> Made:
    header = call_.header_of(call_.args[0])
    made = call_.args[0]
    if header is None:
        return call_.result(), None
    name = call_.func.__name__
    axis = call_.bound().get("axis") if name == "flip" else {"flipud": 0, "fliplr": 1}[name]
    gone = dimensions(named(header, axis), len(header.axes))
    key = tuple(slice(None, None, -1) if at in gone else slice(None) for at in range(len(header.axes)))
    return made[key], call_.header_of(made[key])


def _transpose(call_: calls.Call) -> Made:
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


def _squeeze(call_: calls.Call) -> Made:
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


def _expand(call_: calls.Call) -> Made:
    header = call_.header_of(call_.args[0])
    made = call_.result()
    if header is None:
        return made, None
    for at in sorted(dimensions(call_.bound()["axis"], made.ndim)):
        header = headers.inserted(header, at, headers.unnamed(1))
    return made, header


def _pad(call_: calls.Call) -> Made:
    header = call_.header_of(call_.args[0])
    made = call_.result()
    width = call_.bound().get("pad_width")
    if header is None or isinstance(width, dict):
        return made, None
    count = len(header.axes)
    for at, (before, after) in enumerate(np.broadcast_to(np.asarray(width), (count, 2)).tolist()):
        if before or after:
            grown = headers.padded(header, at, before, after)
            if grown is None:
                return made, None
            header = grown
    return made, header


def _split(call_: calls.Call) -> Made:
    given = call_.bound()
    header = call_.header_of(call_.args[0])
    if header is None:
        return call_.result(), None
    at = dimensions(named(header, given.get("axis", 0)), len(header.axes))[0]
    parts = call_.result(axis=at) if "axis" in given else call_.result()
    made = []
    start = 0
    for part in parts:
        stop = start + part.shape[at]
        made.append(call_.args[0][(slice(None),) * at + (slice(start, stop),)])
        start = stop
    # Places given out of order overlap: what numpy gives is right, and no header is.
    alike = all(one.shape == part.shape for one, part in zip(made, parts, strict=True))
    return (made if alike and start == np.shape(call_.args[0])[at] else parts), None


def _take(call_: calls.Call) -> Made:
    given = call_.bound()
    header = call_.header_of(call_.args[0])
    if header is None or given.get("axis") is None or given.get("out") is not None or "mode" in given:
        return call_.result(), None
    at = dimensions(named(header, given["axis"]), len(header.axes))[0]
    made = call_.args[0][(slice(None),) * at + (given["indices"],)]
    return made, call_.header_of(made)


def _several(call_: calls.Call) -> list[combining.Part] | None:
    """The headers and shapes of all arrays that are put together; None when one has none."""
    arrays = call_.args[0] if call_.args else ()
    parts = []
    for one in arrays:
        header = call_.header_of(one)
        if header is None:
            return None
        parts.append((header, np.shape(one)))
    return parts or None


def _concatenate(call_: calls.Call) -> Made:
    parts = _several(call_)
    given = call_.kwargs
    axis = call_.args[1] if len(call_.args) > 1 else given.get("axis", 0)
    if parts is None or axis is None or given.get("out") is not None:
        return call_.result(), None
    at = dimensions(named(parts[0][0], axis), len(parts[0][1]))[0]
    rest = {name: value for name, value in given.items() if name != "axis"}
    made = np.concatenate([call_.plain(one) for one in call_.args[0]], axis=at, **rest)
    return made, combining.along(parts, at)


def _stack(call_: calls.Call) -> Made:
    parts = _several(call_)
    made = call_.result()
    given = call_.bound()
    if parts is None or given.get("out") is not None:
        return made, None
    at = dimensions(given.get("axis", 0), made.ndim)[0]
    return made, combining.together(parts, at, headers.unnamed(len(parts)))


HANDLERS: Mapping[str, Callable[[calls.Call], Made]] = {
    **dict.fromkeys(("flip", "flipud", "fliplr"), _flip),
    **dict.fromkeys(("transpose", "swapaxes", "moveaxis"), _transpose),
    "squeeze": _squeeze,
    "expand_dims": _expand,
    "take": _take,
    "pad": _pad,
    "split": _split,
    "array_split": _split,
    "concatenate": _concatenate,
    "stack": _stack,
}
