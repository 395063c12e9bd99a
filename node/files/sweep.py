"""What lies in the tree and does not belong there."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterator

from node.files import layout


def strays(data: layout.Data) -> Iterator[pathlib.Path]:
    """Files in the tree that have no instance's place: nothing of ours writes such."""
    for top in (data.store, data.conflicts, data.quarantine):
        for folder, folders, names in os.walk(top):
            folders.sort()
            for name in sorted(names):
                path = pathlib.Path(folder, name)
                if path.is_symlink() or not layout.is_place(str(path.relative_to(data.root))):
                    yield path
