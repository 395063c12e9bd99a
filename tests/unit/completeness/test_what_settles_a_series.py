"""Signals and a policy in, a judgement out: when a series is settled, as what, and what it waits for."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node import completeness, orders
from node.completeness import By
from node.dicom import gaps, mpps

POLICY = orders.Policy("test", quiet=30, released=2, wait=600)
ASKING = dataclasses.replace(POLICY, ask="pacs")
COMPLETE, PARTIAL, INCONSISTENT = orders.Completeness
HOLE = gaps.Geometry(1, 19, 1, ("1 missing between 3 and 5 mm along the normal",))
WHOLE = gaps.Geometry(1, 20, 0)


def signals(instances: int = 10, quiet: float = 0.0, **more: object) -> completeness.Signals:
    return completeness.Signals(instances, quiet, **more)  # type: ignore[arg-type]


def step(instances: int, state: mpps.State = mpps.State.COMPLETED) -> tuple[completeness.Step, ...]:
    return (completeness.Step("1.2.3", state, instances),)


@pytest.mark.parametrize(
    ("known", "by", "verdict"),
    [
        # Nothing but time.
        (signals(quiet=29), None, COMPLETE),
        (signals(quiet=30), By.QUIET, COMPLETE),
        # Its associations.
        (signals(quiet=5, open=1), None, COMPLETE),
        (signals(quiet=5, open=1, released=5.0), None, COMPLETE),
        (signals(quiet=30, open=1), By.QUIET, COMPLETE),
        (signals(quiet=3, released=1.5), None, COMPLETE),
        (signals(quiet=3, released=2.0), By.RELEASE, COMPLETE),
        # Images in Acquisition.
        (signals(quiet=5, released=5, expected=10), By.RELEASE, COMPLETE),
        (signals(quiet=5, released=5, expected=12), None, PARTIAL),
        (signals(quiet=629, released=629, expected=12), None, PARTIAL),
        (signals(quiet=630, released=630, expected=12), By.WAIT, PARTIAL),
        (signals(quiet=5, released=5, expected=8), By.RELEASE, INCONSISTENT),
        (signals(quiet=5, released=5, expected=8, acquisitions=3), By.RELEASE, COMPLETE),
        # Performed procedure steps.
        (signals(open=1, steps=step(10)), By.STEPS, COMPLETE),
        (signals(quiet=5, released=5, steps=step(12)), None, PARTIAL),
        (signals(quiet=630, released=630, steps=step(12)), By.WAIT, PARTIAL),
        (signals(quiet=1, open=1, steps=step(8)), None, INCONSISTENT),
        (signals(quiet=30, open=1, steps=step(8)), By.QUIET, INCONSISTENT),
        (signals(quiet=9, released=9, steps=step(10, mpps.State.IN_PROGRESS)), None, COMPLETE),
        (signals(quiet=30, released=9, steps=step(10, mpps.State.IN_PROGRESS)), By.QUIET, COMPLETE),
        (signals(open=1, steps=step(10, mpps.State.DISCONTINUED)), By.STEPS, COMPLETE),
        # A step that is over and names no more: others that name more are not waited for.
        (signals(steps=step(10, mpps.State.DISCONTINUED), expected=20), By.STEPS, PARTIAL),
        (signals(steps=step(10), expected=20), By.STEPS, INCONSISTENT),
        (signals(instances=30, steps=(*step(10), *step(20))), By.STEPS, COMPLETE),
        # Geometry.
        (signals(quiet=5, released=5, geometry=WHOLE), By.RELEASE, COMPLETE),
        (signals(quiet=5, released=5, geometry=HOLE), None, PARTIAL),
        (signals(quiet=630, released=630, geometry=HOLE), By.WAIT, PARTIAL),
    ],
)
def test_a_series_is_settled(
    known: completeness.Signals, by: By | None, verdict: orders.Completeness
) -> None:
    found = completeness.judge(known, POLICY)
    assert (found.by, found.verdict) == (by, verdict)
    assert found.settled is (by is not None)


@pytest.mark.parametrize(
    ("known", "policy", "by"),
    [
        (signals(quiet=5, released=5), dataclasses.replace(POLICY, released=None), None),
        (signals(quiet=30, expected=12), dataclasses.replace(POLICY, expected=False), By.QUIET),
        (signals(quiet=30, steps=step(12)), dataclasses.replace(POLICY, steps=False), By.QUIET),
        (signals(quiet=1, steps=step(10)), dataclasses.replace(POLICY, steps=False), None),
        (signals(quiet=30, geometry=HOLE), dataclasses.replace(POLICY, geometry=False), By.QUIET),
        (signals(quiet=2), dataclasses.replace(POLICY, quiet=2), By.QUIET),
        (signals(quiet=31, expected=12), dataclasses.replace(POLICY, wait=0), By.WAIT),
    ],
)
def test_what_the_policy_does_not_heed_says_nothing(
    known: completeness.Signals, policy: orders.Policy, by: By | None
) -> None:
    found = completeness.judge(known, policy)
    assert found.by == by
    if by is By.QUIET:
        assert found.verdict is COMPLETE


def test_a_source_is_asked_before_a_series_settles() -> None:
    early = completeness.judge(signals(quiet=1, released=1), ASKING)
    assert (early.settled, early.ask) == (False, False)
    ready = signals(quiet=3, released=3)
    first = completeness.judge(ready, ASKING)
    assert (first.settled, first.ask) == (False, True)

    def answered(count: int | None, age: float = 0.0) -> completeness.Judgement:
        answer = completeness.Answer("pacs", count, "" if count is not None else "nobody there", age)
        return completeness.judge(dataclasses.replace(ready, answer=answer), ASKING)

    assert (answered(10).by, answered(10).verdict) == (By.RELEASE, COMPLETE)
    assert (answered(8).by, answered(8).verdict) == (By.RELEASE, INCONSISTENT)
    assert (answered(None).by, answered(None).verdict) == (By.RELEASE, COMPLETE)
    assert any("nobody there" in reason for reason in answered(None).reasons)
    more = answered(12)
    assert (more.settled, more.ask, more.verdict) == (False, False, PARTIAL)
    assert more.wait <= completeness.ASK_AGAIN
    assert answered(12, completeness.ASK_AGAIN).ask


def test_the_verdict_comes_with_every_signal_in_words_and_numbers() -> None:
    known = signals(quiet=630, released=630, expected=12, steps=step(11), geometry=HOLE)
    found = completeness.judge(known, POLICY)
    text = " | ".join(found.reasons)
    for words in ("Images in Acquisition is 12", "name 11 of which 10 came", "1 missing between 3 and 5"):
        assert words in text
    assert "Images in Acquisition" in found.why
    kept = completeness.written(known, POLICY, found)
    assert (kept["by"], kept["policy"], kept["expected"]) == ("wait", "test", 12)
    assert kept["geometry"]["missing"] == 1


@pytest.mark.parametrize(
    ("peer", "source", "modality", "name"),
    [
        ("ct1", "CT_ONE", "CT", "by name"),
        ("", "CT_ONE", "CT", "by title"),
        ("", "MR_7", "MR", "by wildcard"),
        ("", "mr_7", "MR", "by modality"),
        ("other", "OTHER", "US", "built-in"),
        ("other", "OTHER", None, "built-in"),
    ],
)
def test_the_first_policy_that_fits_is_taken(peer: str, source: str, modality: str | None, name: str) -> None:
    policies = (
        orders.Policy("by name", peers=("ct1",)),
        orders.Policy("by title", peers=("CT_ONE",)),
        orders.Policy("by wildcard", peers=("MR_*",), modalities=("MR",)),
        orders.Policy("by modality", modalities=("MR", "PT")),
    )
    assert completeness.policy(policies, peer=peer, source=source, modality=modality).name == name


_STEPS = st.lists(
    st.builds(completeness.Step, st.just("1.2"), st.sampled_from(mpps.State), st.integers(0, 30)), max_size=3
)
_SIGNALS = st.builds(
    completeness.Signals,
    instances=st.integers(1, 30),
    quiet=st.floats(0, 1000),
    open=st.integers(0, 2),
    released=st.none() | st.floats(0, 1000),
    expected=st.none() | st.integers(0, 40),
    acquisitions=st.integers(1, 3),
    steps=_STEPS.map(tuple),
    answer=st.none()
    | st.builds(completeness.Answer, st.just("pacs"), st.none() | st.integers(0, 40), st.just("")),
    geometry=st.sampled_from([completeness.UNSEEN, HOLE, WHOLE]),
)


@given(_SIGNALS, st.booleans())
def test_whatever_the_signals_say_it_settles_in_the_end_and_never_while_it_may_wait_for_nothing(
    known: completeness.Signals, asks: bool
) -> None:
    policy = ASKING if asks else POLICY
    found = completeness.judge(known, policy)
    assert found.settled or 0 < found.wait <= policy.quiet + policy.wait + completeness.ASK_AGAIN
    assert found.verdict is COMPLETE or found.why
    late = dataclasses.replace(known, quiet=policy.quiet + policy.wait, open=0)
    end = completeness.judge(late, policy)
    assert end.settled
    # Time alone is never better informed than all signals together.
    if found.by in (By.QUIET, By.RELEASE):
        assert completeness.earliest(known, policy) == 0.0
