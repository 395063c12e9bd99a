"""What is known of a series that is not settled, by the router's own clock; what costs a look is kept."""

from __future__ import annotations

import dataclasses
import math

import sqlalchemy

from node import completeness, orders
from node.dicom import gaps
from node.files import filed, live
from node.index import decisions, steps
from node.index import series as stands


@dataclasses.dataclass(slots=True)
class Watched:
    """A series that is not settled, as one router sees it."""

    key: int  # its row
    study: str  # Study Instance UID
    series: str  # Series Instance UID
    mark: int  # how the tables of open associations name it
    policy: orders.Policy  # what settles it
    by_dicom: bool  # an association brought it
    revision: int  # how often it was settled when this began
    instances: int  # held, as far as is known
    last: int  # key of the newest instance that was seen; 0: only how many there are is known
    seen: float  # when the last new one was seen
    open: int = 0  # associations that bring it
    released: float | None = None  # when the last of them was found to be over
    due: float = math.inf  # when it is judged next
    behind: tuple[filed.Waiting, float] | None = None  # what must be filed before it settles, and since when
    closely: bool = False  # more than time may have settled it: all signals are to be looked at
    named: int = 0  # instances that performed procedure steps name
    asked: bool = False  # a question is out
    answer: tuple[completeness.Answer, float] | None = None  # the last one, and when it came
    geometry: tuple[tuple[int, int], gaps.Geometry, int] | None = None  # for what; and the acquisitions

    @property
    def soon(self) -> float:
        """Seconds after a new instance at which time alone may settle it."""
        if self.policy.released is None or self.released is None:
            return self.policy.quiet
        return min(self.policy.quiet, self.policy.released)

    def cheap(self, now: float) -> completeness.Signals:
        """The signals that cost nothing."""
        released = None if self.released is None else now - self.released
        return completeness.Signals(self.instances, now - self.seen, self.open, released)

    def signals(
        self, connection: sqlalchemy.Connection, facts: stands.Facts, now: float
    ) -> completeness.Signals:
        """All signals."""
        told = steps.signals(connection, facts.series) if self.policy.steps else []
        self.named = sum(one.instances for one in told)
        of = (facts.instances, self.last)
        if self.geometry is None or self.geometry[0] != of:
            wanted = self.policy.geometry or (self.policy.expected and facts.expected)
            found = decisions.geometry(connection, facts.key) if wanted else (completeness.UNSEEN, 1)
            self.geometry = (of, *found)
        answer = None
        if self.answer is not None:
            answer = dataclasses.replace(self.answer[0], age=now - self.answer[1])
        return dataclasses.replace(
            self.cheap(now),
            instances=facts.instances,
            expected=facts.expected,
            acquisitions=self.geometry[2],
            steps=tuple(completeness.Step(one.step, one.state, one.instances) for one in told),
            answer=answer,
            geometry=self.geometry[1],
        )


def begin(facts: stands.Facts, policy: orders.Policy, now: float, *, last: int) -> Watched:
    """Watch a series from now on; how long it was quiet before, nobody knows."""
    by_dicom = bool(facts.source)
    return Watched(
        key=facts.key,
        study=facts.study,
        series=facts.series,
        mark=live.mark(facts.series),
        policy=policy,
        by_dicom=by_dicom,
        revision=facts.revision,
        instances=facts.instances,
        last=last,
        seen=now,
        released=now if by_dicom else None,
    )


def named(connection: sqlalchemy.Connection, uid: str) -> int:
    """How many instances of a series performed procedure steps name."""
    return sum(one.instances for one in steps.signals(connection, uid))
