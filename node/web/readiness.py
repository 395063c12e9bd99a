"""Is the node fit to take instances? Runs the checks that the daemon hands in, and spares them.

Each check is a plain function that returns what it saw or raises a sentence. It runs in a thread; one
that hangs is reported, and not started again beside itself.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import dataclasses
import time
from collections.abc import Callable, Mapping

from node import errors

Check = Callable[[], str]
PATIENCE = 10.0  # seconds that a check may take; a listener or a disk slower than this is not ready
FRESH = 1.0  # seconds that an answer serves everybody, so that asking often costs no syncs


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """What a check saw."""

    name: str  # of the check
    ok: bool  # whether it passed
    says: str  # the fact, or what is wrong
    seconds: float  # how long it took


class Readiness:
    """The checks, and the last answer."""

    def __init__(
        self,
        checks: Mapping[str, Check],
        crashed: Callable[[str, Exception], str],
        *,
        patience: float = PATIENCE,
        fresh: float = FRESH,
    ) -> None:
        self._checks = checks
        self._crashed = crashed  # logs what no check should raise, and returns the id it is found by
        self._patience = patience
        self._fresh = fresh
        self._pool = concurrent.futures.ThreadPoolExecutor(max(1, len(checks)), "readiness")
        self._running: dict[str, asyncio.Future[Finding]] = {}
        self._last: tuple[float, list[Finding]] | None = None
        self._lock = asyncio.Lock()

    async def look(self) -> list[Finding]:
        """Run every check, or return what was just found."""
        async with self._lock:
            if self._last is None or time.monotonic() - self._last[0] > self._fresh:
                self._last = (time.monotonic(), await self._look())
            return self._last[1]

    async def _look(self) -> list[Finding]:
        if not self._checks:
            return []
        loop = asyncio.get_running_loop()
        for name, check in self._checks.items():
            if name not in self._running:
                self._running[name] = loop.run_in_executor(self._pool, self._one, name, check)
        await asyncio.wait(self._running.values(), timeout=self._patience)
        findings = []
        for name in self._checks:
            future = self._running[name]
            if future.done():
                findings.append(self._running.pop(name).result())
            else:
                says = f"no answer within {self._patience:g} s"
                findings.append(Finding(name, ok=False, says=says, seconds=self._patience))
        return findings

    def _one(self, name: str, check: Check) -> Finding:
        begun = time.monotonic()
        try:
            says, ok = check(), True
        except errors.NodeError as error:
            says, ok = str(error), False
        except Exception as error:  # noqa: BLE001 - an edge: what a check did not foresee is logged, not shown
            says, ok = f"the check itself failed; see {self._crashed(name, error)} in the log", False
        return Finding(name, ok, says, round(time.monotonic() - begun, 4))

    def close(self) -> None:
        """Let the threads go; a check that hangs is left behind."""
        self._pool.shutdown(wait=False, cancel_futures=True)
