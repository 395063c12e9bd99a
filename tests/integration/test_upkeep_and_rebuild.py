"""Bytes at rest are looked after, what goes is accounted for, and the index can be made again."""

from __future__ import annotations

import datetime
import pathlib
from collections.abc import Iterator

import pytest

from node import errors, evaluate, model, rebuild, receive, upkeep
from node.files import layout, ledger, scrub, sweep
from node.index import audit, compare, db, manager, tables
from tests import make, stored

Parts = tuple[layout.Data, db.Database, receive.Receiver]


@pytest.fixture
def parts(tmp_path: pathlib.Path) -> Iterator[Parts]:
    data = stored.data(tmp_path)
    with stored.database(data) as index, stored.receiver(data) as receiver:
        yield data, index, receiver


def fill(parts: Parts) -> list[make.Made]:
    """A bit of everything."""
    data, index, receiver = parts
    rules = (
        model.Rule("drop", model.Action.DISCARD, "not wanted", when=evaluate.of({"source": "NOISE"})),
        model.Rule("look", model.Action.QUARANTINE, "odd", when=evaluate.of({"source": "ODD"})),
        model.Rule("long", model.Action.KEEP, keep=1e9, when=evaluate.of({"source": "LONG"})),
    )
    sent = make.series(6) + make.series(4, seed=1) + make.series(1, seed=2, size=2 << 20)
    for made in sent:
        stored.send(receiver, made)
    stored.send(receiver, sent[0])
    stored.send(receiver, make.altered(sent[1]))
    stored.send(receiver, make.altered(sent[1]))
    for title, seed in (("NOISE", 7), ("ODD", 8), ("LONG", 9)):
        sender = receive.Sender(title, "NODE", "192.0.2.7", "peer", "assoc-2")
        stored.send(receiver, make.series(1, seed=seed)[0], sender)
    stored.file_all(data, index, rules)
    return sent


def clean(index: db.Database) -> bool:
    with index.read() as connection:
        return not list(audit.unaccounted(connection))


def test_a_flipped_bit_and_a_lost_file_are_found(parts: Parts) -> None:
    data, index, _ = parts
    fill(parts)
    assert upkeep.scrub_store(data, index).findings == ()
    assert list(upkeep.deep_audit(data, index)) == []
    paths = list(layout.tree(data.store))
    raw = bytearray(paths[0].read_bytes())
    raw[-5] ^= 1
    paths[0].write_bytes(raw)
    paths[1].unlink()
    paths[2].write_bytes(paths[2].read_bytes()[:-1])
    done = upkeep.scrub_store(data, index)
    assert done.complete
    assert sorted(one.state for one in done.findings) == ["corrupt", "corrupt", "missing"]
    assert not clean(index)
    found = {one.path for one in upkeep.deep_audit(data, index)}
    assert found == {str(path.relative_to(data.root)) for path in paths[1:3]}


def test_a_scrub_goes_on_where_it_stopped(parts: Parts) -> None:
    data, index, receiver = parts
    sent = make.series(300)
    for half in (sent[:150], sent[150:]):  # as many as the journal holds
        for made in half:
            stored.send(receiver, made)
        stored.file_all(data, index)
    pages: list[int] = []
    first = upkeep.scrub_store(
        data, index, stop=lambda: bool(pages), seen=lambda instances, _size: pages.append(instances)
    )
    assert (first.instances, first.complete) == (256, False)
    second = upkeep.scrub_store(data, index)
    assert (second.instances, second.complete) == (44, True)
    assert upkeep.scrub_store(data, index).instances == 300


def test_a_damaged_instance_that_comes_again_is_whole_again(parts: Parts) -> None:
    data, index, receiver = parts
    (made,) = make.series(1)
    stored.send(receiver, made)
    stored.file_all(data, index)
    (path,) = layout.tree(data.store)
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    assert len(upkeep.scrub_store(data, index).findings) == 1
    stored.send(receiver, made)
    stored.file_all(data, index)
    assert stored.bodies(data, index) == {made.sop_instance: made.data}
    assert upkeep.scrub_store(data, index).findings == ()
    assert clean(index)


def test_a_rate_is_kept() -> None:
    slept: list[float] = []
    clock = [0.0]

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        clock[0] += seconds

    rate = scrub.Rate(1000, clock=lambda: clock[0], sleep=sleep)
    for _ in range(10):
        rate.spend(500)
    assert sum(slept) == pytest.approx(5.0)


def test_retention_by_age_removes_files_and_accounts_for_them(parts: Parts) -> None:
    data, index, _ = parts
    fill(parts)
    later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=10)
    done = upkeep.retention(data, index, model.RetentionSettings(max_age=86400.0), now=later)
    assert done.instances == done.files == 11
    (left,) = stored.rows(index, tables.instance)
    assert left["rule"] == "long"
    assert len(list(layout.tree(data.store))) == 1
    assert clean(index)
    assert sum(1 for fact in ledger.read(data) if isinstance(fact, dict) and fact["kind"] == "deletion") == 11


def test_retention_by_size_takes_the_oldest(parts: Parts) -> None:
    data, index, receiver = parts
    for seed in range(3):
        for made in make.series(3, seed=seed):
            stored.send(receiver, made)
        stored.file_all(data, index)
    size = sum(int(str(row["size"])) for row in stored.rows(index, tables.instance))
    upkeep.retention(data, index, model.RetentionSettings(max_size=size * 2 // 3))
    held = set(stored.bodies(data, index))
    assert held == {made.sop_instance for seed in (1, 2) for made in make.series(3, seed=seed)}


def test_the_rebuilt_index_is_equal(parts: Parts, tmp_path: pathlib.Path) -> None:
    data, index, _ = parts
    fill(parts)
    copy = tmp_path / "again.sqlite"
    target = db.open(f"sqlite:///{copy}")
    stored.migrate.upgrade(target, lambda _: None)
    done = rebuild.make(data, target)
    assert done.skipped == ()
    assert (done.instances, done.aside, done.facts) == (12, 2, 3)
    assert compare.compare(index, target) == []
    assert clean(target)
    target.close()


def test_after_removals_the_rebuilt_index_is_equal_too(parts: Parts, tmp_path: pathlib.Path) -> None:
    data, index, receiver = parts
    sent = fill(parts)
    removal = manager.Images(index)
    removal.remove(model.Level.SERIES, sent[0].series, who="a person", why="asked for")
    upkeep.purge(data, index)
    stored.send(receiver, sent[0])  # and one of them comes again
    stored.file_all(data, index)
    target = db.open(f"sqlite:///{tmp_path / 'again.sqlite'}")
    stored.migrate.upgrade(target, lambda _: None)
    assert rebuild.make(data, target).skipped == ()
    assert compare.compare(index, target) == []
    assert clean(target)
    target.close()


def test_the_swap_keeps_the_old_index_and_loses_no_commitment(tmp_path: pathlib.Path) -> None:
    data = stored.data(tmp_path)
    with stored.database(data) as index, stored.receiver(data) as receiver:
        sent = fill((data, index, receiver))
    done, kept = rebuild.replace(data, layout.database_url(data.root))
    assert done.instances == 12
    assert kept is not None
    old = db.open(f"sqlite:///{kept}")
    with stored.database(data) as index:
        assert compare.compare(old, index) == []
        assert stored.bodies(data, index).keys() >= {made.sop_instance for made in sent}
        # And life goes on.
        with stored.receiver(data) as receiver:
            stored.send(receiver, make.series(1, seed=77)[0])
        assert stored.file_all(data, index) == 1
    old.close()


def test_a_tree_with_foreign_files_is_rebuilt_and_told_of(parts: Parts, tmp_path: pathlib.Path) -> None:
    data, _, _ = parts
    fill(parts)
    first, second, *_ = layout.tree(data.store)
    (first.parent / "0123456789abcdef0123456789abcdef.dcm").write_bytes(b"not ours")
    (first.parent / "fedcba9876543210fedcba9876543210.dcm").write_bytes(second.read_bytes())
    stray = first.parent / "notes.txt"
    stray.write_text("x")
    elsewhere = data.store / "copy.dcm"
    elsewhere.write_bytes(second.read_bytes())
    target = db.open(f"sqlite:///{tmp_path / 'again.sqlite'}")
    stored.migrate.upgrade(target, lambda _: None)
    done = rebuild.make(data, target)
    target.close()
    assert (done.instances, len(done.skipped)) == (12, 2)
    assert list(sweep.strays(data)) == [elsewhere, stray]


def test_nothing_leads_out_of_the_data_directory(parts: Parts) -> None:
    data, _, _ = parts
    for path in ("/etc/passwd", "store/../../x", "store/2026/11/21/ab/x.dcm", "", "store"):
        with pytest.raises(errors.BadData):
            data.place(path)


def test_a_torn_line_of_the_ledger_spoils_no_other(parts: Parts) -> None:
    data, _, _ = parts
    ledger.append(data, [{"kind": "arrival", "n": 1}])
    (path,) = data.ledger.iterdir()
    with open(path, "ab") as file:
        file.write(b'{"kind": "arr')
    ledger.append(data, [{"kind": "arrival", "n": 2}], sync=True)
    facts = list(ledger.read(data))
    assert [fact["n"] for fact in facts if isinstance(fact, dict)] == [1, 2]
    assert [type(fact) for fact in facts][1] is ledger.Damaged


def test_a_mended_instance_has_one_file(parts: Parts, tmp_path: pathlib.Path) -> None:
    data, index, receiver = parts
    (made,) = make.series(1)
    stored.send(receiver, made)
    stored.file_all(data, index)
    (path,) = layout.tree(data.store)
    # As if it had come on another day.
    older = data.store / "2020" / "01" / "02" / path.parent.name / path.name
    older.parent.mkdir(parents=True)
    path.rename(older)
    with index.write() as connection:
        place = str(older.relative_to(data.root))
        connection.execute(tables.instance.update().values(path=place))
    older.write_bytes(older.read_bytes()[:-1])
    upkeep.scrub_store(data, index)
    stored.send(receiver, made)
    stored.file_all(data, index)
    assert list(layout.tree(data.store)) == [path]
    assert upkeep.scrub_store(data, index, anew=True).findings == ()
