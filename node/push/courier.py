"""Carries consignments: what is due is read page by page, sent in order, and written down answer by answer.

Each answer is a line of the worker's book before the next one is taken, so that a kill repeats no more than
what was under way; the index is told in batches. Where the destination as a whole failed, an instance that
was never sent has nothing against it: the lane bears that.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import pathlib
import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from node import errors, failpoints, log_forwarding, metrics, model, orders
from node.files import book, layout
from node.index import db, ledger, retrieval, words
from node.push import converted
from node.queue import backoff, floor
from node.send import base, destinations
from node.steps import plan as plans
from node.steps import presented

if TYPE_CHECKING:
    from node.volume import table

PAGE = 500  # deliveries that are read at once
BATCH = 512  # answers that the index is told of at once
BATCH_AFTER = 0.25  # seconds until it is told of fewer
_WAITING = 20_000  # answers that may wait for a database that does not answer
_LONGEST = 500  # characters of a reason
_LONGEST_DETAIL = 4096  # characters of what a program said last


class Courier:
    """Carries consignments for the lanes of one worker process; fit for many threads."""

    def __init__(
        self,
        database: db.Database,
        data: layout.Data,
        senders: destinations.Senders,
        settings: model.Settings,
        *,
        worker: str,
        counts: metrics.Metrics | None = None,
        chance: Callable[[], float] = random.random,
        converter: converted.Converter | None = None,
        transcoder: base.Transcoder | None = None,
    ) -> None:
        self._converter = converter
        self._transcoder = transcoder
        self.database = database
        self.data = data
        self.senders = senders
        self.counts = counts
        self.presenter = presented.Presenter(data)
        self.plans = plans.Plans(settings)
        self.chance = chance
        self._worker = worker
        self._book: book.Book | None = None
        self._lock = threading.Lock()
        self._under_way: set[destinations.Sender] = set()
        self._cut = ""  # why nothing more is sent

    @property
    def book(self) -> book.Book:
        """What every answer is written into."""
        with self._lock:
            if self._book is None:
                self._book = book.Book(self.data, self._worker)
            return self._book

    def apply(self, settings: model.Settings) -> None:
        """Take over a changed configuration; what is under way goes on as it began."""
        self.senders.apply(settings)
        self.plans.apply(settings)

    def carry(
        self,
        consignment: orders.Consignment,
        destination: orders.Destination,
        until: Callable[[], bool],
        answered: Callable[[], None],
    ) -> floor.Trip:
        """Send what is due of it until that is true; `answered` is called with the first answer."""
        begun = time.monotonic()
        try:
            plan = self.plans.plan(consignment.steps, destination.coerce)
            sender = self._sender(plan, consignment, destination)
        except errors.NodeError as error:
            again = _pause(destination, consignment.attempts, self.chance())
            hopeless = consignment.attempts >= destination.attempts
            return floor.Trip(again=again, error=str(error), hopeless=hopeless)
        journey = Journey(self, consignment, destination, plan, until, answered)
        with self._known(sender):
            try:
                trip = journey.make(sender)
            except BaseException:
                journey.record()  # what was answered stays answered
                raise
        journey.tell(time.monotonic() - begun, trip)
        return trip

    def _sender(
        self, plan: plans.Plan, consignment: orders.Consignment, destination: orders.Destination
    ) -> destinations.Sender:
        """What sends it; raises errors.NodeError when nothing can."""
        step = plan.conversion
        if step is None:
            return self.senders.sender(destination, consignment)
        if self._converter is None:
            raise errors.UsageError("nothing here converts series")
        if destination.kind is orders.Kind.COMMAND:
            given = converted.Given(step, destination, self._converter)
            return self.senders.sender(destination, consignment, given)
        inner = self.senders.sender(destination, consignment)
        scratch = self.data.root / "run" / "converting"
        return converted.Sender(
            inner,
            step,
            destination,
            self._converter,
            scratch,
            self._transcoder,
            self.senders.reserve,
            functools.partial(self._frames, consignment.series),
        )

    def _frames(self, series: str) -> table.Table | None:
        """The frames of a series, where the index knows all of them that sorting asks for."""
        from node.index import frames  # loads what few nodes need

        try:
            with self.database.read() as connection:
                found = frames.table(connection, frames.key(connection, series), place=self.data.place)
        except errors.NodeError:
            return None
        return None if frames.enough(found) else found

    def probe(self, destination: orders.Destination) -> None:
        """Find out whether a destination is there; raises errors.NodeError."""
        self.senders.probe(destination)

    def lanes(self, destination: orders.Destination) -> int:
        """How many lanes at once are worth having."""
        return self.senders.lanes(destination)

    def recover(self) -> int:
        """Have the index know what workers wrote down that died before they could tell it."""
        return ledger.recover(self.database, self.data)

    def keep(self) -> None:
        """Make what was written down survive a power loss."""
        if self._book is not None:
            self._book.sync()

    def cut(self, why: str) -> None:
        """Break off whatever is under way."""
        with self._lock:
            self._cut = why
            senders = list(self._under_way)
        for sender in senders:
            sender.cut(why)

    def close(self, *, recorded: bool = True) -> None:
        """Put the book away, when the index was told of all that it says."""
        if self._book is not None:
            self._book.close(recorded=recorded)

    @contextlib.contextmanager
    def _known(self, sender: destinations.Sender) -> Iterator[None]:
        with self._lock:
            self._under_way.add(sender)
            cut = self._cut
        if cut:
            sender.cut(cut)
        try:
            yield
        finally:
            with self._lock:
                self._under_way.discard(sender)


class Journey:
    """One consignment on its way; used by one thread."""

    def __init__(
        self,
        courier: Courier,
        consignment: orders.Consignment,
        destination: orders.Destination,
        plan: plans.Plan,
        until: Callable[[], bool],
        answered: Callable[[], None],
    ) -> None:
        self._courier = courier
        self._consignment = consignment
        self._destination = destination
        self._plan = plan
        self._until = until
        self._tell_answered = answered
        self._book = courier.book
        self._out: dict[
            int, tuple[base.Item, ledger.Due | None]
        ] = {}  # by the item's identity: no answer yet
        self._tried: set[int] = set()  # deliveries that are due again: not in this journey
        self._kinds: set[tuple[str, str]] = (
            set()
        )  # SOP class and stored syntax that contexts are proposed for
        self._attempts: list[orders.Attempt] = []  # that the index is to be told of
        self._told = time.monotonic()  # when it was
        self._answered = False
        self._failed = ""  # why the destination as a whole failed
        self._crowded = False
        self._again: float | None = None  # seconds until what is to be tried again is
        self._error = ""  # the last reason for which something is not there
        self._sent = self._size = self._warnings = self._retry = self._dead = 0

    # -- what goes out --------------------------------------------------------------------------

    def make(self, sender: destinations.Sender) -> floor.Trip:
        """Send what is due, and write down what became of it."""
        try:
            with self._courier.database.read() as connection:
                kinds = ledger.kinds(connection, self._consignment.key)
            self._kinds = set(kinds)
            each = self._whole if sender.whole else self._each
            stream = base.Stream(self._firsts(kinds), each, self._stopped)
            if kinds:
                for result in sender.send(stream):
                    self._take(result)
            else:
                for _ in self._each():  # nothing that can be sent: the reasons are all that there is
                    pass
        except errors.DatabaseUnavailable as error:
            self._again, self._error = 1.0, str(error)
        return floor.Trip(
            attempts=tuple(self._attempts),
            answered=self._answered,
            failed=self._failed,
            crowded=self._crowded,
            again=self._again,
            error=self._error if self._retry or self._again else "",
        )

    def _firsts(self, kinds: list[tuple[str, str]]) -> list[base.Item]:
        return [
            self._plan.kind(base.Item(sop_class, "", syntax, pathlib.Path(), 0, 0))
            for sop_class, syntax in kinds
        ]

    def _stopped(self) -> bool:
        return bool(self._failed) or self._until()

    def _each(self) -> Iterator[base.Item]:
        """What is due, in order; what failed before comes after what was never tried.

        So one instance at which a peer goes down is not in the way of all the others.
        """
        again = False
        for due in self._due():
            if due.attempts:
                again = True
            elif due.key not in self._tried and (item := self._item(due)) is not None:
                yield item
        if again and not self._stopped():
            for due in self._due():
                if due.attempts and due.key not in self._tried and not self._is_out(due.key):
                    item = self._item(due)
                    if item is not None:
                        yield item

    def _due(self) -> Iterator[ledger.Due]:
        """Everything that is due, page by page."""
        after = 0
        while not self._stopped():
            try:
                with self._courier.database.read() as connection:
                    page = ledger.due(connection, self._consignment.key, after, PAGE)
            except errors.DatabaseUnavailable as error:
                self._again, self._error = 1.0, str(error)
                return
            if not page:
                return
            after = page[-1].instance
            for due in page:
                if self._stopped():
                    return
                # Of a kind that came when contexts were proposed already: the next journey takes it.
                if due.row is None or (due.row.sop_class, due.row.syntax) in self._kinds:
                    yield due

    def _is_out(self, delivery: int) -> bool:
        return any(due is not None and due.key == delivery for _, due in self._out.values())

    def _item(self, due: ledger.Due) -> base.Item | None:
        """What is sent of it; None: it cannot be, which is written down."""
        if due.row is None:
            self._give_up(due, due.why)
            return None
        try:
            item = self._made(due.row)
        except errors.Transient as error:
            self._later(due, presented.discreet(error))
            return None
        except errors.NodeError as error:
            self._give_up(due, presented.discreet(error))
            return None
        self._out[id(item)] = (item, due)
        return item

    def _made(self, row: retrieval.Row) -> base.Item:
        courier = self._courier
        change = courier.presenter.change(row.coercion, words.when(row.received)) if row.coercion else None
        place = courier.data.place(row.path)
        return self._plan.item(
            base.Item(row.sop_class, row.sop_instance, row.syntax, place, row.offset, row.size, change)
        )

    def _whole(self) -> Iterator[base.Item]:
        """Every instance of the series, for whoever wants them together; what is not due is only shown."""
        due = {one.instance: one for one in self._due()}
        for one in due.values():
            if one.row is None:
                self._give_up(one, one.why)
        query = model.Query(
            model.Level.SERIES,
            {"StudyInstanceUID": self._consignment.study, "SeriesInstanceUID": self._consignment.series},
        )
        try:
            with self._courier.database.read() as connection:
                chosen = retrieval.choose(connection, query)
            for keys in retrieval.pages(chosen.keys):
                with self._courier.database.read() as connection:
                    rows, _ = retrieval.page(connection, keys)
                for row in rows:
                    if self._stopped():
                        return
                    yield from self._shown(row, due.get(row.key))
        except errors.DatabaseUnavailable as error:
            self._again, self._error = 1.0, str(error)

    def _shown(self, row: retrieval.Row, due: ledger.Due | None) -> Iterator[base.Item]:
        if due is not None:
            item = self._item(due)
        else:
            item = None
            with contextlib.suppress(errors.NodeError):
                item = self._made(row)
                self._out[id(item)] = (item, None)
        if item is not None:
            yield item

    # -- what comes of it -----------------------------------------------------------------------

    def _take(self, result: base.Result) -> None:
        """Write down what became of one item."""
        failpoints.hit("push.after-answer")
        outcome = result.outcome
        if result.lane and not self._failed:
            self._failed = outcome.why or "it failed"
            self._crowded = isinstance(outcome, base.Retry) and outcome.crowded
        elif not result.lane and not self._answered and outcome.status is not None:
            self._answered = True
            self._tell_answered()
        _, due = self._out.pop(id(result.item), (None, None))
        if due is None or (result.lane and not result.seconds):
            return  # it did not go: nothing is said against it
        attempt = self._attempt(result, due)
        self._book.write(self._consignment, due.sop_instance, attempt)
        failpoints.hit("push.after-book")
        self._count(result, attempt)
        self._attempts.append(attempt)
        if len(self._attempts) >= BATCH or time.monotonic() - self._told >= BATCH_AFTER:
            self.record()

    def _attempt(self, result: base.Result, due: ledger.Due) -> orders.Attempt:
        outcome = result.outcome
        said = [outcome.why, *result.notes]
        match outcome:
            case base.Done():
                state = orders.State.DONE
            case base.Retry() if due.attempts + 1 < self._destination.attempts:
                state = orders.State.DUE
                if not result.lane:
                    self._wait(due.attempts + 1, outcome.after)
            case base.Retry():
                state = orders.State.DEAD
                said.append(f"given up after {due.attempts + 1} attempts")
            case _:
                # A destination that failed says nothing of this one, whatever it is that it refused.
                state = orders.State.DUE if result.lane else orders.State.DEAD
        if state is orders.State.DUE:
            self._tried.add(due.key)
            self._error = outcome.why
        return orders.Attempt(
            delivery=due.key,
            at=_now(),
            outcome=state,
            status=outcome.status,
            syntax=result.syntax,
            size=result.size,
            seconds=result.seconds,
            error="; ".join(filter(None, ["; ".join(filter(None, said))[:_LONGEST], _detail(outcome)])),
        )

    def _wait(self, attempts: int, asked: float | None) -> None:
        pause = _pause(self._destination, attempts, self._courier.chance())
        self._again = max(self._again or 0.0, pause, asked or 0.0)

    def _give_up(self, due: ledger.Due, why: str) -> None:
        self._judged(due, orders.State.DEAD, why)
        self._tried.add(due.key)

    def _later(self, due: ledger.Due, why: str) -> None:
        dead = due.attempts + 1 >= self._destination.attempts
        self._judged(due, orders.State.DEAD if dead else orders.State.DUE, why)
        if not dead:
            self._tried.add(due.key)
            self._error = why
            self._wait(due.attempts + 1, None)

    def _judged(self, due: ledger.Due, state: orders.State, why: str) -> None:
        """Write down what became of an instance that never went out."""
        attempt = orders.Attempt(due.key, _now(), state, None, "", 0, 0.0, why[:_LONGEST])
        self._book.write(self._consignment, due.sop_instance, attempt)
        self._count(None, attempt)
        self._attempts.append(attempt)
        if state is orders.State.DEAD:
            log_forwarding.delivery_dead(
                consignment=self._consignment.key,
                destination=self._destination.name,
                sop_instance=due.sop_instance,
                error=why,
            )

    def _count(self, result: base.Result | None, attempt: orders.Attempt) -> None:
        done = attempt.outcome is orders.State.DONE
        warned = done and bool(attempt.status)
        self._sent += done
        self._warnings += warned
        self._size += attempt.size if done else 0
        self._retry += attempt.outcome is orders.State.DUE
        self._dead += attempt.outcome is orders.State.DEAD
        if self._courier.counts is not None:
            outcome = "warning" if warned else "success"
            if not done:
                outcome = "retry" if attempt.outcome is orders.State.DUE else "failed"
            seconds = result.seconds if result is not None and done else None
            self._courier.counts.sent(self._destination.name, outcome, attempt.size, seconds)

    def record(self) -> None:
        """Tell the index; while it does not answer, the book has it."""
        self._told = time.monotonic()
        try:
            with self._courier.database.write() as connection:
                ledger.record(connection, self._consignment.key, self._attempts, _now())
        except errors.DatabaseUnavailable:
            if len(self._attempts) >= _WAITING:
                raise
            return
        failpoints.hit("push.after-record")
        self._attempts.clear()

    def tell(self, seconds: float, trip: floor.Trip) -> None:
        """Say in the journal how it went."""
        one = self._consignment
        log_forwarding.consignment_ended(
            consignment=one.key,
            destination=one.destination,
            study=one.study,
            series=one.series,
            route=one.route,
            sent=self._sent,
            size=self._size,
            seconds=round(seconds, 3),
            warnings=self._warnings,
            retry=self._retry,
            dead=self._dead,
            error=trip.failed or trip.error,
            retry_in=trip.again,
        )


def _detail(outcome: base.Outcome) -> str:
    """What may hold names, and therefore stands in the ledger only."""
    return outcome.detail[-_LONGEST_DETAIL:] if isinstance(outcome, base.Retry) else ""


def _pause(destination: orders.Destination, attempts: int, chance: float) -> float:
    return backoff.pause(attempts, destination.retry, destination.retry_most, chance)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
