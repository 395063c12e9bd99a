"""The contexts of a C-GET: never too many, and the rarer a class is, the better it is to know it before."""

from __future__ import annotations

import collections

import pytest

from node import errors
from node.send import fetch, listing, query
from node.wire import classes, command, contexts
from tests import make

KNOWN = sorted(classes.STORAGE)


@pytest.mark.parametrize("count", [0, 1, 2, 5, 20, 63, 126, 179])
def test_they_fit_an_association_and_no_context_is_too_long_for_dcmtk(count: int) -> None:
    made = fetch.proposal(query.Root.STUDY, KNOWN[:count])
    assert len(made) <= contexts.MOST
    assert max(len(one.transfers) for one in made) <= 50
    assert made[0].abstract == "1.2.840.10008.5.1.4.1.2.2.3"
    offered = {one.abstract for one in made[2:]}
    assert offered == set(KNOWN[:126][:count]) if count else offered <= classes.STORAGE


def test_each_class_can_come_in_the_syntaxes_that_archives_hold() -> None:
    for known in ([make.CT], [make.CT, make.MR], KNOWN[:60], KNOWN[:126], []):
        taken = collections.defaultdict(set)
        for one in fetch.proposal(query.Root.STUDY, known):
            taken[one.abstract].update(one.transfers)
        for sop_class in known or [make.CT]:
            assert {make.EXPLICIT, make.IMPLICIT, make.JPEG2000, make.RLE} <= taken[sop_class]


def test_one_class_is_proposed_in_every_syntax_by_itself() -> None:
    made = fetch.proposal(query.Root.STUDY, [make.CT])[2:]
    assert {one.transfers for one in made} == {(uid,) for uid in contexts.TRANSFER_SYNTAXES}


def test_what_the_peer_calls_a_class_is_looked_at_first() -> None:
    made = fetch.proposal(query.Root.STUDY, ["../x", "", make.CT])
    assert {one.abstract for one in made[2:]} == {make.CT}


def test_a_worklist_is_not_retrieved_from() -> None:
    with pytest.raises(errors.UsageError, match="can be queried only"):
        query.Root.WORKLIST.sop_class(command.Field.C_GET)


def test_what_is_missing_is_asked_for_series_by_series_in_shares() -> None:
    listed = {f"1.{n}": listing.Listed("2.1", f"3.{n % 2}", make.CT) for n in range(1000)}
    made = listing.requests(listed, [uid for uid in listed if uid != "1.0"], {"PatientID": "P"})
    assert [len(str(one.fields["SOPInstanceUID"]).split("\\")) for one in made] == [
        200,
        200,
        100,
        200,
        200,
        99,
    ]
    assert {(one.fields["PatientID"], one.fields["StudyInstanceUID"]) for one in made} == {("P", "2.1")}


def test_a_pending_response_without_a_count_leaves_the_total_open() -> None:
    assert fetch.Counts(None, 3, 0, 0).total is None
    assert fetch.Counts(4, 3, 2, 1).total == 10
