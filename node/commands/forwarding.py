"""What the configuration says about forwarding, in words, and what is wrong with it beyond the file itself.

`check` and `rules test` print it; `run` and a reload refuse what `mistakes` tells.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from node import errors, evaluate, model, orders, rounds, routes

if TYPE_CHECKING:
    from node.steps import convert, plan

_LEVELS = {
    orders.When.INSTANCE: "each instance as it comes",
    orders.When.SERIES: "each series once it has settled",
    orders.When.STUDY: "each series of a study once all of it has settled",
}


# -- in words -----------------------------------------------------------------------------------


def route(one: orders.Route) -> str:
    """Say what a route does with what."""
    matching = "" if one.when == orders.Condition() else f" where {evaluate.words(one.when)}"
    said = f"{_LEVELS[one.level]}{matching}: {_does(one)}"
    if one.requires:
        said += f"; partial without {' and without '.join(map(_series, one.requires))}"
    return said + ("; no further route is asked" if one.final and one.discard is None else "")


def _does(one: orders.Route) -> str:
    if one.discard is not None:
        return f"goes nowhere ({one.discard}), and no further route is asked"
    said = f"to {', '.join(one.to)}"
    if one.steps:
        said += f", after {', then '.join(step.step for step in one.steps)}"
    return said + _how(one.priority, one.calendar, one.partial)


def _how(priority: orders.Priority, calendar: str | None, partial: bool) -> str:
    said = "" if priority is orders.Priority.NORMAL else f", {priority.name.lower()}"
    said += "" if calendar is None else f", while {calendar} is open"
    return said + ("" if partial else ", held for a person unless it is complete")


def _series(condition: orders.Condition) -> str:
    return f"a series where {evaluate.words(condition)}"


def effect(one: routes.Effect, settings: model.Settings) -> list[str]:
    """Say what an effect is: a line for where it goes and how, and one for each step that is done."""
    if one.discard:
        return [f"goes nowhere by {one.route}: {one.discard}"]
    if not one.route:
        return ["goes nowhere: no route matches, and there is no default"]
    if not one.destinations:
        return [f"goes nowhere more by {one.route}: earlier routes, or what made it, have all it names"]
    lines = [
        f"to {', '.join(_place(name, settings) for name in one.destinations)} by {one.route}"
        + _how(one.priority, one.calendar, one.partial)
    ]
    for name in one.destinations:
        lines += [
            f"  for {member}: {said}"
            for member in _members(name, settings)
            for said in steps(one.steps, member, settings)
        ]
    return lines


def _members(name: str, settings: model.Settings) -> tuple[str, ...]:
    """The destinations behind a name."""
    return next((group.members for group in settings.groups if group.name == name), (name,))


def _place(name: str, settings: model.Settings) -> str:
    for group in settings.groups:
        if group.name == name:
            return f"{name} ({_choice(group)})"
    return name


def _choice(group: orders.Group) -> str:
    if group.choice is orders.Choice.FAILOVER:
        return f"the first of {', '.join(group.members)} that is up"
    return f"one of {', '.join(group.members)} in turn"


def steps(of: Sequence[orders.StepSetting], destination: str, settings: model.Settings) -> list[str]:
    """Say what is done to the copies for a destination, a sentence for each step."""
    coerce = {one.name: one.coerce for one in settings.destinations}.get(destination)
    return _plan(of, destination, settings).describe() if of or coerce is not None else []


def _plan(of: Sequence[orders.StepSetting], destination: str, settings: model.Settings) -> plan.Plan:
    """What is done to the copies for a destination; raises UsageError when it cannot be."""
    from node.steps import plan  # knows all of DICOM's elements, which takes a moment

    coerce = {one.name: one.coerce for one in settings.destinations}.get(destination)
    return plan.Plan.of(of, coerce, settings)


# -- what else is wrong ---------------------------------------------------------------------------


def mistakes(settings: model.Settings) -> list[str]:
    """What cannot be of the steps of routes and of the names of files: told before anything is sent."""
    found: list[str] = []
    for one in settings.destinations:
        if one.kind is orders.Kind.FOLDER:
            from node.send import template

            if (wrong := template.check(one.template)) is not None:
                found.append(f"destinations.{one.name}.template: {wrong}")
    for one_route in settings.routes:
        found += _steps_of(one_route, settings)
    return found


def _steps_of(one: orders.Route, settings: model.Settings) -> Iterator[str]:
    """What is wrong with the steps of a route: each by itself, then with what its destinations add."""
    if not one.steps:
        return
    from node.steps import plan

    coercions = {coercion.name: coercion for coercion in settings.coerce}
    sound = True
    for number, step in enumerate(one.steps, 1):
        wrong = plan.check(step, coercions)
        if wrong is not None:
            place = f"{step.place}: " if step.place else ""
            yield f"{place}step {number} of route {one.name}: {wrong}"
            sound = False
    known = {to.name: to for to in settings.destinations}
    for name in _behind(one, settings) if sound else ():
        try:
            made = _plan(one.steps, name, settings)
        except errors.NodeError as error:
            yield f"{one.steps[0].place}: steps of route {one.name} for {name}: {error}"
            continue
        if made.conversion is not None:
            wrong = _converted(made.conversion, one, known[name])
            if wrong is not None:
                yield f"{one.steps[-1].place}: step {len(one.steps)} of route {one.name}: {wrong}"


def _converted(step: convert.Step, one: orders.Route, destination: orders.Destination) -> str | None:
    """What is wrong with a conversion in this route and for this destination, in a sentence."""
    if one.level is orders.When.INSTANCE:
        return 'level is "instance", and a conversion takes a series as a whole: take level out'
    return step.fits(destination)


def _behind(one: orders.Route, settings: model.Settings) -> tuple[str, ...]:
    """Every destination that a route may send to."""
    return tuple(dict.fromkeys(member for to in one.to for member in _members(to, settings)))


def _steps_said(one: orders.Route, destination: str, settings: model.Settings) -> list[str]:
    """The steps in words; none when something is wrong with them, which is told elsewhere."""
    try:
        return steps(one.steps, destination, settings)
    except errors.NodeError:
        return []


def refuse(settings: model.Settings) -> None:
    """Raise ConfigError with all of `mistakes`."""
    found = mistakes(settings)
    if len(found) == 1:
        raise errors.ConfigError(found[0])
    if found:
        raise errors.ConfigError("\n  ".join([f"{len(found)} mistakes in the configuration:", *found]))


# -- for `check` ------------------------------------------------------------------------------------


def look(settings: model.Settings) -> Iterator[tuple[str, bool, str]]:
    """(thing, whether it would work, the fact or what is wrong) of everything that forwarding is made of."""
    for one in settings.destinations:
        yield _destination(one, settings)
    for group in settings.groups:
        yield "group", True, f"{group.name}: {_choice(group)}"
    for calendar in settings.calendars:
        yield "calendar", True, f"{calendar.name}: {_calendar(calendar)}"
    for policy in settings.completeness:
        yield "completeness", True, f"{policy.name}: {_policy(policy)}"
    for one_route in settings.routes:
        yield "route", True, f"{one_route.name}: {route(one_route)}"
        for name in _behind(one_route, settings):
            for said in _steps_said(one_route, name, settings):
                yield "route", True, f"{one_route.name}, for {name}: {said}"
    for wrong in mistakes(settings):
        yield "route", False, wrong
    turn = rounds.find(settings.routing, settings.routes, settings.destinations, settings.groups)
    if turn is not None:
        circle = " -> ".join([*turn.programs, turn.programs[0]])
        yield (
            "route",
            True,
            (
                f"what programs make may go round, {circle}, if it matches {', '.join(turn.ways)}: "
                'when.source = "!command:*" keeps it out of a route'
            ),
        )
    if settings.destinations:
        rest = settings.routing.default
        yield (
            "routing",
            True,
            (f"what no route matches goes {'to ' + ', '.join(rest) if rest else 'nowhere: it is kept here'}"),
        )
        if not settings.node.workers:
            yield (
                "routing",
                True,
                "workers = 0: nothing is settled or sent until `dicom-node work` runs elsewhere",
            )


def _destination(one: orders.Destination, settings: model.Settings) -> tuple[str, bool, str]:
    how = f", {one.lanes} lane(s)"
    how += f", at most {one.bandwidth} bytes a second" if one.bandwidth is not None else ""
    how += f", at most {one.rate:g} instances a second" if one.rate is not None else ""
    how += f", while {one.calendar} is open" if one.calendar is not None else ""
    ok = True
    if one.kind is orders.Kind.DICOM:
        peer = next(peer for peer in settings.peers if peer.name == one.peer)
        said = f"{peer.aet} at {peer.host}:{peer.port}{' over TLS' if peer.tls else ''}{how}"
        said += "" if one.verify is orders.Verify.NO else f", verified by {one.verify.value}"
    elif one.kind is orders.Kind.FOLDER:
        said = f"files {one.folder}/{one.template}{how}"
        assert one.folder is not None
        if not one.folder.is_dir() and not one.folder.parent.is_dir():
            ok, said = False, f"{one.folder.parent} is not there: make it, or mount what it lies on"
    else:
        from node.send import program

        said = f"command {' '.join(one.command)}{how}, at most {one.timeout:g} s"
        wrong = program.check(one.command)
        if wrong is not None:
            ok, said = False, f"command: {wrong}"
    return "destination", ok, f"{one.name}: {said}"


def _calendar(calendar: orders.Calendar) -> str:
    from node.queue import windows

    now = datetime.datetime.now().astimezone()
    opened = windows.open_at(calendar, now)
    change = windows.next_change(calendar, now).astimezone()
    return f"{'open' if opened else 'closed'} now, {'closes' if opened else 'opens'} {change:%Y-%m-%d %H:%M}"


def _policy(policy: orders.Policy) -> str:
    whose = f"series from {', '.join(policy.peers)}" if policy.peers else "series"
    whose += f" of {', '.join(policy.modalities)}" if policy.modalities else ""
    signals = [
        word
        for word, heeded in (
            ("expected counts", policy.expected),
            ("procedure steps", policy.steps),
            (f"what {policy.ask} answers", policy.ask is not None),
            ("gaps between slices", policy.geometry),
        )
        if heeded
    ]
    released = (
        "" if policy.released is None else f", or {policy.released:g} s after the associations are over"
    )
    waits = f", waiting {policy.wait:g} s for what is missing by {', '.join(signals)}" if signals else ""
    return f"{whose} settle after {policy.quiet:g} s without a new instance{released}{waits}"
