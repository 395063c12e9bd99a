"""What a running program costs: its processes, memory, threads, descriptors and processor time."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import threading
import time
from typing import Self

TICKS = os.sysconf("SC_CLK_TCK")


@dataclasses.dataclass(frozen=True, slots=True)
class Cost:
    """A tree of processes at one moment."""

    pss: int  # bytes, shared pages counted by share
    anonymous: int  # bytes of memory of their own, no file behind it
    threads: int
    descriptors: int
    cpu: float  # seconds used so far


def tree(pid: int) -> list[int]:
    """Return a process and all below it."""
    found, queue = [], [pid]
    while queue:
        at = queue.pop()
        found.append(at)
        with contextlib.suppress(OSError):
            for task in pathlib.Path(f"/proc/{at}/task").iterdir():
                queue += [int(child) for child in (task / "children").read_text().split()]
    return found


def cost(pid: int) -> Cost:
    """Add up a tree of processes."""
    pss = anonymous = threads = descriptors = 0
    cpu = 0.0
    for at in tree(pid):
        with contextlib.suppress(OSError):
            rollup = _fields(pathlib.Path(f"/proc/{at}/smaps_rollup").read_text())
            status = _fields(pathlib.Path(f"/proc/{at}/status").read_text())
            stat = pathlib.Path(f"/proc/{at}/stat").read_text().rpartition(")")[2].split()
            pss += rollup.get("Pss", 0) * 1024
            anonymous += status.get("RssAnon", 0) * 1024
            threads += status.get("Threads", 0)
            descriptors += len(os.listdir(f"/proc/{at}/fd"))
            cpu += (int(stat[11]) + int(stat[12])) / TICKS
    return Cost(pss, anonymous, threads, descriptors, cpu)


def _fields(text: str) -> dict[str, int]:
    found = {}
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        first = rest.split()[:1]
        if first and first[0].isdigit():
            found[name] = int(first[0])
    return found


class Peak:
    """Watches the anonymous memory of a tree while something runs; a context manager."""

    def __init__(self, pid: int, every: float = 0.02) -> None:
        self._every = every
        self._over = threading.Event()
        self._pids = tree(pid)
        self.before = self.most = self._now()

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    @property
    def growth(self) -> int:
        """Bytes beyond what there was at the start."""
        return self.most - self.before

    def _watch(self) -> None:
        while not self._over.wait(self._every):
            self.most = max(self.most, self._now())

    def _now(self) -> int:
        total = 0
        for pid in self._pids:
            with contextlib.suppress(OSError):
                text = pathlib.Path(f"/proc/{pid}/status").read_text()
                total += _fields(text).get("RssAnon", 0) * 1024
        return total


def wait_until(ready: object, seconds: float, what: str) -> None:
    """Call `ready` until it is true; give up with a sentence."""
    deadline = time.monotonic() + seconds
    while not ready():  # type: ignore[operator]
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} within {seconds:g} s")
        time.sleep(0.01)
