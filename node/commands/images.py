"""`images`: what is held, by series, instance and frame; names and orders of one's own; removal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from node import errors, model
from node.commands import opening, options, output

if TYPE_CHECKING:
    from node.index import manager

group = typer.Typer(
    name="images",
    help="Look at what is held, name it, order it, remove it.\n\nExample: dicom-node images list",
    no_args_is_help=True,
)

Series = Annotated[str, typer.Argument(metavar="SERIES", help="Series Instance UID, or a custom id.")]
Image = Annotated[str, typer.Argument(metavar="IMAGE", help="SOP Instance UID, UID#frame, or a custom id.")]

_PAGE = 1000


@group.command("list")
def list_(
    series: Annotated[
        str | None, typer.Argument(metavar="[SERIES]", help="List the images of this series.")
    ] = None,
    study: Annotated[str | None, typer.Option(metavar="UID", help="Only series of this study.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 100,
    config: options.Config = None,
    data: options.Data = None,
    as_json: options.Json = False,
) -> None:
    """List series, or the images of one.

    Example: dicom-node images list --study 1.2.840.113619.2.1
    """
    with opening.images(config, data) as images:
        if series is not None:
            _list_images(images, series, limit, as_json=as_json)
        else:
            _list_series(images, study, limit, as_json=as_json)


def _list_series(images: manager.Images, study: str | None, limit: int, *, as_json: bool) -> None:
    entries: list[manager.SeriesEntry] = []
    while len(entries) < limit:
        after = entries[-1].key if entries else 0
        page = images.series(study=study, after=after, limit=min(_PAGE, limit - len(entries)))
        if not page:
            break
        entries += page
    if as_json:
        output.as_json(entries)
        return
    columns = ("series", "custom id", "modality", "number", "instances", "frames", "size", "last arrival")
    output.table(
        columns,
        [
            (
                entry.series,
                entry.custom_id,
                entry.modality,
                entry.number,
                entry.instances,
                entry.frames,
                output.size(entry.bytes),
                entry.last_arrival,
            )
            for entry in entries
        ],
    )
    if len(entries) == limit:
        print(f"the first {limit}; ask for more with --limit")


def _list_images(images: manager.Images, series: str, limit: int, *, as_json: bool) -> None:
    found = images.images(series)
    if as_json:
        output.as_json([str(image) for image in found[:limit]])
        return
    for image in found[:limit]:
        print(image)
    if len(found) > limit:
        print(f"the first {limit} of {len(found)}; ask for more with --limit")


@group.command()
def show(
    image: Image, config: options.Config = None, data: options.Data = None, as_json: options.Json = False
) -> None:
    """Show everything the index knows of an image, and where its file is.

    Example: dicom-node images show 1.2.840.113619.2.1.4711
    """
    with opening.images(config, data) as images:
        found = images.metadata(image)
    if found["coercion"]:
        found |= _coercion(options.settings(config, data=data), found["coercion"])
    if as_json:
        output.as_json(found)
    else:
        output.table(
            ("what", "value"), [(name, value) for name, value in found.items() if value not in (None, "")]
        )


def _coercion(settings: model.Settings, digest: str) -> dict[str, object]:
    """In words, through what an instance is presented; what the index says of it is that already."""
    from node.files import layout
    from node.steps import presented

    try:
        coercion = presented.load(layout.Data(settings.node.data), digest)
    except errors.NodeError as error:
        return {"presented_through": f"nothing, so that it cannot be sent: {error}"}
    return {"presented_through": coercion.name, "presented_steps": "; ".join(coercion.steps.descriptions)}


@group.command()
def frames(
    image: Image, config: options.Config = None, data: options.Data = None, as_json: options.Json = False
) -> None:
    """List the frames of an instance.

    Example: dicom-node images frames 1.2.840.113619.2.1.4711
    """
    with opening.images(config, data) as images:
        found = images.frames(image)
    if as_json:
        output.as_json([str(one) for one in found])
    else:
        for one in found:
            print(one)


@group.command("set-id")
def set_id(
    name: Annotated[str, typer.Argument(metavar="SERIES|IMAGE", help="What is to be named.")],
    custom_id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="Its new name; left out: its name is taken away.")
    ] = None,
    series: Annotated[bool, typer.Option("--series", help="Name a series, not an image.")] = False,
    config: options.Config = None,
    data: options.Data = None,
) -> None:
    """Give an image or a series a name of your own.

    Example: dicom-node images set-id 1.2.840.113619.2.1.4711 first-slice
    """
    with opening.images(config, data) as images:
        if series:
            images.name_series(name, custom_id)
        else:
            images.name_image(name, custom_id)
    print(f"{name} is now called {custom_id}" if custom_id else f"{name} has no name of its own any more")


@group.command()
def order(
    series: Series,
    image: Annotated[list[str], typer.Argument(metavar="IMAGE...", help="Its images, in the new order.")],
    config: options.Config = None,
    data: options.Data = None,
) -> None:
    """Put the images of a series in an order of your own; those left out come after.

    Example: dicom-node images order 1.2.3 1.2.3.9 1.2.3.7 1.2.3.8
    """
    with opening.images(config, data) as images:
        images.order(series, image)
    print(f"{len(image)} images of {series} have a place of their own")


@group.command()
def reset(series: Series, config: options.Config = None, data: options.Data = None) -> None:
    """Forget the names and the order that were given to a series and its images.

    Example: dicom-node images reset 1.2.840.113619.2.1.47
    """
    with opening.images(config, data) as images:
        images.reset(series)
    print(f"{series} and its images are as they came")


@group.command()
def references(
    image: Image, config: options.Config = None, data: options.Data = None, as_json: options.Json = False
) -> None:
    """List what a presentation state refers to, and what refers to an image.

    Example: dicom-node images references 1.2.840.113619.2.1.4711
    """
    with opening.images(config, data) as images:
        refers_to, referred_by = images.references(image), images.presentations(image)
    if as_json:
        output.as_json({"refers_to": refers_to, "referred_by": referred_by})
        return
    rows = [("refers to", entry) for entry in refers_to] + [("referred by", entry) for entry in referred_by]
    output.table(
        ("way", "image", "series", "held"),
        [(way, entry.image, entry.series, "yes" if entry.held else "no") for way, entry in rows],
    )


@group.command()
def remove(
    name: Annotated[str, typer.Argument(metavar="UID|ID", help="The instance, series, study or patient.")],
    why: Annotated[str, typer.Option(metavar="TEXT", help="The reason; the audit trail keeps it.")],
    level: Annotated[
        model.Level, typer.Option(case_sensitive=False, help="What is named.")
    ] = model.Level.IMAGE,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    config: options.Config = None,
    data: options.Data = None,
) -> None:
    """Remove what is held, with an audit row for each instance.

    Example: dicom-node images remove 1.2.840.113619.2.1 --level study --why "sent twice"
    """
    from node import upkeep
    from node.files import layout
    from node.index import manager, witness

    settings = options.settings(config, data=data)
    where = layout.Data(settings.node.data)
    with opening.database(settings) as database:
        images = manager.Images(database, witness.Witness(where))
        owed = ", ".join(f"{many} to {to}" for to, many in images.owed(level, name).items())
        still = f" ({owed} not delivered yet)" if owed else ""
        if not yes and not typer.confirm(f"Remove {level.value.lower()} {name} for good{still}?"):
            raise errors.UsageError("nothing was removed")
        removed = images.remove(level, name, who=opening.who(), why=why)
        files = upkeep.purge(where, database)
    print(f"{len(removed)} instances and {files} files removed")
    if owed:
        print(f"called off what was not delivered yet: {owed}")


def register(app: typer.Typer) -> None:
    app.add_typer(group)
