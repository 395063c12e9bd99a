"""Who looks waits for what was acknowledged: for all of it, or for what came from senders that are done."""

from __future__ import annotations

import pathlib
import threading
import time

from node.files import filed, journal, position
from tests import stored


def test_it_waits_for_every_slot_that_there_is_when_it_is_asked(tmp_path: pathlib.Path) -> None:
    data = stored.data(tmp_path)
    waiting = filed.Filed(data)
    assert waiting.wait(0.0)
    for slot in ("listen-1", "listen-2"):  # the second comes after the first look
        log = journal.Journal(data, slot, size=1 << 20)
        try:
            assert waiting.wait(0.0)
            log.append(b"meta", bytes(32), b"payload")
            assert not waiting.wait(0.0)
            assert waiting.wait(0.0, ended=True)
            log.ended()
            assert not waiting.wait(0.0, ended=True)
            _adopt(data.slot(slot) / "position")
            assert waiting.wait(0.0)
        finally:
            log.close()
    waiting.close()


def test_a_writer_that_ends_is_done(tmp_path: pathlib.Path) -> None:
    data = stored.data(tmp_path)
    log = journal.Journal(data, "import", size=1 << 20)
    log.append(b"meta", bytes(32), b"payload")
    log.close()
    assert not journal.barrier(data, 0.0, ended=True)


def test_it_ends_when_nobody_waits_any_more_or_what_it_waits_for_comes(tmp_path: pathlib.Path) -> None:
    data = stored.data(tmp_path)
    log = journal.Journal(data, "listen-1", size=1 << 20)
    waiting = filed.Filed(data)
    try:
        log.append(b"meta", bytes(32), b"payload")
        assert not waiting.wait(60.0, unless=lambda: True)
        threading.Timer(0.05, _adopt, [data.slot("listen-1") / "position"]).start()
        begun = time.monotonic()
        assert waiting.wait(60.0)
        assert time.monotonic() - begun < 50
    finally:
        waiting.close()
        log.close()


def _adopt(path: pathlib.Path) -> None:
    found = position.Position(path)
    found.set(position.ADOPTED, found.get(position.WRITTEN))
    found.close()
