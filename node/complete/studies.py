"""When a study is settled: all its series are, nothing came for a while, and what routes require is there."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

from node import completeness
from node.complete import settling
from node.index import decisions

_TROUBLED = 5.0  # seconds until a study is looked at again when that raised something
_MOST = 50  # studies that one look judges


@dataclasses.dataclass(slots=True)
class _Pending:
    """A study to which something happened since it was settled; times are of the router's clock."""

    seen: float  # when the last new instance was seen
    due: float  # when it is looked at next; for ever: when one of its series settles


class Studies:
    """The studies that are not settled; used by the router's thread alone."""

    def __init__(self, settling_: settling.Settling) -> None:
        self._settling = settling_
        self._pending: dict[str, _Pending] = {}
        self._changed: set[str] = set()  # a series of these settled since the last look

    def touch(self, study: str, now: float) -> None:
        """New instances came: before one of its series settles there is nothing to look at."""
        found = self._pending.get(study)
        if found is None:
            self._pending[study] = _Pending(now, math.inf)
        else:
            found.seen = now

    def check(self, study: str) -> None:
        """One of its series settled, or went."""
        self._changed.add(study)

    def apply(self) -> None:
        """Policies and routes are others now."""
        self._changed.update(self._pending)

    def look(self, now: float, clock: Callable[[], float]) -> float:
        """Settle what is due; the seconds until something may be."""
        for study in self._changed:
            if (found := self._pending.get(study)) is not None:
                found.due = now
        self._changed.clear()
        due = [study for study, one in self._pending.items() if one.due <= now]
        for study in due[:_MOST]:
            one = self._pending[study]
            one.due = now + _TROUBLED  # when it raises: the others have their turn
            wait = self._look_at(study, one, now)
            if wait is None:
                del self._pending[study]
            else:
                one.due = now + wait
        if len(due) > _MOST:
            return 0.0
        return min((one.due for one in self._pending.values()), default=math.inf) - clock()

    def _look_at(self, study: str, pending: _Pending, now: float) -> float | None:
        """Settle one study, or say in how many seconds it is worth another look; None: it is done with."""
        with self._settling.database.read() as connection:
            all_of = decisions.series_of(connection, study)
        if not all_of:
            return None
        if not all(one.settled for one in all_of):
            return math.inf
        policies = [self._settling.rulebook.policy(one) for one in all_of] or [completeness.BUILT_IN]
        quiet = max(policy.study_quiet for policy in policies)
        if (left := pending.seen + quiet - now) > 0:
            return left
        patience = pending.seen + quiet + max(policy.wait for policy in policies)
        done, missing = self._settling.study(study, expected=all_of, patient=now < patience, quiet=quiet)
        if done:
            return None
        return max(patience - now, 0.0) if missing else 0.1
