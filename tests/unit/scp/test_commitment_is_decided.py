"""What is plain from the index about an instance that somebody wants committed."""

from __future__ import annotations

import pytest

from node import commit, model
from node.index import commitment, holdings

CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
ASKED = commitment.Asked(CT, "1.2.3")


def _copy(
    verdict: model.Verdict = model.Verdict.STORED, sop_class: str = CT, state: model.Held = model.Held.HELD
) -> holdings.Holding:
    return holdings.Holding(verdict, sop_class, "sha256:00", "store/x", 0, 1, state)


@pytest.mark.parametrize(
    ("copies", "reason"),
    [
        ([], 0x0112),
        ([_copy()], None),
        ([_copy(), _copy(model.Verdict.CONFLICT)], None),
        ([_copy(sop_class=MR)], 0x0119),
        ([_copy(sop_class=MR), _copy()], None),
        ([_copy(model.Verdict.QUARANTINED)], 0x0110),
        ([_copy(), _copy(model.Verdict.QUARANTINED)], 0x0110),
        ([_copy(state=model.Held.CORRUPT)], 0x0110),
        ([_copy(), _copy(state=model.Held.MISSING)], 0x0110),
    ],
)
def test_reason(copies: list[holdings.Holding], reason: int | None) -> None:
    assert commit.verdict(ASKED, copies) == reason


def test_the_delay_grows_to_an_hour_and_is_spread() -> None:
    assert [4 <= commit.delay(0) <= 6, 8 <= commit.delay(1) <= 12] == [True, True]
    assert all(2880 <= commit.delay(attempts) <= 4320 for attempts in (10, 100, 10_000))
    assert len({commit.delay(3) for _ in range(20)}) > 1
