"""Workers that die: told by their heartbeats on our own watch, and what they had under way is due again."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping

from node import log_forwarding, orders
from node.index import lanes, ledger
from node.queue import backoff, floor


class Watch:
    """The heartbeats of other workers as this one sees them: by its own clock, and not by its sleep."""

    def __init__(self) -> None:
        self.alive = 0  # workers that gave a sign of life of late
        self._looked: float | None = None
        self._seen: dict[str, tuple[int, float]] = {}  # the last count, and seconds that it stood still

    def look(
        self, beats: Mapping[str, int], claimed: Collection[lanes.Claim], queue: orders.QueueSettings
    ) -> list[str]:
        """Whose claims are a dead worker's; asked once in a heartbeat while others have claims."""
        now = time.monotonic()
        # Who was stopped itself has seen nothing in that time, and others were perhaps stopped with it.
        gap = min(now - self._looked, 2 * queue.heartbeat) if self._looked is not None else 0.0
        self._looked = now
        before, self._seen = self._seen, {}
        for name in {*beats, *(one.worker for one in claimed)}:
            count = beats.get(name, -1)
            last, still = before.get(name, (count, 0.0))
            self._seen[name] = (count, still + gap if last == count else 0.0)
        self.alive = sum(still < queue.dead_after for _, still in self._seen.values())
        holders = {one.worker for one in claimed}
        return sorted(name for name in holders if self._seen[name][1] >= queue.dead_after)


def take_over(shared: floor.Floor, claims: Collection[lanes.Claim], why: str) -> None:
    """Make a dead worker's work due again, or dead letters where workers die over it."""
    taken: dict[str, int] = {}
    for claim in claims:
        now = floor.utcnow()
        with shared.database.write() as connection:
            one = lanes.take_over(connection, claim, now)
            if one is None:
                continue
            crashes = one.crashes + 1
            destination = shared.destination(one.destination)
            # The first time it may have been anything's fault: it goes on at once.
            pause = shared.pause(destination, crashes - 1)
            ledger.finish(
                connection,
                one.key,
                one.fence,
                now,
                due=backoff.later(now, pause) if pause else None,
                error=f"its worker died: {why}",
                crashed=True,
                verify=destination.verify is not orders.Verify.NO,
                witness=shared.witness,
            )
            poisoned = crashes >= shared.queue.poison
            if poisoned:
                reason = f"{crashes} workers died over it; the last one: {why}"
                ledger.give_up(connection, one.key, now, reason, witness=shared.witness)
        taken[claim.worker] = taken.get(claim.worker, 0) + 1
        if poisoned:
            log_forwarding.consignment_poisoned(
                consignment=one.key,
                destination=one.destination,
                study=one.study,
                series=one.series,
                crashes=crashes,
            )
    for worker, many in taken.items():
        log_forwarding.work_taken_over(worker=worker, consignments=many, why=why)
