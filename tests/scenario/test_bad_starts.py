"""What stands in the way of a start is told in one sentence, and nothing is half-started."""

from __future__ import annotations

import pathlib
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests import ports
from tests.scenario import harness


def start(node: harness.Node, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "node", "run", *node.flags(), *more],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """The one sentence that it ended with, having started no process."""
    assert done.returncode in (1, 2), done.stderr
    assert "Traceback" not in done.stderr
    assert "child_started" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("dicom-node: ")
    return last


@pytest.mark.parametrize("which", ["port", "http"])
def test_a_port_in_use(make_node: Callable[..., harness.Node], which: str) -> None:
    node = make_node()
    port = getattr(node, which)
    with socket.create_server(("127.0.0.1", port)):
        said = refusal(start(node))
    assert f"127.0.0.1:{port}" in said
    assert "in use" in said
    assert f"--{which}" in said


def test_a_data_directory_that_is_a_file(
    make_node: Callable[..., harness.Node], tmp_path: pathlib.Path
) -> None:
    node = make_node()
    node.data = tmp_path / "file"
    node.data.write_text("not a directory")
    said = refusal(start(node))
    assert str(node.data) in said
    assert "--data" in said


def test_a_second_node_on_one_data_directory(
    node: harness.Node, make_node: Callable[..., harness.Node]
) -> None:
    second = make_node("second")
    second.data = node.data
    said = refusal(start(second))
    assert str(node.data) in said
    assert str(node.process.pid if node.process else "") in said
    node.alive()


def test_a_database_of_a_newer_program(node: harness.Node) -> None:
    node.stop()
    with sqlite3.connect(node.data / "index.sqlite") as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    database.close()
    said = refusal(start(node))
    assert "9999" in said
    assert "newer" in said


def test_a_certificate_that_is_not_there(
    make_node: Callable[..., harness.Node], tmp_path: pathlib.Path
) -> None:
    missing = tmp_path / "node.pem"
    node = make_node(tls={"port": ports.free(), "certificate": str(missing), "key": str(missing)})
    said = refusal(start(node))
    assert str(missing) in said
    assert "tls.certificate" in said


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[node]\ndrain = 'eleven'\n", ["node.toml:2:", "node.drain", "eleven", "30s"]),
        ("[node]\nprot = 104\n", ["node.toml:2:", "node.prot", "did you mean port?"]),
        ("[node\nport = 104\n", ["node.toml:1:", "not TOML"]),
    ],
)
def test_a_mistake_in_the_file(make_node: Callable[..., harness.Node], text: str, words: list[str]) -> None:
    node = make_node()
    node.config.write_text(text)
    said = refusal(start(node))
    for word in words:
        assert word in said
    assert not node.data.exists()
