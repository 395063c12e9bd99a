"""Storage commitment by a peer that misbehaves on purpose: honest, a lie, late, or never."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping
from typing import Protocol

from node import errors, model
from node.dicom import commitment, identifier, statuses
from node.faulty import parts as faulty_parts
from node.faulty import plan as faulty_plan
from node.send import base
from node.send import commitment as reporting
from node.wire import association, command

_AGAIN = 0.5  # seconds until a report is tried again that did not get through

_SAYS: Mapping[faulty_plan.Commitment, str] = {
    faulty_plan.Commitment.LIE: "says that it holds them all",
    faulty_plan.Commitment.NEVER: "never reports",
    faulty_plan.Commitment.LATE: "reports late",
    faulty_plan.Commitment.FAIL: "says that it failed for each",
}


class Owner(Protocol):
    """The peer itself."""

    aet: str  # its AE title
    stored: dict[str, faulty_parts.Kept]  # what it holds, by SOP Instance UID
    report_to: model.Peer | None  # who is called with a report; None: it goes to who asked
    stopping: threading.Event  # set when it stops

    @property
    def plan(self) -> faulty_plan.Plan:
        """What it does wrong."""

    def requested(self, transaction: commitment.Transaction) -> None:
        """A request was taken."""

    def complain(self, words: str) -> None:
        """Say what was done wrong."""

    def begin(self, work: Callable[[], None]) -> None:
        """Do something beside the rest."""


class Reports:
    """Answers N-ACTION, and reports."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner

    def action(self, link: association.Association, message: association.Message) -> None:
        """Take a request, and report on it as the plan says."""
        plan = self._owner.plan
        asked, context = message.command, message.context
        try:
            transaction = commitment.read(message.read(identifier.LARGEST), context.transfer)
        except errors.BadData:
            message.drain()
            link.send(context, command.response(asked, statuses.PROCESSING_FAILURE))
            return
        wrong = transaction.uid is None or transaction.references is None
        if plan.commit is faulty_plan.Commitment.REFUSE or wrong:
            self._owner.complain("storage commitment: answers 0x0110 to the request")
            link.send(context, command.response(asked, statuses.PROCESSING_FAILURE))
            return
        elements = {command.ACTION_TYPE: command.us(commitment.REQUEST)}
        link.send(context, command.response(asked, statuses.SUCCESS, elements=elements))
        self._owner.requested(transaction)
        if plan.commit is not faulty_plan.Commitment.HONEST:
            self._owner.complain(
                f"storage commitment of {len(transaction.references or ())}: {_SAYS[plan.commit]}"
            )
        if plan.commit is faulty_plan.Commitment.NEVER:
            return
        late = plan.late if plan.commit is faulty_plan.Commitment.LATE else 0.0
        if self._owner.report_to is None and not late:
            self._report(link, context.id, transaction)
        else:
            self._owner.begin(lambda: self._report_later(link, context.id, transaction, late))

    def away(self, transaction: commitment.Transaction) -> None:
        """Report now, over an association of our own, until it is heard."""
        assert self._owner.report_to is not None
        self._owner.begin(lambda: self._report_away(transaction))

    def _report_later(
        self, link: association.Association, context: int, transaction: commitment.Transaction, late: float
    ) -> None:
        if self._owner.stopping.wait(late):
            return
        if self._owner.report_to is None:
            with contextlib.suppress(errors.NodeError):  # the requestor has gone, and is told nothing
                self._report(link, context, transaction)
            return
        self._report_away(transaction)

    def _report_away(self, transaction: commitment.Transaction) -> None:
        assert transaction.uid is not None
        assert self._owner.report_to is not None
        while not self._owner.stopping.is_set():
            said = self._verdict(transaction)
            outcome = reporting.report(
                self._owner.report_to, self._owner.aet, model.TlsSettings(), transaction.uid, said
            )
            if isinstance(outcome, base.Done):
                return
            self._owner.stopping.wait(_AGAIN)

    def _report(
        self, link: association.Association, context: int, transaction: commitment.Transaction
    ) -> None:
        assert transaction.uid is not None
        reporting.send_report(link, link.contexts[context], transaction.uid, self._verdict(transaction))

    def _verdict(self, transaction: commitment.Transaction) -> list[commitment.Reference]:
        """What is said of each instance."""
        how = self._owner.plan.commit
        said = []
        for one in transaction.references or ():
            failure = 0 if one.sop_instance in self._owner.stored else statuses.NO_SUCH_INSTANCE
            if how is faulty_plan.Commitment.LIE:
                failure = 0
            elif how is faulty_plan.Commitment.FAIL:
                failure = statuses.PROCESSING_FAILURE
            said.append(commitment.Reference(one.sop_class, one.sop_instance, failure))
        return said
