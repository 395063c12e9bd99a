"""What destinations answered, a line each, written before the next answer is taken; evidence, kept for ever.

A worker writes one book at a time in `ledger/books/open/`. The index is told in batches, so the last lines
of a worker that was killed may be known here alone: `ledger.recover` tells the index of them and puts the
book away in `ledger/books/`. A torn last line says nothing: what it was about is owed, and goes out again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import fcntl
import json
import os
import pathlib
import re
import threading
from collections.abc import Iterator
from typing import Any

from node import orders
from node.files import disk as disks
from node.files import layout

LARGEST = 16 << 20  # bytes of a book, about 50,000 answers, until another one is begun

_encode = json.JSONEncoder(ensure_ascii=True, separators=(",", ":")).encode


@dataclasses.dataclass(frozen=True, slots=True)
class Said:
    """A line of a book: what a destination said of one instance."""

    destination: str  # its name
    study: str  # Study Instance UID
    series: str  # Series Instance UID
    route: str  # the route that decided it
    revision: int  # of the series
    created: str  # when it was decided: with the five before, the consignment whatever its row is now
    group: str  # the group that chose the destination
    priority: int  # orders.Priority
    fence: int  # of the claim under which it was sent
    sop_instance: str  # SOP Instance UID
    attempt: orders.Attempt  # its delivery is the row that it had when it was written


class Book:
    """The book of one worker process; safe to share between its threads."""

    def __init__(self, data: layout.Data, worker: str) -> None:
        self._folder = data.books / "open"
        self._worker = re.sub(r"[^A-Za-z0-9-]", "_", worker)[:60]
        self._lock = threading.Lock()
        self._fd = -1
        self._size = 0
        self._torn = False  # the last line is not whole
        self._told: set[tuple[int, int]] = set()  # consignments that this book has introduced
        self._path = self._before = pathlib.Path()
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o750)
            self._begin()
        except OSError as error:
            raise disks.failure(error, f"writing {self._folder}") from error

    def write(self, consignment: orders.Consignment, sop_instance: str, attempt: orders.Attempt) -> None:
        """Write down what became of one instance, in one call of the kernel: a kill loses nothing of it."""
        line = _encode(
            {
                "of": consignment.key,
                "fence": consignment.fence,
                "sop_instance": sop_instance,
                "delivery": attempt.delivery,
                "at": attempt.at.isoformat(timespec="microseconds"),
                "outcome": attempt.outcome.value,
                "status": attempt.status,
                "syntax": attempt.syntax,
                "size": attempt.size,
                "seconds": attempt.seconds,
                "error": attempt.error,
            }
        )
        named = (consignment.key, consignment.fence)
        with self._lock:
            try:
                if self._size > LARGEST:
                    self._turn()
                if named not in self._told:
                    line = f"{_introduced(consignment)}\n{line}"
                self._put(line.encode("ascii") + b"\n")
            except OSError as error:
                raise disks.failure(error, f"writing {self._path}") from error
            self._told.add(named)

    def sync(self) -> None:
        """Make what was written survive a power loss."""
        with self._lock:
            try:
                os.fdatasync(self._fd)
            except OSError as error:
                raise disks.failure(error, f"writing {self._path}") from error

    def close(self, *, recorded: bool = True) -> None:
        """Put it away when the index was told of all that it says; else the next `recover` does."""
        with self._lock:
            if self._fd < 0:
                return
            os.close(self._fd)
            self._fd = -1
            if recorded:
                for path in (self._before, self._path):
                    _put_away(path)

    def _put(self, line: bytes) -> None:
        if self._torn:
            line = b"\n" + line
        self._torn = True
        written = 0
        while written < len(line):
            written += os.write(self._fd, line[written:])
        self._torn = False
        self._size += written

    def _begin(self) -> None:
        stamp = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%S%fZ")
        path = self._folder / f"{stamp}-{self._worker}-{os.getpid()}.jsonl"
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
        fcntl.flock(fd, fcntl.LOCK_EX)  # who can have it knows that this process is gone
        self._fd, self._path, self._size, self._torn = fd, path, 0, False
        self._told.clear()

    def _turn(self) -> None:
        """Go on in another book, and put the one before away: nobody sends that much without the index."""
        before, fd = self._path, self._fd
        self._begin()
        os.close(fd)
        _put_away(self._before)
        self._before = before


@contextlib.contextmanager
def abandoned(data: layout.Data) -> Iterator[list[pathlib.Path]]:
    """Books whose workers are gone, oldest first; held so that nobody else takes them meanwhile."""
    held: list[int] = []
    found: list[pathlib.Path] = []
    try:
        for path in sorted((data.books / "open").glob("*.jsonl")):
            with contextlib.suppress(FileNotFoundError):
                fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                held.append(fd)
                with contextlib.suppress(BlockingIOError):
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    found.append(path)
        yield found
    finally:
        for fd in held:
            os.close(fd)


def put_away(path: pathlib.Path) -> None:
    """The index was told of all that a book of `abandoned` says."""
    _put_away(path)


def every(data: layout.Data) -> list[pathlib.Path]:
    """All books, oldest first."""
    found = [*data.books.glob("*.jsonl"), *(data.books / "open").glob("*.jsonl")]
    return sorted(found, key=lambda path: path.name)


def read(path: pathlib.Path) -> Iterator[Said | None]:
    """What a book says, in the order written; None for a line that cannot be read."""
    known: dict[Any, dict[str, Any]] = {}
    with open(path, "rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                return  # its worker was cut off here, or is writing it just now
            if not line.strip():
                continue
            try:
                words = json.loads(line)
                if "consignment" in words:
                    known[words["consignment"]] = words
                else:
                    yield _said(words, known[words["of"]])
            except (ValueError, KeyError, TypeError):
                yield None


def _said(words: dict[str, Any], of: dict[str, Any]) -> Said:
    return Said(
        str(of["destination"]),
        str(of["study"]),
        str(of["series"]),
        str(of["route"]),
        int(of["revision"]),
        str(of["created"]),
        str(of["group"]),
        int(of["priority"]),
        int(words["fence"]),
        str(words["sop_instance"]),
        orders.Attempt(
            delivery=int(words["delivery"]),
            at=datetime.datetime.fromisoformat(words["at"]),
            outcome=orders.State(words["outcome"]),
            status=None if words["status"] is None else int(words["status"]),
            syntax=str(words["syntax"]),
            size=int(words["size"]),
            seconds=float(words["seconds"]),
            error=str(words["error"]),
        ),
    )


def _introduced(consignment: orders.Consignment) -> str:
    return _encode(
        {
            "consignment": consignment.key,
            "destination": consignment.destination,
            "study": consignment.study,
            "series": consignment.series,
            "route": consignment.route,
            "revision": consignment.revision,
            "created": consignment.created.isoformat(timespec="microseconds"),
            "group": consignment.group,
            "priority": int(consignment.priority),
        }
    )


def _put_away(path: pathlib.Path) -> None:
    if path.name:
        with contextlib.suppress(FileNotFoundError):
            os.rename(path, path.parent.parent / path.name)
