"""Conflicts and quarantine: a person releases, replaces or discards, and everything stays accounted for."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Iterator

import pytest

from node import aside as deciding
from node import errors, evaluate, model, rebuild, receive, upkeep
from node.files import layout, position
from node.index import aside, audit, compare, db, tables
from tests import make, stored

ODD = receive.Sender("ODD", "NODE", "192.0.2.7", "peer", "assoc-2")
RULES = (model.Rule("look", model.Action.QUARANTINE, "odd", when=evaluate.of({"source": "ODD"})),)


@dataclasses.dataclass(frozen=True)
class Parts:
    data: layout.Data
    index: db.Database
    receiver: receive.Receiver

    def file(self) -> bool:
        stored.file_all(self.data, self.index, RULES)
        return True

    def entries(self, uid: str = "") -> list[aside.Entry]:
        with self.index.read() as connection:
            if uid:
                return aside.named(connection, uid)
            return [one for kind in aside.Kind for one in aside.each(connection, kind)]

    def release(self, uid: str, settle: Callable[[], bool] | None = None) -> deciding.Settled:
        return deciding.release(
            self.receiver,
            self.data,
            self.index,
            self.entries(uid),
            who="a person",
            why="looked at",
            settle=settle or self.file,
        )

    def replace(self, uid: str, take: object = None) -> deciding.Settled:
        (entry,) = self.entries(uid)
        return deciding.replace(
            take or self.receiver,  # type: ignore[arg-type]
            self.data,
            self.index,
            entry,
            who="a person",
            why="cut short",
            settle=self.file,
        )

    def discard(self, uid: str) -> deciding.Settled:
        return deciding.discard(self.data, self.index, self.entries(uid), who="a person", why="a test image")

    def deletions(self) -> list[tuple[object, ...]]:
        rows = stored.rows(self.index, tables.deletion)
        return sorted((row["kind"], row["sop_instance"], row["who"], row["why"]) for row in rows)


@pytest.fixture
def parts(tmp_path: pathlib.Path) -> Iterator[Parts]:
    data = stored.data(tmp_path / "data")
    with stored.database(data) as index, stored.receiver(data) as receiver:
        yield Parts(data, index, receiver)


@pytest.fixture
def proven(parts: Parts, tmp_path: pathlib.Path) -> Iterator[Parts]:
    """After the test: all is accounted for, tree and index agree, and a rebuild makes the same index."""
    yield parts
    with parts.index.read() as connection:
        assert list(audit.unaccounted(connection)) == []
    assert list(upkeep.deep_audit(parts.data, parts.index)) == []
    assert upkeep.scrub_store(parts.data, parts.index, anew=True).findings == ()
    target = db.open(f"sqlite:///{tmp_path / 'again.sqlite'}")
    stored.migrate.upgrade(target, lambda _: None)
    try:
        assert rebuild.make(parts.data, target).skipped == ()
        assert compare.compare(parts.index, target) == []
    finally:
        target.close()


def quarantined(parts: Parts, *made: make.Made) -> None:
    for one in made:
        stored.send(parts.receiver, one, ODD)
    parts.file()


def conflict(parts: Parts, seed: str = "conflict") -> tuple[make.Made, make.Made]:
    """What is held, and what came after it; each came twice."""
    (first,) = make.series(1, seed=seed)
    second = make.altered(first)
    for one in (first, second, first, second):
        stored.send(parts.receiver, one)
    parts.file()
    return first, second


def test_they_are_listed_with_what_a_person_must_know(proven: Parts) -> None:
    first, second = conflict(proven)
    (odd,) = make.series(1, seed="odd")
    quarantined(proven, odd)
    beside, away = proven.entries()
    assert (beside.kind, beside.digest, beside.held) == ("conflict", second.digest, first.digest)
    assert (beside.source, beside.sop_instance, beside.series) == ("SENDER", first.sop_instance, first.series)
    assert (away.kind, away.rule, away.reason, away.held) == ("quarantine", "look", "odd", None)
    assert (away.source, away.peer, away.digest) == ("ODD", "peer", odd.digest)
    assert proven.data.place(away.path).read_bytes()[away.offset :] == odd.data
    assert [one.key for one in proven.entries(first.study)] == [beside.key]


@pytest.mark.parametrize("size", [4096, 2 << 20])
def test_a_released_instance_is_held_though_the_rule_still_stands(proven: Parts, size: int) -> None:
    (odd,) = make.series(1, seed="odd", size=size)
    quarantined(proven, odd, odd)
    settled = proven.release(odd.sop_instance)
    assert ([one.digest for one in settled.done], settled.left, settled.files) == ([odd.digest], (), 1)
    assert stored.bodies(proven.data, proven.index) == {odd.sop_instance: odd.data}
    assert list(layout.tree(proven.data.quarantine)) == []
    (row,) = stored.rows(proven.index, tables.instance)
    assert (row["source"], row["peer"], row["rule"]) == ("ODD", "peer", "")
    (path,) = layout.tree(proven.data.store)
    assert layout.read_head(path)[0].note == "released by a person"
    assert proven.deletions() == [
        ("quarantine", odd.sop_instance, "a person", "released into the store: looked at")
    ]
    verdicts = sorted(str(row["verdict"]) for row in stored.rows(proven.index, tables.arrival))
    assert verdicts == ["quarantined", "quarantined", "stored"]


def test_a_whole_series_is_released_and_can_be_quarantined_again(proven: Parts) -> None:
    odd = make.series(5, seed="odd")
    quarantined(proven, *odd)
    assert len(proven.release(odd[0].series).done) == 5
    quarantined(proven, odd[0])
    (again,) = proven.entries()
    assert again.held == odd[0].digest
    # It is held already: nothing is stored twice.
    assert len(proven.release(odd[0].sop_instance).done) == 1
    assert len(stored.rows(proven.index, tables.arrival)) == 5 + 5 + 1


def test_a_release_that_broke_off_is_ended_by_the_next(proven: Parts) -> None:
    (odd,) = make.series(1, seed="odd")
    quarantined(proven, odd)
    with pytest.raises(errors.DatabaseUnavailable, match="release it again"):
        proven.release(odd.sop_instance, settle=lambda: False)
    proven.file()
    assert [one.held for one in proven.entries()] == [odd.digest]
    assert len(proven.release(odd.sop_instance).done) == 1
    assert stored.bodies(proven.data, proven.index) == {odd.sop_instance: odd.data}
    assert len(stored.rows(proven.index, tables.arrival)) == 2


def test_a_release_never_touches_what_is_held_with_other_bytes(proven: Parts) -> None:
    first, second = conflict(proven)
    settled = proven.release(first.sop_instance)
    assert settled.done == ()
    ((entry, why),) = settled.left
    assert entry.digest == second.digest
    assert f"{first.digest} is held" in why
    assert "dicom-node aside replace" in why
    assert stored.bodies(proven.data, proven.index) == {first.sop_instance: first.data}
    assert len(proven.entries()) == 1
    assert proven.deletions() == []


def test_two_with_the_same_uids_are_not_released_together(proven: Parts) -> None:
    (odd,) = make.series(1, seed="odd")
    quarantined(proven, odd, make.altered(odd))
    with pytest.raises(errors.UsageError, match="say which with --digest"):
        proven.release(odd.sop_instance)
    assert len(proven.entries()) == 2


@pytest.mark.parametrize("size", [4096, 2 << 20])
def test_a_conflict_takes_the_place_of_the_first(proven: Parts, size: int) -> None:
    (first,) = make.series(1, seed="conflict", size=size)
    others = make.series(3, seed="conflict")[1:]
    second = make.altered(first)
    for one in (first, second, first, second, *others):
        stored.send(proven.receiver, one)
    proven.file()
    settled = proven.replace(first.sop_instance)
    assert ([one.digest for one in settled.done], settled.left) == ([second.digest], ())
    held = stored.bodies(proven.data, proven.index)
    assert held == {one.sop_instance: one.data for one in (second, *others)}
    assert list(layout.tree(proven.data.conflicts)) == []
    assert len(list(layout.tree(proven.data.store))) == 3
    uid = first.sop_instance
    assert proven.deletions() == [
        ("conflict", uid, "a person", "released into the store: cut short"),
        ("instance", uid, "a person", f"replaced by {second.digest}: cut short"),
    ]
    # And when the first comes once more, it is the conflict.
    stored.send(proven.receiver, first)
    proven.file()
    (entry,) = proven.entries()
    assert (entry.digest, entry.held) == (first.digest, second.digest)


class Full:
    """A receiver without room."""

    def import_file(self, *_: object, **__: object) -> None:
        raise errors.StorageFull("no room, on purpose")


def test_a_replacement_that_broke_off_is_ended_by_a_release(proven: Parts) -> None:
    first, second = conflict(proven)
    with pytest.raises(errors.StorageFull):
        proven.replace(first.sop_instance, Full())
    assert stored.bodies(proven.data, proven.index) == {}
    (entry,) = proven.entries()
    assert (entry.digest, entry.held) == (second.digest, None)
    assert len(proven.release(first.sop_instance).done) == 1
    assert stored.bodies(proven.data, proven.index) == {second.sop_instance: second.data}


def test_what_is_damaged_replaces_nothing_and_is_not_released(parts: Parts) -> None:
    first, _ = conflict(parts)
    (odd,) = make.series(1, seed="odd")
    quarantined(parts, odd)
    for entry in parts.entries():
        path = parts.data.place(entry.path)
        path.write_bytes(path.read_bytes()[:-1] + b"\x55")
    with pytest.raises(errors.BadData, match="the digest is"):
        parts.replace(first.sop_instance)
    ((_, why),) = parts.release(odd.sop_instance).left
    assert "the digest is" in why
    assert stored.bodies(parts.data, parts.index) == {first.sop_instance: first.data}
    assert parts.deletions() == []
    found = upkeep.scrub_store(parts.data, parts.index)
    assert (found.instances, [one.state for one in found.findings]) == (3, ["corrupt", "corrupt"])


def test_what_is_discarded_leaves_its_audit_row_and_no_file(proven: Parts) -> None:
    first, second = conflict(proven)
    (odd,) = make.series(1, seed="odd", size=2 << 20)
    quarantined(proven, odd, odd)
    for uid in (first.sop_instance, odd.series):
        settled = proven.discard(uid)
        assert (len(settled.done), settled.left, settled.files) == (1, (), 1)
    assert proven.entries() == []
    assert [*layout.tree(proven.data.conflicts), *layout.tree(proven.data.quarantine)] == []
    assert stored.bodies(proven.data, proven.index) == {first.sop_instance: first.data}
    assert proven.deletions() == [
        ("conflict", first.sop_instance, "a person", "a test image"),
        ("quarantine", odd.sop_instance, "a person", "a test image"),
    ]
    # It may come again, and is set aside again.
    stored.send(proven.receiver, second)
    proven.file()
    assert [one.digest for one in proven.entries()] == [second.digest]


def test_what_was_decided_stays_so_when_the_journal_is_read_again(proven: Parts) -> None:
    slot = position.Position(proven.data.slot("listen-1") / "position")
    words = {word: slot.get(word) for word in (position.ADOPTED, position.SYNCED)}
    first, second = conflict(proven)
    other, _ = conflict(proven, "another")
    odd = make.series(2, seed="odd")
    quarantined(proven, *odd)
    proven.replace(first.sop_instance)
    proven.discard(other.sop_instance)
    proven.release(odd[0].sop_instance)
    proven.discard(odd[1].sop_instance)
    held = stored.bodies(proven.data, proven.index)
    assert set(held) == {second.sop_instance, other.sop_instance, odd[0].sop_instance}
    # As after a power loss before the first checkpoint.
    for word, place in words.items():
        slot.set(word, place)
    slot.close()
    assert stored.file_all(proven.data, proven.index, RULES) == 12
    assert stored.bodies(proven.data, proven.index) == held
    assert proven.entries() == []


def test_a_decision_needs_a_reason(parts: Parts) -> None:
    (odd,) = make.series(1, seed="odd")
    quarantined(parts, odd)
    with pytest.raises(errors.UsageError, match="needs a reason"):
        deciding.discard(parts.data, parts.index, parts.entries(), who="a person", why=" ")
    assert len(parts.entries()) == 1


def test_what_somebody_else_decided_is_left(parts: Parts) -> None:
    (odd,) = make.series(1, seed="odd")
    quarantined(parts, odd)
    seen = parts.entries()
    parts.discard(odd.sop_instance)
    settled = deciding.discard(parts.data, parts.index, seen, who="another", why="late")
    assert settled.done == ()
    assert [why for _, why in settled.left] == ["somebody else decided it meanwhile"]
    assert len(parts.deletions()) == 1


def test_a_scrub_goes_on_among_what_was_set_aside(parts: Parts) -> None:
    conflict(parts)
    odd = make.series(2, seed="odd")
    quarantined(parts, *odd)
    pages: list[int] = []
    first = upkeep.scrub_store(
        parts.data,
        parts.index,
        stop=lambda: len(pages) == 2,
        seen=lambda instances, _size: pages.append(instances),
    )
    assert (first.complete, pages) == (False, [1, 2])
    second = upkeep.scrub_store(parts.data, parts.index)
    assert (second.complete, second.instances) == (True, 2)
