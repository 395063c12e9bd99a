"""Is this node fit to take instances? Each check returns what it saw, or raises a sentence."""

from __future__ import annotations

import pathlib
import shutil
from collections.abc import Callable

from node import errors, model
from node.index import db

_ANY_IPV4 = "0.0.0.0"  # noqa: S104 - compared with, not bound


def checks(settings: model.Settings, index: db.Database) -> dict[str, Callable[[], str]]:
    """Return what must hold before instances are taken."""
    return {
        "disk": lambda: disk(settings.node.data, settings.storage.min_free),
        "database": lambda: database(index),
        "listener": lambda: listener(settings),
    }


def disk(data: pathlib.Path, min_free: int) -> str:
    """Fail below the watermark: associations are being refused then."""
    free = shutil.disk_usage(data).free
    if free < min_free:
        raise errors.StorageFull(f"{free >> 20} MiB are free and {min_free >> 20} MiB must stay: make room")
    return f"{free >> 20} MiB free, {min_free >> 20} MiB must stay"


def database(index: db.Database) -> str:
    """Write a row and make it durable."""
    index.probe()
    return "a row was written and made durable"


def listener(settings: model.Settings) -> str:
    """Send ourselves a C-ECHO, as a modality would."""
    from node.send import dimse

    host = settings.node.host
    here = {_ANY_IPV4: "127.0.0.1", "::": "::1"}.get(host, host)
    own = model.Peer(name="self", aet=settings.node.aet, host=here, port=settings.node.port)
    return dimse.echo(own, settings)
