"""Paths: sequences, items, private blocks, masks, every depth, and what happens where nothing is there."""

from __future__ import annotations

import struct

import pytest

from node import errors
from node.dicom import edit, path, scan
from node.dicom import vr as vrs
from tests.unit.dicom.build import (
    BIG,
    EXPLICIT,
    IMPLICIT,
    JPEG,
    ct,
    el,
    im,
    item,
    open_item,
    open_sequence,
    ui,
)

REQUEST = 0x00400275


def request(*items: bytes) -> bytes:
    return ct() + el(REQUEST, "SQ", b"".join(items))


def accession(text: bytes) -> bytes:
    return el(0x00080050, "SH", text)


def change(raw: bytes, *changes: edit.Change, syntax: str = EXPLICIT) -> bytes:
    result = edit.edit(raw, syntax, changes)
    out = result.tobytes()
    assert len(out) == result.length
    scan.check(out, syntax)
    assert result.changed == (out != raw)
    return out


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("PatientName", "PatientName"),
        ("0010,0010", "PatientName"),
        ("(0010,0010)", "PatientName"),
        ("00100010", "PatientName"),
        (" RequestAttributesSequence [ 2 ] . AccessionNumber", None),
        ("RequestAttributesSequence[2].AccessionNumber", "RequestAttributesSequence[2].AccessionNumber"),
        ("RequestAttributesSequence.AccessionNumber", "RequestAttributesSequence[*].AccessionNumber"),
        ('0029,xx10 "SIEMENS CSA. HEADER[0]"', '0029,xx10 "SIEMENS CSA. HEADER[0]"'),
        ('0029,1010 "X"', '0029,xx10 "X"'),
        ("60xx,3000", "60xx,3000"),
        ("**.PatientName", "**.PatientName"),
        ("**.@pn", "**.@PN"),
        ("**.@Private", "**.@private"),
        ("0009,1001", "0009,1001"),
    ],
)
def test_paths_are_read_and_shown(text: str, shown: str | None) -> None:
    if shown is None:
        with pytest.raises(errors.UsageError):
            path.parse(text.replace("[", "(["))
    else:
        assert str(path.parse(text)) == shown
        assert path.parse(shown) == path.parse(text)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("PatientNam", "did you mean PatientName?"),
        ("patientid", "did you mean PatientID?"),
        ("Xyzzyplugh", "no element 'Xyzzyplugh'"),
        ("", "not the path"),
        ("PatientName.", "not the path"),
        ("PatientName]", "not the path"),
        ("RequestAttributesSequence[0]", "names no element"),
        ("PatientName.**", "only at the beginning"),
        ("**", "names no element"),
        ("**.RequestAttributesSequence.PatientID", "one name behind it"),
        ("@PN", "every depth"),
        ("**.@QQ", "no VR"),
        ('0010,xx10 "X"', "odd groups"),
        ("FFFE,E000", "not an element"),
        ("0000,0100", "not an element"),
    ],
)
def test_a_path_that_cannot_be_says_why(text: str, hint: str) -> None:
    with pytest.raises(errors.UsageError) as caught:
        path.parse(text)
    assert hint in str(caught.value)


def test_an_item_is_named_by_its_number() -> None:
    raw = request(item(accession(b"A1")), item(accession(b"B1")))
    out = change(raw, edit.Set("RequestAttributesSequence[1].AccessionNumber", "LONGER"))
    assert out == request(item(accession(b"A1")), item(accession(b"LONGER")))
    out = change(raw, edit.Remove("RequestAttributesSequence[*].AccessionNumber"))
    assert out == request(item(), item())
    out = change(raw, edit.Empty("RequestAttributesSequence.AccessionNumber"))
    assert out == request(item(accession(b"")), item(accession(b"")))


def test_an_item_that_is_missing_is_made_behind_the_last() -> None:
    raw = request(item(accession(b"A1")))
    out = change(raw, edit.Set("RequestAttributesSequence[1].AccessionNumber", "B1"))
    assert out == request(item(accession(b"A1")), item(accession(b"B1")))
    with pytest.raises(errors.UsageError, match="cannot be made"):
        change(raw, edit.Set("RequestAttributesSequence[2].AccessionNumber", "B1"))
    assert change(raw, edit.Remove("RequestAttributesSequence[7].AccessionNumber")) == raw
    assert (
        change(raw, edit.Set("RequestAttributesSequence[7].AccessionNumber", "B", when=edit.When.PRESENT))
        == raw
    )


def test_a_sequence_that_is_missing_is_made_with_all_that_goes_in_it() -> None:
    out = change(
        ct(),
        edit.Set("RequestAttributesSequence[0].ScheduledProcedureStepID", "S1"),
        edit.Set("RequestAttributesSequence[0].AccessionNumber", "A1"),
        edit.Set("RequestAttributesSequence[0].RequestedProcedureCodeSequence[0].CodeValue", "C"),
        edit.Set("RequestAttributesSequence[1].AccessionNumber", "B1"),
    )
    code = el(0x00321064, "SQ", item(el(0x00080100, "SH", b"C ")))
    first = item(accession(b"A1") + code + el(0x00400009, "SH", b"S1"))
    assert out == request(first, item(accession(b"B1")))
    assert change(ct(), edit.Set("RequestAttributesSequence[*].AccessionNumber", "A1")) == ct()


def test_undefined_lengths_stay_undefined() -> None:
    raw = ct() + open_sequence(REQUEST, open_item(accession(b"A1")), item(accession(b"B1")))
    out = change(raw, edit.Set("RequestAttributesSequence.AccessionNumber", "LONGER"))
    assert out == ct() + open_sequence(REQUEST, open_item(accession(b"LONGER")), item(accession(b"LONGER")))
    out = change(raw, edit.Set("RequestAttributesSequence[0].RequestedProcedureID", "P1"))
    inside = open_item(accession(b"A1") + el(0x00401001, "SH", b"P1"))
    assert out == ct() + open_sequence(REQUEST, inside, item(accession(b"B1")))


def test_group_lengths_follow_at_every_level() -> None:
    def group(size: int) -> bytes:
        return el(0x00080000, "UL", size.to_bytes(4, "little"))

    def outer(size: int, sequence: bytes) -> bytes:
        return ct() + el(0x00400000, "UL", size.to_bytes(4, "little")) + sequence

    inner = group(10) + accession(b"A1")
    raw = outer(12 + 8 + len(inner), el(REQUEST, "SQ", item(inner)))
    out = change(raw, edit.Set("RequestAttributesSequence[0].AccessionNumber", "LONGER"))
    grown = group(14) + accession(b"LONGER")
    assert out == outer(12 + 8 + len(grown), el(REQUEST, "SQ", item(grown)))
    assert change(out, edit.Set("RequestAttributesSequence[0].AccessionNumber", "A1")) == raw


def test_a_private_element_is_found_by_its_creator() -> None:
    raw = ct(
        el(0x00090010, "LO", b"OTHER "),
        el(0x00090011, "LO", b"NODE  "),
        el(0x00091001, "LO", b"no"),
        el(0x00091101, "LO", b"yes "),
    )
    out = change(raw, edit.Set('0009,xx01 "NODE"', "changed"))
    assert out == raw.replace(el(0x00091101, "LO", b"yes "), el(0x00091101, "LO", b"changed "))
    out = change(raw, edit.Set('0009,xx02 "NODE"', "new", vr="SH"))
    assert el(0x00091101, "LO", b"yes ") + el(0x00091102, "SH", b"new ") in out
    assert change(raw, edit.Remove('0009,xx01 "NOBODY"')) == raw
    assert change(raw, edit.Remove('**.0009,xx01 "NODE"')) == raw.replace(el(0x00091101, "LO", b"yes "), b"")
    with pytest.raises(errors.UsageError, match="name its VR"):
        change(raw, edit.Set('0009,xx02 "NODE"', "new"))


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
def test_a_private_block_is_reserved_when_its_creator_has_none(syntax: str) -> None:
    change_two = (edit.Set('0009,xx02 "NODE"', "B", vr="SH"), edit.Set('0009,xx01 "NODE"', "A", vr="SH"))
    taken = ct(el(0x00090010, "LO", b"OTHER "), el(0x00091101, "UN", b"orphan"))
    wanted = ct(
        el(0x00090010, "LO", b"OTHER "),
        el(0x00090012, "LO", b"NODE"),
        el(0x00091101, "UN", b"orphan"),
        el(0x00091201, "SH", b"A "),
        el(0x00091202, "SH", b"B "),
    )
    if syntax == EXPLICIT:
        assert change(taken, *change_two) == wanted
        with pytest.raises(errors.UsageError, match="name its creator"):
            change(ct(), edit.Set("0009,1001", "A", vr="SH"))
    else:
        out = change(im(0x00080005), *change_two, syntax=IMPLICIT)
        made = im(0x00090010, b"NODE") + im(0x00091001, b"A ") + im(0x00091002, b"B ")
        assert out == im(0x00080005) + made
    inside = change(ct(), edit.Set('RequestAttributesSequence[0].0009,xx01 "NODE"', "A", vr="SH"))
    assert inside == request(item(el(0x00090010, "LO", b"NODE") + el(0x00091001, "SH", b"A ")))


def test_a_known_private_element_needs_no_vr() -> None:
    raw = ct(el(0x00190010, "LO", b"SIEMENS MR HEADER "))
    out = change(raw, edit.Set('0019,xx0C "SIEMENS MR HEADER"', "800"))
    assert el(0x0019100C, "IS", b"800 ") in out


def test_masks_reach_repeating_groups() -> None:
    raw = ct() + el(0x60000010, "US", b"\1\0") + el(0x60023000, "OW", b"\1\2") + el(0x60043000, "OW", b"\1\2")
    assert change(raw, edit.Remove("60xx,3000")) == ct() + el(0x60000010, "US", b"\1\0")
    assert change(raw, edit.Remove("**.60xx,xxxx")) == ct()
    with pytest.raises(errors.UsageError, match="many elements"):
        change(raw, edit.Set("60xx,3000", b"", when=edit.When.ABSENT))


def test_every_depth_is_reached_and_exceptions_kept() -> None:
    raw = request(item(accession(b"A1")), open_item(accession(b"B1"))) + accession(b"C1")
    out = change(raw, edit.Set("**.AccessionNumber", "X"))
    assert out == request(item(accession(b"X ")), open_item(accession(b"X "))) + accession(b"X ")
    out = change(
        raw,
        edit.Remove("**.@SH"),
        edit.Keep("RequestAttributesSequence[0].AccessionNumber"),
        edit.Remove("**.@IS"),
    )
    assert out == request(item(accession(b"A1")), open_item())
    assert change(raw, edit.Set("**.PatientID", "X")) == raw  # only where it is


def test_the_later_change_counts() -> None:
    raw = ct(el(0x00100020, "LO", b"AB"))
    assert change(raw, edit.Remove("PatientID"), edit.Set("PatientID", "CD")) == ct(
        el(0x00100020, "LO", b"CD")
    )
    assert change(raw, edit.Set("PatientID", "CD"), edit.Keep("PatientID")) == raw
    assert change(raw, edit.Set("PatientID", "CD"), edit.Remove("**.@LO")) == ct()
    sequence = request(item(accession(b"A1")))
    assert change(sequence, edit.Set("RequestAttributesSequence[0].AccessionNumber", "B"),
                  edit.Remove("RequestAttributesSequence")) == ct()  # fmt: skip


def test_when_says_which_state_is_waited_for() -> None:
    there, empty, absent = ct(el(0x00100020, "LO", b"AB")), ct(el(0x00100020, "LO")), ct()
    filled = ct(el(0x00100020, "LO", b"CD"))
    present = edit.Set("PatientID", "CD", when=edit.When.PRESENT)
    missing = edit.Set("PatientID", "CD", when=edit.When.ABSENT)
    assert [change(raw, present) for raw in (there, empty, absent)] == [filled, filled, absent]
    assert [change(raw, missing) for raw in (there, empty, absent)] == [there, filled, filled]


def test_functions_see_values_and_say_what_becomes_of_them() -> None:
    raw = ct(el(0x00100010, "PN", b"Doe^Jane"), el(0x00100020, "LO", b"AB"))
    seen: list[object] = []

    def prefix(value: object, facts: edit.Facts) -> object:
        seen.append((value, facts.get("PatientName"), facts.get("StudyID")))
        return f"X-{value}"

    out = change(raw, edit.Apply("PatientID", prefix, "put X- before"))
    assert seen == [("AB", "Doe^Jane", None)]
    assert out == ct(el(0x00100010, "PN", b"Doe^Jane"), el(0x00100020, "LO", b"X-AB"))
    assert change(raw, edit.Apply("PatientID", lambda value, facts: edit.KEEP)) == raw
    assert change(raw, edit.Apply("PatientID", lambda value, facts: edit.REMOVE)) == ct(
        el(0x00100010, "PN", b"Doe^Jane")
    )
    assert change(raw, edit.Apply("StudyID", lambda value, facts: "1")) == raw
    copied = edit.Apply("StudyID", lambda value, facts: facts.get("PatientID"), absent=True)
    assert change(raw, copied) == raw + el(0x00200010, "SH", b"AB")
    assert str(edit.Apply("PatientID", prefix, "put X- before")) == "put X- before PatientID"


def test_a_value_that_the_vr_cannot_hold_names_the_element() -> None:
    for name, value, why in (
        ("PatientSex", "male", "capital letters"),
        ("StudyDate", "2026-11-21", "YYYYMMDD"),
        ("StudyDate", "20260231", "YYYYMMDD"),
        ("StudyTime", "2500", "HHMMSS"),
        ("Rows", 70000, "out of range"),
        ("Rows", "many", "not a number"),
        ("InstanceNumber", "1.5", "not an integer"),
        ("PatientAge", "5", "three digits"),
        ("StudyInstanceUID", "1.2.x", "digits and dots"),
        ("StudyInstanceUID", "1" * 65, "64"),
        ("PatientID", "x" * 65, "64"),
        ("AccessionNumber", "x" * 17, "16"),
        ("SliceThickness", "thin", "decimal"),
        ("PatientName", "a^b^c^d^e^f", "five components"),
        ("PixelData", "abc", "bytes"),
        ("RequestAttributesSequence", "abc", "list of items"),
        ("RequestAttributesSequence", [{"Nonsense": 1}], "no element"),
    ):
        with pytest.raises(errors.UsageError) as caught:
            edit.edit(ct(), EXPLICIT, [edit.Set(name, value)])
        assert why in str(caught.value)
        assert name in str(caught.value) or name == "RequestAttributesSequence"


def test_a_value_too_long_for_two_length_bytes_becomes_un() -> None:
    out = change(ct(), edit.Set("SelectorISValue", ["1"] * 40_000))
    row = scan.scan(out, EXPLICIT).top[vrs.keywords()["SelectorISValue"]]
    assert scan.scan(out, EXPLICIT)[row].vr == "UN"
    assert scan.scan(out, EXPLICIT).value(row) == (1,) * 40_000


def test_us_or_ss_follows_the_pixel_representation() -> None:
    for signed, vr, raw in ((0, "US", b"\xff\xff"), (1, "SS", b"\xff\xff")):
        base = ct() + el(0x00280103, "US", bytes([signed, 0]))
        value = 65535 if vr == "US" else -1
        assert change(base, edit.Set("PixelPaddingValue", value)) == base + el(0x00280120, vr, raw)


def test_numbers_follow_the_byte_order() -> None:
    raw = el(0x00280010, "US", b"\0\1", order=">")
    assert change(raw, edit.Set("Rows", 258), syntax=BIG) == el(0x00280010, "US", b"\1\2", order=">")
    out = change(raw, edit.Set("FrameIncrementPointer", ["FrameTime", 0x00181065]), syntax=BIG)
    wanted = b"\0\x18\x10\x63\0\x18\x10\x65"
    assert out == el(0x00280009, "AT", wanted, order=">") + raw


def test_a_sequence_written_as_un_is_reached_too() -> None:
    inside = item(im(0x00080050, b"A1"))
    raw = ct() + el(REQUEST, "UN", inside)
    out = change(raw, edit.Set("**.AccessionNumber", "LONGER"))
    assert out == ct() + el(REQUEST, "UN", item(im(0x00080050, b"LONGER")))
    assert change(raw, edit.Set("RequestAttributesSequence[0].AccessionNumber", "LONGER")) == out
    garbage = ct() + el(REQUEST, "UN", b"no sequence at all")
    assert change(garbage, edit.Set("**.AccessionNumber", "X")) == garbage


def test_a_tag_that_stands_twice_is_changed_twice() -> None:
    raw = accession(b"A1") + accession(b"B1")
    assert change(raw, edit.Set("AccessionNumber", "C")) == accession(b"C ") + accession(b"C ")
    assert change(raw, edit.Remove("AccessionNumber"), edit.Set("StudyID", "1")) == el(
        0x00200010, "SH", b"1 "
    )


def test_elements_out_of_order_do_not_mislead_an_insert() -> None:
    raw = el(0x00200010, "SH", b"1 ") + accession(b"A1")
    out = change(raw, edit.Set("PatientID", "AB"))
    assert out == el(0x00100020, "LO", b"AB") + el(0x00200010, "SH", b"1 ") + accession(b"A1")


def test_inserts_keep_before_the_padding_and_the_pixels() -> None:
    pixels = el(0x7FE00010, "OW", bytes(8))
    padding = el(0xFFFCFFFC, "OB", bytes(4))
    assert change(ct() + pixels + padding, edit.Set("StudyID", "1")) == (
        ct() + el(0x00200010, "SH", b"1 ") + pixels + padding
    )
    assert change(ct() + bytes(20), edit.Set("StudyID", "1")) == ct() + el(0x00200010, "SH", b"1 ") + bytes(
        20
    )


def test_encapsulated_pixels_stay_and_may_go_but_cannot_be_set() -> None:
    table = b"\0\0\0\0\x0a\0\0\0"
    pixels = el(0x7FE00010, "OB", item(table) + item(b"12") + item(b"34") + im(0xFFFEE0DD), 0xFFFFFFFF)
    raw = ct() + pixels
    out = change(raw, edit.Set("StudyDescription", "moved by some bytes"))
    assert out.endswith(pixels)
    parsed = scan.scan(out, EXPLICIT)
    assert parsed.offset_table(parsed.top[vrs.PIXEL_DATA]) == (0, 10)
    assert [out[a:b] for a, b in parsed.fragments(parsed.top[vrs.PIXEL_DATA])] == [b"12", b"34"]
    assert change(raw, edit.Remove("PixelData")) == ct()
    with pytest.raises(errors.UsageError, match="encapsulated"):
        change(raw, edit.Set("PixelData", b"1234"))


def test_the_extended_offset_table_is_read_and_stays() -> None:
    offsets, sizes = struct.pack("<2Q", 0, 10), struct.pack("<2Q", 2, 2)
    extended = el(0x7FE00001, "OV", offsets) + el(0x7FE00002, "OV", sizes)
    pixels = el(0x7FE00010, "OB", item() + item(b"12") + item(b"34") + im(0xFFFEE0DD), 0xFFFFFFFF)
    out = change(ct() + extended + pixels, edit.Set("StudyDescription", "moved"), syntax=JPEG)
    table = scan.scan(out, JPEG)
    assert table.extended_offsets() == ((0, 10), (2, 2))
    row = table.top[vrs.PIXEL_DATA]
    assert table.offset_table(row) == ()
    first = table.fragments(row)[0][0] - 8  # offsets are counted from the first fragment's item
    for start, size, (begin, end) in zip((0, 10), (2, 2), table.fragments(row), strict=True):
        assert (first + start + 8, first + start + 8 + size) == (begin, end)
    with pytest.raises(errors.UsageError, match="fragments"):
        change(ct(), edit.Set("PixelData", b"12"), syntax=JPEG)


def test_a_private_value_in_implicit_vr_is_read_by_its_creator() -> None:
    raw = im(0x00190010, b"SIEMENS MR HEADER ") + im(0x0019100C, b"800 ")
    table = scan.scan(raw, IMPLICIT)
    assert table.value(1) == 800
    assert scan.scan(im(0x0019100C, b"800 "), IMPLICIT).value(0) == b"800 "


def test_hundreds_of_rules_are_one_look_at_each_element() -> None:
    names = [name for name in sorted(vrs.keywords()) if vrs.keywords()[name] >> 16 < 0x0070][:600]
    program = edit.Program([edit.Remove(f"**.{name}") for name in names if name != "SpecificCharacterSet"])
    raw = request(item(accession(b"A1")))
    looked_up = {0x00080050} & set(program.anywhere)
    out = edit.edit(raw, EXPLICIT, program).tobytes()
    assert (accession(b"A1") in out) == (not looked_up)
    assert len(program.anywhere) > 500
    assert program.describe()[0].startswith("remove **.")


def test_a_function_is_not_asked_for_classes_and_schemes() -> None:
    private_class = ui(0x00080016, "1.3.12.2.1107.5.9.1") + ui(0x00080018, "1.2.3.4")
    scheme = el(0x00080110, "SQ", item(ui(0x0008010C, "1.2.276.0")))
    asked: list[str] = []

    def remap(uid: str) -> str:
        asked.append(uid)
        return uid + ".1"

    out = change(private_class + scheme, edit.RemapUids(remap))
    assert asked == ["1.2.3.4"]
    assert out == ui(0x00080016, "1.3.12.2.1107.5.9.1") + ui(0x00080018, "1.2.3.4.1") + scheme
    assert ui(0x00080016, "9.9") in change(private_class, edit.RemapUids({"1.3.12.2.1107.5.9.1": "9.9"}))
    kept = change(private_class + scheme, edit.Remove("**.CodingSchemeUID"), edit.RemapUids(remap))
    assert ui(0x0008010C, "1.2.276.0") not in kept


def test_uids_are_derived_for_all_but_the_standards_own() -> None:
    raw = ct(
        open_sequence(
            0x00081140, open_item(ui(0x00081150, "1.2.840.10008.5.1.4.1.1.2") + ui(0x00081155, "1.2.3.4"))
        )
    )
    out = scan.scan(change(raw, edit.RemapUids(lambda uid: uid + ".99")), EXPLICIT)
    values = [out.value(at) for at, row in enumerate(out.rows) if row[1] == "UI"]
    standard = "1.2.840.10008.5.1.4.1.1.2"
    assert values == [standard, "1.2.3.4.99", standard, "1.2.3.4.99", "1.2.3.99", "1.2.3.5.99"]
