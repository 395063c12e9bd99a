"""Bells: whoever left work behind rings, and whoever waits for work wakes at once instead of looking often.

A bell holds no fact. One that is lost costs a few seconds, until its owner looks of its own accord; on
another machine that shares the database, none rings.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import select
import threading

from node import errors
from node.files import layout, position

_NAME = re.compile(r"[a-z][a-z0-9.-]{0,60}")
_MOST = 1 << 16  # bytes of a FIFO: every ring since the last look is one wake


def ring(data: layout.Data, whom: str = "") -> None:
    """Wake all who wait, in every process on this data directory; call it after the commit.

    With `whom`, only those whose bell has that in its name: what comes many times a second need not wake all.
    """
    _ring_all(str(data.bells), whom)


def _ring_all(folder: str, whom: str = "") -> None:
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return  # nobody ever waited here
    for name in names:
        if whom in name:
            _ring(f"{folder}/{name}")


def _ring(path: str) -> None:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        # Without a reader: its owner was killed, and looks for itself when it starts again.
        if error.errno in (errno.ENXIO, errno.ENOENT):
            return
        raise errors.StorageFailed(f"{path} cannot be opened: {error.strerror}") from error
    try:
        with contextlib.suppress(BlockingIOError, BrokenPipeError):  # full: it is rung already
            os.write(fd, b"!")
    finally:
        os.close(fd)


class Bell:
    """What one thread waits at."""

    def __init__(self, data: layout.Data, name: str) -> None:
        if not _NAME.fullmatch(name):
            raise errors.UsageError(f"bell {name!r}: lower-case letters, digits, dots and dashes only")
        data.bells.mkdir(parents=True, exist_ok=True, mode=0o750)
        self._path = data.bells / name
        self._fd = position.open_fifo(self._path)
        self._lock = threading.Lock()  # closing it must not meet a ring on a number that is another's by then

    def wait(self, timeout: float | None) -> bool:
        """Wait until it rings, so many seconds at most (None: for ever); whether it rang."""
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        # Rounded up: half a millisecond must not become a busy loop.
        if not poll.poll(None if timeout is None else max(0, -int(-timeout * 1000 // 1))):
            return False
        with contextlib.suppress(BlockingIOError):
            os.read(self._fd, _MOST)
        return True

    def ring(self) -> None:
        """Wake this one alone."""
        with self._lock, contextlib.suppress(BlockingIOError):
            if self._fd >= 0:
                os.write(self._fd, b"!")

    def ring_all(self) -> None:
        """Wake everybody, as `ring` does."""
        _ring_all(str(self._path.parent))

    def close(self) -> None:
        """Take it down; fit to be called twice."""
        with self._lock:
            if self._fd < 0:
                return
            with contextlib.suppress(FileNotFoundError):
                self._path.unlink()
            os.close(self._fd)
            self._fd = -1
