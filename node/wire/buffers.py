"""Receive buffers that associations borrow while something comes in, so that idle ones hold none."""

from __future__ import annotations

import collections
import mmap

SLACK = 1 << 17  # bytes beyond one PDU: room to read several small PDUs at once


class Buffers:
    """A free list of equal buffers; deque operations are atomic, so threads share it without a lock."""

    def __init__(self, max_pdu: int, keep: int = 32) -> None:
        self.size = max_pdu + 6 + SLACK
        self._keep = keep
        self._free: collections.deque[memoryview] = collections.deque()

    def take(self) -> memoryview:
        """A buffer; what stands in it is of no meaning."""
        try:
            return self._free.pop()
        except IndexError:
            # Mapped, so that it goes back to the system for certain when it is not kept.
            return memoryview(mmap.mmap(-1, self.size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))

    def give(self, view: memoryview) -> None:
        """Hand a buffer back."""
        if len(self._free) < self._keep:
            self._free.append(view)
