"""`steps`: performed procedure steps that modalities reported."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from node import errors
from node.commands import opening, options, output

if TYPE_CHECKING:
    from node.index import steps

group = typer.Typer(
    name="steps",
    help="Performed procedure steps (MPPS) that modalities reported.\n\nExample: dicom-node steps list",
    no_args_is_help=True,
)


@group.command("list")
def list_(
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 100,
    running: Annotated[bool, typer.Option("--running", help="Only those in progress.")] = False,
    config: options.Config = None,
    data: options.Data = None,
    as_json: options.Json = False,
) -> None:
    """List steps, the newest first.

    Example: dicom-node steps list --running
    """
    from node.index import steps

    state = steps.State.IN_PROGRESS if running else None
    with opening.database(options.settings(config, data=data)) as database, database.read() as connection:
        found = steps.each(connection, state=state, limit=limit)
    if as_json:
        output.as_json(found)
        return
    output.table(
        ("step", "state", "station", "modality", "begun", "ended", "series", "instances"),
        [
            (
                one.sop_instance,
                one.state,
                one.station,
                one.modality,
                one.created,
                one.ended,
                len(one.series),
                sum(made.instances for made in one.series),
            )
            for one in found
        ],
    )


@group.command()
def show(
    uid: Annotated[str, typer.Argument(metavar="UID", help="SOP Instance UID of the step.")],
    config: options.Config = None,
    data: options.Data = None,
    as_json: options.Json = False,
) -> None:
    """Show what a step says: what it answers to, and how many instances each of its series has.

    Example: dicom-node steps show 1.2.840.113619.2.1.4711
    """
    from node.index import steps

    with opening.database(options.settings(config, data=data)) as database, database.read() as connection:
        found = steps.get(connection, uid)
    if found is None:
        raise errors.NotFound(f"no modality reported a step {uid!r}: see `dicom-node steps list`")
    if as_json:
        output.as_json(found)
        return
    output.table(
        (found.state.lower(), found.sop_instance),
        [
            ("begun", found.created),
            ("ended", found.ended),
            ("by", f"{found.calling} at {found.address}"),
            ("station", found.station),
            ("modality", found.modality),
            *(("scheduled", _order(one)) for one in found.scheduled),
            *(("series", f"{made.series}: {made.instances} instances") for made in found.series),
        ],
    )


def _order(one: steps.Scheduled) -> str:
    step, accession = one.scheduled_step_id or "-", one.accession_number or "-"
    return f"step {step}, accession {accession}, study {one.study}"


def register(app: typer.Typer) -> None:
    """Put the commands on the command line."""
    app.add_typer(group)
