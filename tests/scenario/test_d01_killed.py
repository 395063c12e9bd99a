"""D1: SIGKILL at every named place of the durable path, and at any moment, while many send."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable

import pytest

from node import failpoints
from tests import make, oracle
from tests.scenario import harness

# Places that an arriving instance passes, with the passage at which the process dies there.
PASSAGES = {
    "journal.before-write": 7,
    "journal.before-sync": 7,
    "journal.after-sync": 7,
    "journal.after-publish": 7,
    "spool.before-sync": 2,
    "spool.after-sync": 2,
    "adopt.before-files": 1,
    "adopt.mid-files": 1,
    "adopt.after-files": 1,
    "adopt.before-commit": 1,
    "adopt.after-commit": 1,
    "adopt.after-publish": 1,
    "adopt.before-checkpoint": 1,
    "adopt.after-checkpoint": 1,
}
SHORT = (
    "journal.after-sync",
    "spool.after-sync",
    "adopt.mid-files",
    "adopt.after-commit",
)


def corpus(seed: str, count: int = 60) -> list[make.Made]:
    """Small, middling, and some that are larger than the spool's threshold."""
    found = []
    for number in range(1, count + 1):
        size = 1_500_000 if number % 15 == 0 else 75_000 if number % 3 == 0 else 4096
        found.append(make.instance(number, seed=seed, size=size))
    return found


def died(node: harness.Node) -> bool:
    """Whether the supervisor saw a process end by SIGKILL."""
    return any(event.get("action") == "child_died" for event in node.events())


def killed_at(name: str, node: harness.Node, journal: oracle.Journal) -> None:
    """Send until a process dies at `name`, take everything down, start again, and judge."""
    node.start({failpoints.VARIABLE: f"{name}:{PASSAGES[name]}"})
    stop = threading.Event()
    sending = threading.Thread(
        target=oracle.send,
        args=(node.address, journal, corpus(name, 120 if "checkpoint" in name else 60)),
        kwargs={"senders": 4, "stop": stop, "patience": 5.0},
    )
    sending.start()
    end = time.monotonic() + 90
    while not died(node) and time.monotonic() < end:
        time.sleep(0.02)
    time.sleep(0.2)  # some more arrive while the dead process is missed
    seen = died(node)
    node.kill()
    stop.set()
    sending.join()
    assert seen, f"nothing died at {name}\n{node.tail()}"
    node.start()
    harness.verify(node, journal)


@pytest.mark.parametrize("name", SHORT)
def test_killed_at_a_named_place(
    name: str, make_node: Callable[..., harness.Node], journal: oracle.Journal
) -> None:
    killed_at(name, make_node(), journal)


@pytest.mark.soak
@pytest.mark.parametrize("name", [name for name in PASSAGES if name not in SHORT])
def test_killed_at_the_other_named_places(
    name: str, make_node: Callable[..., harness.Node], journal: oracle.Journal
) -> None:
    killed_at(name, make_node(), journal)


def test_every_place_that_an_instance_passes_has_its_test() -> None:
    elsewhere = ("remove.", "sweep.", "rebuild.", "complete.", "queue.", "push.")
    other = {name for name in failpoints.NAMES if name.startswith(elsewhere)}
    assert set(PASSAGES) == set(failpoints.NAMES) - other


def killed_at_random(
    node: harness.Node, journal: oracle.Journal, moments: int, senders: int, seed: int
) -> None:
    """Kill the whole node or one process of it `moments` times while `senders` go on sending."""
    dice = random.Random(seed)
    node.start()
    stop = threading.Event()
    turns = threading.Semaphore(1)  # some are always on their way, and never more than the disk can hold

    def keep_sending() -> None:
        for turn in range(moments):
            turns.acquire()
            if stop.is_set():
                return
            many = corpus(f"moments {seed} {turn}", 60)
            oracle.send(node.address, journal, many, senders=senders, stop=stop, patience=60.0)

    sending = threading.Thread(target=keep_sending)
    sending.start()
    try:
        for moment in range(moments):
            time.sleep(dice.uniform(0.02, 0.6))
            turns.release()
            victim = dice.choice(("everything", "everything", "listen-1", "adopt"))
            if victim == "everything":
                node.kill()
                if moment % 3 == 0:
                    wrong = oracle.judge(oracle.Held(node.data), [], quiet=False)
                    assert not wrong, "\n".join(wrong[:10])
                node.start()
            else:
                pid = node.child(victim)
                if pid:
                    os.kill(pid, signal.SIGKILL)
    finally:
        stop.set()
        turns.release()
        sending.join()
    node.wait_ready()
    assert journal.acknowledged(), "nothing was acknowledged: the test proves nothing"
    harness.verify(node, journal, timeout=60)


def test_killed_at_six_random_moments(
    make_node: Callable[..., harness.Node], journal: oracle.Journal
) -> None:
    killed_at_random(make_node(), journal, moments=6, senders=4, seed=1)


@pytest.mark.soak
def test_killed_at_five_hundred_random_moments(
    make_node: Callable[..., harness.Node], journal: oracle.Journal
) -> None:
    killed_at_random(make_node(), journal, moments=500, senders=8, seed=int(time.time()))
