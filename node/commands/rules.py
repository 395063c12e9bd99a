"""`rules`: what the configured rules make of an instance, and why."""

from __future__ import annotations

import dataclasses
import datetime
import pathlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from node import errors, model
from node.commands import options, output

if TYPE_CHECKING:
    from node.dicom import patched
    from node.steps import presented

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
    """Say for each rule whether it matches a file, on which values, which one decides, and what it coerces.

    Example: dicom-node rules test scan.dcm --source CT1
    """
    settings = options.settings(config)
    from node import rules as ruling

    if not settings.rules:
        raise errors.UsageError("no rules are configured: everything is kept")
    coercions = _coercions(settings)
    for path in file:
        body, arrival, elements = _read(path, ruling.needed(settings.rules), source, called, peer, address)
        explained = ruling.explain(settings.rules, ruling.facts(elements, arrival))
        chosen = ruling.match(settings.rules, ruling.facts(elements, arrival))
        coerced = None
        if chosen is not None and chosen.coerce is not None:
            coerced = _try(coercions[chosen.coerce], body, arrival)
        if as_json:
            name = chosen.name if chosen else None
            words = {"path": path, "rule": name, "explained": explained}
            output.line(words | ({} if coerced is None else {"coerced": coerced}))
            continue
        print(f"{path}: {_outcome(chosen, coerced)}")
        for one in explained:
            print(f"  {one}")
        if coerced is not None:
            _show(coerced)


def _outcome(chosen: model.Rule | None, coerced: _Coerced | None) -> str:
    if chosen is None:
        return "keep, no rule matches"
    if coerced is not None and coerced.refused:
        return f"quarantine, for {chosen.name} keeps it, but its coercion cannot be done"
    return f"{chosen.action.value} by {chosen.name}"


@dataclasses.dataclass(frozen=True, slots=True)
class _Coerced:
    """What a coercion at receipt would make of a file."""

    coercion: str  # its name
    refused: str = ""  # why it cannot be done; "": it can
    notes: tuple[str, ...] = ()  # what it does beyond its steps
    differences: tuple[patched.Difference, ...] = ()  # the elements before and after


def _coercions(settings: model.Settings) -> Mapping[str, presented.Prepared]:
    """The coercions that rules name, ready to be tried; nothing is kept of them."""
    named = {rule.coerce for rule in settings.rules if rule.coerce is not None}
    if not named:
        return {}
    from node.steps import presented

    return {one.name: presented.prepare(one, None) for one in settings.coerce if one.name in named}


def _try(coercion: presented.Prepared, body: memoryview, arrival: model.Arrival) -> _Coerced:
    from node.dicom import header
    from node.steps import presented

    try:
        coercion.header(body, arrival.syntax, arrival, header.attributes(body, arrival.syntax))
    except presented.Unfit as error:
        return _Coerced(coercion.name, str(error))
    made = coercion.apply(body, arrival.syntax, received=arrival.received)
    return _Coerced(coercion.name, "", made.notes, tuple(made.differences()))


def _show(coerced: _Coerced) -> None:
    from node.commands import editing

    if coerced.refused:
        print(f"  {coerced.refused}")
        return
    count = len(coerced.differences)
    print(f"  presented through {coerced.coercion}: {count or 'no'} elements change")
    for note in coerced.notes:
        print(f"    {note}")
    for one in coerced.differences:
        print(f"  {editing.difference(one)}")


def _read(
    path: pathlib.Path, needed: frozenset[str], source: str, called: str, peer: str, address: str
) -> tuple[memoryview, model.Arrival, dict[str, tuple[str, ...]]]:
    """The data set, an arrival as it would be, and the values that the rules look at."""
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
    return body, arrival, elements


def register(app: typer.Typer) -> None:
    """Put the commands on the command line."""
    app.add_typer(group)
