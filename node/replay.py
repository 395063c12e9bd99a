"""What other routes would have made of what was decided: nothing is sent, nothing is written."""

from __future__ import annotations

import collections
import dataclasses
import datetime
from collections.abc import Iterator, Mapping

import sqlalchemy

from node import errors, evaluate, model, orders, routes
from node.complete import decide
from node.files import layout
from node.index import db, decided, decisions
from node.index import series as held

_TRIES = 3  # instances of a series whose header is tried until one can be read
_STUDIES = 16  # studies whose series are remembered, for routes that look at all of them


@dataclasses.dataclass(frozen=True, slots=True)
class Way:
    """Where a series went, or would go, by one route."""

    route: str  # "default" when none matches; "" when nothing is to happen
    to: tuple[str, ...]  # destinations; a group as `name (a or b)`
    discard: str = ""  # the reason for which nothing is sent

    def __str__(self) -> str:
        if self.discard:
            return f"discarded by {self.route} ({self.discard})"
        if not self.to:
            return "nowhere" if not self.route else f"nowhere more by {self.route}"
        return f"{', '.join(self.to)} by {self.route}"


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """What differs for one series."""

    study: str  # Study Instance UID
    series: str  # Series Instance UID
    revision: int  # of the series; 0: sent on as it came
    at: datetime.datetime  # when it was decided
    before: tuple[Way, ...]  # what was decided
    after: tuple[Way, ...]  # what would be
    moved: bool  # whether it would go elsewhere; False: only by other routes
    explained: tuple[routes.Explanation, ...]  # what each new route says of it


@dataclasses.dataclass(slots=True)
class Tally:
    """How many there were, counted as they are looked at."""

    same: int = 0  # decisions that would be the same
    moved: int = 0  # that would send it elsewhere, or nowhere
    renamed: int = 0  # the same destinations by other routes
    gone: int = 0  # series that are held no more
    unreadable: int = 0  # series of which no header can be read
    kinds: collections.Counter[tuple[str, str]] = dataclasses.field(default_factory=collections.Counter)
    # (before, after) in words -> how many

    @property
    def differ(self) -> int:
        """How many would not be the same."""
        return self.moved + self.renamed


class Replay:
    """Goes through what was decided, and decides it anew by other settings."""

    def __init__(self, data: layout.Data, database: db.Database, settings: model.Settings) -> None:
        self.tally = Tally()
        self._database = database
        self._settings = settings
        self._members = {group.name: group.members for group in settings.groups}
        self._decider = decide.Decider(data, decide.Rulebook.of(settings))
        self._studies: dict[str, dict[str, routes.Facts]] = {}  # by study and series, the last few

    def run(self, since: datetime.datetime) -> Iterator[Change | None]:
        """What differs, for each that `decided.count` counts; None where nothing does."""
        for one in decided.each(self._database, since):
            yield None if one is None else self._again(one)

    def _again(self, one: decided.Decided) -> Change | None:
        with self._database.read() as connection:
            facts = held.facts(connection, one.study, one.series)
            if facts is None:
                self.tally.gone += 1
                return None
            known = self._known(connection, facts, one)
            if known is None:
                self.tally.unreadable += 1
                return None
            effects = self._effects(connection, one, known)
        return self._compare(one, effects, known)

    def _known(
        self, connection: sqlalchemy.Connection, facts: held.Facts, one: decided.Decided
    ) -> routes.Facts | None:
        """What routes may ask of a series as it was when it was decided; its first instance speaks for it."""
        for instance in decisions.first(connection, facts.key, _TRIES):
            try:
                return self._decider.known(
                    instance,
                    peer=facts.peer,
                    verdict=one.verdict,
                    instances=one.instances,
                    sorting=self._decider.sorting(connection, facts.key),
                )
            except errors.NodeError:
                continue  # the next may be readable; who is counted as unreadable is told
        return None

    def _effects(
        self, connection: sqlalchemy.Connection, one: decided.Decided, known: routes.Facts
    ) -> list[routes.Effect]:
        """What the routes make of it now, at the levels at which it was decided then."""
        routing, all_routes = self._settings.routing, self._settings.routes
        fresh = {**known, **dict.fromkeys(evaluate.SETTLED, ())}
        effects: list[routes.Effect] = []
        if one.revision == 0 or one.first:  # with no such route then, nothing was written down of it
            effects += routes.choose(routing, all_routes, fresh, level=orders.When.INSTANCE).effects
        if one.revision == 0:
            return effects
        effects += routes.choose(routing, all_routes, known).effects
        if one.whole and any(route.level is orders.When.STUDY for route in all_routes):
            study = self._study(connection, one.study) | {one.series: known}
            effects += routes.choose_study(routing, all_routes, study)[one.series].effects
        return effects

    def _study(self, connection: sqlalchemy.Connection, study: str) -> dict[str, routes.Facts]:
        """What is known of each series of a study, as they settled last."""
        known = self._studies.get(study)
        if known is None:
            verdicts = decisions.verdicts(connection, study)
            known = {}
            for facts in decisions.series_of(connection, study):
                verdict = verdicts.get(facts.series, orders.Completeness.COMPLETE)
                for instance in decisions.first(connection, facts.key, _TRIES)[:1]:
                    try:
                        known[facts.series] = self._decider.known(
                            instance,
                            peer=facts.peer,
                            verdict=verdict,
                            instances=facts.instances,
                            sorting=self._decider.sorting(connection, facts.key),
                        )
                    except errors.NodeError:
                        continue  # it is counted where its own decision is looked at
            while len(self._studies) >= _STUDIES:
                del self._studies[next(iter(self._studies))]
            self._studies[study] = known
        return known

    def _compare(
        self, one: decided.Decided, effects: list[routes.Effect], known: routes.Facts
    ) -> Change | None:
        before = tuple(Way(taken.route, taken.destinations, taken.discard) for taken in one.taken)
        went = {name for way in before for name in way.to}
        after = tuple(
            Way(effect.route, tuple(self._place(name, went) for name in effect.destinations), effect.discard)
            for effect in effects
        )
        if _ways(before) == _ways(after):
            self.tally.same += 1
            return None
        moved = {(to, "") for to in went} | _discards(before) != {
            (name, "") for way in after for name in way.to
        } | _discards(after)
        if moved:
            self.tally.moved += 1
        else:
            self.tally.renamed += 1
        self.tally.kinds[_words(before), _words(after)] += 1
        explained = routes.explain(self._settings.routing, self._settings.routes, known)
        return Change(one.study, one.series, one.revision, one.at, before, after, moved, explained)

    def _place(self, name: str, went: set[str]) -> str:
        """A group is the member that was chosen then, if that is still one of it."""
        members = self._members.get(name)
        if members is None:
            return name
        same = next((member for member in members if member in went), None)
        return same or f"{name} ({' or '.join(members)})"


def _ways(ways: tuple[Way, ...]) -> Mapping[str, tuple[frozenset[str], str]]:
    """What counts of them: by route, where to; routes that do nothing are left out."""
    return {way.route: (frozenset(way.to), way.discard) for way in ways if way.to or way.discard}


def _discards(ways: tuple[Way, ...]) -> set[tuple[str, str]]:
    return {("", way.discard) for way in ways if way.discard}


def _words(ways: tuple[Way, ...]) -> str:
    return "; ".join(str(way) for way in ways if way.to or way.discard) or "nowhere"
