"""What is known of a peer from earlier associations, so that a send that must fail is not tried.

It stands in the row of the destination's lane. What a peer refused counts for an hour; `dicom-node queue
retry`, `replay` and `resend` forget it, and so does a change of the peer's configuration.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import hashlib
import threading
import weakref
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from node import errors, model
from node.index import db, lanes
from node.send import base
from node.wire import association, contexts

FORGOTTEN = datetime.timedelta(hours=1)  # after which what was refused is asked for again
CROWDED = datetime.timedelta(minutes=10)  # after which one association more is tried again
_REFRESHED = datetime.timedelta(minutes=10)  # older marks than this are written again
_REFUSED = (1, 3, 4)  # of a context: by its user, abstract syntax, transfer syntaxes; 2 gives no reason
_MOST = 2000  # pairs that are kept; the oldest go

Pair = tuple[str, str]  # SOP Class UID, transfer syntax UID


@dataclasses.dataclass(frozen=True, slots=True)
class Memory:
    """What is known of one peer."""

    peer: str = ""  # fingerprint of its configuration; of another one, nothing is known
    accepted: Mapping[Pair, datetime.datetime] = dataclasses.field(default_factory=dict)  # and when
    refused: Mapping[Pair, datetime.datetime] = dataclasses.field(default_factory=dict)  # and when
    max_pdu: int | None = None  # bytes of a P-DATA that it takes; 0: any; None: not known
    lanes: int | None = None  # associations that it bore at once when it refused another; None: it never did
    crowded: datetime.datetime | None = None  # when it refused another

    def heard(self, opened: association.Association, now: datetime.datetime) -> Memory:
        """With what the negotiation of an association showed; the same object when that is nothing new."""
        taken = {(one.abstract, one.transfer) for one in opened.contexts.values()}
        answer = opened.accepted
        no = {one.id for one in answer.results if one.result in _REFUSED} if answer is not None else set()
        denied = {
            (one.abstract, transfer)
            for one in opened.request.contexts
            if one.id in no
            for transfer in one.transfers
        }
        max_pdu = None if answer is None else answer.user.max_pdu
        if max_pdu == self.max_pdu and not (
            _stale(self.accepted, taken, self.refused, now)
            or _stale(self.refused, denied - taken, self.accepted, now)
        ):
            return self
        accepted = {pair: at for pair, at in self.accepted.items() if pair not in denied}
        refused = {pair: at for pair, at in self.refused.items() if pair not in taken}
        accepted |= dict.fromkeys(taken, now)
        refused |= dict.fromkeys(denied - taken, now)
        return dataclasses.replace(
            self, accepted=_newest(accepted), refused=_newest(refused), max_pdu=max_pdu
        )

    def too_many(self, borne: int, now: datetime.datetime) -> Memory:
        """With an association that it refused because it had enough, while it bore so many others."""
        return dataclasses.replace(self, lanes=max(1, borne), crowded=now)

    def most(self, lanes: int, now: datetime.datetime) -> int:
        """How many associations at once are worth trying, of those that are configured."""
        if self.lanes is None or self.crowded is None or not _within(self.crowded, now, CROWDED):
            return lanes
        return min(lanes, self.lanes)

    def hopeless(self, sop_class: str, syntaxes: Collection[str], now: datetime.datetime) -> str:
        """Why an item that can go in one of these transfer syntaxes need not be tried; "": it must be."""
        last: datetime.datetime | None = None
        for syntax in syntaxes:
            at = self.refused.get((sop_class, syntax))
            if at is None or not _within(at, now, FORGOTTEN):
                return ""
            last = at if last is None else max(last, at)
        if last is None:
            return ""
        names = ", ".join(contexts.TRANSFER_SYNTAXES.get(uid, uid) for uid in syntaxes)
        return (
            f"it refused SOP class {sop_class} at {last:%H:%M:%S} UTC in everything it could be sent in "
            f"({names}), and is not asked again for an hour; to try at once: dicom-node queue replay"
        )

    def words(self) -> dict[str, Any]:
        """As it stands in the lane's row."""
        return {
            "peer": self.peer,
            "accepted": _written(self.accepted),
            "refused": _written(self.refused),
            "max_pdu": self.max_pdu,
            "lanes": self.lanes,
            "crowded": None if self.crowded is None else self.crowded.isoformat(timespec="seconds"),
        }


def read(words: Mapping[str, Any], peer: str) -> Memory:
    """What a lane's row says, if it is of the peer as it is configured now; else nothing."""
    try:
        if words.get("peer") != peer:
            return Memory(peer)
        crowded = words["crowded"]
        return Memory(
            peer,
            _read(words["accepted"]),
            _read(words["refused"]),
            words["max_pdu"],
            words["lanes"],
            None if crowded is None else datetime.datetime.fromisoformat(crowded),
        )
    except (ValueError, KeyError, TypeError):
        return Memory(peer)


class Memories:
    """What is known of each destination's peer; any thread may ask. Without a database, of this process."""

    def __init__(self, database: db.Database | None = None) -> None:
        self._database = database
        self._own: dict[str, Mapping[str, Any]] = {}
        self._met: weakref.WeakSet[association.Association] = weakref.WeakSet()
        self._lock = threading.Lock()

    def read(self, destination: str, peer: str) -> Memory:
        """What is known; nothing while the database does not answer."""
        words = self._own.get(destination, {})
        if self._database is not None:
            with contextlib.suppress(errors.DatabaseUnavailable), self._database.read() as connection:
                words = self._own[destination] = lanes.memory(connection, destination)
        return read(words, peer)

    def last(self, destination: str, peer: str) -> Memory:
        """What was known when it was last asked; asks nobody."""
        return read(self._own.get(destination, {}), peer)

    def met(self, opened: association.Association) -> bool:
        """Whether an association was seen before: one that is used again shows nothing new."""
        with self._lock:
            if opened in self._met:
                return True
            self._met.add(opened)
            return False

    def learn(
        self, destination: str, peer: str, change: Callable[[Memory, datetime.datetime], Memory]
    ) -> None:
        """Change what is known; it is not worth waiting for a database that does not answer."""
        now = datetime.datetime.now(datetime.UTC)
        before = self.read(destination, peer)
        after = change(before, now)
        if after is before:
            return
        self._own[destination] = after.words()
        if self._database is not None:
            with contextlib.suppress(errors.DatabaseUnavailable), self._database.write() as connection:
                # Again from the row: another lane may have learned something since.
                known = read(lanes.memory(connection, destination), peer)
                lanes.remember(connection, destination, change(known, now).words(), now)


def fingerprint(peer: model.Peer, calling: str) -> str:
    """What makes a peer another one to us."""
    facts = (peer.aet, peer.host, peer.port, peer.tls, peer.certificate, calling)
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


def possible(item: base.Item, transcoder: base.Transcoder | None) -> tuple[str, ...]:
    """The transfer syntaxes in which an item may go out."""
    wanted = () if item.wanted is None else (item.wanted.syntax,)
    others = () if transcoder is None else transcoder.targets(item)
    return tuple(dict.fromkeys((item.syntax, *wanted, *others)))


def _within(at: datetime.datetime, now: datetime.datetime, span: datetime.timedelta) -> bool:
    return datetime.timedelta(0) <= now - at < span  # a mark of the future is a clock that was put back


def _stale(
    known: Mapping[Pair, datetime.datetime],
    seen: Iterable[Pair],
    other: Mapping[Pair, datetime.datetime],
    now: datetime.datetime,
) -> bool:
    return any(
        pair in other or (at := known.get(pair)) is None or not _within(at, now, _REFRESHED) for pair in seen
    )


def _newest(marks: dict[Pair, datetime.datetime]) -> dict[Pair, datetime.datetime]:
    if len(marks) <= _MOST:
        return marks
    return dict(sorted(marks.items(), key=lambda mark: mark[1])[-_MOST:])


def _written(marks: Mapping[Pair, datetime.datetime]) -> list[list[str]]:
    return [[*pair, at.isoformat(timespec="seconds")] for pair, at in marks.items()]


def _read(marks: list[list[str]]) -> dict[Pair, datetime.datetime]:
    return {(kind, syntax): datetime.datetime.fromisoformat(at) for kind, syntax, at in marks}
