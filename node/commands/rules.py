"""`rules`: what the configured rules make of an instance, and why."""

from __future__ import annotations

import datetime
import pathlib
from typing import Annotated

import typer

from node import errors, model
from node.commands import options, output

group = typer.Typer(
    name="rules",
    help="Try the configured rules.\n\nExample: dicom-node rules test scan.dcm --source CT1",
    no_args_is_help=True,
)


@group.callback()
def rules() -> None:
    """Try the configured rules."""


@group.command("test")
def try_rules(
    file: Annotated[list[pathlib.Path], typer.Argument(metavar="FILE...", help="DICOM files.")],
    source: Annotated[str, typer.Option(metavar="TITLE", help="As if this AE title had sent them.")] = "",
    called: Annotated[str, typer.Option(metavar="TITLE", help="As if it had called us so.")] = "",
    peer: Annotated[str, typer.Option(metavar="NAME", help="As if it were this configured peer.")] = "",
    address: Annotated[str, typer.Option(metavar="IP", help="As if it had called from here.")] = "",
    config: options.Config = None,
    as_json: options.Json = False,
) -> None:
    """Say for each rule whether it matches a file, on which values, and which one decides.

    Example: dicom-node rules test scan.dcm --source CT1
    """
    settings = options.settings(config)
    from node import rules as ruling

    if not settings.rules:
        raise errors.UsageError("no rules are configured: everything is kept")
    for path in file:
        arrival, elements = _read(path, ruling.needed(settings.rules), source, called, peer, address)
        explained = ruling.explain(settings.rules, ruling.facts(elements, arrival))
        chosen = ruling.match(settings.rules, ruling.facts(elements, arrival))
        if as_json:
            output.line({"path": path, "rule": chosen.name if chosen else None, "explained": explained})
            continue
        print(f"{path}: {f'{chosen.action.value} by {chosen.name}' if chosen else 'keep, no rule matches'}")
        for one in explained:
            print(f"  {one}")


def _read(
    path: pathlib.Path, needed: frozenset[str], source: str, called: str, peer: str, address: str
) -> tuple[model.Arrival, dict[str, tuple[str, ...]]]:
    """The values that the rules look at, and an arrival as it would be."""
    from node.dicom import header, part10

    try:
        content = path.read_bytes()
    except OSError as error:
        raise errors.UsageError(f"{path} cannot be read ({error.strerror})") from error
    try:
        head = part10.part10(content, bare=True)
        body = memoryview(content)[head.offset :]
        elements = header.texts(body, head.syntax, needed)
    except errors.BadData as error:
        raise errors.UsageError(f"{path}: {error}") from error
    identity = model.Identity(head.sop_class, head.sop_instance, "", "")
    now = datetime.datetime.now(datetime.UTC)
    arrival = model.Arrival(
        identity, head.syntax, "", len(body), source, called, address or "import", peer, "", now
    )
    return arrival, elements


def register(app: typer.Typer) -> None:
    """Put the commands on the command line."""
    app.add_typer(group)
