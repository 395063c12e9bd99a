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
from node.commands import check
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


def test_check_says_what_the_folder_and_the_token_are_good_for(tmp_path: pathlib.Path) -> None:
    folder, token = tmp_path / "worklist", tmp_path / "api.token"

    def look() -> dict[str, list[tuple[bool, str]]]:
        node = model.NodeSettings(data=tmp_path / "data", api_token_file=token)
        settings = model.Settings(node=node, worklist=model.WorklistSettings(folder))
        found: dict[str, list[tuple[bool, str]]] = {}
        for one in check.look(settings):
            found.setdefault(one.what, []).append((one.ok, one.says))
        return found

    first = look()
    assert not first["worklist"][0][0]
    assert "make it, or set worklist.folder" in first["worklist"][0][1]
    assert not first["api"][0][0]
    assert "openssl rand -hex 32" in first["api"][0][1]
    folder.mkdir()
    (folder / "good.json").write_text(json.dumps(ENTRY))
    (folder / "NODE").mkdir()
    (folder / "NODE" / "bad.wl").write_bytes(b"no DICOM at all")
    token.write_text("0123456789abcdef\n")
    then = look()
    assert then["api"][0][0]
    assert "0123456789abcdef" not in then["api"][0][1]
    assert [ok for ok, _ in then["worklist"]] == [True, False]
    assert f"{folder} has 1 entries" in then["worklist"][0][1]
    assert "NODE/bad.wl is not served" in then["worklist"][1][1]
