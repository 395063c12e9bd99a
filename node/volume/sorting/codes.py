"""Values become small whole numbers, so that what is equal is compared and counted in array operations."""

from __future__ import annotations

from typing import Any

import numpy as np

from node.volume import table

Array = np.ndarray[Any, np.dtype[Any]]

_LARGEST = 1e15  # that is believed
_KINDS = 256  # different vectors that are told apart with a tolerance; more are compared after rounding


class Columns(dict[str, Array]):
    """The columns of a table; one that is absent is made only once."""

    def __init__(self, frames: table.Table) -> None:
        super().__init__()
        self._frames = frames

    def __missing__(self, name: str) -> Array:
        found = self._frames[name]
        if found.dtype.kind == "f" and not bool((np.abs(found) < _LARGEST).all()):
            # Beyond it there is nothing that was measured: it is as absent as what is no number.
            found = np.where(np.abs(found) < _LARGEST, found, np.nan)
        self[name] = found
        return found


def of(values: Array, tolerance: float = 0.0) -> tuple[Array, int]:
    """A number from 0 for each value, in their order, and how many there are; absent is one too."""
    if len(values) == 0:
        return np.zeros(0, np.int64), 0
    if values.ndim > 1:
        return _vectors(values, tolerance)
    if bool((values == values[0]).all()):
        return np.zeros(len(values), np.int64), 1
    if values.dtype == object:
        return _texts(values)
    if values.dtype.kind == "f" and bool(np.isnan(values).all()):
        return np.zeros(len(values), np.int64), 1
    kinds, found = np.unique(values, return_inverse=True)
    if tolerance > 0 and len(kinds) > 1:
        step = np.concatenate(([0], np.cumsum(~(np.diff(kinds) <= tolerance))))
        return step[found], int(step[-1]) + 1
    return found.reshape(-1), len(kinds)


def _texts(values: Array) -> tuple[Array, int]:
    words = values.tolist()
    names = {word: at for at, word in enumerate(sorted(set(words), key=str))}
    return np.fromiter((names[word] for word in words), np.int64, len(words)), len(names)


def _vectors(values: Array, tolerance: float) -> tuple[Array, int]:
    """Vectors within the tolerance of one that stands for them are the same."""
    apart = np.where(np.isfinite(values), values, 1e30)
    first = apart[0]
    if bool((np.abs(apart - first) <= tolerance).all()):
        return np.zeros(len(values), np.int64), 1
    found = np.full(len(values), -1, np.int64)
    left = np.arange(len(values))
    # From the smallest on, so that the order of the rows is of no consequence.
    left = left[np.lexsort(apart.T[::-1])]
    for kind in range(_KINDS):
        near = (np.abs(apart[left] - apart[left[0]]) <= tolerance).all(axis=1)
        found[left[near]] = kind
        left = left[~near]
        if not len(left):
            return found, kind + 1
    grid = np.round(apart / max(tolerance, 1e-9))
    kinds, found = np.unique(grid, axis=0, return_inverse=True)
    return found.reshape(-1), len(kinds)


def join(first: Array, second: Array) -> tuple[Array, int]:
    """One number for each pair, and how many pairs there are."""
    width = int(second.max()) + 1 if len(second) else 1
    kinds, found = np.unique(first * width + second, return_inverse=True)
    return found.reshape(-1), len(kinds)


def clusters(values: Array, tolerance: float) -> tuple[Array, int]:
    """Numbers for values along a line that are no further than this from a neighbour; in their order."""
    order = np.argsort(values, kind="stable")
    found = np.empty(len(values), np.int64)
    found[order] = np.concatenate(([0], np.cumsum(np.diff(values[order]) > tolerance)))
    return found, int(found.max()) + 1


def ranks(cell: Array, *keys: Array) -> tuple[Array, Array]:
    """The place of each row among those of its cell by the keys (the first counts most); and all in order."""
    order = np.lexsort((*keys[::-1], cell))
    in_order = cell[order]
    starts = np.flatnonzero(np.concatenate(([True], in_order[1:] != in_order[:-1])))
    sizes = np.diff(np.concatenate((starts, [len(cell)])))
    found = np.empty(len(cell), np.int64)
    found[order] = np.arange(len(cell)) - np.repeat(starts, sizes)
    return found, order


def groups(code: Array, many: int) -> list[Array]:
    """The rows of each number, ascending."""
    if many == 1:
        return [np.arange(len(code))]
    order = np.argsort(code, kind="stable")
    return np.split(order, np.cumsum(np.bincount(code, minlength=many))[:-1])
