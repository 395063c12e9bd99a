"""An array's methods that are numpy's functions too, and go the same way as these."""

from __future__ import annotations

from typing import Any

import numpy as np


class Methods(np.ndarray[Any, np.dtype[Any]]):
    """An array whose methods take the names of axes, and give plain arrays where axes end."""

    def mean(self, *args: Any, **kwargs: Any) -> Any:
        """As numpy.mean; an axis may be called by its name."""
        return np.mean(self, *args, **kwargs)

    def sum(self, *args: Any, **kwargs: Any) -> Any:
        """As numpy.sum; an axis may be called by its name."""
        return np.sum(self, *args, **kwargs)

    def max(self, *args: Any, **kwargs: Any) -> Any:
        """As numpy.max; an axis may be called by its name."""
        return np.max(self, *args, **kwargs)

    def min(self, *args: Any, **kwargs: Any) -> Any:
        """As numpy.min; an axis may be called by its name."""
        return np.min(self, *args, **kwargs)

    def std(self, *args: Any, **kwargs: Any) -> Any:
        """As numpy.std; an axis may be called by its name."""
        return np.std(self, *args, **kwargs)

    def var(self, *args: Any, **kwargs: Any) -> Any:
        """As numpy.var; an axis may be called by its name."""
        return np.var(self, *args, **kwargs)

    def prod(self, *args: Any, **kwargs: Any) -> Any:
        """As numpy.prod; an axis may be called by its name."""
        return np.prod(self, *args, **kwargs)

    def any(self, *args: Any, **kwargs: Any) -> Any:
        """As numpy.any; an axis may be called by its name."""
        return np.any(self, *args, **kwargs)

    def all(self, *args: Any, **kwargs: Any) -> Any:
        """As numpy.all; an axis may be called by its name."""
        return np.all(self, *args, **kwargs)

    def argmax(self, *args: Any, **kwargs: Any) -> Any:
        """As numpy.argmax."""
        return np.argmax(self, *args, **kwargs)

    def argmin(self, *args: Any, **kwargs: Any) -> Any:
        """As numpy.argmin."""
        return np.argmin(self, *args, **kwargs)

    def clip(self, *args: Any, **kwargs: Any) -> Any:
        """As numpy.clip."""
        return np.clip(self, *args, **kwargs)

    def round(self, *args: Any, **kwargs: Any) -> Any:
        """As numpy.round."""
        return np.round(self, *args, **kwargs)

    def cumsum(self, *args: Any, **kwargs: Any) -> Any:
        """As numpy.cumsum."""
        return np.cumsum(self, *args, **kwargs)

    def squeeze(self, axis: Any = None) -> Any:
        """As numpy.squeeze."""
        return np.squeeze(self, axis)

    def take(self, *args: Any, **kwargs: Any) -> Any:
        """As numpy.take."""
        return np.take(self, *args, **kwargs)

    def swapaxes(self, axis1: Any, axis2: Any, /) -> Any:
        """As numpy.swapaxes; the names go with the axes."""
        return np.swapaxes(self, axis1, axis2)

    def transpose(self, *axes: Any) -> Any:
        """As ndarray.transpose; the names go with the axes."""
        given = axes[0] if len(axes) == 1 and not isinstance(axes[0], int | str) else axes or None
        return np.transpose(self, given)

    @property
    def T(self) -> Any:  # noqa: N802 - numpy's name
        """All axes the other way round."""
        return np.transpose(self)

    @property
    def mT(self) -> Any:  # noqa: N802 - numpy's name
        """The last two axes the other way round."""
        return np.swapaxes(self, -2, -1)

    def reshape(self, *args: Any, **kwargs: Any) -> Any:
        """A plain array."""
        return np.asarray(self).reshape(*args, **kwargs)

    def ravel(self, *args: Any, **kwargs: Any) -> Any:
        """A plain array."""
        return np.asarray(self).ravel(*args, **kwargs)

    def flatten(self, *args: Any, **kwargs: Any) -> Any:
        """A plain array."""
        return np.asarray(self).flatten(*args, **kwargs)

    def diagonal(self, *args: Any, **kwargs: Any) -> Any:
        """A plain array."""
        return np.asarray(self).diagonal(*args, **kwargs)

    def repeat(self, *args: Any, **kwargs: Any) -> Any:
        """A plain array."""
        return np.asarray(self).repeat(*args, **kwargs)
