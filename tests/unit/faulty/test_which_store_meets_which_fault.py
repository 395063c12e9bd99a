"""The words for a peer's faults, and to which C-STOREs they happen."""

from __future__ import annotations

import pytest

from node import errors
from node.faulty import plan as faulty_plan


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        ("", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
        ("3", [3]),
        ("5-9", [5, 6, 7, 8, 9]),
        ("8-", [8, 9, 10]),
        ("%4", [4, 8]),
    ],
)
def test_which(text: str, chosen: list[int]) -> None:
    which = faulty_plan.Which.of(text)
    assert [number for number in range(1, 11) if number in which] == chosen


@pytest.mark.parametrize("text", ["0", "-3", "9-5", "%0", "%", "x", "3,5", "1-2-3"])
def test_which_cannot_be_read(text: str) -> None:
    with pytest.raises(errors.UsageError, match="3, 5-9, 5- or %2"):
        faulty_plan.Which.of(text)


@pytest.mark.parametrize(
    "words",
    [
        {"status": ["A7"]},
        {"status": ["XYZW@3"]},
        {"stall": ["sometimes@3"]},
        {"reject": ["now"]},
        {"slow": "fast"},
        {"slow": "-1"},
        {"slow": "0/s"},
        {"commit": "perhaps"},
        {"known": "111"},
        {"chaos": 1.5},
        {"refuse": ["NoSuchThing"]},
        {"refuse": ["generate_uid"]},
    ],
)
def test_what_makes_no_sense_is_refused_with_the_way_out(words: dict[str, object]) -> None:
    with pytest.raises(errors.UsageError):
        faulty_plan.plan(**words)  # type: ignore[arg-type]


def test_several_faults_stand_side_by_side() -> None:
    plan = faulty_plan.plan(
        status=["A700@3", "C000@5-6", "0111%7"], drop=["4"], close=["8"], abort=["9"], forget=["10"]
    )
    said = [plan.doing(number) for number in range(1, 11)]
    assert [one.status for one in said] == [0, 0, 0xA700, 0, 0xC000, 0xC000, 0x0111, 0, 0, 0]
    assert [one.stored for one in said] == [True, True, False, True, False, False, True, False, False, False]
    assert said[3].ending is faulty_plan.Ending.DROP
    assert all(one.describe() for one in said[2:])
    assert not any(one.describe() for one in said[:2])


def test_a_stall_in_the_data_stores_nothing_and_one_in_the_answer_does() -> None:
    plan = faulty_plan.plan(stall=["data@1", "pdu@2", "answer@3", "associate@4"])
    assert [plan.doing(number).stored for number in (1, 2, 3)] == [False, True, True]
    assert plan.doing(4) == faulty_plan.Doing()
    assert [number for number in range(1, 6) if plan.ignores(number)] == [4]


def test_chaos_is_the_same_again_for_the_same_seed() -> None:
    def course(seed: int) -> list[faulty_plan.Doing]:
        plan = faulty_plan.plan(chaos=0.3, seed=seed)
        return [plan.doing(number) for number in range(1, 201)]

    assert course(7) == course(7)
    assert course(7) != course(8)
    met = [one for one in course(7) if one.describe()]
    assert 30 < len(met) < 90
    assert {one.ending for one in met} == {None, *faulty_plan.Ending}
    assert not any(one.describe() for one in [faulty_plan.plan(chaos=0.0).doing(1)])


def test_classes_and_syntaxes_go_by_uid_or_keyword() -> None:
    plan = faulty_plan.plan(refuse=["CTImageStorage", "1.2.840.10008.1.2.4.50"])
    assert plan.refuse == {"1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.4.50"}


def test_slow_is_seconds_or_bytes() -> None:
    assert faulty_plan.plan(slow="0.5").slow == 0.5
    assert faulty_plan.plan(slow="20000/s").pace == 20000
