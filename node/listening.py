"""A listener process: journal, receiver, verbs and acceptor, put together."""

from __future__ import annotations

import functools
import ipaddress
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from node import commit, log, model, receive, retrieve, state, supervise, transcoding, worklist
from node.files import journal, live, reader, spool
from node.index import db, witness
from node.push import reported
from node.queue import bell
from node.scp import archive, conflict, echo, event, find, get, move, mpps, store, suboperations, watch
from node.scp import commit as committing
from node.scp import worklist as listing
from node.send import link
from node.wire import acceptor, association, command, faults, pdu, policy, tls

if TYPE_CHECKING:
    from node import metrics, roles

LOOK_AT_DISK_EVERY = 1.0  # seconds
_ANY = ("0.0.0.0", "::")  # noqa: S104 - compared with, not bound
# Seconds that an association to a destination waits for the next C-MOVE, as viewers ask series by series. No
# longer: movescu and its like do not end before it does, and receivers take its end for the end of a study.
KEPT_OPEN = 0.5
OWN_ECHO = 512  # bytes; a C-ECHO has fewer, and nothing that is stored has


class Listener:
    """One listener process, from its journal slot to its sockets."""

    def __init__(
        self, shared: roles.Shared, number: int, database: db.Database, line: supervise.Line
    ) -> None:
        settings, data, counts = shared.settings, shared.data, shared.counts
        slot = f"listen-{number}"
        self._data = data
        self._database = database
        self._journal = journal.Journal(
            data,
            slot,
            size=settings.storage.journal,
            degraded=lambda why: _degraded(slot, why, counts),
            synced=lambda instances, seconds: counts.group_commit(seconds, instances),
        )
        self._spool = spool.Spool(data.spool, slot)
        self._spool.sweep(lambda: reader.spooled_names(data, slot))
        self._watermark = Watermark(settings, counts)
        self._receiver = receive.Receiver(data, self._journal, self._spool)
        self._live = live.Live(data, slot)  # which associations bring which series, for the routers
        self._store = store.Store(self._receiver, counts, paces=shared.paces, open_=self._live)
        self._committer = commit.Committer(database, data, _reach(settings), counts)
        self._outcomes = reported.Outcomes(database, data, settings, counts)
        self._watch = watch.Watch()
        answerers = archive.services(database, data, lambda: settings.node.aet, self._watch)
        self._lists = worklist.Lists(database, settings.worklist)
        answerers |= {policy.WORKLIST: listing.Worklist(self._lists)}
        self._find = find.Find(answerers, counts, watch=self._watch)
        retriever = retrieve.Retriever(data, database)
        self._links = link.Pool(idle=KEPT_OPEN)
        self._transcoder = transcoding.Transcoder(data.spool)
        self._move = move.Move(
            retriever, move.Reach(settings), counts, transcoder=self._transcoder, pool=self._links
        )
        self._committing = threading.Event()  # set when it should stop
        self._acceptor = acceptor.Acceptor(
            _listeners(shared),
            _policy(settings),
            {
                command.Field.C_ECHO: echo.Echo(counts),
                command.Field.C_STORE: self._store,
                command.Field.C_FIND: self._find,
                command.Field.C_MOVE: self._move,
                command.Field.C_GET: get.Get(retriever, counts, transcoder=self._transcoder),
                **committing.Commit(self._committer, counts).handlers(),
                **event.Event(self._outcomes).handlers(),
                **self._steps(mpps.Mpps(database, counts, witness.Witness(data)).handlers()),
            },
            settings.limits,
            Journalist(counts, line, self._ended),
            slots=shared.slots.of(number - 1),
            congested=self._watermark.congested,
        )
        self.apply(settings)

    def serve(self) -> None:
        """Take associations until drained."""
        reports = threading.Thread(
            target=self._committer.run, args=(self._committing,), name="commitments", daemon=True
        )
        reports.start()
        self._acceptor.serve()

    def apply(self, settings: model.Settings) -> None:
        """Take other settings; running associations keep what they negotiated."""
        self._acceptor.admit = _policy(settings)
        self._acceptor.limits = settings.limits
        self._receiver.max_instance = settings.limits.max_instance
        self._watermark.settings = settings
        self._find.most = settings.limits.answers
        self._lists.apply(settings.worklist)
        self._committer.reach = _reach(settings)
        self._outcomes.apply(settings)
        self._move.reach = move.Reach(settings)
        refuse = settings.storage.on_conflict is model.OnConflict.REFUSE
        self._store.allowed = conflict.RefuseConflicts(self._database, self._data) if refuse else None

    def drain(self, seconds: float) -> None:
        """Stop accepting, and let running associations finish."""
        self._acceptor.drain(seconds)
        self._committing.set()
        self._committer.stop()

    def close(self) -> None:
        """Let go of sockets, spool and journal."""
        self._acceptor.close()
        self._links.close()
        self._transcoder.close()
        self._watch.close()
        self._live.close()
        self._spool.close()
        self._journal.close()

    def _ended(self, link: association.Association) -> None:
        """An association is over: what it brought may be settled by that."""
        if self._store.ended(link):
            bell.ring(self._data)

    def _steps(self, handlers: Mapping[int, acceptor.Handler]) -> dict[int, acceptor.Handler]:
        """The handlers of performed procedure steps; a change may settle a series."""

        def changed(
            handler: acceptor.Handler, link: association.Association, message: association.Message
        ) -> None:
            handler(link, message)
            self._live.stepped()
            bell.ring(self._data)

        return {
            field: handler if field == command.Field.N_GET else functools.partial(changed, handler)
            for field, handler in handlers.items()
        }


def _degraded(slot: str, why: str, counts: metrics.Metrics) -> None:
    counts.journal_segment_abandoned()
    counts.storage_error("sync")
    log.journal_degraded(slot=slot, error=why)


def _policy(settings: model.Settings) -> policy.Policy:
    retrieval = suboperations.EXTENDED
    archived = (*archive.MODELS, *retrieval)
    services = (policy.STORAGE_COMMITMENT, policy.WORKLIST, *policy.PERFORMED_STEP, *archived)
    extended = archive.EXTENDED | retrieval | {policy.WORKLIST: listing.EXTENDED}
    peers = (*settings.peers, _ourselves(settings.node))
    # A destination reports on commitment to the title that asked for it.
    titles = [(one.peer, one.calling) for one in settings.destinations if one.calling is not None]
    return policy.Policy(
        settings.node, settings.limits, peers, services=services, extended=extended, titles=titles
    )


def _ourselves(node: model.NodeSettings) -> model.Peer:
    """The node's look at itself is let in also where strangers are not; it may only echo.

    Where strangers are let in, so is who calls from here by our own AE title, as the commands do by default:
    he may what a stranger may who calls from loopback.
    """
    local = ("127.0.0.0/8", "::1") if node.host in _ANY else (node.host,)
    here = all(ipaddress.ip_network(one).is_loopback for one in local)
    rights = frozenset(model.Right) if node.accept_unknown and here else frozenset({model.Right.ECHO})
    return model.Peer("self", node.aet, addresses=local, rights=rights, called=node.aet)


def _reach(settings: model.Settings) -> commit.Reach:
    return commit.Reach(settings.peers, settings.node.aet, settings.tls)


def _listeners(shared: roles.Shared) -> list[acceptor.Listener]:
    found = [acceptor.Listener(sock) for sock in shared.sockets.dicom]
    if shared.sockets.tls:
        settings = shared.settings.tls
        reloading = tls.Reloading(
            settings,
            reloaded=lambda: log.tls_reloaded(certificate=settings.certificate),
            refused=lambda error: log.tls_refused(certificate=settings.certificate, error=error),
        )
        found += [acceptor.Listener(sock, reloading) for sock in shared.sockets.tls]
    return found


class Watermark:
    """Whether the disk has room for more; looked at now and then, not at each association."""

    def __init__(self, settings: model.Settings, counts: metrics.Metrics) -> None:
        self.settings = settings  # replaced at a reload
        self._counts = counts
        self._looked = 0.0
        self._low = False
        self._lock = threading.Lock()

    def congested(self) -> bool:
        """Return whether associations that store are refused."""
        with self._lock:
            now = time.monotonic()
            if now - self._looked < LOOK_AT_DISK_EVERY:
                return self._low
            self._looked = now
            place, least = self.settings.node.data, self.settings.storage.min_free
            free = shutil.disk_usage(place).free
            self._counts.disk(free, least)
            low = free < least
            if low and not self._low:
                log.disk_low(free=free, min_free=least, path=place)
            elif self._low and not low:
                log.disk_recovered(free=free, min_free=least, path=place)
            self._low = low
            return low


class Journalist:
    """Tells log, metrics and the status page what becomes of associations."""

    def __init__(
        self,
        counts: metrics.Metrics,
        line: supervise.Line,
        ended: Callable[[association.Association], None],
    ) -> None:
        self._counts = counts
        self._line = line
        self._ended = ended  # told of each that ends, however it does

    def opened(self, link: association.Association) -> None:
        facts = link.facts
        self._counts.association_opened()
        log.association_opened(
            association=facts.id,
            calling=facts.calling,
            called=facts.called,
            address=facts.address,
            peer=facts.peer_name,
            tls=facts.secure,
            contexts=len(link.contexts),
            implementation=facts.implementation,
            routine=_own(link),
        )

    def closed(self, link: association.Association) -> None:
        self._ended(link)
        facts = link.facts
        seconds = round(time.time() - link.started, 3)
        self._counts.association_closed(facts.peer_name)
        log.association_closed(
            association=facts.id,
            calling=facts.calling,
            called=facts.called,
            address=facts.address,
            peer=facts.peer_name,
            seconds=seconds,
            operations=link.messages,
            received=link.bytes_in,
            sent=link.bytes_out,
            routine=_own(link),
        )
        if not _own(link):
            self._tell(facts, seconds, link.messages, "released", good=True)

    def aborted(self, link: association.Association, fault: faults.AssociationLost) -> None:
        self._ended(link)
        facts = link.facts
        seconds = round(time.time() - link.started, 3)
        self._counts.association_closed(facts.peer_name, "aborted")
        log.association_aborted(
            association=facts.id,
            calling=facts.calling,
            called=facts.called,
            address=facts.address,
            peer=facts.peer_name,
            by="peer" if fault.by_peer else "us",
            why=fault.why,
            source=fault.source,
            reason=fault.reason,
            seconds=seconds,
            operations=link.messages,
            received=link.bytes_in,
            sent=link.bytes_out,
        )
        self._tell(facts, seconds, link.messages, f"aborted: {fault.why}", good=False)

    def rejected(self, facts: association.Facts, rejection: pdu.Rejection) -> None:
        self._counts.association_refused(facts.peer_name)
        log.association_rejected(
            association=facts.id,
            calling=facts.calling,
            called=facts.called,
            address=facts.address,
            why=rejection.why,
            result=rejection.result,
            source=rejection.source,
            reason=rejection.reason,
        )
        self._tell(facts, 0.0, 0, f"rejected: {rejection.why}", good=False)

    def dropped(self, facts: association.Facts, why: str) -> None:
        self._counts.association_refused("", "dropped")
        log.connection_dropped(address=facts.address, why=why, association=facts.id)

    def unauthorized(self, link: association.Association, field: int, right: model.Right) -> None:
        facts = link.facts
        log.operation_refused(
            association=facts.id,
            operation=command.Field(field).name,
            status=acceptor.NOT_AUTHORIZED,
            why=f"the peer has not the right to {right.value}",
            calling=facts.calling,
            address=facts.address,
            peer=facts.peer_name,
        )

    def crashed(self, facts: association.Facts, error: BaseException) -> None:
        log.unexpected(where=f"association {facts.id} of {facts.calling}", error=error)

    def _tell(
        self, facts: association.Facts, seconds: float, operations: int, outcome: str, *, good: bool
    ) -> None:
        name = facts.calling + (f" ({facts.peer_name})" if facts.peer_name else "")
        told = state.Association(
            peer=name[:64],
            address=facts.address,
            ended=time.time(),
            seconds=seconds,
            instances=operations,
            outcome=outcome[:200],
            good=good,
        )
        self._line.say(supervise.Word("association", told))


def _own(link: association.Association) -> bool:
    """Whether this is the node's own look at itself: two lines every few seconds would drown the rest."""
    facts = link.facts
    itself = facts.calling == facts.called and facts.address in ("127.0.0.1", "::1")
    return itself and len(link.contexts) == 1 and link.messages <= 1 and link.bytes_in < OWN_ECHO
