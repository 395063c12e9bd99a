"""The files behind what a person names on the command line."""

from __future__ import annotations

import pathlib

import pytest

from node import errors
from node.commands import gather
from node.send import base
from tests import make


def test_a_folder_gives_its_instances_and_says_what_was_passed_over(tmp_path: pathlib.Path) -> None:
    made = make.series(3)
    make.files(tmp_path, made)
    (tmp_path / "notes.txt").write_text("not an image, and longer than a preamble would be" * 5)
    (tmp_path / "DICOMDIR").write_bytes(b"an index")
    (tmp_path / "empty").touch()
    found = list(gather.items([tmp_path]))
    items = [one for one in found if isinstance(one, base.Item)]
    skipped = [one for one in found if isinstance(one, gather.Skipped)]
    assert {item.sop_instance for item in items} == {one.sop_instance for one in made}
    assert {one.path.name for one in skipped} == {"notes.txt", "empty"}
    assert not any(one.named for one in skipped)


def test_an_item_covers_exactly_the_data_set(tmp_path: pathlib.Path) -> None:
    (made,) = make.series(1)
    (path,) = make.files(tmp_path, [made])
    item = gather.item(path)
    assert path.read_bytes()[item.offset : item.offset + item.size] == made.data
    assert (item.sop_class, item.syntax) == (made.sop_class, made.syntax)


def test_a_file_that_was_named_and_is_no_dicom_is_told_apart(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "letter"
    path.write_text("Dear Sir" * 100)
    (skipped,) = gather.items([path])
    assert isinstance(skipped, gather.Skipped)
    assert skipped.named
    assert "not a DICOM" in skipped.why


def test_a_path_that_does_not_exist_is_a_usage_error(tmp_path: pathlib.Path) -> None:
    with pytest.raises(errors.UsageError, match="does not exist"):
        list(gather.items([tmp_path / "nowhere"]))
