"""`rebuild`: the index anew from the files, when it is lost or not believed."""

from __future__ import annotations

import typer

from node import errors
from node.commands import opening, options, output

_SHOWN = 20


def rebuild(config: options.Config = None, data: options.Data = None, as_json: options.Json = False) -> None:
    """Make the index from the tree; the one it replaces is kept beside it. The node must be stopped.

    Example: dicom-node rebuild --data /srv/images
    """
    settings = options.settings(config, data=data)
    from node import rebuild as rebuilding
    from node.files import layout

    opening.quiet()
    if not settings.node.data.is_dir():
        raise errors.UsageError(
            f"{settings.node.data} is no directory: give the node's directory with --data"
        )
    with (
        layout.owned(settings.node.data) as where,
        output.progress("rebuild", None, shown=not as_json) as advance,
    ):
        seen = 0

        def further(count: int) -> None:
            nonlocal seen
            advance(count - seen)
            seen = count

        rebuilt, kept = rebuilding.replace(where, layout.index_url(settings), seen=further)
    if as_json:
        output.as_json({"rebuilt": rebuilt, "kept": kept})
    else:
        for line in rebuilt.skipped[:_SHOWN]:
            print(f"skipped  {line}")
        if len(rebuilt.skipped) > _SHOWN:
            print(f"... and {len(rebuilt.skipped) - _SHOWN} more")
        print(
            f"{rebuilt.instances} instances, {rebuilt.aside} kept aside, {rebuilt.facts} facts of the ledger"
        )
        if kept is not None:
            print(f"the index that was there is now {kept}")
    if rebuilt.skipped:
        raise errors.Permanent(f"{len(rebuilt.skipped)} files or facts could not be taken in")


def register(app: typer.Typer) -> None:
    """Put the command on the command line."""
    app.command()(rebuild)
