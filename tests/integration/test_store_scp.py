"""C-ECHO and C-STORE on the raw socket: every failure has its status, and the association lives on."""

from __future__ import annotations

import pathlib
import subprocess
import threading
from collections.abc import Iterator

import pytest
import sqlalchemy

from node import errors, model
from node.index import tables
from tests import make, peers, scu, small, stored

STORED = [
    make.EXPLICIT,
    make.IMPLICIT,
]


@pytest.fixture
def running(tmp_path: pathlib.Path) -> Iterator[small.Small]:
    with small.node(tmp_path) as node:
        yield node


def _goes_on(caller: scu.Caller, node: small.Small, good: make.Made) -> None:
    """The association lives: an echo and an instance pass."""
    assert caller.echo() == 0x0000
    assert caller.store(good).status == 0x0000
    node.settle()
    assert stored.bodies(node.data, node.database)[good.sop_instance] == good.data


@pytest.mark.parametrize("syntax", STORED)
def test_an_instance_is_stored_as_it_came(running: small.Small, syntax: str) -> None:
    made = make.instance(syntax=syntax, size=300_000)
    with scu.call(running.address, [made]) as caller:
        answer = caller.store(made)
        caller.release()
    assert answer.status == 0x0000
    assert answer.values[0x00001000].rstrip(b"\0").decode() == made.sop_instance
    running.settle()
    assert stored.bodies(running.data, running.database) == {made.sop_instance: made.data}


def test_where_an_instance_came_from_is_kept(running: small.Small) -> None:
    made = make.instance()
    with scu.call(running.address, [made], calling="CT 1") as caller:
        caller.store(made)
        caller.release()
    running.settle()
    (row,) = stored.rows(running.database, tables.arrival)
    assert (row["calling"], row["called"], row["address"]) == ("CT 1", "NODE", "127.0.0.1")


def test_a_sop_class_that_is_not_the_contexts_is_0122(running: small.Small) -> None:
    made, good = make.series(2)
    with scu.call(running.address, [made, good]) as caller:
        answer = caller.store(made, sop_class="1.2.840.10008.5.1.4.1.1.4")
        assert answer.status == 0x0122
        _goes_on(caller, running, good)


@pytest.mark.parametrize(
    ("changes", "status", "element"),
    [
        ({"sop_instance": "1.2.3"}, 0xA900, 0x00080018),
        ({"sop_instance": "not.a.uid"}, 0x0117, None),
        ({"sop_instance": "1." * 40 + "1"}, 0x0117, None),
        ({"sop_instance": "../../etc/passwd"}, 0x0117, None),
        ({"sop_instance": ""}, 0x0117, None),
    ],
)
def test_a_command_that_lies_is_refused(
    running: small.Small, changes: dict[str, str], status: int, element: int | None
) -> None:
    made, good = make.series(2)
    with scu.call(running.address, [made, good]) as caller:
        answer = caller.store(made, **changes)
        assert answer.status == status
        assert answer.comment
        if element is not None:
            assert (
                answer.values[0x00000901]
                == element.to_bytes(4, "big")[1::-1] + element.to_bytes(4, "big")[:1:-1]
            )
        _goes_on(caller, running, good)


@pytest.mark.parametrize("broken", ["truncated", "garbage", "part 10", "empty"])
def test_a_data_set_that_is_none_is_cxxx(running: small.Small, broken: str) -> None:
    made, good = make.series(2)
    data = {
        "truncated": made.data[:-5],
        "garbage": b"\xfe\xed" * 500,
        "part 10": make.part10(made),
        "empty": b"",
    }[broken]
    with scu.call(running.address, [made, good]) as caller:
        caller.message(caller.context(made), scu.store_request(made, 7), data)
        answer = caller.response()
        assert answer.status & 0xF000 == 0xC000
        assert answer.number(0x00000120) == 7
        _goes_on(caller, running, good)


def test_an_instance_over_the_cap_is_a700_and_leaves_nothing(tmp_path: pathlib.Path) -> None:
    large, good = make.instance(size=3_000_000, seed=1), make.instance(size=4096, seed=2)
    with small.node(tmp_path, limits=model.Limits(max_instance=2_000_000)) as node:
        with scu.call(node.address, [large, good]) as caller:
            assert caller.store(large).status == 0xA700
            _goes_on(caller, node, good)
        assert len(stored.rows(node.database, tables.arrival)) == 1


def test_a_peers_own_cap_is_kept(tmp_path: pathlib.Path) -> None:
    large = make.instance(size=100_000)
    peer = model.Peer(name="small", aet="SMALL", max_instance=50_000)
    with (
        small.node(tmp_path, peers=[peer]) as node,
        scu.call(node.address, [large], calling="SMALL") as caller,
    ):
        assert caller.store(large).status == 0xA700


def test_storage_that_fails_is_a700_and_recovers(
    running: small.Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, good = make.series(2)

    def full() -> None:
        raise errors.StorageFull("no room")

    with scu.call(running.address, [made, good]) as caller:
        with monkeypatch.context() as patch:
            patch.setattr(running.receiver, "_check_room", full)
            answer = caller.store(made)
        assert (answer.status, answer.comment) == (0xA700, "no room")
        _goes_on(caller, running, good)


def test_a_peer_without_the_right_gets_0124(tmp_path: pathlib.Path) -> None:
    made = make.instance()
    peer = model.Peer(name="viewer", aet="VIEWER", rights=frozenset({model.Right.ECHO}))
    with (
        small.node(tmp_path, peers=[peer]) as node,
        scu.call(node.address, [made], calling="VIEWER") as caller,
    ):
        assert caller.store(made).status == 0x0124
        assert caller.echo() == 0x0000


def test_the_same_bytes_again_are_a_success_and_one_file(running: small.Small) -> None:
    made = make.instance()
    with scu.call(running.address, [made]) as caller:
        assert [caller.store(made).status for _ in range(3)] == [0, 0, 0]
    running.settle()
    assert len(stored.rows(running.database, tables.instance)) == 1
    assert len(stored.rows(running.database, tables.arrival)) == 3


def test_other_bytes_under_a_held_uid_are_kept_beside_the_first(running: small.Small) -> None:
    made = make.instance()
    with scu.call(running.address, [made]) as caller:
        assert caller.store(made).status == 0x0000
        assert caller.store(make.altered(made)).status == 0x0000
    running.settle()
    assert stored.bodies(running.data, running.database) == {made.sop_instance: made.data}
    assert len(stored.rows(running.database, tables.conflict)) == 1


def test_other_bytes_under_a_held_uid_are_0111_where_that_is_the_policy(tmp_path: pathlib.Path) -> None:
    made = make.instance()
    with small.node(tmp_path, refuse=True) as node:
        with scu.call(node.address, [made]) as caller:
            assert caller.store(made).status == 0x0000
            assert caller.store(make.altered(made)).status == 0x0111
            assert caller.store(made).status == 0x0000
        node.settle()
        assert stored.rows(node.database, tables.conflict) == []
        assert stored.bodies(node.data, node.database) == {made.sop_instance: made.data}


def test_an_association_that_breaks_off_leaves_nothing(running: small.Small) -> None:
    large = make.instance(size=3_000_000)
    with scu.call(running.address, [large]) as caller:
        request = scu.command(scu.store_request(large, 1))
        context = caller.context(large)
        caller.send(b"".join(scu.fragments(context, request, is_command=True)))
        first = next(iter(scu.fragments(context, large.data, is_command=False, maximum=131072)))
        for _ in range(12):
            caller.send(first)
    good = make.instance(seed=5)
    with scu.call(running.address, [good]) as other:
        _goes_on(other, running, good)
    with running.database.read() as connection:
        assert connection.execute(sqlalchemy.select(tables.arrival.c.sop_instance)).scalars().all() == [
            good.sop_instance
        ]


def test_what_an_association_stored_is_counted_when_it_ends(running: small.Small) -> None:
    made = make.series(3)
    with scu.call(running.address, made) as caller:
        for one in made:
            caller.store(one)
        assert caller.store(made[0], sop_instance="1.2.3").status == 0xA900
        caller.release()
    size = sum(len(one.data) for one in made)
    for _ in range(100):
        shown = running.counts.render().decode()
        if f"{float(size)}" in shown:
            break
        threading.Event().wait(0.02)
    counted = {
        line.split(" ")[0]: line.split(" ")[1] for line in shown.splitlines() if "received_total" in line
    }
    assert [value for name, value in counted.items() if 'outcome="stored"' in name] == ["3.0"], counted
    assert [value for name, value in counted.items() if 'outcome="refused"' in name] == ["1.0"], counted


def test_dcmtk_stores_and_echoes(running: small.Small, tmp_path: pathlib.Path) -> None:
    host, port = running.address
    folder = tmp_path / "files"
    folder.mkdir()
    made = make.series(5, size=75_000)
    make.files(folder, made)
    echo = [peers.require("echoscu"), "-aec", "NODE", host, str(port)]
    subprocess.run(echo, check=True, timeout=30, env=peers.environment())
    send = [peers.require("storescu"), "-aec", "NODE", "+sd", host, str(port), str(folder)]
    subprocess.run(send, check=True, timeout=30, env=peers.environment(), capture_output=True)
    running.settle()
    assert {one.sop_instance for one in made} == set(stored.bodies(running.data, running.database))
