"""`migrate`: bring the database to this program's revision, now and not at the next start."""

from __future__ import annotations

import typer

from node.commands import options


def migrate(config: options.Config = None, data: options.Data = None) -> None:
    """Upgrade the database; an SQLite database is copied first.

    Example: dicom-node migrate --config /etc/dicom-node/node.toml
    """
    settings = options.settings(config, data=data)
    from node import daemon

    status = daemon.migrate_database(settings, say=print)
    print(f"the database is at revision {status.head}")


def register(app: typer.Typer) -> None:
    app.command()(migrate)
