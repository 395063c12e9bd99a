"""What a destination said is a line of a book before the next answer is taken, and survives its worker."""

from __future__ import annotations

import dataclasses
import datetime
import os
import pathlib
import subprocess
import sys

import pytest

from node import errors, orders
from node.files import book, layout

NOW = datetime.datetime(2026, 11, 21, 8, 0, 0, 123456, tzinfo=datetime.UTC)
CONSIGNMENT = orders.Consignment(
    key=7, destination="pacs", group="", study="1.2.3", series="1.2.3.1", route="scans", revision=1,
    priority=orders.Priority.NORMAL, calendar=None, steps=(), state=orders.State.RUNNING, created=NOW,
    due=NOW, attempts=1, crashes=0, total=3, done=0, dead=0, fence=4, error="",
)  # fmt: skip


def attempt(number: int, outcome: orders.State = orders.State.DONE) -> orders.Attempt:
    at = NOW + datetime.timedelta(microseconds=number)
    return orders.Attempt(number, at, outcome, 0xB000, "1.2.840.10008.1.2", 512, 0.1 + 0.2, 'a "word" \n é')


@pytest.fixture
def data(tmp_path: pathlib.Path) -> layout.Data:
    made = layout.Data(tmp_path / "data")
    made.make()
    return made


def lines(data: layout.Data) -> list[book.Said | None]:
    return [said for path in book.every(data) for said in book.read(path)]


def test_what_was_written_reads_back_the_same(data: layout.Data) -> None:
    mine = book.Book(data, "worker 1/é")
    for number in (1, 2):
        mine.write(CONSIGNMENT, f"1.2.3.1.{number}", attempt(number))
    other = dataclasses.replace(CONSIGNMENT, fence=5, destination="archive")
    mine.write(other, "1.2.3.1.1", attempt(3, orders.State.DEAD))
    mine.sync()
    said = [one for one in lines(data) if one is not None]
    assert [(one.destination, one.sop_instance, one.fence) for one in said] == [
        ("pacs", "1.2.3.1.1", 4), ("pacs", "1.2.3.1.2", 4), ("archive", "1.2.3.1.1", 5),
    ]  # fmt: skip
    assert [one.attempt for one in said] == [attempt(1), attempt(2), attempt(3, orders.State.DEAD)]
    mine.close()
    assert lines(data) == said, "a book that is put away says the same"
    with book.abandoned(data) as left:
        assert left == []


def test_each_answer_is_one_call_of_the_kernel(data: layout.Data, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = book.Book(data, "worker-1")
    calls: list[bytes] = []
    write = os.write
    monkeypatch.setattr(book.os, "write", lambda fd, text: calls.append(bytes(text)) or write(fd, text))
    for number in range(3):
        mine.write(CONSIGNMENT, "1.2.3", attempt(number))
    assert len(calls) == 3
    assert all(call.endswith(b"\n") for call in calls)
    mine.close()


def test_the_book_of_a_worker_that_lives_is_left_alone(data: layout.Data) -> None:
    mine = book.Book(data, "worker-1")
    mine.write(CONSIGNMENT, "1.2.3", attempt(1))
    with book.abandoned(data) as left:
        assert left == []
    mine.close(recorded=False)
    with book.abandoned(data) as left:
        (path,) = left
        with book.abandoned(data) as others:
            assert others == [], "one at a time recovers a book"
        book.put_away(path)
    assert len(lines(data)) == 1


def test_the_book_of_a_worker_that_was_killed_is_found(data: layout.Data) -> None:
    program = (
        "import pathlib, os, signal, sys; from node.files import book, layout; "
        "from tests.unit.files import test_books_of_answers as t; "
        "mine = book.Book(layout.Data(pathlib.Path(sys.argv[1])), 'worker-1'); "
        "mine.write(t.CONSIGNMENT, '1.2.3', t.attempt(1)); os.kill(os.getpid(), signal.SIGKILL)"
    )
    root = pathlib.Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", program, str(data.root)], check=False, cwd=root)
    assert done.returncode == -9
    with book.abandoned(data) as left:
        assert len(left) == 1
    (said,) = lines(data)
    assert said is not None
    assert said.attempt == attempt(1)


def test_a_torn_last_line_says_nothing_and_spoils_nothing(
    data: layout.Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = book.Book(data, "worker-1")
    mine.write(CONSIGNMENT, "1.2.3.1", attempt(1))
    (path,) = book.every(data)
    with path.open("ab") as file:
        file.write(b'{"of":7,"fence":4,"sop_ins')
    assert [said is not None for said in lines(data)] == [True]
    # The disk is full in the middle of a line; what comes after it stands on a line of its own.
    write = os.write

    def torn(fd: int, text: bytes) -> int:
        if mine._torn and len(text) < 20:
            raise OSError(28, "no space")
        return write(fd, text[: len(text) - 10])

    monkeypatch.setattr(book.os, "write", torn)
    with pytest.raises(errors.StorageFull):
        mine.write(CONSIGNMENT, "1.2.3.2", attempt(2))
    monkeypatch.setattr(book.os, "write", write)
    mine.write(CONSIGNMENT, "1.2.3.3", attempt(3))
    uids = [said.sop_instance if said else None for said in lines(data)]
    assert (uids[0], uids[-1]) == ("1.2.3.1", "1.2.3.3")
    assert None in uids, "what cannot be read is told of"
    mine.close()


def test_a_long_book_is_followed_by_another(data: layout.Data, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(book, "LARGEST", 1000)
    mine = book.Book(data, "worker-1")
    for number in range(20):
        mine.write(CONSIGNMENT, f"1.2.3.{number}", attempt(number))
    assert len(book.every(data)) > 3
    assert len(list((data.books / "open").iterdir())) == 2, "the one before may not be recorded yet"
    read = [said.sop_instance for said in lines(data) if said]
    assert read == [f"1.2.3.{number}" for number in range(20)], "each book says whom it is about"
    mine.close()
    assert list((data.books / "open").iterdir()) == []
