"""The worklist: the folder and the table together for who asks, the table alone for who changes it."""

from __future__ import annotations

import datetime
import pathlib
import secrets
from collections.abc import Iterator

import sqlalchemy

from node import errors, log, model
from node.dicom import identifier, mpps, worklist
from node.files import worklist as folders
from node.index import db, steps, witness
from node.index import worklist as table

MOST = 50_000  # entries of the table that one query looks through
_AT_ONCE = 500  # entries that are taken away in one transaction


class TooMany(errors.Transient):
    """A query is about more entries than are looked through."""


class Lists:
    """What is on the worklist, for queries; safe to share between threads."""

    def __init__(self, database: db.Database, settings: model.WorklistSettings) -> None:
        self._database = database
        self._folder: folders.Folder | None = None
        self._failing = False  # the folder; told once
        self.apply(settings)

    def apply(self, settings: model.WorklistSettings) -> None:
        """Take other settings."""
        self._hide = settings.finished is model.Finished.HIDE
        if settings.folder is None:
            self._folder = None
        elif self._folder is None or self._folder.path != settings.folder:
            self._folder = folders.Folder(settings.folder, _skipped)

    def find(self, question: worklist.Question, called: str) -> Iterator[worklist.Entry]:
        """The entries that are meant, in the order in which they begin, with the status that was reported."""
        found = [entry for entry in self._filed(called) if question.matches(entry)]
        with self._database.read() as connection:
            listed = table.candidates(connection, question.asked, most=MOST + 1, completed=not self._hide)
            if len(listed) > MOST:
                # The first of them would look like all there are.
                raise TooMany(f"more than {MOST} entries to look through: ask for a day, or a patient")
            found += [entry for entry in listed if question.matches(entry)]
            states = steps.of_studies(connection, {entry.study for entry in found})
        for entry in sorted(found, key=lambda one: one.order):
            reached = states.get((entry.study, entry.step_id), frozenset())
            if self._hide and _finished(reached):
                continue
            shown = worklist.progressed(entry, reached)
            if question.wants(worklist.text(shown.step, worklist.STATUS)):
                yield shown

    def _filed(self, called: str) -> list[worklist.Entry]:
        folder = self._folder
        if folder is None:
            return []
        try:
            found = folder.entries(called)
        except errors.StorageFailed as error:
            if not self._failing:
                log.worklist_failed(path=str(folder.path), error=error)
            self._failing = True
            # Half of the list would look like all of it.
            raise
        self._failing = False
        return found


def _finished(states: frozenset[mpps.State]) -> bool:
    reached = worklist.reached_of(states)
    return reached is not None and reached.final


def _skipped(path: pathlib.Path, why: str) -> None:
    log.worklist_file_skipped(path=str(path), why=why)


class Desk:
    """Where entries of the table are added, replaced and removed, each change durable and on record."""

    def __init__(self, database: db.Database, ledgers: witness.Witness | None = None) -> None:
        self._database = database
        self._ledgers = ledgers  # without one, what the index loses is lost

    def add(self, fields: identifier.Fields, *, by: str) -> worklist.Entry:
        """Add an entry under a name of ours; raises UsageError or Taken."""
        entry = worklist.checked(fields, f"wl-{secrets.token_hex(6)}")
        self._put(entry, by=by, new=True)
        return entry

    def put(
        self, name: str, fields: identifier.Fields, *, by: str, new: bool = False
    ) -> tuple[worklist.Entry, bool]:
        """Add an entry under a name, or replace the one of that name; the entry, and whether it was added.

        A replacement that does not say which study it is about keeps the one it was about.
        """
        worklist.check_name(name)
        held = self.get(name)
        entry = worklist.checked(fields, name, held.entry.study if held is not None else "")
        return entry, self._put(entry, by=by, new=new)

    def remove(self, name: str, *, by: str) -> worklist.Entry:
        """Take an entry away; raises NotFound."""
        with self._database.write() as connection:
            gone = table.remove(connection, name, self._ledgers)
        if gone is None:
            raise _unknown(name)
        self._database.durable()
        log.worklist_changed(entry=name, change="removed", by=by, study=gone.study)
        return gone

    def expire(self, seconds: float) -> int:
        """Take away entries that began, and were written last, longer ago than this; how many."""
        before = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=seconds)
        total = 0
        while True:
            with self._database.write() as connection:
                gone = table.expire(connection, before, most=_AT_ONCE, ledgers=self._ledgers)
            total += gone
            if gone < _AT_ONCE:
                break
        if total:
            log.worklist_expired(entries=total, before=before.date().isoformat())
        return total

    def get(self, name: str) -> table.Row | None:
        """One entry."""
        with self._database.read() as connection:
            return table.get(connection, name)

    def known(self, name: str) -> tuple[table.Row, mpps.State | None]:
        """One entry, and how far the work on it is; raises NotFound."""
        with self._database.read() as connection:
            row = table.get(connection, name)
            if row is None:
                raise _unknown(name)
            ((_, reached),) = _with_states(connection, [row])
            return row, reached

    def page(self, *, limit: int, offset: int = 0) -> tuple[list[tuple[table.Row, mpps.State | None]], int]:
        """Entries in the order in which they begin, how far the work on each is, and how many there are."""
        with self._database.read() as connection:
            rows = table.page(connection, limit=limit, offset=offset)
            return _with_states(connection, rows), table.count(connection)

    def _put(self, entry: worklist.Entry, *, by: str, new: bool) -> bool:
        now = datetime.datetime.now(datetime.UTC)
        with self._database.write() as connection:
            added = table.put(connection, entry, by=by, now=now, new=new, ledgers=self._ledgers)
        self._database.durable()
        change = "added" if added else "replaced"
        log.worklist_changed(entry=entry.name, change=change, by=by, study=entry.study)
        return added


def _with_states(
    connection: sqlalchemy.Connection, rows: list[table.Row]
) -> list[tuple[table.Row, mpps.State | None]]:
    states = steps.of_studies(connection, {row.entry.study for row in rows})
    return [
        (row, worklist.reached_of(states.get((row.entry.study, row.entry.step_id), frozenset())))
        for row in rows
    ]


def _unknown(name: str) -> errors.NotFound:
    return errors.NotFound(f"there is no entry {name[:64]!r} in the table: see `dicom-node worklist list`")
