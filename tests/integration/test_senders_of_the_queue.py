"""The senders of a worker against real sockets: what peers refuse, how many lanes they bear, how fast."""

from __future__ import annotations

import contextlib
import datetime
import pathlib
import threading
import time
from collections.abc import Iterator, Sequence

import pytest
import sqlalchemy

from node import errors, model, orders, transcoding
from node.commands import gather
from node.faulty import pacs as faulty
from node.faulty import plan as faulty_plan
from node.files import layout
from node.index import db, lanes, ledger, verification
from node.push import sent_as
from node.send import base, destinations
from node.steps import plan
from tests import encoded, make, ports, stored

J2K = "1.2.840.10008.1.2.4.90"
STEP = orders.StepSetting("compress", {"syntax": "JPEG2000Lossless", "recompress": True})


def _items(where: pathlib.Path, made: Sequence[make.Made]) -> list[base.Item]:
    make.files(where, made)
    return [one for one in gather.items([where]) if isinstance(one, base.Item)]


def _to(**how: object) -> orders.Destination:
    return orders.Destination(name="pacs", peer="faulty", **how)  # type: ignore[arg-type]


@contextlib.contextmanager
def _senders(pacs: faulty.Faulty, data: layout.Data, **how: object) -> Iterator[destinations.Senders]:
    settings = model.Settings(peers=(_peer(pacs),))
    with contextlib.closing(
        destinations.Senders(settings, data, **how)  # type: ignore[arg-type]
    ) as senders:
        yield senders


def _peer(pacs: faulty.Faulty) -> model.Peer:
    host, port = pacs.address
    return model.Peer("faulty", pacs.aet, host, port)


@pytest.fixture
def data(tmp_path: pathlib.Path) -> layout.Data:
    return stored.data(tmp_path / "data")


@pytest.fixture
def database(data: layout.Data) -> Iterator[db.Database]:
    with stored.database(data) as opened:
        yield opened


def _refusing(*uids: str) -> faulty_plan.Plan:
    return faulty_plan.Plan(refuse=frozenset(uids))


def _kinds(results: Sequence[base.Result]) -> list[str]:
    return sorted(type(result.outcome).__name__ for result in results)


def test_consignments_share_associations_and_all_arrives(data: layout.Data, tmp_path: pathlib.Path) -> None:
    items = _items(tmp_path / "in", make.series(6))
    with faulty.Faulty() as pacs, _senders(pacs, data) as senders:
        for part in (items[:3], items[3:]):
            assert _kinds(list(senders.sender(_to()).send(part))) == ["Done"] * 3
        assert pacs.associations == 1
        assert set(pacs.stored) == {item.sop_instance for item in items}


def test_what_was_refused_in_every_form_is_not_tried_again(
    data: layout.Data, database: db.Database, tmp_path: pathlib.Path
) -> None:
    taken, refused = make.series(2), make.series(2, seed="mr", sop_class=make.MR)
    items = _items(tmp_path / "in", [*taken, *refused])
    with faulty.Faulty(_refusing(make.MR)) as pacs, _senders(pacs, data, database=database) as senders:
        assert _kinds(list(senders.sender(_to()).send(items))) == ["Done", "Done", "Failed", "Failed"]
        before = pacs.associations
        only = [item for item in items if item.sop_class == make.MR]
        results = list(senders.sender(_to()).send(only))
        assert pacs.associations == before  # nobody was called
        assert {type(result.outcome) for result in results} == {base.Failed}
        assert "dicom-node queue replay" in results[0].outcome.why
        # In a stream too, where the others go out.
        stream = base.Stream(items, lambda: iter(items))
        results = list(senders.sender(_to()).send(stream))
        assert _kinds(results) == ["Done", "Done", "Failed", "Failed"]
        assert {id(result.item) for result in results} == {id(item) for item in items}
        nothing = base.Stream(only, lambda: iter(only))
        assert _kinds(list(senders.sender(_to()).send(nothing))) == ["Failed", "Failed"]
        # The operator says that it is to be tried again, and the peer has learned it meanwhile.
        pacs.plan = faulty_plan.Plan()
        with database.write() as connection:
            lanes.remember(connection, "pacs", {}, datetime.datetime.now(datetime.UTC))
        senders.apply(model.Settings(peers=(_peer(pacs),)))
        assert _kinds(list(senders.sender(_to(window=2)).send(only))) == ["Done", "Done"]


def test_a_peer_that_is_configured_anew_is_asked_anew(
    data: layout.Data, database: db.Database, tmp_path: pathlib.Path
) -> None:
    items = _items(tmp_path / "in", make.series(1))
    with faulty.Faulty(_refusing(make.CT)) as pacs, _senders(pacs, data, database=database) as senders:
        for _ in range(2):
            list(senders.sender(_to()).send(items))
        assert pacs.associations == 1
        list(senders.sender(_to(calling="OTHER")).send(items))
        assert pacs.associations == 2


def test_what_a_step_wants_is_sent_so_and_noted_where_the_peer_does_not_take_it(
    data: layout.Data, tmp_path: pathlib.Path
) -> None:
    ready = plan.Plan.of([STEP], None, model.Settings())
    items = [ready.item(item) for item in _items(tmp_path / "in", [encoded.encoded(make.RLE, tmp_path)])]
    with transcoding.Transcoder(tmp_path, processes=1) as transcoder, faulty.Faulty() as pacs:
        with _senders(pacs, data, transcoder=transcoder) as senders:
            (result,) = senders.sender(_to(transcode=False)).send(items)
            assert isinstance(result.outcome, base.Done)
            assert (result.syntax, result.notes) == (J2K, ())
            assert result.item is items[0]
            assert {one.syntax for one in pacs.stored.values()} == {J2K}
        pacs.plan = _refusing(J2K)
        with _senders(pacs, data, transcoder=transcoder) as senders:
            (result,) = senders.sender(_to(transcode=False)).send(items)
            assert isinstance(result.outcome, base.Done)
            assert result.syntax == make.RLE
            assert "sent as stored" in result.notes[0]


def test_what_is_compressed_with_loss_arrives_as_another_instance_and_is_asked_for_as_that(
    data: layout.Data, database: db.Database, tmp_path: pathlib.Path
) -> None:
    image = encoded.encoded(make.RLE, tmp_path)
    with stored.receiver(data) as receiver:
        stored.send(receiver, image)
        stored.file_all(data, database)
    step = orders.StepSetting("compress", {"syntax": "jpeg-2000", "quality": 60, "recompress": True})
    now = datetime.datetime.now(datetime.UTC)
    order = ledger.Order("pacs", image.study, image.series, "lossy", 1, orders.Priority.NORMAL, (step,))
    with database.write() as connection:
        rows = connection.execute(sqlalchemy.text("SELECT key FROM instance")).scalars().all()
        key = ledger.enqueue(connection, order, [(rows[0], image.sop_instance)], now)
    assert key is not None
    with database.read() as connection:
        consignment = ledger.get(connection, key)
        (due,) = ledger.due(connection, key, 0, 10)
    assert consignment is not None
    settings = model.Settings()
    found = sent_as.SentAs(database, data, settings)
    item = plan.Plan.of((step,), None, settings).item(_items(tmp_path / "in", [image])[0])
    assert item.wanted is not None
    assert item.wanted.loss is not None
    with (
        transcoding.Transcoder(tmp_path, processes=1) as transcoder,
        faulty.Faulty() as pacs,
        _senders(pacs, data, transcoder=transcoder) as senders,
    ):
        (result,) = senders.sender(_to()).send([item])
        assert isinstance(result.outcome, base.Done), result
        assert set(pacs.stored) == {item.wanted.loss.instance}
        (kept,) = pacs.stored.values()
        unsure = verification.Unsure(
            due.key, rows[0], image.sop_class, image.sop_instance, now, 0, result.syntax
        )
        names = found.names(consignment, _to(), [unsure])
        assert names[due.key].sop_instance == kept.sop_instance
        plain = found.names(consignment, _to(), [unsure._replace(syntax=image.syntax)])
        assert plain[due.key].sop_instance == image.sop_instance


def test_a_destination_that_wants_no_transcoding_gets_none(data: layout.Data, tmp_path: pathlib.Path) -> None:
    items = _items(tmp_path / "in", [encoded.encoded(make.RLE, tmp_path)])
    with (
        transcoding.Transcoder(tmp_path, processes=1) as transcoder,
        faulty.Faulty(_refusing(make.RLE)) as pacs,
        _senders(pacs, data, transcoder=transcoder) as senders,
    ):
        (result,) = senders.sender(_to(transcode=False)).send(items)
        assert isinstance(result.outcome, base.Failed)
        (result,) = senders.sender(_to()).send(items)
        assert isinstance(result.outcome, base.Done)
        assert result.syntax == make.EXPLICIT


def test_one_association_too_many_means_fewer_lanes_and_no_fault(
    data: layout.Data, database: db.Database, tmp_path: pathlib.Path
) -> None:
    first, second = (_items(tmp_path / name, make.series(1, seed=name)) for name in ("one", "two"))
    with (
        faulty.Faulty(faulty_plan.Plan(associations=1)) as pacs,
        _senders(pacs, data, database=database) as senders,
    ):
        waiting, going = threading.Event(), threading.Event()

        def slow() -> Iterator[base.Item]:
            waiting.set()
            assert going.wait(60)
            yield from first

        found: list[base.Result] = []
        lane = threading.Thread(
            target=lambda: found.extend(senders.sender(_to()).send(base.Stream(first, slow)))
        )
        lane.start()
        try:
            assert waiting.wait(60)
            (result,) = senders.sender(_to()).send(second)
            assert isinstance(result.outcome, base.Retry)
            assert result.outcome.crowded
            assert senders.lanes(_to(lanes=4)) == 1
        finally:
            going.set()
            lane.join(60)
        assert _kinds(found) == ["Done"]


def test_a_peer_that_is_full_of_others_is_busy(data: layout.Data, tmp_path: pathlib.Path) -> None:
    items = _items(tmp_path / "in", make.series(2))
    full = faulty_plan.Plan(reject=((True, faulty_plan.Which()),))
    with faulty.Faulty(full) as pacs, _senders(pacs, data) as senders:
        results = list(senders.sender(_to()).send(items))
        assert {type(result.outcome) for result in results} == {base.Retry}
        assert not any(result.outcome.crowded for result in results)  # type: ignore[union-attr]
        assert all(result.lane for result in results)
        assert senders.lanes(_to(lanes=4)) == 4


def test_a_cap_holds_a_large_instance_back_and_not_its_last_byte(
    data: layout.Data, tmp_path: pathlib.Path
) -> None:
    items = _items(tmp_path / "in", make.series(2, size=100_000))
    with faulty.Faulty() as pacs, _senders(pacs, data) as senders:
        begun = time.monotonic()
        results = list(senders.sender(_to(bandwidth=400_000)).send(items))
        assert _kinds(results) == ["Done", "Done"]
        size = sum(item.size for item in items)
        assert time.monotonic() - begun >= size / 400_000 - 0.15  # never faster; the burst and a piece less
        assert max(result.seconds for result in results) >= 0.1


@pytest.mark.parametrize("how", [{"bandwidth": 1000}, {"rate": 0.001}])
def test_a_paced_sender_ends_at_once_when_it_is_cut(
    how: dict[str, float], data: layout.Data, tmp_path: pathlib.Path
) -> None:
    items = _items(tmp_path / "in", make.series(3, size=50_000))
    with faulty.Faulty() as pacs, _senders(pacs, data) as senders:
        sender = senders.sender(_to(**how))
        found: list[base.Result] = []
        lane = threading.Thread(target=lambda: found.extend(sender.send(items)))
        lane.start()
        pacs.wait(lambda one: one.associations > 0)
        sender.cut("enough")
        lane.join(60)
        assert not lane.is_alive()
        assert "Retry" in _kinds(found) or len(found) < 3


def test_a_rate_waits_no_longer_than_until_it_is_over(data: layout.Data, tmp_path: pathlib.Path) -> None:
    items = _items(tmp_path / "in", make.series(3))
    over = threading.Event()
    with faulty.Faulty() as pacs, _senders(pacs, data) as senders:
        found: list[base.Result] = []
        stream = base.Stream(items, lambda: iter(items), over.is_set)
        sender = senders.sender(_to(rate=0.001))
        lane = threading.Thread(target=lambda: found.extend(sender.send(stream)))
        lane.start()
        assert pacs.wait(lambda one: len(one.stored) == 1)
        over.set()
        lane.join(60)
        assert not lane.is_alive()
        assert _kinds(found) == ["Done"]
        assert len(pacs.stored) == 1


def test_probes_tell_what_is_there(data: layout.Data, tmp_path: pathlib.Path) -> None:
    with faulty.Faulty() as pacs, _senders(pacs, data) as senders:
        senders.probe(_to())
        assert pacs.echoes == 1
        senders.probe(orders.Destination("out", kind=orders.Kind.FOLDER, folder=tmp_path / "out"))
        senders.probe(orders.Destination("run", kind=orders.Kind.COMMAND, command=("true", "{in}")))
        with pytest.raises(errors.StorageFailed):
            senders.probe(orders.Destination("out", kind=orders.Kind.FOLDER, folder=tmp_path / "a" / "b"))
        with pytest.raises(errors.UsageError):
            senders.probe(orders.Destination("run", kind=orders.Kind.COMMAND, command=("/no/such", "{in}")))
    nobody = model.Settings(peers=(model.Peer("faulty", "FAULTY", "127.0.0.1", ports.free()),))
    with contextlib.closing(destinations.Senders(nobody, data)) as senders:
        with pytest.raises(errors.PeerUnreachable):
            senders.probe(_to())
        with pytest.raises(errors.UsageError, match="no peer"):
            senders.sender(orders.Destination("pacs", peer="gone"))


def test_the_kind_of_a_destination_decides_who_sends(data: layout.Data, tmp_path: pathlib.Path) -> None:
    items = _items(tmp_path / "in", make.series(2))
    with faulty.Faulty() as pacs, _senders(pacs, data, accept=lambda *_: 0) as senders:
        root = tmp_path / "out"
        folder = senders.sender(orders.Destination("out", kind=orders.Kind.FOLDER, folder=root))
        assert _kinds(list(folder.send(items))) == ["Done", "Done"]
        assert len(list(root.rglob("*.dcm"))) == 2
        command = senders.sender(orders.Destination("run", kind=orders.Kind.COMMAND, command=("true",)))
        assert _kinds(list(command.send(items))) == ["Done", "Done"]
        assert (folder.whole, command.whole) == (False, True)
