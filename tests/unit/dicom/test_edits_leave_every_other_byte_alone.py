"""Edits against pydicom's own read-edit-write, and byte against byte where nothing was asked for."""

from __future__ import annotations

import copy
import datetime as dt
import os
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from node.dicom import edit, scan
from node.dicom import vr as vrs
from tests.unit.dicom import datasets as made

TEXTS = ["PatientName", "PatientID", "AccessionNumber", "StudyDescription", "PatientComments"]
NUMBERS = {"Rows": 512, "InstanceNumber": 7, "SimpleFrameList": 70000, "RealWorldValueFirstValueMapped": -3}
ANY = [vrs.keyword(tag) for tag in made.TAGS if vrs.keyword(tag)]


def paths_of(ds: Dataset, prefix: str = "") -> list[str]:
    """Every public element of a data set, as a path."""
    out: list[str] = []
    for element in ds:
        if element.tag.is_private or not element.keyword or element.keyword == "SpecificCharacterSet":
            continue
        out.append(prefix + element.keyword)
        if element.VR == "SQ":
            for index, item in enumerate(element.value):
                out.extend(paths_of(item, f"{prefix}{element.keyword}[{index}]."))
    return out


def reach(ds: Dataset, path: str) -> tuple[Dataset, str]:
    """The item that holds a path's element, and the element's keyword."""
    *steps, leaf = path.split(".")
    for step in steps:
        keyword, index = step.rstrip("]").split("[")
        ds = ds[keyword].value[int(index)]
    return ds, leaf


def value_for(draw: st.DrawFn, vr: str) -> Any:
    return draw(made.VALUES[vr])


@st.composite
def edits(draw: st.DrawFn, ds: Dataset) -> tuple[edit.Change, Dataset]:
    """A change, and the data set that pydicom makes by it."""
    wanted = copy.deepcopy(ds)
    held = paths_of(ds)
    kind = draw(st.sampled_from(["set", "insert", "remove", "empty"] if held else ["insert"]))
    if kind == "insert":
        scopes = [""] + [
            f"{path}[{index}]."
            for path in held
            if isinstance(reach(ds, path)[0][reach(ds, path)[1]].value, Sequence)
            for index in range(len(reach(ds, path)[0][reach(ds, path)[1]].value))
        ]
        prefix = draw(st.sampled_from(scopes))
        keyword = draw(st.sampled_from(ANY))
        path = prefix + keyword
    else:
        path = draw(st.sampled_from(held))
    target, keyword = reach(wanted, path)
    tag = vrs.keywords()[keyword]
    if kind == "remove":
        del target[tag]
        return edit.Remove(path), wanted
    if kind == "empty":
        if target[tag].VR == "SQ":
            target[tag].value = Sequence()
            target[tag].is_undefined_length = False
        else:
            target[tag].value = b"" if target[tag].VR in ("OB", "OW", "UN") else None
        return edit.Empty(path), wanted
    if tag in made.SEQUENCES:
        target[tag].value = Sequence([Dataset()])
        target[tag].value[0].PatientID = "X"
        target[tag].is_undefined_length = False
        return edit.Set(path, [{"PatientID": "X"}]), wanted
    value = draw(made.VALUES[made.TAGS[tag]])
    target.add_new(tag, made.TAGS[tag], value)
    return edit.Set(path, value), wanted


def outside(table: scan.Table, path_tags: list[int]) -> list[bytes]:
    """Header and value of each element that is not, and does not hold, one of these tags."""
    return [
        bytes(table.buffer[row[2] : row[4]])
        for row in table.rows
        if row[1] not in ("SQ", "") and row[0] not in path_tags
    ]


@pytest.mark.parametrize("syntax", made.SYNTAXES)
@given(data=st.data())
@settings(max_examples=120, deadline=None)
def test_one_edit_equals_pydicoms(syntax: str, data: st.DataObject) -> None:
    ds = data.draw(made.datasets())
    raw = made.write(copy.deepcopy(ds), syntax)
    change, wanted = data.draw(edits(ds))
    result = edit.edit(raw, syntax, [change])
    out = result.tobytes()
    assert len(out) == result.length
    assert made.read(out, syntax) == made.read(made.write(wanted, syntax), syntax)
    scan.check(out, syntax)
    if not isinstance(change, edit.Set) or "[{" not in str(change):
        assert out == made.write(wanted, syntax)  # the very bytes: pydicom keeps length forms, too


@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_many_edits_at_once_equal_one_after_the_other(data: st.DataObject) -> None:
    syntax = data.draw(st.sampled_from(made.SYNTAXES))
    raw = made.write(data.draw(made.datasets()), syntax)
    names = data.draw(st.lists(st.sampled_from(ANY), unique=True, max_size=8))
    changes: list[edit.Change] = []
    for name in names:
        kind = data.draw(st.sampled_from(["set", "remove", "empty"]))
        if kind == "set":
            changes.append(edit.Set(name, data.draw(made.VALUES[made.TAGS[vrs.keywords()[name]]])))
        else:
            changes.append(edit.Remove(name) if kind == "remove" else edit.Empty(name))
    step = raw
    for change in changes:
        step = edit.edit(step, syntax, [change]).tobytes()
    assert edit.edit(raw, syntax, changes).tobytes() == step


@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_the_inverse_gives_back_the_identical_bytes(data: st.DataObject) -> None:
    syntax = data.draw(st.sampled_from(made.SYNTAXES))
    ds = data.draw(made.datasets())
    raw = made.write(copy.deepcopy(ds), syntax)
    held = [path for path in paths_of(ds) if reach(ds, path)[0][reach(ds, path)[1]].VR != "SQ"]
    if not held:
        return
    path = data.draw(st.sampled_from(held))
    target, keyword = reach(ds, path)
    vr = target[keyword].VR
    table = scan.scan(raw, syntax)
    row = next(at for at in range(len(table)) if scan_path(table, at) == path)
    before = edit.Raw(table.raw(row))
    forth = edit.edit(raw, syntax, [edit.Set(path, data.draw(made.VALUES[vr]))]).tobytes()
    assert edit.edit(forth, syntax, [edit.Set(path, before)]).tobytes() == raw
    gone = edit.edit(raw, syntax, [edit.Remove(path)]).tobytes()
    assert edit.edit(gone, syntax, [edit.Set(path, before, vr=vr)]).tobytes() == raw


def scan_path(table: scan.Table, row: int) -> str:
    parts: list[str] = []
    while row >= 0:
        element = table[row]
        if element.tag == vrs.ITEM:
            index = table.children(element.parent).index(row)
            sequence = table[element.parent]
            parts.append(f"{vrs.keyword(sequence.tag)}[{index}]")
            row = sequence.parent
        else:
            parts.append(vrs.keyword(element.tag))
            row = element.parent
    return ".".join(reversed(parts))


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_uids_are_mapped_everywhere_by_one_map(data: st.DataObject) -> None:
    syntax = data.draw(st.sampled_from(made.SYNTAXES))
    raw = made.write(data.draw(made.datasets()), syntax)
    table = scan.scan(raw, syntax)
    uids = {at: table.value(at) for at, row in enumerate(table.rows) if row[1] == "UI"}
    forth = {uid: f"2.25.{number + 10**20}" for number, uid in enumerate(sorted(set(uids.values())))}
    out = edit.edit(raw, syntax, [edit.RemapUids(forth)]).tobytes()
    after = scan.scan(out, syntax)
    assert len(after) == len(table)
    for at, uid in uids.items():
        assert after.value(at) == forth[uid]
    back = {new: old for old, new in forth.items()}
    assert edit.edit(out, syntax, [edit.RemapUids(back)]).tobytes() == raw


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_removing_all_of_a_vr_leaves_none(data: st.DataObject) -> None:
    syntax = data.draw(st.sampled_from(made.SYNTAXES))
    raw = made.write(data.draw(made.datasets()), syntax)
    vr = data.draw(st.sampled_from(["PN", "LO", "UI", "DA", "SQ", "OB"]))
    table = scan.scan(raw, syntax)
    out = scan.scan(edit.edit(raw, syntax, [edit.Remove(f"**.@{vr}")]).tobytes(), syntax)
    assert not any(element.vr == vr for element in out)
    if vr != "SQ":
        kept = [bytes(raw[r[3] : r[4]]) for r in table.rows if r[1] not in (vr, "SQ", "")]
        assert [out.raw(at) for at, r in enumerate(out.rows) if r[1] not in ("SQ", "")] == kept
    private = edit.edit(raw, syntax, [edit.Remove("**.@private")]).tobytes()
    assert not any(element.tag & 0x10000 for element in scan.scan(private, syntax))


@pytest.mark.parametrize("path", made.samples(), ids=os.path.basename)
def test_sample_files_survive_an_edit_and_its_inverse(path: str) -> None:
    with open(path, "rb") as source:
        raw = source.read()
    try:
        head = scan.part10(raw)
        table = scan.scan(raw, head.syntax, offset=head.offset)
    except Exception:  # noqa: BLE001 - broken files have their own tests
        pytest.skip("not a sound file")
    if scan.encoding(head.syntax).deflated:
        pytest.skip("deflating again makes other bytes")
    names = ["PatientName", "StudyID", "SOPInstanceUID"]
    back: list[edit.Change] = []
    for name in names:
        row = table.find(vrs.keywords()[name])
        back.append(
            edit.Remove(name) if row is None else edit.Set(name, edit.Raw(table.raw(row)), vr=table[row].vr)
        )
    changes = [
        edit.Set("PatientName", "Doe^Jane"),
        edit.Set("StudyID", "42"),
        edit.Set("SOPInstanceUID", "1.2.3.4.5.6"),
    ]
    forth = edit.edit_file(raw, changes)
    data = forth.tobytes()
    after = scan.part10(data)
    assert scan.scan(data, head.syntax, offset=after.offset).get(0x00080018) == "1.2.3.4.5.6"
    if head.rows:
        assert after.sop_instance == "1.2.3.4.5.6"
    again = edit.edit_file(data, back).tobytes()
    same_uid = table.get(0x00080018) == head.sop_instance
    if same_uid:
        assert again == raw


def test_today(tmp_path: Any) -> None:
    """Times and dates are values too."""
    raw = made.write(Dataset(), made.EXPLICIT)
    out = edit.edit(
        raw,
        made.EXPLICIT,
        [edit.Set("StudyDate", dt.date(2026, 11, 21)), edit.Set("StudyTime", dt.time(7, 35))],
    )
    table = scan.scan(out.tobytes(), made.EXPLICIT)
    assert table.get(0x00080020) == "20261121"
    assert table.get(0x00080030) == "073500.000000"
