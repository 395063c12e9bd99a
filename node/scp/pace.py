"""Holding a peer to its rate: it waits in TCP, and nothing of it is buffered here."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

_BURST = 1.0  # seconds' worth of instances that may come at once after a silence


class Pace:
    """So many a second over all associations of one peer in this process."""

    def __init__(
        self,
        rate: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.rate = rate  # instances a second
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._next = clock()  # when the next one is due at a steady rate

    def wait(self) -> None:
        """Return when another instance may be taken."""
        with self._lock:
            now = self._clock()
            self._next = max(self._next, now - _BURST) + 1.0 / self.rate
            pause = self._next - now
        if pause > 0:
            self._sleep(pause)
