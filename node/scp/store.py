"""C-STORE: an instance comes in, and is answered with 0000 only once it survives a loss of power."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable

from node import errors, log, metrics, model, receive
from node.dicom import statuses as codes
from node.files import live
from node.scp import pace, statuses
from node.wire import association, command

# Raises receive.Refused when an instance may not be taken although its data set is sound.
Allowed = Callable[[model.Identity, str], None]


class _Link:
    """What is the same for all instances of one association."""

    __slots__ = ("bringing", "pace", "sender", "tally")

    def __init__(
        self,
        sender: receive.Sender,
        tally: metrics.Tally,
        limit: pace.Pace | None,
        bringing: live.Bringing | None,
    ) -> None:
        self.sender = sender
        self.tally = tally
        self.pace = limit
        self.bringing = bringing


class Store:
    """Answers C-STORE; one object serves every association of a process."""

    def __init__(
        self,
        receiver: receive.Receiver,
        counts: metrics.Metrics,
        *,
        allowed: Allowed | None = None,
        paces: pace.Paces | None = None,
        open_: live.Live | None = None,
    ) -> None:
        """`paces` are those of all listener processes; without, this one has its own.

        `open_` is where this process says which series its associations bring.
        """
        self.allowed = allowed  # asked before an instance is made durable; None: everything sound is taken
        self._receiver = receiver
        self._counts = counts
        self._links: weakref.WeakKeyDictionary[association.Association, _Link] = weakref.WeakKeyDictionary()
        self._paces = paces
        self._open_now = open_
        self._lock = threading.Lock()

    def __call__(self, link: association.Association, message: association.Message) -> None:
        """Take one instance and answer; raises only what ends the association."""
        begun = time.perf_counter()
        asked = message.command
        mine = self._links.get(link) or self._open(link)
        if mine.pace is not None:
            mine.pace.wait()
        if asked.sop_class != message.context.abstract:
            why = f"SOP class {asked.sop_class[:64]!r} is not the presentation context's"
            self._refuse(link, message, mine, codes.CLASS_NOT_SUPPORTED, why)
            return
        try:
            arrival = self._take(message, mine.sender)
        except errors.NodeError as error:
            if not link.open:
                raise
            tag = error.tag if isinstance(error, receive.Refused) else None
            offset = error.offset if isinstance(error, receive.Refused) else None
            self._refuse(link, message, mine, statuses.of_store(error), str(error), tag=tag, offset=offset)
            return
        if mine.bringing is not None:
            mine.bringing.note(arrival.identity.series)
        link.send(message.context, command.response(asked, codes.SUCCESS))
        seconds = time.perf_counter() - begun
        mine.tally.stored(arrival.size, seconds)
        if log.debugging():
            _log_stored(arrival, seconds)

    def ended(self, link: association.Association) -> bool:
        """Hand over what an ended association counted; whether it could have stored. Its owner calls this."""
        # Not a finalizer: one that runs in the collector may find its own thread holding the lock it needs.
        mine = self._links.pop(link, None)
        if mine is None:
            return False
        mine.tally.close()
        if mine.bringing is not None:
            mine.bringing.end()
        return True

    def _take(self, message: association.Message, sender: receive.Sender) -> model.Arrival:
        asked = message.command
        context = message.context
        incoming = self._receiver.begin(asked.sop_class, asked.sop_instance, context.transfer, sender)
        try:
            write = incoming.write
            for fragment in message.fragments():
                write(fragment)
            return incoming.commit(self.allowed)
        except BaseException:
            incoming.abort()
            raise

    def _refuse(
        self,
        link: association.Association,
        message: association.Message,
        mine: _Link,
        status: int,
        why: str,
        *,
        tag: int | None = None,
        offset: int | None = None,
    ) -> None:
        """Let the rest of the data set pass, and say what was wrong; the association goes on."""
        # Out of room the sender may be half through a large instance, which is no reason to lose it.
        full = status == codes.OUT_OF_RESOURCES
        message.drain(self._receiver.max_instance if full else association.MOST_DRAINED)
        elements = {} if tag is None else {command.OFFENDING_ELEMENT: _tag_value(tag)}
        answer = command.response(message.command, status, comment=why, elements=elements)
        link.send(message.context, answer)
        mine.tally.refused()
        facts = link.facts
        log.instance_refused(
            sop_instance=message.command.sop_instance[:64],
            sop_class=message.command.sop_class[:64],
            status=status,
            why=why,
            calling=facts.calling,
            address=facts.address,
            peer=facts.peer_name,
            association=facts.id,
            offset=offset,
        )

    def _open(self, link: association.Association) -> _Link:
        facts = link.facts
        peer = facts.peer
        sender = receive.Sender(
            calling=facts.calling,
            called=facts.called,
            address=facts.address,
            peer=facts.peer_name,
            association=facts.id,
            max_instance=peer.max_instance if peer else None,
        )
        limit = None if peer is None or not peer.rate else self._pace(peer.name, peer.rate)
        bringing = None if self._open_now is None else self._open_now.begin()
        mine = _Link(sender, self._counts.tally(facts.peer_name), limit, bringing)
        told = link.ending

        def ending() -> None:
            # Before the peer hears that it is over: who asks next is to find all of it.
            self._receiver.journal.ended()
            told()

        link.ending = ending
        self._links[link] = mine
        return mine

    def _pace(self, peer: str, rate: float) -> pace.Pace:
        with self._lock:
            if self._paces is None:
                self._paces = pace.Paces()
            return self._paces.of(peer, rate)


def _tag_value(tag: int) -> bytes:
    return (tag >> 16).to_bytes(2, "little") + (tag & 0xFFFF).to_bytes(2, "little")


def _log_stored(arrival: model.Arrival, seconds: float) -> None:
    identity = arrival.identity
    log.instance_stored(
        sop_instance=identity.sop_instance,
        series=identity.series,
        study=identity.study,
        sop_class=identity.sop_class,
        syntax=arrival.syntax,
        size=arrival.size,
        digest=arrival.digest,
        calling=arrival.calling,
        address=arrival.address,
        peer=arrival.peer,
        association=arrival.association,
        seconds=seconds,
    )
