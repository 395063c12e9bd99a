"""Associations that we open: to whom, in which contexts, and what their failure means for the sender."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections.abc import Iterator, Mapping, Sequence

from node import errors, model
from node.send import base
from node.wire import association, command, contexts, pdu, requestor, tls

PLAIN = (contexts.EXPLICIT_LITTLE, contexts.IMPLICIT_LITTLE)
ANSWER_CAP = 1 << 20  # bytes of a data set that comes with an answer


def where(peer: model.Peer) -> str:
    """A peer in words: its name and its address."""
    address = f"{peer.aet}@{peer.host}:{peer.port}"
    return address if peer.name == address else f"{peer.name} ({address})"


@contextlib.contextmanager
def opened(
    peer: model.Peer,
    calling: str,
    secure: model.TlsSettings,
    proposed: Sequence[contexts.Proposed],
    *,
    window: int = 1,
    scp: Sequence[str] = (),
    extended: Mapping[str, bytes] | None = None,
    timeouts: association.Timeouts | None = None,
) -> Iterator[association.Association]:
    """Open an association, release it at the end, abort it when the block fails.

    For the SOP classes in `scp` we propose to be their provider; `extended` is what is asked for of the SOP
    class extended negotiation. Raises PeerUnreachable, PeerBusy or PeerRefused.
    """
    link = _connect(
        peer, calling, secure, proposed, window=window, scp=scp, timeouts=timeouts, extended=extended
    )
    try:
        yield link
    except GeneratorExit:  # whoever sends over it stops in good order
        _release(link)
        raise
    except BaseException:
        link.abort()
        raise
    _release(link)


def _connect(
    peer: model.Peer,
    calling: str,
    secure: model.TlsSettings,
    proposed: Sequence[contexts.Proposed],
    *,
    window: int,
    scp: Sequence[str],
    timeouts: association.Timeouts | None,
    extended: Mapping[str, bytes] | None = None,
) -> association.Association:
    if peer.host is None:
        raise errors.PeerRefused(f"peer {peer.name!r} has no host in the configuration: it only calls us")
    return requestor.connect(
        (peer.host, peer.port),
        calling=calling,
        called=peer.aet,
        proposed=proposed,
        secure=tls.client(secure) if peer.tls else None,
        certificate=peer.certificate,
        timeouts=timeouts or association.Timeouts(),
        window=window,
        roles={uid: pdu.Role(scu=False, scp=True) for uid in scp},
        extended=extended,
        peer=peer,
    )


def _release(link: association.Association) -> None:
    with contextlib.suppress(errors.Transient):
        link.release()  # what was answered stays answered, however the goodbye goes


@dataclasses.dataclass(frozen=True, slots=True)
class _Key:
    """What two associations have alike when one can stand in for the other, contexts apart."""

    peer: model.Peer
    calling: str
    secure: model.TlsSettings
    window: int
    scp: tuple[str, ...]
    timeouts: association.Timeouts | None


@dataclasses.dataclass(frozen=True, slots=True)
class _Idle:
    """An association that waits for its next use."""

    key: _Key
    proposed: frozenset[
        contexts.Proposed
    ]  # the contexts that it was opened with; empty: it is not used again
    link: association.Association
    until: float  # when it is released, on the monotonic clock


def _parting(one: _Idle) -> _Idle:
    """One that is released as soon as may be, by the pool's own thread: a peer may take its time over it."""
    return dataclasses.replace(one, proposed=frozenset(), until=0.0)


class Pool:
    """Associations that stay open for a moment, so that the next send to a peer need not negotiate."""

    def __init__(self, *, most: int = 8, idle: float = 5.0) -> None:
        self._most = most  # that wait at once; the oldest goes first
        self._keep = idle  # seconds; well below what peers put up with
        self._waiting: list[_Idle] = []  # oldest first
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None  # releases what nobody came back for
        self._closed = False

    @contextlib.contextmanager
    def opened(
        self,
        peer: model.Peer,
        calling: str,
        secure: model.TlsSettings,
        proposed: Sequence[contexts.Proposed],
        *,
        window: int = 1,
        scp: Sequence[str] = (),
        timeouts: association.Timeouts | None = None,
        fresh: bool = False,
    ) -> Iterator[association.Association]:
        """As `link.opened`, over an association that is open already where there is one.

        The peer may have left one that waited just when it is used again: then nothing is answered on it, and
        its user asks for a `fresh` one.
        """
        key = _Key(peer, calling, secure, window, tuple(scp), timeouts)
        wanted = frozenset(proposed)
        found = None if fresh else self._take(key, wanted)
        if found is not None:
            link, wanted = found.link, found.proposed
        else:
            link = _connect(peer, calling, secure, proposed, window=window, scp=scp, timeouts=timeouts)
        try:
            yield link
        except GeneratorExit:
            self._give(key, wanted, link)
            raise
        except BaseException:
            link.abort()
            raise
        self._give(key, wanted, link)

    def close(self) -> None:
        """Release what waits; an association that is in use is released by its user."""
        with self._changed:
            self._closed = True
            left, self._waiting = self._waiting, []
            thread = self._thread
            self._changed.notify_all()
        for one in left:
            _release(one.link)
        if thread is not None:
            thread.join()

    def _take(self, key: _Key, wanted: frozenset[contexts.Proposed]) -> _Idle | None:
        while True:
            with self._changed:
                found = next(
                    (one for one in reversed(self._waiting) if one.key == key and wanted <= one.proposed),
                    None,
                )
                if found is None:
                    return None
                self._waiting.remove(found)
            if found.link.quiet():
                return found
            with self._changed:
                self._waiting.insert(0, _parting(found))  # it has said goodbye, or it is gone
                self._start()

    def _give(self, key: _Key, proposed: frozenset[contexts.Proposed], link: association.Association) -> None:
        with self._changed:
            keep = not self._closed and link.quiet()
            if keep:
                self._waiting.append(_Idle(key, proposed, link, time.monotonic() + self._keep))
                over = [at for at, one in enumerate(self._waiting) if one.proposed][: -self._most]
                for at in over:
                    self._waiting[at] = _parting(self._waiting[at])
                self._start()
        if not keep:
            _release(link)

    def _start(self) -> None:
        """Have a thread that releases what is due; called with the lock held."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._expire, name="idle-links", daemon=True)
            self._thread.start()
        else:
            self._changed.notify_all()

    def _expire(self) -> None:
        """Release each association when its time is over; ends when none is left."""
        while True:
            with self._changed:
                if not self._waiting:
                    self._thread = None
                    return
                left = self._waiting[0].until - time.monotonic()
                if left > 0:
                    self._changed.wait(left)
                    continue
                one = self._waiting.pop(0)
            _release(one.link)


def response(link: association.Association, wanted: int) -> association.Message:
    """Wait for the answer to our request with this message id; raises PeerUnreachable when none comes."""
    while True:
        received = link.receive()
        if isinstance(received, association.Abort):
            raise errors.PeerUnreachable("the peer aborted the association")
        if isinstance(received, association.Release):
            link.release()
            raise errors.PeerUnreachable("the peer released the association instead of answering")
        if received.command.is_response and received.command.responded_to == wanted:
            return received
        received.drain()


def comment(answer: command.Command) -> str:
    """The Error Comment of an answer, "" when it has none; fit to be printed."""
    return errors.printable(answer.text(command.ERROR_COMMENT))


def outcome(error: errors.NodeError) -> base.Retry | base.Failed:
    """What a failure without a status means for what was to be sent."""
    if isinstance(error, errors.Transient):
        return base.Retry(str(error), crowded=isinstance(error, errors.PeerBusy))
    return base.Failed(str(error))
