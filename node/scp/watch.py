"""Looks after queries whose thread is in the database: cancelled, or without a peer, they end."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

from node.wire import association, faults

LOOK_EVERY = 0.05  # seconds; PS3.4 names none, and nobody notices a twentieth of a second

_Answer = TypeVar("_Answer")


class Running:
    """One operation that is being performed."""

    def __init__(self, link: association.Association, message_id: int) -> None:
        self.link = link
        self.message_id = message_id
        self.cancelled = False  # a C-CANCEL came
        self._lock = threading.Lock()  # one of the two threads looks at the association at a time
        self._waits = False  # its thread is in the database and will not look at the association
        self._interrupt: Callable[[], None] | None = None  # ends what it waits for

    def each(self, answers: Iterator[_Answer]) -> Iterator[_Answer]:
        """The answers, looked after while they are waited for."""
        lock = self._lock
        while True:
            with lock:
                self._waits = True
            try:
                answer = next(answers)
            except StopIteration:
                return
            finally:
                with lock:
                    self._waits = False
            yield answer

    def stopped(self) -> bool:
        """Whether the peer has cancelled it; raises AssociationLost when the peer is gone."""
        with self._lock:
            if not self.cancelled:
                self.cancelled = self.link.cancelled(self.message_id)
        return self.cancelled

    def over(self) -> bool:
        """Whether nobody waits for it any more, as far as was seen."""
        return self.cancelled or not self.link.open

    @contextlib.contextmanager
    def interruptible(self, interrupt: Callable[[], None]) -> Iterator[None]:
        """What to call when it should end within this scope."""
        with self._lock:
            self._interrupt = interrupt
        try:
            yield
        finally:
            with self._lock:
                self._interrupt = None

    def look(self) -> None:
        """From the other thread: end it if nobody wants it any more."""
        with self._lock:
            if not self._waits:
                return
            with contextlib.suppress(faults.AssociationLost):
                self.cancelled = self.cancelled or self.link.cancelled(self.message_id)
            if self._interrupt is not None and self.over():
                self._interrupt()


class Watch:
    """A thread for all operations of a process; it starts with the first and sleeps when there is none."""

    def __init__(self) -> None:
        self._running: dict[association.Association, Running] = {}  # an association has one at a time
        self._changed = threading.Condition()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def enter(self, link: association.Association, message_id: int) -> Running:
        """Look after an operation from now on."""
        running = Running(link, message_id)
        with self._changed:
            self._running[link] = running
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
                self._thread.start()
            elif len(self._running) == 1:
                self._changed.notify()
        return running

    def leave(self, running: Running) -> None:
        """It is over."""
        with self._changed:
            self._running.pop(running.link, None)

    def of(self, link: association.Association) -> Running | None:
        """What runs on an association."""
        with self._changed:
            return self._running.get(link)

    def close(self) -> None:
        """End the thread."""
        with self._changed:
            self._closed.set()
            self._changed.notify()
            thread = self._thread
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        while not self._closed.is_set():
            with self._changed:
                self._changed.wait_for(lambda: self._running or self._closed.is_set())
            # Only what runs longer than this is worth a look.
            self._closed.wait(LOOK_EVERY)
            with self._changed:
                found = list(self._running.values())
            for running in found:
                running.look()
