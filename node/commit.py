"""Storage commitment behind the answer: read the bytes again, compare their digests, report, try again.

A transaction is in the database before its request is answered, and stays open there until the requester
has taken the report, over restarts. Whoever works on one has claimed it for a while, so that several
processes may run this beside each other.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import datetime
import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import sqlalchemy

from node import errors, log, metrics, model
from node.dicom import commitment as words
from node.dicom import statuses
from node.files import journal, layout, ledger, scrub
from node.index import commitment, db, holdings
from node.send import base
from node.send import commitment as sending

LEASE = 60.0  # seconds that a claim holds; renewed while the bytes are being read
ANSWER_WITHIN = 30.0  # seconds that a requester has to answer a report on its own association
GIVE_UP_AFTER = 3 * 86400.0  # seconds since the request; a weekend and a day
POLL = 5.0  # seconds between looks for what another process has left behind
REPORTERS = 4  # reports over associations of our own at once; a peer that is down must not hold up the others
SILENCE = 60.0  # seconds that a peer which could not be reached is left alone
BARRIER = 20.0  # seconds to wait until what was acknowledged is filed

_FIRST_DELAY, _LONGEST_DELAY = 5.0, 3600.0


class Line(Protocol):
    """The association that a request came on."""

    def report(self, transaction: str, references: Sequence[words.Reference]) -> bool:
        """Send the report if the association still lives; whether it went out."""


@dataclasses.dataclass(frozen=True, slots=True)
class Reach:
    """How requesters are reached; replaced as a whole at a reload."""

    peers: tuple[model.Peer, ...]  # the configured peers
    aet: str  # our AE title, for a request that did not call us by one
    tls: model.TlsSettings  # our identity where a peer is called over TLS


@dataclasses.dataclass(frozen=True, slots=True)
class Reused:
    """A request whose Transaction UID its requester had used for other instances."""

    requester: str  # AE title that asked
    transaction: str  # Transaction UID
    called: str  # AE title it called us by
    references: tuple[words.Reference, ...]  # what it asked for, each failed with 0131


def delay(attempts: int) -> float:
    """Seconds until the next attempt after so many; spread, so that not everything returns at once."""
    grown = min(_FIRST_DELAY * 2.0 ** min(attempts, 20), _LONGEST_DELAY)
    return grown * random.uniform(0.8, 1.2)


def verdict(asked: commitment.Asked, copies: Sequence[holdings.Holding]) -> int | None:
    """The Failure Reason that is plain from the index; None: it hangs on the bytes of the copies."""
    if not copies:
        return statuses.NO_SUCH_INSTANCE
    if any(copy.verdict is model.Verdict.QUARANTINED for copy in copies):
        return statuses.PROCESSING_FAILURE
    classes = {copy.sop_class for copy in copies if copy.verdict is model.Verdict.STORED}
    if classes and asked.sop_class not in classes:
        return statuses.CLASS_INSTANCE_CONFLICT
    if any(copy.state is not model.Held.HELD for copy in copies):
        return statuses.PROCESSING_FAILURE
    return None


class Committer:
    """Works on open transactions; `run` is a thread's work, the rest may be called from any thread."""

    def __init__(
        self,
        database: db.Database,
        data: layout.Data,
        reach: Reach,
        counts: metrics.Metrics,
        *,
        pause: Callable[[int], float] = delay,
    ) -> None:
        self.reach = reach  # replaced at a reload
        self._database = database
        self._data = data
        self._counts = counts
        self._pause = pause
        self._lines: dict[int, Line] = {}  # by transaction, while its association lives
        self._mine: list[int] = []  # accepted in this process and claimed, not worked on yet
        self._reused: list[Reused] = []  # to be refused over an association of our own
        self._unreachable: dict[str, float] = {}  # AE title -> monotonic time until which it is left alone
        self._reporters = concurrent.futures.ThreadPoolExecutor(REPORTERS, "report")
        self._lock = threading.Lock()
        self._wake = threading.Event()

    def accept(
        self,
        *,
        requester: str,
        transaction: str,
        called: str,
        address: str,
        association: str,
        references: Sequence[words.Reference],
    ) -> int | None:
        """Write a request down durably; its key, or None when its Transaction UID was used for others."""
        now = _now()
        asked = [commitment.Asked(one.sop_class, one.sop_instance) for one in references]
        with self._database.write() as connection:
            key = commitment.accept(
                connection,
                requester=requester,
                transaction_uid=transaction,
                called=called,
                address=address,
                association=association,
                items=asked,
                now=now,
            )
            if key is None:
                key = commitment.again(connection, requester, transaction, asked, now)
            if key is not None:
                commitment.claim(connection, key, now, now + datetime.timedelta(seconds=LEASE))
                # A promise must outlive the index: what is lost there is made again from here.
                self._note(connection, key)
        self._database.durable()
        return key

    def _note(self, connection: sqlalchemy.Connection, key: int) -> None:
        transaction = commitment.get(connection, key)
        assert transaction is not None
        ledger.append(self._data, [commitment.accepted(transaction)], sync=True)

    def _close(self, transaction: commitment.Transaction, state: commitment.State) -> None:
        # Neither synced nor insisted on: should the line be lost with the index, the requester hears the
        # same report once more.
        try:
            ledger.append(self._data, [commitment.closed(transaction, state)])
        except errors.Transient as error:
            log.storage_failed(what="ledger", error=error, path=self._data.ledger)

    def work_on(self, key: int, line: Line) -> None:
        """Begin with an accepted transaction, whose requester may be told over this line."""
        with self._lock:
            self._lines[key] = line
            self._mine.append(key)
        self._wake.set()

    def refuse(self, reused: Reused, line: Line) -> None:
        """Report that a Transaction UID was used before; not durable, for it promises nothing."""
        if not line.report(reused.transaction, reused.references):
            with self._lock:
                self._reused.append(reused)
            self._wake.set()

    def _refuse_reused(self) -> None:
        with self._lock:
            waiting, self._reused = self._reused, []
        for reused in waiting:
            peer = self._peer(reused.requester)
            if peer is None:
                continue
            calling = reused.called or self.reach.aet
            outcome = sending.report(peer, calling, self.reach.tls, reused.transaction, reused.references)
            if not isinstance(outcome, base.Done):
                log.commitment_abandoned(
                    transaction=reused.transaction, peer=reused.requester, error=outcome.why, attempts=1
                )

    def confirmed(self, key: int, status: int) -> None:
        """The requester has answered the report on its own association."""
        with self._database.write() as connection:
            transaction = commitment.get(connection, key)
            if transaction is None or transaction.state is commitment.State.REPORTED:
                return
            if statuses.classify(status) in (statuses.Kind.SUCCESS, statuses.Kind.WARNING):
                commitment.reported(connection, key)
                self._close(transaction, commitment.State.REPORTED)
            else:
                why = f"it answered the report with {statuses.text(status)}"
                self._later(connection, transaction, why)
                return
        self._told(transaction, same=True)

    def run(self, stop: threading.Event) -> None:
        """Work until told to stop; a database that is away is waited for."""
        try:
            self._run(stop)
        finally:
            self._reporters.shutdown(wait=True, cancel_futures=True)

    def _run(self, stop: threading.Event) -> None:
        failures = 0
        while not stop.is_set():
            try:
                self.once()
            except errors.DatabaseUnavailable as error:
                failures += 1
                pause = self._pause(failures)
                log.database_error(what="storage commitment", error=error, retry_in=round(pause, 1))
                self._counts.database_error("commitment")
                stop.wait(pause)
                continue
            except Exception as error:  # noqa: BLE001 - the edge of this thread: a bug ends one round only
                log.unexpected(where="storage commitment", error=error)
                stop.wait(POLL)
                continue
            failures = 0
            self._wake.wait(POLL)
            self._wake.clear()

    def stop(self) -> None:
        """Wake `run` so that it sees that it should end."""
        self._wake.set()

    def once(self) -> int:
        """Work on everything that is due now; how many transactions that were."""
        with self._lock:
            mine, self._mine = self._mine, []
        for key in mine:
            self._work(key)
        count = len(mine)
        while (claimed := self._claim_next()) is not None:
            self._work(claimed)
            count += 1
        self._refuse_reused()
        return count

    def _claim_next(self) -> int | None:
        now = _now()
        with self._database.read() as connection:
            due = commitment.due(connection, now, limit=8)
        for transaction in due:
            assert transaction.next_attempt is not None
            until = now + datetime.timedelta(seconds=LEASE)
            with self._database.write() as connection:
                if commitment.claim(connection, transaction.key, transaction.next_attempt, until):
                    return transaction.key
        return None

    def _work(self, key: int) -> None:
        with self._database.read() as connection:
            transaction = commitment.get(connection, key)
        if transaction is None or transaction.state in (commitment.State.REPORTED, commitment.State.GIVEN_UP):
            return
        if transaction.state is commitment.State.VERIFIED and (why := self._obstacle(transaction.requester)):
            self._postpone(transaction, why)  # nothing is read for somebody who cannot be told
            return
        if not journal.barrier(self._data, BARRIER):
            self._postpone(transaction, "instances that it may be about are still being filed")
            return
        # Before every attempt: what was held days ago may be gone or damaged when the report gets through.
        self._report(self._verify(transaction))

    def _verify(self, transaction: commitment.Transaction) -> commitment.Transaction:
        begun = time.monotonic()
        with self._database.read() as connection:
            held = holdings.find(connection, [item.sop_instance for item in transaction.items])
        renewed = begun
        failures: dict[int, int] = {}
        for position, item in enumerate(transaction.items):
            failures[position] = self._failure(item, held.get(item.sop_instance, []))
            if time.monotonic() - renewed > LEASE / 3:
                self._renew(transaction.key)
                renewed = time.monotonic()
        with self._database.write() as connection:
            commitment.verified(connection, transaction.key, failures)
            done = commitment.get(connection, transaction.key)
        assert done is not None
        failed = sum(1 for reason in failures.values() if reason)
        seconds = time.monotonic() - begun
        log.commitment_verified(
            transaction=transaction.transaction_uid,
            committed=len(failures) - failed,
            failed=failed,
            seconds=round(seconds, 3),
        )
        return done

    def _failure(self, item: commitment.Asked, copies: Sequence[holdings.Holding]) -> int:
        reason = verdict(item, copies)
        if reason is not None:
            return reason
        for copy in copies:
            why = damage(self._data, copy)
            if why:
                log.storage_failed(what=f"instance {item.sop_instance}", error=why, path=copy.path)
                return statuses.PROCESSING_FAILURE
        return statuses.SUCCESS

    def _renew(self, key: int) -> None:
        with self._database.write() as connection:
            commitment.renew(connection, key, _now() + datetime.timedelta(seconds=LEASE))

    def _report(self, transaction: commitment.Transaction) -> None:
        references = _references(transaction)
        with self._lock:
            line = self._lines.pop(transaction.key, None)
        if line is not None:
            # The clock for the answer starts before the report goes: the answer may come at once.
            until = _now() + datetime.timedelta(seconds=ANSWER_WITHIN)
            with self._database.write() as connection:
                commitment.postpone(
                    connection, transaction.key, until, "sent on its association and not answered"
                )
            if line.report(transaction.transaction_uid, references):
                return
        peer = self._peer(transaction.requester)
        why = self._obstacle(transaction.requester)
        if peer is None or why:
            self._postpone(transaction, why)
        else:
            self._reporters.submit(self._call, peer, transaction, references)

    def _obstacle(self, requester: str) -> str:
        """Why an association of our own to a requester is not worth trying now, "" when it is."""
        peer = self._peer(requester)
        if peer is None:
            return f"no peer with AE title {requester!r} and a host is configured"
        if self._unreachable.get(peer.aet, 0.0) > time.monotonic():
            return f"{peer.name} could not be reached a moment ago"
        return ""

    def _call(
        self,
        peer: model.Peer,
        transaction: commitment.Transaction,
        references: Sequence[words.Reference],
    ) -> None:
        """Report over an association of our own; the work of a reporter's thread."""
        try:
            outcome = sending.report(
                peer,
                transaction.called or self.reach.aet,
                self.reach.tls,
                transaction.transaction_uid,
                references,
            )
            if isinstance(outcome, base.Done):
                with self._database.write() as connection:
                    commitment.reported(connection, transaction.key)
                    self._close(transaction, commitment.State.REPORTED)
                self._told(transaction, same=False)
                return
            if outcome.status is None:
                self._unreachable[peer.aet] = time.monotonic() + min(
                    SILENCE, self._pause(transaction.attempts)
                )
            self._postpone(transaction, outcome.why)
        except errors.DatabaseUnavailable as error:
            # The lease runs out, and it is reported once more.
            log.database_error(what="storage commitment", error=error)
        except Exception as error:  # noqa: BLE001 - the edge of this thread
            log.unexpected(where="storage commitment", error=error)

    def _peer(self, aet: str) -> model.Peer | None:
        return next((peer for peer in self.reach.peers if peer.aet == aet and peer.host is not None), None)

    def _postpone(self, transaction: commitment.Transaction, why: str) -> None:
        with self._database.write() as connection:
            self._later(connection, transaction, why)

    def _later(
        self, connection: sqlalchemy.Connection, transaction: commitment.Transaction, why: str
    ) -> None:
        uid, requester, attempts = (
            transaction.transaction_uid,
            transaction.requester,
            transaction.attempts + 1,
        )
        now = _now()
        if (now - transaction.requested).total_seconds() > GIVE_UP_AFTER:
            commitment.give_up(connection, transaction.key, why)
            self._close(transaction, commitment.State.GIVEN_UP)
            log.commitment_abandoned(transaction=uid, peer=requester, error=why, attempts=attempts)
            self._counts.commitment("abandoned")
            return
        pause = self._pause(transaction.attempts)
        commitment.postpone(connection, transaction.key, now + datetime.timedelta(seconds=pause), why)
        log.commitment_retry(
            transaction=uid, peer=requester, error=why, attempts=attempts, retry_in=round(pause, 1)
        )
        self._counts.commitment("retried")

    def _told(self, transaction: commitment.Transaction, *, same: bool) -> None:
        failed = sum(1 for item in transaction.items if item.failure)
        committed = len(transaction.items) - failed
        log.commitment_reported(
            transaction=transaction.transaction_uid,
            peer=transaction.requester,
            committed=committed,
            failed=failed,
            attempts=transaction.attempts + 1,
            same_association=same,
        )
        self._counts.commitment("reported")


def damage(data: layout.Data, copy: holdings.Holding) -> str:
    """Why the bytes at rest are not those that were received; "" when they are."""
    try:
        return scrub.verify(data.place(copy.path), copy.offset, copy.size, copy.digest)
    except errors.NodeError as error:
        return str(error)


def _references(transaction: commitment.Transaction) -> list[words.Reference]:
    return [
        # What nobody could verify is never reported as committed.
        words.Reference(
            item.sop_class,
            item.sop_instance,
            statuses.PROCESSING_FAILURE if item.failure is None else item.failure,
        )
        for item in transaction.items
    ]


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
