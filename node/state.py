"""What a running node says of itself in its data directory: for `reload`, the status page, and people."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib


@dataclasses.dataclass(frozen=True, slots=True)
class Child:
    """One process of the node."""

    name: str  # its role, e.g. "listen-1"
    pid: int  # 0 while it waits to be started again
    ready: bool  # whether it said so
    restarts: int  # since the node started


@dataclasses.dataclass(frozen=True, slots=True)
class Association:
    """One of the last associations, for people."""

    peer: str  # AE title that called, and the peer's name where it is configured
    address: str  # where it came from
    ended: float  # seconds since the epoch
    seconds: float  # how long it lasted
    instances: int  # how many were taken
    outcome: str  # "released", "aborted ...", "rejected: ..."
    good: bool  # whether it ended as it should


@dataclasses.dataclass(frozen=True, slots=True)
class State:
    """A supervisor, and what it supervises."""

    part: str  # "all", or the single role that it runs
    pid: int  # of the supervisor
    version: str  # of the program
    started: float  # seconds since the epoch
    ready: bool = False  # every process has said so
    children: tuple[Child, ...] = ()  # in the order of their start
    associations: tuple[Association, ...] = ()  # the last ones, newest first
    reloads: int = 0  # how often a reload was asked for
    reload_error: str = ""  # why the last one was refused; "" when it was not
    reload_note: str = ""  # what the last one changed, and what needs a restart


def write(data: pathlib.Path, state: State) -> None:
    """Replace what was said; a reader sees the old or the new, never half of it."""
    path = _path(data, state.part)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(dataclasses.asdict(state), indent=1))
    temporary.replace(path)


def clear(data: pathlib.Path, part: str) -> None:
    """Take it away at the end."""
    _path(data, part).unlink(missing_ok=True)


def running(data: pathlib.Path) -> list[State]:
    """Return what the supervisors say that are alive on this data directory, on this host."""
    found = []
    for path in sorted((data / "run").glob("*.state.json")):
        # Half a file, or one of another version, says nothing; its writer is gone or replaces it.
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            fields = json.loads(path.read_text())
            children = tuple(Child(**child) for child in fields.pop("children"))
            associations = tuple(Association(**one) for one in fields.pop("associations"))
            state = State(children=children, associations=associations, **fields)
            if _alive(state.pid):
                found.append(state)
    return found


def _path(data: pathlib.Path, part: str) -> pathlib.Path:
    return data / "run" / f"{part}.state.json"


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # it is there, and another user's
    return True
