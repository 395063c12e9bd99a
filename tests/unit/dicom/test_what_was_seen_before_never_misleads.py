"""Tables from memory against tables made anew, for bytes that resemble what is remembered."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node import errors
from node.dicom import layouts, scan, shapes
from tests.unit.dicom import datasets as made
from tests.unit.dicom.build import EXPLICIT, IMPLICIT, ct, el, im, item, open_item, open_sequence


def forget() -> None:
    for known in (*shapes.SHAPES.values(), *layouts.LAYOUTS.values()):
        known.forget()


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    forget()
    yield
    forget()


def verdict(raw: bytes, syntax: str, stop: int | None = None) -> object:
    try:
        table = scan.scan(raw, syntax, stop=stop)
    except errors.BadData as fault:
        return str(fault)
    return list(table.rows), table.end, dict(table.top)


def both(raw: bytes, bent: bytes, syntax: str, stop: int | None = None) -> None:
    """The bent bytes' table after the memory is full of the others', and with none."""
    forget()
    wanted = verdict(bent, syntax, stop)
    identity = _identity(bent, syntax)
    forget()
    for _ in range(3):
        verdict(raw, syntax, stop)
        _identity(raw, syntax)
    assert verdict(bent, syntax, stop) == wanted
    assert _identity(bent, syntax) == identity
    for _ in range(3):
        assert verdict(bent, syntax, stop) == wanted
        assert _identity(bent, syntax) == identity


def _identity(raw: bytes, syntax: str) -> object:
    try:
        return scan.check(raw, syntax)
    except errors.BadData as fault:
        return str(fault)


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_bent_bytes(data: st.DataObject) -> None:
    syntax = data.draw(st.sampled_from(made.SYNTAXES))
    raw = made.write(data.draw(made.datasets()), syntax)
    stop = data.draw(st.sampled_from([None, 0x00100020, 0x00710000]))
    rows = scan.scan(raw, syntax).rows
    bent = bytearray(raw)
    for _ in range(data.draw(st.integers(1, 3))):
        row = data.draw(st.sampled_from(rows))  # headers, where it matters; values now and then
        at = data.draw(st.integers(row[2], min(row[3] + 2, len(raw) - 1)))
        bent[at] = data.draw(st.sampled_from([0, 1, 2, 8, 0x10, 0x51, 0x53, 0xE0, 0xFE, 0xFF, bent[at] ^ 2]))
    both(raw, bytes(bent), syntax, stop)


SAME_LENGTH = [
    # a sequence written as UN: bytes of its value say whether it is read as one
    (
        ct(el(0x00081140, "UN", item(im(0x00080050, b"AB")))),
        ct(el(0x00081140, "UN", item(im(0x00080050, b"AB"), 99)[:8] + im(0x00080050, b"AB"))),
        EXPLICIT,
    ),
    (ct(el(0x00081140, "UN", b"12345678")), ct(el(0x00081140, "UN", item())), EXPLICIT),
    # delimiters in a defined length, which may as well be something else
    (el(0x00081140, "SQ", im(0xFFFEE0DD)), el(0x00081140, "SQ", item()), EXPLICIT),
    (
        el(0x00081140, "SQ", item(im(0xFFFEE00D))),
        el(0x00081140, "SQ", item(el(0x00080050, "SH"))),
        EXPLICIT,
    ),
    # padding, and what is none
    (ct() + bytes(16), ct() + bytes(15) + b"\1", EXPLICIT),
    (ct() + bytes(8), ct() + el(0x00200010, "SH"), EXPLICIT),
    (im(0x00080005) + bytes(8), im(0x00080005) + im(0x00080050), IMPLICIT),
    # delimiters of undefined lengths, one of which is none
    (
        open_sequence(0x00081140, open_item()),
        el(0x00081140, "SQ", b"", 0xFFFFFFFF) + item(b"", 0xFFFFFFFF) + im(0x00080050) + im(0xFFFEE00D),
        EXPLICIT,
    ),
    # the element that the walk stops at
    (ct() + el(0x00710010, "LO", b"AB"), ct() + el(0x00200010, "LO", b"AB"), EXPLICIT),
    (ct() + el(0x00710010, "OB", b"AB"), ct() + el(0x00710010, "LO", b"ABCDEF"), EXPLICIT),
]


@pytest.mark.parametrize(("raw", "bent", "syntax"), SAME_LENGTH, ids=range(len(SAME_LENGTH)))
@pytest.mark.parametrize("stop", [None, 0x00710000])
def test_the_same_length_and_another_structure(
    raw: bytes, bent: bytes, syntax: str, stop: int | None
) -> None:
    assert len(raw) == len(bent)
    both(raw, bent, syntax, stop)
    both(bent, raw, syntax, stop)


def test_tables_of_one_layout_share_their_rows() -> None:
    """Which is the point of it: the fourth file of a series costs no rows."""
    raws = [ct(el(0x00100010, "PN", name)) for name in (b"AA", b"BB", b"CC", b"DD")]
    tables = [scan.scan(raw, EXPLICIT) for raw in raws]
    assert tables[2].rows is tables[3].rows
    assert [table.get(0x00100010) for table in tables] == ["AA", "BB", "CC", "DD"]
    assert tables[2].top is tables[3].top


def test_memory_is_bounded() -> None:
    for size in range(0, 40_000, 2):
        raw = el(0x00100010, "LT", bytes(size % 60_000)) + el(0x00100020, "LO", b"AB")
        scan.scan(raw, EXPLICIT)
        if size % 4 == 0:
            scan.scan(raw, EXPLICIT)
    for book in layouts.LAYOUTS.values():
        assert len(book._known) <= 256
        assert len(book._seen) <= 8192
    for known in shapes.SHAPES.values():
        assert len(known._runs) <= 4096
        assert len(known._seen) <= 16384
