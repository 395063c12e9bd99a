"""`convert`: series become volumes in another format, and volumes become series."""

from __future__ import annotations

from typing import Annotated

import typer

from node.commands import converting, options


def convert(
    out: Annotated[str, typer.Argument(metavar="OUT", help="A folder, or one file by its ending.")],
    inputs: options.Inputs,
    to: Annotated[
        str, typer.Option("--to", metavar="FORMAT", help="nifti, dicom, nrrd ...; default: by OUT's ending.")
    ] = "",
    order: options.Order = None,
    split: options.Split = None,
    template: Annotated[
        str | None, typer.Option("--template", metavar="DIR", help="The series whose identity results carry.")
    ] = None,
    series: options.Series = None,
    stacks: Annotated[
        list[str] | None, typer.Option("--stack", metavar="N", help="Only this volume, as `show` counts.")
    ] = None,
    scaling: Annotated[
        str, typer.Option("--scaling", metavar="KIND", help="stored, real, philips or rwv.")
    ] = "stored",
    tilt: Annotated[bool, typer.Option("--correct-tilt", help="Take a gantry tilt out.")] = False,
    whole: Annotated[bool, typer.Option("--complete", help="Leave out what has gaps.")] = False,
    given: Annotated[
        list[str] | None, typer.Option("--option", metavar="KEY=VALUE", help="An option of the format.")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", metavar="PATTERN", help="Names below OUT, as {SeriesNumber:03}.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
    as_json: options.Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say only what went wrong.")] = False,
    config: options.Config = None,
    data: options.Data = None,
) -> None:
    """Make volumes of DICOM series, and DICOM series of volumes.

    Exit codes: 0 all was made, 1 nothing, 2 it cannot be asked so, 3 something was left out.

    Example: dicom-node convert --to nifti VOLUMES STUDY --order time
    """
    converting.run(
        [out, *inputs],
        to=to,
        order=order,
        split=split,
        template=template,
        series=series or [],
        stacks=stacks or [],
        scaling=scaling,
        tilt=tilt,
        whole=whole,
        given=given or [],
        name=name,
        force=force,
        as_json=as_json,
        quiet=quiet,
        config=config,
        data=data,
    )


def register(app: typer.Typer) -> None:
    """Put the command on the command line."""
    app.command()(convert)
