"""`edit`: change elements of files and leave every other byte alone."""

from __future__ import annotations

import pathlib
from typing import Annotated

import typer

from node.commands import editing, options


def edit(
    paths: Annotated[list[pathlib.Path], typer.Argument(metavar="PATH...", help="Files or folders.")],
    sets: Annotated[
        list[str] | None, typer.Option("--set", metavar="PATH[:VR]=VALUE", help="Give an element a value.")
    ] = None,
    remove: Annotated[
        list[str] | None, typer.Option("--remove", metavar="PATH", help="Take an element out.")
    ] = None,
    empty: Annotated[
        list[str] | None, typer.Option("--empty", metavar="PATH", help="Leave it without a value.")
    ] = None,
    steps: Annotated[
        pathlib.Path | None, typer.Option("--steps", metavar="FILE", help="Coercion steps, TOML [[step]].")
    ] = None,
    remap: Annotated[
        str | None, typer.Option("--remap-uids", metavar="SECRET", help="New UIDs, one consistent map.")
    ] = None,
    out: Annotated[
        pathlib.Path | None, typer.Option("--out", metavar="DIR", help="Write the results below DIR.")
    ] = None,
    in_place: Annotated[bool, typer.Option("--in-place", help="Replace each file by its result.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the differences, write nothing.")] = False,
    together: Annotated[bool, typer.Option("--together", help="All files or none.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="--out may replace files.")] = False,
    original: Annotated[
        str | None,
        typer.Option("--original", metavar="SYSTEM", help="Keep the old values in Original Attributes."),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Change elements of DICOM files and leave every other byte alone.

    Example: dicom-node edit STUDY --set PatientID=R-17 --remove OtherPatientIDs --out NEW
    """
    editing.run(
        paths,
        sets=sets or [],
        remove=remove or [],
        empty=empty or [],
        steps=steps,
        remap=remap,
        out=out,
        in_place=in_place,
        dry_run=dry_run,
        together=together,
        overwrite=overwrite,
        original=original,
        as_json=as_json,
    )


def register(app: typer.Typer) -> None:
    app.command()(edit)
