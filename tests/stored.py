"""A data directory with the parts that make instances durable, as a node has them, without the network."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Iterator, Sequence

import sqlalchemy

from node import adopt, model, receive
from node.files import disk as disks
from node.files import layout
from node.index import db, migrate, tables
from tests import make

SENDER = receive.Sender("SENDER", "NODE", "192.0.2.1", "", "assoc-1")
SMALL = 1 << 20  # a journal of three small segments


def data(root: pathlib.Path) -> layout.Data:
    """A data directory with an index."""
    found = layout.Data(root)
    found.make()
    return found


@contextlib.contextmanager
def database(of: layout.Data) -> Iterator[db.Database]:
    """Its index, open."""
    opened = db.open(layout.database_url(of.root))
    try:
        migrate.upgrade(opened, lambda _: None)
        yield opened
    finally:
        opened.close()


@contextlib.contextmanager
def receiver(of: layout.Data, slot: str = "listen-1", *, size: int = SMALL) -> Iterator[receive.Receiver]:
    """A process that acknowledges."""
    opened = receive.Receiver.open(of, slot, size=size, reserve=0)
    try:
        yield opened
    finally:
        opened.close()


def send(to: receive.Receiver, made: make.Made, sender: receive.Sender = SENDER) -> model.Arrival:
    """One instance, in fragments as the network brings them."""
    incoming = to.begin(made.sop_class, made.sop_instance, made.syntax, sender)
    view = memoryview(made.data)
    for at in range(0, len(view), 100_000):
        incoming.write(view[at : at + 100_000])
    return incoming.commit()


def file_all(
    of: layout.Data,
    index: db.Database,
    rules: Sequence[model.Rule] = (),
    coercions: Sequence[model.Coercion] = (),
    *,
    disk: disks.Disk | None = None,
    patience: float | None = 5.0,
) -> int:
    """Adopt what is acknowledged, as `dicom-node` commands do."""
    adopter = adopt.Adopter(of, index, rules, coercions, disk=disk)
    try:
        return adopter.once(patience=patience)
    finally:
        adopter.close()


def rows(index: db.Database, table: sqlalchemy.Table) -> list[dict[str, object]]:
    """Every row of a table."""
    with index.read() as connection:
        return [dict(row) for row in connection.execute(sqlalchemy.select(table)).mappings()]


def bodies(of: layout.Data, index: db.Database) -> dict[str, bytes]:
    """By SOP Instance UID, the data set of every instance that the index says is held."""
    found: dict[str, bytes] = {}
    for row in rows(index, tables.instance):
        raw = of.place(str(row["path"])).read_bytes()
        found[str(row["sop_instance"])] = raw[int(str(row["offset"])) :]
    return found
