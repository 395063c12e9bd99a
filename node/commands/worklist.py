"""`worklist`: what modalities are told to do: the entries of the table, listed, added, shown, removed."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from node import errors
from node.commands import opening, options, output

if TYPE_CHECKING:
    from node import worklist
    from node.dicom import mpps
    from node.dicom import worklist as entries

group = typer.Typer(
    name="worklist",
    help="The worklist's table: what modalities are told to do, beside the files of the worklist folder.\n\n"
    "Example: dicom-node worklist add entry.json",
    no_args_is_help=True,
)

Name = Annotated[str, typer.Argument(metavar="ID", help="The entry's id, as `list` shows it.")]


@group.command("list")
def list_(
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 100,
    config: options.Config = None,
    data: options.Data = None,
    as_json: options.Json = False,
) -> None:
    """List entries in the order in which they begin, and how far the work on each is.

    Example: dicom-node worklist list --limit 20
    """
    with _desk(config, data) as desk:
        rows, total = desk.page(limit=limit)
    if as_json:
        output.as_json(
            [{"id": row.entry.name, "performed": reached, "entry": row.entry.fields} for row, reached in rows]
        )
        return
    columns = ("id", "begins", "station", "modality", "patient id", "accession", "step", "performed")
    output.table(columns, [_line(row.entry, reached) for row, reached in rows])
    print(f"{total} in the table" + (f", {len(rows)} shown: --limit" if total > len(rows) else ""))


def _line(entry: entries.Entry, reached: mpps.State | None) -> tuple[object, ...]:
    from node.dicom import worklist as entries

    step = entry.step
    begins = [entries.text(step, f"ScheduledProcedureStepStart{part}") for part in ("Date", "Time")]
    return (
        entry.name,
        " ".join((begins[0], begins[1][:4])),
        entries.text(step, "ScheduledStationAETitle") or "any",
        entries.text(step, "Modality"),
        entries.text(entry.fields, "PatientID"),
        entries.text(entry.fields, "AccessionNumber"),
        entry.step_id,
        reached,
    )


@group.command()
def add(
    files: Annotated[
        list[pathlib.Path], typer.Argument(metavar="FILE...", help="Entries: JSON, or DICOM (.wl, .dcm).")
    ],
    name: Annotated[
        str, typer.Option("--id", metavar="ID", help="Under this id, in place of the one that has it.")
    ] = "",
    config: options.Config = None,
    data: options.Data = None,
) -> None:
    """Add entries from files.

    Example: dicom-node worklist add entry.json --id RIS-4711
    """
    from node.dicom import identifier
    from node.dicom import worklist as entries
    from node.files import worklist as folders

    if name and len(files) > 1:
        raise errors.UsageError(f"--id {name} names one entry, and {len(files)} files were given")
    read: list[tuple[pathlib.Path, identifier.Fields]] = []
    for path in files:
        with _telling(path):
            if path.suffix.lower() == ".json":
                read.append((path, entries.read_json(folders.read_bytes(path))))
            else:
                read += [(path, entry.fields) for entry in folders.read(path, path.name)]
    if name and len(read) > 1:
        raise errors.UsageError(f"{files[0]} holds {len(read)} steps, and --id {name} names one entry")
    with _desk(config, data) as desk:
        for path, fields in read:
            with _telling(path):
                if name:
                    entry, added = desk.put(name, fields, by=opening.who())
                else:
                    entry, added = desk.add(fields, by=opening.who()), True
            verb = "added" if added else "replaced"
            print(f"{entry.name} {verb}: step {entry.step_id}, study {entry.study}")


@contextlib.contextmanager
def _telling(path: pathlib.Path) -> Iterator[None]:
    """Say which file is meant when something is wrong with it."""
    try:
        yield
    except (errors.BadData, errors.UsageError) as error:
        raise errors.UsageError(f"{path}: {error}") from error


@group.command()
def show(name: Name, config: options.Config = None, data: options.Data = None) -> None:
    """Show an entry as JSON, as `add` takes it.

    Example: dicom-node worklist show RIS-4711 > entry.json
    """
    with _desk(config, data) as desk:
        row, _ = desk.known(name)
    output.as_json(row.entry.fields)


@group.command()
def remove(name: Name, config: options.Config = None, data: options.Data = None) -> None:
    """Remove an entry.

    Example: dicom-node worklist remove RIS-4711
    """
    with _desk(config, data) as desk:
        gone = desk.remove(name, by=opening.who())
    print(f"{gone.name} removed: step {gone.step_id}, study {gone.study}")


@contextlib.contextmanager
def _desk(config: pathlib.Path | None, data: pathlib.Path | None) -> Iterator[worklist.Desk]:
    from node import worklist
    from node.files import layout
    from node.index import witness

    settings = options.settings(config, data=data)
    with opening.database(settings) as database:
        yield worklist.Desk(database, witness.Witness(layout.Data(settings.node.data)))


def register(app: typer.Typer) -> None:
    """Put the commands on the command line."""
    app.add_typer(group)
