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
        self._pressed = threading.Event()
        self._cancel: Callable[[], None] | None = None

    @property
    def asked(self) -> bool:
        """Whether it was pressed."""
        return self._pressed.is_set()

    @contextlib.contextmanager
    def calls(self, cancel: Callable[[], None]) -> Iterator[None]:
        """While the block runs, the first Ctrl-C calls this, in a thread of its own."""
        before, self._cancel = self._cancel, cancel
        try:
            if self.asked:
                cancel()
            yield
        finally:
            self._cancel = before

    def pause(self, seconds: float) -> None:
        """Sleep, unless it is pressed."""
        self._pressed.wait(seconds)

    def pressed(self, *_: object) -> None:
        """Ctrl-C was pressed (for the signal)."""
        cancel = self._cancel
        if self.asked or cancel is None:
            raise KeyboardInterrupt
        self._pressed.set()
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
