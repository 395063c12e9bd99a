"""Bytes become an acknowledged instance: checked, digested, durable; C-STORE, STOW and import share it."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import hashlib
import mmap
import os
import pathlib
import threading
import time
from collections.abc import Callable

from node import errors, failpoints, model
from node.dicom import check as checking
from node.dicom import part10, uids
from node.files import disk as disks
from node.files import journal as journals
from node.files import layout, reader, record, spool

Allowed = Callable[[model.Identity, str], None]

THRESHOLD = 1 << 20  # larger data sets go to the spool: written once instead of twice


class Fault(enum.Enum):
    """Why an instance was refused, for the caller to put into its protocol's words."""

    MALFORMED = "malformed"  # the framing is not sound, or it is no data set
    WRONG_CLASS = "wrong-class"  # the data set names another SOP class than the command
    WRONG_INSTANCE = "wrong-instance"  # the data set names another SOP instance than the command
    BAD_UID = "bad-uid"  # a UID that is none
    MISSING_UID = "missing-uid"  # the data set does not say which study, series or class it belongs to
    TOO_LARGE = "too-large"  # over the cap on one instance
    NOT_DICOM = "not-dicom"  # a file that holds something else
    CONFLICT = "conflict"  # its UIDs are held with other bytes, and the policy is to refuse


class Refused(errors.Permanent):
    """The instance cannot be taken, and nothing of it was kept."""

    def __init__(self, fault: Fault, why: str, *, tag: int | None = None, offset: int | None = None) -> None:
        super().__init__(why)
        self.fault = fault
        self.tag = tag  # the offending element
        self.offset = offset  # where in the data set


@dataclasses.dataclass(frozen=True, slots=True)
class Sender:
    """Where an instance came from; one value serves a whole association."""

    calling: str  # AE title of the sender, "" for a file import
    called: str  # AE title it called us by
    address: str  # an IP address, or "import"
    peer: str  # name of the configured peer, "" when unknown
    association: str  # id that ties the instances of one association together
    max_instance: int | None = None  # its own cap in bytes; None: the node's


class Receiver:
    """Takes instances for one process; its methods may be called by many threads at once."""

    def __init__(
        self,
        data: layout.Data,
        journal: journals.Journal,
        spool: spool.Spool,
        *,
        max_instance: int = 8 << 30,
        reserve: int = 64 << 20,
        threshold: int = THRESHOLD,
        disk: disks.Disk | None = None,
    ) -> None:
        self.max_instance = max_instance  # bytes of one data set; may be changed while running
        self.reserve = reserve  # bytes that stay free whatever comes; below, StorageFull
        self._data = data
        self._journal = journal
        self._spool = spool
        self._threshold = threshold
        self._disk = disk or disks.Disk()
        self._room_at = 0.0
        self._room = 0
        self._room_lock = threading.Lock()

    @classmethod
    def open(
        cls,
        data: layout.Data,
        slot: str,
        *,
        size: int = 256 << 20,
        max_instance: int = 8 << 30,
        reserve: int = 64 << 20,
        degraded: Callable[[str], None] | None = None,
        synced: Callable[[int, float], None] | None = None,
        disk: disks.Disk | None = None,
    ) -> Receiver:
        """Take a journal slot and its spool, swept of what an earlier process left unacknowledged."""
        pool = spool.Spool(data.spool, slot, disk=disk)
        pool.sweep(lambda: reader.spooled_names(data, slot))
        log = journals.Journal(data, slot, size=size, degraded=degraded, synced=synced, disk=disk)
        return cls(data, log, pool, max_instance=max_instance, reserve=reserve, disk=disk)

    @property
    def journal(self) -> journals.Journal:
        """The journal that it acknowledges from, for its lag and its patience."""
        return self._journal

    def close(self) -> None:
        """Let the slot go; incoming instances must have ended."""
        self._journal.close()
        self._spool.close()

    def begin(self, sop_class: str, sop_instance: str, syntax_uid: str, sender: Sender) -> Incoming:
        """Get ready for a data set; Refused for a UID that is none, StorageFull without room."""
        for uid in (sop_class, sop_instance):
            if not uids.valid(uid):
                raise Refused(Fault.BAD_UID, f"{uid!r} is not a UID")
        self._check_room()
        return Incoming(self, sop_class, sop_instance, syntax_uid, sender)

    def import_file(self, path: pathlib.Path, sender: Sender, *, note: str = "") -> model.Arrival:
        """Take a Part 10 file or a bare data set: its bytes verbatim, its UIDs as the data set has them."""
        try:
            with open(path, "rb") as file:
                size = os.fstat(file.fileno()).st_size
                if size < 8:
                    raise Refused(Fault.NOT_DICOM, f"{path}: {size} bytes are no DICOM file")
                with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
                    return self._import(path, mapped, sender, note)
        except OSError as error:
            raise errors.NotFound(f"{path}: {error.strerror}") from error
        except errors.BadData as error:
            raise Refused(Fault.NOT_DICOM, f"{path}: {error}", tag=error.tag, offset=error.offset) from error

    def _import(self, path: pathlib.Path, mapped: mmap.mmap, sender: Sender, note: str) -> model.Arrival:
        with memoryview(mapped) as view:
            start = part10.part10(view, bare=True)
            with view[start.offset :] as body:
                identity = checking.check(body, start.syntax, cap=self.max_instance)
                if not uids.valid(start.syntax):
                    raise Refused(Fault.BAD_UID, f"{path}: transfer syntax {start.syntax!r} is not a UID")
                incoming = self.begin(identity.sop_class, identity.sop_instance, start.syntax, sender)
                incoming.note = note or _preamble_note(start.preamble)
                try:
                    for at in range(0, len(body), THRESHOLD):
                        incoming.write(body[at : at + THRESHOLD])
                    return incoming.commit()
                except BaseException:
                    incoming.abort()
                    raise

    def _check_room(self) -> None:
        now = time.monotonic()
        if now - self._room_at > 1.0:
            with self._room_lock:
                self._room = self._disk.free(self._data.root)
                self._room_at = now
        if self._room < self.reserve:
            raise errors.StorageFull(
                f"{self._room} bytes are free under {self._data.root} and {self.reserve} are kept back; "
                "make room"
            )

    # -- for Incoming ---------------------------------------------------------------------------

    def spooled(self) -> spool.Spooled:
        return self._spool.take()

    @property
    def threshold(self) -> int:
        return self._threshold

    def append(
        self, arrival: model.Arrival, digest: bytes, payload: disks.Buffer, spooled: str, note: str
    ) -> record.Place:
        return self._journal.append(record.meta(arrival, spooled, note), digest, payload)


class Incoming:
    """One instance while it arrives. Ends with `commit` or `abort`; a failed `commit` has cleaned up."""

    __slots__ = (
        "_buffer",
        "_cap",
        "_digest",
        "_file",
        "_head",
        "_receiver",
        "_sender",
        "_sop_class",
        "_sop_instance",
        "_syntax",
        "note",
        "size",
    )

    def __init__(
        self, receiver: Receiver, sop_class: str, sop_instance: str, syntax_uid: str, sender: Sender
    ) -> None:
        self.size = 0  # bytes of the data set so far
        self.note = ""  # a fact to keep with the instance
        self._receiver = receiver
        self._sop_class = sop_class
        self._sop_instance = sop_instance
        self._syntax = syntax_uid
        self._sender = sender
        own = sender.max_instance
        self._cap = receiver.max_instance if own is None else min(own, receiver.max_instance)
        self._digest = hashlib.sha256(usedforsecurity=False)
        self._buffer = bytearray()
        self._file: spool.Spooled | None = None
        self._head = 0

    def write(self, fragment: disks.Buffer) -> None:
        """Take the next bytes; they may be overwritten by the caller afterwards."""
        size = self.size + len(fragment)
        if size > self._cap:
            self.abort()
            raise Refused(Fault.TOO_LARGE, f"the instance is larger than {self._cap} bytes")
        self.size = size
        self._digest.update(fragment)
        if self._file is not None:
            self._file.write(fragment)
        elif size > self._receiver.threshold:
            self._overflow(fragment)
        else:
            self._buffer += fragment

    def _overflow(self, fragment: disks.Buffer) -> None:
        """Go on in a spool file, whose head is put in at the end: only its length is needed now."""
        file = self._file = self._receiver.spooled()
        unknown = model.Identity(self._sop_class, self._sop_instance, "", "")
        blank = layout.head(layout.Facts(self._arrival(unknown, "", _NO_TIME)), room=layout.FACTS_ROOM)
        self._head = len(blank)
        file.write(blank)
        file.write(self._buffer)
        file.write(fragment)
        self._buffer = bytearray()

    def commit(self, allowed: Allowed | None = None) -> model.Arrival:
        """Return once the instance survives a power loss; Refused, StorageFull or StorageFailed otherwise.

        `allowed` is asked last before that, with the identity and the digest, and may raise Refused.
        """
        try:
            identity = self._check()
            digest = self._digest.digest()
            arrival = self._arrival(identity, "sha256:" + digest.hex(), datetime.datetime.now(datetime.UTC))
            if allowed is not None:
                allowed(identity, arrival.digest)
            file = self._file
            if file is None:
                self._receiver.append(arrival, digest, self._buffer, "", self.note)
            else:
                failpoints.hit("spool.before-sync")
                facts = layout.Facts(arrival, note=self.note)
                file.finish(layout.head(facts, room=layout.FACTS_ROOM))
                failpoints.hit("spool.after-sync")
                self._receiver.append(arrival, digest, b"", file.name, self.note)
                file.close()
                self._file = None
        except BaseException:
            self.abort()
            raise
        self._buffer = bytearray()
        return arrival

    def abort(self) -> None:
        """Forget the instance; nothing of it stays. Fit to be called twice."""
        self._buffer = bytearray()
        if self._file is not None:
            self._file.discard()
            self._file = None

    def _check(self) -> model.Identity:
        try:
            if self._file is None:
                identity = checking.check(self._buffer, self._syntax, cap=self._cap)
            else:
                with (
                    mmap.mmap(self._file.fd, 0, access=mmap.ACCESS_READ) as mapped,
                    memoryview(mapped) as whole,
                    whole[self._head :] as body,
                ):
                    identity = checking.check(body, self._syntax, cap=self._cap)
        except errors.BadData as error:
            raise Refused(Fault.MALFORMED, str(error), tag=error.tag, offset=error.offset) from error
        if identity.sop_class != self._sop_class:
            _disagree(identity.sop_class, self._sop_class, Fault.WRONG_CLASS, "SOP class", 0x00080016)
        if identity.sop_instance != self._sop_instance:
            _disagree(
                identity.sop_instance, self._sop_instance, Fault.WRONG_INSTANCE, "SOP instance", 0x00080018
            )
        for uid, name, tag in (
            (identity.study, "Study Instance UID", 0x0020000D),
            (identity.series, "Series Instance UID", 0x0020000E),
        ):
            if not uid:
                raise Refused(Fault.MISSING_UID, f"the data set has no {name}", tag=tag)
            if not uids.valid(uid):
                raise Refused(Fault.BAD_UID, f"{name} {uid[:80]!r} is not a UID", tag=tag)
        return identity

    def _arrival(self, identity: model.Identity, digest: str, now: datetime.datetime) -> model.Arrival:
        sender = self._sender
        return model.Arrival(
            identity,
            self._syntax,
            digest,
            self.size,
            sender.calling,
            sender.called,
            sender.address,
            sender.peer,
            sender.association,
            now,
        )


_NO_TIME = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


def _disagree(found: str, said: str, fault: Fault, what: str, tag: int) -> None:
    if not found:
        raise Refused(Fault.MISSING_UID, f"the data set names no {what}", tag=tag)
    raise Refused(fault, f"the data set names {what} {found[:80]!r}, the command {said!r}", tag=tag)


def _preamble_note(preamble: bytes) -> str:
    """What a preamble holds that could be run as a program; ours is always zero."""
    for start, name in ((b"MZ", "MZ"), (b"\x7fELF", "ELF"), (b"#!", "#!")):
        if preamble.startswith(start):
            return f"preamble held {name}, zeroed"
    return ""
