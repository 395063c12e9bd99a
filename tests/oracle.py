"""The judge of every fault: what was acknowledged must be held, byte for byte, and nothing half.

`Journal` is what a sender knows: for each answer the UID, the digest of what it sent, and the status, synced
to disk. `Held` is what a node's data directory has, read from its index and its files without the node's
own code. `judge` compares the two and returns sentences, none when all is well.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import sqlite3
import struct
import threading
import time
from collections.abc import Callable, Iterable, Sequence

from tests import make, scu


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What a node answered to one C-STORE."""

    sop_instance: str  # SOP Instance UID
    digest: str  # over the data set that was sent
    status: int | None  # None: no answer came
    at: float  # seconds since the epoch

    @property
    def acknowledged(self) -> bool:
        """Success, or a warning: the sender may forget the instance."""
        return self.status is not None and (self.status == 0 or 0xB000 <= self.status <= 0xBFFF)


class Journal:
    """A file of answers; a line is on the disk before the sender goes on."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)

    def note(self, made: make.Made, status: int | None) -> None:
        """Write an answer down."""
        line = json.dumps([made.sop_instance, made.digest, status, time.time()]) + "\n"
        os.write(self._fd, line.encode())
        os.fdatasync(self._fd)

    def answers(self) -> list[Answer]:
        """All of them, in order."""
        return [Answer(*json.loads(line)) for line in self.path.read_text().splitlines()]

    def acknowledged(self) -> list[Answer]:
        """Those that the node must still have."""
        return [answer for answer in self.answers() if answer.acknowledged]

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._fd)


@dataclasses.dataclass(slots=True)
class Sending:
    """What became of `send`, over all its senders."""

    answered: int = 0  # C-STORE responses
    broken: int = 0  # associations that broke, were rejected or never came about
    waited: float = 0.0  # the longest wait for an answer


def send(
    address: tuple[str, int],
    journal: Journal,
    instances: Sequence[make.Made],
    *,
    senders: int = 1,
    stop: threading.Event | None = None,
    patience: float = 30.0,
    acknowledged: Callable[[make.Made], None] | None = None,
) -> Sending:
    """Send `instances` over several associations at once, journal each answer, call again when it breaks.

    Each instance is sent until it gets any answer, `stop` is set, or nobody was reached for `patience`
    seconds. `acknowledged` is called behind each success.
    """
    outcome = Sending()
    guard = threading.Lock()
    todo = list(reversed(instances))

    def take() -> make.Made | None:
        with guard:
            return todo.pop() if todo and not (stop and stop.is_set()) else None

    def work() -> None:
        caller: scu.Caller | None = None
        current = take()
        reached = time.monotonic()
        while current is not None and not (stop and stop.is_set()):
            begun = time.monotonic()
            try:
                caller = caller or scu.call(address, instances, timeout=patience)
                reached = time.monotonic()
                status = caller.store(current).status
            except (OSError, struct.error, ValueError):
                with guard:
                    outcome.broken += 1
                journal.note(current, None)
                if caller is not None:
                    caller.close()
                caller = None
                if time.monotonic() - reached > patience:
                    return
                time.sleep(0.05)
                continue
            journal.note(current, status)
            with guard:
                outcome.answered += 1
                outcome.waited = max(outcome.waited, time.monotonic() - begun)
            if acknowledged and status == 0:
                acknowledged(current)
            current = take()
        if caller is not None:
            with contextlib.suppress(OSError, ValueError):
                caller.release()
            caller.close()

    threads = [threading.Thread(target=work) for _ in range(senders)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcome


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One set of bytes that the index says is held."""

    kind: str  # instance, conflict or quarantine
    sop_instance: str  # SOP Instance UID
    digest: str  # as the index says
    path: pathlib.Path  # the file
    offset: int  # where the data set starts
    size: int  # of the data set
    state: str  # "held" unless a scrub said otherwise

    def actual(self) -> str:
        """The digest of what the file holds; "" when it is not there, or not so long."""
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                data = file.read()
        except OSError:
            return ""
        return "sha256:" + hashlib.sha256(data).hexdigest() if len(data) == self.size else ""


class Held:
    """What a data directory holds by its index, and the files that it has."""

    def __init__(self, data: pathlib.Path, database: pathlib.Path | None = None) -> None:
        self.data = data
        self.database = database or data / "index.sqlite"
        self.rows = self._rows()
        self.by_uid: dict[str, list[Row]] = {}
        for row in self.rows:
            self.by_uid.setdefault(row.sop_instance, []).append(row)

    def query(self, sql: str, *values: object) -> list[tuple[object, ...]]:
        """Rows of the index."""
        base = sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=30)
        try:
            return base.execute(sql, values).fetchall()
        finally:
            base.close()

    def verdicts(self) -> dict[str, int]:
        """How many arrivals of each verdict."""
        return {
            str(name): int(str(n))
            for name, n in self.query("select verdict, count(*) from arrival group by 1")
        }

    def _rows(self) -> list[Row]:
        rows = []
        for kind in ("instance", "conflict", "quarantine"):
            state = "state" if kind == "instance" else "'held'"
            for uid, digest, path, offset, size, how in self.query(
                f'select sop_instance, digest, path, "offset", size, {state} from {kind}'
            ):
                place = self._place(str(path))
                rows.append(
                    Row(kind, str(uid), str(digest), place, int(str(offset)), int(str(size)), str(how))
                )
        return rows

    def _place(self, path: str) -> pathlib.Path:
        for base in (self.data, self.data / "store"):
            if (base / path).exists():
                return base / path
        return self.data / path

    def files(self) -> list[pathlib.Path]:
        """Every file that a person would find in the tree."""
        folders = [self.data / name for name in ("store", "conflicts", "quarantine")]
        return [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]


def judge(held: Held, answers: Iterable[Answer], *, quiet: bool = True) -> list[str]:
    """What is wrong with `held`, given what was answered; `quiet`: nothing is on its way any more."""
    wrong = []
    answers = list(answers)
    sent: dict[str, set[str]] = {}
    for answer in answers:
        sent.setdefault(answer.sop_instance, set()).add(answer.digest)
    actual = {row: row.actual() for row in held.rows}
    for uid, digest in {(one.sop_instance, one.digest) for one in answers if one.acknowledged}:
        rows = held.by_uid.get(uid, [])
        if not any(row.digest == digest and actual[row] == digest for row in rows):
            have = ", ".join(f"{row.kind} {row.digest} ({actual[row] or 'unreadable'})" for row in rows)
            wrong.append(f"acknowledged {uid} {digest} is not held; held under that UID: {have or 'nothing'}")
    for row in held.rows:
        if actual[row] != row.digest:
            wrong.append(
                f"{row.kind} {row.sop_instance} should be {row.digest}, its file has {actual[row]!r}"
            )
        if row.sop_instance in sent and row.digest not in sent[row.sop_instance]:
            wrong.append(f"{row.kind} {row.sop_instance} holds bytes {row.digest} that nobody sent")
    if quiet:
        known = {row.path.resolve() for row in held.rows}
        astray = [path for path in held.files() if path.resolve() not in known]
        wrong += [f"{path} is in the tree and no row leads to it" for path in astray]
    half = [path for path in held.files() if path.suffix == ".dcm" and not whole(path)]
    wrong += [f"{path} is visible and not whole" for path in half]
    return wrong


def whole(path: pathlib.Path) -> bool:
    """Whether a file is Part 10, and its meta information and receipt facts can be read to their end."""
    with path.open("rb") as file:
        head = file.read(144)
        if len(head) < 144 or head[128:132] != b"DICM" or head[132:138] != b"\x02\x00\x00\x00UL":
            return False
        meta = file.read(int(struct.unpack_from("<I", head, 140)[0]))
    at = 0
    facts = b""
    while at + 8 <= len(meta):
        group, number, vr, length = struct.unpack_from("<HH2sH", meta, at)
        at += 8
        if vr in make.LONG:
            length = struct.unpack_from("<I", meta, at)[0]
            at += 4
        if group != 2 or at + length > len(meta):
            return False
        if number == 0x0102:
            facts = meta[at : at + length]
        at += length
    try:
        return at == len(meta) and isinstance(json.loads(facts), dict)
    except ValueError:
        return False
