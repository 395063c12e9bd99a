"""Headers of files as a table of frames: files, folders, zip archives."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence

from node.volume import table


def read(
    paths: Sequence[str],
    *,
    extra: Sequence[str] = (),
    progress: Callable[[int, int, str], None] | None = None,
) -> table.Table:
    """One row for each frame of the files, in their order; a file that gives none is in `skipped`.

    `extra` are elements named as in `dicom.path`, one column each under the text given.
    """
    raise NotImplementedError


def walk(inputs: Sequence[str]) -> Iterator[str]:
    """The files named and those below the folders named, in the order of their names; no DICOMDIR."""
    for one in inputs:
        if not os.path.isdir(one):
            yield one
            continue
        for folder, folders, files in os.walk(one):
            folders.sort()
            for name in sorted(files):
                if name.upper() != "DICOMDIR":
                    yield os.path.join(folder, name)


@contextlib.contextmanager
def opened(inputs: Sequence[str]) -> Iterator[list[str]]:
    """The files of `walk`, those in zip archives extracted to a temporary folder that lives as long."""
    yield list(walk(inputs))
