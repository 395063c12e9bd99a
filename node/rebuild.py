"""The index made anew from the tree and the ledger, beside the old one, then swapped with it."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import mmap
import os
import pathlib
import time
from collections.abc import Callable, Iterator

from node import errors, failpoints, log, model
from node.dicom import header
from node.files import layout, ledger
from node.index import (
    beside,
    commitment,
    db,
    events,
    ingest,
    migrate,
    overrides,
    remove,
    restore,
    steps,
    words,
    worklist,
)
from node.steps import presented

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


def make(
    data: layout.Data, target: db.Database, *, seen: Progress = _quiet, old: db.Database | None = None
) -> Rebuilt:
    """Fill an empty, migrated database from the tree and the ledger.

    `old`, where it can be read, is asked whether a removal that broke off was committed. Where nobody can
    say, it is carried out: somebody wanted it, and whoever did was perhaps told that it was done.
    """
    work = _Work(data, target, seen, old)
    # Deletions first: their arrivals are known then, and not taken for instances that are held.
    work.deletions()
    work.tree(data.store, model.Action.KEEP)
    instances = work.taken
    work.tree(data.conflicts, model.Action.KEEP)
    work.tree(data.quarantine, model.Action.QUARANTINE)
    aside = work.taken - instances
    work.arrivals()
    work.given()
    work.forwarding()
    target.durable()
    return Rebuilt(instances, aside, work.taken - instances - aside, tuple(work.skipped))


def replace(data: layout.Data, url: str, *, seen: Progress = _quiet) -> tuple[Rebuilt, str | None]:
    """Make the index at `url` anew; the old one is kept, and where it is now is returned.

    Only while no other process uses the index: hold `layout.owned` around the call.
    """
    began = time.monotonic()
    log.rebuild_started(data=data.root, database=url.partition("?")[0].rpartition("@")[2])
    place = beside.of(url)
    with contextlib.ExitStack() as stack:
        old = _readable(place)
        if old is not None:
            stack.callback(old.close)
        target = place.fresh()
        stack.callback(target.close)
        migrate.upgrade(target, _quiet)
        rebuilt = make(data, target, seen=seen, old=old)
        if old is not None:
            _carry(old, target)
        target.durable()
    failpoints.hit("rebuild.before-swap")
    kept = place.swap()
    log.rebuild_finished(
        instances=rebuilt.instances,
        seconds=round(time.monotonic() - began, 3),
        skipped=len(rebuilt.skipped),
    )
    return rebuilt, kept


def _readable(place: beside.Beside) -> db.Database | None:
    """The old index, when it can be read; that it cannot may be why it is made anew."""
    try:
        with beside.unreadable():
            old = place.old()
            if old is not None:
                migrate.status(old)
            return old
    except errors.NodeError as error:
        log.database_error(what="reading the old index", error=error)
        return None


def _carry(old: db.Database, target: db.Database) -> None:
    """What only the old index knows for certain; where it breaks off, what the ledger says of it stands."""
    try:
        with beside.unreadable():
            restore.carry(old, target)
    except errors.NodeError as error:
        log.database_error(what="reading the old index", error=error)


class _Work:
    """One rebuild."""

    def __init__(
        self, data: layout.Data, target: db.Database, seen: Progress, old: db.Database | None = None
    ) -> None:
        self.taken = 0
        self.skipped: list[str] = []
        self._data = data
        self._target = target
        self._seen = seen
        self._presenter = presented.Presenter(data)
        self._old = old
        self._doomed: set[str] = set()  # places of files that were to be unlinked and are still there

    def deletions(self) -> None:
        known: set[bytes] = set()
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
            name = _name(one.removed)
            if name in known:
                continue
            known.add(name)
            batch.append(self._left(one))
            if len(batch) == _BATCH:
                self._write_deletions(batch)
                batch = []
        self._write_deletions(batch)
        self._write_deletions([one for one in self._begun() if _name(one.removed) not in known])

    def _begun(self) -> Iterator[restore.Deleted]:
        """Removals that were committed, or may have been, and whose files nobody has unlinked yet."""
        for fact in ledger.read_intents(self._data):
            try:
                one = _deleted(fact)
            except (KeyError, TypeError, ValueError) as error:
                self._skip("a removal that was begun", repr(error))
                continue
            if self._came_about(one.removed):
                yield self._left(dataclasses.replace(one, arrival=self._arrival(one.removed)))

    def _came_about(self, removed: remove.Removed) -> bool:
        if self._old is None:
            return True
        try:
            with beside.unreadable(), self._old.read() as connection:
                return restore.committed(connection, removed)
        except errors.NodeError:
            return True

    def _arrival(self, removed: remove.Removed) -> ingest.Decided | None:
        """What the file that was to go says of its receipt, unless another came into its place."""
        try:
            facts, _ = layout.read_head(self._data.place(removed.path))
        except (OSError, errors.BadData):
            return None
        if words.moment(facts.arrival.received) > removed.at:
            return None
        return ingest.Decided(_item(facts, None, _ACTIONS[facts.verdict]), facts.verdict)

    def _left(self, one: restore.Deleted) -> restore.Deleted:
        """Say of a removal whether its file is still there."""
        try:
            if not self._data.place(one.removed.path).exists():
                return one
        except errors.BadData:
            return one
        self._doomed.add(one.removed.path)
        return dataclasses.replace(one, file_left=True)

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
                    known = self._header(path, offset, facts)
                    batch.append((_item(facts, known, action), place, offset))
                else:
                    self._skip(place, "it lies where no instance of its name does")
            except (errors.BadData, OSError) as error:
                self._skip(place, str(error))
            if len(batch) == _BATCH:
                self._write_files(batch)
                batch = []
        self._write_files(batch)

    def _header(self, path: pathlib.Path, offset: int, facts: layout.Facts) -> header.Header | None:
        """What the data set says as it is presented; None when it cannot be read, as at its receipt."""
        known = _header(path, offset, facts)
        if known is None or not facts.coercion:
            return known
        try:
            coercion = self._presenter.coercion(facts.coercion)
            with _mapped(path, offset) as body:
                return coercion.header(body, facts.arrival.syntax, facts.arrival, known)
        except errors.NodeError as error:
            # It is held, and it must not be shown as it came: nothing but its UIDs is known of it.
            uid = facts.arrival.identity.sop_instance
            self._skip(f"what {uid} is presented as", str(error))
            return None

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
                if one.replayed and place in self._doomed:
                    continue  # what was removed; the next sweep unlinks it
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

    def given(self) -> None:
        """Names, orders, commitments, the worklist and performed steps as the ledger has them."""
        batch: list[dict[str, object]] = []
        for fact in ledger.read(self._data):
            if not isinstance(fact, ledger.Damaged) and fact.get("kind") in _GIVEN:
                batch.append(fact)
            if len(batch) == _BATCH:
                self._write_given(batch)
                batch = []
        self._write_given(batch)

    def forwarding(self) -> None:
        """What was decided, owed and answered."""
        self.taken += events.make(self._data, self._target, self._skip)
        self._seen(self.taken)

    def _write_given(self, batch: list[dict[str, object]]) -> None:
        if not batch:
            return
        with self._target.write() as connection:
            for fact in batch:
                try:
                    _GIVEN[str(fact["kind"])](connection, fact)
                except (KeyError, TypeError, ValueError, errors.Permanent) as error:
                    self._skip(f"a {fact['kind']} in the ledger", repr(error))

    def _skip(self, what: str, why: str) -> None:
        if len(self.skipped) < 10_000:
            self.skipped.append(f"{what}: {why}")


_GIVEN = {
    ledger.SERIES_NAME: overrides.replay,
    ledger.IMAGE_NAME: overrides.replay,
    ledger.ORDER: overrides.replay,
    ledger.RESET: overrides.replay,
    ledger.COMMITMENT: commitment.replay,
    ledger.COMMITMENT_CLOSED: commitment.replay,
    ledger.WORKLIST: worklist.replay,
    ledger.WORKLIST_REMOVED: worklist.replay,
    ledger.STEP: steps.replay,
    ledger.STEP_CHANGED: steps.replay,
}
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


def _name(removed: remove.Removed) -> bytes:
    """What names a removal: everything but its key, which begins anew with each rebuild."""
    said = repr(dataclasses.replace(removed, deletion=0)).encode()
    return hashlib.blake2b(said, digest_size=16).digest()


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
        facts.coercion,
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
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    try:
        with memoryview(mapped) as whole, whole[offset:] as body:
            yield body
    finally:
        # A view of it may be left in a traceback; the mapping goes when that does.
        with contextlib.suppress(BufferError):
            mapped.close()
