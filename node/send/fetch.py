"""C-MOVE and C-GET to another DICOM application: what it holds comes to us, or goes where it is told.

A retrieval says how far it is while it runs and what came of it at the end. With C-GET the instances come
over the same association and go into a sink; with C-MOVE they come, if to us, over one that the peer opens.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator
from typing import Protocol

from node import errors, model
from node.dicom import identifier, statuses, uids
from node.send import base, link, query
from node.wire import association, command, contexts

_FAILED_CAP = 16 << 20  # bytes of a list of failed instances; 200,000 UIDs of full length
_ROOM = contexts.MOST - 2  # contexts that are left for storage beside those for C-GET and C-FIND

# In this order archives are offered the transfer syntaxes one by one as long as contexts last, so that what
# is stored compressed comes as it is; what is left goes into a last context together.
_COMPRESSED = "1.2.840.10008.1.2.4."
_RANKED = (
    contexts.EXPLICIT_LITTLE,
    *(_COMPRESSED + suffix for suffix in ("70", "90", "80", "50", "91")),
    "1.2.840.10008.1.2.5",
    contexts.IMPLICIT_LITTLE,
    *(_COMPRESSED + suffix for suffix in ("51", "57", "81", "201", "203", "202", "102", "100", "92", "93")),
    contexts.DEFLATED_LITTLE,
    contexts.EXPLICIT_BIG,
    *(_COMPRESSED + suffix for suffix in ("103", "101", "107", "108", "104", "110", "111", "112")),
)
_RARE = tuple(uid for uid in contexts.TRANSFER_SYNTAXES if uid not in _RANKED)  # only where there is room


class Taking(Protocol):
    """One instance while it arrives; ends with commit or abort."""

    def write(self, fragment: memoryview) -> None:
        """Take the next bytes, which may be overwritten afterwards."""

    def commit(self) -> object:
        """Keep it; raises errors.NodeError when it cannot be kept."""

    def abort(self) -> None:
        """Forget it; fit to be called twice."""


class Sink(Protocol):
    """Where instances go that a peer sends us."""

    def begin(self, sop_class: str, sop_instance: str, syntax: str, source: str) -> Taking:
        """Get ready for one from this AE title; raises errors.NodeError when it will not be taken."""


@dataclasses.dataclass(frozen=True, slots=True)
class Counts:
    """How far the peer says it is with its sub-operations."""

    remaining: int | None  # not begun; None: it did not say
    completed: int  # arrived where they should
    failed: int  # did not
    warning: int  # arrived, with a remark

    @property
    def total(self) -> int | None:
        """How many there are in all, as far as it can be told."""
        if self.remaining is None:
            return None
        return self.remaining + self.completed + self.failed + self.warning


@dataclasses.dataclass(frozen=True, slots=True)
class Arrived:
    """One instance came to us."""

    sop_class: str  # as the command said
    sop_instance: str  # as the command said
    size: int  # bytes of its data set
    error: errors.NodeError | None = None  # why it was not kept; None: it was


@dataclasses.dataclass(frozen=True, slots=True)
class Ended:
    """What came of a retrieval, as the peer says."""

    status: int  # the final status
    comment: str  # the peer's words with it
    counts: Counts  # its sub-operations
    failed: tuple[str, ...] = ()  # SOP Instance UIDs that did not arrive, where it lists them

    @property
    def outcome(self) -> base.Outcome:
        """Whether everything is there, may be later, or will not be."""
        said = statuses.text(self.status, self.comment, retrieval=True)
        kind = statuses.classify(self.status)
        if kind is statuses.Kind.RETRY:
            return base.Retry(said, self.status)
        if kind is statuses.Kind.PERMANENT or self.counts.failed:
            return base.Failed(said, self.status)
        return base.Done(self.status, said if kind is statuses.Kind.WARNING else "")


Heard = Counts | Arrived


class Retrieval:
    """One C-MOVE or C-GET over an open association: iterate to run it, then look at `ended`.

    `cancel` may be called from any thread; what is under way still arrives.
    """

    def __init__(
        self,
        opened: association.Association,
        fields: identifier.Fields,
        level: model.Level,
        root: query.Root = query.Root.STUDY,
        *,
        destination: str = "",
        sink: Sink | None = None,
        priority: int = 0,
    ) -> None:
        """With a destination (an AE title that the peer knows) a C-MOVE, with a sink a C-GET."""
        if (sink is None) == (not destination):
            raise ValueError("a C-MOVE has a destination, a C-GET a sink")
        self.ended: Ended | None = None  # None: the final response has not come
        self.cancelled = False  # we asked the peer to stop
        self._opened = opened
        self._sink = sink
        self._number = opened.next_id()
        field = command.Field.C_MOVE if destination else command.Field.C_GET
        self._context = query.context(
            opened, root.sop_class(field), "C-MOVE requests" if destination else "C-GET requests"
        )
        asked: identifier.Fields = {**fields, "QueryRetrieveLevel": level.value}
        elements = {command.MOVE_DESTINATION: command.text(destination)} if destination else {}
        request = command.request(
            field,
            self._number,
            sop_class=self._context.abstract,
            priority=priority,
            has_data=True,
            elements=elements,
        )
        opened.send(self._context, request, identifier.encode(asked, self._context.transfer))

    @property
    def number(self) -> int:
        """The message id that the peer names as the originator of what it sends for a C-MOVE."""
        return self._number

    def cancel(self) -> None:
        """Ask the peer to stop."""
        if self.ended is None and not self.cancelled:
            self.cancelled = True
            with contextlib.suppress(errors.Transient):
                self._opened.send(self._context, command.cancel(self._number))

    def __iter__(self) -> Iterator[Heard]:
        """Yield what happens, in its order; raises when the association ends before the final response."""
        opened = self._opened
        while self.ended is None:
            received = opened.receive()
            if isinstance(received, association.Abort):
                raise errors.PeerUnreachable("the peer aborted the association before it was done")
            if isinstance(received, association.Release):
                opened.release()
                raise errors.PeerUnreachable("the peer released the association before it was done")
            said = received.command
            if said.field == command.Field.C_STORE and self._sink is not None:
                yield take(opened, received, self._sink)
            elif said.is_response and said.responded_to == self._number:
                counts = _counts(said)
                if said.status in (statuses.PENDING, statuses.PENDING_WARNING):
                    received.drain()
                    yield counts
                else:
                    self.ended = Ended(said.status, link.comment(said), counts, self._failed(received))
            else:
                received.drain()
                if not said.is_response and said.field != command.Field.C_CANCEL:
                    answer = command.response(said, statuses.UNRECOGNIZED_OPERATION)
                    opened.send(received.context, answer)

    def _failed(self, message: association.Message) -> tuple[str, ...]:
        """The list of failed instances; what is no list is no reason to lose the counts."""
        if message.complete:
            return ()
        try:
            data = message.read(_FAILED_CAP)
            listed = identifier.decode(data, self._context.transfer, largest=_FAILED_CAP)
        except errors.BadData:
            message.drain()
            return ()
        found = listed.get("FailedSOPInstanceUIDList")
        if not isinstance(found, str):
            return ()
        return tuple(uid for uid in found.split("\\") if uids.valid(uid))


def _counts(said: command.Command) -> Counts:
    remaining = said.number(command.REMAINING) if command.REMAINING in said.elements else None
    return Counts(
        remaining,
        said.number(command.COMPLETED),
        said.number(command.FAILED),
        said.number(command.WARNING),
    )


def take(opened: association.Association, message: association.Message, sink: Sink) -> Arrived:
    """Put one C-STORE into the sink and answer it; a refusal goes to the peer and into the result."""
    asked = message.command
    facts = opened.facts
    source = facts.calling if facts.inbound else facts.called
    taking: Taking | None = None
    try:
        taking = sink.begin(asked.sop_class, asked.sop_instance, message.context.transfer, source)
        for fragment in message.fragments():
            taking.write(fragment)
        taking.commit()
    except BaseException as error:
        if taking is not None:
            taking.abort()
        if not isinstance(error, errors.NodeError) or not opened.open:
            raise
        message.drain()
        opened.send(message.context, command.response(asked, _status(error), comment=str(error)))
        return Arrived(asked.sop_class, asked.sop_instance, message.received, error)
    opened.send(message.context, command.response(asked, statuses.SUCCESS))
    return Arrived(asked.sop_class, asked.sop_instance, message.received)


def _status(error: errors.NodeError) -> int:
    if isinstance(error, errors.BadData):
        return statuses.CANNOT_UNDERSTAND
    if isinstance(error, errors.Transient):
        return statuses.OUT_OF_RESOURCES
    return statuses.PROCESSING_FAILURE


# -- what is proposed -------------------------------------------------------------------------------


def proposal(root: query.Root, known: Iterable[str] = ()) -> list[contexts.Proposed]:
    """The contexts for a C-GET: these storage classes, or where none is known all usual ones."""
    wanted = [uid for uid in dict.fromkeys(known) if uids.valid(uid)][:_ROOM] or list(usual())
    room = _ROOM // len(wanted)
    return [*_asking(root, command.Field.C_GET), *(one for uid in wanted for one in _proposed(uid, room))]


def _asking(root: query.Root, verb: int) -> Iterator[contexts.Proposed]:
    """The context of the verb, and that of C-FIND, without which some archives do not like the other."""
    for field in (verb, command.Field.C_FIND):
        yield contexts.Proposed(root.sop_class(field), link.PLAIN)


def _proposed(sop_class: str, room: int) -> Iterator[contexts.Proposed]:
    """The contexts of one class: each transfer syntax by itself as far as there is room.

    Never many in one: DCMTK's acceptors end the association over a context with more than fifty.
    """
    every = (*_RANKED, *_RARE)
    if room >= len(every):
        yield from (contexts.Proposed(sop_class, (uid,)) for uid in every)
        return
    alone = min(room - 1, len(_RANKED))
    yield from (contexts.Proposed(sop_class, (uid,)) for uid in _RANKED[:alone])
    yield contexts.Proposed(sop_class, _RANKED[alone:] or _RARE)


def usual() -> tuple[str, ...]:
    """The storage classes that are proposed where nothing is known: those that archives are full of."""
    return tuple(_STORAGE + suffix for suffix in _COMMON)


_STORAGE = "1.2.840.10008.5.1.4.1.1."
_COMMON = (
    *("2", "4", "1.1", "1", "7", "2.1", "4.1", "6.1", "3.1", "128", "20", "12.1", "12.2", "1.2", "1.3"),
    *("4.2", "6.2", "7.1", "7.2", "7.3", "7.4", "9.1.1", "9.1.2", "11.1", "12.1.1", "12.2.1", "13.1.3", "30"),
    *("66", "66.1", "66.4", "66.5", "67", "77.1.1", "77.1.4", "77.1.5.1", "77.1.5.4", "77.1.6", "88.11"),
    *("88.22", "88.33", "88.34", "88.50", "88.59", "88.65", "88.67", "104.1", "130", "481.1", "481.2"),
    *("481.3", "481.4", "481.5", "481.8"),
)


@contextlib.contextmanager
def opened(
    peer: model.Peer,
    calling: str,
    secure: model.TlsSettings,
    root: query.Root,
    *,
    move: bool,
    known: Iterable[str] = (),
    timeouts: association.Timeouts | None = None,
) -> Iterator[association.Association]:
    """Open an association for C-MOVE, or for C-GET of instances of the known classes."""
    proposed = list(_asking(root, command.Field.C_MOVE)) if move else proposal(root, known)
    stores = list(dict.fromkeys(one.abstract for one in proposed[2:]))
    with link.opened(peer, calling, secure, proposed, scp=stores, timeouts=timeouts) as made:
        yield made
