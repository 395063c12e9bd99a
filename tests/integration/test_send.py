"""C-STORE and C-ECHO to peers of other makes."""

from __future__ import annotations

import contextlib
import pathlib
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pydicom
import pynetdicom
import pytest
from pynetdicom import evt

from node import errors, model
from node.commands import gather
from node.send import base, dimse
from node.wire import acceptor, association, command, policy
from tests import make, peers, ports, small, stored

CT = make.CT
VERIFICATION = "1.2.840.10008.1.1"


def _items(folder: pathlib.Path, made: list[make.Made]) -> list[base.Item]:
    folder.mkdir()
    make.files(folder, made)
    return [one for one in gather.items([folder]) if isinstance(one, base.Item)]


def _peer(port: int, aet: str = "SINK") -> model.Peer:
    return model.Peer(name="sink", aet=aet, host="127.0.0.1", port=port)


@contextlib.contextmanager
def _sink(
    answer: Callable[[Any], int],
    syntaxes: tuple[str, ...] = (make.EXPLICIT,),
    classes: tuple[str, ...] = (CT,),
) -> Iterator[model.Peer]:
    """A pynetdicom peer that answers as it is told."""
    ae = pynetdicom.AE("SINK")
    ae.add_supported_context(VERIFICATION)
    for sop_class in classes:
        ae.add_supported_context(sop_class, list(syntaxes))
    handlers: Any = [(evt.EVT_C_STORE, answer)]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    assert server is not None
    try:
        yield _peer(server.server_address[1])
    finally:
        server.shutdown()


def test_each_status_makes_its_outcome(tmp_path: pathlib.Path) -> None:
    made = make.series(6)
    items = _items(tmp_path / "in", made)
    statuses = dict(
        zip(
            [item.sop_instance for item in items],
            [0x0000, 0xB000, 0xA700, 0xC001, 0x0111, 0x0110],
            strict=True,
        )
    )
    with _sink(lambda event: statuses[event.request.AffectedSOPInstanceUID]) as peer:
        results = list(dimse.Dimse(peer, "ME").send(items))
    kinds = {
        statuses[result.item.sop_instance]: (type(result.outcome), result.outcome.status)
        for result in results
    }
    assert kinds == {
        0x0000: (base.Done, 0x0000),
        0xB000: (base.Done, 0xB000),
        0xA700: (base.Retry, 0xA700),
        0xC001: (base.Failed, 0xC001),
        0x0111: (base.Done, 0x0111),
        0x0110: (base.Retry, 0x0110),
    }
    assert all(result.syntax == make.EXPLICIT and result.size for result in results)


def test_what_arrives_is_what_lies_in_the_file(tmp_path: pathlib.Path) -> None:
    # Small ones are read, large ones are mapped.
    made = [make.instance(seed=1, size=5_000), make.instance(seed=2, size=3_000_000)]
    items = _items(tmp_path / "in", made)
    got: dict[str, bytes] = {}

    def keep(event: Any) -> int:
        got[str(event.request.AffectedSOPInstanceUID)] = event.request.DataSet.getvalue()
        return 0x0000

    with _sink(keep) as peer:
        assert [type(result.outcome) for result in dimse.Dimse(peer, "ME").send(items)] == [base.Done] * 2
    assert got == {one.sop_instance: one.data for one in made}


def test_a_syntax_that_the_peer_does_not_take_fails_by_itself(tmp_path: pathlib.Path) -> None:
    made = [make.instance(seed=1), make.instance(seed=2, syntax=make.IMPLICIT), make.instance(seed=3)]
    items = _items(tmp_path / "in", made)
    with _sink(lambda _: 0x0000) as peer:
        results = {result.item.syntax: result for result in dimse.Dimse(peer, "ME").send(items)}
    assert isinstance(results[make.EXPLICIT].outcome, base.Done)
    refused = results[make.IMPLICIT].outcome
    assert isinstance(refused, base.Failed)
    assert "does not take SOP class" in refused.why
    assert "Implicit VR Little Endian" in refused.why


def test_a_file_that_has_gone_or_shrunk_fails_by_itself(tmp_path: pathlib.Path) -> None:
    made = [
        make.instance(seed=1),
        make.instance(seed=2),
        make.instance(seed=3, size=2_000_000),
        make.instance(seed=4),
    ]
    items = sorted(
        _items(tmp_path / "in", made),
        key=lambda item: [m.sop_instance for m in made].index(item.sop_instance),
    )
    items[0].path.unlink()
    for item in items[1:3]:
        item.path.write_bytes(item.path.read_bytes()[:-100])
    with _sink(lambda _: 0x0000) as peer:
        outcomes = [result.outcome for result in dimse.Dimse(peer, "ME").send(items)]
    assert [type(outcome) for outcome in outcomes] == [base.Failed, base.Failed, base.Failed, base.Done]
    assert "cannot be read" in outcomes[0].why  # type: ignore[union-attr]


def test_more_pairs_than_one_association_has_contexts_for(tmp_path: pathlib.Path) -> None:
    classes = [f"1.2.3.4.{number}" for number in range(150)]
    made = [make.instance(seed=number, sop_class=uid) for number, uid in enumerate(classes)]
    items = _items(tmp_path / "in", made)
    with small.node(tmp_path / "node") as node:
        results = list(dimse.Dimse(node.peer, "ME").send(items))
        assert [type(result.outcome) for result in results] == [base.Done] * 150
        node.settle()
        assert len(stored.bodies(node.data, node.database)) == 150
        with node.database.read() as connection:
            from node.index import tables

            rows = connection.execute(tables.arrival.select()).mappings().all()
        assert len({row["association"] for row in rows}) == 2


def test_nobody_there_is_worth_a_retry(tmp_path: pathlib.Path) -> None:
    items = _items(tmp_path / "in", make.series(2))
    results = list(dimse.Dimse(_peer(ports.free()), "ME").send(items))
    assert [type(result.outcome) for result in results] == [base.Retry] * 2


def test_a_rejected_association_is_told_in_words(tmp_path: pathlib.Path) -> None:
    items = _items(tmp_path / "in", make.series(1))
    with small.node(tmp_path / "node") as node:
        stranger = _peer(node.address[1], aet="WRONG")
        (result,) = dimse.Dimse(stranger, "ME").send(items)
        with pytest.raises(errors.PeerRefused, match="refused the association"):
            dimse.echo(stranger, model.Settings())
    assert isinstance(result.outcome, base.Failed)
    assert "refused the association" in result.outcome.why


def test_a_peer_that_goes_away_leaves_the_rest_for_later(tmp_path: pathlib.Path) -> None:
    items = _items(tmp_path / "in", make.series(6))
    seen = 0

    def some(event: Any) -> int:
        nonlocal seen
        seen += 1
        if seen == 3:
            event.assoc.abort()
        return 0x0000

    with _sink(some) as peer:
        outcomes = [type(result.outcome) for result in dimse.Dimse(peer, "ME").send(items)]
    assert outcomes[:2] == [base.Done] * 2
    assert outcomes[2:] == [base.Retry] * 4


class _Events:
    """Hears nothing."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_, **__: None


def test_a_granted_window_is_used_and_answers_may_come_in_any_order(tmp_path: pathlib.Path) -> None:
    """The peer answers only once four requests are there, the last one first."""
    made = make.series(8)
    items = _items(tmp_path / "in", made)
    waiting: list[tuple[Any, command.Command]] = []

    def hold(link: association.Association, message: association.Message) -> None:
        message.drain()
        waiting.append((message.context, message.command))
        if len(waiting) == 4:
            while waiting:
                context, asked = waiting.pop()
                link.send(context, command.response(asked, 0x0000))

    limits = model.Limits()
    with socket.create_server(("127.0.0.1", 0)) as sock:
        events: Any = _Events()
        listener = acceptor.Acceptor(
            [acceptor.Listener(sock)],
            policy.Policy(model.NodeSettings(aet="SINK"), limits, ()),
            {command.Field.C_STORE: hold},
            limits,
            events,
        )
        thread = threading.Thread(target=listener.serve)
        thread.start()
        try:
            peer = _peer(sock.getsockname()[1])
            results = list(dimse.Dimse(peer, "ME", window=4).send(items))
        finally:
            listener.drain(1.0)
            thread.join()
            listener.close()
    assert [type(result.outcome) for result in results] == [base.Done] * 8
    assert {result.item.sop_instance for result in results} == {one.sop_instance for one in made}


def test_dcmtk_takes_what_we_send_and_echoes(tmp_path: pathlib.Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    port = ports.free()
    words = [peers.require("storescp"), "--aetitle", "SINK", "-od", str(out), "+xa", str(port)]
    made = make.series(5, size=75_000)
    items = _items(tmp_path / "in", made)
    with subprocess.Popen(words, env=peers.environment(), stderr=subprocess.DEVNULL) as sink:
        try:
            _wait_for(port)
            assert "answered in" in dimse.echo(_peer(port), model.Settings())
            results = list(dimse.Dimse(_peer(port), "ME").send(items))
        finally:
            sink.terminate()
    assert [type(result.outcome) for result in results] == [base.Done] * 5
    arrived = {str(ds.SOPInstanceUID): ds.PixelData for ds in map(pydicom.dcmread, out.iterdir())}
    sent = {str(ds.SOPInstanceUID): ds.PixelData for ds in (pydicom.dcmread(item.path) for item in items)}
    assert arrived == sent


def _wait_for(port: int) -> None:
    for _ in range(100):
        with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
            return
        threading.Event().wait(0.05)
    pytest.fail("storescp does not listen")
