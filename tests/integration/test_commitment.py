"""Storage commitment from the request to the report, with a requester of another make (pynetdicom)."""

from __future__ import annotations

import dataclasses
import pathlib
import queue
import threading
from collections.abc import Iterator
from typing import Any

import pynetdicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import evt
from pynetdicom.sop_class import StorageCommitmentPushModel, Verification  # type: ignore[attr-defined]

from node import model
from node.dicom import commitment as words
from node.index import commitment, manager
from node.send import commitment as sending
from tests import make, ports, scu, small, stored

WELL_KNOWN = UID("1.2.840.10008.1.20.1.1")
REQUESTER = "ASKER"


@pytest.fixture
def running(tmp_path: pathlib.Path) -> Iterator[small.Small]:
    with small.node(tmp_path) as node:
        yield node


@dataclasses.dataclass
class Asker:
    """A requester that takes reports on its own association and on a port."""

    reports: queue.Queue[tuple[str, int, Dataset]]  # where it came, event type, event information
    answer: int = 0x0000  # what it answers a report with

    def on(self, event: Any) -> tuple[int, None]:
        where = "new" if event.assoc.is_acceptor else "same"
        self.reports.put((where, event.event_type, event.event_information))
        return self.answer, None


def _request(made: list[make.Made], uid: str) -> Dataset:
    asked = Dataset()
    asked.TransactionUID = uid
    asked.ReferencedSOPSequence = []
    for one in made:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = one.sop_class, one.sop_instance
        asked.ReferencedSOPSequence.append(item)
    return asked


def _associate(node: small.Small, asker: Asker) -> pynetdicom.association.Association:
    ae = pynetdicom.AE(REQUESTER)
    ae.add_requested_context(StorageCommitmentPushModel)
    handlers: Any = [(evt.EVT_N_EVENT_REPORT, asker.on)]
    link = ae.associate(*node.address, ae_title="NODE", evt_handlers=handlers)
    assert link.is_established
    return link


def _ask(link: pynetdicom.association.Association, made: list[make.Made], uid: str) -> int:
    status, _ = link.send_n_action(_request(made, uid), 1, StorageCommitmentPushModel, WELL_KNOWN)
    return int(status.Status)


def _store(node: small.Small, made: list[make.Made]) -> None:
    with scu.call(node.address, made) as caller:
        for one in made:
            assert caller.store(one).status == 0x0000


def _state(node: small.Small, uid: str) -> commitment.State | None:
    with node.database.read() as connection:
        for key in range(1, 10):
            found = commitment.get(connection, key)
            if found is not None and found.transaction_uid == uid:
                return found.state
    return None


def _wait_for(node: small.Small, uid: str, state: commitment.State) -> None:
    for _ in range(200):
        if _state(node, uid) is state:
            return
        threading.Event().wait(0.05)
    pytest.fail(f"the transaction is {_state(node, uid)}, not {state}")


def _uids(items: Any) -> list[str]:
    return [str(item.ReferencedSOPInstanceUID) for item in items]


def test_what_is_held_is_committed_on_the_same_association(running: small.Small) -> None:
    made = make.series(3)
    _store(running, made)
    asker = Asker(queue.Queue())
    link = _associate(running, asker)
    assert _ask(link, made, "1.2.3.1") == 0x0000
    where, event, report = asker.reports.get(timeout=90)
    assert (where, event, report.TransactionUID) == ("same", 1, "1.2.3.1")
    assert _uids(report.ReferencedSOPSequence) == [one.sop_instance for one in made]
    assert "FailedSOPSequence" not in report
    _wait_for(running, "1.2.3.1", commitment.State.REPORTED)
    link.release()


def test_an_instance_just_acknowledged_is_committed_although_it_is_not_filed_yet(
    running: small.Small,
) -> None:
    made = make.series(40, seed=3)
    asker = Asker(queue.Queue())
    link = _associate(running, asker)
    _store(running, made)
    assert _ask(link, made, "1.2.3.2") == 0x0000
    _, event, _ = asker.reports.get(timeout=90)
    assert event == 1
    link.release()


def test_each_failure_has_its_reason(running: small.Small) -> None:
    good, rotten, gone, classed = made = make.series(4)
    _store(running, made)
    running.settle()
    places = {row["sop_instance"]: row["path"] for row in stored.rows(running.database, _instances())}
    path = running.data.place(str(places[rotten.sop_instance]))
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    running.data.place(str(places[gone.sop_instance])).unlink()
    absent = make.instance(seed=99)
    other = dataclasses.replace(classed, sop_class="1.2.840.10008.5.1.4.1.1.4")
    asker = Asker(queue.Queue())
    link = _associate(running, asker)
    assert _ask(link, [good, rotten, gone, absent, other], "1.2.3.3") == 0x0000
    _, event, report = asker.reports.get(timeout=90)
    link.release()
    assert event == 2
    assert _uids(report.ReferencedSOPSequence) == [good.sop_instance]
    reasons = {str(item.ReferencedSOPInstanceUID): item.FailureReason for item in report.FailedSOPSequence}
    assert reasons == {
        rotten.sop_instance: 0x0110,
        gone.sop_instance: 0x0110,
        absent.sop_instance: 0x0112,
        classed.sop_instance: 0x0119,
    }


def test_a_transaction_uid_used_for_others_fails_them_with_0131(running: small.Small) -> None:
    first, second = make.series(2)
    _store(running, [first, second])
    asker = Asker(queue.Queue())
    link = _associate(running, asker)
    assert _ask(link, [first], "1.2.3.4") == 0x0000
    asker.reports.get(timeout=90)
    assert _ask(link, [second], "1.2.3.4") == 0x0000
    _, event, report = asker.reports.get(timeout=90)
    assert event == 2
    assert [item.FailureReason for item in report.FailedSOPSequence] == [0x0131]
    link.release()


def test_the_same_request_again_is_reported_again(running: small.Small) -> None:
    made = make.series(2)
    _store(running, made)
    asker = Asker(queue.Queue())
    link = _associate(running, asker)
    for _ in range(2):
        assert _ask(link, made, "1.2.3.5") == 0x0000
        assert asker.reports.get(timeout=90)[1] == 1
    link.release()


def test_the_report_finds_its_requester_on_a_new_association_once_it_is_there(
    tmp_path: pathlib.Path,
) -> None:
    made = make.series(2)
    asker = Asker(queue.Queue())
    ae = pynetdicom.AE(REQUESTER)
    ae.add_supported_context(Verification)
    ae.add_supported_context(StorageCommitmentPushModel, scu_role=True, scp_role=True)
    peer = model.Peer(
        name="asker",
        aet=REQUESTER,
        host="127.0.0.1",
        port=ports.free(),
        rights=frozenset({model.Right.COMMIT}),
    )
    with small.node(tmp_path, peers=[peer]) as node:
        _store(node, made)
        link = _associate(node, Asker(queue.Queue()))
        # It goes away at once, and nobody listens yet: the report is tried again until somebody does.
        assert _ask(link, made, "1.2.3.6") == 0x0000
        link.abort()
        handlers: Any = [(evt.EVT_N_EVENT_REPORT, asker.on)]
        asker.answer = 0x0110
        server = ae.start_server(("127.0.0.1", peer.port), block=False, evt_handlers=handlers)
        try:
            _soon(node)
            where, event, _ = asker.reports.get(timeout=90)
            assert (where, event) == ("new", 1)
            assert _state(node, "1.2.3.6") is commitment.State.VERIFIED
            asker.answer = 0x0000
            _wait_for(node, "1.2.3.6", commitment.State.REPORTED)
        finally:
            server.shutdown()


def test_what_is_removed_before_the_report_gets_through_is_not_reported_as_kept(
    tmp_path: pathlib.Path,
) -> None:
    made = make.series(2)
    asker = Asker(queue.Queue())
    peer = model.Peer(
        name="asker", aet=REQUESTER, host="127.0.0.1", port=ports.free(), rights=frozenset(model.Right)
    )
    with small.node(tmp_path, peers=[peer], pause=3600.0) as node:
        _store(node, made)
        link = _associate(node, Asker(queue.Queue()))
        assert _ask(link, made, "1.2.3.9") == 0x0000
        link.abort()
        _wait_for(node, "1.2.3.9", commitment.State.VERIFIED)
        images = manager.Images(node.database)
        images.remove(model.Level.IMAGE, made[0].sop_instance, who="a test", why="to see")
    ae = pynetdicom.AE(REQUESTER)
    ae.add_supported_context(StorageCommitmentPushModel, scu_role=True, scp_role=True)
    handlers: Any = [(evt.EVT_N_EVENT_REPORT, asker.on)]
    server = ae.start_server(("127.0.0.1", peer.port), block=False, evt_handlers=handlers)
    try:
        with small.node(tmp_path, peers=[peer]) as node:
            _soon(node)
            _, event, report = asker.reports.get(timeout=90)
    finally:
        server.shutdown()
    assert event == 2
    assert _uids(report.FailedSOPSequence) == [made[0].sop_instance]
    assert _uids(report.ReferencedSOPSequence) == [made[1].sop_instance]


def test_an_open_transaction_is_worked_on_after_a_restart(tmp_path: pathlib.Path) -> None:
    made = make.series(2)
    asker = Asker(queue.Queue())
    peer = model.Peer(name="asker", aet=REQUESTER, host="127.0.0.1", port=ports.free())
    with small.node(tmp_path) as node:
        _store(node, made)
        node.settle()
        references = [words.Reference(one.sop_class, one.sop_instance) for one in made]
        key = node.committer.accept(
            requester=REQUESTER,
            transaction="1.2.3.7",
            called="NODE",
            address="127.0.0.1",
            association="gone",
            references=references,
        )
        assert key is not None
    ae = pynetdicom.AE(REQUESTER)
    ae.add_supported_context(StorageCommitmentPushModel, scu_role=True, scp_role=True)
    handlers: Any = [(evt.EVT_N_EVENT_REPORT, asker.on)]
    server = ae.start_server(("127.0.0.1", peer.port), block=False, evt_handlers=handlers)
    try:
        with small.node(tmp_path, peers=[peer]) as node:
            _soon(node)
            assert asker.reports.get(timeout=90)[1] == 1
            _wait_for(node, "1.2.3.7", commitment.State.REPORTED)
    finally:
        server.shutdown()


@pytest.mark.parametrize(
    ("changes", "data", "status"),
    [
        ({"instance": "1.2.3"}, True, 0x0112),
        ({"action": 2}, True, 0x0123),
        ({"sop_class": "1.2.840.10008.1.1"}, True, 0x0118),
        ({"uid": None}, True, 0x0114),
        ({"uid": ""}, True, 0x0115),
        ({"uid": "1.x"}, True, 0x0115),
        ({"items": None}, True, 0x0114),
        ({"items": []}, True, 0x0115),
        ({}, False, 0x0114),
        ({"cut": 3}, True, 0x0110),
    ],
)
def test_a_request_that_cannot_be_taken_is_refused_and_the_association_lives(
    running: small.Small, changes: dict[str, Any], data: bool, status: int
) -> None:
    made = make.instance()
    with scu.Caller(running.address) as caller:
        caller.associate([scu.Context(scu.COMMITMENT), scu.Context(scu.VERIFICATION)])
        items = [words.Reference(made.sop_class, made.sop_instance)]
        body = _body(changes.get("uid", "1.2.3.8"), changes.get("items", items))
        body = body[: len(body) - changes.get("cut", 0)]
        values: dict[int, scu.Value] = {
            0x00000003: changes.get("sop_class", scu.COMMITMENT),
            0x00000100: scu.ACTION_RQ,
            0x00000110: 5,
            0x00000800: 1 if data else scu.NO_DATA,
            0x00001001: changes.get("instance", scu.COMMITMENT_INSTANCE),
            0x00001008: changes.get("action", 1),
        }
        caller.message(1, values, body if data else None)
        answer = caller.response()
        assert (answer.field, answer.status) == (scu.ACTION_RSP, status)
        assert caller.echo() == 0x0000
    assert _state(running, "1.2.3.8") is None


def test_our_own_requester_hears_what_is_kept(running: small.Small) -> None:
    made = make.series(2)
    _store(running, made)
    absent = words.Reference(made[0].sop_class, "1.2.3.4.5")
    references = [words.Reference(one.sop_class, one.sop_instance) for one in made]
    report = sending.request(running.peer, "ME", model.TlsSettings(), [*references, absent], wait=20)
    assert report is not None
    assert [one.sop_instance for one in report.failed] == ["1.2.3.4.5"]
    assert report.failed[0].failure == 0x0112


def test_our_own_requester_takes_a_report_on_a_port(tmp_path: pathlib.Path) -> None:
    made = make.series(2)
    port = ports.free()
    rights = frozenset({model.Right.STORE, model.Right.COMMIT})
    peer = model.Peer(name="asker", aet="ME", host="127.0.0.1", port=port, rights=rights)
    with small.node(tmp_path, peers=[peer]) as node:
        with scu.call(node.address, made, calling="ME") as caller:
            for one in made:
                caller.store(one)
        node.settle()
        references = [words.Reference(one.sop_class, one.sop_instance) for one in made]
        asking = threading.Thread(target=_hurry, args=(node,))
        asking.start()
        report = sending.request(node.peer, "ME", model.TlsSettings(), references, wait=20, listen=port)
        asking.join()
    assert report is not None
    assert not report.failed
    assert len(report.references or ()) == 2


def _hurry(node: small.Small) -> None:
    """Make a report that went to a closed association due at once on a new one."""
    for _ in range(100):
        threading.Event().wait(0.05)
        with node.database.read() as connection:
            found = commitment.get(connection, 1)
        if found is not None and found.state is commitment.State.VERIFIED:
            _soon(node)
        if found is not None and found.state is commitment.State.REPORTED:
            return


def _body(uid: str | None, items: list[words.Reference] | None) -> bytes:
    whole = words.request(uid or "", items or [], make.IMPLICIT)
    head = 8 + len(uid or "") + len(uid or "") % 2
    return (b"" if uid is None else whole[:head]) + (b"" if items is None else whole[head:])


def _soon(node: small.Small) -> None:
    """What waits for a lease to end is due now."""
    from node.index import tables

    with node.database.write() as connection:
        connection.execute(tables.commitment.update().values(next_attempt="2000-01-01T00:00:00.000000"))
    node.committer.stop()


def _instances() -> Any:
    from node.index import tables

    return tables.instance
