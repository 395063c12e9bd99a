"""`commit`: have a peer confirm that it keeps what was sent to it."""

from __future__ import annotations

import pathlib
from typing import Annotated

import typer

from node import errors
from node.commands import echo, options, output, persist, targets


def commit(
    peer: echo.Peer,
    path: Annotated[
        list[pathlib.Path],
        typer.Argument(metavar="PATH...", help="The DICOM files that were sent, or folders."),
    ],
    wait: Annotated[float, typer.Option(metavar="SECONDS", help="How long the report is awaited.")] = 60.0,
    listen: Annotated[
        int | None,
        typer.Option(metavar="PORT", min=1, max=65535, help="Take the report here.", show_default=False),
    ] = None,
    retries: options.Retries = 3,
    config: options.Config = None,
    aet: options.Aet = None,
    as_json: options.Json = False,
) -> None:
    """Ask a peer for storage commitment of files that it was sent, and wait for its report.

    Many archives report over an association of their own, to the port that they know of us (--listen).

    Example: dicom-node commit PACS@10.0.0.5:104 scans/
    """
    settings = options.settings(config, aet=aet)
    to = targets.peer(peer, settings)
    from node.commands import gather
    from node.dicom import commitment, statuses
    from node.send import base
    from node.send import commitment as sending

    found = list(gather.items(path))
    items = [one for one in found if isinstance(one, base.Item)]
    bad = [one for one in found if isinstance(one, gather.Skipped) and one.named]
    if bad:
        raise errors.UsageError(f"{bad[0].path}: {bad[0].why}")
    if not items:
        raise errors.UsageError(f"there is no DICOM instance in {', '.join(map(str, path))}")
    references = [commitment.Reference(item.sop_class, item.sop_instance) for item in items]
    report = persist.tried(
        lambda: sending.request(to, settings.node.aet, settings.tls, references, wait=wait, listen=listen),
        retries,
    )
    if report is None:
        raise errors.Transient(
            f"{peer} took the request and did not report within {wait:g} s"
            + ("" if listen else "; it may want to call us: say where with --listen PORT")
        )
    failed = report.failed
    kept = {one.sop_instance for one in report.references or () if not one.failure}
    silent = [one for one in references if one.sop_instance not in kept | {x.sop_instance for x in failed}]
    if as_json:
        output.as_json(
            {"transaction": report.uid, "committed": len(kept), "failed": failed, "silent": silent}
        )
    else:
        for one in failed:
            print(f"NOT COMMITTED  {one.sop_instance}: {statuses.text(one.failure)}")
        for one in silent:
            print(f"NOT COMMITTED  {one.sop_instance}: the report does not mention it")
        print(f"{peer} keeps {len(kept)} of {len(references)}")
    if failed or silent:
        raise errors.Permanent(f"{len(failed) + len(silent)} of {len(references)} are not committed")


def register(app: typer.Typer) -> None:
    """Put the command on the command line."""
    app.command()(commit)
