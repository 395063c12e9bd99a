"""How a command goes on when something passes by itself, and how a person stops it."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from node import errors

T = TypeVar("T")

LONGEST = 30.0  # seconds between two attempts


def tried(
    attempt: Callable[[], T],
    retries: int,
    *,
    pause: Callable[[float], None] = time.sleep,
    again: Callable[[], bool] = lambda: True,
) -> T:
    """Do it; what may pass is tried again after a growing pause, as long as `again` agrees."""
    for number in range(retries + 1):
        try:
            return attempt()
        except errors.Transient as error:
            if number == retries or not again():
                raise
            wait = min(2.0**number, LONGEST)
            note(f"{error}; again in {wait:g} s")
            pause(wait)
    raise AssertionError("unreachable")


def note(text: str) -> None:
    """Say something beside the output."""
    print(f"note: {text}", file=sys.stderr, flush=True)


class Stop:
    """A person's Ctrl-C: the first asks for a good end, the second is one that nothing waits for."""

    def __init__(self) -> None:
        self.asked = False  # it was pressed
        self._cancel: Callable[[], None] | None = None

    @contextlib.contextmanager
    def calls(self, cancel: Callable[[], None]) -> Iterator[None]:
        """While the block runs, the first Ctrl-C calls this, in a thread of its own."""
        self._cancel = cancel
        try:
            if self.asked:
                cancel()
            yield
        finally:
            self._cancel = None

    def check(self) -> None:
        """Go no further when it was pressed."""
        if self.asked:
            raise errors.Permanent("cancelled")

    def pressed(self, *_: object) -> None:
        """Ctrl-C was pressed (for the signal)."""
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        cancel = self._cancel
        if cancel is None:
            raise KeyboardInterrupt
        print("\ncancelling; once more breaks it off", file=sys.stderr, flush=True)
        # Not here: the thread that was interrupted may hold the lock that sending needs.
        threading.Thread(target=cancel, name="cancel", daemon=True).start()


@contextlib.contextmanager
def stoppable() -> Iterator[Stop]:
    """Take Ctrl-C while the block runs; where there is no terminal's thread, only `check` is there."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = signal.signal(signal.SIGINT, stop.pressed)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)
