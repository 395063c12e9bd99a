"""HOSTILE 32 to 37, as bytes: sound framing is taken however strange, a lie is named with offset and tag."""

from __future__ import annotations

import mmap
import struct
import tracemalloc
import zlib
from pathlib import Path

import pytest

from node import errors
from node.dicom import edit, header, scan, walk
from node.dicom import syntax as syntaxes
from tests.unit.dicom.build import (
    BIG,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    JPEG,
    UNDEFINED,
    ct,
    el,
    im,
    item,
    open_item,
    open_sequence,
)


def nested(depth: int, *, undefined: bool, explicit: bool = True) -> bytes:
    """Sequences within each other, built without recursion."""
    head = 12 if explicit else 8
    if undefined:
        one = (
            el(0x00081140, "SQ", length=UNDEFINED) if explicit else im(0x00081140, length=UNDEFINED)
        ) + item(length=UNDEFINED)
        return one * depth + (im(0xFFFEE00D) + im(0xFFFEE0DD)) * depth
    parts: list[bytes] = []
    inner = 0
    for _ in range(depth):
        parts.append(item(length=inner))
        inner += 8
        parts.append(el(0x00081140, "SQ", length=inner) if explicit else im(0x00081140, length=inner))
        inner += head
    return b"".join(reversed(parts))


@pytest.mark.parametrize("depth", [1000, 20_000])
@pytest.mark.parametrize("undefined", [True, False])
@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
def test_sequences_nested_without_end_are_walked(depth: int, undefined: bool, syntax: str) -> None:
    raw = nested(depth, undefined=undefined, explicit=syntax == EXPLICIT)
    scan.check(raw, syntax)
    table = scan.scan(raw, syntax)
    assert len(table) == 2 * depth
    assert {element.end for element in table if element.parent < 0} == {len(raw)}
    assert header.attributes(raw, syntax).study is None
    with pytest.raises(errors.BadData):
        scan.check(raw[:-1], syntax)
    with pytest.raises(errors.BadData):
        scan.check(raw, syntax, depth=depth // 2)
    with pytest.raises(errors.BadData):
        scan.scan(raw, syntax, depth=depth // 2)


@pytest.mark.parametrize("undefined", [True, False])
def test_the_innermost_of_many_sequences_is_edited(undefined: bool) -> None:
    raw = nested(5000, undefined=undefined)
    table = scan.scan(raw, EXPLICIT)
    place = table[len(table) - 1].offset
    deep = raw[:place] + el(0x00100020, "LO", b"AB") + raw[place:]
    if not undefined:  # every length around it grows
        fixed = bytearray(deep)
        for element in table:
            size = element.end - element.offset + 10
            fixed[element.offset - 4 : element.offset] = struct.pack("<I", size)
        deep = bytes(fixed)
    scan.check(deep, EXPLICIT)
    out = edit.edit(deep, EXPLICIT, [edit.Set("**.PatientID", "ABCDEFGH")]).tobytes()
    assert len(out) == len(deep) + 6
    assert edit.edit(out, EXPLICIT, [edit.Set("**.PatientID", "AB")]).tobytes() == deep
    assert edit.edit(deep, EXPLICIT, [edit.Remove("**.PatientID")]).tobytes() == raw


def test_every_level_of_many_is_edited_without_squaring_the_work() -> None:
    depth = 10_000
    head = el(0x00081140, "SQ", length=UNDEFINED) + item(el(0x00080050, "SH", b"AB"), UNDEFINED)
    raw = head * depth + (im(0xFFFEE00D) + im(0xFFFEE0DD)) * depth
    result = edit.edit(raw, EXPLICIT, [edit.Set("**.AccessionNumber", "LONGER")])
    assert result.length == len(raw) + 4 * depth
    scan.check(result.tobytes(), EXPLICIT)
    told = result.differences()
    assert len(told) == depth
    assert told[0].path == "ReferencedImageSequence[0].AccessionNumber"
    assert told[-1].path.startswith("...")
    wide = el(0x00081140, "SQ", item(el(0x00080050, "SH", b"AB")) * 20_000)
    told = edit.edit(wide, EXPLICIT, [edit.Remove("**.AccessionNumber")]).differences()
    assert told[-1].path == "ReferencedImageSequence[19999].AccessionNumber"


@pytest.mark.parametrize(
    ("raw", "offset", "tag"),
    [
        (ct(el(0x00100010, "PN", b"AB", 400)), 50, 0x00100010),
        (ct(el(0x00100010, "OB", b"AB", 0x7FFFFFFF)), 50, 0x00100010),
        (el(0x00081140, "SQ", item(b"", 8)), 12, 0xFFFEE000),
        (el(0x00081140, "SQ", item(el(0x00080050, "SH", b"AB", 4)) + item(b"12345678")), 20, 0x00080050),
        (open_sequence(0x00081140, open_item(el(0x00080050, "SH", b"AB", 9000))), 20, 0x00080050),
        (el(0x00081140, "SQ", b"12345678"), 12, 0x32313433),
        (el(0x7FE00010, "OB", item() + item(b"12", 60) + im(0xFFFEE0DD), UNDEFINED), 20, 0xFFFEE000),
        (el(0x00100010, "PN", b"AB", 0) + b"AB", 8, None),
        (el(0x00100010, "LO", length=2), 0, 0x00100010),
        (im(0xFFFEE000), 0, 0xFFFEE000),
    ],
    ids=range(10),
)
def test_a_lying_length_is_named(raw: bytes, offset: int, tag: int | None) -> None:
    for walker in (scan.scan, scan.check):
        with pytest.raises(errors.BadData) as caught:
            walker(raw, EXPLICIT)
        assert caught.value.offset == offset
        assert caught.value.tag == tag


@pytest.mark.parametrize("vr", ["PN", "UI", "UT", "OF"])
def test_only_sequences_and_pixels_may_have_no_length(vr: str) -> None:
    raw = struct.pack("<HH2sHI", 0x10, 0x10, vr.encode(), 0, UNDEFINED) + bytes(40)
    if vr in ("UT", "OF"):
        with pytest.raises(errors.BadData, match="undefined length"):
            scan.check(raw, EXPLICIT)
    with pytest.raises(errors.BadData):
        scan.scan(im(0x00100010, length=UNDEFINED), IMPLICIT)


def test_a_missing_delimiter_is_a_data_set_that_breaks_off() -> None:
    raw = open_sequence(0x00081140, open_item())
    for cut in (8, 16):
        with pytest.raises(errors.BadData):
            scan.check(raw[:-cut], EXPLICIT)
        with pytest.raises(errors.BadData):
            scan.scan(raw[:-cut], EXPLICIT)


def test_a_deflated_bomb_takes_no_more_memory_than_its_cap() -> None:
    engine = zlib.compressobj(9, zlib.DEFLATED, -15)
    raw = engine.compress(ct() + el(0x7FE00010, "OW", length=64 << 20) + bytes(64 << 20)) + engine.flush()
    assert len(raw) < 80_000
    tracemalloc.start()
    with pytest.raises(errors.BadData, match="more than"):
        scan.check(raw, DEFLATED, cap=1 << 20)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 << 20
    with pytest.raises(errors.BadData):
        syntaxes.inflate(raw[: len(raw) // 2], 128 << 20)
    with pytest.raises(errors.BadData, match="cannot be inflated"):
        syntaxes.inflate(b"\xff" * 64)


def test_a_deflated_data_set_is_read_and_edited() -> None:
    raw = syntaxes.deflate(ct(el(0x00100020, "LO", b"AB")))
    assert scan.check(raw, DEFLATED).sop_instance == "1.2.3.4"
    assert header.attributes(raw, DEFLATED).patient_id == "AB"
    out = edit.edit(raw, DEFLATED, [edit.Set("PatientID", "CDE")])
    assert syntaxes.inflate(out.tobytes()) == ct(el(0x00100020, "LO", b"CDE "))
    assert len(out.tobytes()) == out.length
    assert not edit.edit(raw, DEFLATED, [edit.Set("PatientID", "AB")]).changed


def test_pixels_that_claim_the_impossible_are_only_framed() -> None:
    raw = (
        el(0x00280008, "IS", b"65535 ")
        + el(0x00280010, "US", b"\xff\xff")
        + el(0x00280011, "US", b"\xff\xff")
    )
    raw += el(0x7FE00010, "OW", b"\0\0")
    scan.check(raw, EXPLICIT)
    found = header.attributes(raw, EXPLICIT)
    assert (found.frames, found.rows, found.columns) == (65535, 65535, 65535)


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG, JPEG])
def test_a_whole_file_sent_as_a_data_set_is_refused(syntax: str) -> None:
    raw = bytes(128) + b"DICM" + el(0x00020000, "UL", b"\0\0\0\0") + ct()
    for start in (b"", b"MZ", b"\x7fELF", b"#!/bin/sh\n"):
        whole = start + raw[len(start) :]
        with pytest.raises(errors.BadData, match="a whole file"):
            scan.check(whole, syntax)


@pytest.mark.parametrize(
    ("raw", "syntax"),
    [
        (el(0x00020010, "UI", b"1.2\0"), EXPLICIT),
        (im(0x00000000, b"\0\0\0\1") + im(0x00000100, b"\1\0"), IMPLICIT),
        (ct(), IMPLICIT),
        (im(0x00080005, b"ISO_IR 100"), EXPLICIT),
        (el(0x00080005, "CS", b"ISO_IR 100", order=">"), EXPLICIT),
        (el(0x00080005, "CS", b"ISO_IR 100"), BIG),
        (b"GET / HTTP/1.1\r\nHost: example\r\n\r\n", EXPLICIT),
        (b"\0\1", EXPLICIT),
        (b"\xff" * 100, IMPLICIT),
    ],
)
def test_what_is_no_data_set_of_the_syntax_is_refused(raw: bytes, syntax: str) -> None:
    with pytest.raises(errors.BadData):
        scan.check(raw, syntax)
    with pytest.raises(errors.BadData):
        scan.scan(raw, syntax)


def test_what_the_field_gets_away_with_is_taken() -> None:
    for raw in (
        ct(el(0x00100010, "PN", b"ODD")),  # an odd length
        ct() + bytes(7),  # zero bytes behind the end
        ct() + bytes(1000),
        b"",
        ct(el(0x00080000, "UL", b"\xff\xff\xff\x7f")),  # a group length that is wrong
        el(0x00081140, "SQ", item() + im(0xFFFEE0DD)),  # a delimiter in a defined length
        el(0x00081140, "SQ", item(el(0x00080050, "SH", b"AB") + im(0xFFFEE00D))),
        el(0x00081140, "SQ", item(im(0x00080050, b"AB"))),  # implicit VR in an item
        el(0x00091001, "ZZ", b"AB"),  # a VR that nobody knows
        open_sequence(0x00081140, open_item(im(0x00080050, b"AB")), vr="UN"),
        el(0x00200013, "IS", b"1 ") + el(0x00100010, "PN", b"A "),  # not in order
        el(0xFFFCFFFC, "OB", bytes(10)),  # data set trailing padding
    ):
        scan.check(raw, EXPLICIT)
        table = scan.scan(raw, EXPLICIT)
        assert edit.edit(raw, EXPLICIT, []).tobytes() == raw
        assert table.end <= len(raw)


def test_more_elements_than_a_table_holds_are_refused_by_the_table_alone() -> None:
    raw = el(0x00080050, "SH") * 2000 + el(0x00081140, "SQ", item(el(0x00080050, "SH") * 2000))
    scan.check(raw, EXPLICIT)
    for most in (100, 2500):
        with pytest.raises(errors.BadData, match="more than"):
            walk.walk(raw, 0, len(raw), scan.encoding(EXPLICIT), most=most)


def test_memory_is_flat_however_many_elements_are_checked() -> None:
    raw = el(0x00080050, "SH") * 100_000
    tracemalloc.start()
    scan.check(raw, EXPLICIT)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 << 20


def test_a_mapped_file_is_read_as_bytes_are(tmp_path: Path) -> None:
    raw = ct(el(0x00100010, "PN", "Müller".encode("latin-1") + b"^A"))
    path = tmp_path / "a"
    path.write_bytes(raw)
    with path.open("rb") as source, mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert (
            scan.check(mapped, EXPLICIT) == scan.check(raw, EXPLICIT) == scan.check(memoryview(raw), EXPLICIT)
        )
        assert header.attributes(mapped, EXPLICIT) == header.attributes(memoryview(raw), EXPLICIT)
        assert scan.scan(mapped, EXPLICIT).rows == scan.scan(bytearray(raw), EXPLICIT).rows
        result = edit.edit(mapped, EXPLICIT, [edit.Set("PatientName", "B")])
        assert scan.scan(result.tobytes(), EXPLICIT).get(0x00100010) == "B"
        del result


def test_a_uid_that_stands_twice_counts_as_its_first() -> None:
    raw = ct() + el(0x0020000E, "UI", b"9.9\0")
    assert scan.check(raw, EXPLICIT).series == "1.2.3.5"
    assert header.attributes(raw, EXPLICIT).series == "1.2.3.5"


def test_the_same_header_again_gives_the_same_rows_and_one_that_differs_does_not() -> None:
    raw = b"".join(el(0x00180000 | n, "SH", b"AB") for n in range(100))
    first = scan.scan(raw, EXPLICIT).rows
    assert scan.scan(raw, EXPLICIT).rows == scan.scan(raw, EXPLICIT).rows == first
    for at in (0, 399, 990 - 6):  # a tag, a VR, a length inside runs that are known by now
        bent = bytearray(raw)
        bent[at] ^= 1
        try:
            rows = scan.scan(bytes(bent), EXPLICIT).rows
        except errors.BadData:
            continue
        assert (
            rows != first or bent[at // 10 * 10 : at // 10 * 10 + 8] == raw[at // 10 * 10 : at // 10 * 10 + 8]
        )
    with pytest.raises(errors.BadData):
        scan.scan(raw[:-1], EXPLICIT)
    shorter = scan.scan(raw, EXPLICIT, stop=0x00180010)
    assert [row[0] for row in shorter.rows] == [0x00180000 | n for n in range(16)]
