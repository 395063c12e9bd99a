"""What must fit together of destinations, groups, routes, completeness and the queue."""

from __future__ import annotations

from collections.abc import Mapping

from node import model, orders, rounds
from node.config import values as kinds
from node.config.fit import Key, Parts, among

# The keys that only destinations of one kind have; the first is what such a destination cannot do without.
_OF_KIND: Mapping[orders.Kind, tuple[str, ...]] = {
    orders.Kind.DICOM: (
        "peer",
        "calling",
        "window",
        "transcode",
        "verify",
        "verify_after",
        "verify_within",
    ),
    orders.Kind.FOLDER: ("folder", "template"),
    orders.Kind.COMMAND: ("command", "timeout", "memory", "cpu", "environment"),
}
_NEEDED = {
    orders.Kind.DICOM: "the name of a configured peer that has a host",
    orders.Kind.FOLDER: "the path of a folder",
    orders.Kind.COMMAND: "a program with its arguments, as a list",
}
_RESERVED = frozenset({"default"})  # what the ledger calls the route of what no route matches


def check(parts: Parts) -> None:
    """Tell of everything that does not fit."""
    for destination in parts.made["destinations"]:
        _destination(parts, destination)
    for group in parts.made["groups"]:
        _group(parts, group)
    _completeness(parts, parts.made["completeness"])
    _queue(parts, parts.made["queue"])
    routing: orders.Routing | None = parts.made["routing"]
    if routing is not None:
        _targets(parts, ("routing", "default"), routing.default)
        _reached(parts, routing, parts.made["routes"])
        _rounds(parts, routing)
    for route in parts.made["routes"]:
        _route(parts, route)


def _destination(parts: Parts, destination: orders.Destination) -> None:
    path = ("destinations", destination.name)
    needed = _OF_KIND[destination.kind][0]
    if not parts.given((*path, needed)):
        kind = f' is of kind "{destination.kind}"' if parts.given((*path, "kind")) else ""
        parts.tell(path, f"{kind} {'and ' if kind else ''}has no {needed}: give {_NEEDED[destination.kind]}")
    for kind, keys in _OF_KIND.items():
        for key in keys:
            if kind is not destination.kind and parts.given((*path, key)):
                parts.tell(
                    (*path, key), f': kind is "{destination.kind}", and only "{kind}" destinations have {key}'
                )
    if destination.kind is orders.Kind.DICOM and parts.given((*path, "peer")):
        _reachable(parts, (*path, "peer"), destination.peer)
    if destination.coerce is not None:
        parts.known((*path, "coerce"), destination.coerce, "coerce", "coercion")
    if destination.calendar is not None:
        parts.known((*path, "calendar"), destination.calendar, "calendars", "calendar")
    if destination.retry_most < destination.retry:
        place = "retry_most" if parts.given((*path, "retry_most")) else "retry"
        parts.tell(
            (*path, place),
            f": retries begin at {destination.retry:g} s and are {destination.retry_most:g} s apart at most: "
            "give a retry_most that is not shorter than retry",
        )
    if destination.kind is orders.Kind.DICOM and destination.verify is orders.Verify.NO:
        for key in ("verify_after", "verify_within"):
            if parts.given((*path, key)):
                parts.tell((*path, key), ': nothing is verified; give verify = "commit" or "find" too')


def _reachable(parts: Parts, path: Key, name: str) -> None:
    """A peer that we call must have a host."""
    if not parts.known(path, name, "peers", "peer"):
        return
    peers: dict[str, model.Peer] = {peer.name: peer for peer in parts.made["peers"]}
    if name in peers and peers[name].host is None:
        parts.tell(path, f" = {kinds.show(name)}: this peer has no host to send to: give [peers.{name}] one")


def _group(parts: Parts, group: orders.Group) -> None:
    path = ("groups", group.name)
    if group.name in parts.names["destinations"]:
        parts.tell(path, " is the name of a destination too: routes could mean either, so give another")
    seen: set[str] = set()
    for member in group.members:
        if member in parts.names["groups"] and member not in parts.names["destinations"]:
            parts.tell(
                (*path, "members"), f": {kinds.show(member)} is a group; list the destinations themselves"
            )
        elif member not in parts.names["destinations"]:
            near = among(member, parts.names["destinations"])
            parts.tell((*path, "members"), f": there is no destination {kinds.show(member)}{near}")
        elif member in seen:
            parts.tell((*path, "members"), f": {kinds.show(member)} stands there twice")
        seen.add(member)


def _targets(parts: Parts, path: Key, names: tuple[str, ...]) -> None:
    """Where something goes must be a destination or a group."""
    known = {*parts.names["destinations"], *parts.names["groups"]}
    for number, name in enumerate(names):
        if name not in known:
            parts.tell(path, f": there is no destination or group {kinds.show(name)}{among(name, known)}")
        elif name in names[:number]:
            parts.tell(path, f": {kinds.show(name)} stands there twice")


def _route(parts: Parts, route: orders.Route) -> None:
    path = ("routes", route.name)
    if route.name in _RESERVED:
        parts.tell(
            path,
            ": this name is taken, for what no route matches; give another, or use default of [routing]",
        )
    _targets(parts, (*path, "to"), route.to)
    if route.discard is None and not route.to:
        parts.tell(
            path, ' has neither to nor discard: say where it goes, as in to = ["archive"], or give a reason'
        )
    if route.discard is not None:
        for key in ("to", "steps", "priority", "calendar", "partial"):
            if parts.given((*path, key)):
                parts.tell((*path, key), f": {route.name} discards, so nothing is sent; take one of them out")
    if route.calendar is not None:
        parts.known((*path, "calendar"), route.calendar, "calendars", "calendar")
        if route.priority is orders.Priority.URGENT:
            parts.tell(
                (*path, "calendar"), ': priority is "urgent", and what is urgent does not wait for a calendar'
            )
    if route.requires and route.level is not orders.When.STUDY:
        parts.tell((*path, "requires"), f': level is "{route.level}", and only a "study" can require series')
    if not route.partial and route.level is orders.When.INSTANCE:
        parts.tell((*path, "partial"), ': level is "instance", which waits for no verdict; take it out')


def _reached(parts: Parts, routing: orders.Routing, routes: tuple[orders.Route, ...]) -> None:
    """What stands behind a route that takes everything and is the last that is asked is never asked."""
    last: orders.Route | None = None
    for route in routes:
        if last is not None:
            why = "discards" if last.discard is not None else "is final" if last.final else "comes first"
            parts.tell(
                ("routes", route.name),
                f" is never reached: route {last.name} before it has no condition and {why}",
            )
        elif route.when == orders.Condition() and (
            routing.mode is orders.Mode.FIRST or route.final or route.discard is not None
        ):
            last = route


def _rounds(parts: Parts, routing: orders.Routing) -> None:
    """Programs must not feed each other without end."""
    found = rounds.find(routing, parts.made["routes"], parts.made["destinations"], parts.made["groups"])
    if found is None or not found.certain:
        return
    turns = zip(found.programs, found.programs[1:] + found.programs[:1], found.ways, strict=True)
    said = ", ".join(f"what {maker} makes goes to {taker} by {way}" for maker, taker, way in turns)
    path = ("routing", "default") if found.ways[0] == "default" else ("routes", found.ways[0])
    parts.tell(
        path,
        f' goes round for ever: {said}; keep it out of one of them, as in when.source = "!command:*"',
    )


def _completeness(parts: Parts, policies: tuple[orders.Policy, ...]) -> None:
    everything: orders.Policy | None = None
    for policy in policies:
        path = ("completeness", policy.name)
        if policy.ask is not None:
            _reachable(parts, (*path, "ask"), policy.ask)
        if everything is not None:
            parts.tell(
                path,
                f" is never reached: policy {everything.name} before it names no peers and no modalities, "
                "and takes everything",
            )
        elif not policy.peers and not policy.modalities:
            everything = policy


def _queue(parts: Parts, queue: orders.QueueSettings | None) -> None:
    if queue is not None and queue.dead_after < 3 * queue.heartbeat:
        key = "dead_after" if parts.given(("queue", "dead_after")) else "heartbeat"
        parts.tell(
            ("queue", key),
            f": a worker counts as dead after {queue.dead_after:g} s and gives a sign of life every "
            f"{queue.heartbeat:g} s: let there be three in that time",
        )
