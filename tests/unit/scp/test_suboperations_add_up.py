"""Whatever becomes of sub-operations, their counts add up and the status says the worst that is true."""

from __future__ import annotations

import array
import pathlib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from node import retrieve
from node.index import retrieval
from node.scp import suboperations
from node.send import base
from tests import make

_OUTCOMES = {
    "taken": base.Done(0),
    "remark": base.Done(0xB000, "0xB000 (elements were coerced)"),
    "busy": base.Retry("0xA700 (out of resources)", 0xA700),
    "refused": base.Failed("sink (SINK@10.0.0.5:104) does not take it"),
}


def _chosen(count: int, lost: int) -> retrieve.Chosen:
    """So many instances, of which some are lost beforehand; nothing of it is read here."""
    names = tuple(retrieval.Lost(f"1.9.{number}", "its file is missing") for number in range(lost))
    found = retrieval.Chosen(array.array("q", range(count)), names, (), ())
    nothing: Any = None
    return retrieve.Chosen(nothing, nothing, nothing, found)


def _result(number: int, kind: str) -> base.Result:
    path = pathlib.Path("/var/lib/node/store/x.dcm")
    item = base.Item(make.CT, f"1.2.{number}", make.EXPLICIT, path, 0, 10)
    return base.Result(item, _OUTCOMES[kind], size=10)


def _numbers(tally: suboperations.Tally) -> dict[int, int]:
    return {tag: int.from_bytes(raw, "little") for tag, raw in tally.elements(remaining=True).items()}


@given(
    st.lists(st.sampled_from(sorted(_OUTCOMES)), max_size=30),
    st.integers(0, 5),
    st.integers(0, 5),
    st.booleans(),
)
def test_counts_add_up_at_every_moment(kinds: list[str], lost: int, left: int, cancelled: bool) -> None:
    total = len(kinds) + lost + left
    tally = suboperations.Tally(_chosen(len(kinds) + left, lost))
    assert sum(_numbers(tally).values()) == tally.total == total
    for number, kind in enumerate(kinds):
        tally.take(_result(number, kind))
        assert sum(_numbers(tally).values()) == total
    if not cancelled:
        tally.give_up("it was not sent")
        assert tally.remaining == 0
    status, comment = tally.outcome(cancelled=cancelled)
    bad, fine = tally.failed, tally.completed + tally.warning
    if cancelled and left:
        assert status == 0xFE00
    elif bad and not fine:
        assert (status, bool(comment)) == (0xA702, True)
    elif bad or tally.warning:
        assert status == 0xB000
    else:
        assert (status, comment) == (0, "")
    named = tally.failures(make.IMPLICIT)
    listed = sum(kind in ("busy", "refused") for kind in kinds) + lost
    # Behind the header, whose length may be that of a backslash.
    assert (named[8:].count(b"\\") + 1 if named else 0) == listed


def test_a_count_of_more_than_two_bytes_says_the_most_that_they_can() -> None:
    tally = suboperations.Tally(_chosen(100_000, 0))
    assert _numbers(tally)[0x1020] == 0xFFFF


def test_the_list_of_failures_is_cut_where_explicit_vr_has_no_longer_one() -> None:
    tally = suboperations.Tally(_chosen(0, 20_000))
    data = tally.failures(make.EXPLICIT)
    assert data is not None
    assert tally.failed == 20_000
    assert 65_000 < len(data) <= 8 + 0xFFFE
    assert data[8:].decode("ascii").rstrip("\0").split("\\")[-1].startswith("1.9.")


def test_reasons_tell_no_path_and_no_name_that_their_reader_knows() -> None:
    tally = suboperations.Tally(_chosen(2, 0), "sink (SINK@10.0.0.5:104)")
    tally.take(_result(1, "refused"))
    assert tally.reason() == "it does not take it"
    why = "/var/lib/node/store/x.dcm cannot be read (No such file or directory)"
    item = _result(2, "taken").item
    tally.take(base.Result(item, base.Failed(why)))
    tally.take(base.Result(item, base.Failed(why)))
    assert tally.reason() == "its file cannot be read (No such file or directory)"
