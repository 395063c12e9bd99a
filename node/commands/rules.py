"""`rules`: what the configured rules and routes make of an instance, and why."""

from __future__ import annotations

import dataclasses
import datetime
import pathlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from node import errors, model, orders
from node.commands import options, output, routing

if TYPE_CHECKING:
    from node import rules as ruling
    from node.dicom import patched
    from node.steps import presented

group = typer.Typer(
    name="rules",
    help="Try the configured rules and routes.\n\nExample: dicom-node rules test scan.dcm --source CT1",
    no_args_is_help=True,
)


@group.callback()
def rules() -> None:
    """Try the configured rules and routes."""


@group.command("test")
def try_rules(
    file: Annotated[list[pathlib.Path], typer.Argument(metavar="FILE...", help="DICOM files.")],
    source: Annotated[str, typer.Option(metavar="TITLE", help="As if this AE title had sent them.")] = "",
    called: Annotated[str, typer.Option(metavar="TITLE", help="As if it had called us so.")] = "",
    peer: Annotated[str, typer.Option(metavar="NAME", help="As if it were this configured peer.")] = "",
    address: Annotated[str, typer.Option(metavar="IP", help="As if it had called from here.")] = "",
    verdict: Annotated[
        orders.Completeness, typer.Option(help="As if their series had settled so, for routes.")
    ] = orders.Completeness.COMPLETE,
    instances: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="As if each series had so many; default: as many as are given."
        ),
    ] = None,
    config: options.Config = None,
    as_json: options.Json = False,
) -> None:
    """Say for each rule and route whether it matches a file, on which values, and what would then happen.

    A rule at receipt decides whether an instance is kept, routes where what is kept goes. Routes of studies
    look at all files that are given.

    Example: dicom-node rules test scan.dcm --source CT1
    """
    settings = options.settings(config)
    if not (settings.rules or settings.routes or settings.routing.default):
        raise errors.UsageError(
            "no rules are configured, and no routes: everything is kept, and goes nowhere"
        )
    coercions = _coercions(settings)
    sender = _Sender(source, called, peer, address)
    tried = [_try_file(settings, path, sender, coercions) for path in file]
    routed = bool(settings.routes or settings.routing.default)
    asked = [one.file for one in tried if one.file and routed]
    outcomes = routing.outcomes(settings, asked, verdict, instances)
    for one in tried:
        path = one.path
        if as_json:
            output.line(_words(one) | (outcomes[path].words() if path in outcomes else {}))
            continue
        print(f"{path}: {_outcome(one.chosen, one.coerced)}")
        for said in one.explained:
            print(f"  {said}")
        if one.coerced is not None:
            _show(one.coerced)
        if path in outcomes:
            for line in outcomes[path].lines(settings):
                print(f"  {output.cell(line)}")
        elif routed:
            print("  routes are not asked: it is not kept")


@dataclasses.dataclass(frozen=True, slots=True)
class _Sender:
    """As whom, and from where, the files are said to come."""

    source: str
    called: str
    peer: str
    address: str


@dataclasses.dataclass(frozen=True, slots=True)
class _Tried:
    """One file, and what the rules at receipt say of it."""

    path: pathlib.Path
    explained: tuple[ruling.Explanation, ...]  # each rule, in order
    chosen: model.Rule | None  # the one that decides
    coerced: _Coerced | None  # how it would be presented, when the rule says through what
    file: routing.File | None  # what routes look at; None: it would not be kept


def _try_file(
    settings: model.Settings,
    path: pathlib.Path,
    sender: _Sender,
    coercions: Mapping[str, presented.Prepared],
) -> _Tried:
    from node import routes
    from node import rules as ruling

    body, arrival, elements = _read(path, ruling.needed(settings.rules), sender)
    known = ruling.facts(elements, arrival)
    explained, chosen = ruling.explain(settings.rules, known), ruling.match(settings.rules, known)
    coerced, held = None, body
    if chosen is not None and chosen.coerce is not None:
        coerced, held = _try(coercions[chosen.coerce], body, arrival)
    kept = chosen is None or chosen.action is model.Action.KEEP
    if not kept or (coerced is not None and coerced.refused):
        return _Tried(path, explained, chosen, coerced, None)
    from node.dicom import header

    # Routes see what is presented, as everybody does who asks for it.
    names = routes.needed(settings.routes) | {"StudyInstanceUID", "SeriesInstanceUID"}
    try:
        values = header.texts(held, arrival.syntax, names)
    except errors.BadData as error:
        raise errors.UsageError(f"{path}: {error}") from error
    facts = routes.facts(
        values, source=sender.source, called=sender.called, peer=sender.peer, address=arrival.address
    )
    study, series = ("".join(values[name][:1]) for name in ("StudyInstanceUID", "SeriesInstanceUID"))
    return _Tried(path, explained, chosen, coerced, routing.File(path, study, series, facts))


def _words(one: _Tried) -> dict[str, object]:
    explained = [
        {
            "rule": said.rule.name,
            "matches": said.matches,
            "chosen": said.chosen,
            "finding": said.finding,
            "why": said.finding.why(),
        }
        for said in one.explained
    ]
    words: dict[str, object] = {
        "path": one.path,
        "rule": one.chosen.name if one.chosen else None,
        "explained": explained,
    }
    return words if one.coerced is None else words | {"coerced": one.coerced}


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


def _try(
    coercion: presented.Prepared, body: memoryview, arrival: model.Arrival
) -> tuple[_Coerced, memoryview]:
    """What comes of a coercion, and the data set as it is then presented."""
    from node.dicom import header
    from node.steps import presented

    try:
        coercion.header(body, arrival.syntax, arrival, header.attributes(body, arrival.syntax))
    except presented.Unfit as error:
        return _Coerced(coercion.name, str(error)), body
    made = coercion.apply(body, arrival.syntax, received=arrival.received)
    coerced = _Coerced(coercion.name, "", made.notes, tuple(made.differences()))
    return coerced, memoryview(made.tobytes())


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
    path: pathlib.Path, needed: frozenset[str], sender: _Sender
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
        identity,
        head.syntax,
        "",
        len(body),
        sender.source,
        sender.called,
        sender.address or "import",
        sender.peer,
        "",
        now,
    )
    return body, arrival, elements


def register(app: typer.Typer) -> None:
    """Put the commands on the command line."""
    app.add_typer(group)
