"""N-EVENT-REPORT: a destination tells, over an association that it opens, what it has committed to."""

from __future__ import annotations

from collections.abc import Mapping

from node.dicom import commitment, statuses
from node.push import reported
from node.wire import acceptor, association, command

_EVENTS = (commitment.ALL_COMMITTED, commitment.SOME_FAILED)


class Event:
    """Answers N-EVENT-REPORT of the Storage Commitment Push Model, of which we are the user here."""

    def __init__(self, outcomes: reported.Outcomes) -> None:
        self._outcomes = outcomes

    def handlers(self) -> Mapping[int, acceptor.Handler]:
        """What this answers, by command field."""
        return {command.Field.N_EVENT_REPORT: self.report}

    def report(self, link: association.Association, message: association.Message) -> None:
        """Take one report; it is answered with success once it is written down."""
        facts = link.facts
        status, why = check(message.command, message.context.abstract)
        if status == statuses.SUCCESS:
            status, why = reported.take(
                self._outcomes,
                message,
                calling=facts.calling,
                peer=facts.peer_name,
                address=facts.address,
            )
        message.drain()
        link.send(message.context, reported.answer(message.command, status, why))


def check(asked: command.Command, abstract: str) -> tuple[int, str]:
    """The status for what is no report on a commitment, and why; success for what is one."""
    if abstract != commitment.SOP_CLASS:
        return statuses.CLASS_NOT_SUPPORTED, "there are no events in this presentation context"
    if asked.sop_class != commitment.SOP_CLASS:
        return statuses.NO_SUCH_CLASS, "the SOP class is not the push model's"
    if asked.sop_instance != commitment.SOP_INSTANCE:
        return statuses.NO_SUCH_INSTANCE, "the SOP instance has no events"
    event = asked.elements.get(command.EVENT_TYPE, b"")
    if int.from_bytes(event, "little") not in _EVENTS:
        return statuses.NO_SUCH_EVENT, "there are only event types 1 and 2"
    return statuses.SUCCESS, ""
