"""Routes, pure: what is known of a settled series (or of an instance) -> where it goes, how, and why.

Whoever calls it reads the elements that `needed` names, as `header.texts` gives them, and acts on what is
returned. Routes are asked from top to bottom. In mode "first" only the first that matches has an effect, in
mode "all" each of them, until one is final or discards. What no route matches goes to the default.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

from node import evaluate, orders

DEFAULT = "default"  # the route of what no route matches

Facts = evaluate.Facts


@dataclasses.dataclass(frozen=True, slots=True)
class Effect:
    """What one route makes of what it matched."""

    route: str  # its name; "default"; "" when nothing is to happen
    destinations: tuple[
        str, ...
    ] = ()  # destinations and groups; those that an earlier effect has are left out
    never: str = ""  # the destination that made it, which a group must not choose either; "": none did
    steps: tuple[orders.StepSetting, ...] = ()  # done to what is sent
    priority: orders.Priority = orders.Priority.NORMAL  # how soon
    calendar: str | None = None  # when it may go out
    discard: str = ""  # nothing is sent, for this reason
    partial: bool = True  # False: what is not complete is held for a person
    matched: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)  # values it rests on
    missing: tuple[str, ...] = ()  # a study: what it requires, in words, and no series has


@dataclasses.dataclass(frozen=True, slots=True)
class Decision:
    """What is to happen with a series or an instance at one level."""

    effects: tuple[Effect, ...]  # in order; empty: nothing at this level

    @property
    def destinations(self) -> tuple[str, ...]:
        """Everywhere it goes, in order."""
        return tuple(name for effect in self.effects for name in effect.destinations)


@dataclasses.dataclass(frozen=True, slots=True)
class Explanation:
    """What one route says."""

    route: orders.Route  # the route
    finding: evaluate.Finding  # its condition, key by key
    asked: bool  # whether it came to it; False: an earlier route had the last word
    effect: Effect | None  # what it does; None: nothing

    def __str__(self) -> str:
        why = self.finding.why() or "it has no condition"
        if not self.finding.holds:
            return f"{self.route.name}: no, {why}"
        late = "" if self.asked else ", but an earlier route has the last word"
        return f"{self.route.name}: yes{late}, {why}"


def needed(routes: Sequence[orders.Route]) -> frozenset[str]:
    """Return the elements that the routes look at, so that nothing else need be read."""
    return evaluate.elements(_conditions(routes))


def ask_sorting(routes: Sequence[orders.Route]) -> bool:
    """Return whether a route asks how a series sorts, so that nobody sorts for nothing."""
    return any(evaluate.SORTED in evaluate.keys(part) for part in _conditions(routes))


def _conditions(routes: Sequence[orders.Route]) -> Iterator[orders.Condition]:
    return (part for route in routes for part in (route.when, *route.requires))


def facts(
    elements: Mapping[str, Sequence[str]],
    *,
    source: str = "",
    called: str = "",
    peer: str = "",
    address: str = "",
    verdict: orders.Completeness | None = None,
    instances: int | None = None,
    sorting: Sequence[str] = (),
) -> Facts:
    """Return what routes may ask: values of elements, where it came from, how it settled (None: not yet)."""
    return {
        **elements,
        evaluate.SOURCE: (source,),
        evaluate.CALLED: (called,),
        evaluate.PEER: (peer,),
        evaluate.ADDRESS: (address,),
        evaluate.VERDICT: () if verdict is None else (verdict.value,),
        evaluate.INSTANCES: () if instances is None else (str(instances),),
        evaluate.SORTED: sorting,
    }


def choose(
    routing: orders.Routing,
    routes: Sequence[orders.Route],
    known: Facts,
    *,
    level: orders.When = orders.When.SERIES,
) -> Decision:
    """Return what the routes of this level do with an instance, or with a settled series.

    The default applies to a series that no route of any level matches; then there is one effect always, with
    the route "" when there is no default either. Routes of other levels have their say about who comes first.
    """
    effects, matched = _gone_through(routing, routes, known, level)
    if not matched and level is orders.When.SERIES:
        return Decision((_default(routing, known),))
    return Decision(tuple(effects))


def choose_study(
    routing: orders.Routing, routes: Sequence[orders.Route], known: Mapping[str, Facts]
) -> dict[str, Decision]:
    """Return by series what the routes of whole studies do with each, once all series have settled."""
    missing = {
        route.name: tuple(
            evaluate.words(wanted)
            for wanted in route.requires
            if not any(evaluate.holds(wanted, one) for one in known.values())
        )
        for route in routes
        if route.level is orders.When.STUDY
    }
    found = {}
    for series, one in known.items():
        effects, _ = _gone_through(routing, routes, one, orders.When.STUDY)
        found[series] = Decision(
            tuple(dataclasses.replace(effect, missing=missing[effect.route]) for effect in effects)
        )
    return found


def explain(
    routing: orders.Routing,
    routes: Sequence[orders.Route],
    known: Facts,
) -> tuple[Explanation, ...]:
    """Return for each route of every level, in order, what it says and why."""
    found = []
    asked = True
    taken: dict[orders.When, set[str]] = {level: set() for level in orders.When}
    for route in routes:
        finding = evaluate.look(route.when, known)
        effect = None
        if finding.holds and asked:
            effect = _effect(route, finding, known, taken[route.level])
        found.append(Explanation(route, finding, asked, effect))
        asked = asked and not (effect and _last(routing, route))
    return tuple(found)


def default(routing: orders.Routing, explained: Sequence[Explanation], known: Facts) -> Effect | None:
    """Return what happens when no route matches; None: one does."""
    return None if any(one.effect for one in explained) else _default(routing, known)


def _gone_through(
    routing: orders.Routing, routes: Sequence[orders.Route], known: Facts, level: orders.When
) -> tuple[list[Effect], bool]:
    """The effects at one level, and whether any route matched, of whatever level."""
    effects: list[Effect] = []
    taken: set[str] = set()
    matched = False
    for route in routes:
        if not evaluate.holds(route.when, known):
            continue
        matched = True
        if route.level is level:
            effects.append(_effect(route, evaluate.look(route.when, known), known, taken))
        if _last(routing, route):
            break
    return effects, matched


def _last(routing: orders.Routing, route: orders.Route) -> bool:
    """Whether a route that matched is the last that is asked."""
    return routing.mode is orders.Mode.FIRST or route.final or route.discard is not None


def _effect(route: orders.Route, finding: evaluate.Finding, known: Facts, taken: set[str]) -> Effect:
    """What a route does that matched; `taken` are the destinations that routes before it chose."""
    maker = _maker(known)
    to = tuple(name for name in route.to if name not in taken and name != maker)
    taken.update(to)
    return Effect(
        route.name,
        to,
        maker,
        route.steps,
        route.priority,
        route.calendar,
        route.discard or "",
        route.partial,
        finding.matched(),
    )


def _default(routing: orders.Routing, known: Facts) -> Effect:
    maker = _maker(known)
    to = tuple(name for name in routing.default if name != maker)
    return Effect(DEFAULT, to, maker) if to else Effect("")


def _maker(known: Facts) -> str:
    """The command destination that made it: sent there again, it would go round for ever."""
    for key in (evaluate.PEER, evaluate.SOURCE):
        for value in known.get(key, ()):
            if value.startswith(evaluate.COMMAND):
                return value.removeprefix(evaluate.COMMAND)
    return ""
