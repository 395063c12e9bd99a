"""Whether a series is settled, and as what: the signals that came, against the policy for them; pure.

Something settles it (all that a finished step names is here, its associations are over, or it was quiet for
long enough) unless a signal names more than came: that is waited for, as long as the policy says.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping, Sequence
from typing import Any

from node import conditions, orders
from node.dicom import gaps, mpps

BUILT_IN = orders.Policy("built-in")  # what holds where no configured policy fits
UNSEEN = gaps.Geometry()  # of which no geometry is known
ASK_AGAIN = 15.0  # seconds between questions to a peer that had more than came
_FEW = 0.001  # seconds; what a clock may be early


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """What a performed procedure step says of the series."""

    uid: str  # its SOP Instance UID
    state: mpps.State  # while it is in progress more may come
    instances: int  # how many it names


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What a peer answered that was asked how many instances it has."""

    peer: str  # its configured name
    instances: int | None  # Number of Series Related Instances; None: it did not say
    error: str = ""  # why it did not say
    age: float = 0.0  # seconds since it came


@dataclasses.dataclass(frozen=True, slots=True)
class Signals:
    """What is known of a series at one moment; times are those of a clock that nobody sets."""

    instances: int  # held
    quiet: float  # seconds since the last new one was seen
    open: int = 0  # associations that bring it and are still open
    released: float | None = (
        None  # seconds since the last of them was; None: none brought it, a file import did
    )
    expected: int | None = None  # Images in Acquisition
    acquisitions: int = 1  # acquisition numbers among its instances; the count above is for one of them
    steps: tuple[Step, ...] = ()  # performed procedure steps that name it
    answer: Answer | None = None  # of the peer that is asked; None: it was not asked yet
    geometry: gaps.Geometry = UNSEEN  # what the positions of its slices say


class By(enum.StrEnum):
    """What settled a series."""

    STEPS = "steps"  # all that finished steps name is here
    RELEASE = "release"  # every association that brought it is over
    QUIET = "quiet"  # nothing came for long enough
    WAIT = "wait"  # what is missing was waited for in vain


@dataclasses.dataclass(frozen=True, slots=True)
class Judgement:
    """What a look at a series comes to."""

    by: By | None  # what settles it; None: it waits
    verdict: orders.Completeness  # what it would be settled as, as things stand
    reasons: tuple[str, ...]  # each signal that there is, with its numbers
    wait: float = 0.0  # seconds until another look is worth it when nothing else happens
    ask: bool = False  # the policy's peer is to be asked now
    why: str = ""  # what speaks against it being complete

    @property
    def settled(self) -> bool:
        """Whether it is."""
        return self.by is not None


class _Says(enum.Enum):
    """What one signal says of how many there are."""

    ENOUGH = enum.auto()  # as many as came
    MISSING = enum.auto()  # more than came
    EXCEEDED = enum.auto()  # fewer than came
    NOTHING = enum.auto()  # nothing of numbers


@dataclasses.dataclass(frozen=True, slots=True)
class _Finding:
    says: _Says
    words: str


def policy(
    policies: Sequence[orders.Policy], *, peer: str, source: str, modality: str | None
) -> orders.Policy:
    """The first policy that fits a sender and a modality."""
    for one in policies:
        # As the rules at receipt compare: with wildcards, and case tells two AE titles apart.
        if one.peers and not conditions.holds(one.peers, (peer, source), exact_case=True):
            continue
        if one.modalities and not conditions.holds(one.modalities, (modality or "",)):
            continue
        return one
    return BUILT_IN


def judge(signals: Signals, policy: orders.Policy) -> Judgement:
    """What the signals come to under the policy."""
    steps, final = _steps(signals, policy)
    findings = [*steps, *_counts(signals, policy)]
    missing = any(one.says is _Says.MISSING for one in findings)
    # A step that is over names all that there will ever be: more is not worth waiting for.
    held_up = missing and not final
    verdict = _verdict(findings, signals)
    by, wait = _trigger(signals, policy, held_up=held_up, final=final)
    ask = policy.ask is not None and _asks(signals, ready=by is not None or held_up)
    patient = signals.quiet < policy.quiet + policy.wait
    if by is not None and ask and signals.answer is None and not final and patient:
        by, wait = None, ASK_AGAIN  # its answer is looked at before
    elif held_up and policy.ask is not None:
        wait = min(wait, ASK_AGAIN)
    reasons = (*_times(signals, by), *(one.words for one in findings))
    against = "; ".join(one.words for one in findings if one.says in (_Says.MISSING, _Says.EXCEEDED))
    return Judgement(by, verdict, reasons, max(wait, _FEW), ask and by is None, against)


def earliest(signals: Signals, policy: orders.Policy) -> float:
    """Seconds until time alone may settle it, whatever the signals that cost a look say; 0: now."""
    by, wait = _trigger(signals, policy, held_up=False, final=False)
    return wait if by is None else 0.0


def _trigger(
    signals: Signals, policy: orders.Policy, *, held_up: bool, final: bool
) -> tuple[By | None, float]:
    """What settles it now, or the seconds until something may."""
    named = sum(step.instances for step in signals.steps)
    if policy.steps and final and signals.instances == named:
        return By.STEPS, 0.0
    going = policy.steps and any(step.state is mpps.State.IN_PROGRESS for step in signals.steps)
    waits: list[float] = []
    if policy.released is not None and signals.released is not None and not (held_up or going):
        left = policy.released - signals.released
        if not signals.open:
            if left <= _FEW:
                return By.RELEASE, 0.0
            waits.append(left)
    left = policy.quiet - signals.quiet
    if held_up:
        left += policy.wait
    if left <= _FEW:
        return (By.WAIT if held_up else By.QUIET), 0.0
    return None, min([*waits, left])


def _asks(signals: Signals, *, ready: bool) -> bool:
    answer = signals.answer
    if answer is None:
        return ready
    return ready and answer.age >= ASK_AGAIN


def _steps(signals: Signals, policy: orders.Policy) -> tuple[list[_Finding], bool]:
    """What performed procedure steps say, and whether what they name is here and final."""
    if not policy.steps or not signals.steps:
        return [], False
    named = sum(step.instances for step in signals.steps)
    over = all(step.state is not mpps.State.IN_PROGRESS for step in signals.steps)
    words = ", ".join(sorted({step.state.value.lower() for step in signals.steps}))
    said = f"performed procedure steps ({words}) name {named} of which {signals.instances} came"
    if signals.instances < named:
        return [_Finding(_Says.MISSING, said)], False
    if not over:
        return [_Finding(_Says.NOTHING, said)], False
    if signals.instances > named:
        return [_Finding(_Says.EXCEEDED, f"{said}: more than they name")], True
    return [_Finding(_Says.ENOUGH, said)], True


def _counts(signals: Signals, policy: orders.Policy) -> list[_Finding]:
    found = []
    if policy.expected and signals.expected:
        found.append(_expected(signals, signals.expected))
    if policy.ask is not None and signals.answer is not None:
        found.append(_answer(signals, signals.answer))
    if policy.geometry and signals.geometry.stacks:
        found.append(_geometry(signals.geometry))
    return found


def _expected(signals: Signals, expected: int) -> _Finding:
    said = f"Images in Acquisition is {expected}, and {signals.instances} came"
    if signals.instances < expected:
        return _Finding(_Says.MISSING, said)
    if signals.acquisitions > 1:
        # Each acquisition has a count of its own, and only the first one's is known.
        return _Finding(_Says.ENOUGH, f"{said} of {signals.acquisitions} acquisitions")
    return _Finding(_Says.ENOUGH if signals.instances == expected else _Says.EXCEEDED, said)


def _answer(signals: Signals, answer: Answer) -> _Finding:
    if answer.instances is None:
        why = f" ({answer.error})" if answer.error else ""
        return _Finding(_Says.NOTHING, f"{answer.peer} did not say how many it has{why}")
    said = f"{answer.peer} has {answer.instances}, and {signals.instances} came"
    if signals.instances < answer.instances:
        return _Finding(_Says.MISSING, said)
    return _Finding(_Says.ENOUGH if signals.instances == answer.instances else _Says.EXCEEDED, said)


def _geometry(geometry: gaps.Geometry) -> _Finding:
    stacks = "1 stack" if geometry.stacks == 1 else f"{geometry.stacks} stacks"
    if not geometry.missing:
        return _Finding(_Says.ENOUGH, f"{geometry.slices} slices in {stacks} without a gap")
    return _Finding(_Says.MISSING, f"slices in {stacks}: " + "; ".join(geometry.gaps))


def _verdict(findings: Sequence[_Finding], signals: Signals) -> orders.Completeness:
    said = {one.says for one in findings}
    cut_short = any(step.state is mpps.State.DISCONTINUED for step in signals.steps)
    if _Says.EXCEEDED in said:
        return orders.Completeness.INCONSISTENT
    if _Says.MISSING not in said:
        return orders.Completeness.COMPLETE
    # A step that was broken off explains why there are fewer; one that was completed contradicts it.
    done = signals.steps and all(step.state is mpps.State.COMPLETED for step in signals.steps)
    named = sum(step.instances for step in signals.steps)
    if done and named == signals.instances and not cut_short:
        return orders.Completeness.INCONSISTENT
    return orders.Completeness.PARTIAL


def _times(signals: Signals, by: By | None) -> list[str]:
    found = [f"{signals.instances} came, the last {signals.quiet:.1f} s ago"]
    if signals.open:
        found.append(f"{signals.open} associations that bring it are open")
    elif signals.released is not None:
        found.append(f"its associations are over for {signals.released:.1f} s")
    if by is not None:
        found.insert(0, _WORDS[by])
    return found


_WORDS: Mapping[By, str] = {
    By.STEPS: "settled by performed procedure steps that are over",
    By.RELEASE: "settled by the release of its associations",
    By.QUIET: "settled by quiet",
    By.WAIT: "settled because what is missing was waited for in vain",
}


def written(signals: Signals, policy: orders.Policy, judgement: Judgement) -> dict[str, Any]:
    """Policy, signals and reasons as plain values, to be kept with the verdict."""
    answer = signals.answer
    return {
        "policy": policy.name,
        "by": judgement.by.value if judgement.by is not None else "",
        "reasons": list(judgement.reasons),
        "instances": signals.instances,
        "quiet": round(signals.quiet, 3),
        "open": signals.open,
        "released": None if signals.released is None else round(signals.released, 3),
        "expected": signals.expected,
        "acquisitions": signals.acquisitions,
        "steps": [
            {"step": one.uid, "state": one.state.value, "instances": one.instances} for one in signals.steps
        ],
        "answer": None
        if answer is None
        else {"peer": answer.peer, "instances": answer.instances, "error": answer.error},
        "geometry": {
            "stacks": signals.geometry.stacks,
            "slices": signals.geometry.slices,
            "missing": signals.geometry.missing,
            "gaps": list(signals.geometry.gaps),
        },
    }
