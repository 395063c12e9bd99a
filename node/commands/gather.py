"""From the paths that a person gives to the DICOM files behind them."""

from __future__ import annotations

import dataclasses
import mmap
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from node import errors
from node.commands import finding
from node.dicom import header, part10, uids
from node.send import base

if TYPE_CHECKING:
    from node.steps import coerce

_EMPTY_FILE = "the file is empty"
files = finding.files


@dataclasses.dataclass(frozen=True, slots=True)
class Skipped:
    """A file that is not an instance, and why."""

    path: pathlib.Path  # the file
    why: str  # one sentence
    named: bool  # the person named this file itself, so that skipping it is a failure


def items(
    paths: Iterable[pathlib.Path], coercion: coerce.Coercion | None = None
) -> Iterator[base.Item | Skipped]:
    """Read the head of each file; what is not DICOM is yielded as skipped.

    With a coercion, each item is what that will make of it.
    """
    if coercion is not None:
        from node.steps import outgoing  # knows all of DICOM's elements, which takes a moment
    for path, named in files(paths):
        try:
            found = item(path)
        except errors.BadData as error:
            yield Skipped(path, str(error), named)
            continue
        except OSError as error:
            yield Skipped(path, error.strerror or str(error), named)
            continue
        if coercion is None:
            yield found
            continue
        try:
            yield outgoing.through(found, coercion)
        except (errors.NodeError, OSError) as error:
            # It is an instance, and it will not arrive: that must not be passed over.
            yield Skipped(path, str(error), named=True)


def item(path: pathlib.Path) -> base.Item:
    """Return what is needed to send the file's data set as it stands there; raises BadData."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size == 0:
            raise errors.BadData(_EMPTY_FILE)
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as buffer, memoryview(buffer) as view:
            head = part10.part10(buffer, bare=True)
            with view[head.offset :] as data_set:
                sop_class, sop_instance = _identity(data_set, head)
    _check_identity({"SOPClassUID": sop_class, "SOPInstanceUID": sop_instance})
    return base.Item(sop_class, sop_instance, head.syntax, path, head.offset, size - head.offset)


def _check_identity(identity: Mapping[str, str]) -> None:
    for keyword, value in identity.items():
        if not uids.valid(value):
            raise errors.BadData(f"{keyword} is {value!r}, which is not a UID")


def _identity(data_set: memoryview, head: part10.Part10) -> tuple[str, str]:
    """The UIDs of the data set; file meta is believed only where the data set does not say them."""
    found = header.texts(data_set, head.syntax, ("SOPClassUID", "SOPInstanceUID"))
    sop_class, sop_instance = found["SOPClassUID"], found["SOPInstanceUID"]
    return (
        sop_class[0] if sop_class else head.sop_class,
        sop_instance[0] if sop_instance else head.sop_instance,
    )
