"""What a person is told of coercions at receipt: by `rules test`, `check` and `images show`."""

from __future__ import annotations

import io
import json
import pathlib

import pytest
from typer.testing import CliRunner

from node import cli, errors, log, model
from tests import make, stored

CONFIGURATION = """
[rules.to-ward]
action = "keep"
coerce = "ward"
when.Modality = "CT"

[[coerce.ward]]
change = "PatientID"
lookup = "ids.csv"
missing = "fail"
"""
REMAPPED = """
[[coerce.ward]]
remap = "hush"
"""


@pytest.fixture
def config(tmp_path: pathlib.Path) -> pathlib.Path:
    # The runner's standard error is gone after each command; the log must not hold on to it.
    log.configure(model.LogSettings(), "test", io.StringIO())
    make.files(tmp_path / "in", make.series(1))
    (tmp_path / "ids.csv").write_text("SYN-0001,W-1\n")
    path = tmp_path / "node.toml"
    path.write_text(CONFIGURATION)
    return path


def invoke(*words: str) -> str:
    result = CliRunner().invoke(cli.program(), words)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.stdout


def test_a_trial_shows_what_would_be_presented(config: pathlib.Path, tmp_path: pathlib.Path) -> None:
    (path,) = (tmp_path / "in").iterdir()
    shown = invoke("rules", "test", str(path), "--config", str(config)).splitlines()
    assert shown == [
        f"{path}: keep by to-ward",
        "  to-ward: yes, Modality has 'CT' as in 'CT'",
        "  presented through ward: 1 elements change",
        "    (0010,0020) LO PatientID: 'SYN-0001' -> 'W-1'",
    ]
    words = json.loads(invoke("rules", "test", str(path), "--config", str(config), "--json"))
    assert words["coerced"]["coercion"] == "ward"
    assert [one["after"] for one in words["coerced"]["differences"]] == ["W-1"]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["ids.csv", "in", "node.toml"]


def test_a_trial_says_what_would_be_set_aside(config: pathlib.Path, tmp_path: pathlib.Path) -> None:
    (tmp_path / "ids.csv").write_text("SOMEBODY,W-1\n")
    (path,) = (tmp_path / "in").iterdir()
    first, _, why = invoke("rules", "test", str(path), "--config", str(config)).splitlines()
    assert first == f"{path}: quarantine, for to-ward keeps it, but its coercion cannot be done"
    assert why.startswith("  coercion ward: the value is not in ids.csv")


def test_an_image_says_through_what_it_is_presented(config: pathlib.Path, tmp_path: pathlib.Path) -> None:
    root = tmp_path / "data"
    invoke("import", str(tmp_path / "in"), "--config", str(config), "--data", str(root))
    uid = make.series(1)[0].sop_instance
    shown = json.loads(invoke("images", "show", uid, "--data", str(root), "--json"))
    assert (shown["patient_id"], shown["presented_through"]) == ("W-1", "ward")
    assert shown["presented_steps"].startswith("change PatientID: look it up in ids.csv")
    (kept,) = stored.data(root).coercions.iterdir()
    kept.unlink()
    assert "cannot be sent" in invoke("images", "show", uid, "--data", str(root))


def test_steps_that_touch_the_identity_are_refused_at_receipt_alone(
    config: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    config.write_text(CONFIGURATION + REMAPPED)
    words = ("check", "--config", str(config), "--data", str(tmp_path / "data"))
    with pytest.raises(errors.NodeError):
        invoke(*words)
    with pytest.raises(
        errors.UsageError, match=r"node.toml:12: coerce.ward: StudyInstanceUID and .* would be"
    ):
        invoke("run", "--config", str(config), "--data", str(tmp_path / "data"))
    config.write_text(CONFIGURATION.replace('coerce = "ward"', "") + REMAPPED)
    assert (
        "ward (for no destination), step 2: replace each UID"
        in CliRunner().invoke(cli.program(), words).stdout
    )
