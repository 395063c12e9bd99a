from __future__ import annotations

import os
import pathlib
import threading

import pytest

from node import errors
from node.files import layout
from node.queue import bell


@pytest.fixture
def data(tmp_path: pathlib.Path) -> layout.Data:
    return layout.Data(tmp_path)


def test_nobody_waits(data: layout.Data) -> None:
    bell.ring(data)
    assert not data.bells.exists()


def test_everybody_is_woken_once(data: layout.Data) -> None:
    one, other = bell.Bell(data, "work-1.queue"), bell.Bell(data, "work-2.queue")
    try:
        assert not one.wait(0)
        bell.ring(data)
        bell.ring(data)
        assert one.wait(30)
        assert other.wait(30)
        assert not one.wait(0), "both rings were one wake"
        one.ring()
        assert one.wait(30)
        assert not other.wait(0)
    finally:
        one.close()
        other.close()
    one.close()
    one.ring()
    assert not list(data.bells.iterdir())


def test_only_those_who_are_meant(data: layout.Data) -> None:
    router, queue = bell.Bell(data, "router-1"), bell.Bell(data, "work-1.queue")
    try:
        bell.ring(data, "router")
        assert router.wait(30)
        assert not queue.wait(0)
    finally:
        router.close()
        queue.close()


def test_a_ring_wakes_who_waits_already(data: layout.Data) -> None:
    owner = bell.Bell(data, "x")
    woken = threading.Event()

    def wait() -> None:
        if owner.wait(None):
            woken.set()

    waiting = threading.Thread(target=wait)
    waiting.start()
    try:
        bell.ring(data)
        assert woken.wait(30)
    finally:
        owner.ring()
        waiting.join()
        owner.close()


def test_what_a_killed_process_left_is_in_nobodys_way(data: layout.Data) -> None:
    left = bell.Bell(data, "work-1.queue")
    path = data.bells / "work-1.queue"
    left.close()
    os.mkfifo(path)
    bell.ring(data)  # nobody reads it
    again = bell.Bell(data, "work-1.queue")
    try:
        assert not again.wait(0)
        bell.ring(data)
        assert again.wait(30)
    finally:
        again.close()


def test_it_takes_any_number_of_rings(data: layout.Data) -> None:
    owner = bell.Bell(data, "x")
    try:
        for _ in range(70_000):
            owner.ring()
        bell.ring(data)
        assert owner.wait(0)
    finally:
        owner.close()


def test_a_name_is_no_path(data: layout.Data) -> None:
    with pytest.raises(errors.UsageError, match=r"\.\./x"):
        bell.Bell(data, "../x")
