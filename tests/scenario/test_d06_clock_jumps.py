"""D6: the clock is a day or ten years off, and comes back."""

from __future__ import annotations

import pathlib
from collections.abc import Callable

from tests import make, oracle
from tests.faults import layer
from tests.scenario import harness

DAY = 86400
YEAR = 365 * DAY


def test_instances_are_taken_and_found_whatever_the_clock_does(
    make_node: Callable[..., harness.Node], journal: oracle.Journal, tmp_path: pathlib.Path
) -> None:
    root = tmp_path / "disk"
    root.mkdir()
    below = layer.Layer(tmp_path / "layer", root)
    node = make_node(data=root / "data").start(below.environment())
    count = 0
    for step, offset in enumerate((0, DAY, -DAY, 10 * YEAR, 0)):
        below.set_clock(offset)
        sent = oracle.send(node.address, journal, make.series(10, seed=f"clock {step}"), senders=2)
        count += 10
        assert (sent.answered, sent.broken) == (10, 0)
        node.alive()
    assert len(journal.acknowledged()) == count
    harness.verify(node, journal)
    days = {
        str(day) for (day,) in oracle.Held(node.data).query("select substr(received, 1, 4) from instance")
    }
    assert len(days) == 2, "the clock that was set did not reach the node: the test proves nothing"

    # Killed with the clock ahead and started with it back: the journal's order must not depend on it.
    below.set_clock(10 * YEAR)
    oracle.send(node.address, journal, make.series(10, seed="clock ahead"))
    node.kill()
    below.set_clock(0)
    node.start(below.environment())
    oracle.send(node.address, journal, make.series(10, seed="clock back"))
    node.kill()
    node.start(below.environment())
    assert len(journal.acknowledged()) == count + 20
    harness.verify(node, journal)
