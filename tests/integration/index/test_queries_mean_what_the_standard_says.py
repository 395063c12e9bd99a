"""Small random indexes and random queries, against a matcher that was written from the standard alone."""

from __future__ import annotations

import hypothesis
import pytest
import sqlalchemy
from hypothesis import strategies as st

from node import errors, model
from node.dicom import match
from node.index import db, find
from tests import indexed
from tests.integration.index import reference

_NAMES = (
    "", "Smith^John", "SMITH^Joan", "Smithers^W", "Smith", "Müller^Jörg", "Muller^Ann", "Meyer-Smith^Jo",
    "Yamada^Tarou=山田^太郎=やまだ^たろう", "Иванов^Пётр", "^John", "O'Hara^Ed",
)  # fmt: skip
_TEXTS = ("", "A1", "a1", "A10", "A%1", "A[1]", "_A", "A*", "Head plain", "Kopf ü")
_DATES = ("", "20251231", "20260101", "20260102", "20260103")
_TIMES = ("", "00", "0015", "10", "1015", "101530.5", "235959", "2330")
_ZONES = ("", "+0000", "+0900", "-0500", "+0545")

_KEYS = {
    "PN": st.sampled_from((
        "Smith^John", "smith*", "SMITH^*", "Smith^J?hn", "*jo*", "Smith^Jo*", "*^John", "müller*", "山田*",
        "=山田*", "Yamada*=山田^太郎", "Yamada*=鈴木*", "yamada^tarou=*=や*", "иванов^*", "*=*", "^John",
        "Smith^^",
        "Smith^John\\muller*", "O'H*", '""', "*", "?*",
    )),
    "SH": st.sampled_from((
        "A1", "a1", "A*", "?1", "A%*", "A[[]*", "A[*", "_*", "*1*", "A1\\a1", "A1*\\_A", "A\\", "Head*", "*ü",
        '""', "**", "?", "[A]*", "A?1",
    )),
    "UI": st.sampled_from(("1.1", "1.2", "1.1\\1.3", "1.9", "1.1.1", "1.2.1\\1.2.2", "1.1.1.1")),
    "DA": st.sampled_from((
        "20260101", "20260101-", "-20260101", "20260101-20260102", "20260102-20260101", "20260103\\20251231",
        '""', "2026.01.02",
    )),
    "TM": st.sampled_from((
        "10", "1015", "101530", "1000-1015", "-10", "1016-", "101530.5-101530.6", "2300-0100", "00", '""',
        "10:15", "10\\00",
    )),
    "IS": st.sampled_from(("1", "+2", "03", "1\\2", '""', "7")),
    "CS": st.sampled_from(("CT", "MR", "C?", "CT\\PR", "*R", "ct", '""', "ORIGINAL", "PRIM*", "A*Y")),
}  # fmt: skip
_KEYS["LO"] = _KEYS["SH"]
_FUZZY = st.sampled_from(("jo smi", "smi", "MULLER", "Müll", "joh", "山", "петр", "иван петр", "hara", "=太"))

names, texts = st.sampled_from(_NAMES), st.sampled_from(_TEXTS)
dates, times = st.sampled_from(_DATES), st.sampled_from(_TIMES)


@st.composite
def archives(draw: st.DrawFn) -> list[reference.Instance]:
    """Up to five studies of three patients, each of up to two series of up to two instances."""
    found: list[reference.Instance] = []
    patients = {
        f"P{number}": {
            "PatientID": f"P{number}", "PatientName": draw(names), "PatientBirthDate": draw(dates),
            "PatientSex": draw(st.sampled_from(("", "F", "M"))),
            "OtherPatientNames": "\\".join(draw(st.lists(names.filter(bool), max_size=2))),
        }
        for number in range(1, 4)
    }  # fmt: skip
    for study in range(1, draw(st.integers(1, 5)) + 1):
        whole = patients[draw(st.sampled_from(sorted(patients)))] | {
            "StudyInstanceUID": f"1.{study}", "StudyDate": draw(dates), "StudyTime": draw(times),
            "AccessionNumber": draw(texts), "StudyDescription": draw(texts),
            "ReferringPhysicianName": draw(names), "TimezoneOffsetFromUTC": draw(st.sampled_from(_ZONES)),
        }  # fmt: skip
        for series in range(1, draw(st.integers(1, 2)) + 1):
            part = whole | {
                "SeriesInstanceUID": f"1.{study}.{series}",
                "SeriesNumber": draw(st.sampled_from(("", "1", "2"))),
                "Modality": draw(st.sampled_from(("", "CT", "MR", "PR"))),
                "SeriesDate": draw(dates), "SeriesTime": draw(times),
                "OperatorsName": "\\".join(draw(st.lists(names.filter(bool), max_size=2))),
            }  # fmt: skip
            found += [
                part | {
                    "SOPInstanceUID": f"1.{study}.{series}.{number}", "SOPClassUID": f"1.{number}",
                    "InstanceNumber": str(number),
                    "ImageType": draw(st.sampled_from(("", "ORIGINAL\\PRIMARY", "DERIVED\\AXIAL"))),
                }
                for number in range(1, draw(st.integers(1, 2)) + 1)
            ]  # fmt: skip
    return found


@st.composite
def queries(draw: st.DrawFn) -> model.Query:
    """One to four keys, now and then by one of the extended meanings."""
    level = draw(st.sampled_from(list(model.Level)))
    keywords = draw(st.lists(st.sampled_from(sorted(reference.VR)), min_size=1, max_size=4, unique=True))
    fuzzy = draw(st.booleans())
    keys = {}
    for keyword in keywords:
        vr = reference.VR[keyword]
        keys[keyword] = draw(_FUZZY if fuzzy and vr == "PN" else _KEYS[vr])
    timezone = draw(st.sampled_from((None, None, "+0100", "-0800")))
    return model.Query(
        level, keys, fuzzy=fuzzy, combined=draw(st.booleans()), relational=True, timezone=timezone
    )


def take(database: db.Database, archive: list[reference.Instance]) -> None:
    """Put nothing but these instances into the index."""
    with database.write() as connection:
        for table in ("arrival", "instance", "series", "study", "patient"):
            connection.execute(sqlalchemy.text(f"DELETE FROM {table}"))
    indexed.take(database, [item(number, one) for number, one in enumerate(archive)])


def item(number: int, one: reference.Instance) -> object:
    """An acknowledged instance."""
    several = {
        "OtherPatientNames": "other_patient_names",
        "OperatorsName": "operators",
        "ImageType": "image_type",
    }
    numbers = {"SeriesNumber": "series_number", "InstanceNumber": "instance_number"}
    single = {
        "PatientID": "patient_id", "PatientName": "patient_name", "PatientBirthDate": "patient_birth_date",
        "PatientSex": "patient_sex", "StudyDate": "study_date", "StudyTime": "study_time",
        "AccessionNumber": "accession_number", "StudyDescription": "study_description",
        "ReferringPhysicianName": "referring_physician", "TimezoneOffsetFromUTC": "timezone",
        "Modality": "modality", "SeriesDate": "series_date", "SeriesTime": "series_time",
    }  # fmt: skip
    return indexed.item(
        number, study=one["StudyInstanceUID"], series=one["SeriesInstanceUID"],
        sop_instance=one["SOPInstanceUID"], sop_class=one["SOPClassUID"], seconds=number,
        **{field: one[keyword] or None for keyword, field in single.items()},
        **{field: tuple(filter(None, one[keyword].split("\\"))) for keyword, field in several.items()},
        **{field: int(one[keyword]) if one[keyword] else None for keyword, field in numbers.items()},
    )  # fmt: skip


def check(database: db.Database, archive: list[reference.Instance], asked: list[model.Query]) -> None:
    """Every query finds what the reference finds."""
    take(database, archive)
    with database.read() as connection:
        for query in asked:
            try:
                planned = find.plan(query, connection.dialect.name)
            except errors.UsageError as refused:
                if "every instance" not in str(refused):
                    raise
                continue
            keys = {keyword: key for keyword, key in query.keys.items() if keyword not in planned.unknown}
            unique = [
                reference.UID[name] for name in reference.LEVELS[: reference.LEVELS.index(query.level) + 1]
            ]
            if query.level is not model.Level.PATIENT:
                unique.remove("PatientID")
            expected = reference.find(
                archive, query.level, keys, combined=query.combined, fuzzy=query.fuzzy,
                timezone=query.timezone or "",
            )  # fmt: skip
            found = [tuple(one.values[name] for name in unique) for one in find.find(connection, query)]
            assert sorted(found) == sorted(one[-len(unique) :] for one in expected), (query, planned.unknown)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> db.Database:
    return indexed.sqlite(tmp_path_factory.mktemp("small"))


@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(archives(), st.lists(queries(), min_size=8, max_size=8))
def test_on_sqlite(small: db.Database, archive: list[reference.Instance], asked: list[model.Query]) -> None:
    check(small, archive, asked)


@hypothesis.settings(
    max_examples=10, deadline=None, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture]
)
@hypothesis.given(archives(), st.lists(queries(), min_size=8, max_size=8))
def test_on_either_database(
    database: db.Database, archive: list[reference.Instance], asked: list[model.Query]
) -> None:
    check(database, archive, asked)


@hypothesis.settings(max_examples=200, deadline=None)
@hypothesis.given(st.data())
def test_in_memory(data: st.DataObject) -> None:
    vr = data.draw(st.sampled_from(["PN", "LO", "UI", "DA", "TM", "IS", "CS"]))
    held = {"PN": names, "LO": texts, "DA": dates, "TM": times}.get(
        vr,
        st.sampled_from(
            ("", "1.1", "1.3") if vr == "UI" else ("", "1", "2") if vr == "IS" else ("CT", "MR\\PR")
        ),
    )
    fuzzy = vr == "PN" and data.draw(st.booleans())
    key, value = data.draw(_FUZZY if fuzzy else _KEYS[vr]), data.draw(held)
    key = key.replace(".", "") if vr == "DA" else key.replace(":", "")
    assert match.matcher(vr, key, fuzzy=fuzzy)(value) == reference.one_matches(vr, key, value, fuzzy)
