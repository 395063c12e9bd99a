"""All, any and not: whether they hold, on what, and how that is said."""

from __future__ import annotations

import hypothesis
from hypothesis import given
from hypothesis import strategies as st

from node import evaluate, orders

CT = evaluate.of({"Modality": "CT"})
HEAD = evaluate.of({"StudyDescription": "*head*"})
NECK = evaluate.of({"StudyDescription": ["*neck*", "*throat*"]})
KNOWN = {"Modality": ("CT",), "StudyDescription": ("Head w/o",), "source": ("CT_1",)}


def test_an_empty_condition_always_holds_and_looks_at_nothing() -> None:
    assert evaluate.holds(orders.Condition(), {})
    assert evaluate.look(orders.Condition(), KNOWN) == evaluate.Finding(holds=True)
    assert evaluate.words(orders.Condition()) == "everything"


def test_all_any_and_not_together() -> None:
    both = orders.Condition(every=(CT, HEAD))
    assert evaluate.holds(both, KNOWN)
    assert evaluate.holds(orders.Condition(CT.tests, some=(NECK, HEAD)), KNOWN)
    assert not evaluate.holds(orders.Condition(CT.tests, some=(NECK,)), KNOWN)
    assert not evaluate.holds(orders.Condition(CT.tests, none=(NECK, HEAD)), KNOWN)
    assert evaluate.holds(orders.Condition(none=(both, NECK)), KNOWN) is False
    assert evaluate.holds(orders.Condition(none=(orders.Condition(none=(both,)),)), KNOWN)


def test_the_values_that_it_rests_on_are_kept_from_every_depth() -> None:
    condition = orders.Condition(evaluate.of({"source": "CT_*"}).tests, (CT,), (NECK, HEAD))
    assert evaluate.look(condition, KNOWN).matched() == KNOWN


def test_what_makes_it_hold_is_said() -> None:
    condition = orders.Condition(evaluate.of({"source": "CT_*"}).tests, some=(NECK, HEAD), none=(NECK,))
    assert evaluate.look(condition, KNOWN).why() == (
        "source has 'CT_1' as in 'CT_*'; StudyDescription has 'Head w/o' as in '*head*'; "
        "StudyDescription has 'Head w/o' and not '*neck*' or '*throat*'"
    )


def test_what_it_fails_on_is_said() -> None:
    missing = evaluate.of({"BodyPartExamined": "HEAD"})
    condition = orders.Condition((), (CT, missing), (NECK, missing), (HEAD,))
    assert evaluate.look(condition, KNOWN).why() == (
        "BodyPartExamined has no value and not 'HEAD'; "
        "none of (StudyDescription has 'Head w/o' and not '*neck*' or '*throat*' | "
        "BodyPartExamined has no value and not 'HEAD'); "
        "ruled out is that StudyDescription has 'Head w/o' as in '*head*'"
    )


def test_what_it_asks_is_said() -> None:
    condition = orders.Condition(CT.tests, (HEAD,), (NECK, CT), (HEAD,))
    assert evaluate.words(condition) == (
        "Modality is 'CT', StudyDescription is '*head*', "
        "(StudyDescription is '*neck*' or '*throat*' or Modality is 'CT'), not (StudyDescription is '*head*')"
    )


def test_values_without_end_are_cut() -> None:
    found = evaluate.look(evaluate.of({"ImageType": "X"}), {"ImageType": tuple("x" * 500 for _ in range(99))})
    kept = found.matched()["ImageType"]
    assert len(kept) == 17
    assert kept[0] == "x" * 128 + "..."
    assert kept[-1] == "... 83 more"
    assert len(found.why()) < 3_000


KEYS = st.sampled_from(["Modality", "StudyDescription", "Rows", "source"])
TESTS = st.dictionaries(KEYS, st.sampled_from(["CT", "!CT", "*", "", ">=5", "~h"]), max_size=2).map(
    evaluate.of
)
TREES = st.recursive(
    TESTS,
    lambda inner: st.builds(
        orders.Condition,
        TESTS.map(lambda one: one.tests),
        st.lists(inner, max_size=2).map(tuple),
        st.lists(inner, max_size=2).map(tuple),
        st.lists(inner, max_size=2).map(tuple),
    ),
    max_leaves=8,
)
FACTS = st.dictionaries(KEYS, st.lists(st.sampled_from(["CT", "MR", "head", "7", ""]), max_size=2))


@hypothesis.settings(max_examples=100, deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
@given(TREES, FACTS)
def test_looking_says_what_holding_says(condition: orders.Condition, known: dict[str, list[str]]) -> None:
    found = evaluate.look(condition, known)
    assert found.holds == evaluate.holds(condition, known)
    assert bool(found.why()) or found.holds or condition != orders.Condition()
    assert set(found.matched()) == evaluate.keys(condition)


@hypothesis.settings(max_examples=100, deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
@given(TREES, FACTS)
def test_not_turns_it_round(condition: orders.Condition, known: dict[str, list[str]]) -> None:
    turned = orders.Condition(none=(condition,))
    assert evaluate.holds(turned, known) != evaluate.holds(condition, known)
