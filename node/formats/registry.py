"""The formats by name: those that are built in, and those that installed packages bring.

A package brings one by an entry point of the group `dicom_node.formats`: its name is the format's, what it
points at is a `base.Format` or a callable without parameters that gives one. Nothing is imported before it is
asked for, and a package that is broken breaks only its own format.
"""

from __future__ import annotations

import importlib
import pathlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from node import errors
from node.formats import base

if TYPE_CHECKING:
    import importlib.metadata

GROUP = "dicom_node.formats"


class _BuiltIn:
    """Where a format lives and what its files are called, known without importing it."""

    __slots__ = ("attribute", "module", "suffixes")

    def __init__(self, module: str, *suffixes: str, attribute: str = "FORMAT") -> None:
        self.module = module
        self.suffixes = suffixes
        self.attribute = attribute


# Suffixes that are not here (.dcm, .png) belong to formats that `open` reads in another way, or not at all.
_BUILT_IN: Mapping[str, _BuiltIn] = {
    "nifti": _BuiltIn("nifti", ".nii", ".nii.gz", ".hdr", ".img"),
    "metaimage": _BuiltIn("metaimage", ".mha", ".mhd"),
    "nrrd": _BuiltIn("nrrd", ".nrrd", ".nhdr"),
    "matlab": _BuiltIn("matlab", ".mat"),
    "npz": _BuiltIn("npz", ".npz"),
    "zarr": _BuiltIn("zarr", ".zarr"),
    "png": _BuiltIn("picture", ".png", attribute="PNG"),
    "jpeg": _BuiltIn("picture", ".jpg", ".jpeg", attribute="JPEG"),
    "dicom": _BuiltIn("dicom"),
    "enhanced": _BuiltIn("enhanced"),
    "sc": _BuiltIn("secondary"),
    "seg": _BuiltIn("segmentation"),
}


def names() -> list[str]:
    """The names of all formats, the built-in ones first."""
    return [*_BUILT_IN, *sorted(set(_brought()) - _BUILT_IN.keys())]


def get(name: str) -> base.Format:
    """A format by its name; UsageError when there is none, or when the package that brings it is broken."""
    if name in _BUILT_IN:
        built_in = _BUILT_IN[name]
        module = importlib.import_module(f"node.formats.{built_in.module}")
        return cast(base.Format, getattr(module, built_in.attribute))
    brought = _brought().get(name)
    if brought is None:
        raise errors.UsageError(f"there is no format {name!r}; there are {', '.join(names())}")
    return _load(name, brought)


def of(path: pathlib.Path) -> base.Format | None:
    """The format that a file or folder is of, by its suffix; None when no format has such."""
    lower = path.name.lower()
    for name, built_in in _BUILT_IN.items():
        if lower.endswith(built_in.suffixes):
            return get(name)
    for name in names()[len(_BUILT_IN) :]:
        found = get(name)
        if lower.endswith(tuple(found.suffixes)):
            return found
    return None


def _brought() -> dict[str, importlib.metadata.EntryPoint]:
    """The entry points of installed packages, by name; the first of a name counts."""
    from importlib import metadata  # reads the folders of all packages: only where a name is not built in

    found: dict[str, metadata.EntryPoint] = {}
    for point in metadata.entry_points(group=GROUP):
        found.setdefault(point.name, point)
    return found


def _load(name: str, point: importlib.metadata.EntryPoint) -> base.Format:
    package = point.dist.name if point.dist is not None else point.value
    try:
        found = point.load()
        made = found() if callable(found) else found
    except Exception as error:  # a stranger's code: whatever it raises is its own fault, and is said to be
        raise errors.UsageError(
            f"the format {name!r} of the package {package} cannot be loaded"
            f" ({type(error).__name__}: {error}); repair or remove that package"
        ) from error
    missing = [
        part for part in ("name", "suffixes", "about", "check", "write", "read") if not hasattr(made, part)
    ]
    if missing:
        raise errors.UsageError(
            f"the format {name!r} of the package {package} is none: it has no {', no '.join(missing)}"
        )
    return cast(base.Format, made)
