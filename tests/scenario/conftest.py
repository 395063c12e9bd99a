"""What every scenario starts from: a daemon of its own that is gone afterwards, and a sender's journal."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Iterator

import pytest

from tests import oracle
from tests.scenario import harness


@pytest.fixture
def make_node(tmp_path: pathlib.Path) -> Iterator[Callable[..., harness.Node]]:
    """Make daemons that are killed at the end of the test."""
    nodes: list[harness.Node] = []

    def made(name: str = "node", **more: object) -> harness.Node:
        nodes.append(harness.Node(tmp_path / name, **more))  # type: ignore[arg-type]
        return nodes[-1]

    yield made
    for node in nodes:
        node.kill()


@pytest.fixture
def node(make_node: Callable[..., harness.Node]) -> harness.Node:
    """A daemon that is ready."""
    return make_node().start()


@pytest.fixture
def journal(tmp_path: pathlib.Path) -> Iterator[oracle.Journal]:
    """What the sender knows."""
    made = oracle.Journal(tmp_path / "answers.jsonl")
    yield made
    made.close()
