"""`run`, `listen`, `work`, `web`: the daemon, whole or one role of it."""

from __future__ import annotations

import functools
import pathlib

import typer

from node import model
from node.commands import options


def run(
    config: options.Config = None,
    data: options.Data = None,
    aet: options.Aet = None,
    port: options.Port = None,
    http: options.Http = None,
    listeners: options.Listeners = None,
    workers: options.Workers = None,
) -> None:
    """Run the whole node: listeners, adopter, workers and web, supervised.

    Example: dicom-node run --data /srv/images --aet ARCHIVE --port 104
    """
    _start(
        "all",
        config,
        data=data,
        aet=aet,
        port=port,
        http=http,
        listeners=listeners,
        workers=workers,
    )


def listen(
    config: options.Config = None,
    data: options.Data = None,
    aet: options.Aet = None,
    port: options.Port = None,
    listeners: options.Listeners = None,
) -> None:
    """Run only the DICOM listeners and the adopter that files what they take.

    Example: dicom-node listen --config /etc/dicom-node/node.toml
    """
    _start("listen", config, data=data, aet=aet, port=port, listeners=listeners)


def work(config: options.Config = None, data: options.Data = None, workers: options.Workers = None) -> None:
    """Run only the workers: they settle, route, send, and do scheduled work.

    Example: dicom-node work --config /etc/dicom-node/node.toml --workers 2
    """
    _start("work", config, data=data, workers=workers)


def web(config: options.Config = None, data: options.Data = None, http: options.Http = None) -> None:
    """Run only the web process: health, metrics, status page.

    Example: dicom-node web --config /etc/dicom-node/node.toml --http 127.0.0.1:8112
    """
    _start("web", config, data=data, http=http)


def _start(part: str, config: pathlib.Path | None, **flags: object) -> None:
    reread = functools.partial(_settings, config, **flags)
    settings = reread()
    from node import daemon

    daemon.run(settings, daemon.Part(part), reread)


def _settings(config: pathlib.Path | None, **flags: object) -> model.Settings:
    """The settings, coercions and steps checked too: a mistake is told at the start or reload, not later."""
    settings = options.settings(config, **flags)  # type: ignore[arg-type]
    if settings.coerce:
        from node.steps import coerce  # knows all of DICOM's elements, which takes a moment

        at_receipt = {rule.coerce for rule in settings.rules}
        for one in settings.coerce:
            coerce.configured(one, receipt=one.name in at_receipt)
    if settings.routes or settings.destinations:
        from node.commands import forwarding

        forwarding.refuse(settings)
    return settings


def register(app: typer.Typer) -> None:
    for command in (run, listen, work, web):
        app.command()(command)
