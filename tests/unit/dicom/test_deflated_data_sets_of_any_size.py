"""A deflated data set is checked and read while it is inflated: the same answers, in bounded memory."""

from __future__ import annotations

import random
import struct
import tracemalloc
import zlib

import pytest

from node import errors, model
from node.dicom import header, inflating, scan, walk
from node.dicom import syntax as syntaxes
from tests import make

DEFLATED = syntaxes.DEFLATED_LITTLE
UIDS = (0x00080016, 0x00080018, 0x0020000D, 0x0020000E)
LARGE = 300 << 20


def streamed(raw: bytes) -> model.Identity:
    found = inflating.check(raw, UIDS, cap=1 << 30, depth=walk.DEPTH)
    return model.Identity(*(str(found.get(tag, b""), "latin-1").rstrip("\0 ") for tag in UIDS))


def deflated(*parts: bytes, zeros: int = 0) -> bytes:
    """Deflated as a whole; the zeros, by the MiB, stand before the last part."""
    engine = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    out = [engine.compress(part) for part in parts[:-1]]
    out += [engine.compress(bytes(1 << 20)) for _ in range(zeros >> 20)]
    return b"".join((*out, engine.compress(parts[-1]), engine.flush()))


def element(tag: int, vr: bytes, length: int) -> bytes:
    return struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, vr, 0, length)


MADE = [
    make.instance(1, seed="deflated", size=3000),
    make.instance(2, seed="deflated", size=700, syntax=make.RLE),
    make.nested(40, "defined"),
    make.nested(40, "undefined"),
]


@pytest.mark.parametrize("number", range(len(MADE)))
def test_it_judges_as_the_check_of_inflated_ones(number: int) -> None:
    dice = random.Random(number)
    whole = MADE[number].data
    soundly = 0
    for turn in range(300):
        data = bytearray(whole)
        if turn:
            for _ in range(dice.randint(1, 3)):
                data[dice.randrange(len(data))] = dice.choice((0, 1, 4, 255, dice.randrange(256)))
        if turn % 5 == 4:
            del data[dice.randrange(len(data)) :]
        if turn % 7 == 6:
            data += bytes(dice.randrange(20))
        try:
            expected: model.Identity | None = scan.check(data, make.EXPLICIT)
        except errors.BadData:
            expected = None
        try:
            found: model.Identity | None = streamed(syntaxes.deflate(bytes(data)))
        except errors.BadData:
            found = None
        assert found == expected, bytes(data)
        soundly += found is not None
    assert 10 < soundly < 300


def test_its_header_is_read_up_to_the_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = [syntaxes.deflate(made.data) for made in MADE]
    expected = [header.attributes(one, DEFLATED) for one in raw]
    monkeypatch.setattr(inflating, "SMALL", 0)
    assert [header.attributes(one, DEFLATED) for one in raw] == expected
    assert header.texts(raw[0], DEFLATED, ["Modality", "PatientID"]) == header.texts(
        MADE[0].data, make.EXPLICIT, ["Modality", "PatientID"]
    )


def test_three_hundred_mebibytes_take_the_memory_of_a_few() -> None:
    made = MADE[0]
    front, _, _ = made.data.partition(struct.pack("<HH2s", 0x7FE0, 0x0010, b"OW"))
    comments = element(0x00204001, b"OB", 2 << 20) + bytes(2 << 20)  # too large for a header
    raw = deflated(front, comments, element(0x7FE00010, b"OW", LARGE), b"", zeros=LARGE)
    tracemalloc.start()
    identity = scan.check(raw, DEFLATED)
    known = header.attributes(raw, DEFLATED)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert identity == scan.check(made.data, make.EXPLICIT)
    assert known == header.attributes(made.data, make.EXPLICIT)
    assert peak < 16 << 20


def test_what_is_large_and_lies_is_refused() -> None:
    pixels = element(0x7FE00010, b"OW", LARGE)
    for last, zeros, why in (
        (b"\1", LARGE, "header breaks off"),
        (b"", LARGE - (1 << 20), "the data set breaks"),
    ):
        with pytest.raises(errors.BadData, match=why):
            scan.check(deflated(pixels, last, zeros=zeros), DEFLATED)
    whole = deflated(pixels, b"", zeros=LARGE)
    scan.check(whole, DEFLATED)
    with pytest.raises(errors.BadData, match="inflates to more than 1000000 bytes"):
        scan.check(whole, DEFLATED, cap=1_000_000)
    with pytest.raises(errors.BadData, match="the deflated data set breaks off"):
        scan.check(whole[:-100], DEFLATED)
    with pytest.raises(errors.BadData, match="cannot be inflated"):
        scan.check(whole[: len(whole) // 2] + b"\xff" * 64 + whole[len(whole) // 2 :], DEFLATED)


def test_a_tag_beyond_items_and_delimiters_is_an_element_like_others() -> None:
    whole = make.instance(3, seed="beyond", size=900).data + element(0xFFFFFFFF, b"UN", 8) + b"whatever"
    assert streamed(deflated(whole)) == scan.check(whole, make.EXPLICIT)
