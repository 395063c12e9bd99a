"""`worklist`: entries go in from files, come out as JSON, and are listed and removed."""

from __future__ import annotations

import io
import json
import pathlib
from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import CliRunner

from node import cli, log, model
from node.dicom import identifier
from tests import indexed, make, stored

Run = Callable[..., Any]
ENTRY = {
    "PatientName": "Müller^Jörg",
    "PatientID": "SYN-1",
    "ScheduledProcedureStepSequence": [{"Modality": "CT", "ScheduledProcedureStepStartDate": "20261121"}],
}


@pytest.fixture
def run(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `worklist WORDS` on a node that holds nothing."""
    log.configure(model.LogSettings(), "test", io.StringIO())
    stored.data(tmp_path)
    indexed.sqlite(tmp_path, "index.sqlite").close()
    monkeypatch.chdir(tmp_path)
    program = cli.program(["worklist"])

    def ran(*words: str) -> Any:
        return CliRunner().invoke(program, ["worklist", *words, "--data", str(tmp_path)])

    return ran


def test_an_entry_goes_in_and_out_as_it_is(run: Run, tmp_path: pathlib.Path) -> None:
    (tmp_path / "entry.json").write_text(json.dumps(ENTRY))
    assert "RIS-1 added: step RIS-1, study 2.25." in run("add", "entry.json", "--id", "RIS-1").stdout
    shown = run("show", "RIS-1").stdout
    (tmp_path / "again.json").write_text(shown)
    assert "RIS-1 replaced" in run("add", "again.json", "--id", "RIS-1").stdout
    assert run("show", "RIS-1").stdout == shown
    assert json.loads(shown)["PatientName"] == "Müller^Jörg"
    assert "RIS-1  20261121 0000  any      CT" in run("list").stdout
    assert json.loads(run("list", "--json").stdout)[0]["id"] == "RIS-1"
    assert "RIS-1 removed" in run("remove", "RIS-1").stdout
    assert "0 in the table" in run("list").stdout
    assert "there is no entry 'RIS-1'" in str(run("show", "RIS-1").exception)


def test_a_worklist_file_goes_in_step_by_step(run: Run, tmp_path: pathlib.Path) -> None:
    steps = [
        {**ENTRY["ScheduledProcedureStepSequence"][0], "ScheduledProcedureStepID": f"S{n}"} for n in (1, 2)
    ]  # type: ignore[dict-item]
    fields: identifier.Fields = {
        **ENTRY,
        "ScheduledProcedureStepSequence": steps,
        "StudyInstanceUID": "1.2.3",
    }  # type: ignore[dict-item]
    (tmp_path / "two.wl").write_bytes(identifier.encode(fields, make.IMPLICIT, "ISO_IR 100"))
    said = run("add", "two.wl").stdout.splitlines()
    assert [line.partition(": ")[2] for line in said] == ["step S1, study 1.2.3", "step S2, study 1.2.3"]
    assert "names one entry" in str(run("add", "two.wl", "--id", "x").exception)


def test_what_is_wrong_with_a_file_is_told(run: Run, tmp_path: pathlib.Path) -> None:
    (tmp_path / "no.json").write_text('{"PatientName": "SYNTHETIC^ALPHA"}')
    (tmp_path / "no.wl").write_bytes(b"no DICOM at all")
    for name, says in (
        ("no.json", "no.json: an entry has one scheduled step"),
        ("no.wl", "no.wl: not a DICOM data set"),
        ("nowhere.json", "nowhere.json: it cannot be read"),
    ):
        assert says in str(run("add", name).exception)
    assert "names no entry" in str(run("add", "no.json", "--id", "../x").exception)
