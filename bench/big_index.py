"""An index with millions of rows, made once through the node's own ingest and kept beside the corpora."""

from __future__ import annotations

import dataclasses
import datetime
import pathlib
import shutil

from bench import contestants, corpora
from node import model
from node.dicom import header
from node.files import layout
from node.index import db, ingest, migrate
from tests import make

BATCH = 250
PER_SERIES = 250
PER_STUDY = 1000


def prepared(rows: int) -> pathlib.Path:
    """Return an SQLite index that holds so many instances; it has no files behind it."""
    revision = migrate.revisions()[-1]
    path = corpora.HERE / f"index-{rows}-{revision}.db"
    if not path.exists():
        corpora.HERE.mkdir(exist_ok=True)
        unfinished = path.with_suffix(".new")
        for old in unfinished.parent.glob(unfinished.name + "*"):
            old.unlink()
        _fill(unfinished, rows)
        unfinished.replace(path)
    return path


def node_with(index: pathlib.Path) -> type[contestants.Node]:
    """Return our node, started upon a copy of that index."""

    class Full(contestants.Node):
        """Our node with a long history."""

        def command(self) -> list[str]:
            place = layout.database(self.folder / "data")
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(index, place)
            return super().command()

    return Full


def _fill(path: pathlib.Path, rows: int) -> None:
    made = corpora.instance(1, 4096)
    known = header.attributes(made.data, made.syntax)
    database = db.open(f"sqlite:///{path}")
    try:
        migrate.upgrade(database)
        for first in range(0, rows, BATCH):
            items = [_item(known, number, made.syntax) for number in range(first, min(first + BATCH, rows))]
            with database.write() as connection:
                decided = ingest.decide(connection, items)
                placed = [
                    dataclasses.replace(one, path=one.item.arrival.digest[7:], offset=0) for one in decided
                ]
                ingest.record(connection, placed)
            if first % 100_000 == 0:
                print(f"  index: {first:,} of {rows:,} rows", flush=True)
    finally:
        database.close()


def _item(known: header.Header, number: int, syntax: str) -> ingest.Item:
    study = make.uid("big", number // PER_STUDY)
    series = make.uid("big", number // PER_STUDY, number // PER_SERIES)
    identity = model.Identity(known.sop_class or "", make.uid("big", "image", number), study, series)
    when = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(seconds=number)
    arrival = model.Arrival(
        identity=identity,
        syntax=syntax,
        digest=f"sha256:{number:064x}",
        size=4096,
        calling="CT1",
        called="NODE",
        address="127.0.0.1",
        peer="",
        association=f"history-{number // 100}",
        received=when,
    )
    own = known._replace(
        sop_instance=identity.sop_instance,
        study=study,
        series=series,
        patient_id=f"SYN-{number // PER_STUDY:06d}",
    )
    return ingest.Item(arrival, own, slot="history", generation=1, position=number)
