"""`get`: fetch what another archive holds, over one association (C-GET)."""

from __future__ import annotations

import contextlib
import functools
import pathlib
import secrets
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from node import errors, model
from node.commands import echo, fetching, find, options, persist, targets
from node.send import fetch, query

if TYPE_CHECKING:
    from node import receive

Keys = Annotated[
    list[str],
    typer.Argument(metavar="KEY=VALUE", help="What is wanted; see find.", show_default=False),
]
Out = Annotated[
    pathlib.Path | None,
    typer.Option(metavar="DIR", help="Write to DIR/STUDY/SERIES/INSTANCE.dcm.", show_default=False),
]
IntoNode = Annotated[
    bool, typer.Option("--into-node", help="Take them into the node's store (--data), as import does.")
]


def get(
    peer: echo.Peer,
    key: Keys,
    out: Out = None,
    into_node: IntoNode = False,
    level: find.Level = None,
    root: find.Root = query.Root.STUDY,
    retries: options.Retries = 3,
    timeout: find.Timeout = 300.0,
    config: options.Config = None,
    data: options.Data = None,
    aet: options.Aet = None,
    as_json: options.Json = False,
) -> None:
    """Fetch instances from an archive over the association that asks for them.

    With other keys than UIDs, the studies that match are looked up first. No file is ever replaced. What
    broke off is fetched again: only what is missing, where the archive tells what it holds.

    Example: dicom-node get PACS@10.0.0.5:104 accession=A17 --out scans
    """
    settings = options.settings(config, data=data, aet=aet)
    to = targets.peer(peer, settings)
    with sink(out, into_node, settings, to) as into, persist.stoppable() as stop:
        plan = fetching.Plan(to, settings, root, timeout, retries, sink=into)
        with fetching.told(as_json=as_json):
            wanted = persist.tried(lambda: fetching.requests(plan, key, level, stop), retries)
        tally = fetching.Tally()
        bar = functools.partial(fetching.bars, as_json=as_json)
        summary = fetching.run(plan, wanted, tally, stop, bar=bar)
    said = fetching.folder_words(into)
    if said:
        persist.note(said)
    fetching.finish(summary, plan, f"fetched to {out or settings.node.data}", as_json=as_json)


@contextlib.contextmanager
def sink(
    out: pathlib.Path | None, into_node: bool, settings: model.Settings, peer: model.Peer
) -> Iterator[fetch.Sink]:
    """Where the instances go."""
    if (out is None) == (not into_node):
        raise errors.UsageError("say where the instances go: --out DIR, or --into-node")
    if out is not None:
        from node.files import folder

        limits, storage = settings.limits, settings.storage
        yield folder.Folder(out, max_instance=limits.max_instance, reserve=storage.min_free)
        return
    from node.commands import import_

    with import_.receiver(settings) as receiver:
        yield Store(receiver, settings.node.aet, peer)


class Store:
    """The node's own store as a sink: durable when it is acknowledged."""

    def __init__(self, receiver: receive.Receiver, aet: str, peer: model.Peer) -> None:
        self._receiver = receiver
        self._aet = aet
        self._peer = peer
        self._association = secrets.token_hex(8)

    def begin(self, sop_class: str, sop_instance: str, syntax: str, source: str) -> fetch.Taking:
        """Get ready for one."""
        from node import receive

        sender = receive.Sender(source, self._aet, self._peer.host or "", self._peer.name, self._association)
        return self._receiver.begin(sop_class, sop_instance, syntax, sender)


def register(app: typer.Typer) -> None:
    """Put the command on the command line."""
    app.command()(get)
