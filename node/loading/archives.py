"""Zip archives as files: unpacked to a temporary folder under names that lead nowhere."""

from __future__ import annotations

import os
import re
import shutil
import struct
import zipfile
import zlib
from collections.abc import Sequence
from typing import IO

from node import errors

MOST_MEMBERS = 1_000_000  # files of an archive
MOST_UNPACKED = 1 << 40  # bytes of them
BEGINS = b"PK\3\4"  # of an archive; what cannot be unpacked of one is left as no more than this

_NO_IMAGES = frozenset({"DICOMDIR", "DIRFILE"})
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_SHOWN = 60  # characters of a member's name that its file keeps, so that a person knows it again
_FAULTS = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    RuntimeError,  # a password, or a compression that is not known
    ValueError,
    LookupError,
)


def unpack_all(paths: Sequence[str], folder: str, *, alone: bool) -> dict[str, list[str]]:
    """The files of each archive; one that is no archive after all stands for itself, unless it is `alone`.

    Raises BadData, and StorageFull or StorageFailed where there is no room.
    """
    found: dict[str, list[str]] = {}
    for number, path in enumerate(paths):
        below = os.path.join(folder, f"{number}-{_safe(os.path.basename(path))}")
        try:
            found[path] = unpack(path, below)
        except errors.BadData:
            if alone:
                raise
            found[path] = [path]
    return found


def unpack(path: str, folder: str) -> list[str]:
    """The members of an archive as files in a new folder, in their order; no name in it is trusted.

    A member that cannot be unpacked becomes a file that says no more than that. Raises as `unpack_all`.
    """
    made: list[str] = []
    try:
        os.mkdir(folder, 0o700)
        with zipfile.ZipFile(path) as archive:
            members = [one for one in archive.infolist() if not one.is_dir() and _wanted(one)]
            _check(path, folder, members)
            for number, member in enumerate(members):
                target = os.path.join(folder, f"{number:06d}-{_safe(member.filename)}")
                with open(target, "xb") as out:
                    try:
                        with archive.open(member) as source:
                            _copy(source, out, member.file_size)
                    except _FAULTS:
                        out.seek(0)
                        out.truncate()
                        out.write(BEGINS)
                made.append(target)
    except OSError as fault:
        raise errors.StorageFailed(f"{path} cannot be unpacked ({fault.strerror or fault})") from None
    except _FAULTS as fault:
        raise errors.BadData(f"{path} cannot be unpacked ({fault})") from None
    return made


def _check(path: str, folder: str, members: Sequence[zipfile.ZipInfo]) -> None:
    total = sum(one.file_size for one in members)
    if len(members) > MOST_MEMBERS or total > MOST_UNPACKED:
        raise errors.BadData(f"{path}: {len(members)} files of {total} bytes are not unpacked")
    free = shutil.disk_usage(folder).free
    if total > free:
        raise errors.StorageFull(f"{path}: {total} bytes are needed to unpack it, {free} are free")


def _safe(name: str) -> str:
    """The end of a name, without anything that a file system or a terminal could take for something else."""
    return _UNSAFE.sub("_", name)[-_SHOWN:].lstrip(".") or "file"


def _wanted(member: zipfile.ZipInfo) -> bool:
    """Whether a member may be an image; a folder's directory and what systems add are none."""
    parts = member.filename.replace("\\", "/").split("/")
    return parts[0] != "__MACOSX" and parts[-1].upper() not in _NO_IMAGES and not parts[-1].startswith("._")


def _copy(source: IO[bytes], out: IO[bytes], size: int) -> None:
    """Copy as many bytes as a member says; one that holds fewer or more is broken, or a bomb."""
    left = size
    while left > 0:
        piece = source.read(min(left, 1 << 20))
        if not piece:
            raise EOFError
        out.write(piece)
        left -= len(piece)
    if source.read(1):  # and its checksum is looked at
        raise ValueError("it holds more than it says")
