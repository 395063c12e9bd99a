"""From what was asked for to what is sent: the chosen instances, in order, one at a time.

C-MOVE and C-GET share this. What is damaged or gone is named and never sent; what a destination's coercion
changes is changed while it is sent.
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence

from node import errors, model
from node.dicom import uids
from node.files import journal, layout
from node.index import db, retrieval, words
from node.send import base
from node.steps import coerce, outgoing, presented

PATIENCE = 3.0  # seconds that everything acknowledged before gets to be filed
BARRIER = 10.0  # seconds more for what came from senders that are done
MOST_LISTED = 50_000  # UIDs in one request

LEVELS = tuple(model.Level)


def query(
    level: str,
    keys: Mapping[str, str],
    *,
    top: model.Level = model.Level.STUDY,
    bottom: model.Level = model.Level.IMAGE,
    relational: bool = False,
) -> model.Query:
    """The query of a retrieval; UsageError for one that could mean more, or less, than its unique keys say.

    `top` and `bottom` are the levels of the query model. `keys` holds what was given, "" for a key without a
    value. Relational, the keys above the level may be left out.
    """
    levels = LEVELS[LEVELS.index(top) : LEVELS.index(bottom) + 1]
    if level not in tuple(levels):
        known = ", ".join(levels)
        raise errors.UsageError(
            f"level {level[:16]!r} is not one of {known}" if level else "there is no level"
        )
    asked = model.Level(level)
    chosen: dict[str, str] = {}
    for one in levels[: levels.index(asked) + 1]:
        keyword = model.UNIQUE[one]
        given = keys.get(keyword)
        # A patient without an id can only be meant by an empty one.
        if given or (given == "" and one is model.Level.PATIENT and one is not asked):
            if given:
                chosen[keyword] = _value(keyword, given, several=one is asked)
        elif one is asked or not relational:
            raise errors.UsageError(f"there is no {keyword}")
    below = [model.UNIQUE[one] for one in LEVELS[LEVELS.index(asked) + 1 :] if keys.get(model.UNIQUE[one])]
    if below:
        raise errors.UsageError(f"{below[0]} does not belong to level {asked}")
    return model.Query(asked, chosen)


def _value(keyword: str, given: str, *, several: bool) -> str:
    """The value as the index is asked for it."""
    values = [one.strip(" \0") for one in given.split("\\")]
    values = [one for one in values if one]
    if not values:
        raise errors.UsageError(f"there is no {keyword}")
    if len(values) > (MOST_LISTED if several and keyword != "PatientID" else 1):
        raise errors.UsageError(f"{keyword} has {len(values)} values")
    for one in values:
        if keyword == "PatientID":
            if "*" in one or "?" in one:
                raise errors.UsageError("PatientID has a wildcard")
        elif not uids.valid(one):
            raise errors.UsageError(f"{keyword} is no UID, or no list of them")
    return "\\".join(values)


class Retriever:
    """Finds what was asked for; safe to share between threads."""

    def __init__(self, data: layout.Data, database: db.Database) -> None:
        self._data = data
        self._database = database
        self._presenter = presented.Presenter(data)

    def choose(self, wanted: model.Query, coercion: coerce.Coercion | None = None) -> Chosen:
        """The instances that are meant, all that was acknowledged until now; copies go through `coercion`.

        Raises DatabaseUnavailable when they cannot be told.
        """
        # Who sends at full speed is seconds ahead of what is filed, and is not done with its study either.
        filed = journal.barrier(self._data, PATIENCE) or journal.barrier(self._data, BARRIER, ended=True)
        if not filed:
            raise errors.DatabaseUnavailable(
                f"what was acknowledged before is not filed after {BARRIER:g} s: does the adopter run?"
            )
        with self._database.read() as connection:
            found = retrieval.choose(connection, wanted)
        return Chosen(self._data, self._database, self._presenter, found, coercion)


class Chosen:
    """What a retrieval sends: known by number and kind at once, read page by page as it goes out."""

    def __init__(
        self,
        data: layout.Data,
        database: db.Database,
        presenter: presented.Presenter,
        found: retrieval.Chosen,
        coercion: coerce.Coercion | None = None,
    ) -> None:
        self.total = len(found.keys) + len(found.lost)  # instances, sent or not
        self.studies = found.studies  # Study Instance UIDs, the first hundred of them
        self.broken = ""  # why the items ended before their end
        self._lost = dict(enumerate(found.lost, -len(found.lost)))
        self._firsts = [base.Item(kind, "", syntax, pathlib.Path(), 0, 0) for kind, syntax in found.kinds]
        self._keys = found.keys
        self._data = data
        self._database = database
        self._presenter = presenter
        self._coercion = coercion
        self._renamed: dict[str, str] = {}  # SOP Instance UID as sent -> as held

    def lost(self, after: int = 0) -> Sequence[retrieval.Lost]:
        """What is not sent, and why, but for the first so many; it grows while the items are taken."""
        return () if after == len(self._lost) else list(self._lost.values())[after:]

    def stream(self, until: Callable[[], bool] = bool) -> base.Stream:
        """What is to be sent, in order, until that is true."""
        return base.Stream(self._firsts, lambda: self._items(until), until)

    def held_as(self, item: base.Item) -> str:
        """The SOP Instance UID under which an item is held."""
        return self._renamed.get(item.sop_instance, item.sop_instance)

    def _items(self, until: Callable[[], bool]) -> Iterator[base.Item]:
        for keys in retrieval.pages(self._keys):
            if until():
                return
            try:
                with self._database.read() as connection:
                    rows, gone = retrieval.page(connection, keys)
            except errors.DatabaseUnavailable as error:
                self.broken = str(error)
                return
            self._lost |= gone
            for row in rows:
                if until():
                    return
                item = self._item(row)
                if item is not None:
                    yield item

    def _item(self, row: retrieval.Row) -> base.Item | None:
        try:
            item = base.Item(
                row.sop_class,
                row.sop_instance,
                row.syntax,
                self._data.place(row.path),
                row.offset,
                row.size,
                self._presenter.change(row.coercion, words.when(row.received)) if row.coercion else None,
            )
            if self._coercion is None:
                return item
            made = outgoing.through(item, self._coercion)
        except errors.NodeError as error:
            self._lost[row.key] = retrieval.Lost(row.sop_instance, presented.discreet(error))
            return None
        except OSError as error:
            self._lost[row.key] = retrieval.Lost(row.sop_instance, error.strerror or str(error))
            return None
        if made.sop_instance != item.sop_instance:
            self._renamed[made.sop_instance] = item.sop_instance
        return made
