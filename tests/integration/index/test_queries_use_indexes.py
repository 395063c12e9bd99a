"""The statements of the queries that people make: no table is gone through, whatever the database."""

from __future__ import annotations

import re

import pytest
import sqlalchemy
from sqlalchemy.dialects import postgresql, sqlite

from node import errors, model
from node.index import db, find

PATIENT, STUDY, SERIES, IMAGE = model.Level

_STEP = "RequestAttributesSequence.ScheduledProcedureStepID"
ASKED: list[tuple[model.Level, dict[str, str], str]] = [
    (PATIENT, {"PatientID": "P1"}, "ix_patient_patient_id"),
    (PATIENT, {"PatientBirthDate": "19700101"}, "ix_patient_patient_birth_date"),
    (STUDY, {"PatientID": "P1"}, "ix_patient_patient_id"),
    (STUDY, {"PatientID": "P1\\P2"}, "ix_patient_patient_id"),
    (STUDY, {"PatientID": "P*"}, "ix_patient_patient_id"),
    (STUDY, {"PatientName": "SMITH*"}, "ix_patient_name_alphabetic"),
    (STUDY, {"PatientName": "SMITH^*"}, "ix_patient_name_alphabetic"),
    (STUDY, {"PatientName": "山田*"}, "ix_patient_name_ideographic"),
    (STUDY, {"PatientName": "Smith^John"}, "ix_patient_name_alphabetic"),
    (STUDY, {"PatientName": "=山田*"}, "ix_patient_name_ideographic"),
    (STUDY, {"PatientName": "SMITH*", "StudyDate": "20260101"}, "ix_"),
    (STUDY, {"ReferringPhysicianName": "SMITH^*"}, "ix_study_referring_folded"),
    (STUDY, {"StudyDate": "20260101"}, "ix_study_study_date"),
    (STUDY, {"StudyDate": "20260101-20260201"}, "ix_study_study_date"),
    (STUDY, {"StudyDate": "20260101-20260201", "StudyTime": "0800-1200"}, "ix_study_study_date"),
    (STUDY, {"AccessionNumber": "A1"}, "ix_study_accession_number"),
    (STUDY, {"StudyID": "S1*"}, "ix_study_study_id"),
    (STUDY, {"StudyInstanceUID": "1.1"}, "study"),
    (STUDY, {"StudyInstanceUID": "1.1\\1.2"}, "study"),
    (STUDY, {"ModalitiesInStudy": "CT", "StudyDate": "20260101"}, "ix_study_study_date"),
    (STUDY, {"ModalitiesInStudy": "C*", "StudyDate": "20260101", "PatientName": ""}, "ix_study_study_date"),
    (STUDY, {"SeriesInstanceUID": "1.1.1"}, "series"),
    (STUDY, {"SOPInstanceUID": "1.1.1.1"}, "ix_instance_sop_hash"),
    (STUDY, {"PatientID": "P1", "Modality": "CT", "SeriesNumber": "3"}, "ix_series_study_key"),
    (STUDY, {_STEP: "S"}, "ix_series_request_scheduled_step_id"),
    (PATIENT, {"StudyDate": "20260101"}, "ix_study_study_date"),
    (PATIENT, {"PatientID": "P1", "Modality": "CT"}, "ix_series_study_key"),
    (SERIES, {"StudyInstanceUID": "1.1"}, "ix_series_study_key"),
    (SERIES, {"StudyInstanceUID": "1.1", "Modality": "CT", "SOPClassUID": "1.2"}, "ix_series_study_key"),
    (SERIES, {"PatientID": "P1", "Modality": "CT"}, "ix_patient_patient_id"),
    (SERIES, {"PerformedProcedureStepStartDate": "20260101"}, "ix_series_performed_step_start_date"),
    (SERIES, {_STEP: "S"}, "ix_series_request_scheduled_step_id"),
    (SERIES, {"StudyInstanceUID": "1.1", "RequestAttributesSequence.AccessionNumber": "A"}, "series_request"),
    (IMAGE, {"SeriesInstanceUID": "1.1.1", "StudyInstanceUID": "1.1"}, "instance"),
    (IMAGE, {"SOPInstanceUID": "1.1.1.0"}, "ix_instance_sop_hash"),
    (IMAGE, {"PatientID": "P1", "InstanceNumber": "1"}, "instance"),
    (IMAGE, {"StudyDate": "20260101", "SOPClassUID": "1.2"}, "ix_study_study_date"),
]


def steps(database: db.Database, query: model.Query) -> list[str]:
    """What the database would do to answer it."""
    with database.read() as connection:
        planned = find.plan(query, connection.dialect.name)
        statement = planned.statement.limit(100)
        if connection.dialect.name == "sqlite":
            compiled = statement.compile(dialect=sqlite.dialect(), compile_kwargs={"literal_binds": True})
            return [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}")]
        # With a handful of rows it would read them all: whether it could do otherwise is the question.
        connection.execute(sqlalchemy.text("SET LOCAL enable_seqscan = off"))
        compiled = statement.compile(dialect=postgresql.dialect(), compile_kwargs={"literal_binds": True})
        plan = str(compiled).replace("%%", "%").replace("%", "%%")
        return [row[0] for row in connection.exec_driver_sql(f"EXPLAIN {plan}")]


def test_what_people_ask_is_found_through_indexes(database: db.Database) -> None:
    faults = []
    for level, keys, index in ASKED:
        found = steps(database, model.Query(level, keys, ("NumberOfStudyRelatedInstances",), relational=True))
        scans = [step for step in found if re.search(r"^SCAN|Seq Scan", step)]
        if scans or not any(index in step for step in found):
            faults.append((level, keys, index, found))
    assert not faults, "\n".join(map(str, faults))


def test_what_selects_little_reads_no_instances(database: db.Database) -> None:
    asked = [
        (STUDY, {}),
        (SERIES, {"Modality": "CT"}),
        (STUDY, {"Modality": "CT", "SOPClassUID": "1.2"}),
        (STUDY, {"StudyDescription": "*knee*"}),
        (PATIENT, {"PatientName": "*smith*"}),
        (SERIES, {"Rows": "64", "InstanceNumber": "1"}),
    ]
    for level, keys in asked:
        query = model.Query(level, keys, ("NumberOfStudyRelatedInstances",), relational=True)
        found = steps(database, query)
        assert not [step for step in found if re.search(r"\binstance\b|ix_instance|instance_", step)], found


@pytest.mark.parametrize(
    "keys",
    [
        {"Rows": "64"}, {"Modality": "CT"}, {"InstanceNumber": "1", "PatientID": "*1"}, {"StudyTime": "10"},
        {"SOPClassUID": "1.2"}, {"ReferringPhysicianName": "*smith"},
    ],
)  # fmt: skip
def test_what_would_look_at_every_instance_is_refused(keys: dict[str, str]) -> None:
    with pytest.raises(errors.UsageError, match="name a study"):
        find.plan(model.Query(IMAGE, keys, relational=True))
    find.plan(model.Query(IMAGE, keys | {"StudyInstanceUID": "1.2"}, relational=True))
