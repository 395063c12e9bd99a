"""What an entry of a condition asks of values."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node import conditions

CASES = [
    # entries, values, whether they hold
    (["CT"], ["CT"], True),
    (["ct"], [" CT "], True),
    (["CT"], ["CTA"], False),
    (["CT", "MR"], ["MR"], True),
    (["Müller^*"], ["MÜLLER^ANNA"], True),
    (["Mu\u0308ller"], ["M\u00fcller"], True),  # one way to write it is as good as the other
    (["straße"], ["STRASSE"], True),
    (["山田^太郎"], ["山田^太郎"], True),
    (["*head*"], ["CT HEAD w/o"], True),
    (["B?0"], ["B30"], True),
    (["B?0"], ["B300"], False),
    (["*"], ["anything"], True),
    (["*"], [], False),
    (["*"], ["  "], False),
    ([""], [], True),
    ([""], [""], True),
    ([""], ["x"], False),
    (["!"], ["x"], True),
    (["!"], [], False),
    (["!MR"], ["CT"], True),
    (["!MR"], ["MR"], False),
    (["!MR"], [], True),
    (["!MR", "!CT"], ["CT"], False),
    (["C*", "!CTA"], ["CTA"], False),
    (["C*", "!CTA"], ["CR"], True),
    (["=!MR"], ["!MR"], True),
    (["=*"], ["*"], True),
    (["=*"], ["x"], False),
    ([">=5"], ["5"], True),
    ([">5"], ["5"], False),
    (["<5"], ["4.999"], True),
    (["<= 5"], ["5.0"], True),
    ([">5"], ["many"], False),
    (["!>5"], ["many"], True),
    (["1..9"], ["9"], True),
    (["1..9"], ["10"], False),
    (["..9"], ["-3"], True),
    (["1.."], ["1e3"], True),
    (["0.5..0.7"], ["0.625"], True),
    ([">=2026-01-01"], ["20260101"], True),
    (["2026-01-01..2026-03-31"], ["20260401"], False),
    (["20260101..20260331"], ["20260215"], True),
    (["a..b"], ["A..B"], True),  # no numbers: a text like any other
    (["~^t[12]_"], ["T2_axial"], True),
    (["~^t[12]_"], ["post T2_axial"], False),
    (["~axial|sagittal"], ["T1 SAGITTAL"], True),
    (["!~scout"], ["Scout"], False),
    (["!~scout"], [], True),
    (["~^$"], [], False),  # a value that is not there has nothing to be searched
    (["=~x"], ["~x"], True),
    (["~müller"], ["MU\u0308LLER"], True),
    (["~.*"], ["\ud800"], True),  # no text that could be written as UTF-8
    (["PRIMARY"], ["ORIGINAL", "PRIMARY"], True),  # one of several values
    (["!DERIVED"], ["DERIVED", "PRIMARY"], False),
]


@pytest.mark.parametrize(("entries", "values", "holds"), CASES)
def test_a_condition(entries: Sequence[str], values: Sequence[str], holds: bool) -> None:
    assert conditions.holds(entries, values) is holds


@pytest.mark.parametrize("value", ["NaN", "Infinity", "sNaN", "1" * 70, "0x10", "1_000", ""])
def test_what_looks_like_a_number_to_a_library_only(value: str) -> None:
    assert not conditions.holds([">=0"], [value])


def test_case_counts_where_it_is_asked_for() -> None:
    assert not conditions.holds(["ct"], ["CT"], exact_case=True)
    assert conditions.holds(["C*"], ["CT"], exact_case=True)


@pytest.mark.parametrize("entry", [">=", "<x", "5..x", "x..5", "9..1", "!>=x"])
def test_what_cannot_be_understood_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match=r"is neither a number nor a date|ends before it begins"):
        conditions.parse(entry)


@given(st.text("ab*?", max_size=8), st.text("ab", max_size=10))
def test_wildcards_are_those_of_the_shell(pattern: str, text: str) -> None:
    assert conditions.like(text, pattern) == bool(re.fullmatch(fnmatch.translate(pattern), text))


def test_a_hostile_value_meets_a_pattern_of_many_stars() -> None:
    """A backtracking matcher would be busy for years with this; no clock is asked, it just has to end."""
    assert not conditions.like("a" * 10_000, "*a" * 40 + "b")


@pytest.mark.parametrize("entry", ["~(", "~(?=a)b", r"~(a)\1", "~a{2000}", "!~[z-a]"])
def test_an_expression_that_cannot_be_is_told(entry: str) -> None:
    with pytest.raises(ValueError, match=r"the regular expression '.*' cannot be"):
        conditions.parse(entry)


def test_an_expression_takes_linear_time_whatever_it_meets() -> None:
    """Python's own would take longer than the universe has."""
    assert not conditions.holds(["~^(a+)+$"], ["a" * 100_000 + "b"])
    assert not conditions.holds(["~(x+x+)+y"], ["x" * 100_000])


def test_the_case_of_ae_titles_counts_for_an_expression_too() -> None:
    assert not conditions.holds(["~^ct"], ["CT_1"], exact_case=True)
    assert conditions.holds(["~^CT"], ["CT_1"], exact_case=True)
