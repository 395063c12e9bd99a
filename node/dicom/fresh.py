"""Items and sequences that an edit makes; as deep as the path of a rule, never as deep as data."""

from __future__ import annotations

from typing import Any

from node import errors
from node.dicom import encode
from node.dicom import path as paths

Fresh = dict[int, Any]  # an item: elements as bytes by tag, sequences as lists of items


def reserve(item: Fresh, step: paths.Step, form: encode.Form) -> int:
    """The tag of a private element in an item that is being made; its block is reserved there."""
    group = step.tag >> 16
    for block in range(0x10, 0x100):
        owner = group << 16 | block
        data = encode.whole(owner, "LO", step.creator, form)
        held = item.setdefault(owner, data)
        if held == data:
            return group << 16 | block << 8 | step.tag & 0xFF
    raise errors.UsageError(f"{step}: all private blocks of group {group:04X} are taken")


def render(item: Fresh, form: encode.Form) -> bytes:
    """The content of an item that was made."""
    out = []
    for tag in sorted(item):
        held = item[tag]
        if isinstance(held, bytes):
            out.append(held)
        else:
            out.append(encode.sequence(tag, [render(one, form) for one in held], form))
    return b"".join(out)
