"""Storage Commitment Push Model: the request is checked, written down durably, and then answered."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Mapping, Sequence

from node import commit, errors, log, metrics
from node.dicom import commitment, statuses, uids
from node.send import commitment as sending
from node.wire import acceptor, association, command, contexts

_LARGEST = 64 << 20  # bytes of one request: some 400,000 instances


class Refused(errors.Permanent):
    """The request cannot be taken."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status  # what it is answered with


class Commit:
    """Answers N-ACTION, and takes the answers to the reports that go over the same association."""

    def __init__(self, committer: commit.Committer, counts: metrics.Metrics) -> None:
        self._committer = committer
        self._counts = counts
        self._sent: weakref.WeakKeyDictionary[association.Association, dict[int, int]]
        self._sent = weakref.WeakKeyDictionary()  # message id -> transaction, of reports not answered yet
        self._lock = threading.Lock()

    def handlers(self) -> Mapping[int, acceptor.Handler]:
        """What this answers, by command field."""
        return {
            command.Field.N_ACTION: self.action,
            command.Field.N_EVENT_REPORT | command.RESPONSE: self.reported,
        }

    def action(self, link: association.Association, message: association.Message) -> None:
        """Take one request; the report follows on its own time."""
        begun = time.perf_counter()
        transaction = commitment.Transaction(None, None)
        try:
            data = _data(message)
            check_request(message.command, message.context.abstract)
            transaction = read(data, message.context.transfer)
            key = self._accept(link, transaction)
        except Refused as refused:
            self._refuse(link, message, transaction, refused)
            return
        elements = {command.ACTION_TYPE: command.us(commitment.REQUEST)}
        link.send(message.context, command.response(message.command, statuses.SUCCESS, elements=elements))
        self._counts.commitment("requested")
        self._counts.operation("commit", time.perf_counter() - begun)
        self._go_on(link, message.context, transaction, key)

    def reported(self, link: association.Association, message: association.Message) -> None:
        """Take the answer to a report."""
        message.drain()
        with self._lock:
            key = self._sent.get(link, {}).pop(message.command.responded_to, None)
        if key is not None:
            try:
                self._committer.confirmed(key, message.command.status)
            except errors.DatabaseUnavailable as error:
                # It stays open, and is reported once more; the requester has seen that before.
                log.database_error(what="storage commitment", error=error)

    def _accept(self, link: association.Association, transaction: commitment.Transaction) -> int | None:
        facts = link.facts
        assert transaction.uid is not None
        assert transaction.references is not None
        try:
            key = self._committer.accept(
                requester=facts.calling,
                transaction=transaction.uid,
                called=facts.called,
                address=facts.address,
                association=facts.id,
                references=transaction.references,
            )
        except errors.Transient as error:
            raise Refused(statuses.RESOURCE_LIMITATION, str(error)) from error
        log.commitment_requested(
            transaction=transaction.uid,
            instances=len(transaction.references),
            calling=facts.calling,
            address=facts.address,
            association=facts.id,
        )
        return key

    def _go_on(
        self,
        link: association.Association,
        context: contexts.Context,
        transaction: commitment.Transaction,
        key: int | None,
    ) -> None:
        line = _Line(self, link, context, key)
        if key is not None:
            self._committer.work_on(key, line)
            return
        assert transaction.uid is not None
        failed = tuple(
            commitment.Reference(one.sop_class, one.sop_instance, statuses.DUPLICATE_TRANSACTION)
            for one in transaction.references or ()
        )
        facts = link.facts
        reused = commit.Reused(facts.calling, transaction.uid, facts.called, failed)
        self._committer.refuse(reused, line)

    def _refuse(
        self,
        link: association.Association,
        message: association.Message,
        transaction: commitment.Transaction,
        refused: Refused,
    ) -> None:
        message.drain(_LARGEST)
        answer = command.response(message.command, refused.status, comment=str(refused))
        link.send(message.context, answer)
        facts = link.facts
        log.commitment_refused(
            status=refused.status,
            why=str(refused),
            transaction=(transaction.uid or "")[:64],
            calling=facts.calling,
            address=facts.address,
            association=facts.id,
        )
        self._counts.commitment("refused")

    def expect(self, link: association.Association, number: int, key: int) -> None:
        """The answer with this message id will be about this transaction (for _Line)."""
        with self._lock:
            self._sent.setdefault(link, {})[number] = key


class _Line:
    """The association of a request, for the thread that verifies."""

    def __init__(
        self,
        owner: Commit,
        link: association.Association,
        context: contexts.Context,
        key: int | None,
    ) -> None:
        self._owner = owner
        # Weak: a transaction that takes long does not keep a dead association's buffers.
        self._link = weakref.ref(link)
        self._context = context
        self._key = key

    def report(self, transaction: str, references: Sequence[commitment.Reference]) -> bool:
        """Send the report if the association still lives; whether it went out."""
        link = self._link()
        if link is None or not link.open:
            return False
        number = link.next_id()
        if self._key is not None:
            self._owner.expect(link, number, self._key)
        try:
            sending.send_report(link, self._context, transaction, references, number)
        except errors.Transient:
            return False
        return True


def check_request(asked: command.Command, abstract: str) -> None:
    """Refuse what is not a request for commitment."""
    if abstract != commitment.SOP_CLASS:
        raise Refused(statuses.CLASS_NOT_SUPPORTED, "there are no actions in this presentation context")
    if asked.sop_class != commitment.SOP_CLASS:
        raise Refused(statuses.NO_SUCH_CLASS, f"SOP class {asked.sop_class[:64]!r} is not the push model's")
    if asked.sop_instance != commitment.SOP_INSTANCE:
        raise Refused(statuses.NO_SUCH_INSTANCE, f"SOP instance {asked.sop_instance[:64]!r} has no actions")
    try:
        action = asked.number(command.ACTION_TYPE, default=-1)
    except errors.BadData as error:
        raise Refused(statuses.MISTYPED_ARGUMENT, str(error)) from error
    if action != commitment.REQUEST:
        raise Refused(statuses.NO_SUCH_ACTION, f"action type {action}; there is only {commitment.REQUEST}")


def read(data: bytes, syntax: str) -> commitment.Transaction:
    """Read a request's data set and refuse one that says too little."""
    try:
        transaction = commitment.read(data, syntax)
    except errors.BadData as error:
        raise Refused(statuses.PROCESSING_FAILURE, str(error)) from error
    if transaction.uid is None:
        raise Refused(statuses.NO_SUCH_ARGUMENT, "there is no Transaction UID")
    if not uids.valid(transaction.uid):
        raise Refused(statuses.INVALID_ARGUMENT, f"Transaction UID {transaction.uid[:64]!r} is not a UID")
    if transaction.references is None:
        raise Refused(statuses.NO_SUCH_ARGUMENT, "there is no Referenced SOP Sequence")
    if not transaction.references:
        raise Refused(statuses.INVALID_ARGUMENT, "the Referenced SOP Sequence is empty")
    for one in transaction.references:
        for name, uid in (("Class", one.sop_class), ("Instance", one.sop_instance)):
            if not uids.valid(uid):
                raise Refused(statuses.INVALID_ARGUMENT, f"Referenced SOP {name} UID {uid[:64]!r} is no UID")
    return transaction


def _data(message: association.Message) -> bytes:
    try:
        return message.read(_LARGEST)
    except errors.BadData as error:
        raise Refused(statuses.RESOURCE_LIMITATION, str(error)) from error
