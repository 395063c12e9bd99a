"""`move`: have another archive send what it holds, to a third one or to us (C-MOVE)."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Annotated

import typer

from node import errors
from node.commands import echo, fetching, find, get, options, persist, targets
from node.dicom import statuses
from node.send import fetch, inbox, query
from node.wire import acceptor, association, command


def move(
    peer: echo.Peer,
    key: get.Keys,
    to: Annotated[
        str | None,
        typer.Option(metavar="AET", help="Who gets it: an AE title that the peer knows.", show_default=False),
    ] = None,
    out: get.Out = None,
    port: options.Port = None,
    level: find.Level = None,
    root: find.Root = query.Root.STUDY,
    retries: options.Retries = 3,
    timeout: find.Timeout = 300.0,
    config: options.Config = None,
    aet: options.Aet = None,
    as_json: options.Json = False,
) -> None:
    """Have an archive send instances to an AE title that it knows.

    With --out they come to us: this command listens on --port meanwhile, which must be where the archive
    thinks that AE title is. Keys are those of find and get.

    Example: dicom-node move PACS@10.0.0.5:104 study=1.2.840.4711 --to WORKSTATION
    """
    settings = options.settings(config, aet=aet, port=port)
    asked = targets.peer(peer, settings)
    if to is None and out is None:
        raise errors.UsageError("say who gets the instances: --to AET, or --out DIR for this command itself")
    if to is not None and (not 1 <= len(to.strip()) <= targets.MAX_AET or not to.isascii()):
        raise errors.UsageError(f"--to {to!r} is not an AE title: it has 1 to {targets.MAX_AET} characters")
    destination = to or settings.node.aet
    tally = fetching.Tally()
    plan = fetching.Plan(asked, settings, root, timeout, retries, destination=destination, comes=bool(out))
    into: fetch.Sink | None = None
    with contextlib.ExitStack() as stack:
        if out is not None:
            into = stack.enter_context(get.sink(out, False, settings, asked))
            where = receiving(into, tally, destination, settings.node.port, settings.node.aet)
            stack.enter_context(where)
        stop = stack.enter_context(persist.stoppable())
        with fetching.told(as_json=as_json):
            wanted = persist.tried(lambda: fetching.requests(plan, key, level, stop), retries)
        bar = functools.partial(fetching.bars, as_json=as_json)
        summary = fetching.run(plan, wanted, tally, stop, bar=bar)
    said = fetching.folder_words(into)
    if said:
        persist.note(said)
    what = f"fetched to {out}" if out else f"moved to {destination}"
    fetching.finish(summary, plan, what, as_json=as_json)


@contextlib.contextmanager
def receiving(into: fetch.Sink, tally: fetching.Tally, aet: str, port: int, originator: str) -> Iterator[int]:
    """Listen as this AE title for what is sent because of our C-MOVE; the port."""

    def store(opened: association.Association, message: association.Message) -> None:
        asked = message.command
        because_of = asked.text(command.MOVE_ORIGINATOR)
        if because_of and because_of != originator:
            message.drain()
            opened.send(message.context, command.response(asked, statuses.NOT_AUTHORIZED))
            return
        tally.add(fetch.take(opened, message, into))

    def echoed(opened: association.Association, message: association.Message) -> None:
        message.drain()
        opened.send(message.context, command.response(message.command, statuses.SUCCESS))

    handlers: dict[int, acceptor.Handler] = {command.Field.C_STORE: store, command.Field.C_ECHO: echoed}
    with inbox.listening(aet, port, handlers) as bound:
        yield bound


def register(app: typer.Typer) -> None:
    """Put the command on the command line."""
    app.command()(move)
