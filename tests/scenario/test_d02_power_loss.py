"""D2: the power goes while instances arrive; what was not synced is gone, or torn."""

from __future__ import annotations

import pathlib
import shutil
import threading
from collections.abc import Callable

import pytest

from tests import make, oracle
from tests.faults import layer, powerloss
from tests.scenario import harness


def record(made: Callable[..., harness.Node], work: pathlib.Path, count: int) -> layer.Layer:
    """Run a node on an empty disk, send, kill it: the layer's journal has all that happened."""
    root = work / "disk"
    root.mkdir()
    below = layer.Layer(work / "layer", root)
    node = made("recorded", data=root / "data")
    node.start(below.environment(record=True), timeout=60)
    below.mark("ready")
    answers = oracle.Journal(work / "recorded.jsonl")
    many = [
        make.instance(
            number, seed="power", size=1_300_000 if number % 20 == 0 else 60_000 if number % 2 else 4096
        )
        for number in range(1, count + 1)
    ]
    guard = threading.Lock()

    def acknowledged(one: make.Made) -> None:
        with guard:
            below.mark(f"{one.sop_instance} {one.digest}")

    sent = oracle.send(node.address, answers, many, senders=4, acknowledged=acknowledged)
    assert sent.answered == count
    node.settled(answers.answers())
    node.kill()
    answers.close()
    return below


def losses(
    below: layer.Layer, made: Callable[..., harness.Node], work: pathlib.Path, cuts: int
) -> tuple[int, list[str]]:
    """Cut the power `cuts` times over the run; how many were asked for, and what is wrong."""
    records = sum(1 for _ in powerloss.read(below.journal))
    disk = powerloss.Disk(below.root)
    asked, wrong = 0, []
    every = max(1, records // (cuts + 1))
    kinds = (powerloss.Loss.EVERYTHING, powerloss.Loss.SOME, powerloss.Loss.SOME)
    for at, cut in enumerate(powerloss.cuts(disk, below.journal, every)):
        if "ready" not in cut.marks:
            continue
        answers = [
            oracle.Answer(uid, digest, 0, 0.0)
            for uid, _, digest in (mark.partition(" ") for mark in cut.marks)
            if digest
        ]
        asked += len(answers)
        image = work / f"image-{at}"
        cut.image(image, kinds[at % len(kinds)], seed=at)
        node = made(f"after-{at}", data=image / "data")
        node.start(timeout=60)
        held = node.settled(answers)
        found = oracle.judge(held, answers)
        audit = node.command("audit", "--deep")
        if audit.returncode:
            found.append(f"audit: {audit.stdout}{audit.stderr}")
        wrong += [f"cut {at} at record {cut.number}, {kinds[at % len(kinds)].value}: {one}" for one in found]
        node.kill()
        shutil.rmtree(image)
    return asked, wrong


def test_nothing_acknowledged_is_lost_with_the_power(
    make_node: Callable[..., harness.Node], tmp_path: pathlib.Path
) -> None:
    below = record(make_node, tmp_path, 120)
    asked, wrong = losses(below, make_node, tmp_path, 3)
    assert not wrong, "\n".join(wrong[:10])
    assert asked > 120, "no cut fell behind an acknowledgement: the test proves nothing"


@pytest.mark.soak
def test_nothing_acknowledged_is_lost_at_two_hundred_moments(
    make_node: Callable[..., harness.Node], tmp_path: pathlib.Path
) -> None:
    below = record(make_node, tmp_path, 2000)
    _, wrong = losses(below, make_node, tmp_path, 200)
    assert not wrong, "\n".join(wrong[:10])
