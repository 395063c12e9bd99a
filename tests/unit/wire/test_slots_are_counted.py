"""Association limits, in one process and over several."""

from __future__ import annotations

import os

import pytest

from node.wire import slots


def test_limits_in_all_and_per_peer() -> None:
    counted = slots.Slots()
    taken = [counted.take(name, most=3, most_of_peer=2) for name in ("a", "a", "a", "b", "c")]
    assert [slot is not None for slot in taken] == [True, True, False, True, False]
    counted.give(taken[0])  # type: ignore[arg-type]
    assert counted.take("c", most=3, most_of_peer=2)
    counted.close()


def test_echo_slots_serve_those_who_only_echo() -> None:
    counted = slots.Slots()
    assert counted.take("a", most=1, most_of_peer=9)
    assert counted.take("b", most=1, most_of_peer=9, echo_slots=1) is None
    echo = counted.take("b", most=1, most_of_peer=9, echo_slots=1, echo_only=True)
    assert echo
    assert echo.echo
    assert counted.take("c", most=1, most_of_peer=9, echo_slots=1, echo_only=True) is None
    assert counted.totals() == (1, 1)
    counted.give(echo)
    assert counted.totals() == (1, 0)
    counted.close()


def test_many_peers_come_and_go_without_filling_the_table() -> None:
    counted = slots.Slots()
    for number in range(2000):
        slot = counted.take(f"peer {number}", most=5, most_of_peer=1)
        assert slot
        assert counted.take(f"peer {number}", most=5, most_of_peer=1) is None
        counted.give(slot)
    assert counted.totals() == (0, 0)
    counted.close()


def test_more_peers_than_the_table_holds_are_still_counted_in_all() -> None:
    counted = slots.Slots()
    taken = [counted.take(f"peer {number}", most=1000, most_of_peer=1) for number in range(400)]
    assert all(taken)
    assert counted.totals() == (400, 0)
    for slot in taken:
        counted.give(slot)  # type: ignore[arg-type]
    assert counted.totals() == (0, 0)
    counted.close()


def test_processes_count_together_and_a_dead_one_is_wiped() -> None:
    counted = slots.Slots(3)
    mine = counted.of(0)
    assert mine.take("a", most=4, most_of_peer=3)
    ready, go = os.pipe()
    child = os.fork()
    if not child:
        theirs = counted.of(1)
        both = [theirs.take("a", most=4, most_of_peer=3) for _ in range(3)]
        os.write(go, bytes([sum(slot is not None for slot in both)]))
        os._exit(9)
    assert os.read(ready, 1) == b"\2"  # the third would be the fourth of peer a
    os.waitpid(child, 0)
    assert mine.totals() == (3, 0)
    assert mine.take("a", most=4, most_of_peer=3) is None
    counted.wipe(1)
    assert mine.totals() == (1, 0)
    assert mine.take("a", most=4, most_of_peer=3)
    os.close(ready)
    os.close(go)
    counted.close()


def test_a_row_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="row 2"):
        slots.Slots(2).of(2)
