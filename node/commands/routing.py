"""What routes would make of files: for `rules test`, which has read them."""

from __future__ import annotations

import collections
import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

from node import model, orders, routes
from node.commands import forwarding


@dataclasses.dataclass(frozen=True, slots=True)
class File:
    """A file as it would be held."""

    path: pathlib.Path  # where it is
    study: str  # Study Instance UID
    series: str  # Series Instance UID
    known: Mapping[str, Sequence[str]]  # what routes may ask of it


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """What routes say of one file, and what would then happen."""

    explained: tuple[routes.Explanation, ...]  # each route, in order
    effects: Mapping[orders.When, tuple[routes.Effect, ...]]  # by level; those without any are left out

    def lines(self, settings: model.Settings) -> list[str]:
        """Say it: each route with its reason, then where it goes."""
        said = [f"route {one}" for one in self.explained]
        for level, effects in self.effects.items():
            for effect in effects:
                first, *further = forwarding.effect(effect, settings)
                said += [f"{_WHEN[level]}: {first}", *further]
                said += [f"  missing is a series where {one}" for one in effect.missing]
        return said

    def words(self) -> dict[str, object]:
        """The same for a program."""
        return {
            "routes": [
                {
                    "route": one.route.name,
                    "level": one.route.level,
                    "matches": one.finding.holds,
                    "asked": one.asked,
                    "finding": one.finding,
                    "why": one.finding.why(),
                }
                for one in self.explained
            ],
            "effects": {level.value: effects for level, effects in self.effects.items()},
        }


_WHEN = {
    orders.When.INSTANCE: "as it comes",
    orders.When.SERIES: "once its series has settled",
    orders.When.STUDY: "once its study has settled",
}


def outcomes(
    settings: model.Settings,
    files: Sequence[File],
    verdict: orders.Completeness,
    instances: int | None,
) -> dict[pathlib.Path, Outcome]:
    """By path, what becomes of each; they are all there is of their series, for which the first speaks."""
    count = collections.Counter(file.series for file in files)
    settled: dict[str, dict[str, routes.Facts]] = {}  # by study and series, as the first instance says
    for file in files:
        many = count[file.series] if instances is None else instances
        known = {**file.known, "verdict": (verdict.value,), "instances": (str(many),)}
        settled.setdefault(file.study, {}).setdefault(file.series, known)
    whole = {
        study: routes.choose_study(settings.routing, settings.routes, known)
        for study, known in settled.items()
    }
    return {
        file.path: _outcome(settings, file, settled[file.study][file.series], whole[file.study][file.series])
        for file in files
    }


def _outcome(settings: model.Settings, file: File, known: routes.Facts, study: routes.Decision) -> Outcome:
    """What becomes of one, by itself and as a part of its series and study."""
    routing, all_routes = settings.routing, settings.routes
    effects = {
        orders.When.INSTANCE: routes.choose(routing, all_routes, file.known, level=orders.When.INSTANCE),
        orders.When.SERIES: routes.choose(routing, all_routes, known),
        orders.When.STUDY: study,
    }
    return Outcome(
        routes.explain(routing, all_routes, known),
        {level: decision.effects for level, decision in effects.items() if decision.effects},
    )
