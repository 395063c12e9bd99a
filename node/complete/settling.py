"""What is settled is written down with what follows from it: verdict, decisions, orders; one transaction."""

from __future__ import annotations

import collections
import datetime
from collections.abc import Callable, Sequence

import sqlalchemy

from node import completeness, failpoints, log_forwarding, metrics, model, orders, routes
from node.complete import decide
from node.files import layout
from node.index import db, decisions, desk, keys, ledger, lookup, queue, series, witness
from node.queue import bell

_PAGE = 500  # instances that are sent on in one transaction
_Pairs = list[tuple[int, str]]  # instance keys and SOP Instance UIDs


class Settling:
    """Writes for the router; used by its thread alone."""

    def __init__(
        self,
        database: db.Database,
        data: layout.Data,
        rulebook: decide.Rulebook,
        ledgers: witness.Witness | None,
        now: Callable[[], datetime.datetime],
        meter: metrics.Metrics | None = None,
    ) -> None:
        self.database = database
        self.decider = decide.Decider(data, rulebook)
        self.now = now  # what stands in rows
        self._data = data
        self._ledgers = ledgers
        self._meter = meter
        self._forwarded = -1  # key of the last instance that was sent on, or need not be

    @property
    def rulebook(self) -> decide.Rulebook:
        """What the configuration says."""
        return self.decider.rulebook

    def apply(self, rulebook: decide.Rulebook) -> None:
        """Take other rules from now on."""
        self.decider.rulebook = rulebook

    # -- a series -----------------------------------------------------------------------------------

    def settle(
        self,
        facts: series.Facts,
        signals: completeness.Signals,
        policy: orders.Policy,
        judgement: completeness.Judgement,
    ) -> int | None:
        """Settle a series as it was judged; its revision, or None when more came or somebody was faster."""
        with self.database.read() as connection:
            known = self.decider.of_series(connection, facts, judgement.verdict)
            up = decide.states(connection, self.rulebook)
        decision = routes.choose(self.rulebook.routing, self.rulebook.routes, known)
        now = self.now()
        with self.database.write() as connection:
            keys.lock(connection)
            revision = series.settle(connection, facts, now)
            if revision is None:
                return None
            instances, newest, before = _held(connection, facts)
            told = completeness.written(signals, policy, judgement)
            seen = decisions.Settlement(
                orders.When.SERIES,
                facts.study,
                facts.series,
                revision,
                judgement.verdict,
                facts.instances,
                told | {"newest": newest, "before": before},
            )
            made, owed = self.decider.follow(
                decision.effects,
                up,
                study=facts.study,
                series=facts.series,
                revision=revision,
                verdict=judgement.verdict,
                why=judgement.why,
            )
            self._let_go(connection, facts.series, decision.effects, judgement.verdict, now)
            new = self._owe(connection, made, owed, instances, now)
            # Last of its lines: where it stands, a rebuild has what follows from it too.
            decisions.settled(connection, seen, now, self._ledgers)
            failpoints.hit("complete.before-commit")
        failpoints.hit("complete.after-commit")
        if self._meter is not None:
            self._meter.settled(orders.When.SERIES, judgement.verdict)
        log_forwarding.series_settled(
            study=facts.study,
            series=facts.series,
            revision=revision,
            verdict=judgement.verdict.value,
            by=judgement.by.value if judgement.by is not None else "",
            instances=facts.instances,
            policy=policy.name,
        )
        self._tell(new, bool(owed))
        return revision

    def _let_go(
        self,
        connection: sqlalchemy.Connection,
        series_uid: str,
        effects: Sequence[routes.Effect],
        verdict: orders.Completeness,
        now: datetime.datetime,
    ) -> None:
        """What a route held for being partial goes out once the rest of it has come."""
        if verdict is not orders.Completeness.COMPLETE:
            return
        for effect in effects:
            if effect.partial:
                continue
            for key in decisions.held_by_route(connection, series_uid, effect.route):
                why = "it is complete now"
                by = desk.Desk(connection, who="the router", why=why, now=now, witness=self._ledgers)
                by.release(queue.Chosen(consignment=key, states=(orders.State.HELD,)))

    def _owe(
        self,
        connection: sqlalchemy.Connection,
        made: Sequence[decisions.Decision],
        owed: Sequence[decide.Owed],
        instances: _Pairs,
        now: datetime.datetime,
    ) -> list[decisions.Decision]:
        """Write decisions and orders; the decisions that are new."""
        for one in owed:
            due = decide.instances(connection, one, instances)
            if due:
                ledger.enqueue(connection, one.order, due, now, witness=self._ledgers)
        return decisions.decide(connection, made, now, self._ledgers)

    def _tell(self, made: Sequence[decisions.Decision], owed: bool) -> None:
        if owed:
            bell.ring(self._data)
        for one in made:
            log_forwarding.decided(
                study=one.study,
                series=one.series,
                revision=one.revision,
                route=one.route,
                destinations=" ".join(one.destinations),
                discard=one.discard,
            )

    # -- a study ------------------------------------------------------------------------------------

    def study(
        self, study: str, *, expected: Sequence[series.Facts], patient: bool, quiet: float
    ) -> tuple[bool, tuple[str, ...]]:
        """Settle a study whose series are as `expected`; whether it is done with, and what it lacks.

        While `patient`, it is not settled when a route requires a series that is not there.
        """
        with self.database.read() as connection:
            if not decisions.behind(connection, study):
                return True, ()
            revision, _ = decisions.of_study(connection, study)
            verdicts = decisions.verdicts(connection, study)
            chosen: dict[str, routes.Decision] = {}
            if self.rulebook.has(orders.When.STUDY):
                known = {
                    one.series: self.decider.of_series(
                        connection, one, verdicts.get(one.series, orders.Completeness.COMPLETE)
                    )
                    for one in expected
                }
                chosen = routes.choose_study(self.rulebook.routing, self.rulebook.routes, known)
            up = decide.states(connection, self.rulebook)
        lacks = {
            effect.route: effect.missing
            for decision in chosen.values()
            for effect in decision.effects
            if effect.missing
        }
        missing = tuple(f"{name} requires {words}" for name, all_of in lacks.items() for words in all_of)
        if missing and patient:
            return False, missing
        verdict = _together([verdicts[one.series] for one in expected if one.series in verdicts], missing)
        total = sum(one.instances for one in expected)
        counts = collections.Counter(verdicts[one.series].value for one in expected if one.series in verdicts)
        now = self.now()
        new: list[decisions.Decision] = []
        with self.database.write() as connection:
            keys.lock(connection)
            stands = decisions.series_of(connection, study)
            if stands != list(expected) or decisions.of_study(connection, study)[0] != revision:
                return False, ()
            reasons = [f"{len(expected)} series, nothing came for {quiet:g} s", *missing]
            reasons[1:1] = [f"{many} of its series {name}" for name, many in sorted(counts.items())]
            seen = decisions.Settlement(
                orders.When.STUDY,
                study,
                "",
                revision + 1,
                verdict,
                total,
                {"by": "quiet", "reasons": reasons, "series": len(expected), "missing": list(missing)},
            )
            owes = False
            for one in expected:
                # What was held before there were routes was not settled by anybody, and is not sent.
                if one.series not in chosen or one.series not in verdicts:
                    continue
                made, owed = self.decider.follow(
                    chosen[one.series].effects,
                    up,
                    study=study,
                    series=one.series,
                    revision=one.revision,
                    verdict=verdict,
                    why=reasons[-1],
                )
                owes = owes or bool(owed)
                self._let_go(connection, one.series, chosen[one.series].effects, verdict, now)
                new += self._owe(connection, made, owed, _held(connection, one)[0], now)
            decisions.settled(connection, seen, now, self._ledgers)  # last, as above
        if self._meter is not None:
            self._meter.settled(orders.When.STUDY, verdict)
        log_forwarding.study_settled(
            study=study,
            revision=revision + 1,
            verdict=verdict.value,
            series=len(expected),
            instances=total,
        )
        self._tell(new, owes)
        return True, missing

    # -- as it comes --------------------------------------------------------------------------------

    def note(self, place: int) -> None:
        """Remember that all instances up to there were seen, when none of them is sent on as it comes."""
        with self.database.write() as connection:
            decisions.move(connection, place, self.now())

    def forward(self, upto: int) -> bool:
        """Send on what came, by the routes that wait for nothing; whether there is more of it."""
        if upto <= self._forwarded or not self.rulebook.has(orders.When.INSTANCE):
            return False
        with self.database.read() as connection:
            place = decisions.place(connection)
            batch = [(key, held) for key, held, _ in lookup.each(connection, place, _PAGE)]
            up = decide.states(connection, self.rulebook)
        if not batch:
            self._forwarded = max(upto, place)
            return False
        plans = [(key, held, self._of_instance(held)) for key, held in batch]
        now = self.now()
        with self.database.write() as connection:
            keys.lock(connection)
            # The other worker may have been faster with some of them.
            place = decisions.place(connection)
            new, owes = self._send_on(connection, [plan for plan in plans if plan[0] > place], up, now)
            decisions.move(connection, batch[-1][0], now)
            failpoints.hit("complete.before-commit")
        self._forwarded = batch[-1][0]
        self._tell(new, owes)
        return len(batch) == _PAGE

    def _of_instance(self, held: model.Instance) -> routes.Decision:
        known = self.decider.of_instance(held)
        return routes.choose(self.rulebook.routing, self.rulebook.routes, known, level=orders.When.INSTANCE)

    def _send_on(
        self,
        connection: sqlalchemy.Connection,
        plans: Sequence[tuple[int, model.Instance, routes.Decision]],
        up: decide.Lanes,
        now: datetime.datetime,
    ) -> tuple[list[decisions.Decision], bool]:
        """Orders for the instances of each series together, by route and destination."""
        made: dict[tuple[str, str, str], decisions.Decision] = {}
        owed: dict[tuple[str, str, str, str], tuple[decide.Owed, _Pairs]] = {}
        for key, held, decision in plans:
            identity = held.identity
            decided, wanted = self.decider.follow(
                decision.effects,
                up,
                study=identity.study,
                series=identity.series,
                revision=0,
                verdict=None,
            )
            for one in decided:
                made.setdefault((one.study, one.series, one.route), one)
            for order in wanted:
                name = (identity.study, identity.series, order.order.route, order.order.destination)
                owed.setdefault(name, (order, []))[1].append((key, identity.sop_instance))
        for order, instances in owed.values():
            due = decide.instances(connection, order, instances)
            if due:
                ledger.enqueue(connection, order.order, due, now, witness=self._ledgers)
        return decisions.decide(connection, list(made.values()), now, self._ledgers), bool(owed)


def _held(connection: sqlalchemy.Connection, facts: series.Facts) -> tuple[_Pairs, str, int]:
    """The instances of a series that may be sent, the UID of its newest, and how many may not be sent.

    Those are what was held before there were routes: it does not go out because something comes late.
    """
    held = decisions.instances(connection, facts.key)
    before = 0
    if facts.revision:
        known = decisions.last_settled(connection, facts.study, facts.series)
        before = facts.settled_instances if known is None else known[1]
    return held[before:], held[-1][1] if held else "", before


def _together(verdicts: Sequence[orders.Completeness], missing: Sequence[str]) -> orders.Completeness:
    """What a study is, from its series."""
    if orders.Completeness.INCONSISTENT in verdicts:
        return orders.Completeness.INCONSISTENT
    if missing or orders.Completeness.PARTIAL in verdicts:
        return orders.Completeness.PARTIAL
    return orders.Completeness.COMPLETE
