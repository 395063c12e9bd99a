"""Whether programs feed each other for ever: what one makes goes to another, and what that makes comes back.

Pure. Of what a program makes nothing is known beforehand but where it comes from. A route that asks for
nothing else is certain to match; one that asks for more may.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from node import evaluate, orders


@dataclasses.dataclass(frozen=True, slots=True)
class Round:
    """A way from a program back to itself, over others."""

    programs: tuple[str, ...]  # command destinations, in order; the first comes again after the last
    ways: tuple[str, ...]  # the route from each to the next
    certain: bool  # whether it will be gone; False: it depends on what the programs make


def find(
    routing: orders.Routing,
    routes: Sequence[orders.Route],
    destinations: Sequence[orders.Destination],
    groups: Sequence[orders.Group],
) -> Round | None:
    """Return a shortest round, a certain one if there is one; a program alone never gets what it made."""
    programs = [one.name for one in destinations if one.kind is orders.Kind.COMMAND]
    members = {group.name: group.members for group in groups}
    ways = {name: _ways(name, routing, routes, members, programs) for name in programs}
    for certain in (True, False):
        open_ways = {
            name: {to: route for to, (route, sure) in found.items() if sure or not certain}
            for name, found in ways.items()
        }
        rounds = [found for name in programs if (found := _shortest(name, open_ways)) is not None]
        if rounds:
            path = min(rounds, key=len)
            steps = zip(path, path[1:] + path[:1], strict=True)
            return Round(tuple(path), tuple(open_ways[a][b] for a, b in steps), certain)
    return None


def _ways(
    name: str,
    routing: orders.Routing,
    routes: Sequence[orders.Route],
    members: Mapping[str, tuple[str, ...]],
    programs: Sequence[str],
) -> dict[str, tuple[str, bool]]:
    """The programs that get what one makes: by which route, and whether that is certain."""
    known = dict.fromkeys((evaluate.SOURCE, evaluate.PEER), (evaluate.COMMAND + name,))
    found: dict[str, tuple[str, bool]] = {}

    def add(to: Sequence[str], route: str, certain: bool) -> None:
        for place in to:
            several = members.get(place, (place,))
            for program in several:
                if program in programs and program != name:
                    sure = certain and len([one for one in several if one != name]) == 1
                    if program not in found or (sure and not found[program][1]):
                        found[program] = (route, sure)

    asked = True  # whether it is certain that it comes to the next route
    default: bool | None = True  # whether no route matches it; None: that depends
    for route in routes:
        met = evaluate.certain(route.when, known)
        if met is False:
            continue
        certain = bool(met) and asked
        add(route.to, route.name, certain)
        default = False if met or default is False else None
        if routing.mode is orders.Mode.FIRST or route.final or route.discard is not None:
            if certain:
                return found
            asked = False
    if default is not False:
        add(routing.default, "default", bool(default))
    return found


def _shortest(name: str, ways: Mapping[str, Mapping[str, str]]) -> list[str] | None:
    """The shortest way from a program back to itself."""
    paths = [[name]]
    seen: set[str] = set()
    while paths:
        longer = []
        for path in paths:
            for to in ways.get(path[-1], {}):
                if to == name:
                    return path
                if to not in seen:
                    seen.add(to)
                    longer.append([*path, to])
        paths = longer
    return None
