"""Where everything lies in the data directory, and the head that our files begin with.

Nothing that came from outside becomes part of a path unless it was hashed or checked here.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import fcntl
import hashlib
import json
import os
import pathlib
import re
import struct
from collections.abc import Iterator
from typing import Any

from node import errors, model

SLOT = re.compile(r"[a-z][a-z0-9-]{0,30}")
IMPLEMENTATION_CLASS = "2.25.197815036718284590452353602874713526625"
IMPLEMENTATION_VERSION = "DICOM_NODE_0_1"
PRIVATE_CREATOR = "2.25.197815036718284590452353602874713526626"  # of (0002,0102): a UID that is ours
FACTS_ROOM = 2048  # bytes kept for the receipt facts in a spooled file's head

_PREFIX = bytes(128) + b"DICM"
_ELEMENT = struct.Struct("<HH2sH")
_LONG_ELEMENT = struct.Struct("<HH2sHI")
_encode = json.JSONEncoder(ensure_ascii=True, separators=(",", ":")).encode


@dataclasses.dataclass(frozen=True, slots=True)
class Data:
    """The data directory; every path in it comes from here."""

    root: pathlib.Path  # the configured directory

    @property
    def store(self) -> pathlib.Path:
        """The tree of instances that are held."""
        return self.root / "store"

    @property
    def conflicts(self) -> pathlib.Path:
        """Instances whose UIDs are held with other bytes."""
        return self.root / "conflicts"

    @property
    def quarantine(self) -> pathlib.Path:
        """Instances that a person must look at first."""
        return self.root / "quarantine"

    @property
    def journal(self) -> pathlib.Path:
        """One directory per slot."""
        return self.root / "journal"

    @property
    def spool(self) -> pathlib.Path:
        """Files on their way into the tree."""
        return self.root / "spool"

    @property
    def ledger(self) -> pathlib.Path:
        """Facts that no file carries, a JSON line each."""
        return self.root / "ledger"

    @property
    def books(self) -> pathlib.Path:
        """What destinations answered, a line each."""
        return self.ledger / "books"

    @property
    def coercions(self) -> pathlib.Path:
        """The steps through which instances are presented, by digest."""
        return self.root / "coercions"

    @property
    def bells(self) -> pathlib.Path:
        """A FIFO for each who waits for work; nothing in it outlives a process."""
        return self.root / "run" / "bells"

    @property
    def wake(self) -> pathlib.Path:
        """The FIFO that tells the adopter of new records."""
        return self.journal / "wake"

    @property
    def degraded(self) -> pathlib.Path:
        """Exists once a sync has failed; removed by a person who has looked at the disk."""
        return self.root / "degraded"

    def slot(self, name: str) -> pathlib.Path:
        """The directory of a journal slot."""
        if not SLOT.fullmatch(name):
            raise errors.UsageError(f"journal slot {name!r}: lower-case letters, digits and dashes only")
        return self.journal / name

    def slots(self) -> list[str]:
        """Names of the slots that there are."""
        if not self.journal.is_dir():
            return []
        return sorted(e.name for e in os.scandir(self.journal) if e.is_dir() and SLOT.fullmatch(e.name))

    def place(self, path: str) -> pathlib.Path:
        """The file at a place that the index knows, held inside the data directory whatever it says."""
        if not _PLACE.fullmatch(path):
            raise errors.BadData(f"{path!r} is not a place in the data directory")
        return self.root / path

    def make(self) -> None:
        """Create what is missing, durably."""
        try:
            _make_root(self.root)
            for directory in (
                self.store,
                self.conflicts,
                self.quarantine,
                self.journal,
                self.spool,
                self.ledger,
                self.coercions,
            ):
                directory.mkdir(parents=True, exist_ok=True, mode=0o750)
            # The root's own name too: whoever made it, just now or before us, need not have synced it.
            for directory in (self.root, self.root.resolve().parent):
                fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                try:
                    os.fsync(fd)
                finally:
                    os.close(fd)
        except OSError as error:
            raise errors.ConfigError(
                f"the data directory {self.root} cannot be used: {error.strerror}; "
                "give this user write permission, or name another one with --data"
            ) from error


def _make_root(root: pathlib.Path) -> None:
    """Make the directory and what leads to it; each new name survives a power loss."""
    root = root.absolute()
    if not root.is_dir():
        _make_root(root.parent)
        root.mkdir(exist_ok=True, mode=0o750)
        fd = os.open(root.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


_PLACE = re.compile(
    r"store/[0-9]{4}/[0-9]{2}/[0-9]{2}/[0-9a-f]{2}/[0-9a-f]{32}\.dcm"
    r"|(?:conflicts|quarantine)/[0-9a-f]{2}/[0-9a-f]{2}/[0-9a-f]{32}-[0-9a-f]{32}\.dcm"
)


def is_place(path: str) -> bool:
    """Whether an instance could lie there, below the data directory."""
    return _PLACE.fullmatch(path) is not None


class Lock:
    """A lock file that names its holder; it goes with the process, however that ends."""

    def __init__(self, path: pathlib.Path, what: str, *, shared: bool = False) -> None:
        """Take it or raise; `shared` holders bear each other, and leave the naming to others."""
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError as error:
            raise errors.ConfigError(f"{path} cannot be opened: {error.strerror}") from error
        try:
            fcntl.flock(self._fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._fd, 32, 0).decode("ascii", "replace").strip()
            os.close(self._fd)
            by = f"process {holder}" if holder else "another process"
            raise errors.UsageError(
                f"{what} is in use by {by}; stop that one first, or use another data directory"
            ) from None
        os.ftruncate(self._fd, 0)
        if not shared:
            os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let go; fit to be called twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


@contextlib.contextmanager
def owned(root: pathlib.Path, part: str = "all") -> Iterator[Data]:
    """Take the data directory for this node: "all" of it alone, other parts once each.

    Processes forked inside the scope hold it too, so nobody takes it while one of them lives.
    """
    data = Data(root)
    data.make()
    what = f"the data directory {root}"
    locks = [Lock(root / "lock", what, shared=part != "all")]
    try:
        if part != "all":
            locks.append(Lock(root / f"lock-{part}", f"the part {part!r} of {what}"))
        yield data
    finally:
        for lock in locks:
            lock.release()


def holder(root: pathlib.Path) -> int | None:
    """The process that runs a node, or a part of one, on this data directory; None: nobody."""
    for path in [root / "lock", *sorted(root.glob("lock-*"))]:
        if held(path):
            # The whole lock of a node that runs in parts names nobody; its parts' locks do.
            text = path.read_text(encoding="ascii", errors="replace").strip()
            if text.isdigit():
                return int(text)
    return None


def database(root: pathlib.Path) -> pathlib.Path:
    """The index, when it is SQLite."""
    return root / "index.sqlite"


def database_url(root: pathlib.Path) -> str:
    """The SQLAlchemy URL of the index in the data directory."""
    return f"sqlite:///{database(root)}"


def index_url(settings: model.Settings) -> str:
    """The SQLAlchemy URL of the index: as configured, or SQLite in the data directory."""
    return settings.storage.database or database_url(settings.node.data.absolute())


def held(path: pathlib.Path) -> bool:
    """Whether somebody holds this lock file."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def place(arrival: model.Arrival, verdict: model.Verdict) -> str:
    """Where the bytes of an arrival belong, below the data directory; the same for the same arrival."""
    identity = arrival.identity
    key = f"{identity.study}\0{identity.series}\0{identity.sop_instance}".encode()
    name = hashlib.sha256(key).hexdigest()[:32]
    if verdict is model.Verdict.STORED or verdict is model.Verdict.DUPLICATE:
        day = arrival.received
        return f"store/{day.year:04}/{day.month:02}/{day.day:02}/{name[:2]}/{name}.dcm"
    # Set aside, the same bytes have one file, on whatever day they come again.
    top = "conflicts" if verdict is model.Verdict.CONFLICT else "quarantine"
    return f"{top}/{name[:2]}/{name[2:4]}/{name}-{arrival.digest.rpartition(':')[2][:32]}.dcm"


@dataclasses.dataclass(frozen=True, slots=True)
class Facts:
    """What a file of ours tells of its receipt, beside the standard's elements."""

    arrival: model.Arrival  # as acknowledged
    slot: str = ""  # the journal it was acknowledged from
    generation: int = 0  # which use of a segment
    position: int = 0  # where in it
    verdict: model.Verdict = model.Verdict.STORED  # what became of it
    rule: str = ""  # the rule at receipt that matched
    reason: str = ""  # in that rule's words
    keep: float | None = None  # seconds that the rule keeps it
    note: str = ""  # what was found and put right, such as a preamble that held a program
    coercion: str = ""  # digest of the steps through which it is presented; "": as it came

    def words(self) -> dict[str, Any]:
        """The facts as plain values, for a JSON line or a file's head."""
        arrival = self.arrival
        identity = arrival.identity
        words: dict[str, Any] = {
            "sop_class": identity.sop_class,
            "sop_instance": identity.sop_instance,
            "study": identity.study,
            "series": identity.series,
            "syntax": arrival.syntax,
            "digest": arrival.digest,
            "size": arrival.size,
            "calling": arrival.calling,
            "called": arrival.called,
            "address": arrival.address,
            "peer": arrival.peer,
            "association": arrival.association,
            "received": arrival.received.isoformat(timespec="microseconds"),
            "slot": self.slot,
            "generation": self.generation,
            "position": self.position,
            "verdict": self.verdict.value,
            "rule": self.rule,
            "reason": self.reason[:512],
            "keep": self.keep,
            "note": self.note[:128],
        }
        return words | {"coercion": self.coercion} if self.coercion else words


def facts(words: dict[str, Any]) -> Facts:
    """The facts that `Facts.words` wrote; ValueError, KeyError or TypeError when it was not that."""
    identity = model.Identity(words["sop_class"], words["sop_instance"], words["study"], words["series"])
    arrival = model.Arrival(
        identity,
        words["syntax"],
        words["digest"],
        words["size"],
        words["calling"],
        words["called"],
        words["address"],
        words["peer"],
        words["association"],
        datetime.datetime.fromisoformat(words["received"]),
    )
    return Facts(
        arrival,
        words["slot"],
        words["generation"],
        words["position"],
        model.Verdict(words["verdict"]),
        words["rule"],
        words["reason"],
        words["keep"],
        words["note"],
        words.get("coercion", ""),
    )


def head(of: Facts, *, room: int = 0) -> bytes:
    """Preamble and file meta information for a data set; with `room`, of the same length for any facts."""
    arrival = of.arrival
    private = _encode(of.words()).encode("ascii")
    if room:
        if len(private) > room:
            raise errors.BadData(f"receipt facts of {len(private)} bytes do not fit into {room}")
        private = private.ljust(room)
    elif len(private) & 1:
        private += b" "
    source = _title(arrival.calling)
    parts = [
        b"\x02\x00\x01\x00OB\x00\x00\x02\x00\x00\x00\x00\x01",
        _short(0x0002, b"UI", _uid(arrival.identity.sop_class)),
        _short(0x0003, b"UI", _uid(arrival.identity.sop_instance)),
        _short(0x0010, b"UI", _uid(arrival.syntax)),
        _IMPLEMENTATION,
    ]
    if source:
        parts += [_short(0x0016, b"AE", source), _short(0x0017, b"AE", source)]
    if called := _title(arrival.called):
        parts.append(_short(0x0018, b"AE", called))
    parts += [_CREATOR, _LONG_ELEMENT.pack(2, 0x0102, b"OB", 0, len(private)), private]
    meta = b"".join(parts)
    return b"".join((_PREFIX, _ELEMENT.pack(2, 0, b"UL", 4), len(meta).to_bytes(4, "little"), meta))


def plain_head(sop_class: str, sop_instance: str, syntax: str, source: str = "") -> bytes:
    """Preamble and file meta information for a file that leaves the house: no receipt facts of ours."""
    parts = [
        b"\x02\x00\x01\x00OB\x00\x00\x02\x00\x00\x00\x00\x01",
        _short(0x0002, b"UI", _uid(sop_class)),
        _short(0x0003, b"UI", _uid(sop_instance)),
        _short(0x0010, b"UI", _uid(syntax)),
        _IMPLEMENTATION,
    ]
    if title := _title(source):
        parts.append(_short(0x0016, b"AE", title))
    meta = b"".join(parts)
    return b"".join((_PREFIX, _ELEMENT.pack(2, 0, b"UL", 4), len(meta).to_bytes(4, "little"), meta))


def _short(element: int, vr: bytes, value: bytes) -> bytes:
    return _ELEMENT.pack(2, element, vr, len(value)) + value


def _uid(uid: str) -> bytes:
    raw = uid.encode("ascii")
    return raw + b"\0" if len(raw) & 1 else raw


def _title(title: str) -> bytes:
    """An AE title as the standard allows it: 16 printable characters; the facts hold it as it came."""
    raw = bytes(c if 32 <= c < 127 and c != 92 else 63 for c in title.encode("latin-1", "replace"))[:16]
    return raw + b" " if len(raw) & 1 else raw


_IMPLEMENTATION = _short(0x0012, b"UI", _uid(IMPLEMENTATION_CLASS)) + _short(
    0x0013, b"SH", IMPLEMENTATION_VERSION.encode().ljust((len(IMPLEMENTATION_VERSION) + 1) & ~1)
)
_CREATOR = _short(0x0100, b"UI", _uid(PRIVATE_CREATOR))


def read_head(path: str | pathlib.Path) -> tuple[Facts, int]:
    """The receipt facts in a file of ours, and where its data set begins."""
    with open(path, "rb") as file:
        start = file.read(4096)
        if start[128:132] != b"DICM" or start[132:138] != b"\x02\x00\x00\x00UL":
            raise errors.BadData(f"{path} does not begin as our files do")
        offset = 144 + int.from_bytes(start[140:144], "little")
        if offset > 1 << 16:
            raise errors.BadData(f"{path} has file meta information of {offset} bytes")
        if offset > len(start):
            start += file.read(offset - len(start))
    where = start.find(_CREATOR, 144, offset)
    if where < 0 or len(start) < offset:
        raise errors.BadData(f"{path} carries no receipt facts of ours")
    try:
        return facts(json.loads(start[where + len(_CREATOR) + 12 : offset])), offset
    except (ValueError, KeyError, TypeError) as error:
        raise errors.BadData(f"{path} carries receipt facts that cannot be read: {error}") from error


def tree(top: pathlib.Path) -> Iterator[pathlib.Path]:
    """Every instance's file below the store, the conflicts or the quarantine; the store's day by day."""
    for directory in _directories(top, 4 if top.name == "store" else 2):
        for entry in sorted(os.scandir(directory), key=lambda e: e.name):
            if entry.name.endswith(".dcm") and entry.is_file(follow_symlinks=False):
                yield directory / entry.name


def _directories(top: pathlib.Path, depth: int) -> Iterator[pathlib.Path]:
    if depth == 0:
        yield top
        return
    if not top.is_dir():
        return
    for entry in sorted(os.scandir(top), key=lambda e: e.name):
        if entry.is_dir(follow_symlinks=False) and re.fullmatch(r"[0-9a-f]{2,4}", entry.name):
            yield from _directories(top / entry.name, depth - 1)
