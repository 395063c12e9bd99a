"""What may be said of a performed procedure step, and when (PS3.4 F.7.2)."""

from __future__ import annotations

import pytest
from pydicom.dataset import Dataset

from node.dicom import identifier, mpps
from tests import make, reports

ENDS = ("COMPLETED", "DISCONTINUED")


def _fields(dataset: Dataset) -> identifier.Fields:
    return identifier.decode(reports.written(dataset), make.IMPLICIT)


def _begun(**changes: object) -> identifier.Fields:
    return _fields(reports.begun(**changes))


def test_a_step_in_progress_is_created_as_it_was_said() -> None:
    kept = mpps.create(_begun())
    assert kept == _begun()
    assert mpps.state_of(kept) is mpps.State.IN_PROGRESS


@pytest.mark.parametrize("status", [*ENDS, "SCHEDULED", "in progress"])
def test_a_step_begins_in_progress(status: str) -> None:
    with pytest.raises(mpps.Refused) as refused:
        mpps.create(_begun(PerformedProcedureStepStatus=status))
    assert refused.value.fault is mpps.Fault.INVALID
    assert refused.value.keys == ("PerformedProcedureStepStatus",)


MANDATORY = [
    "ScheduledStepAttributesSequence",
    "PerformedProcedureStepID",
    "PerformedStationAETitle",
    "PerformedProcedureStepStartDate",
    "PerformedProcedureStepStartTime",
    "PerformedProcedureStepStatus",
    "Modality",
]


@pytest.mark.parametrize("keyword", MANDATORY)
@pytest.mark.parametrize(("to", "fault"), [(None, mpps.Fault.MISSING), (..., mpps.Fault.EMPTY)])
def test_what_a_creation_must_say(keyword: str, to: object, fault: mpps.Fault) -> None:
    empty = [] if keyword.endswith("Sequence") and to is ... else to
    with pytest.raises(mpps.Refused) as refused:
        mpps.create(_begun(**{keyword: empty}))
    assert (refused.value.fault, refused.value.keys) == (fault, (keyword,))


def test_each_scheduled_step_names_its_study() -> None:
    asked = reports.begun()
    del asked.ScheduledStepAttributesSequence[0].StudyInstanceUID
    with pytest.raises(mpps.Refused, match="StudyInstanceUID missing in an item") as refused:
        mpps.create(_fields(asked))
    assert refused.value.keys == ("ScheduledStepAttributesSequence",)


@pytest.mark.parametrize(
    "keyword", ["PatientName", "ReferencedPatientSequence", "PerformedLocation", "PerformedSeriesSequence"]
)
def test_what_need_not_have_a_value_may_be_absent(keyword: str) -> None:
    assert keyword not in mpps.create(_begun(**{keyword: None}))


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("PerformedProcedureStepStartDate", "20261301"),
        ("PerformedProcedureStepStartDate", "today"),
        ("PerformedProcedureStepStartTime", "2560"),
        ("PerformedProcedureStepEndDate", "20260230"),
    ],
)
def test_dates_and_times_are_some(keyword: str, value: str) -> None:
    fields = _begun() | {keyword: value}
    with pytest.raises(mpps.Refused) as refused:
        mpps.create(fields)
    assert (refused.value.fault, refused.value.keys) == (mpps.Fault.INVALID, (keyword,))


@pytest.mark.parametrize(
    ("keyword", "value"), [("PerformedSeriesSequence", "text"), ("Modality", [{"Modality": "CT"}])]
)
def test_a_sequence_is_no_text_and_text_no_sequence(keyword: str, value: identifier.Value) -> None:
    with pytest.raises(mpps.Refused) as refused:
        mpps.create(_begun() | {keyword: value})
    assert refused.value.fault is mpps.Fault.INVALID


def test_private_elements_are_not_kept() -> None:
    assert mpps.create(_begun() | {"00091001": "private", "00090010": "MAKER"}) == _begun()


@pytest.mark.parametrize("status", ENDS)
def test_a_step_ends_with_all_that_it_made(status: str) -> None:
    held = mpps.create(_begun())
    now = mpps.change(held, _fields(reports.ended(status=status)))
    assert mpps.state_of(now) == status
    assert now["PatientName"] == held["PatientName"]
    assert now["PerformedProcedureStepEndTime"] == "092500"
    assert held == _begun()  # what was held is not touched


@pytest.mark.parametrize("status", ENDS)
@pytest.mark.parametrize(
    "keyword",
    ["PerformedProcedureStepEndDate", "PerformedProcedureStepEndTime", "PerformedSeriesSequence"],
)
def test_what_the_end_must_say(status: str, keyword: str) -> None:
    for to, fault in ((None, mpps.Fault.MISSING), (..., mpps.Fault.EMPTY)):
        value: object = [] if to is ... and keyword.endswith("Sequence") else to
        # What was said empty at the beginning is there, and has no value.
        held = mpps.create(_begun(**{keyword: None}) if to is None else _begun())
        with pytest.raises(mpps.Refused) as refused:
            mpps.change(held, _fields(reports.ended(status=status, **{keyword: value})))
        assert (refused.value.fault, refused.value.keys) == (fault, (keyword,))


@pytest.mark.parametrize("keyword", ["ProtocolName", "SeriesInstanceUID"])
def test_at_the_end_each_series_has_a_name(keyword: str) -> None:
    asked = reports.ended()
    del asked.PerformedSeriesSequence[0][keyword]
    with pytest.raises(mpps.Refused) as refused:
        mpps.change(mpps.create(_begun()), _fields(asked))
    assert (refused.value.fault, refused.value.keys) == (mpps.Fault.MISSING, ("PerformedSeriesSequence",))


def test_while_it_goes_on_a_series_may_be_named_before_its_images() -> None:
    asked = Dataset()
    asked.PerformedSeriesSequence = [Dataset()]
    asked.PerformedSeriesSequence[0].SeriesInstanceUID = "1.2.3.1"
    now = mpps.change(mpps.create(_begun()), _fields(asked))
    assert mpps.state_of(now) is mpps.State.IN_PROGRESS


@pytest.mark.parametrize("first", ENDS)
@pytest.mark.parametrize("then", [*ENDS, "IN PROGRESS"])
def test_an_ended_step_is_not_changed_any_more(first: str, then: str) -> None:
    held = mpps.change(mpps.create(_begun()), _fields(reports.ended(status=first)))
    with pytest.raises(mpps.Refused, match="may no longer be updated") as refused:
        mpps.change(held, _fields(reports.ended(status=then)))
    assert refused.value.fault is mpps.Fault.ENDED


def test_what_is_fixed_may_be_repeated_and_not_changed() -> None:
    held = mpps.create(_begun())
    same = reports.ended(PatientName="SYNTHETIC^ALPHA", Modality="CT", ReferencedPatientSequence=[])
    assert mpps.change(held, _fields(same))["PatientName"] == "SYNTHETIC^ALPHA"
    with pytest.raises(mpps.Refused) as refused:
        mpps.change(held, _fields(reports.ended(PatientName="SYNTHETIC^BETA", Modality="MR")))
    assert refused.value.fault is mpps.Fault.INVALID
    assert refused.value.keys == ("Modality", "PatientName")
    assert "BETA" not in str(refused.value)  # the sentence goes to the log


@pytest.mark.parametrize("status", ["", "FINISHED"])
def test_a_status_is_one_that_there_is(status: str) -> None:
    with pytest.raises(mpps.Refused) as refused:
        mpps.change(mpps.create(_begun()), _fields(reports.ended(status=status)))
    assert refused.value.fault is (mpps.Fault.INVALID if status else mpps.Fault.EMPTY)


def test_what_a_series_refers_to_has_names() -> None:
    asked = reports.ended()
    image = asked.PerformedSeriesSequence[0].ReferencedImageSequence[0]
    reports.changed(image, ReferencedSOPInstanceUID="../etc")
    with pytest.raises(mpps.Refused) as refused:
        mpps.change(mpps.create(_begun()), _fields(asked))
    assert refused.value.fault is mpps.Fault.INVALID
