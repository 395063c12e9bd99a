"""One call of a function of numpy that volumes were given to."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from node import errors
from node.volume.arrays import header as headers

Array = np.ndarray[Any, np.dtype[Any]]
Made = tuple[Any, headers.Header | None]  # what numpy gave, and its header; None: a plain array


@dataclasses.dataclass(slots=True)
class Call:
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
