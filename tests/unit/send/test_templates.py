"""Names of files from a template: what cannot be one, and that no value leaves its place."""

from __future__ import annotations

import pathlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.send import template


@pytest.mark.parametrize(
    ("text", "values", "path"),
    [
        ("{Modality}/{SeriesNumber:04}.dcm", {"Modality": ["CT"], "SeriesNumber": ["7"]}, "CT/0007.dcm"),
        ("{SeriesNumber:2}.dcm", {"SeriesNumber": ["00123"]}, "123.dcm"),
        ("{SeriesNumber:04}.dcm", {"SeriesNumber": ["1.5"]}, "1.5.dcm"),
        ("{SeriesNumber:04}.dcm", {}, "no-SeriesNumber.dcm"),
        ("{PatientName}", {"PatientName": ["DOE^JOHN  M"]}, "DOE_JOHN__M"),
        ("{0010,0020}", {"0010,0020": ["P1"]}, "P1"),
        ("a {Modality} (b)", {"Modality": ["MR", "CT"]}, "a MR (b)"),
        ("{Modality}.dcm", {"Modality": ["NUL"]}, "NUL_.dcm"),
        ("{Modality}", {"Modality": ["com1.txt"]}, "com1_.txt"),
        ("{PatientName}", {"PatientName": ["山田^太郎"]}, "山田_太郎"),
    ],
)
def test_values_become_names(text: str, values: dict[str, list[str]], path: str) -> None:
    assert "/".join(template.Template(text).parts(values)) == path


@pytest.mark.parametrize(
    "value", ["../../etc/passwd", "/etc", "a/b", "a\\b", "..", ".", "a\0b", ".hidden", "x\n"]
)
def test_a_value_that_would_lead_elsewhere_stays_one_name(value: str) -> None:
    (part,) = template.Template("{PatientID}").parts({"PatientID": [value]})
    assert "/" not in part
    assert part not in ("", ".", "..")
    assert part[0] != "."
    assert part.isprintable()


@pytest.mark.parametrize(("one", "other"), [("A/B", "A_B"), ("A/B", "A:B"), ("x" * 65, "x" * 66), ("", "/")])
def test_values_that_are_written_alike_are_kept_apart(one: str, other: str) -> None:
    made = template.Template("{PatientID}")
    assert made.parts({"PatientID": [one]}) != made.parts({"PatientID": [other]})


@given(st.lists(st.text(max_size=400), min_size=3, max_size=3))
def test_no_value_leaves_its_place(values: list[str]) -> None:
    made = template.Template("{PatientName}{PatientID}/{StudyID}-{PatientID}.dcm")
    found = dict(zip(("PatientName", "PatientID", "StudyID"), ([one] for one in values), strict=True))
    parts = made.parts(found)
    assert len(parts) == 2
    for part in parts:
        assert 0 < len(part.encode()) <= 200
        assert part not in (".", "..")
        assert not set(part) & set('/\\\0:*?"<>|\n\r')
        assert pathlib.PurePosixPath(part).name == part
        assert part == part.rstrip(". ")
    assert parts == made.parts(found)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("image.dcm", "names no element"),
        ("/abs/{Modality}", "'' is no part"),
        ("../{Modality}", "'..' is no part"),
        ("{Modality}/", "'' is no part"),
        ("{Modalty}", "Modality"),
        ("{Modality", "'{' cannot stand"),
        ("{Modality}\\x", "cannot stand"),
        ("{SeriesNumber:x}", "no number of digits"),
        ("{PixelData}", "is no text"),
        ("{RequestAttributesSequence}", "is no text"),
        ("**.{Modality}", "cannot stand"),
    ],
)
def test_templates_that_cannot_be(text: str, why: str) -> None:
    assert why in (template.check(text) or "")


def test_a_number_goes_before_the_ending() -> None:
    assert template.numbered("a.b.dcm", 2) == "a.b-2.dcm"
    assert template.numbered("a", 3) == "a-3"
    assert template.check("{StudyDate}/{SeriesNumber:04}/{SOPInstanceUID}.dcm") is None
