"""What happens next with what is owed, and why not now, in words for people: pure."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence

from node import model, orders
from node.index import queue
from node.queue import windows

_DAY = datetime.timedelta(days=1)


def each(
    settings: model.Settings, standings: Sequence[queue.Standing], now: datetime.datetime
) -> Iterator[tuple[queue.Standing, str]]:
    """Every destination that is configured or owed something: how it stands, and what `lane` says of it."""
    configured = {one.name: one for one in settings.destinations}
    calendars = {one.name: one for one in settings.calendars}
    found = {one.lane.destination: one for one in standings}
    for name in dict.fromkeys([*configured, *found]):
        one = found.get(name) or queue.nothing(name)
        yield (
            one,
            lane(
                one.lane,
                destination=configured.get(name),
                calendars=calendars,
                waiting=one.owed.due + one.owed.running,
                running=one.owed.running,
                soonest=one.soonest,
                error=one.error,
                now=now,
            ),
        )


def lane(
    lane: orders.Lane,
    *,
    destination: orders.Destination | None,
    calendars: Mapping[str, orders.Calendar],
    waiting: int,
    running: int,
    soonest: datetime.datetime | None,
    error: str,
    now: datetime.datetime,
) -> str:
    """What keeps a destination from getting what waits for it, and when that ends; "" when nothing waits."""
    if lane.state is orders.LaneState.HELD:
        return lane.reason or "held by a person"
    if lane.state is orders.LaneState.DOWN:
        return _down(lane, now)
    if not waiting:
        return ""
    if destination is None:
        return "not in the configuration: put it there, or move what waits to another destination"
    closed = _closed(destination.calendar, calendars, now)
    if closed:
        return closed
    if running:
        return "being sent"
    if lane.failures and lane.probe is not None and lane.probe > now:
        return f"tried again {at(lane.probe, now)}: {lane.reason}"
    if soonest is not None and soonest > now:
        return f"tried again {at(soonest, now)}" + (f": {error}" if error else "")
    return "goes out when its turn comes"


def consignment(
    one: orders.Consignment,
    lane: orders.Lane,
    *,
    destination: orders.Destination | None,
    calendars: Mapping[str, orders.Calendar],
    now: datetime.datetime,
) -> str:
    """Why a consignment is where it is, and what happens next."""
    state = orders.State
    if one.state is state.DUE:
        return _due(one, lane, destination, calendars, now)
    if one.state is state.HELD:
        return f"{one.error or 'held'}; it waits until a person releases or cancels it"
    if one.state is state.RUNNING:
        return "a worker is sending it"
    if one.state is state.VERIFYING:
        return "the destination has taken all of it, and is being asked whether it keeps it"
    if one.state is state.DEAD:
        return f"{one.error or 'given up'}; a person may replay it"
    if one.state is state.CANCELLED:
        return one.error or "cancelled"
    return ""


def _due(
    one: orders.Consignment,
    lane: orders.Lane,
    destination: orders.Destination | None,
    calendars: Mapping[str, orders.Calendar],
    now: datetime.datetime,
) -> str:
    if destination is None:
        return f"{one.destination} is not in the configuration: put it there, or move this elsewhere"
    if lane.state is orders.LaneState.HELD:
        return f"{one.destination} is {lane.reason or 'held by a person'}"
    if lane.state is orders.LaneState.DOWN:
        return f"{one.destination} is down: {_down(lane, now)}"
    if one.priority is not orders.Priority.URGENT:
        for name in (destination.calendar, one.calendar):
            closed = _closed(name, calendars, now)
            if closed:
                return closed
    if one.due > now:
        return f"tried again {at(one.due, now)}" + (f": {one.error}" if one.error else "")
    if lane.failures and lane.probe is not None and lane.probe > now:
        return f"tried again {at(lane.probe, now)}: {lane.reason}"
    return "goes out when its turn comes"


def _down(lane: orders.Lane, now: datetime.datetime) -> str:
    when = "now" if lane.probe is None or lane.probe <= now else at(lane.probe, now)
    return f"{lane.reason or 'it cannot be reached'}; a C-ECHO tries it {when}"


def _closed(name: str | None, calendars: Mapping[str, orders.Calendar], now: datetime.datetime) -> str:
    if name is None or name not in calendars or windows.open_at(calendars[name], now):
        return ""
    return f"the calendar {name} opens {at(windows.next_change(calendars[name], now), now)}"


def at(moment: datetime.datetime, now: datetime.datetime) -> str:
    """A moment to come, by the clock on the wall and from now."""
    ahead = moment - now
    local = moment.astimezone()
    clock = f"at {local:%H:%M:%S}" if ahead < _DAY else f"on {local:%Y-%m-%d} at {local:%H:%M}"
    return f"{clock} (in {span(ahead.total_seconds())})"


def span(seconds: float) -> str:
    """A duration, short."""
    seconds = max(0.0, seconds)
    for limit, unit, per in ((120, "s", 1), (7200, "min", 60), (172_800, "h", 3600)):
        if seconds < limit:
            return f"{seconds / per:.0f} {unit}"
    return f"{seconds / 86_400:.0f} days"
