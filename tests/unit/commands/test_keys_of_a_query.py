"""Keys as people write them become an identifier, or one sentence that says what is wrong."""

from __future__ import annotations

import datetime

import pytest

from node import errors, model
from node.commands import columns, find
from node.send import keys, query

STUDY = model.Level.STUDY
TODAY = datetime.date(2026, 3, 1)


def _parse(*words: str, root: query.Root = query.Root.STUDY, level: model.Level | None = STUDY) -> object:
    return keys.fields(keys.parse(words, root, level, today=TODAY).items())


@pytest.mark.parametrize(
    ("word", "made"),
    [
        ("PatientName=DOE*", {"PatientName": "DOE*"}),
        ("patientname=DOE*", {"PatientName": "DOE*"}),
        ("name=DOE*", {"PatientName": "DOE*"}),
        ("0010,0020=17", {"PatientID": "17"}),
        ("(0010,0020)=17", {"PatientID": "17"}),
        ("00091001=x", {"00091001": "x"}),
        ("StudyDescription", {"StudyDescription": None}),
        ("StudyDescription=", {"StudyDescription": None}),
        ("id=a=b", {"PatientID": "a=b"}),
        ("modality=CT", {"ModalitiesInStudy": "CT"}),
        ("date=today", {"StudyDate": "20260301"}),
        ("date=yesterday", {"StudyDate": "20260228"}),
        ("date=-7d..today", {"StudyDate": "20260222-20260301"}),
        ("date=2026-02-01..", {"StudyDate": "20260201-"}),
        ("date=..-1w", {"StudyDate": "-20260222"}),
        ("date=20260101-20260131", {"StudyDate": "20260101-20260131"}),
        (
            "RequestAttributesSequence.RequestedProcedureID=7",
            {"RequestAttributesSequence": [{"RequestedProcedureID": "7"}]},
        ),
    ],
)
def test_a_key_is_written_in_many_ways(word: str, made: object) -> None:
    assert _parse(word) == made


def test_what_a_short_form_means_depends_on_what_is_asked_for() -> None:
    assert _parse("modality=CT", level=model.Level.SERIES) == {"Modality": "CT"}
    step = {"Modality": "CT", "ScheduledProcedureStepStartDate": "20260301", "ScheduledStationAETitle": "CT1"}
    words = ("modality=CT", "date=today", "ScheduledStationAETitle=CT1", "name=A*")
    assert _parse(*words, root=query.Root.WORKLIST, level=None) == {
        "PatientName": "A*",
        "ScheduledProcedureStepSequence": [step],
    }


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["PatientNam=x"], "there is no element 'PatientNam'; did you mean PatientName?"),
        (["=x"], "'=x' has no name: write KEY=VALUE"),
        (["id=1", "PatientID=2"], "PatientID is given twice"),
        (["date=heute"], "StudyDate=heute: "),
        (["date=2026-02-30"], "'2026-02-30' is not a day"),
        (["PatientName.Modality=x"], "PatientName in 'PatientName.Modality' is no sequence"),
        (["RequestAttributesSequence=x"], "RequestAttributesSequence is a sequence: write"),
        (["study=../../etc"], "StudyInstanceUID=../../etc: "),
    ],
)
def test_a_key_that_cannot_be_is_told_with_the_way_out(words: list[str], says: str) -> None:
    with pytest.raises(errors.UsageError) as caught:
        _parse(*words)
    assert str(caught.value).startswith(says)


@pytest.mark.parametrize(
    ("words", "root", "level"),
    [
        ([], query.Root.STUDY, model.Level.STUDY),
        (["name=A*"], query.Root.STUDY, model.Level.STUDY),
        (["study=1.2"], query.Root.STUDY, model.Level.STUDY),
        (["study=1.2", "series=1.3"], query.Root.STUDY, model.Level.SERIES),
        (["instance=1.4"], query.Root.STUDY, model.Level.IMAGE),
        (["id=7"], query.Root.PATIENT, model.Level.PATIENT),
        (["modality=CT"], query.Root.WORKLIST, None),
    ],
)
def test_the_level_follows_from_the_keys(
    words: list[str], root: query.Root, level: model.Level | None
) -> None:
    assert find.read(words, root, None)[1] is level


def test_a_level_that_the_model_has_not_is_refused() -> None:
    with pytest.raises(errors.UsageError, match="no level patient in the study model: it has study, series"):
        find.read([], query.Root.STUDY, model.Level.PATIENT)
    with pytest.raises(errors.UsageError, match="no level study in the worklist model: it has none"):
        find.read([], query.Root.WORKLIST, model.Level.STUDY)


def test_what_is_always_answered_stands_first_and_takes_the_values() -> None:
    found = keys.parse(["StudyID", "name=A*"], query.Root.PATIENT, STUDY)
    made = columns.with_defaults(found, query.Root.PATIENT, STUDY)
    assert [path for path, _ in made][:2] == [("PatientID",), ("PatientName",)]
    assert [path for path, _ in made][-2:] == [("StudyID",), ("StudyInstanceUID",)]
    assert dict(made)["PatientName",] == "A*"
