"""Command lines that are read without typer are read as typer reads them."""

from __future__ import annotations

import inspect
import pathlib
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from node import cli
from node.commands import edit, editing, plain
from tests import make

PLAIN = [
    "STUDY --set PatientID=R-17 --out NEW",
    "STUDY --set=PatientID=R-17 --out=NEW --overwrite",
    "a b/c.dcm --remove OtherPatientIDs --empty PatientComments --set A=1 --set B=2 --in-place",
    "--in-place --together --steps tidy.toml x",
    "x --remap-uids secret --remap-uids another --dry-run --json",
    "x --original NODE --set PatientName=A^B=C --out= --in-place",
    "x --set 0011,1001:LO=seen --dry-run",
    "a --dry-run b --remove X c",
]
LEFT = [
    "",
    "--help",
    "x -h",
    "x --set",
    "x --set -17",
    "x --out --in-place",
    "x --in-place=yes",
    "x --unknown y",
    "x --dry",
    "--set A=1 --dry-run",
    "- --dry-run",
    "-- x --dry-run",
]


def _typer(words: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    called: list[dict[str, Any]] = []
    monkeypatch.setattr(editing, "run", lambda paths, **more: called.append({"paths": paths, **more}))
    result = CliRunner().invoke(cli.program(["edit"]), ["edit", *words])
    assert result.exit_code == 0, result.output
    return called[0]


@pytest.mark.parametrize("line", PLAIN)
def test_both_read_the_same(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    words = line.split(" ")
    read = plain.edit(words)
    assert read is not None
    defaults = {
        name: parameter.default or ([] if parameter.default == () else parameter.default)
        for name, parameter in inspect.signature(editing.run).parameters.items()
    }
    assert _typer(words, monkeypatch) == defaults | read


@pytest.mark.parametrize("line", LEFT)
def test_what_needs_explaining_is_left_to_typer(line: str) -> None:
    assert plain.edit(line.split(" ") if line else []) is None


def test_every_option_is_known() -> None:
    app = typer.Typer(add_completion=False)
    edit.register(app)
    command = typer.main.get_command(app)
    kinds = {
        param.opts[0]: (
            param.name,
            plain.Kind.FLAG
            if getattr(param, "is_flag", False)
            else plain.Kind.TEXTS
            if getattr(param, "multiple", False)
            else plain.Kind.PATH
            if param.name in ("steps", "out")
            else plain.Kind.TEXT,
        )
        for param in command.params
        if param.param_type_name == "option" and param.name != "help"
    }
    assert kinds == plain.EDIT


def test_an_edit_loads_nothing_that_it_does_not_need(tmp_path: pathlib.Path) -> None:
    (path,) = make.files(tmp_path / "in", make.series(1))
    program = (
        "import sys; from node import cli; "
        f"sys.argv[1:] = ['edit', {str(path)!r}, '--set', 'PatientID=R-17', '--in-place']; cli.main(); "
        "slow = {'typer', 'pydantic', 'rich', 'pydicom', 'sqlalchemy', 'node.model'}; "
        "print(sorted(slow & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["1 edited", "[]"]


def test_a_mistake_ends_a_plain_line_as_any_other(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["edit", "x", "--set", "PatientIDD=R-17", "--in-place"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["dicom-node", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
    assert ended.value.code == 2
    assert "did you mean PatientID?" in capsys.readouterr().err
