"""The steps through which instances are presented, kept by the digest of their bytes and never altered.

An instance at rest refers to them by that digest, so they must outlive the configuration that they came from.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re

from node import errors
from node.files import disk as disks
from node.files import layout

_DIGEST = re.compile(r"[0-9a-f]{64}")
LARGEST = 256 << 20  # bytes; several of the largest lookup tables


def keep(data: layout.Data, document: bytes, disk: disks.Disk | None = None) -> str:
    """Make a document durable and return its digest; what is there already stays as it is."""
    if len(document) > LARGEST:
        raise errors.UsageError(
            f"a coercion and its lookup tables are {len(document)} bytes: {LARGEST >> 20} MiB are the most"
        )
    disk = disk or disks.Disk()
    digest = hashlib.sha256(document).hexdigest()
    path = data.coercions / f"{digest}.json"
    temporary = data.coercions / f".{digest}.{os.getpid()}"
    try:
        if not _holds(str(path), document):
            fd = disk.create(temporary)
            try:
                disk.write(fd, (document,), 0)
                disk.sync(fd)
            finally:
                os.close(fd)
            disk.rename(temporary, path)
        # Whoever wrote it, now or before us, need not have come as far as this.
        disks.sync_directory(disk, data.coercions)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise disks.failure(error, f"writing {path}") from error
    return digest


def read(data: layout.Data, digest: str) -> bytes:
    """The document of a digest, exactly as it was kept; raises NotFound or BadData."""
    if not _DIGEST.fullmatch(digest):
        raise errors.BadData(f"{digest!r} is no name of a coercion")
    path = data.coercions / f"{digest}.json"
    try:
        document = path.read_bytes()
    except FileNotFoundError:
        raise errors.NotFound(
            f"the coercion {digest} is gone, which instances are presented through: restore {path}"
        ) from None
    except OSError as error:
        raise disks.failure(error, f"reading {path}") from error
    if hashlib.sha256(document).hexdigest() != digest:
        raise errors.BadData(f"{path} is damaged: restore it from a copy")
    return document


def _holds(path: str, document: bytes) -> bool:
    """Whether a file holds exactly these bytes; they were synced before it got its name."""
    try:
        with open(path, "rb") as file:
            return file.read(len(document) + 1) == document
    except FileNotFoundError:
        return False
