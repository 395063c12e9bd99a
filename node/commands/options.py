"""The options that several commands share, and how they become settings."""

from __future__ import annotations

import os
import pathlib
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from node import model

Config = Annotated[
    pathlib.Path | None,
    typer.Option("--config", "-c", metavar="FILE", help="Configuration file (TOML).", show_default=False),
]
Data = Annotated[
    pathlib.Path | None,
    typer.Option("--data", metavar="DIR", help="Where everything is kept.", show_default=False),
]
Aet = Annotated[str | None, typer.Option("--aet", metavar="TITLE", help="Our AE title.", show_default=False)]
Port = Annotated[
    int | None, typer.Option("--port", metavar="N", help="Port of the DICOM listener.", show_default=False)
]
Http = Annotated[
    str | None,
    typer.Option("--http", metavar="HOST:PORT", help="Where the web process listens.", show_default=False),
]
Listeners = Annotated[
    int | None, typer.Option("--listeners", metavar="N", help="Listener processes.", show_default=False)
]
Workers = Annotated[
    int | None, typer.Option("--workers", metavar="N", help="Worker processes.", show_default=False)
]
Retries = Annotated[
    int, typer.Option("--retries", min=0, metavar="N", help="How often what may pass is tried again.")
]
# Of the commands that look at series as volumes.
Inputs = Annotated[
    list[str],
    typer.Argument(metavar="IN...", help="Files, folders, zip archives, or series that the node holds."),
]
Order = Annotated[
    str | None, typer.Option("--order", metavar="AXES", help="Sort by these: time, b, te, or an element.")
]
Split = Annotated[
    str | None, typer.Option("--split", metavar="NAMES", help="Part volumes by these elements, too.")
]
Series = Annotated[
    list[str] | None, typer.Option("--series", metavar="UID|N", help="Only this series; may be repeated.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def settings(
    config_file: pathlib.Path | None,
    *,
    data: pathlib.Path | None = None,
    aet: str | None = None,
    port: int | None = None,
    http: str | None = None,
    listeners: int | None = None,
    workers: int | None = None,
) -> model.Settings:
    """Return the settings that file, environment and flags make together."""
    from node import config  # not every command has a configuration

    flags = {
        "data": data,
        "aet": aet,
        "port": port,
        "http": http,
        "listeners": listeners,
        "workers": workers,
    }
    given = {name: value for name, value in flags.items() if value is not None}
    return config.load(config_file, given, os.environ)
