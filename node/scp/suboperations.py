"""What C-MOVE and C-GET share: their identifier, the count of their sub-operations, and how they end."""

from __future__ import annotations

import collections
from collections.abc import Mapping, Sequence

from node import errors, log, metrics, model, retrieve
from node.dicom import identifier, statuses
from node.send import base
from node.steps import coerce
from node.wire import association, command

PENDING_EVERY = 1.0  # seconds between two words on how it goes

_ROOT = "1.2.840.10008.5.1.4.1.2"
_MODELS = {
    f"{_ROOT}.1": (model.Level.PATIENT, model.Level.IMAGE),  # Patient Root
    f"{_ROOT}.2": (model.Level.STUDY, model.Level.IMAGE),  # Study Root
    f"{_ROOT}.3": (model.Level.PATIENT, model.Level.STUDY),  # Patient/Study Only, retired
}
MOVE = frozenset(f"{of}.2" for of in _MODELS)  # abstract syntaxes of C-MOVE
GET = frozenset(f"{of}.3" for of in _MODELS)  # and of C-GET
EXTENDED = dict.fromkeys(
    MOVE | GET, b"\x01"
)  # what we can of their extended negotiation: relational retrieval

_LARGEST_COUNT = 0xFFFF  # the counts of a response are two bytes each
_LIST_ROOM = 0xFFFE  # bytes of the list of what failed: explicit VR writes no longer one


class Refused(errors.Permanent):
    """The request cannot be done as it stands."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status  # what it is answered with


def asked(link: association.Association, message: association.Message) -> model.Query:
    """What a request's identifier asks for; raises Refused."""
    abstract = message.context.abstract
    if message.command.sop_class != abstract:
        shown = message.command.sop_class[:64]
        raise Refused(statuses.CLASS_NOT_SUPPORTED, f"SOP class {shown!r} is not the presentation context's")
    try:
        fields = identifier.decode(message.read(identifier.LARGEST), message.context.transfer)
    except errors.BadData as error:
        raise Refused(statuses.CANNOT_UNDERSTAND, str(error)) from error
    top, bottom = _MODELS[abstract.rpartition(".")[0]]
    given = {key: fields[key] for key in ("QueryRetrieveLevel", *model.UNIQUE.values()) if key in fields}
    texts = {key: value if isinstance(value, str) else "" for key, value in given.items()}
    try:
        return retrieve.query(
            texts.pop("QueryRetrieveLevel", "").strip(),
            texts,
            top=top,
            bottom=bottom,
            relational=link.extended.get(abstract, b"")[:1] == b"\x01",
        )
    except errors.UsageError as error:
        raise Refused(statuses.DATA_SET_MISMATCH, str(error)) from error


def choose(
    retriever: retrieve.Retriever, wanted: model.Query, coercion: coerce.Coercion | None = None
) -> retrieve.Chosen:
    """The instances that are meant; raises Refused when they cannot be counted."""
    try:
        return retriever.choose(wanted, coercion)
    except errors.DatabaseUnavailable as error:
        raise Refused(statuses.CANNOT_COUNT, str(error)) from error


class Tally:
    """How far a retrieval has come; remaining, completed, failed and warning are its total at any moment."""

    def __init__(self, chosen: retrieve.Chosen, to: str = "") -> None:
        """`to` is how reasons name the destination: who asked knows it, and a comment has 64 characters."""
        self._to = to
        self.total = chosen.total
        self.completed = 0  # sent, and taken without a remark
        self.warning = 0  # sent, and taken with a remark
        self.failed = 0  # not sent, or not taken
        self.size = 0  # bytes of the data sets that were taken
        self.why: collections.Counter[str] = collections.Counter()  # reasons of what failed
        self._chosen = chosen
        self._uids: list[str] = []
        self._room = _LIST_ROOM
        self._lost = 0
        self.look()

    @property
    def remaining(self) -> int:
        """Sub-operations that nothing is known of yet."""
        return self.total - self.completed - self.warning - self.failed

    def take(self, result: base.Result) -> None:
        """Count one result."""
        match result.outcome:
            case base.Done(_, ""):
                self.completed += 1
                self.size += result.size
            case base.Done():
                self.warning += 1
                self.size += result.size
            case base.Retry(why) | base.Failed(why):
                # Where our files lie is nobody's business but ours.
                why = why.replace(str(result.item.path), "its file")
                why = why.replace(self._to, "it") if self._to else why
                self._fail(self._chosen.held_as(result.item), why)
        self.look()

    def look(self) -> None:
        """Count what was lost on the way, and is not even tried."""
        for one in self._chosen.lost(self._lost):
            self._lost += 1
            self._fail(one.sop_instance, one.why)

    def give_up(self, why: str) -> None:
        """Whatever is left has failed."""
        self.look()
        if self.remaining > 0:
            self.why[why] += self.remaining
            self.failed += self.remaining

    def elements(self, *, remaining: bool) -> Mapping[int, bytes]:
        """The counts as elements of a response."""
        completed, failed, warning = self.completed, self.failed, self.warning
        counts = {command.COMPLETED: completed, command.FAILED: failed, command.WARNING: warning}
        if remaining:  # of the same moment: another thread may be counting on
            counts[command.REMAINING] = self.total - completed - failed - warning
        return {tag: command.us(min(count, _LARGEST_COUNT)) for tag, count in counts.items()}

    def failures(self, transfer: str) -> bytes | None:
        """The data set that names what failed, as far as there is room; None when nothing did."""
        if not self._uids:
            return None
        return identifier.encode({"FailedSOPInstanceUIDList": "\\".join(self._uids)}, transfer)

    def outcome(self, *, cancelled: bool = False) -> tuple[int, str]:
        """The status that a retrieval ends with, and a comment."""
        if cancelled and self.remaining:
            return statuses.CANCEL, ""
        if self.failed and not self.completed and not self.warning:
            return statuses.CANNOT_SUBOPERATE, self.reason()
        if self.failed or self.warning:
            return statuses.SUBOPERATIONS_FAILED, self.reason()
        return statuses.SUCCESS, ""

    def reason(self) -> str:
        """The commonest reason of what failed, "" when nothing did."""
        return self.why.most_common(1)[0][0] if self.why else ""

    def _fail(self, uid: str, why: str) -> None:
        self.failed += 1
        # Paths and peers differ little; what makes every reason another one must not make this large.
        self.why[why if len(self.why) < 100 else "other reasons"] += 1
        if uid and len(uid) < self._room:
            self._uids.append(uid)
            self._room -= len(uid) + 1


def answer(
    link: association.Association,
    message: association.Message,
    status: int,
    comment: str = "",
    tally: Tally | None = None,
) -> None:
    """Send a response: pending with the counts, or the last one with the list of what failed."""
    elements: Mapping[int, bytes] = {}
    data: bytes | None = None
    if tally is not None:
        elements = tally.elements(remaining=status in (statuses.PENDING, statuses.CANCEL))
        if status != statuses.PENDING:
            data = tally.failures(message.context.transfer)
    said = command.response(
        message.command, status, has_data=data is not None, comment=comment, elements=elements
    )
    link.send(message.context, said, data)


class Journal:
    """What log and metrics hear of the retrievals of one kind."""

    def __init__(self, verb: str, counts: metrics.Metrics) -> None:
        self._verb = verb  # "move" or "get"
        self._counts = counts

    def refused(
        self,
        link: association.Association,
        wanted: model.Query | None,
        refused: Refused,
        to: str,
        seconds: float,
    ) -> None:
        """A request was answered with a failure, and nothing was sent."""
        self._counts.operation(self._verb, seconds, "failure")
        facts = link.facts
        log.retrieval_refused(
            verb=self._verb,
            to=to,
            status=refused.status,
            why=str(refused),
            scope=wanted.level if wanted else "",
            calling=facts.calling,
            address=facts.address,
            peer=facts.peer_name,
            association=facts.id,
        )

    def ended(
        self,
        link: association.Association,
        wanted: model.Query,
        chosen: retrieve.Chosen,
        tally: Tally,
        status: int | None,
        to: str,
        seconds: float,
    ) -> None:
        """Instances were sent, or were to be; without a status, the requestor has gone."""
        self._counts.operation(
            self._verb, seconds, _OUTCOMES.get(status, "failure") if status is not None else "failure"
        )
        facts = link.facts
        log.retrieved(
            verb=self._verb,
            to=to,
            scope=wanted.level,
            studies=chosen.studies[:10],
            uids=_named(wanted),
            instances=tally.total,
            completed=tally.completed,
            warnings=tally.warning,
            failed=tally.failed,
            status=status,
            why=tally.reason() if status is not None else "the requestor has gone",
            size=tally.size,
            seconds=round(seconds, 3),
            calling=facts.calling,
            address=facts.address,
            peer=facts.peer_name,
            association=facts.id,
        )


_OUTCOMES = {
    statuses.SUCCESS: "success",
    statuses.SUBOPERATIONS_FAILED: "warning",
    statuses.CANCEL: "cancel",
}


def _named(wanted: model.Query) -> Sequence[str]:
    """What a log may say of what was asked for: UIDs, the first few, and no Patient ID."""
    uids = wanted.keys.get(model.UNIQUE[wanted.level], "").split("\\")
    return () if wanted.level is model.Level.PATIENT else uids[:10]
