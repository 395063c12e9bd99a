"""Queries at each level, key by key."""

from __future__ import annotations

import pytest

from node import errors, model
from node.dicom import header
from node.index import db, find
from tests import indexed, make

STUDY, SERIES, IMAGE, PATIENT = model.Level.STUDY, model.Level.SERIES, model.Level.IMAGE, model.Level.PATIENT

# study, patient id, name, date, time, accession, description, modality
STUDIES = [
    ("1.1", "P1", "Smith^John", "20260101", "080000", "A1", "Head [plain]", "CT"),
    ("1.2", "P1", "Smith^John", "20260102", "1015", "A2", "Head * contrast", "MR"),
    ("1.3", "p2", "SMITH^JOAN", "20260102", "101530.5", "A10", "head", "CT"),
    ("1.4", "P3", "Smithers^W", "20251231", "235959", "B1", "100%_knee", "CR"),
    ("1.5", "P4", "Yamada^Tarou=山田^太郎=やまだ^たろう", None, None, None, None, "CT"),
    ("1.6", "P5", "Müller^Jörg", "20260103", "10", "A1", "Abdomen", None),
    ("1.7", None, None, "20260104", "000000", "", "", "CT"),
    ("1.8", "P6", "", "20260102", "10", "C1", "Head", "CT"),
]  # fmt: skip


@pytest.fixture
def filled(database: db.Database) -> db.Database:
    """Eight studies of one series and one instance each; the second has a presentation state too."""
    request = header.Request("STEP1", "scan", "PROC1", "CT head", "A1", "1.1")
    other = header.Request("STEP2", "scan", "PROC2", "CT neck", "A1", "1.1")
    for number, (uid, patient, name, date, time, accession, description, modality) in enumerate(STUDIES):
        indexed.take(
            database,
            [
                indexed.item(
                    number, study=uid, series=f"{uid}.1", patient_id=patient, patient_name=name,
                    study_date=date, study_time=time, accession_number=accession,
                    study_description=description,
                    modality=modality, requests=(request, other) if number == 0 else (),
                    image_type=("ORIGINAL", "PRIMARY") if number % 2 else ("DERIVED", "SECONDARY"),
                )
            ],
        )  # fmt: skip
    indexed.take(database, [indexed.item(50, study="1.2", series="1.2.9", patient_id="P1", modality="PR")])
    return database


def ask(database: db.Database, level: model.Level, **more: object) -> list[dict[str, object]]:
    keys = {name.replace("__", "."): value for name, value in more.items()}
    with database.read() as connection:
        return [one.values for one in find.find(connection, model.Query(level, keys))]  # type: ignore[arg-type]


def studies(database: db.Database, **keys: object) -> list[object]:
    return [values["StudyInstanceUID"] for values in ask(database, STUDY, **keys)]


ASKED: list[tuple[dict[str, str], list[str]]] = [
    ({}, ["1.1", "1.2", "1.3", "1.4", "1.5", "1.6", "1.7", "1.8"]),
    ({"PatientID": "P1"}, ["1.1", "1.2"]),
    ({"PatientID": "p1"}, []),
    ({"PatientID": "P?"}, ["1.1", "1.2", "1.4", "1.5", "1.6", "1.8"]),
    ({"PatientName": "smith*"}, ["1.1", "1.2", "1.3", "1.4"]),
    ({"PatientName": "SMITH^JO*"}, ["1.1", "1.2", "1.3"]),
    ({"PatientName": "Smith^John"}, ["1.1", "1.2"]),
    ({"PatientName": "Smith^John^^^"}, ["1.1", "1.2"]),
    ({"PatientName": "*john"}, ["1.1", "1.2"]),
    ({"PatientName": "山田*"}, ["1.5"]),
    ({"PatientName": "=山田*"}, ["1.5"]),
    ({"PatientName": "Yamada*=山田*=や*"}, ["1.5"]),
    ({"PatientName": "Yamada*=鈴木*"}, []),
    ({"PatientName": "MÜLLER*"}, ["1.6"]),
    ({"PatientName": "*"}, ["1.1", "1.2", "1.3", "1.4", "1.5", "1.6", "1.7", "1.8"]),
    ({"StudyDate": "20260102"}, ["1.2", "1.3", "1.8"]),
    ({"StudyDate": "2026.01.02"}, ["1.2", "1.3", "1.8"]),
    ({"StudyDate": "20260102-"}, ["1.2", "1.3", "1.6", "1.7", "1.8"]),
    ({"StudyDate": "-20260101"}, ["1.1", "1.4"]),
    ({"StudyDate": "20260101-20260102"}, ["1.1", "1.2", "1.3", "1.8"]),
    ({"StudyTime": "1015"}, ["1.2", "1.3"]),
    ({"StudyTime": "101500-101530.5"}, ["1.2", "1.3"]),
    ({"StudyTime": "1000-1015"}, ["1.2", "1.3", "1.6", "1.8"]),
    ({"StudyTime": "-0800"}, ["1.1", "1.7"]),
    ({"StudyTime": "2359-"}, ["1.4"]),
    ({"StudyInstanceUID": "1.1\\1.4\\9"}, ["1.1", "1.4"]),
    ({"AccessionNumber": "A1"}, ["1.1", "1.6"]),
    ({"AccessionNumber": "A1*"}, ["1.1", "1.3", "1.6"]),
    ({"AccessionNumber": "?1"}, ["1.1", "1.4", "1.6", "1.8"]),
    ({"StudyDescription": "Head [[]plain]"}, []),
    ({"StudyDescription": "Head [plain]"}, ["1.1"]),
    ({"StudyDescription": "Head [*"}, ["1.1"]),
    ({"StudyDescription": "100%*"}, ["1.4"]),
    ({"StudyDescription": "1*%_k*"}, ["1.4"]),
    ({"StudyDescription": "Head*"}, ["1.1", "1.2", "1.8"]),
    ({"ModalitiesInStudy": "PR"}, ["1.2"]),
    ({"ModalitiesInStudy": "PR\\CR"}, ["1.2", "1.4"]),
    ({"ModalitiesInStudy": "?R"}, ["1.2", "1.4"]),
    ({"ModalitiesInStudy": "C*R"}, ["1.4"]),
    ({"SOPClassesInStudy": make.MR}, []),
    ({"PatientID": "P1", "StudyDate": "20260102"}, ["1.2"]),
    ({"PatientID": "P1", "OtherPatientNames": "*=*", "ReferringPhysicianName": "*=*"}, ["1.1", "1.2"]),
    ({"Rows": "64"}, ["1.1", "1.2", "1.3", "1.4", "1.5", "1.6", "1.7", "1.8"]),
]


def test_studies(filled: db.Database) -> None:
    """All in one: a database of its own for each would take longer than all the queries."""
    found = [(keys, studies(filled, **keys)) for keys, _ in ASKED]
    assert found == ASKED


def test_a_date_and_a_time_range_that_are_one_range_of_moments(filled: db.Database) -> None:
    keys = {"StudyDate": "20260101-20260102", "StudyTime": "0900-1015"}
    assert studies(filled, **keys) == ["1.2", "1.3", "1.8"]
    with filled.read() as connection:
        found = list(
            find.find(connection, model.Query(STUDY, keys | {"StudyTime": "0700-1005"}, combined=True))
        )
    assert [one.values["StudyInstanceUID"] for one in found] == ["1.1", "1.8"]


def test_names_by_the_beginnings_of_their_words(filled: db.Database) -> None:
    with filled.read() as connection:
        found = list(find.find(connection, model.Query(STUDY, {"PatientName": "jo smi"}, fuzzy=True)))
    assert [one.values["StudyInstanceUID"] for one in found] == ["1.1", "1.2", "1.3"]


def test_counters_answer_what_would_need_a_scan(filled: db.Database) -> None:
    (answer,) = ask(
        filled, STUDY, StudyInstanceUID="1.2", ModalitiesInStudy="", NumberOfStudyRelatedSeries="",
        NumberOfStudyRelatedInstances="", SOPClassesInStudy="", NumberOfPatientRelatedStudies="",
    )  # fmt: skip
    assert answer == {
        "StudyInstanceUID": "1.2", "ModalitiesInStudy": "MR\\PR", "NumberOfStudyRelatedSeries": "2",
        "NumberOfStudyRelatedInstances": "2", "SOPClassesInStudy": make.CT,
        "NumberOfPatientRelatedStudies": "2",
    }  # fmt: skip


def test_keys_of_a_sequence_match_within_one_item(filled: db.Database) -> None:
    step, procedure = (
        "RequestAttributesSequence__ScheduledProcedureStepID",
        "RequestAttributesSequence__RequestedProcedureID",
    )
    assert [one["SeriesInstanceUID"] for one in ask(filled, SERIES, **{step: "STEP1"})] == ["1.1.1"]
    assert ask(filled, SERIES, **{step: "STEP1", procedure: "PROC2"}) == []
    (answer,) = ask(filled, SERIES, **{step: "STEP2", procedure: "PROC2"})
    assert answer["RequestAttributesSequence"] == [
        {"ScheduledProcedureStepID": "STEP1", "RequestedProcedureID": "PROC1"},
        {"ScheduledProcedureStepID": "STEP2", "RequestedProcedureID": "PROC2"},
    ]


def test_instances_by_keys_of_every_level(filled: db.Database) -> None:
    answers = ask(filled, IMAGE, PatientID="P1", Modality="PR", SOPClassUID=make.CT, InstanceNumber="50")
    assert [one["SOPInstanceUID"] for one in answers] == ["1.2.9.50"]
    assert ask(filled, IMAGE, ImageType="DERIVED", PatientID="P3") == []
    assert len(ask(filled, IMAGE, ImageType="PRIM*", PatientID="P3")) == 1
    assert ask(filled, IMAGE, ImageType="ORIG*ARY", PatientID="P3") == []


def test_patients(filled: db.Database) -> None:
    answers = ask(filled, PATIENT, PatientName="smith^*", NumberOfPatientRelatedStudies="")
    assert [(one["PatientID"], one["NumberOfPatientRelatedStudies"]) for one in answers] == [
        ("P1", "2"),
        ("p2", "1"),
    ]


@pytest.mark.parametrize("keys", [{}, {"ModalitiesInStudy": "C*"}, {"StudyDate": "20250101-"}])
def test_pages_follow_one_another(
    filled: db.Database, keys: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with filled.read() as connection:
        at_once = [one.key for one in find.find(connection, model.Query(STUDY, keys))]
        monkeypatch.setattr(find, "_SORTED", 2)
        whole = [one.key for one in find.find(connection, model.Query(STUDY, keys))]
        pages = [
            one.key
            for offset in range(0, 10, 3)
            for one in find.find(connection, model.Query(STUDY, keys, limit=3, offset=offset))
        ]
    assert pages == whole == at_once
    assert len(whole) > 3


def test_keys_that_the_index_does_not_answer_are_named() -> None:
    query = model.Query(
        STUDY, {"PatientName": "", "Rows": "64", "RadiopharmaceuticalVolume": ""}, ("StudyDate",)
    )
    planned = find.plan(query)
    assert planned.unknown == ("Rows", "RadiopharmaceuticalVolume")
    assert planned.keywords == ("StudyInstanceUID", "PatientName", "StudyDate")


@pytest.mark.parametrize(
    "keys",
    [
        {"StudyDate": "yesterday"}, {"StudyDate": "2026"}, {"StudyTime": "25"}, {"StudyDate": "20260101-x"},
        {"StudyInstanceUID": "\\".join(["1"] * 6000)},
    ],
)  # fmt: skip
def test_values_that_cannot_be_are_refused(keys: dict[str, str]) -> None:
    with pytest.raises(errors.UsageError):
        find.plan(model.Query(STUDY, keys))


@pytest.mark.parametrize("value", ["1e3", "x", "9" * 30])
def test_numbers_that_cannot_be_are_refused(value: str) -> None:
    with pytest.raises(errors.UsageError):
        find.plan(model.Query(IMAGE, {"InstanceNumber": value}))


def test_keys_of_a_sequence_at_the_level_below_and_above(filled: db.Database) -> None:
    step = "RequestAttributesSequence.ScheduledProcedureStepID"
    with filled.read() as connection:
        for level, expected in ((IMAGE, "1.1.1.0"), (SERIES, "1.1.1"), (STUDY, "1.1"), (PATIENT, "P1")):
            query = model.Query(level, {step: "STEP2"}, relational=True)
            (found,) = find.find(connection, query)
            assert expected in found.values.values()
        assert find.plan(model.Query(STUDY, {step: "STEP2"})).unknown == (step,)


def test_keys_of_lower_levels_narrow_where_queries_are_relational(filled: db.Database) -> None:
    def found(level: model.Level, **keys: str) -> list[object]:
        query = model.Query(level, keys, relational=True)
        with filled.read() as connection:
            assert set(find.plan(query).below) == {
                one for one in keys if one not in ("PatientID", "PatientName")
            }
            key = "PatientID" if level is PATIENT else "StudyInstanceUID"
            return [one.values[key] for one in find.find(connection, query)]

    assert found(STUDY, Modality="PR") == ["1.2"]
    assert found(STUDY, SOPInstanceUID="1.2.9.50") == ["1.2"]
    assert found(STUDY, SOPInstanceUID="1.2.9.50", Modality="MR") == []  # not in the same series
    assert found(PATIENT, StudyDate="20260102", Modality="MR") == ["P1"]
    assert found(PATIENT, StudyDate="20260101", Modality="MR") == []  # not in the same study
    assert found(PATIENT, PatientName="smith*", Modality="CT") == ["P1", "p2"]
    assert found(STUDY, SOPClassUID=make.MR) == []


def test_what_of_lower_levels_is_left_to_the_stored_header() -> None:
    keys = {"InstanceNumber": "1", "OperatorsName": "x*", "Modality": "*", "StudyTime": "10"}
    planned = find.plan(model.Query(PATIENT, keys, relational=True, timezone="+0100"))
    assert planned.unknown == ("InstanceNumber", "OperatorsName", "Modality", "StudyTime")
    planned = find.plan(model.Query(STUDY, {"TimezoneOffsetFromUTC": "+0100", "SpecificCharacterSet": ""}))
    assert planned.unmatched == ("TimezoneOffsetFromUTC",)


def test_dates_and_times_in_the_zone_of_who_asks(database: db.Database) -> None:
    for number, (date, time, zone) in enumerate(
        [("20260101", "2330", "+0000"), ("20260102", "0015", "+0100"), ("20260102", "0015", None)]
    ):
        uid = f"1.{number}"
        indexed.take(
            database,
            [
                indexed.item(
                    number, study=uid, series=f"{uid}.1", study_date=date, study_time=time, timezone=zone
                )
            ],
        )

    def found(zone: str | None, combined: bool = False, **keys: str) -> list[object]:
        query = model.Query(STUDY, keys, timezone=zone, combined=combined)
        with database.read() as connection:
            return [one.values["StudyInstanceUID"] for one in find.find(connection, query)]

    assert found(None, StudyDate="20260102") == ["1.1", "1.2"]
    assert found("+0100", StudyDate="20260102") == ["1.0", "1.1", "1.2"]
    assert found("+0000", StudyDate="20260101") == ["1.0", "1.1"]
    assert found("+0000", StudyTime="2300-") == ["1.0", "1.1"]
    assert found("-0500", StudyDate="20260101", StudyTime="18-19") == ["1.0", "1.1"]
    assert found("+0100", True, StudyDate="20260102-", StudyTime="0020-") == ["1.0"]
    with pytest.raises(errors.UsageError, match="no offset"):
        found("CET", StudyDate="20260101")


def test_numbers_are_answered_as_dicom_writes_them(database: db.Database) -> None:
    item = indexed.item(
        1, patient_size=1.75, patient_weight=70.0, slice_location=-0.12345678901234, series_number=3,
        image_position=(-125.0, 1e-7, 2.5), pixel_spacing=(0.5, 0.5),
    )  # fmt: skip
    indexed.take(database, [item])
    wanted = (
        "PatientSize", "PatientWeight", "SliceLocation", "SeriesNumber", "ImagePositionPatient",
        "TriggerTime",
    )  # fmt: skip
    query = model.Query(
        IMAGE, {"PatientWeight": "70.00", "PixelSpacing": ".50", "PatientID": "SYN-1"}, wanted
    )
    with database.read() as connection:
        (found,) = find.find(connection, query)
    shown = [found.values[keyword] for keyword in wanted]
    assert shown == ["1.75", "70", "-0.1234567890123", "3", "-125\\1e-07\\2.5", None]
    assert all(len(one) <= 16 for one in str(shown[2]).split("\\"))


def test_answers_on_several_pages_have_their_own_items(
    database: db.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(find, "_PAGE", 4)
    items = [
        indexed.item(
            number, study=f"1.{number}", series=f"1.{number}.1", seconds=number,
            requests=(header.Request(f"STEP{number}", "", "", "", "", ""),),
        )
        for number in range(10)
    ]  # fmt: skip
    indexed.take(database, items)
    asked = ask(database, SERIES, RequestAttributesSequence__ScheduledProcedureStepID="")
    assert [one["RequestAttributesSequence"] for one in asked] == [
        [{"ScheduledProcedureStepID": f"STEP{number}"}] for number in range(10)
    ]


_HOSTILE = [
    {"PatientName": "\\".join(["smith" + "^*" * 30] * 50)},
    {"PatientName": "a" * 4000 + "*"},
    {"PatientName": "*a" * 2000},
    {"PatientName": " ".join(["äöü" * 1000] * 100)},
    {"ReferringPhysicianName": "[]^-" * 900 + "*"},
    {"OtherPatientNames": "\\".join(["x*"] * 50)},
    {"ModalitiesInStudy": "\\".join(["[*"] * 50)},
    {"StudyDate": "\\".join(["20260101-"] * 50), "StudyTime": "\\".join(["10-"] * 50)},
    {"AccessionNumber": "\\".join(f"A{number}" for number in range(5000))},
    {"StudyDescription": "'; DROP TABLE study; --*%_"},
    {"StudyDescription": "\U0010ffff*"},
]


@pytest.mark.parametrize("fuzzy", [False, True])
def test_keys_that_are_made_to_hurt_are_answered(filled: db.Database, fuzzy: bool) -> None:
    with filled.read() as connection:
        for keys in _HOSTILE:
            for level in (STUDY, IMAGE):
                query = model.Query(level, keys | {"StudyInstanceUID": "1.1"}, fuzzy=fuzzy)
                list(find.find(connection, query))
    assert len(studies(filled)) == len(STUDIES)


@pytest.mark.parametrize(
    "keys",
    [
        {"PatientID": "a\0b"}, {"PatientName": "\ud800*"}, {"PatientName": "\\".join(["a*"] * 51)},
        {"ModalitiesInStudy": "\\".join(["CT"] * 51)}, {"PatientID": "*a" * 3000},
        {"NumberOfStudyRelatedInstances": "\\".join(["1"] * 5001)},
    ],
)  # fmt: skip
def test_keys_that_no_database_takes_are_refused(keys: dict[str, str]) -> None:
    with pytest.raises(errors.UsageError, match=next(iter(keys))):
        find.plan(model.Query(STUDY, keys))
