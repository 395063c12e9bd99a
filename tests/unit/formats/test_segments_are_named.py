"""What labels mean: a line of text or a JSON file, and what is refused in them."""

from __future__ import annotations

import json
import pathlib

import pytest

from node import errors
from node.formats import registry, segments


def test_names_that_are_known_bring_their_codes() -> None:
    liver, thing = segments.parse("1=liver, 7=left thing")
    assert (liver.label, liver.name, liver.type) == (1, "liver", ("10200004", "SCT", "Liver"))
    assert (thing.label, thing.name, thing.type) == (7, "left thing", segments.TISSUE)


def test_a_file_says_all_of_a_segment(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "segments.json"
    said = {
        "3": {
            "name": "Node",
            "category": ["49755003", "SCT", "Morphologically Abnormal Structure"],
            "type": ["59441001", "SCT", "Lymph node"],
            "algorithm": "AUTOMATIC",
            "algorithm_name": "finder",
            "colour": [255, 0, 9],
        },
        "1": "liver",
    }
    path.write_text(json.dumps(said))
    liver, node = segments.parse(str(path))
    assert liver == segments.named(1, "liver")
    assert node == segments.Segment(
        3,
        "Node",
        ("49755003", "SCT", "Morphologically Abnormal Structure"),
        ("59441001", "SCT", "Lymph node"),
        "AUTOMATIC",
        "finder",
        (255, 0, 9),
    )


@pytest.mark.parametrize(
    "text", ["0=air", "1=liver,1=spleen", "liver=1", "1=", "1=a\\b", "1=liver,", "x=y=z"]
)
def test_a_line_that_names_no_labels_is_refused(text: str) -> None:
    with pytest.raises(errors.UsageError, match="segments = "):
        segments.parse(text)
    assert "segments = " in str(registry.get("seg").check({"segments": text}))


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        "{",
        '{"0": "air"}',
        '{"1": {}}',
        '{"1": 5}',
        '{"70000": "liver"}',
        '{"1": {"name": "liver", "color": [1, 2, 3]}}',
        '{"1": {"name": "liver", "colour": [1, 2, 300]}}',
        '{"1": {"name": "liver", "type": ["1", "SCT"]}}',
        '{"1": {"name": "liver", "algorithm": "GUESSED"}}',
        '{"²": "liver"}',
        "[" * 5000,
    ],
)
def test_a_file_that_cannot_be_is_refused(tmp_path: pathlib.Path, content: str) -> None:
    path = tmp_path / "segments.json"
    path.write_text(content)
    with pytest.raises(errors.UsageError, match="segments"):
        segments.parse(str(path))


def test_a_file_that_is_not_there_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(errors.UsageError, match="cannot be read"):
        segments.parse(str(tmp_path / "none.json"))
