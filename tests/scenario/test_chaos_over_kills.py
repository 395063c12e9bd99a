"""A node that is killed again and again sends through chaos; afterwards ledger and sink agree, both ways."""

from __future__ import annotations

import collections
import contextlib
import random
import threading
import time
from collections.abc import Callable

import pytest

from node.faulty import pacs as faulty
from node.faulty import plan as faulty_plan
from tests import make, oracle
from tests.scenario import harness
from tests.scenario.test_d08_peer_fails import Forwarded

WINDOW = 4  # operations that each of the peers lets wait
LANES = 2  # associations at once to each of them


def _tables(peers: dict[str, faulty.Faulty]) -> dict[str, dict[str, object]]:
    tables: dict[str, dict[str, object]] = {
        "completeness.all": {"released": "50ms", "geometry": False},
        "routes.all": {"to": list(peers)},
    }
    for name, peer in peers.items():
        tables[f"peers.{name}"] = {"aet": peer.aet, "host": "127.0.0.1", "port": peer.address[1]}
        tables[f"destinations.{name}"] = {
            "peer": name,
            "retry": "50ms",
            "retry_most": "500ms",
            "attempts": 1000,
            "window": WINDOW,
            "lanes": LANES,
        }
    tables["destinations.doubted"] |= {"verify": "find", "verify_after": "100ms"}
    return tables


def _run(make_node: Callable[..., harness.Node], journal: oracle.Journal, seconds: float, seed: int) -> None:
    dice = random.Random(seed)
    with contextlib.ExitStack() as stack:
        plan = faulty_plan.plan(chaos=0.1, seed=seed, known="0111", window=WINDOW)
        peers = {
            name: stack.enter_context(faulty.Faulty(plan, aet=name.upper())) for name in ("simple", "doubted")
        }
        node = make_node(**_tables(peers)).start()
        stop = threading.Event()
        instances = [one for at in range(2000) for one in make.series(10, seed=f"{seed} {at}")]
        sending = threading.Thread(
            target=oracle.send, args=(node.address, journal, instances), kwargs={"senders": 2, "stop": stop}
        )
        sending.start()
        kills = 0
        try:
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                time.sleep(dice.uniform(0.5, 4.0))
                node.kill()
                kills += 1
                node.start()
        finally:
            stop.set()
            sending.join()
        sent = {one.sop_instance: one.digest for one in journal.acknowledged()}
        forwarded = Forwarded(node, peers)
        for peer in peers.values():
            peer.plan = faulty_plan.plan(known="0111", window=WINDOW)
        for name, peer in peers.items():
            end = time.monotonic() + 300.0
            while forwarded.states(name) != {"done": len(sent)}:
                told = f"seed {seed}: {name} {forwarded.states(name)} of {len(sent)}\n{node.tail(40)}"
                assert time.monotonic() < end, told
                time.sleep(0.2)
            assert {uid: one.digest for uid, one in peer.stored.items()} == sent, f"seed {seed}"
            # What had its answer goes out again only where the answer was lost: with the node, or to a reset.
            answered = collections.Counter(
                one.sop_instance for one in peer.journal if one.status in (0, 0x0111)
            )
            again = sum(many - 1 for many in answered.values())
            resets = sum(one.status is None for one in peer.journal)
            most = (kills * LANES + resets) * WINDOW
            assert again <= most, f"seed {seed}: {again} repeated, {kills} kills"


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_for_minutes(make_node: Callable[..., harness.Node], journal: oracle.Journal) -> None:
    _run(make_node, journal, 240.0, random.SystemRandom().randrange(1 << 32))
