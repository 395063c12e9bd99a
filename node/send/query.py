"""C-FIND to another DICOM application: what it holds, and what is on its worklist."""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Generator, Iterator, Mapping

from node import errors, model
from node.dicom import identifier, statuses
from node.send import link
from node.wire import association, command, contexts

_PATIENT, _STUDY, _PATIENT_STUDY = (f"1.2.840.10008.5.1.4.1.2.{number}" for number in (1, 2, 3))
_WORKLIST = "1.2.840.10008.5.1.4.31"


class Root(enum.StrEnum):
    """Which information model a peer is asked in."""

    STUDY = "study"  # Study Root: what most archives are asked
    PATIENT = "patient"  # Patient Root: studies below their patients
    PATIENT_STUDY = "patient-study"  # Patient/Study Only, retired
    WORKLIST = "worklist"  # Modality Worklist: what is to be done

    def sop_class(self, verb: int) -> str:
        """The SOP class of C-FIND, C-MOVE or C-GET in this model."""
        if self is Root.WORKLIST:
            if verb != command.Field.C_FIND:
                raise errors.UsageError("a worklist can be queried only: nothing is retrieved from it")
            return _WORKLIST
        stem = {Root.STUDY: _STUDY, Root.PATIENT: _PATIENT, Root.PATIENT_STUDY: _PATIENT_STUDY}[self]
        return f"{stem}.{_VERBS[verb]}"

    def levels(self) -> tuple[model.Level, ...]:
        """Its levels, outermost first; a worklist has none."""
        match self:
            case Root.STUDY:
                return tuple(model.Level)[1:]
            case Root.PATIENT:
                return tuple(model.Level)
            case Root.PATIENT_STUDY:
                return tuple(model.Level)[:2]
            case Root.WORKLIST:
                return ()


_VERBS: Mapping[int, int] = {command.Field.C_FIND: 1, command.Field.C_MOVE: 2, command.Field.C_GET: 3}


class Extension(enum.IntFlag):
    """What the extended negotiation of a query may ask for (PS3.4 C.5.1.1.1), in the order of its bytes."""

    RELATIONAL = 1  # keys of any level at any level
    COMBINED = 2  # a date range and its time range are one
    FUZZY = 4  # names by what they sound like, or by the beginnings of their words
    TIMEZONE = 8  # times are answered in the asker's zone

    def encode(self) -> bytes:
        """The application information of the negotiation."""
        return bytes(bool(self & flag) for flag in Extension)

    @classmethod
    def decode(cls, data: bytes) -> Extension:
        """What an answer grants."""
        granted = cls(0)
        for flag, byte in zip(cls, data, strict=False):
            if byte == 1:
                granted |= flag
        return granted


class Search:
    """One C-FIND over an open association: iterate for the answers.

    Where an archive gives only so many answers at once (B001), it is asked for the next ones.
    `cancel` may be called from any thread; the answers that are under way still come. Closing the iterator
    early cancels too, and leaves the association fit for the next request.
    """

    def __init__(
        self,
        opened: association.Association,
        fields: identifier.Fields,
        root: Root = Root.STUDY,
        *,
        level: model.Level | None = None,
        priority: int = 0,
    ) -> None:
        self.status: int | None = None  # the final one; None: it has not come
        self.comment = ""  # the peer's words with it
        self.unsupported = False  # the peer did not look at all optional keys (FF01)
        self.unreadable = 0  # answers that are no DICOM
        self.cancelled = False  # we asked it to stop
        self._opened = opened
        self._number = 0  # message id of the request that is being answered
        self._priority = priority
        self._first: identifier.Fields | None = None  # of the answers to the request before this one
        self._count = 0  # answers to this one
        self._context = context(opened, root.sop_class(command.Field.C_FIND), "queries")
        asked = dict(fields)
        if level is not None:
            asked["QueryRetrieveLevel"] = level.value
        charset = asked.pop("SpecificCharacterSet", None)
        self._data = identifier.encode(
            asked, self._context.transfer, charset if isinstance(charset, str) else ""
        )
        self._ask()

    def _ask(self) -> None:
        self._number, self._count = self._opened.next_id(), 0
        request = command.request(
            command.Field.C_FIND,
            self._number,
            sop_class=self._context.abstract,
            priority=self._priority,
            has_data=True,
        )
        self._opened.send(self._context, request, self._data)

    def cancel(self) -> None:
        """Ask the peer to stop; what it has sent already is still there to be read."""
        if self.status is None and not self.cancelled:
            self.cancelled = True
            with contextlib.suppress(errors.Transient):
                self._opened.send(self._context, command.cancel(self._number))

    @property
    def cut(self) -> bool:
        """The peer has more answers than it gave, and does not give the next ones."""
        return self.status == statuses.RESPONSE_LIMIT

    @property
    def says(self) -> str:
        """The final status in words, "" when there is nothing to say about it."""
        if self.status in (None, statuses.SUCCESS) or (self.cancelled and self.status == statuses.CANCEL):
            return ""
        return statuses.text(self.status, self.comment, retrieval=True)

    def __iter__(self) -> Generator[identifier.Fields, None, None]:
        """Yield the answers; raises when the peer refuses, or goes away."""
        try:
            while (found := self._next()) is not None:
                if found:
                    yield found
        finally:
            if self.status is None and self._opened.open:
                self.cancel()
                self._rest()
        self._judge()

    def _next(self) -> identifier.Fields | None:
        """The next answer, an empty one when it cannot be read; None at the end."""
        answer = link.response(self._opened, self._number)
        status = answer.command.status
        if status not in (statuses.PENDING, statuses.PENDING_WARNING):
            answer.drain()
            if status == statuses.RESPONSE_LIMIT and self._count and not self.cancelled:
                self._ask()  # the same again gets the next ones
                return {}
            self.status, self.comment = status, link.comment(answer.command)
            return None
        self.unsupported |= status == statuses.PENDING_WARNING
        try:
            found = identifier.decode(answer.read(link.ANSWER_CAP), self._context.transfer)
        except errors.BadData:
            # One entry that is broken in the archive is no reason not to see the others.
            answer.drain()
            self.unreadable += 1
            return {}
        self._count += 1
        if self._count == 1:
            if found == self._first:
                self._stop_here()
                return None
            self._first = found
        return found

    def _stop_here(self) -> None:
        """An archive that begins from the start again will never come to an end."""
        self._opened.send(self._context, command.cancel(self._number))
        while True:
            answer = link.response(self._opened, self._number)
            answer.drain()
            if answer.command.status not in (statuses.PENDING, statuses.PENDING_WARNING):
                self.status = statuses.RESPONSE_LIMIT
                return

    def _rest(self) -> None:
        """Take what was under way when we lost interest."""
        with contextlib.suppress(errors.Transient):
            while self._next() is not None:
                pass

    def _judge(self) -> None:
        if self.status is None or self.cancelled:
            return
        kind = statuses.classify(self.status)
        if kind in (statuses.Kind.SUCCESS, statuses.Kind.WARNING) or self.status == statuses.CANCEL:
            return
        says = statuses.text(self.status, self.comment, retrieval=True)
        error = errors.PeerBusy if kind is statuses.Kind.RETRY else errors.PeerRefused
        raise error(f"the peer answered the query with {says}")


def context(opened: association.Association, sop_class: str, what: str) -> contexts.Context:
    """The accepted context of a service; raises PeerRefused where the peer does not offer it."""
    found = opened.find(sop_class)
    if found is None:
        name = _NAMES.get(sop_class, sop_class)
        raise errors.PeerRefused(f"the peer took the association, but not {what} in the {name} model")
    return found


_NAMES = {
    f"{stem}.{number}": name
    for stem, name in ((_PATIENT, "Patient Root"), (_STUDY, "Study Root"), (_PATIENT_STUDY, "Patient/Study"))
    for number in _VERBS.values()
} | {_WORKLIST: "Modality Worklist"}


@contextlib.contextmanager
def opened(
    peer: model.Peer,
    calling: str,
    secure: model.TlsSettings,
    root: Root = Root.STUDY,
    *,
    extension: Extension | None = None,
    timeouts: association.Timeouts | None = None,
) -> Iterator[association.Association]:
    """Open an association for queries; raises PeerUnreachable, PeerBusy or PeerRefused."""
    sop_class = root.sop_class(command.Field.C_FIND)
    with link.opened(
        peer,
        calling,
        secure,
        [contexts.Proposed(sop_class, link.PLAIN)],
        extended={sop_class: extension.encode()} if extension else None,
        timeouts=timeouts,
    ) as made:
        yield made


def granted(made: association.Association, root: Root) -> Extension:
    """What the peer agreed to of the extended negotiation."""
    if made.accepted is None:
        return Extension(0)
    answer = made.accepted.user.extended.get(root.sop_class(command.Field.C_FIND), b"")
    return Extension.decode(answer)
