"""`reload`: have a running node read its configuration again, and say what came of it."""

from __future__ import annotations

import os
import pathlib
import signal
import time

import typer

from node import errors, state
from node.commands import options

PATIENCE = 10.0  # seconds that a node gets to answer


def reload(config: options.Config = None, data: options.Data = None) -> None:
    """Apply the configuration to the running node without dropping an association.

    Peers, rules, destinations, schedules, limits and the log level apply at once; what needs a
    restart is named. A bad file leaves the configuration in force as it was.

    Example: dicom-node reload --config /etc/dicom-node/node.toml
    """
    settings = options.settings(config, data=data)  # a mistake is told here, before anything is touched
    place = settings.node.data
    before = state.running(place)
    if not before:
        raise errors.UsageError(
            f"no node runs on the data directory {place}: start one, or name another with --data"
        )
    for supervisor in before:
        try:
            os.kill(supervisor.pid, signal.SIGHUP)
        except PermissionError as error:
            raise errors.UsageError(
                f"process {supervisor.pid} belongs to another user: run this as the user that runs the node"
            ) from error
    for supervisor in before:
        print(f"{supervisor.part}: {_answer(place, supervisor)}")


def _answer(place: pathlib.Path, before: state.State) -> str:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        for now in state.running(place):
            if now.pid == before.pid and now.reloads > before.reloads:
                if now.reload_error:
                    raise errors.ConfigError(f"the node refused it and goes on as before: {now.reload_error}")
                return now.reload_note
        time.sleep(0.05)
    raise errors.Transient(f"the node (process {before.pid}) did not answer within {PATIENCE:.0f} s")


def register(app: typer.Typer) -> None:
    app.command()(reload)
