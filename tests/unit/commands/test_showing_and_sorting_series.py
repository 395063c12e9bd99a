"""`show` tells what files would become, `sort` puts them into folders; neither changes what is there."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
from typing import Any

import pydicom
import pytest
from typer.testing import CliRunner

from node import cli, errors
from tests import series

NAMES = ("ct_gap", "ct_localizer", "mr_time", "mosaic_dwi", "us_ybr", "mr_phase")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder with series of several kinds."""
    made = tmp_path_factory.mktemp("study")
    for name in NAMES:
        series.write(name, made / name)
    return made


def run(*words: str, code: int = 0) -> str:
    """Run a command and return what it prints."""
    result = CliRunner().invoke(cli.program([words[0]]), list(words))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.stdout


def shown(*words: str, code: int = 0) -> Any:
    return json.loads(run("show", *words, "--json", code=code))


def tree(top: pathlib.Path) -> list[str]:
    return sorted(str(path.relative_to(top)) for path in top.rglob("*") if path.is_file())


def test_a_line_for_each_volume_with_what_is_to_be_said_of_it(folder: pathlib.Path) -> None:
    said = run("show", str(folder))
    assert "4D 10x8x4x3 of 0.75x1.25x2.5 mm; time: 0, 2, 4 s (3)" in said
    assert "b: 0, 1000, 2000 s/mm2 (4)" in said
    assert "mr phase (phase)" in said
    assert "gap: 1 missing between 26.00 and 32.00 mm" in said
    assert "4D 10x8x1x4; time: 0, 0.04, 0.08, 0.12 s (4)" in said


def test_programs_get_the_same_as_json(folder: pathlib.Path) -> None:
    found = shown(str(folder / "ct_gap"))
    (one,) = found["volumes"]
    assert (one["shape"], one["verdict"], one["frames"]) == ([6, 8, 10], "gaps", 5)
    assert one["axes"][0]["values"] == [0, 3, 6, 9, 12, 15]
    assert found["left_out"] == []


def test_it_can_be_sorted_otherwise(folder: pathlib.Path) -> None:
    plain = shown(str(folder / "mr_time"))["volumes"]
    parted = shown(str(folder / "mr_time"), "--split", "temporal_position")["volumes"]
    assert [one["shape"] for one in plain] == [[3, 4, 8, 10]]
    assert [one["shape"] for one in parted] == [[4, 8, 10]] * 3
    with pytest.raises(errors.UsageError, match="nonsense"):
        run("show", str(folder), "--order", "nonsense")


def test_what_is_left_out_is_told(tmp_path: pathlib.Path) -> None:
    series.write("truncated", tmp_path)
    found = shown(str(tmp_path), code=3)
    assert [one["why"] for one in found["left_out"]] == ["damaged"]
    result = CliRunner().invoke(cli.program(["show"]), ["show", str(tmp_path)])
    assert "left out" in result.stderr


def test_nothing_to_show_is_an_error(tmp_path: pathlib.Path) -> None:
    series.write("not_dicom", tmp_path)
    with pytest.raises(errors.NotFound, match="no volume"):
        run("show", str(tmp_path))
    with pytest.raises(errors.UsageError, match="does not exist"):
        run("show", str(tmp_path / "away"))


def test_files_lie_in_the_order_of_their_places(folder: pathlib.Path, tmp_path: pathlib.Path) -> None:
    before = tree(folder)
    run("sort", str(tmp_path), str(folder))
    found = tree(tmp_path)
    assert len(found) == len(before) == len(tree(folder))
    short = {name.split("-", 1)[1] for name in found}
    assert {f"ct_localizer/{plane}/0001.dcm" for plane in ("axial", "sagittal", "coronal")} <= short
    assert {"ct_gap/0003.dcm", "ct_gap/0005.dcm", "mr_time/time003-0004.dcm", "us_ybr/0001.dcm"} <= short
    assert "ct_gap/0004.dcm" not in short  # the place that is empty
    times = sorted(tmp_path.glob("*mr_time/*"))
    voxels = [int.from_bytes(path.read_bytes()[-160:-158], "little") for path in times]
    assert voxels == [frame * 80 for frame in range(12)]


def test_links_cost_nothing_and_copies_are_others(folder: pathlib.Path, tmp_path: pathlib.Path) -> None:
    source = tmp_path / "in"
    shutil.copytree(folder / "ct_gap", source)
    run("sort", str(tmp_path / "links"), str(source))
    run("sort", str(tmp_path / "copies"), str(source), "--copy")
    assert tree(tmp_path / "links") == tree(tmp_path / "copies")
    inodes = {path.stat().st_ino for path in source.iterdir()}
    assert {path.stat().st_ino for path in (tmp_path / "links").rglob("*.dcm")} == inodes
    assert not {path.stat().st_ino for path in (tmp_path / "copies").rglob("*.dcm")} & inodes
    run("sort", str(tmp_path / "links"), str(source))  # once more: they are there already


def test_nothing_is_replaced(folder: pathlib.Path, tmp_path: pathlib.Path) -> None:
    (name,) = {path["to"] for path in json.loads(_plan(folder, tmp_path))["files"] if "0005" in path["to"]}
    taken = pathlib.Path(name)
    taken.parent.mkdir(parents=True)
    taken.write_text("mine")
    with pytest.raises(errors.UsageError, match="is there already"):
        run("sort", str(tmp_path), str(folder / "ct_gap"))
    assert tree(tmp_path) == [str(taken.relative_to(tmp_path))]
    assert taken.read_text() == "mine"


def _plan(folder: pathlib.Path, out: pathlib.Path) -> str:
    return run("sort", str(out), str(folder / "ct_gap"), "--plan", "--json")


def test_a_plan_does_nothing(folder: pathlib.Path, tmp_path: pathlib.Path) -> None:
    said = run("sort", str(tmp_path / "out"), str(folder), "--plan")
    assert "(planned)" in said
    assert not (tmp_path / "out").exists()


def test_names_from_headers_lead_nowhere_else(tmp_path: pathlib.Path) -> None:
    for path in series.write("ct_single", tmp_path / "in"):
        made = pydicom.dcmread(path)
        made.SeriesDescription = "../../away/\x01 x"
        made.save_as(path)
    run("sort", str(tmp_path / "out"), str(tmp_path / "in"))
    run("sort", str(tmp_path / "named"), str(tmp_path / "in"), "--pattern", "{SeriesDescription}/{PatientID}")
    (found,) = tree(tmp_path / "out")
    assert found.endswith("away_x/0001.dcm")
    (named,) = tree(tmp_path / "named")
    assert len(pathlib.PurePath(named).parts) == 3
    assert ".." not in pathlib.PurePath(named).parts
    assert sorted(os.listdir(tmp_path)) == ["in", "named", "out"]
