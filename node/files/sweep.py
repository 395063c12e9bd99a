"""What may go from the data directory: leftovers of interrupted work, and how much room there is."""

from __future__ import annotations

import contextlib
import pathlib

from node.files import disk as disks
from node.files import layout


def room(path: pathlib.Path, min_free: int, *, disk: disks.Disk | None = None) -> int:
    """Bytes that may be written before the watermark is reached; negative below it."""
    return (disk or disks.Disk()).free(path) - min_free


def leftovers(data: layout.Data) -> int:
    """Remove what an interrupted adopter or an interrupted segment left; the spool sweeps itself.

    Only for a process that knows that no adopter and no journal of this data directory is open.
    """
    removed = 0
    for path in [data.spool / "adopt.new", *data.journal.glob("*/*.new")]:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
            removed += 1
    return removed


def strays(data: layout.Data) -> list[pathlib.Path]:
    """Files in the tree that are no instance's: nothing of ours writes such."""
    tops = (data.store, data.conflicts, data.quarantine)
    return sorted(p for top in tops for p in top.rglob("*") if p.is_file() and p.suffix != ".dcm")
