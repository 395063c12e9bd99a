"""How much room there is in the data directory, and what lies in it that does not belong there."""

from __future__ import annotations

import pathlib

from node.files import disk as disks
from node.files import layout


def room(path: pathlib.Path, min_free: int, *, disk: disks.Disk | None = None) -> int:
    """Bytes that may be written before the watermark is reached; negative below it."""
    return (disk or disks.Disk()).free(path) - min_free


def strays(data: layout.Data) -> list[pathlib.Path]:
    """Files in the tree that are no instance's: nothing of ours writes such."""
    tops = (data.store, data.conflicts, data.quarantine)
    return sorted(p for top in tops for p in top.rglob("*") if p.is_file() and p.suffix != ".dcm")
