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
    """The files of the items in their order; raises errors.NodeError when one cannot be read or changed."""
    found, failed = each(items, folder, transcoder)
    for error in failed.values():
        raise error
    return found


def each(
    items: Sequence[base.Item], folder: pathlib.Path, transcoder: base.Transcoder | None = None
) -> tuple[list[str], dict[int, errors.NodeError]]:
    """The files of the items in their order, and by their number why some have none.

    What goes out changed is copied into the folder first; the others stay where they lie.
    """
    found: list[str] = []
    failed: dict[int, errors.NodeError] = {}
    buffer = bytearray()
    for number, item in enumerate(items):
        try:
            found.append(_file(item, folder / f"{number:06}.dcm", transcoder, buffer))
        except errors.NodeError as error:
            failed[number] = error
    return found, failed


def _file(item: base.Item, path: pathlib.Path, transcoder: base.Transcoder | None, buffer: bytearray) -> str:
    if item.change is None and item.wanted is None:
        if not item.path.is_file():
            raise errors.NotFound("its file is gone")
        return str(item.path)
    with copies.opened(item, transcoder, buffer) as copy:
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                copy.write(fd)
            finally:
                os.close(fd)
        except OSError as error:
            raise errors.StorageFailed(
                f"a changed copy cannot be written ({error.strerror or error})"
            ) from error
    return str(path)
