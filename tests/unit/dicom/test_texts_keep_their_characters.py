"""Character sets: what is read, what is written, and when a data set becomes UTF-8."""

from __future__ import annotations

import warnings

import pydicom.charset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node import errors
from node.dicom import charset, edit, header, scan
from tests.unit.dicom.build import EXPLICIT, IMPLICIT, ct, el, im, item

# PS3.5 H.3 and I.2, J: the standard's own examples
NAMES = [
    (["ISO_IR 100"], b"Buc^J\xe9r\xf4me", "Buc^Jérôme"),
    (["ISO_IR 144"], "Люксембург".encode("iso8859_5"), "Люксембург"),
    (["ISO_IR 126"], b"\xc4\xe9\xef\xed\xf5\xf3\xe9\xef\xf2", "Διονυσιος"),
    (["ISO_IR 127"], b"\xe2\xc8\xc7\xe6\xea^\xe4\xe6\xd2\xc7\xd1", "قباني^لنزار"),
    (["ISO_IR 138"], b"\xf9\xf8\xe5\xef^\xe3\xe1\xe5\xf8\xe4", "שרון^דבורה"),
    (
        ["", "ISO 2022 IR 87"],
        b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
        "Yamada^Tarou=山田^太郎=やまだ^たろう",
    ),
    (
        ["ISO 2022 IR 13", "ISO 2022 IR 87"],
        b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J=\x1b$B$d$^$@\x1b(J^\x1b$B$?$m$&\x1b(J",
        "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
    ),
    (
        ["", "ISO 2022 IR 149"],
        b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
        "Hong^Gildong=洪^吉洞=홍^길동",
    ),
    (
        ["", "ISO 2022 IR 58"],
        b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab=",
        "Zhang^XiaoDong=张^小东=",
    ),
    (["ISO_IR 192"], "Wang^XiaoDong=王^小東=".encode(), "Wang^XiaoDong=王^小東="),
    (["GB18030"], "Wang^XiaoDong=王^小东=".encode("gb18030"), "Wang^XiaoDong=王^小东="),
    (["GBK"], "Wang^XiaoDong=王^小东=".encode("gbk"), "Wang^XiaoDong=王^小东="),
    (["ISO_IR 166"], "สมชาย".encode("tis_620"), "สมชาย"),
    (["ISO 2022 IR 6", "ISO 2022 IR 144"], b"a\x1b-L\xbb\xee", "aЛю"),
    ([], b"plain", "plain"),
]


@pytest.mark.parametrize(("sets", "raw", "text"), NAMES, ids=lambda value: None)
def test_the_standards_examples_are_read_and_written(sets: list[str], raw: bytes, text: str) -> None:
    assert charset.decode(raw, sets) == text
    assert charset.decode(charset.encode(text, sets), sets) == text
    if (
        sets[:1] != ["ISO 2022 IR 13"] and "ISO 2022 IR 58" not in sets
    ):  # what pydicom reads otherwise, or not
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            encodings = pydicom.charset.convert_encodings(list(sets) or [""])
            parts = pydicom.charset.decode_bytes(charset.encode(text, sets), encodings, {0x5E, 0x3D})
        assert parts == text


def test_a_backslash_within_a_character_parts_no_values() -> None:
    raw = "表\\能".encode("gbk") + b"\\" + bytes([0x81, 0x5C])  # a GBK character ending in 5C
    found = scan.scan(
        el(0x00080005, "CS", b"GBK ") + el(0x00081060, "PN", raw + b" " * (len(raw) & 1)), EXPLICIT
    )
    assert found.get(0x00081060) == ("表", "能", bytes([0x81, 0x5C]).decode("gbk"))


@given(
    raw=st.binary(max_size=40), sets=st.sampled_from([entry[0] for entry in NAMES] + [["nonsense"], ["", ""]])
)
def test_garbage_is_read_without_a_fault(raw: bytes, sets: list[str]) -> None:
    text = charset.decode(raw, sets)
    text.encode("utf-8")  # nothing that a database or a page could not take


@given(text=st.text(max_size=20), sets=st.sampled_from([entry[0] for entry in NAMES]))
def test_what_fits_comes_back(text: str, sets: list[str]) -> None:
    if "\x1b" in text or not charset.fits(text, sets):
        return
    assert charset.decode(charset.encode(text, sets), sets) == text


@pytest.mark.parametrize(
    ("term", "codec"),
    [("ISO_IR 100", "100"), ("ISO-IR 100", "100"), ("ISO IR 100", "100"), ("iso 2022 ir 87", "87")],
)
def test_terms_are_known_as_people_write_them(term: str, codec: str) -> None:
    assert charset.number(term) == codec
    assert charset.known([term])
    assert not charset.known(["KLINGON"])


LATIN = el(0x00080005, "CS", b"ISO_IR 100")


def named(sets: bytes, name: bytes, more: bytes = b"") -> bytes:
    return (
        el(0x00080005, "CS", sets)
        + el(0x00080080, "LO", b"Spital M\xfcnchen")
        + el(0x00100010, "PN", name)
        + more
    )


def test_a_text_that_fits_leaves_the_set_alone() -> None:
    raw = named(b"ISO_IR 100", b"Doe^Jane")
    result = edit.edit(raw, EXPLICIT, [edit.Set("PatientName", "Müller^Zoë")])
    assert result.tobytes() == named(b"ISO_IR 100", "Müller^Zoë".encode("latin-1"))
    assert result.notes == ()


def test_a_text_that_does_not_fit_makes_all_of_it_utf8_and_says_so() -> None:
    pixels = el(0x7FE00010, "OW", b"\xfc" * 70_000)
    raw = named(b"ISO_IR 100", b"Doe^Jane", pixels)
    result = edit.edit(raw, EXPLICIT, [edit.Set("PatientName", "Χατζής^Ζωή")])
    table = scan.scan(result.tobytes(), EXPLICIT)
    assert table.get(0x00080005) == "ISO_IR 192"
    assert table.get(0x00100010) == "Χατζής^Ζωή"
    assert table.get(0x00080080) == "Spital München"
    assert result.tobytes().endswith(pixels)
    assert "ISO_IR 192" in result.notes[0]
    assert "before: ISO_IR 100" in result.notes[0]
    assert any(isinstance(piece, tuple) and piece[1] - piece[0] >= 70_000 for piece in result.pieces)
    assert [difference.path for difference in result.differences()] == ["PatientName"]


def test_items_with_a_set_of_their_own_follow() -> None:
    inner = el(0x00080005, "CS", b"ISO_IR 144") + el(0x00104000, "LT", b"\xbb\xee")
    raw = LATIN + el(0x00081140, "SQ", item(inner)) + el(0x00100010, "PN", b"M\xfc")
    result = edit.edit(raw, EXPLICIT, [edit.Set("PatientName", "王")])
    table = scan.scan(result.tobytes(), EXPLICIT)
    rows = [at for at, row in enumerate(table.rows) if row[0] == 0x00104000]
    assert table.value(rows[0]) == "Лю"
    assert [table.value(at) for at, row in enumerate(table.rows) if row[0] == 0x00080005] == [
        "ISO_IR 192"
    ] * 2
    direct = edit.edit(raw, EXPLICIT, [edit.Set("**.PatientComments", "Юл")])
    assert direct.tobytes() == raw.replace(b"\xbb\xee", "Юл".encode("iso8859_5"))


def test_what_cannot_be_read_is_named_and_left() -> None:
    raw = named(b"ISO_IR 192", b"Doe^Jane").replace(b"ISO_IR 192", b"ISO_IR 127")
    raw = raw.replace(b"Spital M\xfcnchen", b"Spital M\xffnchen")
    result = edit.edit(raw, EXPLICIT, [edit.Set("PatientName", "王")])
    assert "InstitutionName" in result.notes[1]
    assert b"Spital M\xffnchen" in result.tobytes()


def test_without_a_declared_set_utf8_is_declared() -> None:
    result = edit.edit(ct(), EXPLICIT, [edit.Set("PatientName", "Müller")])
    assert scan.scan(result.tobytes(), EXPLICIT).get(0x00080005) == "ISO_IR 192"
    assert scan.scan(result.tobytes(), EXPLICIT).get(0x00100010) == "Müller"


def test_setting_the_character_set_writes_every_text_anew() -> None:
    raw = named(b"ISO_IR 100", b"M\xfcller")
    result = edit.edit(raw, EXPLICIT, [edit.Set("SpecificCharacterSet", "ISO_IR 192")])
    assert scan.scan(result.tobytes(), EXPLICIT).get(0x00100010) == "Müller"
    back = edit.edit(result.tobytes(), EXPLICIT, [edit.Set("SpecificCharacterSet", "ISO_IR 100")])
    assert back.tobytes() == raw
    for change in (edit.Remove("SpecificCharacterSet"), edit.Set("SpecificCharacterSet", "ISO_IR 144")):
        with pytest.raises(errors.UsageError, match="InstitutionName"):
            edit.edit(raw, EXPLICIT, [change])
    with pytest.raises(errors.UsageError, match="KLINGON"):
        edit.edit(raw, EXPLICIT, [edit.Set("SpecificCharacterSet", "KLINGON")])


def test_implicit_vr_is_written_anew_as_well() -> None:
    raw = im(0x00080005, b"ISO_IR 100") + im(0x00100010, b"M\xfcller")
    out = edit.edit(raw, IMPLICIT, [edit.Set("PatientID", "王")]).tobytes()
    found = header.attributes(out, IMPLICIT)
    assert (found.patient_name, found.patient_id, found.charset) == ("Müller", "王", ("ISO_IR 192",))
