"""The table of a query's answers: it fits, keeps the UIDs whole, and steers no terminal."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from node.commands import answers, columns
from node.send import keys

UID = "1.2.826.0.1.3680043.8.498.12345678901234567890123456789012345678"
PATHS: list[keys.Path] = [("PatientName",), ("StudyDate",), ("StudyTime",), ("StudyDescription",)]


def _print(capsys: pytest.CaptureFixture[str], width: int | None, *found: dict[str, object]) -> list[str]:
    answers.table(found, [*PATHS, ("StudyInstanceUID",)], width)  # type: ignore[arg-type]
    return capsys.readouterr().out.splitlines()


ANSWER: dict[str, object] = {
    "PatientName": "DOE^JANE^^",
    "StudyDate": "20260131",
    "StudyTime": "101112.5",
    "StudyDescription": "Thorax and a very long description of it that goes on and on",
    "StudyInstanceUID": UID,
}


def test_dates_and_times_are_shown_as_people_read_them(capsys: pytest.CaptureFixture[str]) -> None:
    heading, row = _print(capsys, None, ANSWER)
    assert heading.split() == ["PATIENT", "DATE", "TIME", "DESCRIPTION", "STUDY"]
    assert row.split()[:3] == ["DOE^JANE", "2026-01-31", "10:11"]
    assert row.endswith(UID)


@pytest.mark.parametrize("width", [60, 80, 100, 132, 160])
def test_it_fits_the_terminal_and_the_uid_is_whole(width: int, capsys: pytest.CaptureFixture[str]) -> None:
    lines = _print(capsys, width, ANSWER, {**ANSWER, "PatientName": "山田^太郎" * 4})
    uids = [line for line in lines if UID in line]
    assert len(uids) == 2
    assert all(cell_len(line) <= max(width, len(UID) + 4) for line in lines)
    if width >= 80:
        assert all(cell_len(line) <= width for line in lines)


def test_wide_characters_leave_the_columns_in_line(capsys: pytest.CaptureFixture[str]) -> None:
    lines = _print(capsys, None, ANSWER, {**ANSWER, "PatientName": "山田^太郎"})
    assert {cell_len(line[: line.index("2026-")]) for line in lines[1:]} == {len("山田^太郎") + 4 + 2}


def test_an_answer_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    evil = {**ANSWER, "PatientName": "\x1b]0;owned\x07\x1b[2J", "StudyDescription": "a\nb\tc"}
    (_, row) = _print(capsys, None, evil)
    assert "\x1b" not in row
    assert "a?b?c" in row


def test_a_class_of_the_standard_is_shown_by_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    found: list[dict[str, object]] = [
        {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2", "SOPInstanceUID": "1.2.3"},
        {"SOPClassUID": "1.2.3.4", "SOPInstanceUID": "1.2.3\\1.2.4"},
    ]
    answers.table(found, [("SOPClassUID",), ("SOPInstanceUID",)])  # type: ignore[arg-type]
    assert capsys.readouterr().out.splitlines()[1:] == [
        "CT Image Storage  1.2.3",
        "1.2.3.4           1.2.3\\1.2.4",
    ]


def test_what_stands_in_several_items_is_joined() -> None:
    answer: dict[str, object] = {
        "ScheduledProcedureStepSequence": [{"Modality": "CT"}, {"Modality": "MR"}, {}],
        "OtherPatientIDsSequence": [{}],
        "PatientName": None,
    }
    paths: list[keys.Path] = [
        ("ScheduledProcedureStepSequence", "Modality"),
        ("OtherPatientIDsSequence",),
        ("PatientName",),
        ("StudyDate", "Modality"),
    ]
    assert columns.values(answer, paths) == ["CT\\MR", "1 item", None, None]  # type: ignore[arg-type]
