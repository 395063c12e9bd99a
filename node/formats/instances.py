"""Volumes that are DICOM files: read from them, a folder of them, and the UID of a new series."""

from __future__ import annotations

import hashlib
import os
import pathlib
import re
import shutil
from collections.abc import Sequence
from typing import Any

import numpy as np

from node import errors
from node.dicom import uids
from node.formats import derived, identity, whole
from node.volume import image

_OURS = re.compile(r"\d{5,}\.dcm")
Array = np.ndarray[Any, np.dtype[Any]]


def read(paths: Sequence[pathlib.Path]) -> image.Image:
    """The one volume in DICOM files; BadData when there is none, or more than one."""
    from node.loading import headers, voxels  # the format is written more often than read by this way
    from node.volume.sorting import sort

    files = list(headers.walk([str(path) for path in paths]))
    stacks = sort.sort(headers.read(files)).stacks
    if len(stacks) != 1:
        raise errors.BadData(f"{paths[0]} holds {len(stacks) or 'no'} volumes, not one")
    return voxels.image(stacks[0])


class folder:  # noqa: N801  # used as `with folder(...)`
    """A folder whose files are all there or none: made beside its place and moved there at the end."""

    def __init__(self, target: pathlib.Path) -> None:
        self._target = target
        self._new = target.with_name(f".{target.name}.{os.getpid()}.new")

    def __enter__(self) -> pathlib.Path:
        try:
            shutil.rmtree(self._new, ignore_errors=True)
            self._new.mkdir(parents=True)
        except OSError as error:
            raise whole.failed(self._target, error) from error
        return self._new

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._move()
        except OSError as error:
            raise whole.failed(self._target, error) from error
        finally:
            shutil.rmtree(self._new, ignore_errors=True)

    def _move(self) -> None:
        if not self._target.exists():
            self._new.replace(self._target)
            return
        # Slices of an earlier and longer series must not stay among the new ones.
        strangers = [one.name for one in self._target.iterdir() if not _OURS.fullmatch(one.name)]
        if strangers:
            raise errors.UsageError(f"{self._target} holds other things than slices; name another folder")
        old = self._new.with_suffix(".old")
        self._target.replace(old)
        self._new.replace(self._target)
        shutil.rmtree(old)


def series_uid(placed: identity.Placed, options: derived.Options, voxels: Array, kind: str) -> str:
    """The same for the same voxels, template and options, and for nothing else."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(repr((voxels.shape, voxels.dtype.str)).encode())
    digest.update(repr((placed.image.slope, placed.image.intercept, placed.grid)).encode())
    for index in np.ndindex(voxels.shape[:-2]):  # slice by slice: no second volume where it must be copied
        digest.update(np.ascontiguousarray(voxels[index]).data.cast("B"))
    template = placed.template
    held = sorted({frame.row for frame in placed.frames})
    named = [] if template is None else [template.table.source(row).sop_instance for row in held if row >= 0]
    return uids.derived("", "series", kind, placed.image.label, digest.hexdigest(), *named, *options.words)
