"""Makes sure that destinations keep what they took: by storage commitment, or by C-FIND.

What is verified, and what was asked of whom, stands in the database, so that a restart loses neither: a
report may come on the association of its request, or days later on one that the destination opens to our
listener. Only what is missing goes out once more. Who lies about commitment is believed; C-FIND finds out.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import datetime
import random
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from node import errors, log, log_forwarding, metrics, model, orders
from node.dicom import commitment, statuses, uids
from node.files import layout
from node.index import db, ledger, verification
from node.push import reported
from node.queue import backoff, bell
from node.send import commitment as sending
from node.send import link, query
from node.wire import association, command, contexts, faults

LOOK_EVERY = 2.0  # seconds between looks for what has come to be verified
LEAST = 0.1  # seconds between two looks: everybody's bell rings for every batch that is filed
BELIEVE_EVERY = 60.0  # seconds between looks for what nobody is to be asked about any more
FORGET_EVERY = 3600.0  # seconds between looks for rows that nobody needs any more
REMEMBERED = 86400.0  # seconds that a report which comes twice is still known
ASKERS = 4  # destinations that are asked at once
PAGE = 50  # consignments of a destination that one association is opened for
STAY = 10.0  # seconds that the association of a request waits for its report
LOOKS = 3  # C-FINDs until what is not found is sent once more: an archive may take its time to file

_LEASE = 60.0  # seconds that a claim holds; what is asked takes less
_LISTED = 100  # UIDs in one query, where an archive does not give all of a series
_PATIENCE = association.Timeouts(request=5.0, pdu=30.0, idle=30.0)


class Verifier:
    """Asks destinations what they keep; `run` is a thread's work, the rest may be called from any thread."""

    def __init__(
        self,
        database: db.Database,
        data: layout.Data,
        settings: model.Settings,
        counts: metrics.Metrics,
        *,
        name: str = "work-1",
        chance: Callable[[], float] = random.random,
        stay: float = STAY,
    ) -> None:
        self._database = database
        self._outcomes = reported.Outcomes(database, data, settings, counts, chance)
        self._chance = chance
        self._stay = stay
        self._bell = bell.Bell(data, f"{name}.verify")
        self._ending = threading.Event()
        self._lock = threading.Lock()
        self._busy: set[str] = set()  # destinations that are being asked
        self._opened: set[association.Association] = set()
        self._believed = float(
            "-inf"
        )  # when what nobody is asked about was last looked for, on that clock too
        self._forgotten = float("-inf")  # when rows were last cleared away, on the monotonic clock
        self._askers = concurrent.futures.ThreadPoolExecutor(ASKERS, f"verify {name}")
        self.apply(settings)

    # -- from other threads -----------------------------------------------------------------------

    def apply(self, settings: model.Settings) -> None:
        """Take over a changed configuration."""
        self._outcomes.apply(settings)
        self._destinations = {one.name: one for one in settings.destinations}
        self._believed = float("-inf")
        self._bell.ring()

    def begin(self, consignment: orders.Consignment) -> None:
        """A consignment has come to be verified: do not wait for the next look."""
        self._bell.ring()

    def end(self) -> None:
        """Make `run` return soon; what was asked is answered to the listener, or asked again."""
        self._ending.set()
        self._bell.ring()
        with self._lock:
            opened = list(self._opened)
        for one in opened:
            one.stop("this node stops")

    # -- the loop ---------------------------------------------------------------------------------

    def run(self) -> None:
        """Ask until it is ended; a database that is away is waited for."""
        failing = False
        try:
            while not self._ending.is_set():
                looked = time.monotonic()
                try:
                    pause = self.look(_now())
                    failing = False
                except errors.DatabaseUnavailable as error:
                    if not failing:
                        log.database_error(what="verification", error=error, retry_in=LOOK_EVERY)
                    failing, pause = True, LOOK_EVERY
                except Exception as error:  # noqa: BLE001 - the edge of this thread: a bug ends one look only
                    log.unexpected(where="verification", error=error)
                    pause = LOOK_EVERY
                self._bell.wait(pause)
                self._ending.wait(max(0.0, looked + LEAST - time.monotonic()))
        finally:
            self._askers.shutdown(wait=True, cancel_futures=True)
            self._bell.close()

    def look(self, now: datetime.datetime) -> float:
        """Have destinations asked that are to be asked; seconds until the next look."""
        known = {
            name: one
            for name, one in self._destinations.items()
            if one.verify is not orders.Verify.NO and one.kind is orders.Kind.DICOM
        }
        believed = self._destinations.keys() - known.keys()
        if not known and time.monotonic() - self._believed < BELIEVE_EVERY:
            return BELIEVE_EVERY
        with self._database.read() as connection:
            stray = verification.verifying(connection, believed)
            fresh = verification.unbegun(connection, known)
        if stray or fresh:
            with self._database.write() as connection:
                verification.believe(connection, believed, now)
                after = {name: one.verify_after for name, one in known.items()}
                verification.begin(connection, after, now)
        self._believed = time.monotonic()
        if not known:
            return BELIEVE_EVERY
        self._forget(now)
        with self._lock:
            idle = known.keys() - self._busy
        with self._database.read() as connection:
            due = {
                name: verification.due(connection, name, now, _longest(known[name]), PAGE)
                for name in sorted(idle)
            }
            soonest = verification.soonest(connection, idle)
        for name, rows in due.items():
            if rows:
                with self._lock:
                    self._busy.add(name)
                self._askers.submit(self._ask, known[name], rows)
        if soonest is None or any(due.values()):
            return LOOK_EVERY
        return min(LOOK_EVERY, max(0.02, (soonest - now).total_seconds()))

    def _forget(self, now: datetime.datetime) -> None:
        if time.monotonic() - self._forgotten < FORGET_EVERY:
            return
        self._forgotten = time.monotonic()
        with self._database.write() as connection:
            verification.forget(connection, now - datetime.timedelta(seconds=REMEMBERED))

    def _ask(self, destination: orders.Destination, rows: Sequence[verification.Open]) -> None:
        """Ask one destination; the work of an asker's thread."""
        try:
            mine = [row for row in rows if not self._ending.is_set() and self._claim(row)]
            overdue = [row for row in mine if row.asked is not None]
            for row in overdue:
                self._overdue(destination, row)
            todo = [row for row in mine if row.asked is None]
            if todo:
                self._ask_all(destination, todo)
        except errors.DatabaseUnavailable as error:
            log.database_error(what="verification", error=error)  # the claims run out, and it is asked again
        except Exception as error:  # noqa: BLE001 - the edge of this thread
            log.unexpected(where=f"verification of {destination.name}", error=error)
        finally:
            with self._lock:
                self._busy.discard(destination.name)
            self._bell.ring()

    def _claim(self, row: verification.Open) -> bool:
        with self._database.write() as connection:
            return verification.claim(connection, row, backoff.later(_now(), _LEASE))

    def _ask_all(self, destination: orders.Destination, todo: Sequence[verification.Open]) -> None:
        left = list(todo)
        try:
            peer = self._outcomes.peer(destination)
            if peer is None:
                raise errors.PeerRefused(f"destination {destination.name} has no peer that can be asked")
            if destination.verify is orders.Verify.FIND:
                self._find_all(destination, peer, left)
            else:
                self._commit_all(destination, peer, left)
        except errors.DatabaseUnavailable:
            raise
        except errors.NodeError as error:
            if not self._ending.is_set():
                self._postpone(destination, left, str(error))
                return
        if left:  # this node stops
            with self._database.write() as connection:
                for row in left:
                    verification.hand_back(connection, row, _now())

    def _postpone(
        self, destination: orders.Destination, rows: Sequence[verification.Open], error: str
    ) -> None:
        now = _now()
        with self._database.write() as connection:
            for row in rows:
                pause = backoff.pause(
                    row.attempts + 1, destination.retry, destination.retry_most, self._chance()
                )
                verification.postpone(connection, row, backoff.later(now, pause), error)
        log_forwarding.verification_delayed(destination=destination.name, consignments=len(rows), error=error)

    @contextlib.contextmanager
    def _open(
        self, destination: orders.Destination, peer: model.Peer, proposed: contexts.Proposed
    ) -> Iterator[association.Association]:
        settings = self._outcomes.settings
        calling = destination.calling or settings.node.aet
        with link.opened(peer, calling, settings.tls, [proposed], timeouts=_PATIENCE) as opened:
            with self._lock:
                self._opened.add(opened)
            try:
                yield opened
            finally:
                with self._lock:
                    self._opened.discard(opened)

    def _unsure(self, row: verification.Open) -> list[verification.Unsure]:
        with self._database.read() as connection:
            return verification.unsure(connection, row.consignment)

    # -- by C-FIND --------------------------------------------------------------------------------

    def _find_all(
        self, destination: orders.Destination, peer: model.Peer, left: list[verification.Open]
    ) -> None:
        """Look at the peer for what it was sent; takes from `left` what is through."""
        proposed = contexts.Proposed(query.Root.STUDY.sop_class(command.Field.C_FIND), link.PLAIN)
        with self._open(destination, peer, proposed) as opened:
            while left and not self._ending.is_set():
                self._find(destination, opened, left[0])
                left.pop(0)

    def _find(
        self, destination: orders.Destination, opened: association.Association, row: verification.Open
    ) -> None:
        with self._database.read() as connection:
            doubted = verification.unsure(connection, row.consignment)
            consignment = ledger.get(connection, row.consignment)
        if consignment is None:
            return
        names = self._outcomes.names(consignment, destination, doubted)
        series: dict[tuple[str, str], set[str]] = {}
        for name in names.values():
            series.setdefault((name.study, name.series), set()).add(name.sop_instance)
        held = {uid for at, wanted in series.items() for uid in _held(opened, *at, wanted)}
        kept = [one for one in doubted if names[one.key].sop_instance in held]
        missing = [one for one in doubted if names[one.key].sop_instance not in held]
        if missing and row.attempts + 1 < LOOKS:
            if kept:
                self._outcomes.found(row, kept, [])
            pause = destination.verify_after * 2.0**row.attempts
            with self._database.write() as connection:
                why = f"{len(missing)} of {len(doubted)} are not found yet"
                verification.postpone(connection, row, backoff.later(_now(), pause), why)
            return
        why = f"{destination.name} was asked with C-FIND and does not have it"
        self._outcomes.found(row, kept, [(one, why) for one in missing])

    # -- by storage commitment --------------------------------------------------------------------

    def _overdue(self, destination: orders.Destination, row: verification.Open) -> None:
        """No report has come in time: what was asked for goes out once more."""
        assert row.asked is not None
        asked = row.asked
        doubted = [one for one in self._unsure(row) if one.at <= asked]
        why = f"{destination.name} reported no commitment within {destination.verify_within:g} s"
        self._outcomes.found(row, [], [(one, why) for one in doubted])
        with self._database.write() as connection:
            verification.over(connection, row.consignment)

    def _commit_all(
        self, destination: orders.Destination, peer: model.Peer, left: list[verification.Open]
    ) -> None:
        """Ask for commitment, a request for each consignment; takes from `left` what is asked for."""
        out: list[str] = []
        proposed = contexts.Proposed(commitment.SOP_CLASS, link.PLAIN)
        with self._open(destination, peer, proposed) as opened:
            context = opened.find(commitment.SOP_CLASS)
            if context is None:
                raise errors.PeerRefused(f"{link.where(peer)} does not take storage commitment requests")
            while left and not self._ending.is_set():
                uid = self._commit(destination, opened, context, left[0])
                left.pop(0)
                out += [] if uid is None else [uid]
            try:
                self._await(opened, out, min(self._stay, destination.verify_within))
            except faults.AssociationLost:
                return  # it may report on another association

    def _commit(
        self,
        destination: orders.Destination,
        opened: association.Association,
        context: contexts.Context,
        row: verification.Open,
    ) -> str | None:
        with self._database.read() as connection:
            doubted = verification.unsure(connection, row.consignment)
            consignment = ledger.get(connection, row.consignment)
        if consignment is None:
            return None
        asked = [one for one in doubted if one.sop_class is not None]
        names = self._outcomes.names(consignment, destination, asked)
        references = [
            commitment.Reference(names[one.key].sop_class, names[one.key].sop_instance) for one in asked
        ]
        if not references:  # nothing is left, or all of it was removed here
            why = "nobody can ask for it without its SOP class"
            self._outcomes.found(row, [], [(one, why) for one in doubted])
            return None
        uid, now = uids.new(), _now()
        with self._database.write() as connection:
            until = backoff.later(now, destination.verify_within)
            verification.asking(connection, row, uid, now, until)
        # The report may come before the next commit, and to another process.
        self._database.durable()
        number = sending.send_request(opened, context, uid, references)
        answer = self._answer(opened, number)
        if answer.status != statuses.SUCCESS:
            said = statuses.text(answer.status, link.comment(answer))
            raise errors.PeerRefused(f"{destination.name} answered the request for commitment with {said}")
        log_forwarding.verification_asked(
            destination=destination.name,
            consignment=row.consignment,
            transaction=uid,
            instances=len(references),
        )
        return uid

    def _answer(self, opened: association.Association, number: int) -> command.Command:
        """The answer to a request; reports that overtake it are taken."""
        while True:
            message = self._next(opened)
            if message.command.is_response and message.command.responded_to == number:
                message.drain()
                return message.command
            self._take(opened, message)

    def _await(self, opened: association.Association, out: Collection[str], most: float) -> None:
        """Wait a moment for reports on the same association, unless they come on another one."""
        deadline = time.monotonic() + most
        looked = time.monotonic()
        while time.monotonic() < deadline and not self._ending.is_set():
            if not opened.quiet():
                self._take(opened, self._next(opened))
                looked = float("-inf")
            if time.monotonic() - looked >= 0.5:
                looked = time.monotonic()
                with self._database.read() as connection:
                    if not any(verification.waits_for(connection, uid) for uid in out):
                        return
            self._ending.wait(0.02)

    @staticmethod
    def _next(opened: association.Association) -> association.Message:
        received = opened.receive()
        if isinstance(received, association.Message):
            return received
        if isinstance(received, association.Release):
            opened.release()
        raise faults.gone("the peer ended the association")

    def _take(self, opened: association.Association, message: association.Message) -> None:
        """Take what comes on the association of a request beside its answer."""
        if message.command.field != command.Field.N_EVENT_REPORT:
            message.drain()
            return
        status, why = reported.take(self._outcomes, message, ours=True)
        opened.send(message.context, reported.answer(message.command, status, why))


def _held(opened: association.Association, study: str, series: str, wanted: Collection[str]) -> set[str]:
    """Which of these instances of a series the peer says that it has."""
    keys = {"StudyInstanceUID": study, "SeriesInstanceUID": series}
    found, cut = _asked(opened, keys | {"SOPInstanceUID": ""}, wanted)
    if cut:  # it does not give all of a large series: it is asked for those that are missing, by name
        left = sorted(set(wanted) - found)
        for start in range(0, len(left), _LISTED):
            named = "\\".join(left[start : start + _LISTED])
            found |= _asked(opened, keys | {"SOPInstanceUID": named}, wanted)[0]
    return found


def _asked(
    opened: association.Association, keys: Mapping[str, str], wanted: Collection[str]
) -> tuple[set[str], bool]:
    search = query.Search(opened, dict(keys), level=model.Level.IMAGE)
    found: set[str] = set()
    with contextlib.closing(iter(search)) as answers:
        for fields in answers:
            uid = fields.get("SOPInstanceUID")
            if isinstance(uid, str) and uid in wanted:
                found.add(uid)
                if len(found) == len(wanted):
                    break  # whatever else it has
    return found, search.cut


def _longest(destination: orders.Destination) -> float:
    """Seconds that nothing of a destination waits longer for."""
    waits = (
        destination.verify_within,
        destination.verify_after * 2.0**LOOKS,
        backoff.longest(destination.retry_most),
        _LEASE,
    )
    return max(waits) + 1.0


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
