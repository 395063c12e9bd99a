"""Storage commitment as it goes out: our reports to who asked us, and our own requests to others."""

from __future__ import annotations

import time
from collections.abc import Sequence

from node import errors, model
from node.dicom import commitment, statuses, uids
from node.send import base, link
from node.wire import association, command, contexts, faults


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
        with link.opened(peer, calling, secure, proposed, scp=[commitment.SOP_CLASS]) as opened:
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


def request(
    peer: model.Peer,
    calling: str,
    secure: model.TlsSettings,
    references: Sequence[commitment.Reference],
    *,
    wait: float,
) -> commitment.Transaction | None:
    """Ask a peer to commit, and wait for its report on the same association; None: it did not come in time.

    Raises PeerUnreachable or PeerRefused.
    """
    proposed = [contexts.Proposed(commitment.SOP_CLASS, link.PLAIN)]
    transaction = uids.new()
    timeouts = association.Timeouts(idle=max(wait, 1.0))
    with link.opened(peer, calling, secure, proposed, timeouts=timeouts) as opened:
        context = opened.find(commitment.SOP_CLASS)
        if context is None:
            raise errors.PeerRefused(f"{link.where(peer)} does not take storage commitment requests")
        number = opened.next_id()
        opened.send(
            context,
            command.request(
                command.Field.N_ACTION,
                number,
                sop_class=commitment.SOP_CLASS,
                sop_instance=commitment.SOP_INSTANCE,
                has_data=True,
                elements={command.ACTION_TYPE: command.us(commitment.REQUEST)},
            ),
            commitment.request(transaction, references, context.transfer),
        )
        return _await(opened, peer, transaction, number, time.monotonic() + wait)


def _await(
    opened: association.Association, peer: model.Peer, transaction: str, number: int, deadline: float
) -> commitment.Transaction | None:
    found: commitment.Transaction | None = None
    answered = False
    # The report may overtake the answer to the request.
    while found is None or not answered:
        if time.monotonic() > deadline:
            return None
        try:
            received = opened.receive()
        except faults.AssociationLost:
            if answered:
                return None  # it was taken, and may be reported over another association
            raise
        if isinstance(received, association.Abort):
            raise errors.PeerUnreachable(f"{link.where(peer)} aborted the association")
        if isinstance(received, association.Release):
            opened.release()
            return found
        asked = received.command
        data = received.read(link.ANSWER_CAP)
        if asked.is_response and asked.responded_to == number:
            if asked.status != statuses.SUCCESS:
                said = statuses.text(asked.status, link.comment(asked))
                raise errors.PeerRefused(f"{link.where(peer)} answered the request with {said}")
            answered = True
        elif asked.field == command.Field.N_EVENT_REPORT:
            reported = commitment.read(data, received.context.transfer)
            elements = {command.EVENT_TYPE: asked.elements.get(command.EVENT_TYPE, b"")}
            opened.send(received.context, command.response(asked, statuses.SUCCESS, elements=elements))
            if reported.uid == transaction:
                found = reported
    return found
