"""The forms in which moments, names and numbers stand in the index."""

from __future__ import annotations

import datetime
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.dicom import names
from node.index import words

moments = st.datetimes(
    min_value=datetime.datetime(1, 1, 3),  # noqa: DTZ001 - hypothesis adds the zone
    max_value=datetime.datetime(9999, 12, 29),  # noqa: DTZ001
    timezones=st.sampled_from(
        [
            datetime.UTC,
            datetime.timezone(datetime.timedelta(hours=9)),
            datetime.timezone(-datetime.timedelta(hours=5)),
        ]
    ),
)


@given(moments, moments)
def test_moments_sort_as_they_follow(one: datetime.datetime, two: datetime.datetime) -> None:
    assert (words.moment(one) < words.moment(two)) == (one < two)
    assert words.when(words.moment(one)) == one


@given(moments, st.floats(0, 1e300))
def test_later_never_wraps(start: datetime.datetime, seconds: float) -> None:
    assert words.later(start, seconds) >= words.moment(start)
    assert words.later(start, -seconds) <= words.moment(start)


@given(st.text(st.characters()))
def test_clean_text_is_what_both_databases_hold(text: str) -> None:
    cleaned = words.clean(text)
    assert cleaned is not None
    assert "\0" not in cleaned
    assert cleaned.encode("utf-8").decode("utf-8") == cleaned
    assert words.clean(cleaned) == cleaned


@given(st.lists(st.floats(allow_nan=False), min_size=1, max_size=6))
def test_numbers_read_back_the_same(values: list[float]) -> None:
    back = words.floats(words.numbers(tuple(values)))
    assert back is not None
    assert all(
        a == b and math.copysign(1, a) == math.copysign(1, b) for a, b in zip(values, back, strict=True)
    )


@pytest.mark.parametrize(
    ("name", "groups"),
    [
        ("SMITH^John^^^", ("smith^john", "", "")),
        (" Smith ^ John ", ("smith^john", "", "")),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", ("yamada^tarou", "山田^太郎", "やまだ^たろう")),
        ("=山田^太郎", ("", "山田^太郎", "")),
        ("\uff39\uff21\uff2d\uff21\uff24\uff21^Tarou", ("yamada^tarou", "", "")),
        ("STRASSE", ("strasse", "", "")),
        ("Straße", ("strasse", "", "")),
        ("a=b=c=d", ("a", "b", "c")),
        ("^^^", ("", "", "")),
        (None, ("", "", "")),
    ],
)
def test_names_compare_by_group_without_case_and_width(
    name: str | None, groups: tuple[str, str, str]
) -> None:
    assert words.name_groups(name) == groups


@given(st.text())
def test_folding_twice_is_folding_once(name: str) -> None:
    once = names.fold(name)
    assert names.fold(once) == once


def test_a_uid_has_forty_eight_bits_that_never_change() -> None:
    # They stand in every database: another function would need a migration.
    assert words.uid_hash("1.2.840.10008.5.1.4.1.1.2") == 0x25F051CF85AD
    assert 0 <= words.uid_hash("2.25.1") < 1 << 48
