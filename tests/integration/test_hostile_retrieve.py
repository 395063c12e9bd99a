"""HOSTILE 29 and 30: retrievals that cannot be done as they stand, on the raw socket."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import threading
import time
from collections.abc import Iterator

import pytest

from node import errors, model
from node.index import db, tables
from node.scp import move
from node.wire import association
from tests import make, retrieving, scu, small, stored

CT = make.series(6, seed="ct")
MR_CLASS = "1.2.840.10008.5.1.4.1.1.4"
MR = make.series(3, seed="mr", sop_class=MR_CLASS)
MANY = make.series(60, seed="many")  # more than are under way at once where the peer allows several
STUDY = CT[0].study


@dataclasses.dataclass(frozen=True)
class Scene:
    """A node that holds two studies, and the destinations that it knows."""

    node: small.Small
    sink: retrieving.Sink
    slow: retrieving.Sink

    def check(self) -> None:
        """A legitimate C-ECHO and C-STORE work."""
        made = CT[0]
        with scu.call(self.node.address, [made]) as caller:
            assert caller.echo() == 0
            assert caller.store(made).status == 0
            caller.release()


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    root = tmp_path_factory.mktemp("node")
    with contextlib.ExitStack() as stack:
        sink, peer = stack.enter_context(retrieving.sink())
        slow, slower = stack.enter_context(retrieving.sink("SLOW"))
        peers = [
            peer,
            slower,
            model.Peer("down", "DOWN", host="127.0.0.1", port=1),
            model.Peer("mute", "MUTE"),
            model.Peer("weak", "WEAK", rights=frozenset({model.Right.ECHO})),
        ]
        node = stack.enter_context(small.node(root / "data", peers=peers))
        for made in (*CT, *MR, *MANY):
            stored.send(node.receiver, made)
        node.settle()
        yield Scene(node, sink, slow)


@pytest.fixture
def sink(scene: Scene) -> Iterator[retrieving.Sink]:
    """The destination, with nothing in it and nothing against anything."""
    yield scene.sink
    scene.sink.__init__()  # type: ignore[misc]
    scene.check()


def _study(uid: str = STUDY, level: str = "STUDY", **more: str) -> bytes:
    return retrieving.identifier(level=level, study=uid, **more)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (_study("*"), "StudyInstanceUID"),
        (_study("1.2.*"), "StudyInstanceUID"),
        (_study("1.2?3"), "StudyInstanceUID"),
        (_study("1.2-1.3"), "StudyInstanceUID"),
        (_study(""), "StudyInstanceUID"),
        (retrieving.identifier(study=STUDY), "level"),
        (retrieving.identifier(level="STUDY"), "StudyInstanceUID"),
        (retrieving.identifier(level="FRAME", study=STUDY), "FRAME"),
        (retrieving.identifier(level="PATIENT", patient="SYN-1"), "PATIENT"),
        (retrieving.identifier(level="SERIES", series=CT[0].series), "StudyInstanceUID"),
        (_study(level="SERIES", series=f"{CT[0].series}\\*"), "SeriesInstanceUID"),
        (_study(f"{STUDY}\\{MR[0].study}", level="SERIES", series=CT[0].series), "StudyInstanceUID"),
        (_study(level="IMAGE", series=CT[0].series), "SOPInstanceUID"),
        (_study(series=CT[0].series), "SeriesInstanceUID"),
    ],
)
def test_29_an_identifier_that_could_mean_anything_is_refused(
    scene: Scene, sink: retrieving.Sink, data: bytes, says: str
) -> None:
    with retrieving.asking(scene.node.address) as asker:
        pending, last = asker.moved(data, "SINK")
        assert not pending
        assert last.status == 0xA900
        assert says in last.comment
        assert asker.moved(_study(), "SINK")[1].status == 0, "the association goes on"
        asker.release()
    assert len(sink.stored) == len(CT)


@pytest.mark.parametrize("field", [retrieving.MOVE, retrieving.GET])
@pytest.mark.parametrize("data", [b"\x08\x00\x52\x00\xff\xff\xff\x00", b"\xff" * 40, b"\x08", None])
def test_29_an_identifier_that_is_none_is_refused(scene: Scene, field: int, data: bytes | None) -> None:
    abstract = retrieving.STUDY_MOVE if field == retrieving.MOVE else retrieving.STUDY_GET
    with retrieving.asking(scene.node.address, abstract) as asker:
        asker.ask(data, field=field, to="SINK")
        assert asker.last()[1].status in (0xC000, 0xA900)
        assert asker.echo() == 0
        asker.release()


def test_29_a_wildcard_for_a_patient_is_refused(scene: Scene) -> None:
    with retrieving.asking(scene.node.address, retrieving.PATIENT_MOVE) as asker:
        for value in ("*", "SYN*", "SYN-?"):
            data = retrieving.identifier(level="PATIENT", patient=value)
            assert asker.moved(data, "SINK")[1].status == 0xA900
        asker.release()


@pytest.mark.parametrize("title", ["NOBODY", "sink ", "MUTE", "", "NODE", "127.0.0.1:104", "SINK\\SLOW"])
def test_29_an_unknown_destination(scene: Scene, title: str) -> None:
    if title == "sink ":
        title = "sInK"  # titles have case
    with retrieving.asking(scene.node.address) as asker:
        pending, last = asker.moved(_study(), title)
        assert not pending
        assert last.status == 0xA801
        assert last.comment
        asker.release()


def test_29_a_destination_that_is_down_fails_all(scene: Scene) -> None:
    with retrieving.asking(scene.node.address) as asker:
        pending, last = asker.moved(_study(), "DOWN")
        asker.release()
    assert [retrieving.counts(one) for one in pending] == [retrieving.Counts(6, 0, 0, 0)]
    assert last.status == 0xA702
    assert retrieving.counts(last) == retrieving.Counts(None, 0, 6, 0)
    assert sorted(retrieving.failed(last)) == sorted(made.sop_instance for made in CT)
    assert "DOWN" in last.comment
    assert "cannot be reached" in last.comment


def test_29_all_refused_by_the_destination(scene: Scene, sink: retrieving.Sink) -> None:
    sink.status = lambda _: 0xA700
    with retrieving.asking(scene.node.address) as asker:
        _, last = asker.moved(_study(), "SINK")
        asker.release()
    assert last.status == 0xA702
    assert retrieving.counts(last) == retrieving.Counts(None, 0, 6, 0)
    assert "A700" in last.comment
    assert len(sink.stored) == 6, "each was tried, and tried once"


def test_29_some_refused_by_the_destination(scene: Scene, sink: retrieving.Sink) -> None:
    bad = {CT[1].sop_instance: 0xC001, CT[4].sop_instance: 0xA700, CT[5].sop_instance: 0xB000}
    sink.status = lambda asked: bad.get(asked.sop_instance, 0)
    with retrieving.asking(scene.node.address) as asker:
        _, last = asker.moved(_study(), "SINK")
        asker.release()
    assert last.status == 0xB000
    assert retrieving.counts(last) == retrieving.Counts(None, 3, 2, 1)
    assert retrieving.failed(last) == [CT[1].sop_instance, CT[4].sop_instance]


def test_29_warnings_alone_are_told(scene: Scene, sink: retrieving.Sink) -> None:
    sink.status = lambda _: 0xB006
    with retrieving.asking(scene.node.address) as asker:
        _, last = asker.moved(_study(), "SINK")
        asker.release()
    assert last.status == 0xB000
    assert retrieving.counts(last) == retrieving.Counts(None, 0, 0, 6)
    assert retrieving.failed(last) == []


def test_nothing_that_matches_is_a_success(scene: Scene) -> None:
    with retrieving.asking(scene.node.address) as asker:
        for data in (_study("1.2.3.4"), _study("1.2.3.4", level="SERIES", series=CT[0].series)):
            pending, last = asker.moved(data, "SINK")
            assert not pending
            assert last.status == 0
            assert retrieving.counts(last) == retrieving.Counts(None, 0, 0, 0)
        asker.release()


def test_relational_keys_are_taken_where_that_was_agreed(scene: Scene, sink: retrieving.Sink) -> None:
    data = retrieving.identifier(level="IMAGE", sop=f"{CT[1].sop_instance}\\{MR[0].sop_instance}")
    for asked, agreed, status in ((b"\1", b"\1", 0), (b"\1\1", b"\1", 0), (b"\0", b"\0", 0xA900)):
        with retrieving.asking(scene.node.address, extended={retrieving.STUDY_MOVE: asked}) as asker:
            assert asker.extended == {retrieving.STUDY_MOVE: agreed}
            assert asker.moved(data, "SINK")[1].status == status
            asker.release()
    assert {asked.sop_instance for asked, _, _ in sink.stored} == {CT[1].sop_instance, MR[0].sop_instance}


def test_a_message_in_another_classes_context_is_refused(scene: Scene) -> None:
    with retrieving.asking(scene.node.address) as asker:
        assert asker.moved(_study(), "SINK", sop_class=retrieving.PATIENT_MOVE)[1].status == 0x0122
        asker.release()


def test_a_peer_without_the_right_is_refused(scene: Scene) -> None:
    with retrieving.asking(scene.node.address, calling="WEAK") as asker:
        assert asker.moved(_study(), "SINK")[1].status == 0x0124
        asker.release()
    with retrieving.asking(scene.node.address, retrieving.STUDY_GET, calling="WEAK") as asker:
        asker.ask(_study(), field=retrieving.GET)
        assert asker.last()[1].status == 0x0124
        asker.release()


def test_what_was_acknowledged_just_now_is_sent(scene: Scene, sink: retrieving.Sink) -> None:
    made = make.series(20, seed="fresh")
    with scu.call(scene.node.address, made[:1]) as caller:
        for one in made:
            assert caller.store(one).status == 0
        with retrieving.asking(scene.node.address) as asker:
            _, last = asker.moved(_study(made[0].study), "SINK")
            asker.release()
        caller.release()
    assert retrieving.counts(last).completed == 20
    assert sink.bodies() == {one.sop_instance: one.data for one in made}


def test_each_instance_says_who_asked_for_it(scene: Scene, sink: retrieving.Sink) -> None:
    with retrieving.asking(scene.node.address, calling="VIEWER") as asker:
        asker.moved(_study(level="IMAGE", series=CT[0].series, sop=CT[2].sop_instance), "SINK", message=4711)
        asker.release()
    ((asked, syntax, data),) = sink.stored
    assert asked.text(0x1030) == "VIEWER"
    assert asked.number(0x1031) == 4711
    assert asked.priority == 1
    assert syntax == make.EXPLICIT
    assert data == CT[2].data


def test_what_is_damaged_or_gone_is_named_and_not_sent(
    scene: Scene, sink: retrieving.Sink, tmp_path: pathlib.Path
) -> None:
    made = make.series(5, seed="damaged")
    for one in made:
        stored.send(scene.node.receiver, one)
    scene.node.settle()
    paths = {
        str(row["sop_instance"]): scene.node.data.place(str(row["path"]))
        for row in stored.rows(scene.node.database, tables.instance)
    }
    with scene.node.database.write() as connection:
        connection.execute(
            tables.instance.update()
            .where(tables.instance.c.sop_instance == made[1].sop_instance)
            .values(state=model.Held.CORRUPT.value)
        )
    paths[made[3].sop_instance].unlink()
    with retrieving.asking(scene.node.address) as asker:
        pending, last = asker.moved(_study(made[0].study), "SINK")
        asker.release()
    assert {retrieving.counts(one).total for one in pending} == {5}
    assert last.status == 0xB000
    assert retrieving.counts(last) == retrieving.Counts(None, 3, 2, 0)
    assert sorted(retrieving.failed(last)) == sorted([made[1].sop_instance, made[3].sop_instance])
    assert set(sink.bodies()) == {made[number].sop_instance for number in (0, 2, 4)}
    assert str(scene.node.data.root) not in last.comment


def test_a_move_is_cancelled(scene: Scene) -> None:
    slow = scene.slow
    slow.__init__()  # type: ignore[misc]
    with retrieving.asking(scene.node.address) as asker:

        def cancel(link: association.Association) -> None:
            if len(slow.stored) == 2:
                asker.cancel()
                time.sleep(0.4)  # the node looks ten times a second

        slow.before = cancel
        asker.ask(_study(MANY[0].study), to="SLOW")
        pending, last = asker.last()
        assert last.status == 0xFE00
        counts = retrieving.counts(last)
        assert counts.total == len(MANY)
        assert counts.remaining
        assert counts.remaining >= 20
        assert len(slow.stored) == counts.completed
        assert {retrieving.counts(one).total for one in pending} == {len(MANY)}
        assert asker.echo() == 0
        asker.release()


def test_a_cancel_does_not_wait_for_a_destination_that_never_answers(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(move, "GRACE", 0.1)
    slow, answered = scene.slow, threading.Event()
    slow.__init__()  # type: ignore[misc]
    slow.before = lambda _: answered.wait(20)
    try:
        with retrieving.asking(scene.node.address) as asker:
            asker.ask(_study(MANY[0].study), to="SLOW")
            slow.wait(1)
            asker.cancel()
            _, last = asker.last()
            asker.release()
    finally:
        answered.set()
    assert last.status == 0xFE00
    counts = retrieving.counts(last)
    assert counts.total == len(MANY)
    assert counts.completed == 0
    assert counts.failed == len(retrieving.failed(last)) > 0, "what was under way may be there, or not"


def test_a_cancel_of_another_request_cancels_nothing(scene: Scene, sink: retrieving.Sink) -> None:
    with retrieving.asking(scene.node.address) as asker:
        asker.ask(_study(), to="SINK", message=7)
        asker.cancel(8)
        assert asker.last()[1].status == 0
        asker.cancel(7)  # too late
        assert asker.echo() == 0
        asker.release()


def test_a_requestor_that_vanishes_stops_its_move(scene: Scene) -> None:
    slow = scene.slow
    slow.__init__()  # type: ignore[misc]
    with retrieving.asking(scene.node.address) as asker:

        def vanish(link: association.Association) -> None:
            if len(slow.stored) == 1:
                asker.close()
                time.sleep(0.4)

        slow.before = vanish
        asker.ask(_study(MANY[0].study), to="SLOW")
        slow.wait(1)
        slow.ended.wait(10)
    assert len(slow.stored) < len(MANY)
    scene.check()


def test_a_destination_that_vanishes_fails_the_rest(scene: Scene, sink: retrieving.Sink) -> None:
    sink.before = lambda link: link.abort() if len(sink.stored) == 3 else None
    with retrieving.asking(scene.node.address) as asker:
        _, last = asker.moved(_study(), "SINK")
        asker.release()
    assert last.status == 0xB000
    assert retrieving.counts(last) == retrieving.Counts(None, 2, 4, 0)
    assert len(retrieving.failed(last)) == 4


def test_one_slow_destination_blocks_no_other(scene: Scene, sink: retrieving.Sink) -> None:
    slow = scene.slow
    slow.__init__()  # type: ignore[misc]
    held = {"go": False}

    def wait(_: association.Association) -> None:
        deadline = time.monotonic() + 20
        while not held["go"] and time.monotonic() < deadline:
            time.sleep(0.01)

    slow.before = wait
    with contextlib.ExitStack() as stack:
        one, other, third = (stack.enter_context(retrieving.asking(scene.node.address)) for _ in range(3))
        one.ask(_study(), to="SLOW")
        third.ask(_study(MR[0].study), to="SLOW")
        slow.wait(2)
        assert other.moved(_study(), "SINK")[1].status == 0
        assert len(sink.stored) == len(CT)
        assert len(slow.associations) == 2, "two moves of one peer run beside each other"
        # Its requestor hears of it all the same.
        first, second = one.response(), one.response()
        assert [retrieving.counts(answer).remaining for answer in (first, second)] == [6, 6]
        held["go"] = True
        assert one.last()[1].status == 0
        assert third.last()[1].status == 0


# -- C-GET ----------------------------------------------------------------------------------------


def test_30_no_storage_role_is_no_hang(scene: Scene) -> None:
    more = [scu.Context(make.CT, (make.EXPLICIT,))]
    for contexts in ([], more):  # none proposed, and proposed without the role
        with retrieving.asking(scene.node.address, retrieving.STUDY_GET, contexts) as asker:
            stored_here, pending, last = asker.got(_study())
            assert not stored_here
            assert not pending
            assert last.status == 0xA702
            assert retrieving.counts(last) == retrieving.Counts(None, 0, 6, 0)
            assert "role" in last.comment
            assert asker.echo() == 0
            asker.release()


def test_30_another_class_than_those_with_the_role(scene: Scene) -> None:
    with retrieving.fetching(scene.node.address, MR) as asker:
        stored_here, _, last = asker.got(_study())
        assert not stored_here
        assert last.status == 0xA702
        assert len(retrieving.failed(last)) == 6
        asker.release()


def test_a_get_brings_the_bytes_that_are_held(scene: Scene) -> None:
    with retrieving.fetching(scene.node.address, CT) as asker:
        stored_here, pending, last = asker.got(_study())
        asker.release()
    assert last.status == 0
    assert retrieving.counts(last) == retrieving.Counts(None, 6, 0, 0)
    assert {retrieving.counts(one).total for one in pending} == {6}
    assert stored_here == {made.sop_instance: made.data for made in CT}
    assert list(stored_here) == [made.sop_instance for made in CT], "in the order of their numbers"


def test_a_get_counts_what_the_peer_refuses(scene: Scene) -> None:
    with retrieving.fetching(scene.node.address, CT) as asker:
        said = [0, 0xA700, 0xB007, 0xC000, 0, 0]
        _, _, last = asker.got(_study(), lambda number: said[number])
        asker.release()
    assert last.status == 0xB000
    assert retrieving.counts(last) == retrieving.Counts(None, 3, 2, 1)
    assert retrieving.failed(last) == [CT[1].sop_instance, CT[3].sop_instance]


def test_a_get_is_cancelled_between_two_instances(scene: Scene) -> None:
    with retrieving.fetching(scene.node.address, CT) as asker:
        stored_here, _, last = asker.got(_study(), cancel_after=2)
        assert last.status == 0xFE00
        assert len(stored_here) == 2
        assert retrieving.counts(last) == retrieving.Counts(4, 2, 0, 0)
        assert asker.echo() == 0
        asker.release()


@pytest.mark.parametrize("how", ["closes", "aborts", "releases"])
def test_a_peer_that_leaves_in_the_middle_of_a_get(scene: Scene, how: str) -> None:
    with retrieving.fetching(scene.node.address, CT) as asker:
        asker.ask(_study(), field=retrieving.GET)
        assert asker.response().field == retrieving.STORE
        if how == "aborts":
            asker.send(scu.pdu(scu.ABORT, bytes(4)))
        elif how == "releases":
            asker.send(scu.pdu(scu.RELEASE_RQ, bytes(4)))
    scene.check()


def test_a_request_in_the_middle_of_a_get_is_put_off(scene: Scene) -> None:
    with retrieving.fetching(scene.node.address, CT) as asker:
        asker.ask(_study(), field=retrieving.GET)
        first = asker.response()
        assert first.field == retrieving.STORE
        echo = asker.accepted[scu.VERIFICATION, make.IMPLICIT]
        asker.message(echo, {2: scu.VERIFICATION, 0x100: 0x30, 0x110: 9, 0x800: scu.NO_DATA})
        answer = asker.response()
        assert (answer.field, answer.status) == (0x8030, 0x0213)


def test_the_database_is_down(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(_: db.Database) -> contextlib.AbstractContextManager[object]:
        raise errors.DatabaseUnavailable("the database did not answer: disk I/O error")

    with retrieving.asking(scene.node.address) as asker:
        monkeypatch.setattr(db.Database, "read", read)
        _, last = asker.moved(_study(), "SINK")
        monkeypatch.undo()
        assert last.status == 0xA701
        assert asker.moved(_study(), "SINK")[1].status == 0
        asker.release()
