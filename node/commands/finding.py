"""From the paths that a person gives to the files below them."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterable, Iterator

from node import errors

_NOT_DICOM = frozenset({"DICOMDIR"})  # an index of files, not an instance


def files(paths: Iterable[pathlib.Path]) -> Iterator[tuple[pathlib.Path, bool]]:
    """Yield each file below the paths in order of name, and whether it was named itself."""
    for path in paths:
        if path.is_dir():
            for folder, folders, names in os.walk(path):
                folders.sort()
                for name in sorted(names):
                    if name not in _NOT_DICOM and not name.startswith("."):
                        yield pathlib.Path(folder, name), False
        elif path.exists():
            yield path, True
        else:
            raise errors.UsageError(f"{str(path)!r} does not exist: give a DICOM file or a folder of them")
