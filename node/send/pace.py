"""How fast a destination may be sent to: caps on bytes and instances a second, over all its lanes.

Each amount that goes out takes its turn on a line of time: whoever comes next waits until what went before
has had its time at that rate. So a large data set goes out evenly, PDU by PDU, lanes take turns, and nobody
stays awake to count. A cap belongs to the destination: workers divide it by the number of them that live.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from node import orders

BURST = 0.1  # seconds' worth that may go at once after a pause
_PIECE = 0.1  # seconds' worth that goes at a time
_SMALLEST = 4096  # bytes of a piece, however slow it is


class Line:
    """A rate over time; fit for many threads."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._free = float("-inf")  # the moment from which nothing more is under way
        self._lock = threading.Lock()

    def take(self, amount: float, rate: float) -> float:
        """Take the next turn for so much; the seconds to wait until it comes."""
        with self._lock:
            now = self._clock()
            begins = max(self._free, now - BURST)
            self._free = begins + amount / rate
            return max(0.0, begins - now)


class Pace:
    """The caps of one destination in this process; whoever takes a turn waits so long before it goes on."""

    def __init__(
        self,
        destination: orders.Destination,
        *,
        workers: Callable[[], int] = lambda: 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.bandwidth = destination.bandwidth  # bytes a second over all workers; None: no cap
        self.rate = destination.rate  # instances a second over all workers; None: no cap
        self._workers = workers
        self._bytes = Line(clock=clock)
        self._instances = Line(clock=clock)

    def apply(self, destination: orders.Destination) -> None:
        """Take over changed caps."""
        self.bandwidth, self.rate = destination.bandwidth, destination.rate

    def bytes(self, count: int) -> float:
        """Take a turn for so many bytes; the seconds until it comes."""
        cap = self.bandwidth
        return 0.0 if cap is None else self._bytes.take(count, self._own(cap))

    def instance(self) -> float:
        """Take a turn for an instance; the seconds until it comes."""
        cap = self.rate
        return 0.0 if cap is None else self._instances.take(1, self._own(cap))

    def piece(self) -> int | None:
        """The most bytes that should go at a time, so that they go evenly; None: there is no cap."""
        cap = self.bandwidth
        return None if cap is None else max(_SMALLEST, int(self._own(cap) * _PIECE))

    def _own(self, cap: float) -> float:
        return cap / max(1, self._workers())
