"""Each kind of coercion step: what it makes of an element, and how it describes itself."""

from __future__ import annotations

import pathlib

import pytest

from node.dicom import scan
from node.steps import coerce
from tests.unit.dicom.build import EXPLICIT, ct, el, ui

ID, NAME, BIRTH, BORN_AT, HOSPITAL, THICK = (
    0x00100020, 0x00100010, 0x00100030, 0x0008002A, 0x00080080, 0x00180050,
)  # fmt: skip
TABLE = 'old,new\n# a comment\n\n0007,BOND\n"a ""b""",quoted\n'


def before(*more: bytes) -> bytes:
    elements = [
        el(0x00080005, "CS", b"ISO_IR 100"),
        ui(0x00080016, "1.2.840.10008.5.1.4.1.1.2"),
        ui(0x00080018, "1.2.3.4"),
        el(BORN_AT, "DT", b"20200228235959.5+0100 "),
        el(HOSPITAL, "LO", b"St. Elsewhere "),
        el(NAME, "PN", b"DOE^Jane"),
        el(ID, "LO", b"0007"),
        el(BIRTH, "DA", b"20200301"),
        el(0x00101000, "LO", b"A\\0007\\\\B "),
        el(THICK, "DS", b"2.50"),
        ui(0x0020000D, "1.2.3"),
        ui(0x0020000E, "1.2.3.5"),
        el(0x00280010, "US", b"\x00\x02"),
        *more,
    ]
    return b"".join(sorted(elements, key=lambda one: (one[1], one[0], one[3], one[2])))


def coerced(tmp_path: pathlib.Path, *steps: dict[str, object], raw: bytes | None = None) -> scan.Table:
    (tmp_path / "table.csv").write_text(TABLE)
    coercion = coerce.ready(steps, base=tmp_path)
    out = coercion.apply(before() if raw is None else raw, EXPLICIT).tobytes()
    return scan.scan(out, EXPLICIT)


SHAPED = {
    "a constant": ({"set": "PatientID", "to": "X"}, ID, "X", "set PatientID to 'X'"),
    "a constant where there is one": (
        {"set": "PatientID", "to": "X", "when": "present"},
        ID, "X", "set PatientID to 'X' when present",
    ),
    "no constant where there is one": (
        {"set": "PatientID", "to": "X", "when": "absent"},
        ID, "0007", "set PatientID to 'X' when absent",
    ),
    "a constant with its VR": (
        {"set": '0011,xx01 "ME"', "to": "X", "vr": "LO"},
        0x00111001, "X", "set 0011,xx01 \"ME\" to 'X'",
    ),
    "a number": ({"set": "Rows", "to": 7}, 0x00280010, 7, "set Rows to 7"),
    "captures": (
        {"change": "PatientID", "match": "^0*([0-9]+)$", "to": r"A\1"},
        ID, "A7", r"change PatientID: where it matches '^0*([0-9]+)$' make it 'A\\1'",
    ),
    "a part that is named": (
        {"change": "PatientName", "match": "(?P<family>[A-Z]+)", "to": r"\g<family>"},
        NAME, "DOE", r"change PatientName: where it matches '(?P<family>[A-Z]+)' make it '\\g<family>'",
    ),
    "a pattern that does not match": (
        {"change": "PatientID", "match": "^9", "to": "x"},
        ID, "0007", "change PatientID: where it matches '^9' make it 'x'",
    ),
    "a table": (
        {"change": "PatientID", "lookup": "table.csv"},
        ID, "BOND", "change PatientID: look it up in table.csv (3 entries; keep what is not there)",
    ),
    "a table without it": (
        {"change": "PatientName", "lookup": "table.csv", "missing": "empty"},
        NAME, None, "change PatientName: look it up in table.csv (3 entries; empty what is not there)",
    ),
    "upper case": ({"change": "PatientName", "case": "upper"}, NAME, "DOE^JANE",
                   "change PatientName: put it in upper case"),
    "lower case": ({"change": "PatientName", "case": "lower"}, NAME, "doe^jane",
                   "change PatientName: put it in lower case"),
    "a date": ({"change": "PatientBirthDate", "shift": -1}, BIRTH, "20200229",
               "change PatientBirthDate: move the date by -1 days, and empty it where it is no whole date"),
    "a date and time": (
        {"change": "AcquisitionDateTime", "shift": 2}, BORN_AT, "20200301235959.5+0100",
        "change AcquisitionDateTime: move the date by +2 days, and empty it where it is no whole date",
    ),
    "a prefix": ({"change": "PatientID", "prefix": "EX-"}, ID, "EX-0007",
                 "change PatientID: put 'EX-' before it"),
    "a suffix": ({"change": "PatientID", "suffix": "-1"}, ID, "0007-1",
                 "change PatientID: put '-1' behind it"),
    "several shapes, in their order": (
        {"change": "PatientID", "suffix": "z", "prefix": "p", "case": "lower", "match": "^00", "to": "A"},
        ID, "paz",
        ("change PatientID: where it matches '^00' make it 'A', then put it in lower case, "
         "then put 'p' before it, then put 'z' behind it"),
    ),
    "several values": (
        {"change": "OtherPatientIDs", "lookup": "table.csv"},
        0x00101000, ("A", "BOND", "", "B"),
        "change OtherPatientIDs: look it up in table.csv (3 entries; keep what is not there)",
    ),
    "several values, of which some go": (
        {"change": "OtherPatientIDs", "lookup": "table.csv", "missing": "remove"},
        0x00101000, ("", "BOND", "", ""),
        "change OtherPatientIDs: look it up in table.csv (3 entries; remove what is not there)",
    ),
    "a decimal as its shortest text": (
        {"change": "SliceThickness", "match": r"^2\.5$", "to": "3"},
        THICK, 3.0, r"change SliceThickness: where it matches '^2\\.5$' make it '3'",
    ),
    "a copy": ({"copy": "PatientID", "into": "AccessionNumber"}, 0x00080050, "0007",
               "copy PatientID into AccessionNumber"),
    "a copy over what is there": ({"copy": "PatientID", "into": "InstitutionName"}, HOSPITAL, "0007",
                                  "copy PatientID into InstitutionName"),
    "a copy of nothing": ({"copy": "PatientComments", "into": "InstitutionName"}, HOSPITAL, "St. Elsewhere",
                          "copy PatientComments into InstitutionName"),
    "a copy that is shaped": (
        {"copy": "PatientID", "into": "AccessionNumber", "prefix": "ACC"},
        0x00080050, "ACC0007", "copy PatientID into AccessionNumber, put 'ACC' before it",
    ),
    "a copy that its shape leaves": (
        {"copy": "PatientID", "into": "AccessionNumber", "match": "^9", "to": "x"},
        0x00080050, "0007", "copy PatientID into AccessionNumber, where it matches '^9' make it 'x'",
    ),
    "emptied": ({"empty": "PatientID"}, ID, None, "empty PatientID"),
    "kept": ({"keep": "PatientID"}, ID, "0007", "keep PatientID as it is"),
}  # fmt: skip


@pytest.mark.parametrize(("step", "tag", "value", "said"), SHAPED.values(), ids=SHAPED)
def test_a_step(tmp_path: pathlib.Path, step: dict[str, object], tag: int, value: object, said: str) -> None:
    table = coerced(tmp_path, step)
    row = table.find(tag)
    assert row is not None
    assert table.value(row) == value
    assert coerce.ready([step], base=tmp_path).descriptions == (said,)


@pytest.mark.parametrize(
    "step",
    [
        {"remove": "PatientID"},
        {"change": "PatientID", "match": "0", "to": "9", "lookup": "table.csv", "missing": "remove"},
    ],
)
def test_an_element_may_go(tmp_path: pathlib.Path, step: dict[str, object]) -> None:
    assert coerced(tmp_path, step).find(ID) is None


@pytest.mark.parametrize(
    "step",
    [
        {"change": "SliceThickness", "match": "^9", "to": "8"},  # written as 2.50, not as a number would be
        {"change": "OtherPatientIDs", "match": "^x", "to": "y"},
        {"change": "PatientName", "match": "DOE", "to": "DOE", "lookup": "table.csv"},
        {"change": "PatientComments", "prefix": "not there"},
        {"set": "PatientComments", "to": "not there", "when": "present"},
        {"copy": "PatientComments", "into": "PatientID"},
    ],
)
def test_what_no_step_changes_keeps_its_bytes(tmp_path: pathlib.Path, step: dict[str, object]) -> None:
    (tmp_path / "table.csv").write_text("a,b\nDOE,DOE^Jane")
    raw = before()
    result = coerce.ready([step], base=tmp_path).apply(raw, EXPLICIT)
    assert not result.changed
    assert result.tobytes() == raw


@pytest.mark.parametrize("written", [b"2020", b"202003", b"20201301", b"notadate", b"99991231"])
def test_a_date_that_cannot_be_moved_is_emptied_rather_than_left(
    tmp_path: pathlib.Path, written: bytes
) -> None:
    raw = ct(el(0x0008002A, "DT", written))
    table = coerced(tmp_path, {"change": "AcquisitionDateTime", "shift": 1}, raw=raw)
    row = table.find(0x0008002A)
    assert row is not None
    assert table.value(row) is None


def test_an_old_date_keeps_its_four_digits(tmp_path: pathlib.Path) -> None:
    raw = ct(el(0x00080020, "DA", b"08991231"))
    assert coerced(tmp_path, {"change": "StudyDate", "shift": 1}, raw=raw).get(0x00080020) == "09000101"


def test_each_step_sees_what_was_there_before_all_of_them(tmp_path: pathlib.Path) -> None:
    table = coerced(
        tmp_path,
        {"set": "PatientID", "to": "NEW"},
        {"copy": "PatientID", "into": "AccessionNumber"},
    )
    assert table.get(0x00080050) == "0007"
    assert table.get(ID) == "NEW"


def test_of_two_steps_for_one_element_the_later_counts(tmp_path: pathlib.Path) -> None:
    steps: list[dict[str, object]] = [
        {"remap": "secret"},
        {"set": "StudyInstanceUID", "to": "1.2.99"},
        {"keep": "SeriesInstanceUID"},
    ]
    table = coerced(tmp_path, *steps)
    assert table.get(0x0020000D) == "1.2.99"
    assert table.get(0x0020000E) == "1.2.3.5"
    assert table.get(0x00080018) != "1.2.3.4"
    assert table.get(0x00080016) == "1.2.840.10008.5.1.4.1.1.2"


def test_the_secret_of_a_map_is_not_told_and_decides_the_map(tmp_path: pathlib.Path) -> None:
    one, same, other = (coerce.ready([{"remap": secret}]) for secret in ("hush", "hush", "quiet"))
    assert "hush" not in repr(one.descriptions)
    assert "hush" not in repr(one.program.describe())
    results = [each.apply(before(), EXPLICIT).tobytes() for each in (one, same, other)]
    assert results[0] == results[1] != results[2]


def test_the_values_from_before_are_recorded_when_asked_for(tmp_path: pathlib.Path) -> None:
    step = {"original": "NODE", "reason": "CORRECT", "source": "CT1"}
    table = coerced(tmp_path, {"set": "PatientID", "to": "NEW"}, step)
    found = {row[0]: table.value(at) for at, row in enumerate(table.rows)}
    assert found[0x04000563] == "NODE"
    assert found[0x04000564] == "CT1"
    assert found[0x04000565] == "CORRECT"
    ids = [table.value(at) for at, row in enumerate(table.rows) if row[0] == ID]
    assert sorted(ids) == ["0007", "NEW"]
    assert coerce.ready([step]).descriptions == (
        "keep the values from before in Original Attributes Sequence, as changed by NODE",
    )


def test_a_value_that_is_in_no_table_may_be_refused_and_is_not_told(tmp_path: pathlib.Path) -> None:
    with pytest.raises(Exception, match=r"the value is not in table\.csv: add it") as caught:
        coerced(tmp_path, {"change": "PatientName", "lookup": "table.csv", "missing": "fail"})
    assert "DOE" not in str(caught.value)


def test_a_long_text_is_not_matched(tmp_path: pathlib.Path) -> None:
    raw = ct(el(0x00104000, "LT", b"a" * 10_000 + b"\n" + b"a" * 10_000))
    coercion = coerce.ready([{"change": "PatientComments", "match": "a+", "to": "b"}])
    assert not coercion.apply(raw, EXPLICIT).changed
