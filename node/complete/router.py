"""The router: what has come is settled by its signals, and what routes decide about it becomes owed.

One runs in every worker process; comparing before setting makes two of them harmless. It is woken by the bell
when something was filed, an association ended or a step changed, and else by the next moment at which
something may settle. All its waiting is measured on a clock that nobody sets: a wall clock that jumps settles
nothing.
"""

from __future__ import annotations

import contextlib
import datetime
import heapq
import math
import threading
import time
from collections.abc import Callable

import sqlalchemy

from node import completeness, errors, log, log_forwarding, metrics, model, orders
from node.complete import asker, decide, evidence, settling, studies
from node.files import filed, layout, live
from node.index import db, decisions, series, witness
from node.queue import bell

_MOST = 200  # series that one look judges, so that a stop and what comes in are never far away
_IDLE = 30.0  # seconds between looks when nothing is expected and nobody rings
_SOON = 0.02  # seconds until a series is looked at again that changed under the look
_UNFILED = 0.25  # seconds until it is looked at again whether what was acknowledged is filed
_REFUSED = 1.0  # seconds until a series is looked at again for which the database or the disk refused
_TROUBLED = 60.0  # seconds until a series is looked at again that broke its judge
_PATIENCE = 600.0  # seconds that filing may be behind until a series is settled with what is filed
_SAVE_AFTER = 2.0  # seconds between notes of the place when nothing else is written
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 5.0  # seconds between tries while the database refuses


class Router:
    """Settles series and studies, and writes down what is owed by that."""

    def __init__(
        self,
        database: db.Database,
        data: layout.Data,
        settings: model.Settings,
        name: str = "router",
        *,
        meter: metrics.Metrics | None = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime.datetime] = lambda: datetime.datetime.now(datetime.UTC),
    ) -> None:
        """`clock` never goes back; `now` is what stands in rows."""
        self._database = database
        self._data = data
        self._clock = clock
        self._bell = bell.Bell(data, name)
        self._open = live.Open(data)
        self._filed = filed.Filed(data)
        rulebook = decide.Rulebook.of(settings)
        self._asker = asker.Asker(rulebook.calling, rulebook.tls)
        self._settling = settling.Settling(database, data, rulebook, witness.Witness(data), now, meter)
        self._new_settings: model.Settings | None = None  # taken at the next look
        self._lock = threading.Lock()  # answers come from other threads
        self._answers: list[tuple[int, completeness.Answer]] = []  # that nobody has looked at yet
        self._pending: dict[int, evidence.Watched] = {}
        self._bringing: set[int] = set()  # keys of those that open associations bring
        self._times: list[
            tuple[float, int]
        ] = []  # (when, key): a heap; what was postponed stands in it twice
        self._studies = studies.Studies(self._settling)
        self._place: int | None = None  # key of the last instance that was seen; None: it has not begun
        self._saved = (0, -math.inf)  # the place as it was written down, and when
        self._steps = 0  # changes of performed procedure steps that were seen

    # -- running --------------------------------------------------------------------------------

    def run(self, stop: threading.Event) -> None:
        """Look until told to stop; `wake` ends a wait."""
        pause = _FIRST_PAUSE
        while not stop.is_set():
            try:
                wait = self.look()
                pause = _FIRST_PAUSE
            except (errors.Transient, OSError) as error:
                log_forwarding.router_waits(error=error, retry_in=pause)
                wait, pause = pause, min(2 * pause, _LONGEST_PAUSE)
            except Exception as error:  # noqa: BLE001 - the edge: what is wrong with one must not end all
                log.unexpected(where="router", error=error)
                wait, pause = pause, min(2 * pause, _LONGEST_PAUSE)
            if wait > 0 and not stop.is_set():
                self._bell.wait(wait)
        with contextlib.suppress(errors.Transient):
            self._note_place(force=True)

    def wake(self) -> None:
        """End a wait, from another thread."""
        self._bell.ring()

    def apply(self, settings: model.Settings) -> None:
        """Take other settings from the next look on; what is settled is not decided anew."""
        with self._lock:
            self._new_settings = settings
        self._bell.ring()

    def close(self) -> None:
        """Let go of everything."""
        self._asker.close()
        self._bell.close()
        self._open.close()
        self._filed.close()

    # -- one look -------------------------------------------------------------------------------

    def look(self) -> float:
        """Do what there is to do; the seconds until something may be to do again."""
        self._take_settings()
        # In this order: what the tables call over was acknowledged before, the mark is behind all of that,
        # and what is filed up to the mark is in the rows that are read last.
        seen = self._open.look()
        mark = self._filed.mark()
        now = self._clock()
        if self._place is None:
            self._begin(now)
        self._notice(seen, now)
        more = self._settling.forward(self._place or 0)
        self._notice_ends(seen, now)
        self._take_answers(now)
        if seen.steps != self._steps:
            self._steps = seen.steps
            for one in self._pending.values():
                one.closely = True
                self._at(one, now)
        busy = self._judge(mark, now)
        study_wait = self._studies.look(now, self._clock)
        self._note_place()
        if more or busy:
            return 0.0
        while self._times and self._times[0][1] not in self._pending:
            heapq.heappop(self._times)
        next_series = self._times[0][0] - self._clock() if self._times else _IDLE
        return max(0.0, min(next_series, study_wait, _IDLE))

    def _take_settings(self) -> None:
        with self._lock:
            settings = self._new_settings
        if settings is None:
            return
        self._note_place(force=True)  # a route that comes now is for what comes now
        rulebook = decide.Rulebook.of(settings)
        self._settling.apply(rulebook)
        self._asker.calling, self._asker.secure = rulebook.calling, rulebook.tls
        self._studies.apply()
        with self._database.read() as connection:
            facts = series.each(connection, list(self._pending))
        for one in facts:
            self._pending[one.key].policy = rulebook.policy(one)
            self._at(self._pending[one.key], self._clock())
        with self._lock:
            if self._new_settings is settings:
                self._new_settings = None

    def _begin(self, now: float) -> None:
        """What was not settled when the last router ended; how long it was quiet then, nobody knows."""
        with self._database.read() as connection:
            place = decisions.last(connection)
            facts = series.each(connection, decisions.unsettled(connection))
            behind = decisions.studies_behind(connection)
        for one in facts:
            self._add(one, now, last=0)
        for study in behind:
            self._studies.touch(study, now)
            self._studies.check(study)
        self._place = place

    def _notice(self, seen: live.Seen, now: float) -> None:
        """Take note of the series that got new instances."""
        assert self._place is not None
        with self._database.read() as connection:
            fresh = decisions.fresh(connection, self._place)
            unknown = [one.key for one in fresh if one.key not in self._pending]
            facts = {one.key: one for one in series.each(connection, unknown)}
            named = {key: evidence.named(connection, one.series) for key, one in facts.items()}
            # Two routers see the same: the other one may have settled all of it by now.
            done = {key: _newest_settled(connection, one) for key, one in facts.items() if one.settled}
        for new in fresh:
            self._place = max(self._place, new.last)
            pending = self._pending.get(new.key)
            if pending is not None:
                pending.instances += new.instances
                pending.last = new.last
                pending.seen = now
                pending.behind = None
            elif new.key in facts and done.get(new.key, 0) < new.last:
                pending = self._add(facts[new.key], now, last=new.last)
                pending.named = named[new.key]
            else:
                continue
            self._studies.touch(pending.study, now)
            if bringing := seen.bringing(pending.mark):
                pending.open, pending.released = bringing, None
                self._bringing.add(pending.key)
            elif not pending.open and pending.by_dicom:
                pending.released = now
            # What was missing may be here now.
            self._at(pending, now + pending.soon)
            if pending.policy.steps and 0 < pending.named <= pending.instances:
                pending.closely = True
                self._at(pending, now)

    def _notice_ends(self, seen: live.Seen, now: float) -> None:
        """Take note of the associations that are over."""
        for key in list(self._bringing):
            pending = self._pending.get(key)
            if pending is None:
                self._bringing.discard(key)
                continue
            pending.open = seen.bringing(pending.mark)
            if not pending.open:
                self._bringing.discard(key)
                pending.released = now
                if pending.policy.released is not None:
                    self._at(pending, now + pending.policy.released)

    def _add(self, facts: series.Facts, now: float, *, last: int) -> evidence.Watched:
        pending = evidence.begin(facts, self._settling.rulebook.policy(facts), now, last=last)
        self._pending[pending.key] = pending
        self._studies.touch(pending.study, now)
        self._at(pending, now + pending.soon)
        return pending

    def _at(self, pending: evidence.Watched, when: float) -> None:
        """Have it judged then, if not before."""
        if when < pending.due:
            pending.due = when
            heapq.heappush(self._times, (when, pending.key))

    # -- judging --------------------------------------------------------------------------------

    def _judge(self, mark: filed.Waiting, now: float) -> bool:
        """Judge what is due; whether there is more of it."""
        judged = 0
        while self._times and self._times[0][0] <= now:
            if judged >= _MOST:
                return True
            when, key = heapq.heappop(self._times)
            pending = self._pending.get(key)
            if pending is None or pending.due != when:
                continue
            judged += 1
            pending.due = math.inf
            wait = _TROUBLED  # when it raises: what is wrong with one must not be all that is ever looked at
            try:
                wait = self._look_at(pending, mark, now)
            except (errors.Transient, OSError):
                wait = _REFUSED
                raise
            finally:
                if key in self._pending:
                    self._at(pending, now + wait)
        return False

    def _look_at(self, pending: evidence.Watched, mark: filed.Waiting, now: float) -> float:
        """Settle one series, or say in how many seconds it is worth another look."""
        early = completeness.earliest(pending.cheap(now), pending.policy)
        if early > 0 and not pending.closely:
            return early
        pending.closely = False
        # Looked at before the rows are read, so that they hold all of it.
        filed_now = not mark if pending.behind is None else _is_filed(pending.behind, now)
        with self._database.read() as connection:
            facts = self._facts(connection, pending)
            if facts is None:
                del self._pending[pending.key]
                self._studies.check(pending.study)
                return 0.0
            signals = pending.signals(connection, facts, now)
        if facts.instances > pending.instances:
            # Filed since this look began: the next one takes note of it.
            pending.instances, pending.seen = facts.instances, now
            return _SOON
        pending.instances = facts.instances
        judgement = completeness.judge(signals, pending.policy)
        if judgement.ask:
            self._ask(pending)
        if not judgement.settled:
            return judgement.wait
        if not filed_now:
            pending.closely = True
            if pending.behind is None:
                pending.behind = (mark, now)
            return _UNFILED
        if self._settling.settle(facts, signals, pending.policy, judgement) is None:
            pending.closely = True
            return _SOON
        del self._pending[pending.key]
        self._studies.check(pending.study)
        return 0.0

    def _facts(self, connection: sqlalchemy.Connection, pending: evidence.Watched) -> series.Facts | None:
        """How the series stands; None when it is gone, or when the other router settled all of it."""
        found = series.each(connection, [pending.key])
        if not found:
            return None
        facts = found[0]
        if facts.revision > pending.revision:
            known = decisions.last_settled(connection, facts.study, facts.series)
            if facts.settled and known is not None and pending.last <= known[0]:
                return None
            pending.revision = facts.revision
        return facts

    # -- asking ---------------------------------------------------------------------------------

    def _ask(self, pending: evidence.Watched) -> None:
        """Have its source asked how many there are; the bell rings when it has answered."""
        if pending.asked:
            return
        name = pending.policy.ask or ""
        peer = self._settling.rulebook.peers.get(name)

        def tell(count: int | None, error: str) -> None:
            with self._lock:
                self._answers.append((pending.key, completeness.Answer(name, count, error)))
            self._bell.ring()

        if peer is None:
            tell(None, "no peer of that name is configured")
        else:
            pending.asked = self._asker.ask(peer, pending.study, pending.series, tell)

    def _take_answers(self, now: float) -> None:
        with self._lock:
            answers, self._answers = self._answers, []
        for key, answer in answers:
            if (pending := self._pending.get(key)) is not None:
                pending.asked, pending.answer, pending.closely = False, (answer, now), True
                self._at(pending, now)

    # -- the place ------------------------------------------------------------------------------

    def _note_place(self, *, force: bool = False) -> None:
        """Write down how far this has come, now and then, so that new routes do not reach back over it."""
        if self._place is None or self._place == self._saved[0]:
            return
        if self._settling.rulebook.has(orders.When.INSTANCE):
            return  # it is part of what is written for them
        if force or self._clock() - self._saved[1] >= _SAVE_AFTER:
            self._settling.note(self._place)
            self._saved = (self._place, self._clock())


def _is_filed(behind: tuple[filed.Waiting, float], now: float) -> bool:
    waiting, since = behind
    return filed.reached(waiting) or now - since > _PATIENCE


def _newest_settled(connection: sqlalchemy.Connection, of: series.Facts) -> int:
    """The key of the newest instance that a series had when it was settled last; 0: nobody wrote it down."""
    known = decisions.last_settled(connection, of.study, of.series)
    return 0 if known is None else known[0]
