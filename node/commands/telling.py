"""How `why` tells a story: on a terminal in sentences that fit its width, for programs as it is."""

from __future__ import annotations

import dataclasses
import datetime
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from node import model, orders, outlook, routes
from node.commands import output
from node.dicom import statuses
from node.files import deeds
from node.index import why

_GOOD = {orders.State.DONE, orders.State.CANCELLED}
_STYLES = {
    orders.State.DONE: "green",
    orders.State.DEAD: "bold red",
    orders.State.HELD: "yellow",
    orders.State.DUE: "cyan",
    orders.State.RUNNING: "cyan",
    orders.State.VERIFYING: "cyan",
}
_VERDICTS = {"complete": "green", "partial": "yellow", "inconsistent": "bold red"}


@dataclasses.dataclass(frozen=True, slots=True)
class Told:
    """A story, and what is known of it beside the index."""

    story: why.Story  # what the index knows
    deeds: Sequence[deeds.Deed]  # what people did
    explained: Mapping[str, Sequence[routes.Explanation]]  # by series, what the routes of now say


class Line(NamedTuple):
    """One paragraph."""

    depth: int  # how far it stands in
    text: str  # what it says
    style: str = ""  # on a terminal that has colours


def show(told: Told, settings: model.Settings, now: datetime.datetime) -> None:
    """Print it."""
    lines = list(_story(told, settings, now))
    if not sys.stdout.isatty():
        for line in lines:
            print("  " * line.depth + output.cell(line.text) if line.text else "")
        return
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text

    console = Console(highlight=False)
    for line in lines:
        console.print(Padding(Text(output.cell(line.text), style=line.style), (0, 0, 0, 2 * line.depth)))


# -- the story ------------------------------------------------------------------------------------------


def _story(told: Told, settings: model.Settings, now: datetime.datetime) -> Iterator[Line]:
    story = told.story
    if story.level is why.Level.STUDY:
        count = len(story.series) + story.more
        yield Line(0, f"study {story.study}: {count} series", "bold")
        for one in story.settled:
            yield from _settled(one)
    for series in story.series:
        yield from _series(told, series, settings, now)
    if story.more:
        yield Line(0, f"and {story.more} more series: ask for each by its UID")


def _series(told: Told, one: why.Series, settings: model.Settings, now: datetime.datetime) -> Iterator[Line]:
    story = told.story
    if story.level is why.Level.INSTANCE:
        held = "held" if one.held else "not held any more" if one.removed else "not held"
        yield Line(0, f"instance {story.uid}: {held}", "bold")
        yield Line(0, f"of series {one.series}, study {story.study}")
    else:
        yield Line(
            0, f"series {one.series}: {one.modality or 'no modality'}, {one.held} instances held", "bold"
        )
        if story.level is why.Level.SERIES:
            yield Line(0, f"of study {story.study}")
    yield from _chapter("it came", _came(one))
    yield from _chapter("it settled", [line for each in one.settled for line in _settled(each)])
    if one.held and not one.settled and not one.decided:
        yield Line(1, "it did not settle yet: instances still come, or are waited for", "cyan")
    yield from _chapter("it was routed", _routed(told, one))
    yield from _chapter(
        "it was sent", [line for sent in one.sent for line in _sent(sent, story, settings, now)]
    )
    if one.unrouted and one.settled and story.level is not why.Level.INSTANCE:
        yield Line(1, f"{one.unrouted} instances that are held were never owed to a destination")
    mine = [deed for deed in told.deeds if deed.series == one.series]
    yield from _chapter("people did", [_deed(deed) for deed in mine])
    yield from _chapter("it was removed", [_removed(each) for each in one.removed])
    yield Line(0, "")


def _chapter(title: str, lines: Sequence[Line]) -> Iterator[Line]:
    if lines:
        yield Line(0, title, "dim")
        yield from lines


def _came(one: why.Series) -> list[Line]:
    found = []
    for came in one.came:
        sender = came.calling or "an import"
        if came.peer and came.peer != came.calling:
            sender += f" ({came.peer})"
        place = f" from {came.address}" if came.address and came.address != sender else ""
        called = f", which called {came.called}" if came.called else ""
        text = f"{_time(came.first)}  {sender}{place}{called}: {came.many} {came.verdict}"
        if came.many > 1:
            text += f" within {outlook.span((came.last - came.first).total_seconds())}"
        if came.rule:
            text += f", by the rule {came.rule}" + (f": {came.reason}" if came.reason else "")
        elif came.reason:
            text += f": {came.reason}"
        good = came.verdict in (model.Verdict.STORED, model.Verdict.DUPLICATE)
        found.append(Line(1, text, "" if good else "yellow"))
    return found


def _settled(one: why.Settled) -> list[Line]:
    text = f"{_time(one.at)}  revision {one.revision}: {one.verdict}, {one.instances} instances"
    policy = one.signals.get("policy")
    if policy:
        text += f" (completeness.{policy})"
    found = [Line(1, text, _VERDICTS.get(one.verdict, ""))]
    reasons = one.signals.get("reasons")
    if isinstance(reasons, list) and reasons:
        found.append(Line(3, "; ".join(str(reason) for reason in reasons)))
    return found


def _routed(told: Told, one: why.Series) -> list[Line]:
    found = []
    for decided in one.decided:
        found.append(Line(1, _decision(decided)))
        values = "; ".join(f"{key} is {_values(value)}" for key, value in decided.matched.items())
        if values:
            found.append(Line(3, f"because {values}"))
    taken = {decided.route for decided in one.decided}
    others = [each for each in told.explained.get(one.series, ()) if each.route.name not in taken]
    if others:
        found.append(Line(1, "the other routes, as they are configured now:"))
        found += [Line(2, str(each)) for each in others]
    return found


def _decision(decided: why.Decided) -> str:
    begin = f"{_time(decided.at)}  "
    begin += f"revision {decided.revision}: " if decided.revision else "as it came: "
    if decided.discard:
        return f"{begin}route {decided.route} sends it nowhere: {decided.discard}"
    if not decided.route:
        return f"{begin}no route matched, and there is no default: it stays here"
    route = (
        "no route matched, so the default" if decided.route == routes.DEFAULT else f"route {decided.route}"
    )
    return f"{begin}{route}: {', '.join(decided.destinations) or 'nowhere'}"


def _values(value: object) -> str:
    values = value if isinstance(value, list) else [value]
    return ", ".join(repr(str(each)) for each in values) or "empty"


def _sent(
    one: why.Sent, story: why.Story, settings: model.Settings, now: datetime.datetime
) -> Iterator[Line]:
    parcel = one.consignment
    counts = f"{parcel.done} of {parcel.total} delivered"
    if parcel.dead:
        counts += f", {parcel.dead} given up"
    if parcel.cancelled:
        counts += f", {parcel.cancelled} cancelled"
    if one.bytes and parcel.done:
        counts += f", {output.size(one.bytes)}"
    if one.verified:
        counts += f", {one.verified} verified"
    through = f" through {parcel.group}" if parcel.group else ""
    head = f"{_time(one.changed)}  {parcel.destination}{through}: {parcel.state.value}, {counts}"
    yield Line(1, head, _STYLES.get(parcel.state, ""))
    about = f"consignment {parcel.key}, {parcel.route or 'no route'}, "
    about += f"revision {parcel.revision}" if parcel.revision else "as it came"
    if parcel.priority is not orders.Priority.NORMAL:
        about += f", {parcel.priority.name.lower()}"
    if one.claim:
        about += f", at {one.claim}"
    if parcel.crashes:
        about += f"; workers died over it {parcel.crashes} times"
    yield Line(3, about)
    words = outlook.consignment(
        parcel,
        one.lane,
        destination=next((each for each in settings.destinations if each.name == parcel.destination), None),
        calendars={each.name: each for each in settings.calendars},
        now=now,
    )
    if words:
        yield Line(3, words, "" if parcel.state in _GOOD else _STYLES.get(parcel.state, ""))
    if one.verification is not None:
        yield Line(3, _asked(one.verification, now))
    for delivered in one.deliveries:
        yield from _delivered(delivered, whole=story.level is why.Level.INSTANCE)


def _asked(asked: why.Asked, now: datetime.datetime) -> str:
    text = f"asked {asked.attempts} times whether it keeps it"
    if asked.transaction_uid is not None and asked.asked is not None:
        text = f"storage commitment requested {_time(asked.asked)} as {asked.transaction_uid}"
    if asked.due > now:
        text += f", looked at again {outlook.at(asked.due, now)}"
    return text + (f": {asked.error}" if asked.error else "")


def _delivered(one: why.Delivered, *, whole: bool) -> Iterator[Line]:
    if not whole:
        if one.state is orders.State.DUE and not one.error:
            return  # like all the others
        yield Line(3, f"{one.sop_instance}: {one.state.value}" + (f", {one.error}" if one.error else ""))
        return
    cancelled = one.state is orders.State.CANCELLED
    for attempt in one.tries:
        # Why nothing more is sent stands at the last attempt, and is said below.
        said_below = cancelled and attempt.error == one.error
        yield Line(3, *_try(attempt._replace(error="") if said_below else attempt))
    if one.verified is not None:
        yield Line(3, f"{_time(one.verified)}  found there afterwards", "green")
    if cancelled or (not one.tries and one.state is not orders.State.DUE):
        yield Line(3, one.error or one.state.value)


def _try(one: why.Try) -> tuple[str, str]:
    """One attempt in words, and their style."""
    what, style, error = "no answer", "cyan", one.error
    if one.status is not None:
        said, kind = statuses.text(one.status), statuses.classify(one.status)
        # What was refused says so in the same words.
        said, error = (error, "") if error.startswith(said) else (said, error)
        what, style = f"{_KINDS[kind]}: {said}", _KIND_STYLES.get(kind, "green")
    text = f"{_time(one.at)}  {what}"
    if one.syntax:
        text += f", as {_syntax(one.syntax)}, {output.size(one.size)}"
    if one.seconds is not None:
        text += f", {one.seconds * 1000:.0f} ms"
    if one.outcome is orders.State.DEAD:
        style = "bold red"
    return text + (f"; {error}" if error else ""), style


_KINDS = {
    statuses.Kind.SUCCESS: "taken",
    statuses.Kind.WARNING: "taken with a warning",
    statuses.Kind.RETRY: "refused for now",
    statuses.Kind.PERMANENT: "refused for good",
}
_KIND_STYLES = {statuses.Kind.RETRY: "cyan", statuses.Kind.PERMANENT: "red"}


def _syntax(uid: str) -> str:
    import pydicom.uid  # slow to load, and few stories need it

    return str(pydicom.uid.UID(uid).name)


def _deed(deed: deeds.Deed) -> Line:
    verb = _DEEDS.get(deed.action, deed.action)
    at = datetime.datetime.fromisoformat(deed.at) if deed.at else None
    text = f"{_time(at)}  {deed.who} {verb} what goes to {deed.destination}"
    if "to" in deed.more:
        text += f", to {deed.more['to']}"
    if "priority" in deed.more:
        text += f": {orders.Priority(deed.more['priority']).name.lower()}"
    return Line(1, text + (f": {deed.why}" if deed.why else ""))


_DEEDS = {
    "hold": "held",
    "release": "released",
    "retry": "had tried again",
    "cancel": "cancelled",
    "replay": "replayed",
    "resend": "had sent once more",
    "move": "moved",
    "priority": "gave another priority to",
}


def _removed(one: why.Removed) -> Line:
    return Line(1, f"{_time(one.at)}  {one.many} by {one.who}: {one.why}")


def _time(moment: datetime.datetime | None) -> str:
    return output.cell(moment)


# -- for programs ---------------------------------------------------------------------------------------


def plain(told: Told) -> dict[str, Any]:
    """Every fact, by name."""
    found = _plain(told.story)
    found["deeds"] = [deed._asdict() for deed in told.deeds]
    found["routes"] = {
        series: [
            {
                "route": one.route.name,
                "matches": one.finding.holds,
                "asked": one.asked,
                "why": one.finding.why(),
            }
            for one in explained
        ]
        for series, explained in told.explained.items()
    }
    assert isinstance(found, dict)
    return found


def _plain(value: Any) -> Any:
    """Tuples that have names as objects: JSON would make lists of them."""
    make: Callable[[Any], Any] = _plain
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: make(each) for name, each in value._asdict().items()}
    if isinstance(value, orders.Priority):
        return value.name.lower()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: make(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, tuple | list):
        return [make(each) for each in value]
    if isinstance(value, Mapping):
        return {str(name): make(each) for name, each in value.items()}
    return value
