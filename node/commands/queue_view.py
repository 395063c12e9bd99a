"""How `queue` shows destinations, consignments and dead letters."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from node import orders, outlook, state
from node.commands import output
from node.files import pulse
from node.index import ledger, queue

if TYPE_CHECKING:
    import sqlalchemy
    from rich.table import Table

    from node import model
    from node.files import layout
    from node.index import db

_MINUTE = datetime.timedelta(minutes=1)
_PAGE = 500


@dataclasses.dataclass(frozen=True, slots=True)
class Standing:
    """A destination in a line."""

    destination: str  # its name
    configured: bool  # whether the configuration has it
    lane: orders.LaneState  # as a whole
    since: datetime.datetime | None  # when that began
    failures: int  # connections in a row that failed
    due: int  # instances that go out when their turn comes
    held: int  # that a person or a route holds
    running: int  # that a worker is at
    verifying: int  # that are being made sure
    dead: int  # that were given up
    oldest: datetime.datetime | None  # when the oldest that is open was decided
    rate: float  # delivered a second, within the last minute
    next_try: datetime.datetime | None  # when it is tried, if it has to wait for that
    next: str  # what happens next, and why not now


@dataclasses.dataclass(frozen=True, slots=True)
class Overview:
    """All of them."""

    running: bool  # whether a node works on this data directory
    destinations: tuple[Standing, ...]


def overview(
    connection: sqlalchemy.Connection, settings: model.Settings, data: layout.Data, now: datetime.datetime
) -> Overview:
    """How it stands with every destination."""
    configured = {one.name for one in settings.destinations}
    rates = _rates(connection, data, now)
    shown = []
    for one, words in outlook.each(settings, queue.standings(connection), now):
        owed, lane = one.owed, one.lane
        name = lane.destination
        waits = lane.probe if lane.failures else one.soonest
        shown.append(
            Standing(
                name,
                name in configured,
                lane.state,
                lane.since,
                lane.failures,
                owed.due,
                owed.held,
                owed.running,
                owed.verifying,
                owed.dead,
                owed.oldest,
                rates.get(name, 0.0),
                waits if waits is not None and waits > now else None,
                words,
            )
        )
    return Overview(bool(state.running(settings.node.data)), tuple(shown))


def _rates(connection: sqlalchemy.Connection, data: layout.Data, now: datetime.datetime) -> dict[str, float]:
    """Instances a second that each destination took within the last minute, as the open books say."""
    counts: dict[str, float] = {}
    known: dict[int, str] = {}
    for answer in pulse.lately(data, now - _MINUTE):
        if answer.consignment not in known:
            one = ledger.get(connection, answer.consignment)
            known[answer.consignment] = one.destination if one is not None else ""
        name = known[answer.consignment]
        counts[name] = counts.get(name, 0.0) + answer.delivered / max(1.0, answer.seconds)
    return counts


def extent(connection: sqlalchemy.Connection, chosen: queue.Chosen, *, again: bool) -> tuple[int, int]:
    """How many consignments an action may touch, and how many instances; `again`: what is done too."""
    consignments = instances = 0
    # What is through is not gone through where it does not matter: there may be years of it.
    for states in ((),) if again else (orders.OPEN, (orders.State.DEAD,)):
        narrowed = dataclasses.replace(chosen, states=states)
        before: int | None = None
        while True:
            page = queue.consignments_of(connection, narrowed, before=before, limit=_PAGE)
            for one in (listed.consignment for listed in page):
                consignments += 1
                instances += one.total - one.cancelled - (0 if again else one.done)
            if len(page) < _PAGE:
                break
            before = page[-1].consignment.key
    return consignments, instances


# -- a table, once or live ------------------------------------------------------------------------------

_COLUMNS = ("destination", "lane", "waiting", "held", "verifying", "dead", "oldest", "rate", "next")


def show(found: Overview) -> None:
    """Print it."""
    if not found.destinations:
        print("no destination is configured, and nothing is owed to any")
        return
    output.table(_COLUMNS, [_cells(one) for one in found.destinations])
    _hints(found)


def _cells(one: Standing) -> tuple[str, ...]:
    age = "-"
    if one.oldest is not None:
        age = outlook.span((datetime.datetime.now(datetime.UTC) - one.oldest).total_seconds())
    return (
        one.destination,
        one.lane.value,
        f"{one.due + one.running:,}",
        f"{one.held:,}",
        f"{one.verifying:,}",
        f"{one.dead:,}",
        age,
        f"{one.rate:.0f}/s" if one.rate >= 1 else f"{one.rate * 60:.0f}/min" if one.rate else "-",
        one.next or "-",
    )


def _hints(found: Overview) -> None:
    if sum(one.dead for one in found.destinations):
        print("\ndead letters: `dicom-node queue list --state dead` tells why, `queue replay` sends again")
    if not found.running:
        print("\nno node runs here: nothing moves until `dicom-node run`")


def watch(settings: model.Settings, data: layout.Data, database: db.Database, every: float) -> None:
    """Show it again and again, until Ctrl-C."""
    from rich.console import Console
    from rich.live import Live

    with (
        contextlib.suppress(KeyboardInterrupt),
        Live(console=Console(), auto_refresh=False, screen=False) as live,
    ):
        while True:
            with database.read() as connection:
                found = overview(connection, settings, data, datetime.datetime.now(datetime.UTC))
            live.update(drawn(found), refresh=True)
            time.sleep(every)


_STYLES = {orders.LaneState.UP: "green", orders.LaneState.DOWN: "bold red", orders.LaneState.HELD: "yellow"}


def drawn(found: Overview) -> Table:
    """The table for a terminal that shows it again and again."""
    from rich.markup import escape
    from rich.table import Table

    title = f"{datetime.datetime.now():%H:%M:%S}" + ("" if found.running else "  no node runs here")  # noqa: DTZ005
    table = Table(box=None, title=title, title_justify="left", title_style="dim", padding=(0, 1))
    for name in _COLUMNS:
        numbers = name in ("waiting", "held", "verifying", "dead", "oldest", "rate")
        table.add_column(
            name, header_style="dim", no_wrap=name != "next", justify="right" if numbers else "left"
        )
    for one in found.destinations:
        cells = [escape(output.cell(text)) for text in _cells(one)]
        cells[1] = f"[{_STYLES[one.lane]}]{cells[1]}[/]"
        cells[5] = f"[red]{cells[5]}[/]" if one.dead else cells[5]
        table.add_row(*cells)
    return table


# -- lists ----------------------------------------------------------------------------------------------


def listed(
    connection: sqlalchemy.Connection,
    settings: model.Settings,
    found: Sequence[queue.Listed],
    limit: int,
    *,
    as_json: bool,
) -> None:
    """Consignments, each with what happens next."""
    from node.index import lanes

    configured = {one.name: one for one in settings.destinations}
    calendars = {one.name: one for one in settings.calendars}
    known = lanes.lanes(connection)
    now = datetime.datetime.now(datetime.UTC)
    shown: list[tuple[queue.Listed, str]] = []
    for one in found[:limit]:
        to = one.consignment.destination
        words = outlook.consignment(
            one.consignment,
            known.get(to) or orders.Lane(to),
            destination=configured.get(to),
            calendars=calendars,
            now=now,
        )
        shown.append((one, words))
    if as_json:
        output.as_json([_plain(one, words) for one, words in shown])
        return
    columns = ("no", "destination", "state", "priority", "done", "dead", "decided", "route", "series", "next")
    rows = []
    for each, words in shown:
        parcel = each.consignment
        rows.append(
            (
                parcel.key,
                parcel.destination,
                parcel.state.value,
                parcel.priority.name.lower(),
                f"{parcel.done} of {parcel.total}",
                parcel.dead,
                parcel.created,
                parcel.route,
                parcel.series,
                words,
            )
        )
    if output.table(columns, rows) == 0:
        print("nothing stands so")
    _more(found, limit)


def _plain(one: queue.Listed, words: str) -> dict[str, Any]:
    fields = {
        field.name: getattr(one.consignment, field.name) for field in dataclasses.fields(one.consignment)
    }
    fields["priority"] = one.consignment.priority.name.lower()
    return {**fields, "worker": one.claim, "changed": one.changed, "next": words}


def letters(found: Sequence[queue.Letter], limit: int, *, as_json: bool) -> None:
    """Dead letters, each with its reason."""
    shown = found[:limit]
    if as_json:
        output.as_json([one._asdict() for one in shown])
        return
    columns = ("no", "destination", "instance", "tries", "last", "status", "why")
    rows = [
        (
            one.consignment,
            one.destination,
            one.sop_instance,
            one.attempts,
            one.at,
            "-" if one.status is None else f"{one.status:04X}",
            one.error,
        )
        for one in shown
    ]
    if output.table(columns, rows) == 0:
        print("there are no dead letters")
    _more(found, limit)


def _more(found: Sequence[object], limit: int) -> None:
    if len(found) > limit:
        print(f"the first {limit}; ask for more with --limit")
