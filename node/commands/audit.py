"""`audit`: the proof that every acknowledged instance is accounted for."""

from __future__ import annotations

import itertools
from typing import Annotated

import typer

from node import errors
from node.commands import opening, options, output

_SHOWN = 100


def audit(
    deep: Annotated[
        bool,
        typer.Option("--deep", help="Also hold index and files against each other; tell of foreign files."),
    ] = False,
    limit: Annotated[int, typer.Option(min=1, help="List at most so many.")] = _SHOWN,
    config: options.Config = None,
    data: options.Data = None,
    as_json: options.Json = False,
) -> None:
    """Prove that every acknowledged instance is stored, kept aside, discarded by a rule, or deleted.

    And that what was settled was delivered, is owed, was given up or called off, or was to go nowhere.

    Exits with 1 and a list when one is not. Foreign files in the store are told of; they are no fault.

    Example: dicom-node audit --deep
    """
    settings = options.settings(config, data=data)
    from node import upkeep
    from node.files import journal, layout, sweep
    from node.index import audit as auditing

    where = layout.Data(settings.node.data)
    opening.quiet()
    filed = layout.holder(settings.node.data) is None or journal.barrier(where, 10.0)
    with opening.database(settings) as database:
        with database.read() as connection:
            counts = auditing.counts(connection)
            missing = list(itertools.islice(auditing.unaccounted(connection), limit + 1))
            forgotten = list(itertools.islice(auditing.forgotten(connection), limit + 1))
        astray = list(itertools.islice(upkeep.deep_audit(where, database), limit + 1)) if deep else []
    strays = [str(path) for path in itertools.islice(sweep.strays(where), limit)] if deep else []
    if as_json:
        output.as_json(
            {
                "arrivals": counts,
                "unaccounted": missing[:limit],
                "forgotten": forgotten[:limit],
                "astray": astray[:limit],
                "strays": strays,
            }
        )
    else:
        for one in missing[:limit]:
            print(f"NOT ACCOUNTED FOR  {one.sop_instance} from {one.calling} at {one.received}: {one.why}")
        for lost in forgotten[:limit]:
            to = f" to {lost.destination}" if lost.destination else ""
            print(f"NOT SENT{to}  {lost.sop_instance}: {lost.why}")
        for stray in astray[:limit]:
            print(f"ASTRAY  {stray.path}: {stray.why}")
        for path in strays:
            print(
                f"STRAY  {path}: this node wrote no such file: move it out, and `import` it if it is an image"
            )
        total = sum(counts.values())
        parts = ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items()))
        print(f"{total} acknowledged instances" + (f": {parts}" if parts else ""))
        if not filed:
            print("the node is still filing what came last; what it has not filed yet is not counted")
    wrong = len(missing) + len(forgotten) + len(astray)
    if wrong:
        more = "more than " if wrong > limit else ""
        raise errors.Permanent(
            f"{more}{min(wrong, limit)} not accounted for: do not delete anything, look first"
        )
    if not as_json:
        print("every one of them is accounted for")


def register(app: typer.Typer) -> None:
    """Put the command on the command line."""
    app.command()(audit)
