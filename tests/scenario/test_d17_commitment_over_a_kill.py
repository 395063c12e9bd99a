"""D17: a transaction that was answered with success is reported although the node was killed meanwhile."""

from __future__ import annotations

import queue
import sqlite3
from collections.abc import Callable
from typing import Any

import pynetdicom
from pynetdicom import evt
from pynetdicom.sop_class import StorageCommitmentPushModel  # type: ignore[attr-defined]

from node.dicom import commitment as words
from tests import make, oracle, ports, scu
from tests.scenario import harness

REQUESTER = "ASKER"
TRANSACTION = "1.2.3.17"


def test_the_report_comes_after_the_restart(
    make_node: Callable[..., harness.Node], journal: oracle.Journal
) -> None:
    port = ports.free()
    peer = {"aet": REQUESTER, "host": "127.0.0.1", "port": port, "rights": ["echo", "store", "commit"]}
    node = make_node(**{"peers.asker": peer}).start()
    made = make.series(8, seed="d17", size=9000)
    oracle.send(node.address, journal, made)
    _ask(node, made)
    node.kill()
    reports: queue.Queue[tuple[int, Any]] = queue.Queue()

    def take(event: Any) -> tuple[int, None]:
        reports.put((event.event_type, event.event_information))
        return 0x0000, None

    ae = pynetdicom.AE(REQUESTER)
    ae.add_supported_context(StorageCommitmentPushModel, scu_role=True, scp_role=True)
    handlers: Any = [(evt.EVT_N_EVENT_REPORT, take)]
    server = ae.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers)
    try:
        _due_now(node)
        node.start()
        event, report = reports.get(timeout=90)
    finally:
        server.shutdown()
    assert (event, report.TransactionUID) == (1, TRANSACTION)
    committed = {str(item.ReferencedSOPInstanceUID) for item in report.ReferencedSOPSequence}
    assert committed == {one.sop_instance for one in made}
    harness.verify(node, journal)


def _ask(node: harness.Node, made: list[make.Made]) -> None:
    """N-ACTION, answered with success; then the requester hangs up without a word."""
    references = [words.Reference(one.sop_class, one.sop_instance) for one in made]
    with scu.Caller(node.address) as caller:
        caller.associate([scu.Context(scu.COMMITMENT)], calling=REQUESTER)
        values: dict[int, scu.Value] = {
            0x00000003: scu.COMMITMENT,
            0x00000100: scu.ACTION_RQ,
            0x00000110: 1,
            0x00000800: 1,
            0x00001001: scu.COMMITMENT_INSTANCE,
            0x00001008: 1,
        }
        caller.message(1, values, words.request(TRANSACTION, references, make.IMPLICIT))
        answer = caller.response()
        assert (answer.field, answer.status) == (scu.ACTION_RSP, 0x0000)


def _due_now(node: harness.Node) -> None:
    """Let the lease of the dead process run out without waiting for it."""
    connection = sqlite3.connect(node.data / "index.sqlite")
    with connection:
        changed = connection.execute(
            "UPDATE commitment SET next_attempt = '2000-01-01T00:00:00.000000' "
            "WHERE transaction_uid = ? AND state IN ('asked', 'verified')",
            (TRANSACTION,),
        )
    connection.close()
    assert changed.rowcount == 1
