"""What workers that died wrote in their books and did not live to tell the index."""

from __future__ import annotations

import dataclasses
import datetime
import pathlib
from collections.abc import Iterator, Sequence

import sqlalchemy

from node import orders
from node.files import book, layout
from node.index import bulk, db, outcomes

_BATCH = 500  # lines in one transaction


def recover(database: db.Database, data: layout.Data) -> int:
    """Tell the index what is in the books of workers that are gone; how many lines they had.

    Call it before work is claimed or taken over: what a destination has said it has is not sent again.
    """
    lines = 0
    with book.abandoned(data) as paths:
        for path in paths:
            for batch in _batches(path):
                lines += len(batch)
                with database.write() as connection:
                    _tell(connection, batch)
            book.put_away(path)
    return lines


def _batches(path: pathlib.Path) -> Iterator[list[book.Said]]:
    batch: list[book.Said] = []
    for said in book.read(path):
        if said is not None:
            batch.append(said)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


_NAMED = "SELECT key, sop_instance, destination FROM delivery WHERE key IN (?*)"
_SOUGHT = (
    "SELECT delivery.key FROM consignment JOIN delivery ON delivery.consignment_key = consignment.key"
    " WHERE consignment.series = ? AND consignment.study = ? AND delivery.sop_instance = ?"
    " AND delivery.destination = ? ORDER BY delivery.key DESC LIMIT 1"
)


def _tell(connection: sqlalchemy.Connection, batch: Sequence[book.Said]) -> None:
    rows = bulk.listed(connection, _NAMED, [said.attempt.delivery for said in batch])
    known = {row[0]: (row[1], row[2]) for row in rows}
    attempts: list[orders.Attempt] = []
    for said in batch:
        key: int | None = said.attempt.delivery
        if known.get(said.attempt.delivery) != (said.sop_instance, said.destination):
            # The index was made anew since, and has other keys.
            values = (said.series, said.study, said.sop_instance, said.destination)
            key = bulk.run(connection, _SOUGHT, *values).scalar()
        if key is not None:
            attempts.append(dataclasses.replace(said.attempt, delivery=key))
    outcomes.record(connection, 0, attempts, datetime.datetime.now(datetime.UTC))
