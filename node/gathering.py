"""What is sent, as files that can be read by whoever reads files: where they lie, or changed copies."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Sequence

from node import errors
from node.send import base, copies


def files(
    items: Sequence[base.Item], folder: pathlib.Path, transcoder: base.Transcoder | None = None
) -> list[str]:
    """The files of the items in their order; what goes out changed is copied into the folder first.

    Raises errors.NodeError when one cannot be read or changed.
    """
    found: list[str] = []
    buffer = bytearray()
    for number, item in enumerate(items, 1):
        if item.change is None and item.wanted is None:
            found.append(str(item.path))
            continue
        path = folder / f"{number:06}.dcm"
        try:
            with copies.opened(item, transcoder, buffer) as copy:
                fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                try:
                    copy.write(fd)
                finally:
                    os.close(fd)
        except OSError as error:
            raise errors.StorageFailed(
                f"a changed copy cannot be written ({error.strerror or error})"
            ) from error
        found.append(str(path))
    return found
