"""The wheel is the whole program: nothing that it needs stays behind in the source tree."""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys
import tomllib
import zipfile

import pytest

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    [wheel] = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_every_migration_is_inside(names: set[str]) -> None:
    scripts = [path for path in (ROOT / "migrations").rglob("*.py") if "__pycache__" not in path.parts]
    assert scripts
    for path in scripts:
        assert f"node/_migrations/{path.relative_to(ROOT / 'migrations').as_posix()}" in names


def test_the_example_configuration_is_inside(names: set[str]) -> None:
    assert "node/_config/node.toml" in names


def test_every_file_of_the_package_is_inside_and_nothing_else(names: set[str]) -> None:
    sources = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "node").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    packed = {name for name in names if not name.startswith(("node/_", "dicom_node-"))}
    packed |= {name for name in names if name.startswith("node/__")}
    assert packed == sources


def test_the_locks_pin_by_hash_and_name_no_place() -> None:
    for lock in ("requirements.lock", "requirements-dev.lock"):
        text = (ROOT / lock).read_text()
        assert "://" not in text
        for block in re.split(r"\n(?=[a-z])", text.split("\n", 2)[2]):
            assert re.match(r"[a-z0-9.-]+==\S+", block), block[:60]
            assert "--hash=sha256:" in block, block[:60]


def test_everything_that_is_asked_for_is_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    locked = set(re.findall(r"^([a-z0-9.-]+)==", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
    tools = set(re.findall(r"^([a-z0-9.-]+)==", (ROOT / "requirements-dev.lock").read_text(), re.MULTILINE))
    asked = {re.match(r"[A-Za-z0-9.-]+", line)[0].lower() for line in project["dependencies"]}
    extra = {re.match(r"[A-Za-z0-9.-]+", line)[0].lower() for line in project["optional-dependencies"]["dev"]}
    assert asked <= locked
    assert extra | locked <= tools
