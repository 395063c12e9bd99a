"""`convert` read without typer is read as typer reads it, and loads nothing that it does not need."""

from __future__ import annotations

import inspect
import pathlib
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest
from typer.testing import CliRunner

from node import cli
from node.commands import converting, plain
from tests import series

PLAIN = [
    "OUT IN --to nifti",
    "--to=nifti OUT IN1 IN2 --order time,te --split EchoNumbers",
    "OUT IN --to nifti --series 3 --series 1.2.3 --stack 2 --scaling real --correct-tilt --complete",
    "OUT IN --template DIR --option a=b --option c=d=e --name {SeriesNumber}/ --force --json --quiet",
    "OUT IN -q",
]
LEFT = [
    "",
    "OUT",
    "--help",
    "OUT IN --to",
    "OUT IN --to --force",
    "OUT IN --data x",
    "OUT IN -q=1",
    "OUT IN --x",
]


@pytest.mark.parametrize("line", PLAIN)
def test_both_read_the_same(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    words = line.split(" ")
    read = plain.convert(words)
    assert read is not None
    called: list[dict[str, Any]] = []

    def run(paths: Sequence[str], **more: Any) -> None:
        called.append({"paths": paths, **more})

    defaults = {
        name: parameter.default or ([] if parameter.default == () else parameter.default)
        for name, parameter in inspect.signature(converting.run).parameters.items()
    }
    monkeypatch.setattr(converting, "run", run)
    result = CliRunner().invoke(cli.program(["convert"]), ["convert", *words])
    assert result.exit_code == 0, result.output
    assert called[0] == defaults | read


@pytest.mark.parametrize("line", LEFT)
def test_what_needs_explaining_is_left_to_typer(line: str) -> None:
    assert plain.convert(line.split(" ") if line else []) is None


def test_a_conversion_loads_nothing_that_it_does_not_need(tmp_path: pathlib.Path) -> None:
    series.write("ct_axial", tmp_path / "in")
    words = ["convert", "--to", "nifti", str(tmp_path / "out"), str(tmp_path / "in"), "--quiet"]
    program = (
        f"import sys; from node import cli; sys.argv[1:] = {words!r}; cli.main(); "
        "slow = {'typer', 'pydantic', 'rich', 'pydicom', 'sqlalchemy', 'node.model', 'highdicom', 'PIL', "
        "'imagecodecs', 'concurrent.futures', 'multiprocessing', 'nibabel', 'logging', 'asyncio'}; "
        "print(sorted(slow & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]"]
    assert len(list((tmp_path / "out").iterdir())) == 2
