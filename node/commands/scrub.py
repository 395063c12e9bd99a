"""`scrub`: read what is at rest again, and hold it against the digests it came with."""

from __future__ import annotations

import re
import signal
import threading
from typing import Annotated

import typer

from node import errors
from node.commands import opening, options, output

_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*(k|M|G)?i?B?(?:/s)?", re.IGNORECASE)
_UNITS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3}


def scrub(
    rate: Annotated[
        str | None, typer.Option(metavar="BYTES/S", help="Read no faster, as in 50MB.", show_default=False)
    ] = None,
    anew: Annotated[
        bool, typer.Option("--anew", help="From the beginning, not where the last one stopped.")
    ] = False,
    config: options.Config = None,
    data: options.Data = None,
    as_json: options.Json = False,
) -> None:
    """Verify the digests of everything that is held; Ctrl-C stops it, the next one goes on from there.

    Exits with 1 and a list when something is damaged.

    Example: dicom-node scrub --rate 50MB
    """
    settings = options.settings(config, data=data)
    limit = None if rate is None else parse_rate(rate)
    opening.quiet()
    from node import upkeep
    from node.files import layout
    from node.index import lookup

    stop = threading.Event()
    before = signal.signal(signal.SIGINT, lambda *_: stop.set())
    try:
        with opening.database(settings) as database:
            with database.read() as connection:
                total = lookup.totals(connection).instances
            with output.progress("scrub", total, shown=not as_json) as advance:
                seen = 0

                def further(instances: int, _size: int) -> None:
                    nonlocal seen
                    advance(instances - seen)
                    seen = instances

                done = upkeep.scrub_store(
                    layout.Data(settings.node.data),
                    database,
                    rate=limit,
                    anew=anew,
                    stop=stop.is_set,
                    seen=further,
                )
    finally:
        signal.signal(signal.SIGINT, before)
    if as_json:
        output.as_json(done)
    else:
        for finding in done.findings:
            uid, path = finding.instance.identity.sop_instance, finding.instance.path
            print(f"{finding.state.value.upper()}  {uid}  {path}: {finding.why}")
        ended = "" if done.complete else "; stopped before the end, the next scrub goes on from there"
        print(f"{done.instances} instances read ({output.size(done.bytes)}){ended}")
    if done.findings:
        raise errors.Permanent(f"{len(done.findings)} damaged: have their senders send them again")


def parse_rate(text: str) -> int:
    """Bytes a second from `50MB`, `50 MB/s` or a plain number."""
    found = _RATE.fullmatch(text.strip())
    rate = round(float(found[1]) * _UNITS[(found[2] or "").lower()]) if found else 0
    if rate < 1:
        raise errors.UsageError(f"--rate {text!r} is not a rate: write bytes a second, such as 50MB")
    return rate


def register(app: typer.Typer) -> None:
    """Put the command on the command line."""
    app.command()(scrub)
