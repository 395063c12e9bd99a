"""Which unique keys make a retrieval, and which could mean more or less than they say."""

from __future__ import annotations

import pytest

from node import errors, model, retrieve

PATIENT, STUDY, IMAGE = model.Level.PATIENT, model.Level.STUDY, model.Level.IMAGE


def _query(level: str, relational: bool = False, top: model.Level = STUDY, **keys: str) -> dict[str, str]:
    names = {"patient": "PatientID", "study": "StudyInstanceUID", "series": "SeriesInstanceUID"}
    given = {names.get(name, "SOPInstanceUID"): value for name, value in keys.items()}
    found = retrieve.query(level, given, top=top, relational=relational)
    assert found.level == level
    return dict(found.keys)


def test_lists_at_the_level_and_single_values_above_it() -> None:
    assert _query("STUDY", study="1.2\\1.3") == {"StudyInstanceUID": "1.2\\1.3"}
    assert _query("IMAGE", study="1.2", series="1.2.3", sop="1.2.3.4\\1.2.3.5") == {
        "StudyInstanceUID": "1.2",
        "SeriesInstanceUID": "1.2.3",
        "SOPInstanceUID": "1.2.3.4\\1.2.3.5",
    }
    with pytest.raises(errors.UsageError, match="StudyInstanceUID has 2 values"):
        _query("SERIES", study="1.2\\1.3", series="1.2.3")


def test_padding_and_empty_values_of_a_list_say_nothing() -> None:
    assert _query("STUDY", study="1.2\0\\ 1.3 \\") == {"StudyInstanceUID": "1.2\\1.3"}
    with pytest.raises(errors.UsageError, match="there is no StudyInstanceUID"):
        _query("STUDY", study="\\")


def test_a_key_of_a_lower_level_would_mean_less() -> None:
    with pytest.raises(errors.UsageError, match="SeriesInstanceUID does not belong to level STUDY"):
        _query("STUDY", study="1.2", series="1.2.3")
    assert _query("STUDY", study="1.2", series="") == {"StudyInstanceUID": "1.2"}


def test_relational_keys_above_the_level_may_be_left_out() -> None:
    with pytest.raises(errors.UsageError, match="there is no StudyInstanceUID"):
        _query("IMAGE", sop="1.2.3")
    assert _query("IMAGE", relational=True, sop="1.2.3") == {"SOPInstanceUID": "1.2.3"}
    with pytest.raises(errors.UsageError, match="there is no SOPInstanceUID"):
        _query("IMAGE", relational=True, study="1.2")


def test_a_patient_root_asks_for_the_patient_whose_id_may_be_empty() -> None:
    with pytest.raises(errors.UsageError, match="there is no PatientID"):
        _query("STUDY", top=PATIENT, study="1.2")
    assert _query("STUDY", top=PATIENT, study="1.2", patient="A-1") == {
        "PatientID": "A-1",
        "StudyInstanceUID": "1.2",
    }
    # Patients without an id have studies too.
    assert _query("STUDY", top=PATIENT, study="1.2", patient="") == {"StudyInstanceUID": "1.2"}
    with pytest.raises(errors.UsageError, match="there is no PatientID"):
        _query("PATIENT", top=PATIENT, patient="")


def test_the_levels_are_those_of_the_model() -> None:
    with pytest.raises(errors.UsageError, match="PATIENT"):
        _query("PATIENT", patient="A")
    with pytest.raises(errors.UsageError, match="IMAGE"):
        retrieve.query("IMAGE", {}, top=PATIENT, bottom=STUDY)


@pytest.mark.parametrize("value", ["*", "1.2.*", "1.2.?", "1.2-1.3", "1..2", "1.2.x", "9" * 65, "../etc"])
def test_what_is_no_uid_is_refused_without_repeating_it(value: str) -> None:
    with pytest.raises(errors.UsageError) as refused:
        _query("STUDY", study=value)
    assert value not in str(refused.value).replace("StudyInstanceUID", "")


def test_a_list_has_an_end() -> None:
    with pytest.raises(errors.UsageError, match="values"):
        _query("STUDY", study="\\".join(["1.2"] * (retrieve.MOST_LISTED + 1)))
