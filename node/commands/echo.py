"""`echo`: is a peer there, and does it let us in?"""

from __future__ import annotations

from typing import Annotated

import typer

from node import errors
from node.commands import options, output, persist, targets

Peer = Annotated[
    str,
    typer.Argument(metavar="PEER", help="A configured peer's name, or AET@HOST:PORT.", show_default=False),
]


def echo(
    peer: Peer,
    retries: options.Retries = 0,
    config: options.Config = None,
    aet: options.Aet = None,
    as_json: options.Json = False,
) -> None:
    """Send a peer a C-ECHO.

    Example: dicom-node echo NODE@127.0.0.1:11112
    """
    settings = options.settings(config, aet=aet)
    to = targets.peer(peer, settings)
    from node.send import dimse

    try:
        said = persist.tried(lambda: dimse.echo(to, settings), retries)
    except errors.NodeError as error:
        if as_json:
            output.as_json({"peer": peer, "ok": False, "says": str(error)})
        raise
    if as_json:
        output.as_json({"peer": peer, "ok": True, "says": said})
    else:
        print(said)


def register(app: typer.Typer) -> None:
    """Put the command on the command line."""
    app.command()(echo)
