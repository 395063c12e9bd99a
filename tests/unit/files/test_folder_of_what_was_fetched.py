"""What was fetched lies under its UIDs, whole, and takes the place of nothing."""

from __future__ import annotations

import concurrent.futures
import os
import pathlib

import pydicom
import pytest

from node import errors
from node.files import folder
from tests import make


def _put(into: folder.Folder, made: make.Made, **changes: str) -> folder.Kept:
    said = {"sop_class": made.sop_class, "sop_instance": made.sop_instance, "syntax": made.syntax, **changes}
    incoming = into.begin(said["sop_class"], said["sop_instance"], said["syntax"], "ARCHIVE")
    try:
        for at in range(0, len(made.data), 1000):
            incoming.write(made.data[at : at + 1000])
        return incoming.commit()
    except BaseException:
        incoming.abort()
        raise


def _files(root: pathlib.Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


@pytest.mark.parametrize("syntax", [make.EXPLICIT, make.IMPLICIT, make.DEFLATED, make.BIG, make.JPEG2000])
def test_a_file_holds_the_bytes_that_came_under_a_head_of_ours(syntax: str, tmp_path: pathlib.Path) -> None:
    fragments = [b"\xff\x4f" * 50] if syntax == make.JPEG2000 else None
    made = make.instance(syntax=syntax, fragments=fragments)
    into = folder.Folder(tmp_path)
    assert _put(into, made) is folder.Kept.NEW
    assert _files(tmp_path) == [f"{made.study}/{made.series}/{made.sop_instance}.dcm"]
    content = (tmp_path / _files(tmp_path)[0]).read_bytes()
    assert content.endswith(made.data)
    assert content[: len(content) - len(made.data)][:132] == bytes(128) + b"DICM"
    read = pydicom.dcmread(tmp_path / _files(tmp_path)[0])
    assert read.file_meta.TransferSyntaxUID == syntax
    assert read.file_meta.SourceApplicationEntityTitle == "ARCHIVE"
    assert (into.size, into.kept[folder.Kept.NEW]) == (len(made.data), 1)


def test_the_same_bytes_are_left_as_they_are(tmp_path: pathlib.Path) -> None:
    made = make.instance()
    _put(folder.Folder(tmp_path), made)
    (name,) = _files(tmp_path)
    before = (tmp_path / name).stat()
    assert _put(folder.Folder(tmp_path), made) is folder.Kept.SAME
    after = (tmp_path / name).stat()
    assert _files(tmp_path) == [name]
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_other_bytes_of_the_same_name_get_a_second_one(tmp_path: pathlib.Path) -> None:
    made = make.instance()
    other = make.altered(made)
    into = folder.Folder(tmp_path)
    assert [_put(into, one) for one in (made, other, made, other)] == [
        folder.Kept.NEW,
        folder.Kept.OTHER,
        folder.Kept.SAME,
        folder.Kept.SAME,
    ]
    assert [path.name for path in into.others] == [f"{made.sop_instance}-2.dcm"]
    first, second = sorted((tmp_path / made.study / made.series).iterdir(), key=lambda path: len(path.name))
    assert first.read_bytes().endswith(made.data)
    assert second.read_bytes().endswith(other.data)


def test_a_file_of_somebody_else_is_not_replaced(tmp_path: pathlib.Path) -> None:
    made = make.instance()
    place = tmp_path / made.study / made.series
    place.mkdir(parents=True)
    (place / f"{made.sop_instance}.dcm").write_text("my notes")
    assert _put(folder.Folder(tmp_path), made) is folder.Kept.OTHER
    assert (place / f"{made.sop_instance}.dcm").read_text() == "my notes"


@pytest.mark.parametrize("uid", ["../../../etc/passwd", "/etc/passwd", "1.2/3", "", "1..2", "1.2\0", "-rf"])
def test_what_is_no_uid_is_refused_before_a_byte_is_written(uid: str, tmp_path: pathlib.Path) -> None:
    with pytest.raises(errors.BadData, match="is not a UID"):
        folder.Folder(tmp_path).begin(make.CT, uid, make.EXPLICIT, "")
    assert _files(tmp_path) == []


@pytest.mark.parametrize("study", ["../../../tmp/x", "/tmp/x", "a" * 300, "..", "\\..\\x"])
def test_a_study_uid_in_the_data_set_names_no_other_place(study: str, tmp_path: pathlib.Path) -> None:
    made = make.instance(study=study)
    into = folder.Folder(tmp_path / "in")
    assert _put(into, made) is folder.Kept.NEW
    (name,) = _files(tmp_path)
    assert name.startswith("in/no-uid-")
    assert name.endswith(f"/{made.series}/{made.sop_instance}.dcm")


def test_a_data_set_that_is_not_what_was_announced_leaves_nothing(tmp_path: pathlib.Path) -> None:
    made = make.instance()
    for changes in ({"sop_instance": "1.2.3"}, {"sop_class": make.MR}):
        with pytest.raises(errors.BadData, match="the data set names SOP"):
            _put(folder.Folder(tmp_path), made, **changes)
    with pytest.raises(errors.BadData):
        folder.Folder(tmp_path).begin(make.CT, "1.2", make.EXPLICIT, "").commit()
    assert [name for name in _files(tmp_path) if not name.startswith(".")] == []


def test_a_size_has_a_limit_and_the_disk_a_reserve(tmp_path: pathlib.Path) -> None:
    with pytest.raises(errors.BadData, match="more than 3000 bytes"):
        _put(folder.Folder(tmp_path, max_instance=3000), make.instance())
    with pytest.raises(errors.StorageFull, match="make room"):
        _put(folder.Folder(tmp_path, reserve=1 << 62), make.instance())
    assert _files(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_told(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(errors.UsageError, match="name another folder"):
        folder.Folder(tmp_path / "file")


def test_many_at_once_with_one_name_lose_nothing(tmp_path: pathlib.Path) -> None:
    made = make.instance()
    variants = [make.Made(*_identity(made), made.data[:-1] + bytes([number])) for number in range(4)] * 3
    into = folder.Folder(tmp_path)
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda one: _put(into, one), variants))
    assert (into.kept[folder.Kept.NEW], into.kept[folder.Kept.OTHER], into.kept[folder.Kept.SAME]) == (
        1,
        3,
        8,
    )
    held = {(tmp_path / name).read_bytes()[-len(made.data) :] for name in _files(tmp_path)}
    assert held == {one.data for one in variants}


def test_a_file_system_without_hard_links_replaces_nothing_either(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object) -> None:
        raise PermissionError(1, "no links here")

    monkeypatch.setattr(os, "link", none)
    made = make.instance()
    into = folder.Folder(tmp_path)
    assert [_put(into, made), _put(into, make.altered(made))] == [folder.Kept.NEW, folder.Kept.OTHER]
    assert len(_files(tmp_path)) == 2


def _identity(made: make.Made) -> tuple[str, str, str, str, str]:
    return made.sop_class, made.sop_instance, made.study, made.series, made.syntax
