"""C-FIND: an identifier comes in; its answers go out as pending messages, then a status that ends them.

What is found is the answerers' business, one for each SOP class; the protocol is here: decoding, the asker's
character set, cancelling, the cap, statuses. Answers are gathered for one write, and read ahead of a peer
that does not keep up, so that nobody holds a view of the database open by not reading.
"""

from __future__ import annotations

import dataclasses
import hashlib
import threading
import time
import weakref
from collections.abc import Iterator, Mapping
from typing import Protocol

from node import errors, log, metrics
from node.dicom import identifier, statuses, values
from node.scp import watch as watching
from node.wire import association, command

BATCH = 32 << 10  # bytes of answers that go out in one write
AHEAD = 8 << 20  # bytes of answers that wait for a peer that does not read, before its query waits too
LOOK_EVERY = 0.02  # seconds between looks for a C-CANCEL, and that an answer waits for others

_SHOWN = 50  # keys of a query in the log
_OUTCOMES = {
    statuses.SUCCESS: "success",
    statuses.CANCEL: "cancel",
    statuses.RESPONSE_LIMIT: "warning",
}


class Refused(errors.Permanent):
    """The query cannot be answered."""

    def __init__(self, status: int, why: str, tag: int | None = None) -> None:
        super().__init__(why)
        self.status = status  # what it is answered with
        self.tag = tag  # the element that is to blame


class Partial(dict[str, identifier.Value]):
    """An answer that does not heed all that was asked: some keys are not supported (FF01 instead of FF00)."""


class Answerer(Protocol):
    """What answers the queries of a SOP class."""

    def answers(self, asked: identifier.Fields, who: association.Association) -> Iterator[identifier.Fields]:
        """What matches, in an order that is the same the next time; `Partial` where keys were not heeded.

        Raises Refused, UsageError for a key's value, Transient when it cannot look now; before or between
        answers. The iterator is closed when no more is wanted. Specific Character Set of an answer is taken
        as the set to write it in for who names none.
        """


@dataclasses.dataclass(slots=True)
class _Told:
    """What log and metrics hear of a query."""

    status: int = statuses.SUCCESS
    answers: int = 0  # sent, or ready to be
    why: str = ""  # it failed, in words without anybody's data
    comment: str = ""  # the same for the asker
    tag: int | None = None  # the element to blame
    level: str = ""
    keys: tuple[str, ...] = ()  # what was asked for, without values


class Find:
    """Answers C-FIND; one object serves every association of a process."""

    def __init__(
        self,
        services: Mapping[str, Answerer],
        counts: metrics.Metrics,
        *,
        most: int = 10_000,
        watch: watching.Watch | None = None,
    ) -> None:
        self.most = most  # answers to one request
        self._services = services
        self._counts = counts
        self._watch = watch or watching.Watch()
        self._pages: weakref.WeakKeyDictionary[association.Association, tuple[bytes, int]]
        self._pages = weakref.WeakKeyDictionary()  # the query that was cut last, and how much of it was told
        self._lock = threading.Lock()

    def __call__(self, link: association.Association, message: association.Message) -> None:
        """Answer one query; raises only what ends the association."""
        begun = time.perf_counter()
        told = _Told()
        out = _Out(link, message)
        running = self._watch.enter(link, message.command.message_id)
        try:
            self._answer(link, message, told, out, running)
        except errors.NodeError as error:
            if not link.open:
                raise link.fault or error from error
            _fail(told, error)
            if running.cancelled:  # what was interrupted for it failed for it
                told.status = statuses.CANCEL
        finally:
            self._watch.leave(running)
        message.drain()
        out.finish(told)
        seconds = time.perf_counter() - begun
        self._counts.operation("find", seconds, _OUTCOMES.get(told.status, "failure"))
        _log(link, message, told, seconds)

    def close(self) -> None:
        """End what looks after queries."""
        self._watch.close()

    def _answer(
        self,
        link: association.Association,
        message: association.Message,
        told: _Told,
        out: _Out,
        running: watching.Running,
    ) -> None:
        abstract = message.context.abstract
        service = self._services.get(abstract)
        if service is None or message.command.sop_class != abstract:
            shown = message.command.sop_class[:64]
            raise Refused(
                statuses.CLASS_NOT_SUPPORTED, f"SOP class {shown!r} is not the presentation context's"
            )
        if message.complete:
            raise Refused(statuses.CANNOT_UNDERSTAND, "there is no identifier")
        data = message.read(identifier.LARGEST)
        asked = identifier.decode(data, message.context.transfer)
        level = asked.get("QueryRetrieveLevel")
        told.level = level[:16] if isinstance(level, str) else ""
        told.keys = tuple(asked)[:_SHOWN]
        page = hashlib.blake2b(abstract.encode() + b"\0" + data, digest_size=16).digest()
        skipped = self._begin(link, page)
        charset = identifier.terms(asked)
        answers = service.answers(asked, link)
        try:
            if self._go_through(answers, skipped, charset, told, out, running):
                self._remember(link, page, skipped + told.answers)
        finally:
            # Not left to the collector: the view of the database goes back now.
            if hasattr(answers, "close"):
                answers.close()

    def _go_through(
        self,
        answers: Iterator[identifier.Fields],
        skipped: int,
        charset: str,
        told: _Told,
        out: _Out,
        running: watching.Running,
    ) -> bool:
        """Send the answers; whether the cap cut them."""
        most = self.most
        for number, answer in enumerate(running.each(answers)):
            if number < skipped:
                continue
            if told.answers == most:
                told.status = statuses.RESPONSE_LIMIT
                told.comment = f"{most} answers are the most; ask the same for more, or narrower"
                return True
            spare = "" if charset else identifier.terms(answer)
            out.add(
                identifier.encode(answer, out.transfer, charset, spare), partial=isinstance(answer, Partial)
            )
            told.answers += 1
            if out.due and not out.send(running):
                break
        if running.stopped():
            told.status = statuses.CANCEL
        return False

    def _begin(self, link: association.Association, page: bytes) -> int:
        """How many answers to this very query the asker has, because the cap cut it just now."""
        with self._lock:
            asked, done = self._pages.pop(link, (b"", 0))
        return done if asked == page else 0

    def _remember(self, link: association.Association, page: bytes, done: int) -> None:
        with self._lock:
            self._pages[link] = (page, done)


class _Out:
    """Answers on their way: gathered, and sent in few writes."""

    def __init__(self, link: association.Association, message: association.Message) -> None:
        self.transfer = message.context.transfer
        self._link = link
        self._message = message
        self._waiting: list[tuple[bytes, bytes | None]] = []
        self._size = 0
        self._looked = time.monotonic()
        self._heads = {
            partial: command.response(message.command, status, has_data=True)
            for partial, status in ((False, statuses.PENDING), (True, statuses.PENDING_WARNING))
        }

    @property
    def due(self) -> bool:
        """Whether it is time for a write, or for a look whether the asker still wants answers."""
        return self._size >= BATCH or time.monotonic() - self._looked >= LOOK_EVERY

    def add(self, data: bytes, *, partial: bool) -> None:
        self._waiting.append((self._heads[partial], data))
        self._size += len(data) + 128

    def send(self, running: watching.Running) -> bool:
        """Write what waits, unless the peer is behind; False when it wants no more."""
        self._looked = time.monotonic()
        if running.stopped():
            return False
        if self._size > AHEAD or self._link.keeps_up():
            self._link.send_all(self._message.context, self._waiting)
            self._waiting, self._size = [], 0
        return True

    def finish(self, told: _Told) -> None:
        """The last answers and the status, in one write; cancelled, the status alone."""
        if told.status == statuses.CANCEL:
            told.answers -= len(self._waiting)
            self._waiting = []
        elements = {} if told.tag is None else {command.OFFENDING_ELEMENT: values.encode(told.tag, "AT")}
        last = command.response(self._message.command, told.status, comment=told.comment, elements=elements)
        self._link.send_all(self._message.context, [*self._waiting, (last, None)])


def _fail(told: _Told, error: errors.NodeError) -> None:
    """The status of a query that failed, and its reason: the asker's own values are not for the log."""
    told.comment = told.why = str(error)
    if isinstance(error, Refused):
        told.status, told.tag = error.status, error.tag
    elif isinstance(error, errors.Transient):
        told.status = statuses.OUT_OF_RESOURCES
    else:
        told.status = statuses.CANNOT_UNDERSTAND
        if isinstance(error, errors.UsageError):
            told.why = "a key cannot be matched as it was asked"


def _log(link: association.Association, message: association.Message, told: _Told, seconds: float) -> None:
    facts = link.facts
    log.query(
        sop_class=message.context.abstract,
        query_level=told.level,
        keys=told.keys,
        answers=told.answers,
        status=told.status,
        why=told.why,
        seconds=round(seconds, 4),
        calling=facts.calling,
        address=facts.address,
        peer=facts.peer_name,
        association=facts.id,
    )
