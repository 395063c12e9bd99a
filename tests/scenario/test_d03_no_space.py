"""D3: no space, quota or inodes, for the journal, the spool, the tree and the database apart."""

from __future__ import annotations

import errno
import pathlib
import time
from collections.abc import Callable

import pytest

from tests import make, oracle, scu
from tests.faults import layer
from tests.scenario import harness

OUT_OF_RESOURCES = 0xA700


def under(
    made: Callable[..., harness.Node], work: pathlib.Path, *refusals: tuple[str, str, str]
) -> tuple[harness.Node, pathlib.Path]:
    """A node whose calls fail while the flag file exists."""
    root = work / "disk"
    root.mkdir()
    flag = work / "full"
    below = layer.Layer(work / "layer", root)
    node = made(data=root / "data")
    faults = [layer.Refusal(what, place, error, times=0, flag=flag) for what, place, error in refusals]
    node.start(below.environment(*faults))
    return node, flag


@pytest.mark.parametrize("error", ["ENOSPC", "EDQUOT"])
def test_no_space_for_the_journal_is_a700_and_the_association_lives(
    error: str, make_node: Callable[..., harness.Node], journal: oracle.Journal, tmp_path: pathlib.Path
) -> None:
    assert hasattr(errno, error)
    node, flag = under(make_node, tmp_path, ("write", "/journal/", error))
    many = make.series(30, seed=f"full {error}")
    with scu.call(node.address, many) as caller:
        for made in many[:10]:
            journal.note(made, caller.store(made).status)
        flag.touch()
        refused = [caller.store(made).status for made in many[10:20]]
        assert refused == [OUT_OF_RESOURCES] * 10
        assert caller.echo() == 0
        assert node.get("/healthz")[0] == 200
        flag.unlink()
        for made in many[10:]:
            journal.note(made, caller.store(made).status)
        caller.release()
    assert len(journal.acknowledged()) == 30
    harness.verify(node, journal)


def test_no_space_for_the_spool_is_a700_and_nothing_stays_of_it(
    make_node: Callable[..., harness.Node], journal: oracle.Journal, tmp_path: pathlib.Path
) -> None:
    node, flag = under(make_node, tmp_path, ("write", "/spool/", "ENOSPC"), ("create", "/spool/", "ENOSPC"))
    large = [make.instance(number, seed="spool", size=2_000_000) for number in range(1, 4)]
    small = make.instance(9, seed="spool")
    with scu.call(node.address, large) as caller:
        flag.touch()
        assert caller.store(large[0]).status == OUT_OF_RESOURCES
        assert caller.store(large[1]).status == OUT_OF_RESOURCES
        journal.note(small, caller.store(small).status)
        flag.unlink()
        for made in large:
            journal.note(made, caller.store(made).status)
        caller.release()
    assert len(journal.acknowledged()) == 4
    held = harness.verify(node, journal)
    assert len(held.rows) == 4


@pytest.mark.parametrize("place", ["/store/", "/data/index.sqlite"])
def test_no_space_behind_the_journal_is_waited_out(
    place: str, make_node: Callable[..., harness.Node], journal: oracle.Journal, tmp_path: pathlib.Path
) -> None:
    faults = [("write", place, "ENOSPC")]
    if place == "/store/":  # files are written under a temporary name and moved there
        faults += [("write", "/adopt.new", "ENOSPC"), ("mkdir", place, "ENOSPC")]
    node, flag = under(make_node, tmp_path, *faults)
    many = make.series(40, seed=place)
    oracle.send(node.address, journal, many[:10])
    flag.touch()
    oracle.send(node.address, journal, many[10:30], senders=2)
    assert len(journal.acknowledged()) == 30, "the journal has room: what is behind it may wait"
    time.sleep(1.0)
    node.alive()
    wrong = oracle.judge(oracle.Held(node.data), [], quiet=False)
    assert not wrong, "\n".join(wrong)
    flag.unlink()
    oracle.send(node.address, journal, many[30:])
    held = harness.verify(node, journal, timeout=30)
    assert len(held.rows) == 40


def test_a_node_that_is_killed_while_full_starts_and_finishes(
    make_node: Callable[..., harness.Node], journal: oracle.Journal, tmp_path: pathlib.Path
) -> None:
    node, flag = under(make_node, tmp_path, ("write", "/adopt.new", "ENOSPC"))
    flag.touch()
    oracle.send(node.address, journal, make.series(20, seed="killed while full"), senders=2)
    assert len(journal.acknowledged()) == 20
    node.kill()
    node.start()
    harness.verify(node, journal)


def test_below_the_watermark_associations_are_rejected_for_now(
    make_node: Callable[..., harness.Node],
) -> None:
    node = make_node(storage={"min_free": "900 TB", "journal": "64MiB"}).start(ready=False)
    end = time.monotonic() + 60
    code = None
    while code is None and time.monotonic() < end:
        try:
            with scu.call(node.address, [make.instance()]) as caller:
                caller.release()
            time.sleep(0.1)
        except scu.Rejected as rejected:
            code = rejected.code
        except OSError:
            time.sleep(0.1)
    assert code == (2, 3, 1)
