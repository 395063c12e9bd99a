"""Storage commitment as it goes out: our reports to who asked us, and our own requests to others."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Sequence

from node import errors, model
from node.dicom import commitment, statuses, uids
from node.send import base, inbox, link
from node.wire import acceptor, association, command, contexts, faults

# Short: it is tried again anyhow, and a node that stops must not wait for a host that is not there.
_PATIENCE = association.Timeouts(request=5.0, pdu=30.0, idle=30.0)


def report(
    peer: model.Peer,
    calling: str,
    secure: model.TlsSettings,
    transaction: str,
    references: Sequence[commitment.Reference],
) -> base.Outcome:
    """Tell a requester, over a new association on which we are the provider, what is committed."""
    proposed = [contexts.Proposed(commitment.SOP_CLASS, link.PLAIN)]
    try:
        with link.opened(
            peer, calling, secure, proposed, scp=[commitment.SOP_CLASS], timeouts=_PATIENCE
        ) as opened:
            # A peer that does not know role selection may take the context and answer nothing about roles.
            context = opened.find(commitment.SOP_CLASS, scp=True) or opened.find(commitment.SOP_CLASS)
            if context is None:
                why = f"{link.where(peer)} does not take storage commitment reports"
                return base.Failed(why)
            number = send_report(opened, context, transaction, references)
            answer = link.response(opened, number).command
    except errors.NodeError as error:
        return link.outcome(error)
    said = statuses.text(answer.status, link.comment(answer))
    match statuses.classify(answer.status):
        case statuses.Kind.SUCCESS | statuses.Kind.WARNING:
            return base.Done(answer.status)
        case _:
            return base.Retry(f"{link.where(peer)} answered the report with {said}", answer.status)


def send_report(
    opened: association.Association,
    context: contexts.Context,
    transaction: str,
    references: Sequence[commitment.Reference],
    number: int | None = None,
) -> int:
    """Send one N-EVENT-REPORT; the message id that its answer will name, `number` if one is given."""
    failed = any(reference.failure for reference in references)
    event = commitment.SOME_FAILED if failed else commitment.ALL_COMMITTED
    number = opened.next_id() if number is None else number
    request = command.request(
        command.Field.N_EVENT_REPORT,
        number,
        sop_class=commitment.SOP_CLASS,
        sop_instance=commitment.SOP_INSTANCE,
        has_data=True,
        elements={command.EVENT_TYPE: command.us(event)},
    )
    opened.send(context, request, commitment.report(transaction, references, context.transfer))
    return number


def send_request(
    opened: association.Association,
    context: contexts.Context,
    transaction: str,
    references: Sequence[commitment.Reference],
) -> int:
    """Send one N-ACTION; the message id that its answer will name."""
    number = opened.next_id()
    asked = command.request(
        command.Field.N_ACTION,
        number,
        sop_class=commitment.SOP_CLASS,
        sop_instance=commitment.SOP_INSTANCE,
        has_data=True,
        elements={command.ACTION_TYPE: command.us(commitment.REQUEST)},
    )
    opened.send(context, asked, commitment.request(transaction, references, context.transfer))
    return number


def request(
    peer: model.Peer,
    calling: str,
    secure: model.TlsSettings,
    references: Sequence[commitment.Reference],
    *,
    wait: float,
    listen: int | None = None,
) -> commitment.Transaction | None:
    """Ask a peer to commit, and wait for its report; None: it did not come in time.

    It may come on the same association and, on a port to `listen` on, over one that the peer opens.
    Raises PeerUnreachable or PeerRefused.
    """
    waiting = _Waiting(uids.new(), peer)
    deadline = time.monotonic() + wait
    with contextlib.ExitStack() as stack:
        if listen is not None:
            handlers: dict[int, acceptor.Handler] = {command.Field.N_EVENT_REPORT: waiting.take}
            stack.enter_context(
                inbox.listening(
                    calling, listen, handlers, services=[commitment.SOP_CLASS], any_called=True, drain=2.0
                )
            )
        _ask(waiting, calling, secure, references, deadline, stay=listen is None)
        if listen is not None:
            waiting.there.wait(max(0.0, deadline - time.monotonic()))
    return waiting.found


class _Waiting:
    """A request whose report is awaited, from wherever it comes."""

    def __init__(self, transaction: str, peer: model.Peer) -> None:
        self.transaction = transaction
        self.peer = peer
        self.found: commitment.Transaction | None = None
        self.there = threading.Event()

    def take(self, opened: association.Association, message: association.Message) -> None:
        """Answer an N-EVENT-REPORT, and keep it when it is ours."""
        asked = message.command
        try:
            reported = commitment.read(message.read(link.ANSWER_CAP), message.context.transfer)
        except errors.BadData as error:
            answer = command.response(asked, statuses.PROCESSING_FAILURE, comment=str(error))
            opened.send(message.context, answer)
            return
        elements = {command.EVENT_TYPE: asked.elements.get(command.EVENT_TYPE, b"")}
        opened.send(message.context, command.response(asked, statuses.SUCCESS, elements=elements))
        if reported.uid == self.transaction:
            self.found = reported
            self.there.set()


def _ask(
    waiting: _Waiting,
    calling: str,
    secure: model.TlsSettings,
    references: Sequence[commitment.Reference],
    deadline: float,
    *,
    stay: bool,
) -> None:
    """Send the request; with `stay`, wait for the report on the same association."""
    proposed = [contexts.Proposed(commitment.SOP_CLASS, link.PLAIN)]
    timeouts = association.Timeouts(idle=max(deadline - time.monotonic(), 1.0))
    with link.opened(waiting.peer, calling, secure, proposed, timeouts=timeouts) as opened:
        context = opened.find(commitment.SOP_CLASS)
        if context is None:
            raise errors.PeerRefused(f"{link.where(waiting.peer)} does not take storage commitment requests")
        number = send_request(opened, context, waiting.transaction, references)
        _await(opened, waiting, number, deadline, stay=stay)


def _await(
    opened: association.Association, waiting: _Waiting, number: int, deadline: float, *, stay: bool
) -> None:
    answered = False
    # The report may overtake the answer to the request.
    while not answered or (stay and waiting.found is None):
        if time.monotonic() > deadline:
            return
        try:
            received = opened.receive()
        except faults.AssociationLost:
            if answered:
                return  # it was taken, and may be reported over another association
            raise
        if isinstance(received, association.Abort):
            raise errors.PeerUnreachable(f"{link.where(waiting.peer)} aborted the association")
        if isinstance(received, association.Release):
            opened.release()
            return
        asked = received.command
        if asked.field == command.Field.N_EVENT_REPORT:
            waiting.take(opened, received)
            continue
        received.drain()
        if asked.is_response and asked.responded_to == number:
            if asked.status != statuses.SUCCESS:
                said = statuses.text(asked.status, link.comment(asked))
                raise errors.PeerRefused(f"{link.where(waiting.peer)} answered the request with {said}")
            answered = True
