"""A running node is retrieved from: over its listener, to peers that a reload brings, and while it stops."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

from tests import make, oracle, retrieving, scu
from tests.scenario import harness

STUDY = make.series(40, seed="retrieved")
WANTED = retrieving.identifier(level="STUDY", study=STUDY[0].study)


def test_a_study_goes_where_the_configuration_says_and_a_stop_waits_for_it(
    make_node: Callable[..., harness.Node],
) -> None:
    node = make_node().start()
    with scu.call(node.address, STUDY) as caller:
        assert all(caller.store(made).status == 0 for made in STUDY)
        caller.release()
    with retrieving.fetching(node.address, STUDY) as asker:
        got, _, last = asker.got(WANTED)
        asker.release()
    assert last.status == 0
    assert got == {made.sop_instance: made.data for made in STUDY}
    with retrieving.sink() as (sink, peer):
        with retrieving.asking(node.address) as asker:
            assert asker.moved(WANTED, "SINK")[1].status == 0xA801
            more = f'\n[peers.sink]\naet = "SINK"\nhost = "127.0.0.1"\nport = {peer.port}\n'
            node.config.write_text(node.config.read_text() + more)
            done = node.command("reload")
            assert done.returncode == 0, done.stderr
            _settles(asker)
            sink.stored.clear()
            sink.before = lambda _: time.sleep(0.01)
            asker.ask(WANTED, to="SINK")
            sink.wait(3)
            assert node.process is not None
            node.process.send_signal(signal.SIGTERM)
            pending, last = asker.last()
            assert last.status == 0
            assert {retrieving.counts(one).total for one in pending} == {len(STUDY)}
            asker.release()
        assert node.process.wait(60) == 0, node.tail()
        assert sink.bodies() == got
    events = [event for event in node.events() if event.get("action") == "retrieved"]
    assert [(event["verb"], event["to"], event["completed"]) for event in events][-1] == ("move", "sink", 40)
    assert events[-1]["studies"] == [STUDY[0].study]
    assert not oracle.judge(oracle.Held(node.data), [])


def _settles(asker: retrieving.Asker) -> None:
    """The listener has the new configuration a moment after the command."""
    end = time.monotonic() + 60
    while asker.moved(WANTED, "SINK")[1].status != 0:
        assert time.monotonic() < end
        time.sleep(0.05)
