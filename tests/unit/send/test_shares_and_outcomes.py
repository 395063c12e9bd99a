"""What goes over which association, and what a status makes of an attempt."""

from __future__ import annotations

import pathlib

from node import errors
from node.send import base, dimse, link
from node.wire import contexts


def _item(sop_class: str, syntax: str, number: int = 0) -> base.Item:
    return base.Item(sop_class, f"1.9.{number}", syntax, pathlib.Path("x"), 0, 1)


def test_items_that_fit_one_association_stay_in_their_order() -> None:
    items = [_item(f"1.{number % 3}", "2", number) for number in range(200)]
    ((share, proposed),) = dimse.shares(items)
    assert share == items
    assert len(proposed) == 3


def test_more_pairs_than_contexts_are_split_and_nothing_is_lost() -> None:
    items = [_item(f"1.{number % 100}", f"2.{number % 3}", number) for number in range(1000)]
    shares = [share for share, _ in dimse.shares(items)]
    assert [len(dimse.pairs(share)) for share in shares] == [128, 128, 44]
    assert sorted(item.sop_instance for share in shares for item in share) == sorted(
        item.sop_instance for item in items
    )


class _Three:
    """Could make anything into three syntaxes."""

    def targets(self, item: base.Item) -> tuple[str, ...]:
        return contexts.EXPLICIT_LITTLE, contexts.IMPLICIT_LITTLE, "1.2.840.10008.1.2.5"

    def make(self, item: base.Item, syntax: str) -> base.Item:
        raise NotImplementedError

    def drop(self, made: base.Item) -> None:
        raise NotImplementedError


def test_what_could_be_transcoded_takes_contexts_too_and_the_stored_syntaxes_come_first() -> None:
    items = [_item(f"1.{number}", "2", number) for number in range(100)]
    shares = list(dimse.shares(items, _Three()))
    assert [len(share) for share, _ in shares] == [42, 42, 16]
    assert [len(proposed) for _, proposed in shares] == [126, 126, 48]
    first = shares[0][1]
    assert [one.transfers for one in first[:42]] == [("2",)] * 42
    assert contexts.Proposed("1.0", (contexts.EXPLICIT_LITTLE, contexts.IMPLICIT_LITTLE)) in first
    assert contexts.Proposed("1.0", ("1.2.840.10008.1.2.5",)) in first


def test_nothing_needs_no_association() -> None:
    assert list(dimse.shares([])) == []


def test_a_warning_is_delivered_and_keeps_its_remark() -> None:
    assert dimse.judge(0xB000, "name shortened") == base.Done(
        0xB000, "0xB000 (elements were coerced): name shortened"
    )


def test_a_status_decides_over_retry_and_failure() -> None:
    assert dimse.judge(0x0000) == base.Done(0)
    assert isinstance(dimse.judge(0xA700), base.Retry)
    assert isinstance(dimse.judge(0xC000), base.Failed)


def test_a_fault_without_a_status_is_passing_or_not() -> None:
    assert link.outcome(errors.PeerUnreachable("gone")) == base.Retry("gone")
    assert link.outcome(errors.PeerRefused("no")) == base.Failed("no")
