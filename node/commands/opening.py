"""What commands open that work on the node's own data, beside a running node or without one."""

from __future__ import annotations

import contextlib
import getpass
import pathlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from node import errors, model
from node.commands import options

if TYPE_CHECKING:
    from node.index import db, manager


def quiet() -> None:
    """Keep the operator's journal out of a command's output: the command says itself what became of it."""
    from node import log

    log.set_level("error")


def who() -> str:
    """Who gives the command, for the audit trail."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown user"


@contextlib.contextmanager
def database(settings: model.Settings) -> Iterator[db.Database]:
    """Open the index as it is; raises UsageError when there is none, or when it must be upgraded first."""
    from node.files import layout
    from node.index import db, migrate

    url = layout.index_url(settings)
    path = db.path_of(url)
    if path is not None and not path.exists():
        raise errors.UsageError(
            f"there is no node in {settings.node.data} ({path.name} is missing): "
            "give its directory with --data"
        )
    opened = db.open(url)
    try:
        status = migrate.status(opened)
        if status.pending:
            raise errors.UsageError(
                f"the database is at revision {status.current}, this program works with {status.head}: "
                "upgrade it with `dicom-node migrate`"
            )
        yield opened
    finally:
        opened.close()


@contextlib.contextmanager
def images(config: pathlib.Path | None, data: pathlib.Path | None) -> Iterator[manager.Images]:
    """Open the image manager."""
    from node.files import layout
    from node.index import manager, witness

    settings = options.settings(config, data=data)
    with database(settings) as opened:
        yield manager.Images(opened, witness.Witness(layout.Data(settings.node.data)))
