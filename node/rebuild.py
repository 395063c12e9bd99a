"""The index made anew from the tree and the ledger, beside the old one, then swapped with it."""

from __future__ import annotations

import contextlib
import dataclasses
import mmap
import os
import pathlib
import time
from collections.abc import Callable, Iterator

from node import errors, failpoints, log, model
from node.dicom import header
from node.files import disk as disks
from node.files import layout, ledger
from node.index import db, ingest, migrate, remove, restore

_BATCH = 256
Progress = Callable[[int], None]  # told how many facts were taken in so far


def _quiet(_: object) -> None:
    """Tell nobody."""


@dataclasses.dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a rebuild found."""

    instances: int  # files of the store that have a row now
    aside: int  # conflicts and instances in quarantine
    facts: int  # lines of the ledger
    skipped: tuple[str, ...]  # what could not be taken in, with the reason


def make(data: layout.Data, target: db.Database, *, seen: Progress = _quiet) -> Rebuilt:
    """Fill an empty, migrated database from the tree and the ledger."""
    work = _Work(data, target, seen)
    # Deletions first: their arrivals are known then, and not taken for instances that are held.
    work.deletions()
    work.tree(data.store, model.Action.KEEP)
    instances = work.taken
    work.tree(data.conflicts, model.Action.KEEP)
    work.tree(data.quarantine, model.Action.QUARANTINE)
    aside = work.taken - instances
    work.arrivals()
    target.durable()
    return Rebuilt(instances, aside, work.taken - instances - aside, tuple(work.skipped))


def replace(
    data: layout.Data, path: pathlib.Path, *, seen: Progress = _quiet
) -> tuple[Rebuilt, pathlib.Path | None]:
    """Make the SQLite index at `path` anew; the old one is kept beside it, its name is returned.

    Only while no other process uses the index: hold `layout.owned` around the call.
    """
    began = time.monotonic()
    log.rebuild_started(data=data.root, database=str(path))
    fresh = path.with_name(path.name + ".rebuild")
    _remove(fresh)
    target = db.open(f"sqlite:///{fresh}")
    try:
        migrate.upgrade(target, _quiet)
        rebuilt = make(data, target, seen=seen)
        _carry(path, target)
        target.durable()
    finally:
        target.close()
    _settle(fresh)
    failpoints.hit("rebuild.before-swap")
    kept = _swap(path, fresh)
    log.rebuild_finished(
        instances=rebuilt.instances,
        seconds=round(time.monotonic() - began, 3),
        skipped=len(rebuilt.skipped),
    )
    return rebuilt, kept


def _carry(path: pathlib.Path, target: db.Database) -> None:
    """Open commitments and the like, when the old index can still be read."""
    if not path.exists():
        return
    old = db.open(f"sqlite:///{path}")
    try:
        restore.carry(old, target)
    except errors.NodeError as error:
        # That it cannot be read may be why it is made anew.
        log.database_error(what="reading the old index", error=error)
    finally:
        old.close()


def _settle(fresh: pathlib.Path) -> None:
    """Closed, a SQLite database is one file; anything else must not be swapped in."""
    for suffix in ("-wal", "-shm"):
        left = fresh.with_name(fresh.name + suffix)
        if left.exists() and left.stat().st_size and suffix == "-wal":
            raise errors.DatabaseUnavailable(f"{left} is still in use; try again")
        left.unlink(missing_ok=True)
    fd = os.open(fresh, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _swap(path: pathlib.Path, fresh: pathlib.Path) -> pathlib.Path | None:
    kept: pathlib.Path | None = None
    if path.exists():
        kept = path.with_name(f"{path.name}.before-{time.time_ns()}")
        # The old one whole, with what was not checkpointed yet, then the new one under its name.
        for suffix in ("-wal", "-shm", ""):
            old = path.with_name(path.name + suffix)
            if old.exists():
                os.rename(old, kept.with_name(kept.name + suffix))
    os.rename(fresh, path)
    disks.sync_directory(disks.Disk(), path.parent)
    return kept


def _remove(path: pathlib.Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


class _Work:
    """One rebuild."""

    def __init__(self, data: layout.Data, target: db.Database, seen: Progress) -> None:
        self.taken = 0
        self.skipped: list[str] = []
        self._data = data
        self._target = target
        self._seen = seen

    def deletions(self) -> None:
        known: set[int] = set()
        batch: list[restore.Deleted] = []
        for fact in ledger.read(self._data):
            if isinstance(fact, ledger.Damaged):
                self._skip(f"{fact.path} line {fact.number}", "cannot be read")
                continue
            if fact.get("kind") != ledger.DELETION:
                continue
            try:
                one = _deleted(fact)
            except (KeyError, TypeError, ValueError) as error:
                self._skip("a deletion in the ledger", repr(error))
                continue
            # A crash between the line and the row made the line again.
            if one.removed.deletion in known:
                continue
            known.add(one.removed.deletion)
            batch.append(one)
            if len(batch) == _BATCH:
                self._write_deletions(batch)
                batch = []
        self._write_deletions(batch)

    def _write_deletions(self, batch: list[restore.Deleted]) -> None:
        with self._target.write() as connection:
            restore.deletions(connection, batch)

    def tree(self, top: pathlib.Path, action: model.Action) -> None:
        """Rows for the files below `top`."""
        batch: list[tuple[ingest.Item, str, int]] = []
        for path in layout.tree(top):
            place = str(path.relative_to(self._data.root))
            try:
                facts, offset = layout.read_head(path)
                if layout.place(facts.arrival, facts.verdict) == place:
                    batch.append((_item(facts, _header(path, offset, facts), action), place, offset))
                else:
                    self._skip(place, "it lies where no instance of its name does")
            except (errors.BadData, OSError) as error:
                self._skip(place, str(error))
            if len(batch) == _BATCH:
                self._write_files(batch)
                batch = []
        self._write_files(batch)

    def _write_files(self, batch: list[tuple[ingest.Item, str, int]]) -> None:
        if not batch:
            return
        with self._target.write() as connection:
            decided = ingest.decide(connection, [item for item, _, _ in batch])
            rows = []
            for one, (item, place, offset) in zip(decided, batch, strict=True):
                # What it was said to be: the first that a conflict stood against may be gone since.
                said = model.Verdict.CONFLICT if place.startswith("conflicts/") else one.verdict
                wanted = _WANTED[place.partition("/")[0]]
                if one.replayed or said is not wanted:
                    self._skip(place, "another file holds this instance")
                    continue
                rows.append(ingest.Decided(item, said, held=one.held, path=place, offset=offset))
            ingest.record(connection, rows)
        self.taken += len(rows)
        self._seen(self.taken)

    def arrivals(self) -> None:
        """Rows for what was acknowledged and left no file: duplicates, discards."""
        batch: list[ingest.Decided] = []
        names: set[tuple[str, int, int]] = set()
        for fact in ledger.read(self._data):
            if isinstance(fact, ledger.Damaged) or fact.get("kind") != ledger.ARRIVAL:
                continue
            try:
                facts = layout.facts(fact)
            except (KeyError, TypeError, ValueError) as error:
                self._skip("an arrival in the ledger", repr(error))
                continue
            name = (facts.slot, facts.generation, facts.position)
            if name not in names:
                names.add(name)
                item = _item(facts, None, _ACTIONS[facts.verdict])
                batch.append(ingest.Decided(item, facts.verdict))
            if len(batch) == _BATCH:
                self._write_arrivals(batch)
                batch, names = [], set()
        self._write_arrivals(batch)

    def _write_arrivals(self, batch: list[ingest.Decided]) -> None:
        if not batch:
            return
        with self._target.write() as connection:
            known = ingest.decide(connection, [one.item for one in batch])
            fresh = [one for one, now in zip(batch, known, strict=True) if not now.replayed]
            lost = restore.arrivals(connection, fresh)
        for one in lost:
            uid = one.item.arrival.identity.sop_instance
            self._skip(
                f"the {one.verdict} {uid} in the ledger", "neither bytes nor a deletion account for it"
            )
        self.taken += len(fresh) - len(lost)
        self._seen(self.taken)

    def _skip(self, what: str, why: str) -> None:
        if len(self.skipped) < 10_000:
            self.skipped.append(f"{what}: {why}")


_WANTED = {
    "store": model.Verdict.STORED,
    "conflicts": model.Verdict.CONFLICT,
    "quarantine": model.Verdict.QUARANTINED,
}
_ACTIONS = {
    model.Verdict.STORED: model.Action.KEEP,
    model.Verdict.DUPLICATE: model.Action.KEEP,
    model.Verdict.CONFLICT: model.Action.KEEP,
    model.Verdict.DISCARDED: model.Action.DISCARD,
    model.Verdict.QUARANTINED: model.Action.QUARANTINE,
}


def _item(facts: layout.Facts, known: header.Header | None, action: model.Action) -> ingest.Item:
    return ingest.Item(
        facts.arrival,
        known,
        facts.slot,
        facts.generation,
        facts.position,
        action,
        facts.rule,
        facts.reason,
        facts.keep,
    )


def _deleted(fact: dict[str, object]) -> restore.Deleted:
    words = fact["removed"]
    if not isinstance(words, dict):
        raise TypeError("no removal")
    removed = remove.Removed(**words)
    words = fact.get("arrival")
    if not isinstance(words, dict):
        return restore.Deleted(removed, None)
    facts = layout.facts(words)
    decided = ingest.Decided(_item(facts, None, _ACTIONS[facts.verdict]), facts.verdict)
    return restore.Deleted(removed, decided)


def _header(path: pathlib.Path, offset: int, facts: layout.Facts) -> header.Header | None:
    """What the data set says; None when it cannot be read, as at its receipt."""
    with _mapped(path, offset) as body:
        try:
            return header.attributes(body, facts.arrival.syntax)
        except Exception as error:  # noqa: BLE001 - the adopter's edge: what broke the reader there breaks it here
            log.instance_unreadable(
                sop_instance=facts.arrival.identity.sop_instance, why=error, path=str(path)
            )
            return None


@contextlib.contextmanager
def _mapped(path: pathlib.Path, offset: int) -> Iterator[memoryview]:
    with open(path, "rb") as file:
        if os.fstat(file.fileno()).st_size <= offset:
            raise errors.BadData("its data set is missing")
        with (
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
            memoryview(mapped) as whole,
            whole[offset:] as body,
        ):
            yield body
