"""What conditions look at: nested, private, repeated, and what a hostile header makes of it."""

from __future__ import annotations

import struct

import pytest

from node.dicom import header
from tests.unit.dicom.build import BIG, EXPLICIT, IMPLICIT, ct, el, im, item, open_item, open_sequence

REQUEST = 0x00400275
STEP = "RequestAttributesSequence.ScheduledProcedureStepID"
SIEMENS = '0019,xx0C "SIEMENS MR HEADER"'


def step(text: bytes) -> bytes:
    return item(el(0x00400009, "SH", text))


def test_any_item_of_a_sequence_or_the_one_that_is_named() -> None:
    raw = ct() + el(REQUEST, "SQ", step(b"A1") + item(b"") + step(b"B2"))
    found = header.texts(raw, EXPLICIT, [STEP, STEP.replace(".", "[2]."), STEP.replace(".", "[9].")])
    assert list(found.values()) == [("A1", "B2"), ("B2",), ()]


def test_a_sequence_of_unknown_length_and_one_in_another() -> None:
    deep = el(0x00400260, "SQ", item(el(0x00080100, "SH", b"CODE")))
    raw = ct() + open_sequence(
        REQUEST, open_item(el(0x00400008, "SQ", item(el(0x00080100, "SH", b"X"))) + deep)
    )
    found = header.texts(
        raw,
        EXPLICIT,
        [
            "RequestAttributesSequence.PerformedProtocolCodeSequence.CodeValue",
            "0040,0275.0040,0008.0008,0100",
        ],
    )
    assert list(found.values()) == [("CODE",), ("X",)]


@pytest.mark.parametrize("block", [0x10, 0x11, 0xFF])
def test_a_private_element_lies_where_its_creator_says(block: int) -> None:
    raw = (
        el(0x00190000 | block, "LO", b"SIEMENS MR HEADER ")
        + el(0x00190000 | block << 8 | 0x0C, "IS", b"1000")
        + el(0x00210010, "LO", b"SIEMENS MR HEADER ")
        + el(0x0021100C, "IS", b"7 ")
    )
    found = header.texts(raw, EXPLICIT, [SIEMENS, '0019,xx0C "ANOTHER"', "0019,xx0C", "0021,100c"])
    assert list(found.values()) == [("1000",), (), ("1000",), ("7",)]


def test_who_claims_a_block_first_has_it() -> None:
    raw = el(0x00190010, "LO", b"MINE") + el(0x00190010, "LO", b"YOURS ") + el(0x0019100C, "LO", b"x ")
    found = header.texts(raw, EXPLICIT, ['0019,xx0C "MINE"', '0019,xx0C "YOURS"'])
    assert list(found.values()) == [("x",), ()]


def test_a_private_element_that_no_dictionary_knows_is_text_if_it_looks_so() -> None:
    raw = im(0x00190010, b"NOBODY'S") + im(0x0019100C, b"A\\ B ") + im(0x0019100D, b"\x01\x02\x03\x04")
    found = header.texts(raw, IMPLICIT, ['0019,xx0C "NOBODY\'S"', '0019,xx0D "NOBODY\'S"'])
    assert list(found.values()) == [("A", "B"), ()]


def test_numbers_are_shown_as_they_are_written() -> None:
    raw = el(0x00180050, "DS", b"2.50") + el(0x00280010, "US", struct.pack("<H", 512))
    assert header.texts(raw, EXPLICIT, ["SliceThickness", "Rows", "0028,0011"]) == {
        "SliceThickness": ("2.50",),
        "Rows": ("512",),
        "0028,0011": (),
    }


def test_what_is_no_text_has_no_values() -> None:
    raw = ct() + el(REQUEST, "SQ", step(b"A")) + el(0x00420011, "OB", b"%PDF")
    assert header.texts(raw, EXPLICIT, ["RequestAttributesSequence", "EncapsulatedDocument"]) == {
        "RequestAttributesSequence": (),
        "EncapsulatedDocument": (),
    }


def test_big_endian() -> None:
    raw = el(0x00280010, "US", struct.pack(">H", 300), order=">")
    assert header.texts(raw, BIG, ["Rows"]) == {"Rows": ("300",)}


def nested(depth: int) -> bytes:
    opening = (
        struct.pack("<HH", 0x0040, 0x0275) + b"SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    )
    closing = b"\xfe\xff\x0d\xe0\0\0\0\0" + b"\xfe\xff\xdd\xe0\0\0\0\0"
    return opening * depth + closing * depth


def test_20000_nested_sequences_are_looked_through_no_deeper_than_the_path_goes() -> None:
    raw = ct() + nested(20_000)
    path = ".".join(["RequestAttributesSequence"] * 100 + ["ScheduledProcedureStepID"])
    assert header.texts(raw, EXPLICIT, [STEP, path, SIEMENS]) == {STEP: (), path: (), SIEMENS: ()}


def test_100000_private_elements_and_as_many_items_are_bounded() -> None:
    one = el(0x0019100C, "LO", b"v ")
    raw = el(0x00190010, "LO", b"SIEMENS MR HEADER ") + one * 100_000
    assert len(header.texts(raw, EXPLICIT, [SIEMENS])[SIEMENS]) == 4096
    raw = ct() + el(REQUEST, "SQ", step(b"A1") * 20_000)
    assert len(header.texts(raw, EXPLICIT, [STEP])[STEP]) == 4096
