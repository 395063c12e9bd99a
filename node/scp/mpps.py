"""Modality Performed Procedure Step: a step is written down durably, and then answered."""

from __future__ import annotations

import datetime
import struct
import time
from collections.abc import Callable, Iterable, Mapping

from node import errors, log, metrics
from node.dicom import identifier, mpps, statuses, uids
from node.index import db, steps, witness
from node.wire import acceptor, association, command, contexts

ENDED = 0xA506  # Error ID (PS3.4 F.7.2.2.3): the step can no longer be updated
_LARGEST = 8 << 20  # bytes of one request: a step with some 40,000 images
_MOST = 250_000  # elements and items of one request
_STATUS = {
    mpps.Fault.MISSING: statuses.MISSING_ATTRIBUTE,
    mpps.Fault.EMPTY: statuses.MISSING_VALUE,
    mpps.Fault.INVALID: statuses.INVALID_ATTRIBUTE,
    mpps.Fault.ENDED: statuses.PROCESSING_FAILURE,
}
_CLASSES = frozenset({mpps.SOP_CLASS, mpps.RETRIEVE})


class Refused(errors.Permanent):
    """The request cannot be taken."""

    def __init__(
        self, status: int, why: str, *, keys: Iterable[str] = (), error_id: int | None = None
    ) -> None:
        super().__init__(why)
        self.status = status  # what it is answered with
        self.keys = tuple(keys)  # the attributes that it is about
        self.error_id = error_id  # Error ID, where the standard gives one


class Answer:
    """What a request is answered with beside success."""

    def __init__(self, uid: str, fields: identifier.Fields | None = None) -> None:
        self.uid = uid  # SOP Instance UID of the step
        self.fields = fields  # the data set, for N-GET


_Work = Callable[[association.Association, association.Message], Answer]


class Mpps:
    """Answers N-CREATE, N-SET and N-GET for performed procedure steps."""

    def __init__(
        self, database: db.Database, counts: metrics.Metrics, ledgers: witness.Witness | None = None
    ) -> None:
        self._database = database
        self._counts = counts
        self._ledgers = ledgers  # without one, what the index loses is lost

    def handlers(self) -> Mapping[int, acceptor.Handler]:
        """What this answers, by command field."""
        return {
            command.Field.N_CREATE: self.create,
            command.Field.N_SET: self.change,
            command.Field.N_GET: self.read,
        }

    def create(self, link: association.Association, message: association.Message) -> None:
        """A step begins."""
        self._answer(link, message, "create", mpps.SOP_CLASS, self._create)

    def change(self, link: association.Association, message: association.Message) -> None:
        """A step goes on, or ends."""
        self._answer(link, message, "set", mpps.SOP_CLASS, self._change)

    def read(self, link: association.Association, message: association.Message) -> None:
        """Somebody wants to know how a step stands."""
        self._answer(link, message, "other", mpps.RETRIEVE, self._read)

    # -- the three ----------------------------------------------------------------------------------

    def _create(self, link: association.Association, message: association.Message) -> Answer:
        uid = message.command.sop_instance or uids.new()  # without one, the name is ours to give
        if not uids.valid(uid):
            raise Refused(statuses.INVALID_INSTANCE, f"SOP Instance UID {uid[:64]!r} is no UID")
        fields = mpps.create(_fields(message))
        facts = link.facts
        with self._database.write() as connection:
            fresh = steps.create(
                connection,
                uid,
                fields,
                calling=facts.calling,
                address=facts.address,
                now=datetime.datetime.now(datetime.UTC),
                ledgers=self._ledgers,
            )
        if not fresh:
            raise Refused(statuses.DUPLICATE_INSTANCE, f"there is a step {uid} already")
        self._database.durable()
        log.step_created(
            step=uid,
            modality=str(fields["Modality"])[:16],
            station=str(fields["PerformedStationAETitle"])[:16],
            scheduled=len(steps.scheduled(fields)),
            calling=facts.calling,
            address=facts.address,
            association=facts.id,
        )
        return Answer(uid)

    def _change(self, link: association.Association, message: association.Message) -> Answer:
        uid = _named(message.command)
        asked = _fields(message)
        with self._database.write() as connection:
            held = steps.claim(connection, uid)
            if held is None:
                raise Refused(statuses.NO_SUCH_INSTANCE, f"there is no step {uid}")
            fields = mpps.change(held.fields, asked)
            state = mpps.state_of(fields)
            now = datetime.datetime.now(datetime.UTC)
            steps.change(connection, held, fields, now=now, ledgers=self._ledgers)
        self._database.durable()
        made = steps.made(fields)
        facts = link.facts
        tell = log.step_ended if state.final else log.step_changed
        tell(
            step=uid,
            state=state.value,
            series=len(made),
            instances=sum(one.instances for one in made),
            calling=facts.calling,
            address=facts.address,
            association=facts.id,
        )
        return Answer(uid)

    def _read(self, link: association.Association, message: association.Message) -> Answer:
        uid = _named(message.command)
        message.drain()  # an N-GET has no data set
        with self._database.read() as connection:
            held = steps.get(connection, uid)
        if held is None:
            raise Refused(statuses.NO_SUCH_INSTANCE, f"there is no step {uid}")
        wanted = _wanted(message.command)
        fields = {key: value for key, value in held.fields.items() if not wanted or key in wanted}
        return Answer(uid, fields)

    # -- around them --------------------------------------------------------------------------------

    def _answer(
        self,
        link: association.Association,
        message: association.Message,
        name: str,
        abstract: str,
        work: _Work,
    ) -> None:
        begun = time.perf_counter()
        try:
            _check_class(message, abstract)
            done = work(link, message)
            data = None
            if done.fields is not None:
                charset = identifier.terms(held) if (held := done.fields) else ""
                data = identifier.encode(done.fields, message.context.transfer, charset)
        except mpps.Refused as broken:
            error_id = ENDED if broken.fault is mpps.Fault.ENDED else None
            refused = Refused(_STATUS[broken.fault], str(broken), keys=broken.keys, error_id=error_id)
        except (errors.BadData, errors.UsageError) as unreadable:
            refused = Refused(statuses.PROCESSING_FAILURE, str(unreadable))
        except errors.Transient as later:
            self._counts.database_error(name)
            refused = Refused(statuses.RESOURCE_LIMITATION, str(later))
        except Refused as known:
            refused = known
        else:
            answer = command.response(
                message.command, statuses.SUCCESS, elements=_names(message, done.uid), has_data=bool(data)
            )
            link.send(message.context, answer, data)
            self._counts.operation(name, time.perf_counter() - begun)
            return
        self._refuse(link, message, refused)
        self._counts.operation(name, time.perf_counter() - begun, "failure")

    def _refuse(self, link: association.Association, message: association.Message, refused: Refused) -> None:
        message.drain(_LARGEST)
        elements: dict[int, bytes] = {}
        if refused.keys:
            elements[command.ATTRIBUTE_LIST] = b"".join(
                struct.pack("<HH", tag >> 16, tag & 0xFFFF) for tag in map(identifier.tag_of, refused.keys)
            )
        if refused.error_id is not None:
            elements[command.ERROR_ID] = command.us(refused.error_id)
        link.send(
            message.context,
            command.response(message.command, refused.status, elements=elements, comment=str(refused)),
        )
        facts = link.facts
        log.step_refused(
            operation=command.Field(message.command.field).name,
            step=message.command.sop_instance[:64],
            status=refused.status,
            why=str(refused),
            calling=facts.calling,
            address=facts.address,
            association=facts.id,
        )


def _check_class(message: association.Message, abstract: str) -> None:
    """Refuse an operation that its presentation context does not have, or on objects of another class."""
    context: contexts.Context = message.context
    if context.abstract != abstract:
        raise Refused(statuses.CLASS_NOT_SUPPORTED, "the presentation context has no such operation")
    # PS3.4 F.8 leaves open which of the two UIDs an N-GET names.
    if message.command.sop_class not in (_CLASSES if abstract == mpps.RETRIEVE else {mpps.SOP_CLASS}):
        raise Refused(statuses.NO_SUCH_CLASS, f"SOP class {message.command.sop_class[:64]!r} is no step's")


def _named(asked: command.Command) -> str:
    if not uids.valid(asked.sop_instance):
        raise Refused(statuses.INVALID_INSTANCE, f"SOP Instance UID {asked.sop_instance[:64]!r} is no UID")
    return asked.sop_instance


def _fields(message: association.Message) -> identifier.Fields:
    try:
        data = message.read(_LARGEST)
    except errors.BadData as error:
        raise Refused(statuses.RESOURCE_LIMITATION, str(error)) from error
    return identifier.decode(data, message.context.transfer, largest=_LARGEST, most=_MOST)


def _wanted(asked: command.Command) -> frozenset[str]:
    """The attributes that an N-GET names; empty: all."""
    raw = asked.elements.get(command.ATTRIBUTE_LIST, b"")
    if len(raw) % 4:
        raise Refused(statuses.INVALID_ARGUMENT, f"an Attribute Identifier List of {len(raw)} bytes")
    found = {group << 16 | element for group, element in struct.iter_unpack("<HH", raw)}
    return frozenset(identifier.name(tag) for tag in found)


def _names(message: association.Message, uid: str) -> dict[int, bytes]:
    """What an answer says that it is about."""
    return {
        command.AFFECTED_SOP_CLASS: command.uid(message.command.sop_class),
        command.AFFECTED_SOP_INSTANCE: command.uid(uid),
    }
