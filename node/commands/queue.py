"""`queue`: what is owed to destinations and why it is not there yet, and what a person does about it."""

from __future__ import annotations

import contextlib
import datetime
import difflib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from node import errors, orders
from node.commands import opening, options, output

if TYPE_CHECKING:
    import sqlalchemy

    from node import model
    from node.files import layout
    from node.index import db, desk, queue

group = typer.Typer(
    name="queue",
    help="What is owed to destinations, and why it is not there yet.\n\n"
    "Without a command: each destination, what waits for it, and what happens next.\n\n"
    "Example: dicom-node queue",
    invoke_without_command=True,
)

What = Annotated[
    str,
    typer.Argument(
        metavar="WHAT",
        help="A destination, the number of a consignment, or the UID of a study, series or instance.",
    ),
]
Why = Annotated[str, typer.Option("--why", metavar="TEXT", help="The reason; it is kept with what was done.")]
MayWhy = Annotated[
    str,
    typer.Option("--why", metavar="TEXT", help="The reason, if there is one to keep.", show_default=False),
]
Lane = Annotated[
    str | None,
    typer.Option("--lane", metavar="NAME", help="Only what goes to this destination.", show_default=False),
]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]

_PAGE = 500
_MANY = 100  # instances; who touches more of them is asked


@group.callback()
def overview(
    context: typer.Context,
    config: options.Config = None,
    data: options.Data = None,
    as_json: options.Json = False,
) -> None:
    if context.invoked_subcommand is not None:
        return
    from node.commands import queue_view

    settings = options.settings(config, data=data)
    with _opened(settings) as (where, database), database.read() as connection:
        found = queue_view.overview(connection, settings, where, datetime.datetime.now(datetime.UTC))
    if as_json:
        output.as_json(found)
        return
    queue_view.show(found)


@group.command()
def watch(
    every: Annotated[float, typer.Option(min=0.2, metavar="SECONDS", help="How often it looks.")] = 1.0,
    config: options.Config = None,
    data: options.Data = None,
) -> None:
    """Show each destination live until Ctrl-C.

    Example: dicom-node queue watch --every 5
    """
    from node.commands import queue_view

    settings = options.settings(config, data=data)
    with _opened(settings) as (where, database):
        queue_view.watch(settings, where, database, every)


@group.command("list")
def list_(
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="NAME", help="Only for this destination.", show_default=False),
    ] = None,
    state: Annotated[
        orders.State | None,
        typer.Option(help="Only what stands so; default: what is open.", show_default=False),
    ] = None,
    study: Annotated[
        str | None,
        typer.Option(metavar="UID", help="Only of this study, series or instance.", show_default=False),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 100,
    config: options.Config = None,
    data: options.Data = None,
    as_json: options.Json = False,
) -> None:
    """List consignments, each what of one series goes to one destination; with `--state dead`, dead letters.

    Example: dicom-node queue list --to archive --state dead
    """
    from node.commands import queue_view
    from node.index import naming, queue

    settings = options.settings(config, data=data)
    with _opened(settings) as (_, database), database.read() as connection:
        chosen = queue.Chosen(
            destination=None if to is None else _destination(connection, settings, to),
            uid=None if study is None else naming.uid(connection, study),
            states=() if state is orders.State.DEAD else (state,) if state else orders.OPEN,
        )
        if state is orders.State.DEAD:
            letters = queue.dead(connection, chosen, limit=limit + 1)
            queue_view.letters(letters, limit, as_json=as_json)
        else:
            listed = queue.consignments_of(connection, chosen, limit=limit + 1)
            queue_view.listed(connection, settings, listed, limit, as_json=as_json)


@group.command()
def hold(
    what: What,
    why: Why,
    lane: Lane = None,
    config: options.Config = None,
    data: options.Data = None,
    as_json: options.Json = False,
) -> None:
    """Send nothing of it until somebody releases it; of a destination: nothing at all, what comes later too.

    Example: dicom-node queue hold archive --why "migration until Monday"
    """

    def act(at: desk.Desk, chosen: queue.Chosen) -> desk.Done:
        whole = _whole(chosen)
        if whole is None:
            return at.hold(chosen)
        at.stop(whole)
        return _nothing()

    _act("held", what, lane, why, config, data, act, as_json=as_json, lanes_too=True)


@group.command()
def release(
    what: What,
    why: MayWhy = "",
    lane: Lane = None,
    config: options.Config = None,
    data: options.Data = None,
    as_json: options.Json = False,
) -> None:
    """Let what is held go out; of a destination: all that waits for it, whoever held it.

    Example: dicom-node queue release archive
    """

    def act(at: desk.Desk, chosen: queue.Chosen) -> desk.Done:
        whole = _whole(chosen)
        if whole is not None:
            at.go_on(whole)
        return at.release(chosen)

    _act("released", what, lane, why, config, data, act, as_json=as_json, lanes_too=True)


@group.command()
def retry(
    what: What,
    why: MayWhy = "",
    lane: Lane = None,
    config: options.Config = None,
    data: options.Data = None,
    as_json: options.Json = False,
) -> None:
    """Try now what waits for its next try; of a destination: try it now, and forget what it refused.

    Example: dicom-node queue retry archive
    """

    def act(at: desk.Desk, chosen: queue.Chosen) -> desk.Done:
        return at.retry(chosen)

    _act("tried now", what, lane, why, config, data, act, as_json=as_json, lanes_too=True, tried=True)


@group.command()
def cancel(
    what: What,
    why: Why,
    lane: Lane = None,
    yes: Yes = False,
    config: options.Config = None,
    data: options.Data = None,
    as_json: options.Json = False,
) -> None:
    """Send nothing more of it: what is owed and what was given up. What a destination has, it has.

    Example: dicom-node queue cancel 4711 --why "test images"
    """

    def act(at: desk.Desk, chosen: queue.Chosen) -> desk.Done:
        return at.cancel(chosen)

    _act("cancelled", what, lane, why, config, data, act, as_json=as_json, ask="Cancel", always=True, yes=yes)


@group.command()
def replay(
    what: What,
    why: MayWhy = "",
    lane: Lane = None,
    yes: Yes = False,
    config: options.Config = None,
    data: options.Data = None,
    as_json: options.Json = False,
) -> None:
    """Send dead letters once more.

    Example: dicom-node queue replay archive --why "the archive takes JPEG 2000 now"
    """

    def act(at: desk.Desk, chosen: queue.Chosen) -> desk.Done:
        return at.replay(chosen)

    _act("replayed", what, lane, why, config, data, act, as_json=as_json, ask="Replay", yes=yes, tried=True)


@group.command()
def resend(
    what: What,
    why: Why,
    to: Annotated[
        list[str] | None,
        typer.Option("--to", metavar="NAME", help="Where to; default: wherever it was owed to."),
    ] = None,
    priority: Annotated[str, typer.Option(metavar="LEVEL", help="urgent, high, normal or low.")] = "normal",
    yes: Yes = False,
    config: options.Config = None,
    data: options.Data = None,
    as_json: options.Json = False,
) -> None:
    """Send what is held once more, whatever a destination has already, or to one that never got it.

    Example: dicom-node queue resend 1.2.840.113619.2.1 --to mirror --why "the mirror lost it"
    """
    level = _priority(priority)
    places = to or []

    def act(at: desk.Desk, chosen: queue.Chosen) -> desk.Done:
        return at.resend(chosen, destinations=places, priority=level)

    _act(
        "to be sent", what, None, why, config, data, act,
        as_json=as_json, ask="Send once more", again=True, yes=yes, places=places, tried=True,
    )  # fmt: skip


@group.command()
def move(
    what: What,
    why: Why,
    to: Annotated[str, typer.Option("--to", metavar="NAME", help="The destination that gets it instead.")],
    lane: Lane = None,
    yes: Yes = False,
    config: options.Config = None,
    data: options.Data = None,
    as_json: options.Json = False,
) -> None:
    """Send what waits, dead letters too, to another destination instead.

    Example: dicom-node queue move archive --to mirror --why "the archive is gone for good"
    """

    def act(at: desk.Desk, chosen: queue.Chosen) -> desk.Done:
        return at.move(chosen, to)

    _act(
        f"moved to {to}", what, lane, why, config, data, act,
        as_json=as_json, ask="Move", yes=yes, places=[to],
    )  # fmt: skip


@group.command()
def priority(
    what: What,
    level: Annotated[str, typer.Argument(metavar="LEVEL", help="urgent, high, normal or low.")],
    why: MayWhy = "",
    lane: Lane = None,
    config: options.Config = None,
    data: options.Data = None,
    as_json: options.Json = False,
) -> None:
    """Say how soon it goes out; what is urgent goes before everything else, and heeds no calendar.

    Example: dicom-node queue priority 1.2.840.113619.2.1 urgent
    """
    chosen_level = _priority(level)

    def act(at: desk.Desk, chosen: queue.Chosen) -> desk.Done:
        return at.prioritise(chosen, chosen_level)

    words = f"of priority {chosen_level.name.lower()} now"
    _act(words, what, lane, why, config, data, act, as_json=as_json)


# -- what every action does ---------------------------------------------------------------------------


def _act(
    done: str,
    what: str,
    lane: str | None,
    why: str,
    config: options.Config,
    data: options.Data,
    act: Callable[[desk.Desk, queue.Chosen], desk.Done],
    *,
    as_json: bool,
    ask: str = "",
    always: bool = False,
    yes: bool = False,
    again: bool = False,
    lanes_too: bool = False,
    tried: bool = False,
    places: list[str] | None = None,
) -> None:
    """Find out what is meant, ask where much is touched, do it, wake the workers, and say what was done."""
    from node.index import desk, lanes, witness
    from node.queue import bell

    settings = options.settings(config, data=data)
    for name in places or ():
        _configured(settings, name)
    with _opened(settings) as (where, database):
        with database.read() as connection:
            chosen = _chosen(connection, settings, what, lane)
            if ask and not yes:
                _confirm(connection, chosen, ask, what, always=always, again=again)
        now = datetime.datetime.now(datetime.UTC)
        with database.write() as connection:
            at = desk.Desk(
                connection, who=opening.who(), why=why.strip(), now=now, witness=witness.Witness(where)
            )
            whole = _whole(chosen)
            if tried:
                # A person wants it tried: what a destination refused before is no reason not to.
                for name in lanes.lanes(connection) if whole is None else (whole,):
                    lanes.remember(connection, name, {}, now)
            result = act(at, chosen)
        bell.ring(where)
    if as_json:
        output.as_json({"action": done, "what": chosen, **result._asdict()})
        return
    if whole is not None and lanes_too:
        print(f"{whole} is {done}")
        return
    if not result.consignments:
        print("nothing of it stands so that this changes it: see `dicom-node why`, `dicom-node queue list`")
        return
    instances = output.count(result.deliveries, "instance")
    verb = "is" if result.deliveries == 1 else "are"
    print(f"{instances} in {output.count(result.consignments, 'consignment')} {verb} {done}")


def _confirm(
    connection: sqlalchemy.Connection, chosen: queue.Chosen, ask: str, what: str, *, always: bool, again: bool
) -> None:
    from node.commands import queue_view

    consignments, instances = queue_view.extent(connection, chosen, again=again)
    if (always and consignments) or instances > _MANY:
        parcels = output.count(consignments, "consignment")
        words = f"{ask} {what}: {output.count(instances, 'instance')} in {parcels}?"
        if not typer.confirm(words):
            raise errors.UsageError("nothing was changed")


def _nothing() -> desk.Done:
    from node.index import desk

    return desk.Done(0, 0)


def _whole(chosen: queue.Chosen) -> str | None:
    """The destination, if nothing but a destination is meant."""
    return chosen.destination if chosen.uid is None and chosen.consignment is None else None


def _chosen(
    connection: sqlalchemy.Connection, settings: model.Settings, what: str, lane: str | None
) -> queue.Chosen:
    from node.index import ledger, naming, queue

    within = None if lane is None else _destination(connection, settings, lane)
    if what in _destinations(connection, settings):
        return queue.Chosen(destination=what)
    if what.isascii() and what.isdigit():
        key = int(what)
        if ledger.get(connection, key) is None:
            raise errors.NotFound(f"there is no consignment {key}: see `dicom-node queue list`")
        return queue.Chosen(destination=within, consignment=key)
    try:
        return queue.Chosen(destination=within, uid=naming.uid(connection, what))
    except errors.NotFound:
        near = _near(what, _destinations(connection, settings))
        raise errors.NotFound(f"{what!r} is no destination, consignment or UID{near}") from None


def _destination(connection: sqlalchemy.Connection, settings: model.Settings, name: str) -> str:
    known = _destinations(connection, settings)
    if name not in known:
        raise errors.NotFound(f"no destination is called {name!r}{_near(name, known)}")
    return name


def _destinations(connection: sqlalchemy.Connection, settings: model.Settings) -> list[str]:
    """Those of the configuration, and those that something is owed to although they are not in it."""
    from node.index import queue

    configured = [one.name for one in settings.destinations]
    standing = [one.lane.destination for one in queue.standings(connection)]
    return list(dict.fromkeys([*configured, *standing]))


def _configured(settings: model.Settings, name: str) -> None:
    names = [one.name for one in settings.destinations]
    if name not in names:
        raise errors.UsageError(f"no destination is called {name!r} in the configuration{_near(name, names)}")


def _near(name: str, names: list[str]) -> str:
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; destinations are {', '.join(names)}" if names else "; no destination is configured"


def _priority(name: str) -> orders.Priority:
    try:
        return orders.Priority[name.upper()]
    except KeyError:
        names = ", ".join(one.name.lower() for one in orders.Priority)
        raise errors.UsageError(f"{name!r} is no priority: it is one of {names}") from None


@contextlib.contextmanager
def _opened(settings: model.Settings) -> Iterator[tuple[layout.Data, db.Database]]:
    from node.files import layout

    with opening.database(settings) as database:
        yield layout.Data(settings.node.data), database


def register(app: typer.Typer) -> None:
    """Put the commands on the command line."""
    app.add_typer(group)
