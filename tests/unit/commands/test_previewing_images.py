"""`preview`: what is shown of files, and what it says when there is nothing to show."""

from __future__ import annotations

import pathlib
import shutil
import subprocess
import sys

import PIL.Image
import pytest
from typer.testing import CliRunner

from node import cli, errors
from tests import series


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """An axial CT series."""
    made = tmp_path_factory.mktemp("ct")
    series.write("ct_axial", made)
    return made


def preview(*words: str) -> str:
    """Run `preview` and return what it prints."""
    result = CliRunner().invoke(
        cli.program(["preview"]), ["preview", *words], env={"COLUMNS": "60", "LINES": "20"}
    )
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.stdout


def test_a_slice_is_drawn_with_characters_where_there_are_no_colours(folder: pathlib.Path) -> None:
    said = preview(str(folder))
    *drawn, words = said.rstrip("\n").split("\n")
    assert len(drawn) <= 17
    assert all(set(line) <= set(" .:-=+*#%@") for line in drawn)
    assert "left is R, right L, top A, bottom P" in words


@pytest.mark.parametrize("how", [["--planes"], ["--sheet"], ["--slice", "1"], []])
def test_a_picture_is_written(how: list[str], folder: pathlib.Path, tmp_path: pathlib.Path) -> None:
    target = tmp_path / "out.png"
    assert str(target) in preview(str(folder), *how, "--png", str(target))
    with PIL.Image.open(target) as found:
        assert found.mode == "L"
        assert found.getextrema()[0] < found.getextrema()[1]


def test_a_zip_is_shown_as_its_folder_is(folder: pathlib.Path, tmp_path: pathlib.Path) -> None:
    archive = shutil.make_archive(str(tmp_path / "ct"), "zip", folder)
    assert preview(archive) == preview(str(folder))


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["--slice", "99"], "no slice 99"),
        (["--window", "wide"], "'wide'"),
        (["--stack", "7"], "no volume 7; there are 1"),
        (["--slice", "1", "--planes"], "exclude each other"),
        (["--png", "out.bmp"], "ends with .png"),
    ],
)
def test_what_cannot_be_shown_is_said(words: list[str], names: str, folder: pathlib.Path) -> None:
    with pytest.raises(errors.UsageError, match=names):
        preview(str(folder), *words)


def test_files_that_hold_no_image_are_said(tmp_path: pathlib.Path) -> None:
    (tmp_path / "readme.txt").write_text("no image")
    with pytest.raises(errors.NotFound, match="not DICOM"):
        preview(str(tmp_path))


def test_a_pipe_gets_characters_and_no_colours(folder: pathlib.Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "node", "preview", str(folder)], capture_output=True, text=True, check=True
    )
    assert "\x1b" not in done.stdout
    assert not done.stderr
