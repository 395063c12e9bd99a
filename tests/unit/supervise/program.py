"""A tiny supervised program; it writes what happens to standard output, one line each."""

from __future__ import annotations

import os
import pathlib
import signal
import sys
import threading
import time
from collections.abc import Sequence

from node import errors, supervise

out = pathlib.Path(sys.argv[2])


def say(*words: object) -> None:
    with out.open("a") as file:
        file.write(" ".join(map(str, words)) + "\n")


class Tell:
    """Events, told to the file; the first child is killed by the scenario, not here."""

    def started(self, role: str, pid: int) -> None:
        say("started", role, pid)

    def died(self, role: str, pid: int, how: str, restart_in: float) -> None:
        say("died", role, pid, how, restart_in)

    def ready(self) -> None:
        say("ready")

    def word(self, role: str, word: supervise.Word) -> None:
        say("word", role, word.topic, word.value)

    def hangup(self) -> object | None:
        return {"peers": 2}

    def verbosity(self, more: bool) -> object | None:
        return None

    def draining(self, role_names: Sequence[str]) -> None:
        say("draining", *role_names)

    def changed(self, children: Sequence[supervise.ChildState]) -> None:
        pass

    def tick(self) -> None:
        pass


def steady(line: supervise.Line) -> None:
    """Ready at once; echo updates; leave when told."""
    line.ready()
    for update in line.events():
        line.say(supervise.Word("updated", update.value))
    say("left", os.getpid())


def slow_first(line: supervise.Line) -> None:
    time.sleep(0.3)
    say("recovered")
    steady(line)


def refusing(line: supervise.Line) -> None:
    raise errors.Permanent("the port 104 is in use: choose another with --port")


def dies_once(line: supervise.Line) -> None:
    marker = out.with_suffix(".died")
    if not marker.exists():
        marker.touch()
        line.ready()
        os.kill(os.getpid(), signal.SIGKILL)
    steady(line)


def stubborn(line: supervise.Line) -> None:
    line.ready()
    threading.Event().wait(60)


ROLES = {
    "order": [supervise.Role("a", slow_first, 0), supervise.Role("b", steady, 1)],
    "refuse": [supervise.Role("a", steady, 0), supervise.Role("b", refusing, 1)],
    "restart": [supervise.Role("a", dies_once, 0), supervise.Role("b", steady, 0)],
    "stubborn": [supervise.Role("a", stubborn, 0)],
}

try:
    supervise.Supervisor(ROLES[sys.argv[1]], Tell(), drain=float(sys.argv[3])).run()
except errors.NodeError as error:
    say("refused", error)
    sys.exit(1)
say("end")
