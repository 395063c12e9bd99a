"""What a key of a C-FIND means, on single values (PS3.4 C.2.2.2)."""

from __future__ import annotations

import datetime
import re

import pytest

from node import errors
from node.dicom import match, names, ranges


@pytest.mark.parametrize(
    ("vr", "key", "held", "expected"),
    [
        # universal, empty
        ("LO", "", None, True),
        ("LO", "*", None, True),
        ("LO", "**", "", True),
        ("LO", "  ", "x", True),
        ("LO", '""', None, True),
        ("LO", '""', " ", True),
        ("PN", '""', "^^", True),
        ("LO", '""', "x", False),
        # single values: with case, without outer spaces
        ("LO", "Head", "Head ", True),
        ("LO", "head", "Head", False),
        ("LO", "Head", None, False),
        ("ST", "a\\b", "a\\b", True),
        ("ST", "a", "a\\b", False),
        # several values
        ("CS", "CT", "MR\\CT", True),
        ("CS", "CT\\PT", "MR\\PT", True),
        ("CS", "CT\\", "MR", False),
        ("CS", "C*\\P?", "PT", True),
        # wildcards only where the VR has them
        ("LO", "H*d", "Head", True),
        ("LO", "H?d", "Head", False),
        ("LO", "*", "", True),
        ("LO", "?*", "", False),
        ("LO", "a[b]*", "a[b]c", True),
        ("LO", "a.c", "abc", False),
        ("UI", "1.*", "1.2", False),
        ("AS", "05?Y", "056Y", False),
        # UIDs
        ("UI", "1.2\\1.3", "1.3", True),
        ("UI", "1.2", "1.2.3", False),
        ("UI", "1.2\0", "1.2", True),
        # names
        ("PN", "smith^john", "SMITH^John", True),
        ("PN", "Smith^John^^^", "Smith^John", True),
        ("PN", "Smith^John", "Smith^John^^Dr", False),
        ("PN", "Smith^*", "Smith", True),
        ("PN", "Smith^?*", "Smith", False),
        ("PN", "smith*", "Smithers^W", True),
        ("PN", "*^*", "Smith", True),
        ("PN", "^John", "John", False),
        ("PN", "^John", "^John", True),
        ("PN", "山田*", "Yamada^Tarou=山田^太郎=やまだ^たろう", True),
        ("PN", "=山田*", "Yamada^Tarou=山田^太郎", True),
        ("PN", "Yamada*=鈴木*", "Yamada^Tarou=山田^太郎", False),
        ("PN", "*=*=*", None, True),
        ("PN", "*=*", "x", True),
        ("PN", "MÜLLER", "Müller", True),
        ("PN", "muller", "Müller", False),
        ("PN", "ｓｍｉｔｈ", "Smith", True),  # noqa: RUF001
        # dates, times
        ("DA", "20260102", "20260102", True),
        ("DA", "2026.01.02", "20260102", True),
        ("DA", "20260102", "2026.01.02", True),
        ("DA", "20260101-20260131", "20260131", True),
        ("DA", "20260101 - 20260131", "20260201", False),
        ("DA", "20260101-", "19990101", False),
        ("DA", "-20260101", "19990101", True),
        ("DA", "-20260101", "yesterday", False),
        ("DA", "-20260101", None, False),
        ("TM", "10", "105959.999999", True),
        ("TM", "1000", "10", True),
        ("TM", "1000-1015", "101559", True),
        ("TM", "1000-1015", "1016", False),
        ("TM", "101500.5", "101500.500000", True),
        ("TM", "-0800", "080059", True),
        ("TM", "2300-", "22:59:59", False),
        # date-times
        ("DT", "202601", "20260131235959.999999", True),
        ("DT", "202601-202602", "20260228235959", True),
        ("DT", "202601-202602", "20260301", False),
        ("DT", "20260101000000+0100", "20251231230000+0000", True),
        ("DT", "20260101-0500", "20260101120000-0500", True),
        ("DT", "2025-", "2026", True),
        ("DT", "-2025", "2026", False),
        ("DT", "2026-2027", "20271231", True),
        ("DT", "2026", "next year", False),
        # numbers
        ("IS", "7", "+007", True),
        ("DS", "1.5", "1.50", True),
        ("DS", "1.5", "1e0", False),
        ("US", "512\\256", "256", True),
        ("IS", "7", "x", False),
    ],
)
def test_one_key(vr: str, key: str, held: str | None, expected: bool) -> None:
    assert match.matcher(vr, key)(held) is expected


@pytest.mark.parametrize(
    ("key", "held", "expected"),
    [
        ("jo smi", "Smith^John", True),
        ("smi^jo", "Smith^John", True),
        ("ohn", "Smith^John", False),
        ("weber", "Meyer-Weber^Anna", True),
        ("Muller", "Müller^Jörg", True),
        ("Müller", "Muller^Jorg", True),
        ("Müller", "Mueller^Joerg", True),
        ("Mueller", "Müller^Jörg", True),
        ("Sorensen", "Sørensen^Åse", True),
        ("Иванов", "ИВАНОВ^Фёдор", True),
        ("федор", "ИВАНОВ^Фёдор", True),
        ("太郎", "Yamada^Tarou=山田^太郎", True),
        ("yamada=太", "Yamada^Tarou=山田^太郎", True),
        ("yamada=花", "Yamada^Tarou=山田^太郎", False),
    ],
)
def test_fuzzy_names(key: str, held: str, expected: bool) -> None:
    assert match.matcher("PN", key, fuzzy=True)(held) is expected


@pytest.mark.parametrize(
    ("vr", "key"),
    [
        ("DA", "2026"), ("DA", "yesterday"), ("DA", "20260101-x"), ("DA", "-"), ("DA", "٢٠٢٦٠١٠١"),
        ("TM", "25"), ("TM", "1-2"), ("DT", "26"), ("DT", "20260231"), ("DT", "20260101-20260231"),
        ("DT", "-"),
        ("IS", "one"), ("IS", "1*"), ("DS", "nan"), ("DS", "1e"), ("LO", "*" + "a" * 5000),
    ],
)  # fmt: skip
def test_keys_that_their_vr_cannot_have(vr: str, key: str) -> None:
    with pytest.raises(errors.UsageError, match=re.escape(key[:3]) if len(key) < 100 else "characters"):
        match.matcher(vr, key)


def test_a_key_of_many_stars_is_answered_at_once() -> None:
    assert match.pattern("*a" * 1000 + "b").fullmatch("a" * 20_000) is None


def test_a_query_of_nested_data_sets() -> None:
    held = {
        "PatientName": "Alpha^Anna",
        "ScheduledProcedureStepSequence": [
            {"Modality": "CT", "ScheduledProcedureStepStartDate": "20260102",
             "ScheduledProcedureStepStartTime": "0700"},
            {"Modality": "MR", "ScheduledProcedureStepStartDate": "20260103"},
        ],
    }  # fmt: skip

    def asks(together: bool = False, **step: str) -> bool:
        asked = {
            "SpecificCharacterSet": "ISO_IR 100",
            "PatientName": "",
            "ScheduledProcedureStepSequence": [step],
        }
        return match.fields(asked, together=together)(held)

    assert asks()
    assert asks(Modality="CT")
    assert asks(Modality="CT", ScheduledProcedureStepStartDate="20260102")
    assert not asks(Modality="CT", ScheduledProcedureStepStartDate="20260103")
    moments = {
        "ScheduledProcedureStepStartDate": "20260101-20260103",
        "ScheduledProcedureStepStartTime": "1200-1300",
    }
    assert not asks(Modality="CT", **moments)
    assert asks(True, Modality="CT", **moments)
    assert not match.fields({"PatientName": "beta*"})(held)
    assert not match.fields({"RequestAttributesSequence": [{"AccessionNumber": "A"}]})(held)
    assert match.fields({"RequestAttributesSequence": [{"AccessionNumber": "*"}]})(held)


def test_moments_move_between_zones() -> None:
    hours = datetime.timedelta(hours=1)
    assert ranges.moved("20260101", "2330", hours) == ("20260102", "0030")
    assert ranges.moved("20260101", "00", -hours) == ("20251231", "2300")
    assert ranges.moved("20260101", "101112.500", 9 * hours) == ("20260101", "191112.500")
    assert ranges.moved("20260101", "", hours) == ("20260101", "")
    assert ranges.moved("99991231", "2330", hours) == ("99991231", "2330")
    assert ranges.offset("+0930") == datetime.timedelta(hours=9, minutes=30)
    assert ranges.offset("-0500") == -5 * hours
    assert ranges.offset("Z") is None


def test_folding_names() -> None:
    assert names.fold(" Smith ^ John ^^") == "smith^john"
    assert names.variants("Smith^*^*") == ("smith^*^*", "smith^*", "smith")
    assert names.variants("^*") == ("^*",)
