"""A PACS that misbehaves on purpose, so that a configuration and this program can be tried against it.

It truly stores what it says that it stores, and writes down what it did: afterwards a sender's ledger can be
compared with it. Its faults are those of a plan, which may be replaced while it runs.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import select
import socket
import struct
import threading
import time
from collections.abc import Callable
from typing import Self

from node import errors, model
from node.dicom import commitment, identifier, statuses
from node.dicom import uids as uid_rules
from node.faulty import parts as faulty_parts
from node.faulty import plan as faulty_plan
from node.faulty import reports
from node.files import layout
from node.wire import acceptor, association, command, faults, pdu, policy, sending

_LARGEST = 4 << 30  # bytes of a data set
_LOOK = 0.1  # seconds between looks whether somebody still waits for an answer that never comes
_FIND = ("1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.5.1.4.1.2.1.1")  # Study Root, Patient Root
_TOO_MANY = (2, 3, 2)  # result, source and reason of a rejection over the limit
_ON_PURPOSE = "on purpose"
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: a close sends a reset

Tell = Callable[[str], None]


class Faulty:
    """A peer while the scope is open. What it holds is kept over `stop()` and `start()`."""

    def __init__(
        self,
        plan: faulty_plan.Plan | None = None,
        *,
        aet: str = "FAULTY",
        host: str = "127.0.0.1",
        port: int = 0,
        keep: pathlib.Path | None = None,
        journal: pathlib.Path | None = None,
        sync: bool = False,
        report_to: model.Peer | None = None,
        tell: Tell | None = None,
    ) -> None:
        """`keep` is a folder for the files and `journal` a file of lines, both also synced with `sync`.

        Commitment is reported to `report_to` over an association of its own; without, over the requestor's.
        """
        self.aet = aet
        self.stored: dict[str, faulty_parts.Kept] = {}  # what it holds, by SOP Instance UID
        self.journal: list[faulty_parts.Entry] = []  # every C-STORE that it has got
        self.faults: list[str] = []  # every fault that it has committed, in words
        self.requests: list[commitment.Transaction] = []  # requests for commitment that it has got
        self.associations = 0  # association requests that it has got
        self.echoes = 0  # C-ECHOs that it has answered
        self.open_most = 0  # associations at once, at most
        self.report_to = report_to
        self._plan = plan or faulty_plan.Plan()
        self._host = host
        self._port = port
        self._keep = keep
        self._path = journal
        self._sync = sync
        self._tell = tell
        self._numbers = 0  # C-STOREs so far
        self._open = 0
        self._changed = threading.Condition()
        self.stopping = threading.Event()
        self._door: faulty_parts.Door | None = None
        self._acceptor: acceptor.Acceptor | None = None
        self._threads: list[threading.Thread] = []
        self._lines: int | None = None  # the journal's descriptor
        self._reports = reports.Reports(self)

    # -- its life -------------------------------------------------------------------------------------

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        return self._host, self._port

    @property
    def peer(self) -> model.Peer:
        """What it is to a node."""
        return model.Peer(name=self.aet.lower(), aet=self.aet, host=self._host, port=self._port)

    @property
    def plan(self) -> faulty_plan.Plan:
        """What it does wrong; may be replaced at any time."""
        return self._plan

    @plan.setter
    def plan(self, plan: faulty_plan.Plan) -> None:
        self._plan = plan
        if self._acceptor is not None:
            self._acceptor.limits = _limits(plan)

    def start(self) -> Self:
        """Listen, on the same port as before if it did before."""
        self.stopping.clear()
        self._door = faulty_parts.Door(self._host, self._port)
        self._port = self._door.getsockname()[1]
        if self._path is not None:
            self._lines = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._acceptor = acceptor.Acceptor(
            [acceptor.Listener(self._door)],
            _Admission(self, self._door),
            {
                command.Field.C_ECHO: self._echo,
                command.Field.C_STORE: self._store,
                command.Field.C_FIND: self._find,
                command.Field.N_ACTION: self._reports.action,
            },
            _limits(self._plan),
            _Events(self, self._door),
        )
        self.begin(self._acceptor.serve)
        return self

    def stop(self) -> None:
        """Break off what is under way, and listen no more."""
        self.stopping.set()
        if self._acceptor is None or self._door is None:
            return
        self._acceptor.drain(0.0)
        with self._changed:
            threads, self._threads = self._threads, []
        for thread in threads:
            thread.join()
        self._acceptor.close()
        self._door.close()
        self._acceptor = self._door = None
        if self._lines is not None:
            os.close(self._lines)
            self._lines = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def wait(self, until: Callable[[Self], bool], seconds: float = 60.0) -> bool:
        """Wait until something holds, such as `lambda it: len(it.stored) == 3`; whether it came to that."""
        with self._changed:
            return self._changed.wait_for(lambda: until(self), seconds)

    def begin(self, work: Callable[[], None]) -> None:
        """Do something beside the rest, until it is done or this peer stops."""
        thread = threading.Thread(target=work, name=f"faulty-{self.aet}", daemon=True)
        with self._changed:
            self._threads.append(thread)
        thread.start()

    # -- C-ECHO and C-STORE ---------------------------------------------------------------------------

    def _echo(self, link: association.Association, message: association.Message) -> None:
        message.drain()
        link.send(message.context, command.response(message.command, statuses.SUCCESS))
        with self._changed:
            self.echoes += 1
            self._changed.notify_all()

    def _store(self, link: association.Association, message: association.Message) -> None:
        plan = self._plan
        with self._changed:
            self._numbers += 1
            number = self._numbers
        doing = plan.doing(number)
        asked = message.command
        if doing.ending in (faulty_plan.Ending.CLOSE, faulty_plan.Ending.ABORT):
            self._note(link, number, asked, None, doing, None)
            self._end(link, doing.ending)
        data = self._read(link, message, doing, plan.pace)
        if data is None:
            self._note(link, number, asked, None, doing, None)
            self._silence(link)
        known = asked.sop_instance in self.stored
        if known and doing == faulty_plan.Doing():
            doing = faulty_plan.Doing(plan.known, keeps=False)
        kept = faulty_parts.kept(asked, message.context.transfer, data or b"")
        if doing.stored and not known:
            self._put(kept, data or b"", link.facts.calling)
        silent = doing.ending is not None or doing.stall is not None
        self._note(link, number, asked, None if silent else doing.status, doing, kept, known=known)
        if plan.slow and self.stopping.wait(plan.slow):
            raise faults.gone("the peer stops")
        answer = command.response(asked, doing.status)
        if doing.ending is not None:
            self._end(link, doing.ending)
        elif doing.stall is not None:
            if doing.stall is faulty_plan.Stall.PDU:
                parts = [
                    part
                    for some, _ in sending.frames(message.context.id, answer, None, 1 << 16)
                    for part in some
                ]
                whole = b"".join(parts)
                self._socket(link).sendall(whole[: len(whole) // 2])
            self._silence(link)
        else:
            link.send(message.context, answer)

    def _read(
        self,
        link: association.Association,
        message: association.Message,
        doing: faulty_plan.Doing,
        pace: int | None,
    ) -> bytes | None:
        """The data set; None where it is not read to its end."""
        parts = []
        begun = time.monotonic()
        for fragment in message.fragments():
            if doing.stall is faulty_plan.Stall.DATA:
                return None
            parts.append(bytes(fragment))
            if message.received > _LARGEST:
                raise faults.refused(f"a data set of more than {_LARGEST} bytes")
            if pace:
                ahead = begun + message.received / pace - time.monotonic()
                if ahead > 0 and self.stopping.wait(ahead):
                    raise faults.gone("the peer stops")
        return b"".join(parts)

    def _put(self, kept: faulty_parts.Kept, data: bytes, source: str) -> None:
        if self._keep is not None:
            # Nothing from the wire becomes a path: what is no UID is named by its digest.
            name = kept.sop_instance if uid_rules.valid(kept.sop_instance) else kept.digest[7:]
            head = layout.plain_head(kept.sop_class, kept.sop_instance, kept.syntax, source)
            self._keep.mkdir(parents=True, exist_ok=True)
            with (self._keep / f"{name}.dcm").open("wb") as file:
                file.write(head)
                file.write(data)
                if self._sync:
                    file.flush()
                    os.fsync(file.fileno())
        with self._changed:
            self.stored[kept.sop_instance] = kept

    def _note(
        self,
        link: association.Association,
        number: int,
        asked: command.Command,
        status: int | None,
        doing: faulty_plan.Doing,
        kept: faulty_parts.Kept | None,
        *,
        known: bool = False,
    ) -> None:
        """Write one C-STORE down, before its sender can know what became of it."""
        digest = kept.digest if kept is not None else ""
        fault = doing.describe() if not known or doing.ending or doing.stall else ""
        stored = known or doing.stored
        entry = faulty_parts.Entry(
            number, time.time(), link.facts.id, asked.sop_instance[:64], digest, status, stored, fault
        )
        if self._lines is not None:
            os.write(self._lines, (json.dumps(dataclasses.asdict(entry)) + "\n").encode())
            if self._sync:
                os.fdatasync(self._lines)
        if fault:
            self._fault(f"C-STORE {number} ({entry.sop_instance}): {fault}", entry)
            return
        with self._changed:
            self.journal.append(entry)
            self._changed.notify_all()

    def _fault(self, words: str, entry: faulty_parts.Entry | None = None) -> None:
        with self._changed:
            if entry is not None:
                self.journal.append(entry)
            self.faults.append(words)
            self._changed.notify_all()
        if self._tell is not None:
            self._tell(words)

    # -- what is wrong with it ------------------------------------------------------------------------

    def _socket(self, link: association.Association) -> socket.socket:
        assert self._door is not None
        return self._door.taken[link.facts.address, link.facts.port]

    def _end(self, link: association.Association, how: faulty_plan.Ending) -> None:
        """End an association as it should not end; raises."""
        if how is faulty_plan.Ending.ABORT:
            link.abort(why=_ON_PURPOSE)
        elif how is faulty_plan.Ending.DROP:
            self._socket(link).setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        raise faults.gone(_ON_PURPOSE)  # the acceptor closes the socket

    def _silence(self, link: association.Association) -> None:
        """Say nothing until the peer has had enough; raises."""
        self.fall_silent(self._socket(link))
        raise faults.gone(_ON_PURPOSE)

    def fall_silent(self, sock: socket.socket) -> None:
        """Wait until whoever is at the other end goes away, or this peer stops."""
        poller = select.poll()
        poller.register(sock, select.POLLRDHUP | select.POLLHUP | select.POLLERR)
        while not self.stopping.is_set() and not poller.poll(int(_LOOK * 1000)):
            pass

    # -- C-FIND ---------------------------------------------------------------------------------------

    def _find(self, link: association.Association, message: association.Message) -> None:
        asked, context = message.command, message.context
        try:
            keys = identifier.decode(message.read(identifier.LARGEST), context.transfer)
            level = model.Level(str(keys.get("QueryRetrieveLevel")).strip())
        except (errors.BadData, ValueError):
            message.drain()
            link.send(context, command.response(asked, statuses.DATA_SET_MISMATCH))
            return
        with self._changed:
            held = list(self.stored.values())
        for fields in faulty_parts.answers(held, keys, level):
            if link.cancelled(asked.message_id):
                link.send(context, command.response(asked, statuses.CANCEL))
                return
            pending = command.response(asked, statuses.PENDING, has_data=True)
            link.send(context, pending, identifier.encode(fields, context.transfer))
        link.send(context, command.response(asked, statuses.SUCCESS))

    # -- storage commitment ---------------------------------------------------------------------------

    def report(self, transaction: commitment.Transaction) -> None:
        """Report now on a request that was taken, to whoever reports go to, until it is heard."""
        self._reports.away(transaction)

    def requested(self, transaction: commitment.Transaction) -> None:
        """A request for commitment is taken (for faulty_reports)."""
        with self._changed:
            self.requests.append(transaction)
            self._changed.notify_all()

    # -- associations ---------------------------------------------------------------------------------

    def admitting(self) -> int:
        """Count an association request (for _Admission)."""
        with self._changed:
            self.associations += 1
            self._changed.notify_all()
            return self.associations

    def complain(self, words: str) -> None:
        """Say what was done wrong, where it was no C-STORE (for _Admission and faulty_reports)."""
        self._fault(words)

    def counts(self, step: int) -> None:
        """An association begins or ends (for _Events)."""
        with self._changed:
            self._open += step
            self.open_most = max(self.open_most, self._open)
            self._changed.notify_all()


class _Admission:
    """Takes association requests, unless the plan says otherwise."""

    def __init__(self, owner: Faulty, door: faulty_parts.Door) -> None:
        self._owner = owner
        self._door = door
        node = model.NodeSettings(aet=owner.aet, accept_any_called=True)
        services = (policy.STORAGE_COMMITMENT, *_FIND)
        self._usual = policy.Policy(node, model.Limits(per_peer=_MANY), (), services=services)

    def __call__(self, call: policy.Call) -> policy.Admission | pdu.Rejection:
        """Take it or refuse it; or say nothing at all."""
        number, plan = self._owner.admitting(), self._owner.plan
        if plan.ignores(number):
            self._owner.complain(f"association {number}: is not answered")
            self._owner.fall_silent(self._door.taken[call.address, call.port])
            return pdu.Rejection(2, 3, 1, _ON_PURPOSE)
        transient = plan.rejects(number)
        if transient is not None:
            words = "for the moment" if transient else "for good"
            self._owner.complain(f"association {number}: is rejected {words}")
            return pdu.Rejection(2, 3, 1, _ON_PURPOSE) if transient else pdu.Rejection(1, 1, 1, _ON_PURPOSE)
        found = self._usual(call)
        if isinstance(found, pdu.Rejection):
            return found
        offer = dataclasses.replace(found.offer, refused=plan.refuse, window=plan.window)
        return dataclasses.replace(found, offer=offer, rights=frozenset(model.Right))


class _Events:
    """Keeps the door's list of connections short, and counts."""

    def __init__(self, owner: Faulty, door: faulty_parts.Door) -> None:
        self._owner = owner
        self._door = door

    def opened(self, link: association.Association) -> None:
        self._owner.counts(1)

    def closed(self, link: association.Association) -> None:
        self._forget(link.facts)
        self._owner.counts(-1)

    def aborted(self, link: association.Association, fault: faults.AssociationLost) -> None:
        self._forget(link.facts)
        self._owner.counts(-1)

    def rejected(self, facts: association.Facts, rejection: pdu.Rejection) -> None:
        self._forget(facts)
        if (rejection.result, rejection.source, rejection.reason) == _TOO_MANY:
            self._owner.complain(f"an association of {facts.calling[:16]} is rejected: {rejection.why}")

    def dropped(self, facts: association.Facts, why: str) -> None:
        self._forget(facts)

    def unauthorized(self, link: association.Association, field: int, right: model.Right) -> None: ...

    def crashed(self, facts: association.Facts, error: BaseException) -> None:
        self._owner.complain(f"association {facts.id} met a bug of this program: {error!r}")

    def _forget(self, facts: association.Facts) -> None:
        self._door.taken.pop((facts.address, facts.port), None)


_MANY = 1000  # associations at once of a peer that has no limit


def _limits(plan: faulty_plan.Plan) -> model.Limits:
    most = plan.associations or _MANY
    return model.Limits(
        associations=most, per_peer=most, echo_slots=0, pdu_timeout=3600.0, idle_timeout=3600.0
    )
