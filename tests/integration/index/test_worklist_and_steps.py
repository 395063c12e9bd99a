"""The rows of the worklist and of performed steps, on each database."""

from __future__ import annotations

import datetime
import json
import pathlib
import random
from typing import Any

import pytest
import sqlalchemy

from node import errors
from node import worklist as worklists
from node.dicom import identifier, mpps, worklist
from node.files import layout, ledger
from node.index import db, migrate, restore, steps, tables, witness
from node.index import worklist as table
from tests import indexed, stored

_LENGTH = sqlalchemy.func.length(tables.performed_step.c.fields)
LATER = indexed.START + datetime.timedelta(minutes=10)
TIMES = ("0800", "0915", "235959.5")


def _entry(number: int, **changes: Any) -> worklist.Entry:
    step = {
        "Modality": "CT",
        "ScheduledProcedureStepStartDate": changes.pop("date", "20261121"),
        "ScheduledProcedureStepStartTime": changes.pop("time", "0915"),
        "ScheduledProcedureStepID": f"SPS-{number}",
    }
    fields = {
        "PatientName": "Yamada^Tarou=山田^太郎",
        "PatientID": f"SYN-{number}",
        "StudyInstanceUID": f"1.2.{number}",
        worklist.STEP: [step],
        **changes,
    }
    return worklist.checked(fields, f"e-{number}")


def _put(database: db.Database, entry: worklist.Entry, *, new: bool = True) -> bool:
    with database.write() as connection:
        return table.put(connection, entry, by="test", now=indexed.START, new=new)


def test_an_entry_is_written_replaced_and_taken_away(database: db.Database) -> None:
    assert _put(database, _entry(1))
    with pytest.raises(table.Taken, match="there is an entry e-1 already"):
        _put(database, _entry(1))
    assert not _put(database, _entry(1, PatientName="=洪^吉洞"), new=False)
    with database.read() as connection:
        row = table.get(connection, "e-1")
        assert row is not None
        assert row.entry.fields["PatientName"] == "=洪^吉洞"
        assert (row.added, row.changed_by) == (indexed.START, "test")
        assert table.get(connection, "e-2") is None
    with database.write() as connection:
        assert table.remove(connection, "e-1") == row.entry
        assert table.remove(connection, "e-1") is None
        assert table.count(connection) == 0


def test_a_step_is_scheduled_once(database: db.Database) -> None:
    _put(database, _entry(1))
    other = worklist.Entry("other", _entry(1).fields)
    with pytest.raises(table.Taken, match="entry e-1 is about step SPS-1"):
        _put(database, other, new=False)
    assert _put(database, _entry(2))


def test_pages_follow_the_clock(database: db.Database) -> None:
    for number, time in ((1, "1100"), (2, "0900"), (3, "1000")):
        _put(database, _entry(number, time=time))
    with database.read() as connection:
        assert [row.entry.name for row in table.page(connection, limit=2)] == ["e-2", "e-3"]
        assert [row.entry.name for row in table.page(connection, limit=2, offset=2)] == ["e-1"]


def test_what_is_looked_at_holds_all_that_matches(database: db.Database) -> None:
    """What SQL leaves out does not match by the meaning that `dicom.match` gives a query."""
    chosen = random.Random(7)
    entries = []
    for number in range(60):
        entry = _entry(
            number,
            date=chosen.choice(["20261120", "20261121", "20261122"]),
            time=chosen.choice(TIMES),
            PatientID=chosen.choice(["A", " A", "a", "AB", "A*"]),
            AccessionNumber=chosen.choice(["", "1", "1 ", "12"]),
        )
        entries.append(entry)
        _put(database, entry)
    ids = [None, "A", "A ", " A", "A*", "?", "A\\AB", '""', "*"]
    days = [None, "20261121", "20261121-", "-20261121", "20261120-20261121", "*", '""', "20261120\\20261122"]
    queries: list[identifier.Fields] = [
        {
            "PatientID": chosen.choice(ids),
            "AccessionNumber": chosen.choice([None, "1", "1*", '""']),
            worklist.STEP: [
                {
                    "ScheduledProcedureStepStartDate": chosen.choice(days),
                    "ScheduledProcedureStepStartTime": chosen.choice([None, "09", "0800-1000"]),
                }
            ],
        }
        for _ in range(60)
    ]
    found = 0
    with database.read() as connection:
        for query in queries:
            try:
                question = worklist.Question(query)
            except errors.UsageError:  # a combination that no query can have
                continue
            looked_at = table.candidates(connection, query, most=1000)
            matching = [one.name for one in looked_at if question.matches(one)]
            assert sorted(matching) == sorted(one.name for one in entries if question.matches(one)), query
            found += len(matching)
    assert found > 100


def test_what_was_completed_is_not_looked_at_unless_it_is_wanted(database: db.Database) -> None:
    for number in (1, 2, 3):
        _put(database, _entry(number))
    for number, status in ((1, "COMPLETED"), (2, "DISCONTINUED")):
        _create(database, f"1.9.{number}", _begun((f"1.2.{number}", f"SPS-{number}")))
        _change(database, f"1.9.{number}", _made(status=status))
    with database.read() as connection:
        for completed, names in ((True, ["e-1", "e-2", "e-3"]), (False, ["e-2", "e-3"])):
            found = table.candidates(connection, {}, most=9, completed=completed)
            assert [one.name for one in found] == names


def _begun(*orders: tuple[str, str]) -> identifier.Fields:
    items: list[identifier.Fields] = [
        {"StudyInstanceUID": study, "ScheduledProcedureStepID": step_id} for study, step_id in orders
    ]
    return {
        mpps.STATUS: "IN PROGRESS",
        "Modality": "CT",
        "PerformedStationAETitle": "CT1",
        "PatientName": "山田^太郎",
        mpps.SCHEDULED: items,
    }


def _made(*series: tuple[str, int], status: str = "IN PROGRESS") -> identifier.Fields:
    image: identifier.Fields = {"ReferencedSOPInstanceUID": "1.2.3"}
    return {
        mpps.STATUS: status,
        mpps.SERIES: [
            {"SeriesInstanceUID": uid, "ReferencedImageSequence": [image] * count} for uid, count in series
        ],
    }


def _create(
    database: db.Database, uid: str, fields: identifier.Fields, ledgers: witness.Witness | None = None
) -> bool:
    with database.write() as connection:
        return steps.create(
            connection,
            uid,
            fields,
            calling="CT1",
            address="192.0.2.1",
            now=indexed.START,
            ledgers=ledgers,
        )


def _change(
    database: db.Database, uid: str, fields: identifier.Fields, ledgers: witness.Witness | None = None
) -> None:
    with database.write() as connection:
        held = steps.claim(connection, uid)
        assert held is not None
        whole = held.fields | fields
        steps.change(connection, held, whole, now=LATER, ledgers=ledgers)


def test_a_step_says_how_many_instances_its_series_have(database: db.Database) -> None:
    assert _create(database, "1.9.1", _begun(("1.2.1", "SPS-1"), ("1.2.2", "SPS-2")))
    assert not _create(database, "1.9.1", _begun())
    _change(database, "1.9.1", _made(("1.5", 1)))
    with database.read() as connection:
        assert steps.signals(connection, "1.5") == [steps.Signal("1.9.1", steps.State.IN_PROGRESS, None, 1)]
    # A second step adds to the same series, and the first one's last word replaces what it said before.
    _create(database, "1.9.2", _begun(("1.2.1", "SPS-1")))
    _change(database, "1.9.2", _made(("1.5", 2)))
    _change(database, "1.9.1", _made(("1.5", 3), ("1.6", 4), ("1.5", 1), status="COMPLETED"))
    with database.read() as connection:
        assert steps.signals(connection, "1.5") == [
            steps.Signal("1.9.1", steps.State.COMPLETED, LATER, 4),
            steps.Signal("1.9.2", steps.State.IN_PROGRESS, None, 2),
        ]
        assert steps.signals(connection, "1.7") == []
        both = frozenset({steps.State.COMPLETED, steps.State.IN_PROGRESS})
        assert steps.of_studies(connection, ["1.2.1", "1.2.2", "", "1.2.3"]) == {
            ("1.2.1", "SPS-1"): both,
            ("1.2.2", "SPS-2"): frozenset({steps.State.COMPLETED}),
        }
        (first, second) = steps.each(connection)
        assert {first.sop_instance, second.sop_instance} == {"1.9.1", "1.9.2"}
        (running,) = steps.each(connection, state=steps.State.IN_PROGRESS)
        assert (running.sop_instance, running.fields["PatientName"]) == ("1.9.2", "山田^太郎")


def test_a_rebuild_takes_over_what_only_the_index_knew(tmp_path: pathlib.Path) -> None:
    old, new = indexed.sqlite(tmp_path, "old.db"), indexed.sqlite(tmp_path, "new.db")
    _put(old, _entry(1))
    _create(old, "1.9.1", _begun(("1.2.1", "SPS-1")))
    _change(old, "1.9.1", _made(("1.5", 3)))
    restore.carry(old, new)
    for one in (
        tables.worklist_entry,
        tables.performed_step,
        tables.performed_schedule,
        tables.performed_series,
    ):
        assert indexed.rows(new, one) == indexed.rows(old, one) != []
    # Keys go on where they were.
    assert _put(new, _entry(2))
    assert _create(new, "1.9.2", _begun())
    old.close()
    new.close()


def test_the_ledger_alone_makes_both_again(database: db.Database, tmp_path: pathlib.Path) -> None:
    data = stored.data(tmp_path)
    ledgers = witness.Witness(data)
    desk = worklists.Desk(database, ledgers)
    for number in (1, 2, 3):
        desk.put(f"e-{number}", dict(_entry(number).fields), by="test")
    desk.put("e-2", dict(_entry(2, PatientName="=洪^吉洞").fields), by="other")
    desk.remove("e-3", by="test")
    desk.put("again", dict(_entry(3).fields), by="test")
    for uid in ("1.9.1", "1.9.2"):
        _create(database, uid, _begun(("1.2.1", "SPS-1")), ledgers)
    _change(database, "1.9.1", _made(("1.5", 1)), ledgers)
    _change(database, "1.9.1", _made(("1.5", 3), ("1.6", 1), status="DISCONTINUED"), ledgers)
    _change(database, "1.9.2", _made(("1.7", 2000)), ledgers)
    # A transaction that was lost after its line was written, and done again.
    lost = {"step": "1.9.3", "fields": json.dumps(_begun()), "calling": "X", "address": ""}
    ledgers.given("step", **lost, at="2026-11-21T08:00:00.000000")
    _create(database, "1.9.3", _begun(("1.2.2", "SPS-2")), ledgers)

    made = indexed.sqlite(tmp_path, "made.db")
    replays = {"worklist": table.replay, "step": steps.replay}
    with made.write() as connection:
        for fact in ledger.read(data):
            assert isinstance(fact, dict)
            replays[str(fact["kind"]).partition("-")[0]](connection, fact)
    with made.read() as one, database.read() as other:
        ours, theirs = table.page(one, limit=10), table.page(other, limit=10)
        assert ours == theirs
        assert [row.entry.name for row in ours] == ["e-1", "e-2", "again"]
        assert steps.each(one) == steps.each(other)
        assert len(steps.each(one)) == 3
        assert steps.signals(one, "1.5") == steps.signals(other, "1.5") != []
        assert steps.of_studies(one, ["1.2.1"]) == steps.of_studies(other, ["1.2.1"]) != {}
        stored_as = one.execute(sqlalchemy.select(sqlalchemy.func.max(_LENGTH))).scalar_one()
        assert stored_as < 20_000  # of two thousand references, which are some 200,000 characters
    made.close()


def test_entries_that_are_long_over_go(database: db.Database, tmp_path: pathlib.Path) -> None:
    ledgers = witness.Witness(stored.data(tmp_path))
    for number, date in ((1, "20261101"), (2, "20261101"), (3, "20261201"), (4, "20261102")):
        _put(database, _entry(number, date=date))
    before = indexed.START + datetime.timedelta(hours=1)
    with database.write() as connection:  # what was written since stays, however long ago it began
        again = _entry(2, date="20261101")
        table.put(connection, again, by="test", now=before + datetime.timedelta(hours=1), new=False)
        assert table.expire(connection, indexed.START, most=9) == 0
        assert table.expire(connection, before, most=1, ledgers=ledgers) == 1
        assert table.expire(connection, before, most=9, ledgers=ledgers) == 1
        assert [row.entry.name for row in table.page(connection, limit=9)] == ["e-2", "e-3"]
    facts = list(ledger.read(layout.Data(tmp_path)))
    assert facts == [{"kind": "worklist-removed", "names": [name]} for name in ("e-1", "e-4")]


def test_a_rebuild_takes_over_from_an_index_of_before_the_worklist(tmp_path: pathlib.Path) -> None:
    old = db.open(f"sqlite:///{tmp_path / 'old.db'}")
    migrate.run(old, "0001")
    new = indexed.sqlite(tmp_path, "new.db")
    restore.carry(old, new)
    assert indexed.rows(new, tables.worklist_entry) == []
    old.close()
    new.close()
