"""What no file of the store carries outlives the index: removals at every gap, names, orders, commitments."""

from __future__ import annotations

import os
import pathlib
import shutil
import signal
from collections.abc import Callable, Iterator

import pytest

from node import commit, failpoints, metrics, model, rebuild, upkeep
from node.dicom import commitment as words
from node.files import layout, ledger
from node.index import audit, commitment, compare, db, manager, migrate, tables, witness
from tests import indexed, make, stored

REMOVED = make.series(3, seed="removed")
KEPT = make.series(2, seed="kept")
GAPS = ("remove.after-intent", "sweep.after-rows", "sweep.after-ledger", "sweep.after-files")


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A data directory with two series, a duplicate and a conflict in the one that will go."""
    root = tmp_path_factory.mktemp("filled") / "data"
    data = stored.data(root)
    with stored.database(data) as index, stored.receiver(data) as receiver:
        for made in (*REMOVED, *KEPT, REMOVED[0], make.altered(REMOVED[1])):
            stored.send(receiver, made)
        stored.file_all(data, index)
    return root


@pytest.fixture
def data(filled: pathlib.Path, tmp_path: pathlib.Path) -> layout.Data:
    shutil.copytree(filled, tmp_path / "data", ignore=shutil.ignore_patterns("wake"))
    return stored.data(tmp_path / "data")


@pytest.fixture
def index(data: layout.Data) -> Iterator[db.Database]:
    with stored.database(data) as opened:
        yield opened


def images(data: layout.Data, index: db.Database) -> manager.Images:
    return manager.Images(index, witness.Witness(data))


def remove(data: layout.Data, index: db.Database) -> None:
    """What `dicom-node images remove` does."""
    images(data, index).remove(model.Level.SERIES, REMOVED[0].series, who="a person", why="asked for")
    upkeep.purge(data, index)


def dies(at: str, what: Callable[[layout.Data, db.Database], None], data: layout.Data) -> None:
    """Do something in a process that is killed at a failpoint."""
    pid = os.fork()
    if not pid:
        failpoints._ARMED = failpoints._Armed(at)
        with stored.database(data) as opened:
            what(data, opened)
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL


def held(data: layout.Data, index: db.Database) -> set[str]:
    """What is held, after the next sweep; fails when files, rows and arrivals do not add up then."""
    upkeep.purge(data, index)
    assert ledger.intents(data) == []
    assert list(upkeep.deep_audit(data, index)) == []
    with index.read() as connection:
        assert list(audit.unaccounted(connection)) == []
    return set(stored.bodies(data, index))


UIDS = {made.sop_instance for made in KEPT}
ALL = UIDS | {made.sop_instance for made in REMOVED}


@pytest.mark.parametrize("gap", GAPS)
def test_a_removal_that_broke_off_is_ended_or_forgotten_by_the_next_sweep(
    gap: str, data: layout.Data
) -> None:
    dies(gap, remove, data)
    with stored.database(data) as index:
        assert held(data, index) == (ALL if gap == "remove.after-intent" else UIDS)


@pytest.mark.parametrize("gap", GAPS)
def test_a_rebuild_in_the_gap_asks_the_old_index(gap: str, data: layout.Data) -> None:
    dies(gap, remove, data)
    done, kept = rebuild.replace(data, layout.database_url(data.root))
    assert done.skipped == ()
    old = db.open(f"sqlite:///{kept}")
    with stored.database(data) as index:
        assert compare.compare(old, index) == []
        assert held(data, index) == (ALL if gap == "remove.after-intent" else UIDS)
    old.close()


@pytest.mark.parametrize("gap", GAPS)
def test_where_the_index_is_lost_too_a_removal_is_carried_out(gap: str, data: layout.Data) -> None:
    dies(gap, remove, data)
    lost = layout.database(data.root)
    for path in lost.parent.glob(lost.name + "*"):
        path.unlink()
    done, _ = rebuild.replace(data, layout.database_url(data.root))
    assert done.skipped == ()
    with stored.database(data) as index:
        assert held(data, index) == UIDS
        (first, *_) = rows = stored.rows(index, tables.deletion)
        assert len(rows) == 3
        assert (first["who"], first["why"]) == ("a person", "asked for")
        # And again, from what the sweep wrote down.
        assert again(data, index) == []


def again(data: layout.Data, index: db.Database) -> list[compare.Difference]:
    """How a further rebuild, which does not ask this index, differs from it."""
    (data.root / "again.sqlite").unlink(missing_ok=True)
    target = db.open(f"sqlite:///{data.root / 'again.sqlite'}")
    try:
        migrate.upgrade(target)
        assert rebuild.make(data, target).skipped == ()
        return compare.compare(index, target, [*compare.REBUILT, *compare.OVERRIDES])
    finally:
        target.close()


def test_what_came_again_after_a_removal_is_not_removed_with_it(data: layout.Data) -> None:
    dies("sweep.after-rows", remove, data)
    with stored.database(data) as index:
        with stored.receiver(data) as receiver:
            stored.send(receiver, REMOVED[0])
        stored.file_all(data, index)
        # Its file took the place of the one that was to go, and with it the facts of the first receipt.
        assert {one.table for one in again(data, index)} == {"arrival"}
        assert held(data, index) == UIDS | {REMOVED[0].sop_instance}
        assert {one.table for one in again(data, index)} == {"arrival"}


def test_a_set_of_bytes_that_a_person_discarded_stays_out(data: layout.Data) -> None:
    from node import aside as deciding
    from node.index import aside

    def discard(data: layout.Data, index: db.Database) -> None:
        with index.read() as connection:
            entries = aside.each(connection, aside.Kind.CONFLICT)
        deciding.discard(data, index, entries, who="a person", why="seen")

    dies("sweep.after-rows", discard, data)
    with stored.database(data) as index:
        assert again(data, index) == []
        assert stored.rows(index, tables.conflict) == []
        assert held(data, index) == ALL


def test_two_rebuilds_do_not_mistake_one_removal_for_another(data: layout.Data) -> None:
    with stored.database(data) as index:
        images(data, index).remove(model.Level.IMAGE, KEPT[0].sop_instance, who="a", why="first")
        upkeep.purge(data, index)
    rebuild.replace(data, layout.database_url(data.root))
    with stored.database(data) as index:
        remove(data, index)  # its keys may be those of the ledger's older lines
        assert len(stored.rows(index, tables.deletion)) == 4
        assert again(data, index) == []


def test_names_and_orders_are_made_again_without_the_index(data: layout.Data, index: db.Database) -> None:
    mine = images(data, index)
    first, second, third = (made.sop_instance for made in REMOVED)
    mine.name_series(REMOVED[0].series, "before")
    mine.name_series(REMOVED[0].series, "the one")
    mine.name_image(third, "best")
    mine.order(REMOVED[0].series, [third, first, second])
    mine.name_series(KEPT[0].series, "before")  # a name that was given up
    mine.name_image(KEPT[0].sop_instance, "gone")
    mine.reset(KEPT[0].series)
    assert stored.rows(index, tables.image_override)
    assert again(data, index) == []


def test_names_go_with_what_had_them(data: layout.Data, index: db.Database) -> None:
    mine = images(data, index)
    mine.name_series(REMOVED[0].series, "the one")
    mine.name_image(REMOVED[0].sop_instance, "best")
    mine.name_image(KEPT[0].sop_instance, "this")
    mine.remove(model.Level.IMAGE, KEPT[0].sop_instance, who="a person", why="asked for")
    remove(data, index)
    with stored.receiver(data) as receiver:
        for made in (*REMOVED, *KEPT):
            stored.send(receiver, made)
    stored.file_all(data, index)
    assert stored.rows(index, tables.series_override) == []
    assert again(data, index) == []


def test_a_promised_report_is_still_owed_when_the_index_is_lost(
    data: layout.Data, index: db.Database
) -> None:
    reach = commit.Reach((), "NODE", model.TlsSettings())
    committer = commit.Committer(index, data, reach, metrics.Metrics(None))
    references = [words.Reference(made.sop_class, made.sop_instance) for made in KEPT]
    keys = [
        committer.accept(
            requester="ASKER",
            transaction=f"1.2.{number}",
            called="NODE",
            address="192.0.2.1",
            association="a-1",
            references=references,
        )
        for number in (1, 2)
    ]
    assert keys[0] is not None
    committer.confirmed(keys[0], 0x0000)
    target = db.open(f"sqlite:///{data.root / 'again.sqlite'}")
    migrate.upgrade(target)
    assert rebuild.make(data, target).skipped == ()
    with target.read() as connection:
        (owed,) = commitment.due(connection, commit._now())
        told = commitment.get(connection, 1)
    assert (owed.transaction_uid, owed.state, owed.requester) == ("1.2.2", commitment.State.ASKED, "ASKER")
    assert [item.sop_instance for item in owed.items] == [made.sop_instance for made in KEPT]
    assert told is not None
    assert (told.transaction_uid, told.state) == ("1.2.1", commitment.State.REPORTED)
    target.close()


@pytest.mark.parametrize("damage", [b"", b"no database at all" * 100])
def test_an_old_index_that_cannot_be_read_stands_in_nobodys_way(damage: bytes, data: layout.Data) -> None:
    with stored.database(data) as index:
        images(data, index).name_series(KEPT[0].series, "the one")
    lost = layout.database(data.root)
    lost.with_name(lost.name + "-wal").unlink(missing_ok=True)
    lost.write_bytes(damage)
    done, _ = rebuild.replace(data, layout.database_url(data.root))
    assert done.skipped == ()
    with stored.database(data) as index:
        assert held(data, index) == ALL
        assert images(data, index).one_series("the one").series == KEPT[0].series


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with indexed.postgresql() as url:
        yield url


def test_an_index_on_a_server_is_made_beside_and_swapped(data: layout.Data, server: str) -> None:
    lost = db.open(layout.database_url(data.root))
    done, kept = rebuild.replace(data, server)
    assert (done.instances, kept) == (5, None)
    index = db.open(server)
    assert compare.compare(lost, index) == []
    images(data, index).name_series(KEPT[0].series, "the one")
    remove(data, index)
    index.close()
    done, kept = rebuild.replace(data, server)
    assert (done.instances, done.skipped) == (2, ())
    assert kept is not None
    index, old = db.open(server), db.open(server, schema=kept.split()[1])
    everything = [*compare.REBUILT, *compare.OVERRIDES]
    assert compare.compare(old, index, everything) == []
    assert migrate.status(index).pending == migrate.status(old).pending == ()
    assert held(data, index) == UIDS
    with stored.receiver(data) as receiver:  # and life goes on
        stored.send(receiver, REMOVED[0])
    assert stored.file_all(data, index) == 1
    for one in (lost, index, old):
        one.close()


def test_a_swap_on_a_server_that_broke_off_is_begun_anew(data: layout.Data, server: str) -> None:
    def replace(data: layout.Data, _: db.Database) -> None:
        rebuild.replace(data, server)

    dies("rebuild.before-swap", replace, data)
    done, _ = rebuild.replace(data, server)
    assert done.skipped == ()
    index = db.open(server)
    assert held(data, index) == ALL
    index.close()
