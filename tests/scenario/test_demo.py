"""`demo`, as a newcomer runs it: once, from a directory with nothing in it, to the end."""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys

import pytest

import node
from node.commands import acts, demo, onward

ROOT = pathlib.Path(node.__file__).parent.parent


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What it prints; run once for all that is asked of it."""
    empty, temporary = tmp_path_factory.mktemp("empty"), tmp_path_factory.mktemp("temporary")
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "TMPDIR": str(temporary)}
    done = subprocess.run(
        [sys.executable, "-m", "node", "demo", "--plain"],
        cwd=empty,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    # Nothing but the temporary directory was touched, and that is gone.
    assert list(empty.iterdir()) == []
    assert list(temporary.iterdir()) == []
    return done.stdout


def test_every_step_is_told_in_its_order(said: str) -> None:
    places = [said.find(step) for step in demo.ACTS]
    assert -1 not in places, dict(zip(demo.ACTS, places, strict=True))
    assert places == sorted(places)
    assert "fail" not in said.lower()


def test_the_story_is_told_in_numbers_that_fit(said: str) -> None:
    count, first = acts.SLICES, acts.FIRST
    for words in (
        f"{first} of {first} answered with 0000",
        "complete: settled by the release of its associations",
        f"pacs has {first}, with Patient ID {onward.PATIENT}",
        f"archive has {first - 1}; the C-STORE that it answered with A900 is a dead letter",
        f"SIGKILL; {count - first} of {count - first} more answered with 0000",
        f"{count} slices of 256x256, made again when the late ones came",
        f"one study of {count} instances",
        f"{count} came back at ",
        f"all {count} committed",
        f"pacs is down, {count - first} wait",
        f"the backlog moved: {count} of {count} delivered",
        "replayed by hand, and delivered; it was given up for 0xA900",
        f"sent again, {count} of {count} kept",
        f"{count} digests in the archive are those of what was received; {count} in the PACS differ by",
        "archive answered A900, 0000",
        f"clean: NODE {count} stored; PACS ",
        "each drained and ended with 0",
    ):
        assert words in said, said
    assert re.search(r"Done in \d+\.\d s\.", said)
    assert "every acknowledged instance accounted for, in the node and in the PACS" in said
