"""What becomes of an item on its way to one destination: the change it carries, and its identity then."""

from __future__ import annotations

import contextlib
import dataclasses
import mmap

from node import errors
from node.dicom import patched, uids
from node.dicom import syntax as syntaxes
from node.send import base
from node.steps import coerce


def through(item: base.Item, coercion: coerce.Coercion) -> base.Item:
    """The item as the coercion will make it; raises NodeError and OSError when it cannot.

    Unless the coercion renames, nothing is read: the change is made while the item is sent.
    """
    change = coercion.apply if item.change is None else _both(item.change, coercion.apply)
    if not coercion.renames:
        return dataclasses.replace(item, change=change)
    identity = {"SOPClassUID": item.sop_class, "SOPInstanceUID": item.sop_instance}
    with item.path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    try:
        made = change(memoryview(mapped)[item.offset :], item.syntax)
        for one in made.differences():
            if one.path in identity:
                identity[one.path] = str(one.after or "")
    finally:
        # A view of it may be left in the result or a traceback; the mapping goes when that does.
        with contextlib.suppress(BufferError):
            mapped.close()
    for keyword, value in identity.items():
        if not uids.valid(value):
            raise errors.BadData(f"{keyword} is {value!r}, which is not a UID")
    return dataclasses.replace(
        item, sop_class=identity["SOPClassUID"], sop_instance=identity["SOPInstanceUID"], change=change
    )


def _both(first: base.Change, second: base.Change) -> base.Change:
    """One change after the other: how an instance is presented, and what its destination wants."""

    def change(buffer: syntaxes.Buffer, syntax: str) -> patched.Patched:
        made = first(buffer, syntax)
        again = second(made.tobytes() if made.changed else buffer, made.syntax)
        return dataclasses.replace(again, notes=(*made.notes, *again.notes)) if made.notes else again

    return change
