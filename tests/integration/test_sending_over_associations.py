"""Associations as a sender uses them: kept and used again, given up halfway, or the peer's own."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from node import errors, model, transcoding
from node.commands import gather
from node.dicom import edit
from node.send import base, dimse, link
from node.wire import acceptor, association, command, contexts, policy, tls
from tests import certificates, encoded, make, scu

STORE, GET, CANCEL = command.Field.C_STORE, command.Field.C_GET, command.Field.C_CANCEL
STUDY_ROOT_GET = "1.2.840.10008.5.1.4.1.2.2.3"
Handler = Callable[[association.Association, association.Message], None]


class _Events:
    """Counts associations and keeps what ended them."""

    def __init__(self) -> None:
        self.links: list[association.Association] = []
        self.faults: list[str] = []

    def opened(self, link: association.Association) -> None:
        self.links.append(link)

    def aborted(self, link: association.Association, fault: Any) -> None:
        self.faults.append(str(fault))

    def crashed(self, facts: object, error: BaseException) -> None:
        self.faults.append(repr(error))

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_, **__: None


@dataclasses.dataclass
class _Peer:
    """A peer in this process that takes what its syntaxes allow and keeps it."""

    peer: model.Peer
    events: _Events
    asked: list[command.Command]
    got: dict[str, tuple[str, bytes]]  # by SOP Instance UID: transfer syntax and data set

    def wait(self, count: int) -> None:
        """Until this many associations are closed in good order or not."""
        until = threading.Event()
        for _ in range(400):
            if sum(not one.open for one in self.events.links) >= count:
                return
            until.wait(0.025)
        pytest.fail("the association stays open")


@contextlib.contextmanager
def _peer(
    syntaxes: tuple[str, ...] = (),
    also: dict[command.Field, Handler] | None = None,
    secure: tls.Reloading | None = None,
) -> Iterator[_Peer]:
    events = _Events()
    asked: list[command.Command] = []
    got: dict[str, tuple[str, bytes]] = {}

    def keep(opened: association.Association, message: association.Message) -> None:
        got[message.command.sop_instance] = message.context.transfer, message.read(1 << 24)
        asked.append(message.command)
        opened.send(message.context, command.response(message.command, 0x0000))

    limits = model.Limits()
    allowed = frozenset({model.Right.STORE, model.Right.RETRIEVE})
    known = model.Peer(name="raw", aet="RAWSCU", rights=allowed, syntaxes=syntaxes)
    me = model.Peer(name="me", aet="ME", rights=allowed, syntaxes=syntaxes)
    with socket.create_server(("127.0.0.1", 0)) as sock:
        listener = acceptor.Acceptor(
            [acceptor.Listener(sock, secure)],
            policy.Policy(model.NodeSettings(aet="SINK"), limits, (known, me), services=(STUDY_ROOT_GET,)),
            {STORE: keep, **(also or {})},
            limits,
            events,  # type: ignore[arg-type]
        )
        thread = threading.Thread(target=listener.serve)
        thread.start()
        port = sock.getsockname()[1]
        to = model.Peer(name="sink", aet="SINK", host="127.0.0.1", port=port, tls=secure is not None)
        try:
            yield _Peer(to, events, asked, got)
        finally:
            listener.drain(1.0)
            thread.join()
            listener.close()


def _items(folder: pathlib.Path, made: list[make.Made]) -> list[base.Item]:
    folder.mkdir(exist_ok=True)
    make.files(folder, made)
    return [one for one in gather.items([folder]) if isinstance(one, base.Item)]


def test_a_sub_operation_names_its_move_and_its_priority(tmp_path: pathlib.Path) -> None:
    items = _items(tmp_path / "in", make.series(2))
    with _peer() as sink:
        sender = dimse.Dimse(sink.peer, "ME", originator=("ASKER", 4711), priority=1)
        results = list(sender.send(items))
    assert [type(result.outcome) for result in results] == [base.Done] * 2
    assert [asked.priority for asked in sink.asked] == [1, 1]
    assert {asked.text(command.MOVE_ORIGINATOR) for asked in sink.asked} == {"ASKER"}
    assert {asked.number(command.MOVE_ORIGINATOR_ID) for asked in sink.asked} == {4711}


def test_a_plain_store_names_no_move(tmp_path: pathlib.Path) -> None:
    items = _items(tmp_path / "in", make.series(1))
    with _peer() as sink:
        list(dimse.Dimse(sink.peer, "ME").send(items))
    assert command.MOVE_ORIGINATOR not in sink.asked[0].elements


def test_sends_to_one_peer_share_an_association_of_the_pool(tmp_path: pathlib.Path) -> None:
    items = _items(tmp_path / "in", make.series(4))
    pool = link.Pool(idle=30.0)
    try:
        with _peer() as sink:
            for item in items:
                (result,) = dimse.Dimse(sink.peer, "ME", pool=pool).send([item])
                assert isinstance(result.outcome, base.Done)
            assert len(sink.events.links) == 1
            list(dimse.Dimse(sink.peer, "OTHER", pool=pool).send(items[:1]))
            assert len(sink.events.links) == 2
            pool.close()
            sink.wait(2)
            assert sink.events.faults == []
    finally:
        pool.close()


def test_an_association_over_tls_is_used_again_too(tmp_path: pathlib.Path) -> None:
    items = _items(tmp_path / "in", make.series(3))
    authority = certificates.Authority(tmp_path)
    with (
        contextlib.closing(link.Pool(idle=30.0)) as pool,
        _peer(secure=tls.Reloading(authority.issue("node.test"))) as sink,
    ):
        for item in items:
            sender = dimse.Dimse(sink.peer, "ME", model.TlsSettings(ca=authority.pem), pool=pool)
            (result,) = sender.send([item])
            assert isinstance(result.outcome, base.Done)
        assert len(sink.events.links) == 1
        pool.close()
        sink.wait(1)
        assert sink.events.faults == []


def test_what_waits_in_the_pool_is_released_after_its_time(tmp_path: pathlib.Path) -> None:
    items = _items(tmp_path / "in", make.series(1))
    pool = link.Pool(idle=0.1)
    with _peer() as sink:
        list(dimse.Dimse(sink.peer, "ME", pool=pool).send(items))
        sink.wait(1)
        assert sink.events.faults == []
    pool.close()


def test_the_pool_keeps_no_more_than_it_may(tmp_path: pathlib.Path) -> None:
    items = _items(tmp_path / "in", make.series(1))
    pool = link.Pool(most=2, idle=30.0)
    try:
        with _peer() as sink:
            for calling in ("A", "B", "C"):
                list(dimse.Dimse(sink.peer, calling, pool=pool).send(items))
            sink.wait(1)
            assert [one.open for one in sink.events.links] == [False, True, True]
            pool.close()
    finally:
        pool.close()


@pytest.mark.parametrize("when", ["before it is used again", "as it is used again"])
def test_a_pooled_association_that_the_peer_left_costs_nothing(tmp_path: pathlib.Path, when: str) -> None:
    items = _items(tmp_path / "in", make.series(3))
    pool = link.Pool(idle=30.0)

    try:
        with _peer() as sink:
            sender = dimse.Dimse(sink.peer, "ME", pool=pool)
            list(sender.send(items[:1]))
            if when == "before it is used again":
                sink.events.links[0].cut("gone")
                sink.wait(1)
                results = list(sender.send(items[1:]))
            else:
                ours = pool._waiting[0].link
                quiet = type(ours).quiet
                sink.events.links[0].cut("gone")
                sink.wait(1)
                with pytest.MonkeyPatch.context() as patch:
                    patch.setattr(type(ours), "quiet", lambda self: self is ours or quiet(self))
                    results = list(sender.send(items[1:]))
            assert [type(result.outcome) for result in results] == [base.Done] * 2
            assert len(sink.events.links) == 2
            assert set(sink.got) == {item.sop_instance for item in items}
    finally:
        pool.close()


def test_a_sender_closed_halfway_releases_in_good_order(tmp_path: pathlib.Path) -> None:
    items = _items(tmp_path / "in", make.series(30))
    with _peer() as sink:
        sending = dimse.Dimse(sink.peer, "ME", window=4).send(items)
        next(sending)
        sending.close()  # type: ignore[attr-defined]
        sink.wait(1)
        assert sink.events.faults == []
        assert 1 <= len(sink.got) < 30


def test_sub_operations_on_the_askers_own_association_hear_its_cancel(tmp_path: pathlib.Path) -> None:
    """As C-GET does it: the asker is the provider of the storage class, and may say anything in between."""
    made = make.series(5)
    items = _items(tmp_path / "in", made)
    heard: list[tuple[int, int]] = []
    outcomes: list[base.Outcome] = []

    def get(opened: association.Association, message: association.Message) -> None:
        message.drain()
        results = dimse.converse(
            opened,
            iter(items),
            heard=lambda said: heard.append((said.command.field, said.command.responded_to)),
            until=lambda: bool(heard),
        )
        outcomes.extend(result.outcome for result in results)
        opened.send(message.context, command.response(message.command, 0xFE00))

    with _peer(also={GET: get}) as sink, contextlib.ExitStack() as stack:
        asker = stack.enter_context(scu.Caller(("127.0.0.1", sink.peer.port)))
        wanted = [scu.Context(STUDY_ROOT_GET), scu.Context(make.CT, (make.EXPLICIT,))]
        asker.associate(wanted, called="SINK", roles={make.CT: (0, 1)})
        context = asker.accepted[STUDY_ROOT_GET, make.IMPLICIT]
        asker.message(
            context,
            {0x00000002: STUDY_ROOT_GET, 0x00000100: GET, 0x00000110: 7, 0x00000700: 0, 0x00000800: 0x101},
        )
        taken = []
        while True:
            said = asker.response()
            if said.field != STORE:
                break
            taken.append(said.values[0x00001000].rstrip(b"\0").decode())
            if len(taken) == 2:
                asker.message(context, {0x00000100: CANCEL, 0x00000120: 7, 0x00000800: 0x101})
            answer: dict[int, scu.Value] = {
                0x00000100: scu.STORE_RSP,
                0x00000120: said.number(0x00000110),
                0x00000800: 0x101,
                0x00000900: 0,
            }
            asker.message(said.context, answer)
        assert said.status == 0xFE00
        asker.release()
    assert taken == [item.sop_instance for item in items[:2]]
    assert heard == [(CANCEL, 7)]
    assert outcomes == [base.Done(0)] * 2


class _Renamer:
    """A transcoder that says of the same bytes that they are the other kind; `bad` cannot be made."""

    def __init__(self, bad: str = "", error: errors.NodeError | None = None) -> None:
        self._bad, self._error = bad, error
        self.dropped: list[base.Item] = []

    def targets(self, item: base.Item) -> tuple[str, ...]:
        return make.EXPLICIT, make.IMPLICIT

    def make(self, item: base.Item, syntax: str) -> base.Item:
        if item.sop_instance == self._bad and self._error is not None:
            raise self._error
        return dataclasses.replace(item, syntax=syntax)

    def drop(self, made: base.Item) -> None:
        self.dropped.append(made)


def test_what_the_peer_does_not_take_is_transcoded_and_the_rest_is_not(tmp_path: pathlib.Path) -> None:
    made = [
        make.instance(seed=1, syntax=make.IMPLICIT),
        make.instance(seed=2, syntax=make.DEFLATED),
        make.instance(seed=3, syntax=make.DEFLATED),
    ]
    items = _items(tmp_path / "in", made)
    bad = made[2].sop_instance
    transcoder = _Renamer(bad, errors.BadData("a header that lies"))
    # It takes the two alone.
    with _peer((make.IMPLICIT,)) as sink:
        proposed = next(dimse.shares(items, transcoder))[1]
        with link.opened(sink.peer, "ME", model.TlsSettings(), proposed) as opened:
            refuse = {
                number: context
                for number, context in opened.contexts.items()
                if context.transfer == make.IMPLICIT
            }
            opened.contexts = refuse
            results = {
                one.item.sop_instance: one for one in dimse.converse(opened, items, transcoder=transcoder)
            }
    assert results[made[0].sop_instance].syntax == make.IMPLICIT
    assert results[made[1].sop_instance].syntax == make.IMPLICIT
    assert results[made[1].sop_instance].item in items  # as it was asked for
    assert sink.got[made[1].sop_instance][0] == make.IMPLICIT
    failed = results[bad].outcome
    assert isinstance(failed, base.Failed)
    assert "cannot be made into Implicit VR Little Endian" in failed.why
    assert "a header that lies" in failed.why
    assert [one.sop_instance for one in transcoder.dropped] == [made[1].sop_instance]


def test_a_transcoder_that_is_only_busy_leaves_it_for_later(tmp_path: pathlib.Path) -> None:
    made = make.instance(seed=1, syntax=make.DEFLATED)
    items = _items(tmp_path / "in", [made])
    transcoder = _Renamer(made.sop_instance, errors.StorageFull("no room"))
    with _peer((make.IMPLICIT,)) as sink:
        proposed = [contexts.Proposed(make.CT, (make.IMPLICIT,))]
        with link.opened(sink.peer, "ME", model.TlsSettings(), proposed) as opened:
            (result,) = dimse.converse(opened, items, transcoder=transcoder)
            (plain,) = dimse.converse(opened, items)
    assert isinstance(result.outcome, base.Retry)
    assert isinstance(plain.outcome, base.Failed)
    assert "only in Implicit VR Little Endian" in plain.outcome.why


def test_what_is_coerced_and_transcoded_arrives_as_both(tmp_path: pathlib.Path) -> None:
    (item,) = _items(tmp_path / "in", [encoded.encoded(make.RLE, tmp_path)])
    item = dataclasses.replace(
        item, change=lambda data, syntax: edit.edit(data, syntax, [edit.Set("PatientID", "CHANGED")])
    )
    with _peer() as sink, transcoding.Transcoder(tmp_path) as transcoder:
        proposed = [contexts.Proposed(item.sop_class, (make.BIG,))]
        with link.opened(sink.peer, "ME", model.TlsSettings(), proposed) as opened:
            (result,) = dimse.converse(opened, [item], transcoder=transcoder)
    assert isinstance(result.outcome, base.Done)
    syntax, data = sink.got[item.sop_instance]
    assert result.syntax == syntax == make.BIG
    assert b"\x00\x10\x00\x20LO\x00\x08CHANGED " in data
    pixels = b"".join(encoded._frames(12))
    assert data.endswith(b"".join(pixels[at : at + 2][::-1] for at in range(0, len(pixels), 2)))
