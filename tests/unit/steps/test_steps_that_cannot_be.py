"""Every mistake in a coercion step is told with the value and the way out, before any file is opened."""

from __future__ import annotations

import pathlib

import pytest

from node import errors, model
from node.steps import coerce

VERBS = "a step takes exactly one of set, copy, change, remove, empty, keep, remap, original"
NO_SUCH = {
    "nothing": ({}, f"it has nothing: {VERBS}"),
    "an unknown verb": (
        {"delete": "PatientID"},
        f"it has 'delete': {VERBS}",
    ),
    "two verbs": (
        {"set": "PatientID", "to": "x", "remove": "PatientID"},
        f"it has set and remove: {VERBS}",
    ),
    "a key of another verb": (
        {"set": "PatientID", "to": "x", "prefix": "y"},
        "'prefix' does not go with 'set': it takes to, vr, when",
    ),
    "a key where there is none": (
        {"remove": "PatientID", "when": "present"},
        "'when' does not go with 'remove': it takes nothing else",
    ),
    "a path that is no text": ({"remove": 7}, "remove = 7: it takes a text"),
    "an empty path": ({"empty": ""}, "empty = '': it takes a text"),
    "a misspelt keyword": (
        {"remove": "PatinetID"},
        "there is no element 'PatinetID'; did you mean PatientID?",
    ),
    "a misspelt keyword to copy from": (
        {"copy": "PatientNme", "into": "PatientID"},
        "there is no element 'PatientNme'; did you mean PatientName?",
    ),
    "a misspelt keyword to copy into": (
        {"copy": "PatientName", "into": "PatientDI"},
        "there is no element 'PatientDI'; did you mean PatientID?",
    ),
    "a path that breaks off": (
        {"remove": "RequestAttributesSequence[0]"},
        "'RequestAttributesSequence[0]' names no element; an item alone cannot be changed",
    ),
    "how the file is written": (
        {"set": "TransferSyntaxUID", "to": "1.2"},
        "TransferSyntaxUID says how the file is written and cannot be changed",
    ),
    "a constant without a value": ({"set": "PatientID"}, "set = 'PatientID' needs a value: to = ..."),
    "a constant that its VR cannot hold": (
        {"set": "PatientBirthDate", "to": "tomorrow"},
        "PatientBirthDate (0010,0030): 'tomorrow' cannot be a DA: it is not a date of the form YYYYMMDD",
    ),
    "a number out of range": (
        {"set": "Rows", "to": 70000},
        "Rows (0028,0010): '70000' cannot be a US: it is out of range",
    ),
    "text for bytes": (
        {"set": "PixelData", "to": "x"},
        "PixelData (7FE0,0010): 'x' cannot be a OW: it takes bytes",
    ),
    "an item that holds what is not there": (
        {"set": "RequestAttributesSequence", "to": [{"PatientNam": "x"}]},
        "there is no element 'PatientNam'; did you mean PatientName?",
    ),
    "an unknown condition": (
        {"set": "PatientID", "to": "x", "when": "sometimes"},
        "when = 'sometimes': it is one of always, present, absent",
    ),
    "an unknown VR": ({"set": "0011,1001", "to": "x", "vr": "XX"}, "there is no VR 'XX'"),
    "a copy to nowhere": ({"copy": "PatientID"}, "into = None: it takes a text"),
    "a copy of many": (
        {"copy": "**.PatientID", "into": "PatientID"},
        "copy = '**.PatientID' may be many elements: name one",
    ),
    "a copy of file meta information": (
        {"copy": "0002,0016", "into": "PatientID"},
        "copy = '0002,0016' is file meta information, which cannot be copied",
    ),
    "a copy of bytes": (
        {"copy": "PixelData", "into": "PatientID"},
        "PixelData holds OW: only text and numbers can be copied or shaped",
    ),
    "a sequence to be shaped": (
        {"change": "RequestAttributesSequence", "case": "upper"},
        "RequestAttributesSequence holds SQ: only text and numbers can be copied or shaped",
    ),
    "bytes of every depth": (
        {"change": "**.@OB", "case": "upper"},
        "**.@OB holds OB: only text and numbers can be copied or shaped",
    ),
    "nothing to be done": (
        {"change": "PatientID"},
        ("change = 'PatientID' says nothing to do: "
         "give one of match, to, lookup, missing, case, shift, prefix, suffix"),
    ),
    "a pattern that is none": (
        {"change": "PatientID", "match": "(", "to": ""},
        "match = '(' is no regular expression: missing ), unterminated subpattern at position 0",
    ),
    "a pattern without a result": (
        {"change": "PatientID", "match": "x"},
        "match = 'x' needs what it becomes: to = TEXT",
    ),
    "a result without a pattern": (
        {"change": "PatientID", "to": "x"},
        "to = ... needs a pattern: match = ...",
    ),
    "a group that there is not": (
        {"change": "PatientID", "match": "(.)", "to": r"\2"},
        r"to = '\\2' does not fit match = '(.)': invalid group reference 2 at position 1",
    ),
    "a name that there is not": (
        {"change": "PatientID", "match": "(.)", "to": r"\g<x>"},
        r"to = '\\g<x>' does not fit match = '(.)': unknown group name 'x'",
    ),
    "a table that is not there": (
        {"change": "PatientID", "lookup": "none.csv"},
        "the lookup table none.csv cannot be read: No such file or directory",
    ),
    "an answer that there is not": (
        {"change": "PatientID", "lookup": "good.csv", "missing": "drop"},
        "missing = 'drop': it is one of keep, empty, remove, fail",
    ),
    "an answer without a table": (
        {"change": "PatientID", "missing": "drop"},
        "missing = ... needs a table: lookup = FILE.csv",
    ),
    "a table of one column": (
        {"change": "PatientID", "lookup": "narrow.csv"},
        "narrow.csv:3: two columns are needed, there is 1",
    ),
    "a table that contradicts itself": (
        {"change": "PatientID", "lookup": "twice.csv"},
        "twice.csv:3: the first column stands there before, with another second one",
    ),
    "a table in another encoding": (
        {"change": "PatientID", "lookup": "latin.csv"},
        "the lookup table latin.csv is not UTF-8 at byte 4: save it as UTF-8",
    ),
    "a table with broken quotes": (
        {"change": "PatientID", "lookup": "quotes.csv"},
        "quotes.csv:1: this is no CSV: unexpected end of data",
    ),
    "a third case": (
        {"change": "PatientID", "case": "title"},
        "case = 'title': it is upper or lower",
    ),
    "half a day": (
        {"change": "StudyDate", "shift": 0.5},
        "shift = 0.5: it takes whole days, -40000 to 40000",
    ),
    "a thousand years": (
        {"change": "StudyDate", "shift": 365_000},
        "shift = 365000: it takes whole days, -40000 to 40000",
    ),
    "a prefix that is no text": ({"change": "PatientID", "prefix": 1}, "prefix = 1: it takes a text"),
    "a suffix of nothing": ({"change": "PatientID", "suffix": ""}, "suffix = '': it takes a text"),
    "a map without a secret": ({"remap": ""}, "remap = '': it takes a text"),
    "a record of nobody": ({"original": ""}, "original = '': it takes a text"),
    "a record for another reason": (
        {"original": "ME", "reason": "whim"},
        "reason = 'whim': it is one of COERCE, CORRECT",
    ),
    "a record of a long name": (
        {"original": "M" * 65},
        f"ModifyingSystem: '{'M' * 65}' cannot be a LO: it has 65 characters, 64 are allowed",
    ),
}  # fmt: skip


@pytest.fixture
def tables(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.csv").write_text("a,b\n")
    (tmp_path / "narrow.csv").write_text("a,b\n\nc\n")
    (tmp_path / "twice.csv").write_text("a,b\na,b\na,c\n")
    (tmp_path / "latin.csv").write_bytes("a,Gr\xf6\xdfe\n".encode("latin-1"))
    (tmp_path / "quotes.csv").write_text('a,"b\n')


@pytest.mark.usefixtures("tables")
@pytest.mark.parametrize(("step", "told"), NO_SUCH.values(), ids=NO_SUCH)
def test_a_step_that_cannot_be(step: dict[str, object], told: str) -> None:
    with pytest.raises(errors.UsageError) as caught:
        coerce.ready([step])
    assert str(caught.value) == f"step 1: {told}"


def test_all_mistakes_are_told_together() -> None:
    with pytest.raises(coerce.Mistakes) as caught:
        coerce.ready([{"remove": "Nonsense1"}, {"remove": "PatientID"}, {"shift": 1}], names=["a", "b", "c"])
    first, second = caught.value.mistakes
    assert first.startswith("a: there is no element 'Nonsense1'")
    assert second.startswith("c: it has 'shift'")
    assert str(caught.value) == f"these steps cannot be:\n  {first}\n  {second}"


def test_steps_of_a_configuration_are_told_by_file_and_line() -> None:
    wanted = model.Coercion(
        "tidy", ({"empty": "PatientID"}, {"remove": "0002,0016"}), places=("node.toml:3", "node.toml:6")
    )
    with pytest.raises(coerce.Mistakes) as caught:
        coerce.configured(wanted)
    assert caught.value.mistakes == (
        "node.toml:6: coerce.tidy: file meta information is not sent, so that it cannot be changed",
    )
