"""Verdicts and rows of instances that come once, twice, with other bytes, or by a rule's leave."""

from __future__ import annotations

import dataclasses

import pytest
import sqlalchemy

from node import model
from node.dicom import header
from node.index import audit, db, ingest, tables
from tests import indexed, make

V = model.Verdict


def test_new_ones_are_stored_with_their_study_and_patient(database: db.Database) -> None:
    decided = indexed.take(database, [indexed.item(n, rows=512, study_date="20260102") for n in (1, 2, 3)])
    assert [one.verdict for one in decided] == [V.STORED] * 3
    (patient,) = indexed.rows(database, tables.patient)
    (study,) = indexed.rows(database, tables.study)
    (series,) = indexed.rows(database, tables.series)
    assert patient["name_alphabetic"] == "synthetic^alpha"
    assert (patient["studies"], patient["series"], patient["instances"], patient["bytes"]) == (1, 1, 3, 3000)
    assert (study["study_date"], study["modalities"], study["sop_classes"]) == ("20260102", "CT", make.CT)
    assert (series["instances"], series["frames"], series["bytes"]) == (3, 3, 3000)
    assert [row["sop_instance"] for row in indexed.rows(database, tables.instance)] == [
        "1.2.3.1.1", "1.2.3.1.2", "1.2.3.1.3",
    ]  # fmt: skip


def test_a_header_from_real_bytes_fills_every_level(database: db.Database) -> None:
    made = make.instance(7)
    known = header.attributes(made.data, made.syntax)
    one = indexed.item(7, study=made.study, series=made.series, sop_instance=made.sop_instance, known=known)
    indexed.take(database, [one])
    (series,) = indexed.rows(database, tables.series)
    (request,) = indexed.rows(database, tables.series_request)
    (row,) = indexed.rows(database, tables.instance)
    assert (series["manufacturer"], series["body_part"]) == ("Synthetic Systems", "PHANTOM")
    assert (request["scheduled_step_id"], request["procedure_description"]) == (
        "STEP1",
        "Synthetic procedure",
    )
    assert (row["rows"], row["bits_stored"], row["image_type"]) == (
        known.rows,
        12,
        "ORIGINAL\\PRIMARY\\AXIAL",
    )
    assert row["image_position"] == "-125.0\\-125.0\\17.5"


def test_the_same_batch_again_changes_nothing(database: db.Database) -> None:
    batch = [
        indexed.item(1),
        indexed.item(2),
        indexed.item(3, sop_instance="1.2.3.1.1", content="other"),
        indexed.item(4, sop_instance="1.2.3.1.2"),
        indexed.item(5, action=model.Action.DISCARD, rule="scouts"),
        indexed.item(6, action=model.Action.QUARANTINE, rule="strangers"),
    ]
    first = indexed.take(database, batch)
    before = {table.name: indexed.rows(database, table) for table in tables.metadata.sorted_tables}
    again = indexed.take(database, batch)
    assert [one.verdict for one in first] == [
        V.STORED, V.STORED, V.CONFLICT, V.DUPLICATE, V.DISCARDED, V.QUARANTINED,
    ]  # fmt: skip
    assert [one.verdict for one in again] == [one.verdict for one in first]
    assert all(one.replayed for one in again)
    assert [one.file_due for one in again] == [one.file_due for one in first]
    assert {table.name: indexed.rows(database, table) for table in tables.metadata.sorted_tables} == before


def test_half_a_batch_before_a_crash_and_all_of_it_after(database: db.Database) -> None:
    batch = [indexed.item(n) for n in range(10)]
    indexed.take(database, batch[:4])
    again = indexed.take(database, batch)
    assert [one.replayed for one in again] == [True] * 4 + [False] * 6
    (series,) = indexed.rows(database, tables.series)
    assert series["instances"] == 10
    assert len(indexed.rows(database, tables.arrival)) == 10


def test_other_bytes_leave_the_first_alone_and_are_kept_once(database: db.Database) -> None:
    indexed.take(database, [indexed.item(1)])
    (before,) = indexed.rows(database, tables.instance)
    other = [indexed.item(1, content="other", position=at) for at in (8192, 12288)]
    decided = indexed.take(database, other)
    assert [one.verdict for one in decided] == [V.CONFLICT] * 2
    assert decided[0].held == before["digest"]
    assert indexed.rows(database, tables.instance) == [before]
    (conflict,) = indexed.rows(database, tables.conflict)
    assert conflict["instance_key"] == before["key"]
    assert conflict["digest"] == other[0].arrival.digest


def test_the_same_uid_in_another_series_is_another_instance(database: db.Database) -> None:
    one = indexed.item(1, sop_instance="1.9")
    two = indexed.item(2, sop_instance="1.9", series="1.2.3.2", content="other")
    assert [d.verdict for d in indexed.take(database, [one, two])] == [V.STORED] * 2


def test_a_study_does_not_move_to_another_patient(database: db.Database) -> None:
    indexed.take(database, [indexed.item(1)])
    with database.write() as connection:
        stranger = indexed.item(2, patient_id="SYN-2", patient_name="OTHER")
        decided = [indexed.placed(one) for one in ingest.decide(connection, [stranger])]
        done = ingest.record(connection, decided)
    assert done.mixed_studies == ("1.2.3",)
    (patient,) = indexed.rows(database, tables.patient)
    assert (patient["patient_id"], patient["instances"]) == ("SYN-1", 2)


def test_patients_without_an_id_are_not_merged(database: db.Database) -> None:
    indexed.take(
        database,
        [indexed.item(1, patient_id=None), indexed.item(2, study="1.5", series="1.5.1", patient_id="")],
    )
    assert [row["studies"] for row in indexed.rows(database, tables.patient)] == [1, 1]


def test_a_header_that_could_not_be_read_still_makes_rows(database: db.Database) -> None:
    blank = dataclasses.replace(indexed.item(1), header=None)
    indexed.take(database, [blank])
    (row,) = indexed.rows(database, tables.instance)
    assert (row["sop_instance"], row["frames"]) == ("1.2.3.1.1", 1)


@pytest.mark.parametrize(
    "hostile",
    [
        {"patient_name": "A\0B\ud800^C", "patient_id": "\0", "study_description": "x\0"},
        {"instance_number": 10**40, "rows": -(10**30), "frames": 10**30},
        {"slice_location": float("nan"), "image_position": (float("inf"), 1e308, -0.0)},
        {"frames": 0}, {"frames": -5},
        {"photometric": "\0", "image_type": ("\0", "a\\b")},
        {"references": (header.Reference("\0", "1\0.2", "\ud800", (1, 2)),)},
        {"requests": (header.Request("\0", "", "", "\ud800", "", ""),)},
    ],
)  # fmt: skip
def test_values_that_no_database_holds_do_not_stop_a_batch(
    database: db.Database, hostile: dict[str, object]
) -> None:
    decided = indexed.take(database, [indexed.item(1), indexed.item(2, series="1.8", **hostile)])
    assert [one.verdict for one in decided] == [V.STORED] * 2
    assert all(row["frames"] >= 1 for row in indexed.rows(database, tables.instance))


def test_a_damaged_instance_is_repaired_by_its_duplicate(database: db.Database) -> None:
    indexed.take(database, [indexed.item(1)])
    with database.write() as connection:
        connection.execute(sqlalchemy.update(tables.instance).values(state=model.Held.CORRUPT.value))
    (one,) = indexed.take(database, [indexed.item(1, position=8192)])
    assert one.verdict is V.DUPLICATE
    assert one.repair
    (row,) = indexed.rows(database, tables.instance)
    assert (row["state"], row["path"]) == ("held", one.path)


def test_a_replayed_instance_that_was_removed_on_purpose_gets_no_file(database: db.Database) -> None:
    indexed.take(database, [indexed.item(1)])
    with database.write() as connection:
        from node.index import remove

        (key,) = connection.execute(sqlalchemy.select(tables.instance.c.key)).scalars()
        remove.instances(connection, [key], who="test", why="no more", now=indexed.START)
    (one,) = indexed.take(database, [indexed.item(1)])
    assert (one.replayed, one.gone, one.file_due) == (True, True, False)
    assert indexed.rows(database, tables.instance) == []


def test_a_rule_that_keeps_longer_sets_when_the_series_expires(database: db.Database) -> None:
    indexed.take(
        database, [indexed.item(1, rule="teaching", keep=3600), indexed.item(2, seconds=60, keep=3600)]
    )
    (series,) = indexed.rows(database, tables.series)
    assert series["expires"] == "2026-11-21T09:01:00.000000"


def test_every_arrival_is_accounted_for(database: db.Database) -> None:
    indexed.take(
        database,
        [
            indexed.item(1), indexed.item(2, sop_instance="1.2.3.1.1"),
            indexed.item(3, sop_instance="1.2.3.1.1", content="other"),
            indexed.item(4, action=model.Action.DISCARD, rule="scouts"),
            indexed.item(5, action=model.Action.QUARANTINE, rule="strangers"),
        ],
    )  # fmt: skip
    with database.read() as connection:
        assert list(audit.unaccounted(connection)) == []
        assert audit.counts(connection) == dict.fromkeys(
            ("stored", "duplicate", "conflict", "discarded", "quarantined"), 1
        )


@pytest.mark.parametrize(
    ("statement", "missing"),
    [
        ("DELETE FROM instance", ["stored", "duplicate"]),
        ("UPDATE instance SET digest = 'sha256:00'", ["stored", "duplicate"]),
        ("UPDATE instance SET state = 'missing'", ["stored", "duplicate"]),
        ("UPDATE instance SET sop_instance = '1'", ["stored", "duplicate"]),
        ("DELETE FROM conflict", ["conflict"]),
        ("DELETE FROM quarantine", ["quarantined"]),
        ("UPDATE arrival SET rule = '' WHERE verdict = 'discarded'", ["discarded"]),
        ("UPDATE arrival SET verdict = 'eaten' WHERE verdict = 'discarded'", ["eaten"]),
    ],
)
def test_what_is_lost_is_listed(database: db.Database, statement: str, missing: list[str]) -> None:
    test_every_arrival_is_accounted_for(database)
    with database.write() as connection:
        connection.execute(sqlalchemy.text(statement))
    with database.read() as connection:
        assert [one.verdict for one in audit.unaccounted(connection)] == missing
