"""`check` looks at everything, says what is wrong with each, and leaves nothing behind."""

from __future__ import annotations

import json
import pathlib
import socket
import subprocess
import sys

from tests import ports
from tests.scenario import harness


def check(tmp_path: pathlib.Path, *words: str, text: str = "") -> subprocess.CompletedProcess[str]:
    config = tmp_path / "node.toml"
    config.write_text(text)
    where = ["--config", str(config), "--data", str(tmp_path / "data")]
    return subprocess.run(
        [sys.executable, "-m", "node", "check", *where, *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def free() -> list[str]:
    return ["--port", str(ports.free()), "--http", f"127.0.0.1:{ports.free()}"]


RULES = """
[rules.no-reports]
action = "discard"
reason = "collected elsewhere"
when.Modality = "SR"

[schedules.nightly]
job = "scrub"
at = "02:30"
"""


def test_what_would_work_is_said_and_nothing_stays(tmp_path: pathlib.Path) -> None:
    done = check(tmp_path, *free(), text=RULES)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no-reports: discard when Modality is 'SR'" in done.stdout
    assert "nightly: scrub at 02:30, next 20" in done.stdout
    assert "would be created" in done.stdout
    assert not (tmp_path / "data").exists()


def test_all_that_is_wrong_is_said_at_once(tmp_path: pathlib.Path) -> None:
    (tmp_path / "data").write_text("a file")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = check(tmp_path, "--http", f"127.0.0.1:{port}", "--port", str(ports.free()), "--json")
    assert done.returncode == 2
    wrong = {one["what"]: one["says"] for one in json.loads(done.stdout) if not one["ok"]}
    assert "cannot be written" in wrong["data"]
    assert f"127.0.0.1:{port}" in wrong["http"]
    assert "checks failed" in done.stderr


def test_a_peer_that_does_not_answer_is_named(tmp_path: pathlib.Path) -> None:
    peer = f'[peers.pacs]\naet = "PACS"\nhost = "127.0.0.1"\nport = {ports.free()}\n'
    done = check(tmp_path, *free(), "--peers", text=peer)
    assert done.returncode == 2
    line = next(one for one in done.stdout.splitlines() if " peer " in one)
    assert line.startswith("FAIL")
    assert "PACS" in line or "pacs" in line


def test_beside_a_running_node_its_ports_are_not_tried(tmp_path: pathlib.Path) -> None:
    node = harness.Node(tmp_path / "node").start()
    try:
        done = node.command("check", "--port", str(node.port), "--http", f"127.0.0.1:{node.http}")
    finally:
        node.kill()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "a node runs on this data directory" in done.stdout
