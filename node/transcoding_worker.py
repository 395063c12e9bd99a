"""The process that decodes and encodes pixels for another: it takes two descriptors and some words at a time.

What it reads was made by strangers, and the libraries that read it are written in C. It runs under limits,
opens nothing by itself, and may die at any time: who asked finds that out and names the instance.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import sys
from collections.abc import Mapping
from typing import Any

from node import errors, working
from node.dicom import codecs, pixels, transcode

_ROOM = 256 << 20  # bytes of a file beside its pixel data


def main(number: int, idle: float) -> None:
    """Serve requests over a socket until its other end closes, or nothing came for so many seconds."""
    working.serve(number, idle, pixels.MOST + _ROOM, _handle, codecs.load)


def _handle(request: Mapping[str, Any], given: list[int]) -> Mapping[str, Any]:
    """Do one, and say the size of what was made."""
    source, target = given
    loss = transcode.Loss(**request["loss"]) if request["loss"] else None
    begin, size = request["offset"], request["size"]
    return {"size": _transcode(source, target, begin, size, request["syntax"], request["target"], loss)}


def _transcode(
    source: int,
    target: int,
    begin: int,
    size: int,
    syntax: str,
    wanted: str,
    loss: transcode.Loss | None,
) -> int:
    # Reading behind the end of a mapped file would end the process, not raise.
    if os.fstat(source).st_size < begin + size:
        raise errors.BadData(f"the file ends before byte {begin + size}")
    mapped = mmap.mmap(source, begin + size, access=mmap.ACCESS_READ)
    view = memoryview(mapped)[begin:]
    try:
        with open(target, "wb", buffering=1 << 20, closefd=False) as out:
            return transcode.transcode(view, syntax, wanted, out, loss=loss)
    finally:
        # A view of it may be left in a traceback; the mapping goes when that does.
        with contextlib.suppress(BufferError):
            view.release()
            mapped.close()


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
