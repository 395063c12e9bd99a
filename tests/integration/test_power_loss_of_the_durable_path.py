"""D2 without the daemon: receive and adopt, the power cut at many moments, recovered and judged."""

from __future__ import annotations

import os
import pathlib
import pickle
import shutil
import subprocess
import sys

import pytest

from tests import make, oracle
from tests.faults import layer, powerloss


def program(*words: object, environment: dict[str, str] | None = None) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.integration.taking", *map(str, words)],
        env={**os.environ, **(environment or {})},
        cwd=pathlib.Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def corpus(count: int) -> list[make.Made]:
    """Small ones, some for the spool, a duplicate and a conflict now and then."""
    found = []
    for number in range(1, count + 1):
        size = 1_200_000 if number % 12 == 0 else 90_000 if number % 3 else 4096
        found.append(make.instance(number, seed="durable path", size=size))
        if number % 10 == 0:
            found.append(found[-3])
        if number % 25 == 0:
            found.append(make.altered(found[-5]))
    return found


def lost(work: pathlib.Path, count: int, cuts: int, first: int = 0) -> tuple[int, list[str]]:
    """How many acknowledged instances the cuts asked for, and what was wrong."""
    root = work / "disk"
    root.mkdir()
    below = layer.Layer(work / "layer", root)
    listing = work / "corpus"
    many = corpus(count)
    listing.write_bytes(pickle.dumps(many))
    sent = [oracle.Answer(one.sop_instance, one.digest, None, 0.0) for one in many]
    program(root / "data", listing, below.journal, 3, environment=below.environment(record=True))
    records = sum(1 for _ in powerloss.read(below.journal))
    disk = powerloss.Disk(root)
    asked, wrong = 0, []
    kinds = (powerloss.Loss.SOME, powerloss.Loss.EVERYTHING, powerloss.Loss.SOME, powerloss.Loss.NOTHING)
    for at, cut in enumerate(powerloss.cuts(disk, below.journal, max(1, records // cuts)), first):
        image = work / f"image-{at}"
        loss = kinds[at % len(kinds)]
        cut.image(image, loss, seed=at)
        program(image / "data")
        answers = [oracle.Answer(uid, digest, 0, 0.0) for uid, digest in (mark.split() for mark in cut.marks)]
        asked += len(answers)
        wrong += [
            f"cut {at} at record {cut.number} of {records}, {loss.value}: {one}"
            for one in oracle.judge(oracle.Held(image / "data"), [*answers, *sent])
        ]
        shutil.rmtree(image)
    return asked, wrong


def test_nothing_that_was_received_is_lost_at_any_of_many_moments(tmp_path: pathlib.Path) -> None:
    asked, wrong = lost(tmp_path, 60, 6)
    assert not wrong, "\n".join(wrong[:10])
    assert asked > 60


@pytest.mark.soak
def test_nothing_that_was_received_is_lost_at_a_thousand_moments(tmp_path: pathlib.Path) -> None:
    _, wrong = lost(tmp_path, 300, 1000)
    assert not wrong, "\n".join(wrong[:10])


def test_a_head_that_was_torn_behind_the_move_is_mended(tmp_path: pathlib.Path) -> None:
    data = tmp_path / "data"
    made = make.instance(seed="torn head", size=1_300_000)
    listing = tmp_path / "corpus"
    listing.write_bytes(pickle.dumps([made]))
    program(data, listing, tmp_path / "marks", 1)
    place = oracle.Held(data).rows[0].path
    sound = place.read_bytes()
    with place.open("r+b") as file:
        file.seek(1024)
        file.write(b"?" * 512)  # a sector of the receipt facts
    assert not oracle.whole(place)
    (data / "journal/listen-1/position").write_bytes(
        bytes(4096)
    )  # mapped, and so never sure to be on the disk
    program(data)
    assert place.read_bytes() == sound
    held = oracle.Held(data)
    assert [(row.kind, row.digest) for row in held.rows] == [("instance", made.digest)]
    assert held.verdicts() == {"stored": 1}
