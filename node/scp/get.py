"""C-GET: what is chosen comes back over the association on which it was asked for."""

from __future__ import annotations

import time

from node import errors, metrics, model, retrieve
from node.dicom import statuses
from node.scp import suboperations
from node.send import base, dimse
from node.wire import association, command, contexts, faults


class Get:
    """Answers C-GET; one object serves every association of a process, each in its own thread."""

    def __init__(
        self,
        retriever: retrieve.Retriever,
        counts: metrics.Metrics,
        *,
        transcoder: base.Transcoder | None = None,
    ) -> None:
        self._retriever = retriever
        self._journal = suboperations.Journal("get", counts)
        self._transcoder = transcoder

    def __call__(self, link: association.Association, message: association.Message) -> None:
        """Do one request; raises only what ends the association."""
        begun = time.perf_counter()
        wanted: model.Query | None = None
        to = link.facts.peer_name or link.facts.calling
        try:
            wanted = suboperations.asked(link, message)
            chosen = suboperations.choose(self._retriever, wanted)
        except suboperations.Refused as refused:
            message.drain()
            suboperations.answer(link, message, refused.status, str(refused))
            self._journal.refused(link, wanted, refused, to, time.perf_counter() - begun)
            return
        tally = suboperations.Tally(chosen)
        status: int | None = None
        try:
            cancelled = False
            if _takes_instances(link):
                cancelled = self._send(link, message, chosen, tally)
            else:
                tally.give_up("no storage class with the role of its SCP was proposed")
            if not cancelled:
                tally.give_up(chosen.broken or "it was not sent")
            status, comment = tally.outcome(cancelled=cancelled)
            suboperations.answer(link, message, status, comment, tally)
        except errors.PeerUnreachable as error:
            raise link.fault or faults.gone(str(error)) from error
        finally:
            seconds = time.perf_counter() - begun
            self._journal.ended(link, wanted, chosen, tally, status, to, seconds)

    def _send(
        self,
        link: association.Association,
        message: association.Message,
        chosen: retrieve.Chosen,
        tally: suboperations.Tally,
    ) -> bool:
        """Send everything, with a word on how it goes now and then; whether it was cancelled."""
        asked = message.command
        cancelled = False

        def heard(other: association.Message) -> None:
            nonlocal cancelled
            if other.command.field == command.Field.C_CANCEL:
                cancelled = cancelled or other.command.responded_to == asked.message_id
                return
            # One thing at a time: nobody was granted more.
            other.drain()
            busy = command.response(
                other.command, statuses.RESOURCE_LIMITATION, comment="a C-GET is under way"
            )
            link.send(other.context, busy)

        due = 0.0
        stream = chosen.stream(lambda: cancelled)
        priority = asked.priority if asked.priority in (0, 1, 2) else 0
        for result in dimse.converse(
            link,
            stream.each(),
            priority=priority,
            transcoder=self._transcoder,
            heard=heard,
            until=stream.until,
        ):
            tally.take(result)
            now = time.monotonic()
            if now >= due and tally.remaining:
                suboperations.answer(link, message, statuses.PENDING, tally=tally)
                due = now + suboperations.PENDING_EVERY
        return cancelled


def _takes_instances(link: association.Association) -> bool:
    """Whether there is any context in which we may send."""
    return any(
        context.scu and contexts.looks_like_storage(context.abstract, link.request.user.common_extended)
        for context in link.contexts.values()
    )
