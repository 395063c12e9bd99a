"""The act of the demo that shows converting: a route makes a volume of each revision, and it is looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from node import errors
from node.commands import acts, journey, onward

if TYPE_CHECKING:
    import sqlalchemy

FOLDER = "volumes"  # where the route has them made, below the demo's
PREVIEW = "preview.png"


def made(story: acts.Story, line: journey.Step) -> None:
    assert story.study is not None
    series, many = story.study.series, len(story.items)

    def known(connection: sqlalchemy.Connection) -> bool | None:
        found = onward.standing(connection, series, FOLDER)
        line.says = f"{found.done} of {many} are in a volume"
        return True if found.done == many and not found.open else None

    onward.wait(story.node, known, "no volume of all slices was made")
    from node import converting
    from node.formats import registry

    files = sorted((story.folder / FOLDER).rglob("*.nii"))
    if len(files) != 1:
        raise errors.Permanent(f"{len(files)} volumes were made, and not one")
    volume = registry.get("nifti").read(files)
    slices, rows, columns = volume.shape
    if slices != many:
        raise errors.Permanent(f"the volume has {slices} slices, and not {many}")
    wanted = converting.Request("png", story.folder / PREVIEW, (str(files[0]),), options={"show": "planes"})
    report = converting.convert(wanted)
    if report.code:
        raise errors.Permanent(f"no picture was made of it: {'; '.join(report.words())}")
    said = f"{slices} slices of {rows}x{columns}"
    line.says = f"{files[0].name}, {said}, made again when the late ones came; {PREVIEW} shows it"
    story.facts.append(f"a NIfTI volume of {said}, made by a route, and a picture of it")
