"""Holding a peer to its rate over all listener processes: it waits in TCP, and nothing of it is buffered.

When each peer's next instance is due stands in one anonymous shared mapping, made before the listeners are
forked. The clock is the machine's, so that it says the same in all of them.
"""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
import struct
import threading
import time
from collections.abc import Callable

_BURST = 1.0  # seconds' worth of instances that may come at once after a silence
_ENTRIES = 1024  # peers with a rate; more than that share by hash
_ENTRY = struct.Struct("<Qd")  # hash of the peer, when its next instance is due at a steady rate


class Paces:
    """The rates of all peers."""

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Make the mapping; processes that are forked afterwards share it."""
        self._clock = clock
        self._sleep = sleep
        self._fd = os.memfd_create("paces", os.MFD_CLOEXEC)
        os.ftruncate(self._fd, _ENTRIES * _ENTRY.size)
        self._map = mmap.mmap(self._fd, _ENTRIES * _ENTRY.size)
        # A record lock keeps other processes out, and the kernel frees it when its holder dies; threads
        # of one process pass it together.
        self._lock = threading.Lock()

    def of(self, peer: str, rate: float) -> Pace:
        """The pace of a peer at so many instances a second."""
        return Pace(self, _hash(peer), rate)

    def wait(self, key: int, rate: float) -> None:
        """Return when another instance may be taken."""
        with self._lock:
            fcntl.lockf(self._fd, fcntl.LOCK_EX)
            try:
                now = self._clock()
                place = self._place(key)
                held, due = _ENTRY.unpack_from(self._map, place)
                due = max(due if held else now, now - _BURST) + 1.0 / rate
                _ENTRY.pack_into(self._map, place, held or key, due)
            finally:
                fcntl.lockf(self._fd, fcntl.LOCK_UN)
        if due > now:
            self._sleep(due - now)

    def close(self) -> None:
        """Let go of the mapping; nobody may use it afterwards in this process."""
        self._map.close()
        os.close(self._fd)

    def _place(self, key: int) -> int:
        for step in range(_ENTRIES):
            place = (key + step) % _ENTRIES * _ENTRY.size
            if _ENTRY.unpack_from(self._map, place)[0] in (0, key):
                return place
        return key % _ENTRIES * _ENTRY.size


class Pace:
    """So many a second over all associations of one peer."""

    def __init__(self, paces: Paces, key: int, rate: float) -> None:
        self.rate = rate  # instances a second
        self._paces = paces
        self._key = key

    def wait(self) -> None:
        """Return when another instance may be taken."""
        self._paces.wait(self._key, self.rate)


def _hash(peer: str) -> int:
    return int.from_bytes(hashlib.blake2b(peer.encode(), digest_size=8).digest(), "little") or 1
