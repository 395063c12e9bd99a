"""Conflicts and quarantine are found by any of their UIDs, with what is held beside them."""

from __future__ import annotations

from node import model
from node.index import aside, db
from tests import indexed


def test_entries_know_what_is_held_under_their_uids(database: db.Database) -> None:
    first = indexed.item(1)
    uid = first.arrival.identity.sop_instance
    other = indexed.item(2, sop_instance=uid, content="other")
    odd = [indexed.item(n, action=model.Action.QUARANTINE, rule="r") for n in (3, 4)]
    indexed.take(database, [first, other, *odd])
    with database.read() as connection:
        assert aside.counts(connection) == {aside.Kind.CONFLICT: 1, aside.Kind.QUARANTINE: 2}
        (beside,) = aside.each(connection, aside.Kind.CONFLICT)
        assert (beside.sop_instance, beside.digest) == (uid, other.arrival.digest)
        assert beside.held == first.arrival.digest
        assert (beside.rule, beside.reason) == ("", "")
        away = aside.each(connection, aside.Kind.QUARANTINE)
        assert [(one.held, one.rule, one.reason) for one in away] == [(None, "r", "because")] * 2
        assert aside.each(connection, aside.Kind.QUARANTINE, after=away[0].key) == away[1:]
        assert aside.each(connection, aside.Kind.QUARANTINE, limit=1) == away[:1]
        for name in (beside.series, beside.study):
            assert aside.named(connection, name) == [beside, *away]
        assert aside.named(connection, uid) == [beside]
        assert aside.named(connection, beside.series, beside.digest[:20]) == [beside]
        assert aside.named(connection, uid, "sha256:%") == []
        assert aside.named(connection, "1.2.3.999") == []
