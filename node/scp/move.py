"""C-MOVE: what is chosen goes to a configured destination, while its requestor hears how it goes."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable
from typing import Self

from node import errors, metrics, model, retrieve
from node.dicom import statuses
from node.scp import suboperations
from node.send import base, dimse
from node.send import link as sending
from node.steps import coerce
from node.wire import association, command, faults

LOOK_EVERY = 0.1  # seconds between two looks whether the requestor still wants it
GRACE = 5.0  # seconds that a sub-operation may go on once nobody wants it, before its association is cut


class Target:
    """Where a C-MOVE may go."""

    def __init__(
        self, name: str, peer: model.Peer, calling: str, coercion: model.Coercion | None = None
    ) -> None:
        self.name = name  # what the configuration calls it
        self.peer = peer
        self.calling = calling  # AE title that we call with
        self._wanted = coercion

    @functools.cached_property
    def coercion(self) -> coerce.Coercion | None:
        """What the copies go through; read once, with its lookup tables."""
        return None if self._wanted is None else coerce.configured(self._wanted)


class Reach:
    """The destinations of the configuration, by the titles that requestors write; nothing goes elsewhere."""

    def __init__(self, settings: model.Settings) -> None:
        self.tls = settings.tls
        self._targets: dict[str, Target] = {}
        peers = {peer.name: peer for peer in settings.peers}
        coercions = {one.name: one for one in settings.coerce}
        targets = [
            Target(
                known.name,
                peers[known.peer],
                known.calling or settings.node.aet,
                coercions.get(known.coerce or ""),
            )
            for known in settings.destinations
            if known.peer in peers
        ]
        # A destination's own name comes first. Whoever writes the title of a peer that a destination stands
        # for means that destination, for else its coercion could be gone round.
        for target in targets:
            self._targets.setdefault(target.name, target)
        for target in targets:
            self._targets.setdefault(target.peer.aet, target)
        for peer in settings.peers:
            self._targets.setdefault(peer.aet, Target(peer.name, peer, settings.node.aet))

    def find(self, title: str) -> Target:
        """The destination that a title means; raises Refused."""
        found = self._targets.get(title)
        if found is None:
            why = f"no destination or peer {title[:16]!r} is configured here"
            raise suboperations.Refused(statuses.UNKNOWN_DESTINATION, why)
        if found.peer.host is None:
            why = f"peer {found.peer.name} has no host in the configuration"
            raise suboperations.Refused(statuses.UNKNOWN_DESTINATION, why)
        return found


class Move:
    """Answers C-MOVE; one object serves every association of a process, each in its own thread."""

    def __init__(
        self,
        retriever: retrieve.Retriever,
        reach: Reach,
        counts: metrics.Metrics,
        *,
        transcoder: base.Transcoder | None = None,
        pool: sending.Pool | None = None,
    ) -> None:
        self.reach = reach  # replaced at a reload
        self._retriever = retriever
        self._counts = counts
        self._journal = suboperations.Journal("move", counts)
        self._transcoder = transcoder
        self._pool = pool

    def __call__(self, link: association.Association, message: association.Message) -> None:
        """Do one request; raises only what ends the association."""
        begun = time.perf_counter()
        title = message.command.text(command.MOVE_DESTINATION)
        wanted: model.Query | None = None
        reach = self.reach
        try:
            wanted = suboperations.asked(link, message)
            target = reach.find(title)
            chosen = suboperations.choose(self._retriever, wanted, _coercion(target))
        except suboperations.Refused as refused:
            message.drain()
            suboperations.answer(link, message, refused.status, str(refused))
            self._journal.refused(link, wanted, refused, title[:16], time.perf_counter() - begun)
            return
        tally = suboperations.Tally(chosen, sending.where(target.peer))
        status: int | None = None
        try:
            cancelled = self._send(link, message, target, chosen, tally, reach.tls)
            if not cancelled:
                tally.give_up(chosen.broken or "it was not sent")
            status, comment = tally.outcome(cancelled=cancelled)
            suboperations.answer(link, message, status, comment, tally)
        finally:
            seconds = time.perf_counter() - begun
            self._count(target.name, tally)
            self._journal.ended(link, wanted, chosen, tally, status, target.name, seconds)

    def _send(
        self,
        link: association.Association,
        message: association.Message,
        target: Target,
        chosen: retrieve.Chosen,
        tally: suboperations.Tally,
        secure: model.TlsSettings,
    ) -> bool:
        """Send everything, and tell the requestor now and then; whether it was cancelled."""
        asked = message.command
        sender = dimse.Dimse(
            target.peer,
            target.calling,
            secure,
            originator=(link.facts.calling, asked.message_id),
            priority=asked.priority if asked.priority in (0, 1, 2) else 0,
            transcoder=self._transcoder,
            pool=self._pool,
        )
        if not tally.remaining:
            return False
        with _Watch(link, message, tally, sender.cut) as watch:
            for result in sender.send(chosen.stream(watch.stopped)):
                tally.take(result)
        return watch.cancelled

    def _count(self, name: str, tally: suboperations.Tally) -> None:
        # All at once: for small instances, counting each costs as much as sending it.
        if tally.completed:
            self._counts.sent(name, "success", tally.size, instances=tally.completed)
        if tally.warning:
            size = 0 if tally.completed else tally.size
            self._counts.sent(name, "warning", size, instances=tally.warning)
        if tally.failed:
            self._counts.sent(name, "failed", instances=tally.failed)


class _Watch:
    """Beside a C-MOVE that is under way: tells its requestor how it goes, and hears when it wants no more.

    While it runs, the requestor's association is this thread's. So a destination that does not answer
    neither silences us nor makes us deaf.
    """

    def __init__(
        self,
        link: association.Association,
        message: association.Message,
        tally: suboperations.Tally,
        cut: Callable[[str], None],
    ) -> None:
        self.cancelled = False
        self._link = link
        self._message = message
        self._tally = tally
        self._cut = cut
        self._lost: faults.AssociationLost | None = None
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"{link.facts.id}-move", daemon=True)

    def stopped(self) -> bool:
        """Whether nobody wants the rest."""
        return self.cancelled or self._lost is not None

    def __enter__(self) -> Self:
        self._tell()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        if self._lost is not None:
            raise self._lost

    def _tell(self) -> None:
        suboperations.answer(self._link, self._message, statuses.PENDING, tally=self._tally)

    def _run(self) -> None:
        due = time.monotonic() + suboperations.PENDING_EVERY
        try:
            while not self.cancelled and not self._done.wait(LOOK_EVERY):
                self.cancelled = self._link.cancelled(self._message.command.message_id)
                if time.monotonic() >= due:
                    self._tell()
                    due += suboperations.PENDING_EVERY
        except faults.AssociationLost as fault:
            self._lost = fault
        if self.stopped() and not self._done.wait(GRACE):
            self._cut("its requestor wants no more of it")


def _coercion(target: Target) -> coerce.Coercion | None:
    try:
        return target.coercion
    except (errors.NodeError, OSError) as error:
        raise suboperations.Refused(statuses.CANNOT_SUBOPERATE, "its coercion cannot be read") from error
