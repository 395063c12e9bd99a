"""Reading bytes at rest again and holding them against the digest that they came with."""

from __future__ import annotations

import hashlib
import os
import pathlib
import time
from collections.abc import Callable

from node import errors

_CHUNK = 1 << 20


class Rate:
    """Bytes a second that may be read; `None` for as fast as it goes."""

    def __init__(
        self,
        limit: int | None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._limit = limit
        self._clock = clock
        self._sleep = sleep
        self._due = clock()

    def spend(self, count: int) -> None:
        """Account for bytes that were read, and wait as long as they are worth."""
        if self._limit is None:
            return
        now = self._clock()
        # A pause of the caller's is not saved up: a second's worth at most may be made good.
        self._due = max(self._due, now - 1.0) + count / self._limit
        if self._due > now:
            self._sleep(self._due - now)


def verify(path: pathlib.Path, offset: int, size: int, digest: str, rate: Rate | None = None) -> str:
    """Read the data set of a file; "" when it is what was received, else what is wrong in words.

    NotFound when there is no file; StorageFailed when the disk does not give it.
    """
    hashed = hashlib.sha256(usedforsecurity=False)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            found = os.fstat(fd).st_size - offset
            if found != size:
                return f"the data set has {max(found, 0)} bytes and came with {size}"
            at = offset
            while chunk := os.pread(fd, _CHUNK, at):
                hashed.update(chunk)
                at += len(chunk)
                if rate is not None:
                    rate.spend(len(chunk))
            # What was read once and is not asked for again need not push out what is.
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(fd)
    except FileNotFoundError as error:
        raise errors.NotFound(f"{path} is gone") from error
    except OSError as error:
        raise errors.StorageFailed(f"reading {path}: {error.strerror}") from error
    now = "sha256:" + hashed.hexdigest()
    return "" if now == digest else f"the digest is {now}"
