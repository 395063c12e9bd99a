"""Starting: from the command to a node that is ready, on an empty data directory and on one that is there."""

from __future__ import annotations

import pathlib
import tempfile
import time

from bench import contestants, harness
from bench.harness import Target


def run(bench: harness.Bench) -> None:
    """Measure."""

    def first() -> float:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            return _start(pathlib.Path(folder))

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        there = pathlib.Path(folder)
        _start(there)
        medians = bench.compare(
            "start until ready", {"second": lambda: _start(there), "first": first}, unit="s"
        )
    if medians:
        bench.record("second start", medians["second"], "s", target=Target(2.0, at_least=False))


def _start(folder: pathlib.Path) -> float:
    begun = time.perf_counter()
    node = contestants.Node(folder)
    seconds = time.perf_counter() - begun
    node.stop()
    return seconds
