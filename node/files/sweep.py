"""What lies in the tree and does not belong there."""

from __future__ import annotations

import pathlib

from node.files import layout


def strays(data: layout.Data) -> list[pathlib.Path]:
    """Files in the tree that are no instance's: nothing of ours writes such."""
    tops = (data.store, data.conflicts, data.quarantine)
    return sorted(p for top in tops for p in top.rglob("*") if p.is_file() and p.suffix != ".dcm")
