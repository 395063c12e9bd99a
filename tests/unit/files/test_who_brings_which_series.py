"""The tables of open associations: who brings what, seen by another process, and nothing of who died."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import pytest

from node import errors
from node.files import layout, live

SERIES = [f"1.2.3.{number}" for number in range(200)]


@pytest.fixture
def data(tmp_path: pathlib.Path) -> layout.Data:
    return layout.Data(tmp_path)


def bringing(seen: live.Seen, number: int) -> int:
    return seen.bringing(live.mark(SERIES[number]))


def test_nobody_ever_listened_here(data: layout.Data) -> None:
    opened = live.Open(data)
    assert bringing(opened.look(), 0) == 0
    opened.close()


def test_a_series_is_brought_until_its_last_association_is_over(data: layout.Data) -> None:
    tables = [live.Live(data, f"listen-{number}") for number in (1, 2)]
    opened = live.Open(data)
    first, second, idle = tables[0].begin(), tables[1].begin(), tables[1].begin()
    assert [bringing(opened.look(), at) for at in range(3)] == [0, 0, 0]
    for number in (0, 0, 1, 0):
        first.note(SERIES[number])
    second.note(SERIES[0])
    assert [bringing(opened.look(), at) for at in range(3)] == [2, 1, 0]
    first.end()
    first.end()
    idle.end()
    assert [bringing(opened.look(), at) for at in range(3)] == [1, 0, 0]
    second.end()
    assert [bringing(opened.look(), at) for at in range(3)] == [0, 0, 0]
    again = tables[0].begin()
    again.note(SERIES[2])
    assert [bringing(opened.look(), at) for at in range(3)] == [0, 0, 1]
    opened.close()
    for table in tables:
        table.close()


def test_an_association_of_many_series_has_left_the_oldest_behind(data: layout.Data) -> None:
    table, opened = live.Live(data, "listen-1"), live.Open(data)
    association = table.begin()
    for uid in SERIES:
        association.note(uid)
    seen = opened.look()
    assert bringing(seen, 0) == 0
    assert all(bringing(seen, at) == 1 for at in range(200 - live.SERIES, 200))
    association.note(SERIES[0])  # it comes back to it
    assert bringing(opened.look(), 0) == 1
    opened.close()
    table.close()


def test_associations_beyond_the_table_may_bring_anything(data: layout.Data) -> None:
    table, opened = live.Live(data, "listen-1"), live.Open(data)
    several = [table.begin() for _ in range(live.ROWS + 1)]
    several[-1].note(SERIES[0])
    assert bringing(opened.look(), 7) == 1
    several[-1].end()
    assert bringing(opened.look(), 7) == 0
    for one in several:
        one.end()
    opened.close()
    table.close()


def test_changes_of_steps_are_counted_over_all_listeners(data: layout.Data) -> None:
    tables = [live.Live(data, f"listen-{number}") for number in (1, 2)]
    opened = live.Open(data)
    assert opened.look().steps == 0
    for table in tables:
        table.stepped()
    assert opened.look().steps == 2
    opened.close()
    for table in tables:
        table.close()


def test_who_was_killed_has_nothing_open(data: layout.Data) -> None:
    program = (
        "import sys; from node.files import layout, live; import pathlib\n"
        "table = live.Live(layout.Data(pathlib.Path(sys.argv[1])), 'listen-1')\n"
        "one = table.begin(); one.note(sys.argv[2]); print('there', flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(data.root), SERIES[0]],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"there\n"
        opened = live.Open(data)
        assert bringing(opened.look(), 0) == 1
        process.kill()
        process.wait()
    assert bringing(opened.look(), 0) == 0
    table = live.Live(data, "listen-1")  # the next one begins with an empty table
    assert bringing(opened.look(), 0) == 0
    opened.close()
    table.close()


def test_two_cannot_have_one_table(data: layout.Data, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "_PATIENCE", 0.05)
    table = live.Live(data, "listen-1")
    with pytest.raises(errors.UsageError, match="in use"):
        live.Live(data, "listen-1")
    table.close()


def test_an_association_that_outlives_its_listener_says_nothing(data: layout.Data) -> None:
    table, opened = live.Live(data, "listen-1"), live.Open(data)
    association = table.begin()
    table.close()
    association.note(SERIES[0])
    association.end()
    assert bringing(opened.look(), 0) == 0
    opened.close()
