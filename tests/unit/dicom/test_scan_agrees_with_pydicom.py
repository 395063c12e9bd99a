"""The table of elements against what pydicom reads from the same bytes."""

from __future__ import annotations

import io
import itertools
import warnings
from typing import Any

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from node import errors
from node.dicom import scan
from tests.unit.dicom import datasets as made


def flatten(ds: Dataset) -> list[tuple[int, str, Any]]:
    out: list[tuple[int, str, Any]] = []
    for element in ds:
        if element.VR == "SQ":
            out.append((int(element.tag), "SQ", len(element.value)))
            for item in element.value:
                out.extend(flatten(item))
        else:
            out.append((int(element.tag), element.VR, element.value))
    return out


def table_of(table: scan.Table) -> list[tuple[int, str, Any]]:
    out: list[tuple[int, str, Any]] = []
    for at, element in enumerate(table):
        if element.vr == "":
            continue
        if element.vr == "SQ":
            out.append((element.tag, "SQ", len(table.children(at))))
        else:
            out.append((element.tag, element.vr, table.value(at)))
    return out


def same(ours: Any, theirs: Any, vr: str) -> bool:
    if ours is None:
        return theirs is None or theirs in ("", b"") or (hasattr(theirs, "__len__") and len(theirs) == 0)
    if isinstance(ours, tuple):
        return len(ours) == len(theirs) and all(same(a, b, vr) for a, b in zip(ours, theirs, strict=True))
    if vr in ("DS", "IS"):
        return float(ours) == float(theirs)
    if isinstance(ours, bytes):
        return ours == theirs
    if isinstance(ours, str):
        return ours.strip() == str(theirs).strip()
    return bool(ours == theirs)


@pytest.mark.parametrize("syntax", made.SYNTAXES)
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_random_data_sets(syntax: str, data: st.DataObject) -> None:
    ds = data.draw(made.datasets())
    raw = made.write(ds, syntax)
    table = scan.scan(raw, syntax)
    ours, theirs = table_of(table), flatten(made.read(raw, syntax))
    assert [entry[0] for entry in ours] == [entry[0] for entry in theirs]
    for (tag, vr, value), (_, their_vr, their_value) in zip(ours, theirs, strict=True):
        if syntax != made.IMPLICIT or not tag & 0x10000:
            assert vr == their_vr or (syntax == made.IMPLICIT and their_vr in ("US", "SS", "OB", "OW"))
        if vr == their_vr:
            assert same(value, their_value, vr), (hex(tag), vr, value, their_value)
    assert table.end == len(raw)
    identity = scan.check(raw, syntax)
    top = made.read(raw, syntax)
    assert identity.sop_class == str(top.get("SOPClassUID", ""))
    assert identity.series == str(top.get("SeriesInstanceUID", ""))


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_lengths_and_nesting_are_those_of_the_bytes(data: st.DataObject) -> None:
    syntax = data.draw(st.sampled_from(made.SYNTAXES))
    raw = made.write(data.draw(made.datasets()), syntax)
    table = scan.scan(raw, syntax)
    ends = {-1: len(raw)}
    for at, element in enumerate(table):
        ends[at] = element.end
        assert element.start < element.offset <= element.end <= ends[element.parent]
    for parent, end in ends.items():
        children = table.children(parent)
        if children:  # what lies within follows on each other, and fills its surroundings but for a delimiter
            first = 0 if parent < 0 else table[parent].offset
            assert table[children[0]].start == first
            for one, two in itertools.pairwise(children):
                assert table[one].end == table[two].start
            rest = end - table[children[-1]].end
            assert rest == (8 if parent >= 0 and table.undefined(parent) else 0)


@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_a_cut_is_never_taken_for_a_whole(data: st.DataObject) -> None:
    """Each prefix is refused, unless it ends between two top-level elements; and both walks say the same."""
    syntax = data.draw(st.sampled_from(made.SYNTAXES))
    raw = made.write(data.draw(made.datasets()), syntax)
    table = scan.scan(raw, syntax)
    whole = {0} | {element.end for element in table if element.parent < 0}
    cut = data.draw(st.integers(0, len(raw)))
    part = raw[:cut]
    verdicts = []
    for walk in (scan.scan, scan.check):
        try:
            walk(part, syntax)
            verdicts.append(True)
        except errors.BadData:
            verdicts.append(False)
    assert verdicts[0] == verdicts[1]
    if cut in whole:
        assert verdicts[0]
    elif verdicts[0]:  # a few zero bytes behind an element are padding, whatever they once were
        before = max(end for end in whole if end < cut)
        assert part[before:].count(0) == cut - before


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_bent_bytes_raise_nothing_else_and_both_walks_agree(data: st.DataObject) -> None:
    syntax = data.draw(st.sampled_from(made.SYNTAXES))
    raw = bytearray(made.write(data.draw(made.datasets()), syntax))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at] = data.draw(st.sampled_from([0, 0xFF, 0xFE, 0xE0, 0x41, 0x51, 1, 8]))
    verdicts = []
    for walk in (scan.scan, scan.check):
        try:
            walk(bytes(raw), syntax)
            verdicts.append("sound")
        except errors.BadData as fault:
            verdicts.append(str(fault.offset))
    assert verdicts[0] == verdicts[1]


@pytest.mark.parametrize("path", made.samples(), ids=lambda path: path.rsplit("/", 1)[-1])
def test_files_of_many_vendors(path: str) -> None:
    with open(path, "rb") as source:
        raw = source.read()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            theirs = pydicom.dcmread(io.BytesIO(raw), stop_before_pixels=True, force=True)
            flat = flatten(theirs)
        except Exception:  # noqa: BLE001 - some of the packaged files are broken on purpose
            theirs = None
    try:
        head = scan.part10(raw, bare=True)
        table = scan.scan(raw, head.syntax, offset=head.offset, stop=0x7FE00010)
    except errors.BadData:
        assert theirs is None or any(name in path for name in BROKEN), "pydicom reads it and we do not"
        return
    assert theirs is not None
    ours = [(tag, vr) for tag, vr, _ in table_of(table) if tag < 0x7FE00010]
    wanted = [(tag, vr) for tag, vr, _ in flat if tag < 0x7FE00010]
    if [tag for tag, _ in ours] != [tag for tag, _ in wanted]:
        assert any(name in path for name in DIFFERENT), "another list of elements than pydicom's"


# broken files that pydicom reads as far as it can; bytes that do not add up are refused here
BROKEN = (
    "SC_rgb_jpeg.dcm",  # says JPEG, is implicit VR
    "meta_missing_tsyntax.dcm",  # no transfer syntax, and a first element that could be anything
    "no_meta.dcm",  # its beginning was cut off within an element
    "rtplan_truncated.dcm",  # its end was cut off
)
# files where pydicom and this node read something else, each with its reason
DIFFERENT: tuple[str, ...] = ()
