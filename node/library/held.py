"""Series that a node on this machine holds."""

from __future__ import annotations

import contextlib
import os
import pathlib
import tempfile
import urllib.parse
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from node import errors
from node.library import looking
from node.loading import headers as loading
from node.volume import table
from node.volume.sorting import sort

if TYPE_CHECKING:
    import sqlalchemy

    from node.files import layout
    from node.send import base

SCHEME = "dicom-node"


def frames(url: str, order: Sequence[str]) -> tuple[table.Table, looking.Files]:
    """The frames of the series that an address names, and the way back to their headers.

    No file is opened where the index says all that the order asks for. Instances that the node presents
    otherwise than it stores them are read as they are presented. Raises UsageError and NotFound.
    """
    uid, folder = _address(url)
    from node.files import layout  # only a node's data directory needs a database
    from node.index import frames as indexed
    from node.index import naming

    data = layout.Data(folder)
    wanted = sort.needs(order)
    with _index(folder) as connection:
        series = naming.uid(connection, uid)
        found: table.Table = indexed.table(connection, indexed.key(connection, series), place=data.place)
        items = _items(connection, series, data)
        enough = not indexed.enough(found) and all(name in found for name in wanted)
    if any(item.change is not None for item in items):
        from node import gathering

        with contextlib.ExitStack() as kept:
            apart = kept.enter_context(tempfile.TemporaryDirectory(prefix="dicom-node-"))
            files = gathering.files(items, pathlib.Path(apart))
            return loading.read(files, extra=wanted), looking.Files(looking.Kept(kept.pop_all()))
    if not enough:
        found = loading.read([str(item.path) for item in items], extra=wanted)
    return found, looking.Files()


def _address(url: str) -> tuple[str, pathlib.Path]:
    """The series' UID and the data directory that an address names."""
    parts = urllib.parse.urlsplit(url)
    uid = urllib.parse.parse_qs(parts.query).get("series", [parts.netloc])[0]
    root = urllib.parse.unquote(parts.path) or os.environ.get("DICOM_NODE_DATA", "")
    if not uid or not root or (parts.netloc and uid != parts.netloc):
        raise errors.UsageError(
            f"{url!r} is no series of a node: write {SCHEME}:///DATA/DIRECTORY?series=UID,"
            f" or {SCHEME}://UID with the directory in DICOM_NODE_DATA"
        )
    return uid, pathlib.Path(root).absolute()


@contextlib.contextmanager
def _index(folder: pathlib.Path) -> Iterator[sqlalchemy.Connection]:
    """The index, read at one moment; raises NotFound when there is none, UsageError when it is too old."""
    from node.files import layout
    from node.index import db, migrate

    address = os.environ.get("DICOM_NODE_STORAGE__DATABASE") or layout.database_url(folder)
    path = db.path_of(address)
    if path is not None and not path.exists():
        raise errors.NotFound(f"{folder} is no data directory of a node: it has no {path.name}")
    with contextlib.closing(db.open(address)) as database:
        status = migrate.status(database)
        if status.pending:
            raise errors.UsageError(
                "the node's database is of another version: `dicom-node migrate` upgrades it"
            )
        with database.read() as connection:
            yield connection


def _items(connection: sqlalchemy.Connection, series: str, data: layout.Data) -> list[base.Item]:
    """What is sent of the series, as it is presented."""
    from node import model
    from node.index import retrieval, words
    from node.send import base
    from node.steps import presented

    presenter = presented.Presenter(data)
    level = model.Level.SERIES
    chosen = retrieval.choose(connection, model.Query(level, {model.UNIQUE[level]: series}))
    found = []
    for keys in retrieval.pages(chosen.keys):
        for row in retrieval.page(connection, keys)[0]:
            change = presenter.change(row.coercion, words.when(row.received)) if row.coercion else None
            path = data.place(row.path)
            found.append(
                base.Item(row.sop_class, row.sop_instance, row.syntax, path, row.offset, row.size, change)
            )
    if not found:
        raise errors.NotFound(f"this node holds no series {series}: see `dicom-node images list`")
    return found
