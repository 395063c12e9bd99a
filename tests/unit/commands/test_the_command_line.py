"""The program as a person meets it: help that fits, one sentence for a mistake, exit codes."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from node import cli
from tests import make

HEIGHT, WIDTH = 40, 80


def _commands() -> list[list[str]]:
    group = typer.main.get_command(cli.program())
    found = []
    for name, command in sorted(group.commands.items()):  # type: ignore[attr-defined]
        found.append([name])
        found += [[name, sub] for sub in sorted(getattr(command, "commands", {}))]
    return found


@pytest.mark.parametrize("words", _commands(), ids=" ".join)
def test_help_fits_a_screen_and_shows_an_example(words: list[str]) -> None:
    result = CliRunner().invoke(cli.program(), [*words, "--help"], env={"COLUMNS": str(WIDTH)})
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert len(lines) <= HEIGHT, len(lines)
    assert max(map(len, lines)) <= WIDTH
    assert f"Example: dicom-node {words[0]}" in " ".join(result.output.split())


def _program(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "node", *words], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["echo", "nobody"], "no peer is called 'nobody'"),
        (["echo", "A@host:99999"], "99999 in 'A@host:99999' is not a port"),
        (["send", "A@127.0.0.1:1", "nowhere"], "'nowhere' does not exist"),
        (["audit", "--data", "nowhere"], "there is no node in nowhere"),
        (["scrub", "--rate", "fast"], "--rate 'fast' is not a rate"),
        (["rebuild", "--data", "nowhere"], "nowhere is no directory"),
        (["images", "list", "--data", "nowhere"], "there is no node in nowhere"),
        (["rules", "test", "x.dcm"], "no rules are configured"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_sentence_and_exit_code_2(words: list[str], says: str) -> None:
    done = _program(*words)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("dicom-node: ")
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_failure_is_exit_code_1() -> None:
    done = _program("echo", "A@127.0.0.1:1")
    assert done.returncode == 1
    assert "cannot be reached" in done.stderr


def test_an_import_without_a_node_is_filed_found_audited_scrubbed_and_rebuilt(tmp_path: pathlib.Path) -> None:
    folder, data = tmp_path / "files", str(tmp_path / "data")
    folder.mkdir()
    make.files(folder, make.series(5))
    (folder / "notes.txt").write_text("no image" * 50)
    (tmp_path / "node.toml").write_text('[storage]\nmin_free = "0"\n')
    config = ["--config", str(tmp_path / "node.toml"), "--data", data]
    first = _program("import", str(folder), *config)
    assert first.returncode == 0, first.stderr
    assert first.stdout.startswith("5 instances taken in")
    assert "1 files passed over" in first.stdout
    for words in (["audit", "--deep"], ["scrub"], ["rebuild"], ["audit", "--deep"]):
        done = _program(*words, *config)
        assert done.returncode == 0, (words, done.stderr)
    assert "5 acknowledged instances: 5 stored" in done.stdout
    for place in pathlib.Path(data, "store").rglob("*.dcm"):
        content = bytearray(place.read_bytes())
        content[-3] ^= 1
        place.write_bytes(content)
        break
    damaged = _program("scrub", *config)
    assert damaged.returncode == 1
    assert damaged.stdout.startswith("CORRUPT")
    found = _program("audit", *config)
    assert found.returncode == 1
    assert "NOT ACCOUNTED FOR" in found.stdout
