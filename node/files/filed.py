"""Waiting until what was acknowledged is filed: read your writes, for whoever looks at the index."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable

from node.files import layout, position

_MASK = 0xFFFFFFFF
_SETTLED = 1.0  # seconds after which a directory's time tells every change since
_LONGEST = 0.01  # seconds between looks

Waiting = list[tuple[position.Position, int]]


def _never() -> bool:
    return False


class Filed:
    """The positions of all slots, kept open for who asks often; fit for several threads."""

    def __init__(self, data: layout.Data) -> None:
        self._data = data
        self._lock = threading.Lock()
        self._known: dict[str, position.Position] = {}
        self._as_of = -1  # the time of the journal's directory at which all its slots were known

    def wait(self, timeout: float, *, ended: bool = False, unless: Callable[[], bool] = _never) -> bool:
        """Wait until what any process acknowledged before now has been adopted; False when time ran out.

        With `ended`, only what was acknowledged to senders that are done: who sends at full speed is always
        ahead of what is filed. `unless` says that nobody waits any more.
        """
        word = position.ENDED if ended else position.WRITTEN
        with self._lock:
            self._look()
            waiting = [(one, one.get(word)) for one in self._known.values()]
        if not _behind(waiting):
            return True
        fifo = position.open_fifo(self._data.wake)
        try:
            deadline = time.monotonic() + timeout
            pause = 0.0005
            while _behind(waiting):
                if time.monotonic() >= deadline or unless():
                    return False
                with contextlib.suppress(BlockingIOError):
                    os.write(fifo, b"!")
                time.sleep(pause)
                pause = min(pause * 1.5, _LONGEST)
            return True
        finally:
            os.close(fifo)

    def mark(self) -> Waiting:
        """How far what was acknowledged until now reaches; `reached` says when it is filed."""
        with self._lock:
            self._look()
            waiting = [(one, one.get(position.WRITTEN)) for one in self._known.values()]
        return [one for one in waiting if _behind([one])]

    def close(self) -> None:
        """Let go of the positions."""
        with self._lock:
            for one in self._known.values():
                one.close()
            self._known, self._as_of = {}, -1

    def _look(self) -> None:
        """Open the slots that came since the last look."""
        try:
            changed = self._data.journal.stat().st_mtime_ns
        except FileNotFoundError:
            return
        if changed == self._as_of:
            return
        whole = True
        for slot in self._data.slots():
            path = self._data.slot(slot) / "position"
            if slot not in self._known:
                if path.exists():
                    self._known[slot] = position.Position(path)
                else:
                    whole = False  # its process is about to make it
        if whole and time.time() - changed / 1e9 > _SETTLED:
            self._as_of = changed


def reached(waiting: Waiting) -> bool:
    """Whether what `Filed.mark` marked is filed by now; only while those positions are open."""
    return not _behind(waiting)


def _behind(waiting: Waiting) -> bool:
    # A place at offset 0 was announced, not written: nothing stands there to wait for.
    return any(one.get(position.ADOPTED) < place for one, place in waiting if place & _MASK)
