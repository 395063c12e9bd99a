"""What destinations report that they keep, or are found to keep, and what that makes of the queue."""

from __future__ import annotations

import datetime
import random
from collections.abc import Callable, Mapping, Sequence

import sqlalchemy

from node import errors, log_forwarding, metrics, model, orders
from node.dicom import commitment, statuses
from node.files import layout
from node.index import db, ledger, verification, witness
from node.push import sent_as
from node.queue import backoff, bell
from node.wire import association, command

_LARGEST = 64 << 20  # bytes of one report: some 400,000 instances
# Failure Reasons that another C-STORE would not change: the SOP class is another, or not supported.
_HOPELESS = frozenset({statuses.CLASS_INSTANCE_CONFLICT, statuses.CLASS_NOT_SUPPORTED})


class Refused(errors.Permanent):
    """A report cannot be taken."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status  # what it is answered with


class Outcomes:
    """Writes down what destinations say that they keep; one object serves all threads of a process."""

    def __init__(
        self,
        database: db.Database,
        data: layout.Data,
        settings: model.Settings,
        counts: metrics.Metrics,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.settings = settings  # see `apply`
        self.sent_as = sent_as.SentAs(database, data, settings)
        self._database = database
        self._data = data
        self._counts = counts
        self._chance = chance
        self._witness = witness.Witness(data)

    def apply(self, settings: model.Settings) -> None:
        """Take over a changed configuration."""
        self.settings = settings
        self.sent_as.apply(settings)

    def report(self, said: commitment.Transaction, *, calling: str, peer: str, ours: bool = False) -> None:
        """Take the report on a request of ours; raises Refused, or DatabaseUnavailable.

        `calling` and `peer` are who brings it, unless it came on the association of the request.
        """
        if said.uid is None or said.references is None:
            lacks = "Transaction UID" if said.uid is None else "sequence of references"
            raise Refused(statuses.NO_SUCH_ARGUMENT, f"there is no {lacks}")
        with self._database.read() as connection:
            row = verification.by_transaction(connection, said.uid)
            consignment = None if row is None else ledger.get(connection, row.consignment)
            doubted = [] if row is None else verification.unsure(connection, row.consignment)
        if row is None or consignment is None:
            raise Refused(statuses.PROCESSING_FAILURE, "no request with this Transaction UID is known")
        destination = self.destination(row.destination)
        if not ours and not self._known(destination, calling, peer):
            raise Refused(statuses.NOT_AUTHORIZED, f"{calling[:16]!r} is not who was asked")
        # What was delivered since then was not asked for.
        asked = [one for one in doubted if row.asked is None or one.at <= row.asked]
        names = self.names(consignment, destination, asked)
        failures = {one.sop_instance: one.failure for one in said.references}
        by_key = {one.key: failures.get(names[one.key].sop_instance) for one in asked}
        kept = [one.key for one in asked if by_key[one.key] == statuses.SUCCESS]
        lost = [one for one in asked if by_key[one.key] != statuses.SUCCESS and row.asked is not None]
        missing = [self._missing(one, destination, by_key[one.key]) for one in lost]
        now = _now()
        with self._database.write() as connection:
            if row.asked is None:  # its time is over: what is on its way again may stay where it is
                committed = {uid for uid, failure in failures.items() if not failure}
                verification.late(connection, row.consignment, committed, now, self._witness)
            state = self._write(connection, row.consignment, destination, kept, missing, asked, now)
            verification.over(connection, row.consignment)
        self._database.durable()
        self._tell(destination, row.consignment, kept, missing, state)

    def names(
        self,
        consignment: orders.Consignment,
        destination: orders.Destination,
        doubted: Sequence[verification.Unsure],
    ) -> Mapping[int, model.Identity]:
        """By delivery, what the destination knows it as; as it is held where that cannot be said any more."""
        series = (consignment.study, consignment.series)
        held = {one.key: model.Identity(one.sop_class or "", one.sop_instance, *series) for one in doubted}
        return {**held, **self.sent_as.names(consignment, destination, doubted)}

    def found(
        self,
        row: verification.Open,
        kept: Sequence[verification.Unsure],
        missing: Sequence[tuple[verification.Unsure, str]],
    ) -> None:
        """Write down what was found out of a consignment; with each that is missing, the reason."""
        now = _now()
        destination = self.destination(row.destination)
        lost = [self._spent(one, destination, why) for one, why in missing]
        known = [*kept, *(one for one, _ in missing)]
        with self._database.write() as connection:
            keys = [one.key for one in kept]
            state = self._write(connection, row.consignment, destination, keys, lost, known, now)
        self._tell(destination, row.consignment, keys, lost, state)

    def destination(self, name: str) -> orders.Destination:
        """A destination as it is configured now."""
        known = (one for one in self.settings.destinations if one.name == name)
        return next(known, orders.Destination(name))

    def peer(self, destination: orders.Destination) -> model.Peer | None:
        """The peer behind a destination."""
        return next((one for one in self.settings.peers if one.name == destination.peer), None)

    def _known(self, destination: orders.Destination, calling: str, peer: str) -> bool:
        """Whether a report comes from whom it may come from: who knows the UID and is no stranger."""
        asked = self.peer(destination)
        return bool(peer) or (asked is not None and asked.aet == calling)

    def _missing(
        self, one: verification.Unsure, destination: orders.Destination, failure: int | None
    ) -> verification.Missing:
        said = "the report does not mention it" if failure is None else statuses.text(failure)
        missing = self._spent(one, destination, f"{destination.name} does not commit to it: {said}")
        return missing._replace(dead=missing.dead or failure in _HOPELESS)

    def _spent(
        self, one: verification.Unsure, destination: orders.Destination, why: str
    ) -> verification.Missing:
        if one.sop_class is None:
            return verification.Missing(one.key, f"{why}; and it was removed here", dead=True)
        if one.attempts >= destination.attempts:
            return verification.Missing(one.key, f"{why}; it was sent {one.attempts} times", dead=True)
        return verification.Missing(one.key, why, dead=False)

    def _write(
        self,
        connection: sqlalchemy.Connection,
        consignment: int,
        destination: orders.Destination,
        kept: Sequence[int],
        missing: Sequence[verification.Missing],
        known: Sequence[verification.Unsure],
        now: datetime.datetime,
    ) -> orders.State:
        lost = {one.delivery for one in missing}
        rounds = max([one.attempts for one in known if one.key in lost], default=0)
        pause = backoff.pause(rounds, destination.retry, destination.retry_most, self._chance())
        again = backoff.later(now, pause)
        return verification.told(connection, consignment, kept, missing, now, again, self._witness)

    def _tell(
        self,
        destination: orders.Destination,
        consignment: int,
        kept: Sequence[int],
        missing: Sequence[verification.Missing],
        state: orders.State,
    ) -> None:
        self._counts.verified(destination.name, "kept", len(kept))
        self._counts.verified(destination.name, "missing", len(missing))
        log_forwarding.verified(
            destination=destination.name,
            consignment=consignment,
            kept=len(kept),
            missing=len(missing),
            dead=sum(one.dead for one in missing),
            state=state.value,
            error=missing[0].why if missing else "",
        )
        bell.ring(self._data)


def take(
    outcomes: Outcomes,
    message: association.Message,
    *,
    calling: str = "",
    peer: str = "",
    address: str = "",
    ours: bool = False,
) -> tuple[int, str]:
    """Take the N-EVENT-REPORT in a message; the status that it is answered with, and why."""
    said = commitment.Transaction(None, None)
    try:
        said = commitment.read(message.read(_LARGEST), message.context.transfer)
        outcomes.report(said, calling=calling, peer=peer, ours=ours)
    except Refused as refused:
        status, why = refused.status, str(refused)
    except errors.BadData as error:
        message.drain(_LARGEST)
        status, why = statuses.PROCESSING_FAILURE, str(error)
    except errors.DatabaseUnavailable as error:
        status, why = statuses.RESOURCE_LIMITATION, str(error)
    else:
        return statuses.SUCCESS, ""
    log_forwarding.report_refused(
        status=status, why=why, transaction=(said.uid or "")[:64], calling=calling[:16], address=address
    )
    return status, why


def answer(asked: command.Command, status: int, why: str = "") -> bytes:
    """The answer to an N-EVENT-REPORT."""
    elements: Mapping[int, bytes] = {}
    if command.EVENT_TYPE in asked.elements:
        elements = {command.EVENT_TYPE: asked.elements[command.EVENT_TYPE]}
    return command.response(asked, status, comment=why, elements=elements)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
