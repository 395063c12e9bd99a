"""What one header says of its frames: a row of values for each, for a table."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from node.dicom.syntax import Buffer
from node.volume import table

Array = np.ndarray[Any, np.dtype[Any]]


@dataclasses.dataclass(frozen=True, slots=True)
class Rows:
    """The frames of one data set."""

    source: table.Source  # the data set
    count: int  # rows: frames, or tiles of a mosaic
    fixed: Mapping[str, Any]  # columns that are the same in every row: a float, a text, a tuple of floats
    varying: Mapping[str, Array]  # columns with a value for each row
    frame: Array | None = None  # frame of each row; None: 0, 1, 2 ...
    tile: Array | None = None  # tile of each row; None: 0
