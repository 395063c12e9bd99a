"""Elements in other encodings: every VR, sequences in both length forms, private blocks, what is unknown."""

from __future__ import annotations

import io
import pathlib
import struct
import subprocess

import hypothesis
import pydicom
import pytest

from node import errors
from node.dicom import scan, transcode
from node.dicom import syntax as syntaxes
from tests import make, peers
from tests.unit.dicom import datasets

EXPLICIT, IMPLICIT, BIG = make.EXPLICIT, make.IMPLICIT, make.BIG
PLAIN = (EXPLICIT, IMPLICIT, BIG)


def made(data: bytes, syntax: str, target: str) -> bytes:
    out = io.BytesIO()
    transcode.transcode(data, syntax, target, out)
    return out.getvalue()


WORDS = bytes(range(64))
# Public elements, so that implicit VR tells what they are.
EVERY = [
    make.element(0x00080001, "UL", 7),
    make.element(0x00080005, "CS", "ISO_IR 100"),
    make.element(0x00080016, "UI", make.SECONDARY),
    make.element(0x00080018, "UI", make.uid("every")),
    make.element(0x0008002A, "DT", "20260102030405.5+0100"),
    make.element(0x00080054, "AE", "ARCHIVE"),
    make.element(0x00080119, "UC", "unlimited characters"),
    make.element(0x00081190, "UR", "http://synthetic.invalid/"),
    make.element(0x00100010, "PN", "SYNTHETIC^ALPHA"),
    make.element(0x00101010, "AS", "042Y"),
    make.element(0x00104000, "LT", "long text"),
    make.element(0x00189073, "FD", [0.5, -2.25]),
    make.Element(0x00209165, "AT", struct.pack("<HHHH", 0x0018, 0x9087, 0x0020, 0x9241)),
    make.element(0x00280002, "US", 1),
    make.element(0x00280010, "US", 4),
    make.element(0x00280011, "US", 8),
    make.element(0x00280100, "US", 16),
    make.element(0x00280101, "US", 12),
    make.element(0x00280103, "US", 1),
    make.element(0x00280106, "SS", -5),
    make.element(0x00280107, "SS", 77),
    make.Element(0x00281201, "OW", WORDS),
    make.element(0x0040A123, "PN", "OBSERVER^SYNTHETIC"),
    make.element(0x0040A160, "UT", "unlimited text"),
    make.element(0x00409211, "SS", -3),
    make.element(0x00409224, "FD", 0.125),
    make.element(0x00420011, "OB", b"%PDF-synthetic"),
    make.Element(0x00660016, "OF", WORDS),
    make.Element(0x00660040, "OL", WORDS),
    make.Element(0x00720073, "OD", WORDS),
    make.Element(0x00720081, "OV", WORDS),
    make.element(0x00720082, "SV", [-9, 2]),
    make.element(0x00720083, "UV", 1 << 40),
    make.element(0x00720078, "UL", 99),
    make.element(0x0072007C, "SL", -99),
    make.element(0x00720076, "FL", 1.5),
    make.element(0x00741027, "FD", 0.25),
]
INNER = (
    make.element(0x00080100, "SH", "CODE"),
    make.element(0x00280103, "US", 0),
    make.element(0x00280106, "US", 65000),
    make.element(0x00400008, "SQ", [(make.element(0x00080100, "SH", "DEEP"),), ()]),
    make.Element(0x00281201, "OW", WORDS),
)
SEQUENCES = [
    make.element(0x00081032, "SQ", [INNER, INNER]),
    make.element(0x00081110, "SQ", []),
    make.element(0x00400275, "SQ", [(make.element(0x00280106, "SS", -1),)]),
]


def whole(syntax: str, lengths: make.Lengths) -> bytes:
    elements = sorted([*EVERY, *SEQUENCES], key=lambda one: one.tag)
    pixels = make.Element(0x7FE00010, "OW", WORDS)
    return make.encode([*elements, pixels], syntax, lengths)


@pytest.mark.parametrize("lengths", ["defined", "undefined"])
@pytest.mark.parametrize("source", PLAIN)
@pytest.mark.parametrize("target", PLAIN)
def test_every_vr_in_every_encoding(source: str, target: str, lengths: make.Lengths) -> None:
    """Against what the maker of test data writes, which shares no line with the node."""
    if source == target:
        assert transcode.targets(source)
        return
    assert made(whole(source, lengths), source, target) == whole(target, lengths)


def test_deflated_there_and_back() -> None:
    data = whole(EXPLICIT, "undefined")
    packed = made(whole(BIG, "undefined"), BIG, make.DEFLATED)
    assert len(packed) % 2 == 0
    assert syntaxes.inflate(packed).rstrip(b"\0") == data.rstrip(b"\0")
    assert made(packed, make.DEFLATED, IMPLICIT) == whole(IMPLICIT, "undefined")


def test_private_elements_keep_their_bytes_and_known_ones_their_vr() -> None:
    block = [
        make.element(0x00190010, "LO", "SIEMENS MR HEADER"),
        make.element(0x00191008, "CS", "IMAGE NUM 4"),
        make.element(0x00191028, "FD", 10.5),
        make.element(0x00210010, "LO", "NOBODY KNOWS THIS"),
        make.element(0x00211001, "UN", b"\1\2\3\4"),
    ]
    assert made(make.encode(block, IMPLICIT), IMPLICIT, EXPLICIT) == make.encode(block, EXPLICIT)
    assert made(make.encode(block, EXPLICIT), EXPLICIT, IMPLICIT) == make.encode(block, IMPLICIT)
    # What nobody knows has no words that could be turned round.
    assert made(make.encode(block, IMPLICIT), IMPLICIT, BIG).endswith(b"UN\0\0\0\0\0\4\1\2\3\4")


def test_a_sequence_written_as_unknown_stays_what_it_is() -> None:
    inner = make.encode_plain([make.element(0x00080100, "SH", "CODE")], IMPLICIT, "undefined")
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF) + inner + struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
    end = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    data = struct.pack("<HH2sHI", 0x0011, 0x1001, b"UN", 0, 0xFFFFFFFF) + item + end
    # In big endian nobody reads little endian items within: they go as bytes that nobody looks into.
    there = made(data, EXPLICIT, BIG)
    assert there == struct.pack(">HH2sHI", 0x0011, 0x1001, b"UN", 0, len(item)) + item
    assert made(there, BIG, EXPLICIT)[12:] == item
    assert made(data, EXPLICIT, IMPLICIT)[8:] == item + end


def test_a_sequence_written_as_unknown_in_big_endian_is_refused() -> None:
    """Nobody can say in which order what is in it is written."""
    data = struct.pack(">HH2sHI", 0x0011, 0x1001, b"UN", 0, 0xFFFFFFFF) + struct.pack(
        ">HHI", 0xFFFE, 0xE0DD, 0
    )
    with pytest.raises(errors.UsageError, match="big endian"):
        made(data, BIG, EXPLICIT)


def test_group_lengths_that_would_be_wrong_are_left_out() -> None:
    elements = [make.element(0x00080000, "UL", 22), make.element(0x00080060, "CS", "CT")]
    assert made(make.encode(elements), EXPLICIT, IMPLICIT) == make.encode(elements[1:], IMPLICIT)


def test_a_text_too_long_for_its_vr_goes_as_unknown() -> None:
    long = make.element(0x00104000, "LT", "x" * 70000)
    data = made(make.encode([long], IMPLICIT), IMPLICIT, EXPLICIT)
    assert data[4:6] == b"UN"
    assert made(data, EXPLICIT, IMPLICIT) == make.encode([long], IMPLICIT)


def test_odd_lengths_become_even() -> None:
    data = struct.pack("<HH2sH", 0x0008, 0x0060, b"CS", 1) + b"X"
    data += struct.pack("<HH2sH", 0x0010, 0x0020, b"LO", 2) + b"ID"
    assert made(data, EXPLICIT, IMPLICIT) == make.encode(
        [make.element(0x00080060, "CS", "X "), make.element(0x00100020, "LO", "ID")], IMPLICIT
    )


def test_what_follows_the_pixels_is_kept() -> None:
    elements = [
        make.element(0x00280100, "US", 8),
        make.Element(0x7FE00010, "OB", b"\1\2\3\4"),
        make.Element(0xFFFCFFFC, "OB", bytes(6)),
    ]
    for source in PLAIN:
        for target in PLAIN:
            if source != target:
                assert made(make.encode(elements, source), source, target) == make.encode(elements, target)


def test_twenty_thousand_sequences_within_each_other() -> None:
    deep = 20_000
    head = struct.pack("<HH2sHI", 0x0040, 0xA730, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    tail = struct.pack("<HHI", 0xFFFE, 0xE00D, 0) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    data = head * deep + tail * deep
    there = made(data, EXPLICIT, BIG)
    assert len(there) == len(data)
    assert made(there, BIG, EXPLICIT) == data


def test_lengths_that_lie_are_refused() -> None:
    data = whole(EXPLICIT, "defined")
    for cut in (5, 100, len(data) - 20):
        with pytest.raises(errors.BadData):
            made(data[:cut], EXPLICIT, IMPLICIT)


@pytest.mark.parametrize("source", PLAIN)
@pytest.mark.parametrize("target", PLAIN)
def test_dcmtk_writes_the_same(source: str, target: str, tmp_path: pathlib.Path) -> None:
    if source == target:
        return
    words = {EXPLICIT: "+te", IMPLICIT: "+ti", BIG: "+tb"}[target]
    before, after = tmp_path / "before", tmp_path / "after"
    one = make.instance(seed=3, syntax=source, lengths="undefined")
    before.write_bytes(make.part10(one))
    call = [peers.require("dcmconv"), words, "-e", "-g", str(before), str(after)]
    subprocess.run(call, check=True, capture_output=True)
    theirs = pydicom.dcmread(after)
    ours = datasets.read(made(one.data, source, target), target)
    # DCMTK writes a private element that it does not know as unknown.
    assert [one.tag for one in ours] == [one.tag for one in theirs]
    for mine in ours:
        other = theirs[mine.tag]
        if not mine.tag.is_private:
            assert (mine.VR, mine.value) == (other.VR, other.value), mine


@hypothesis.settings(max_examples=40, deadline=None)
@hypothesis.given(hypothesis.strategies.data())
def test_there_and_back_is_the_same(data: hypothesis.strategies.DataObject) -> None:
    """From explicit VR through each other encoding."""
    raw = datasets.write(data.draw(datasets.datasets()), EXPLICIT)
    # What that writes with an odd length has an even one from the first time on.
    first = made(made(raw, EXPLICIT, BIG), BIG, EXPLICIT)
    assert made(made(first, EXPLICIT, BIG), BIG, EXPLICIT) == first
    back = made(made(first, EXPLICIT, IMPLICIT), IMPLICIT, EXPLICIT)
    before, middle, after = ([row.tag for row in scan.scan(one, EXPLICIT)] for one in (raw, first, back))
    assert before == middle == after
