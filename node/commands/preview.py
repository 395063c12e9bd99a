"""`preview`: an image to look at, in the terminal or as a PNG."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import shutil
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from node import errors
from node.commands import looking, options, output, painting

if TYPE_CHECKING:
    from node.formats import picture
    from node.volume import image, shown, stack

_BESIDE = 3  # lines of the terminal that are left for words


def preview(
    inputs: options.Inputs,
    png: Annotated[
        pathlib.Path | None, typer.Option("--png", metavar="OUT", help="Write a PNG (or .jpg) instead.")
    ] = None,
    slice_: Annotated[int | None, typer.Option("--slice", metavar="N", min=1, help="This slice.")] = None,
    planes: Annotated[bool, typer.Option("--planes", help="Three planes through the middle.")] = False,
    sheet: Annotated[bool, typer.Option("--sheet", help="Slices side by side.")] = False,
    window: Annotated[
        str | None, typer.Option("--window", metavar="C,W", help="Center and width, as 40,400.")
    ] = None,
    stack_: Annotated[
        int | None,
        typer.Option("--stack", metavar="N", min=1, help="Which of several volumes, as show counts."),
    ] = None,
    config: options.Config = None,
    data: options.Data = None,
) -> None:
    """Show an image in the terminal, or write it as a picture.

    Example: dicom-node preview STUDY --planes --window 40,400
    """
    from node.formats import picture

    if sum((slice_ is not None, planes, sheet)) > 1:
        raise errors.UsageError("--slice, --planes and --sheet exclude each other: give one of them")
    wanted = {"show": "planes" if planes else "sheet" if sheet or (png and slice_ is None) else "slice"}
    if slice_ is not None:
        wanted["slice"] = str(slice_)
    if window is not None:
        wanted["window"] = window
    view = picture.View.of(wanted)
    with looking.at(inputs, config=config, data=data) as looked:
        made, said = _image(looked, view, stack_)
        (found,) = picture.pictures(made, _within(made, view))
    if png is None:
        _show(found, made, said)
    else:
        _save(found, png)
        print(f"{png}: {found.shape[1]} x {found.shape[0]} pixels, {said}")


def _image(found: looking.Looked, view: picture.View, chosen: int | None) -> tuple[image.Image, str]:
    """The image that is asked for, no more of it than is shown, and what it is in words."""
    from node.formats import registry
    from node.loading import voxels

    if found.others and not found.stacks:
        one = registry.of(found.others[0])
        assert one is not None  # that is why it is among the others
        made = one.read([found.others[0]])
        return made, " x ".join(map(str, made.shape))
    if not found.stacks:
        kinds = sorted({left.why.value for left in found.report.left})
        raise errors.NotFound(f"there is nothing to show: {', '.join(kinds) or 'there are no files'}")
    if chosen is not None and chosen > len(found.stacks):
        raise errors.UsageError(f"there is no volume {chosen}; there are {len(found.stacks)}: see `show`")
    if chosen is None:  # the largest is what somebody wants to see first
        chosen = 1 + max(range(len(found.stacks)), key=lambda at: found.stacks[at].order.size)
    whole = found.stacks[chosen - 1]
    size = " x ".join(map(str, whole.order.shape))
    return voxels.image(_thin(whole, view)), f"volume {chosen} of {len(found.stacks)}, {size} slices"


def _thin(whole: stack.Stack, view: picture.View) -> stack.Stack:
    """Only the slices that are shown: of a thousand one is read, not all."""
    from node.volume import shown

    if view.what == "planes":
        order, axes = whole.order, whole.axes
        while order.ndim > 1:
            order, axes = order[0], axes[1:]
        return dataclasses.replace(whole, order=order, axes=axes)
    flat = whole.order.reshape(-1)
    flat = flat[flat >= 0]
    if view.what == "sheet":
        at = shown.spread(len(flat), view.count)
    elif view.slice is not None and view.slice > len(flat):
        raise errors.UsageError(f"there is no slice {view.slice}; there are {len(flat)}")
    else:
        at = [len(flat) // 2 if view.slice is None else view.slice - 1]
    slices = whole.axes[-1]
    picked = dataclasses.replace(slices, values=slices.values[[one % len(slices.values) for one in at]])
    return dataclasses.replace(whole, order=flat[at], axes=(picked,))


def _within(made: image.Image, view: picture.View) -> picture.View:
    """The view of what is left: a slice that was picked is the only one."""
    if made.table is None or view.what != "slice":
        return view
    return dataclasses.replace(view, slice=None)


def _show(found: shown.Bytes, made: image.Image, said: str) -> None:
    from node.volume import shown

    screen = shutil.get_terminal_size()
    room = os.terminal_size((screen.columns, max(4, screen.lines - _BESIDE)))
    seen = painting.colours(os.environ, terminal=sys.stdout.isatty())
    print(painting.paint(found, room, seen))
    if made.geometry is not None:
        left, right, top, bottom = shown.letters(made.geometry)
        said += f"; left is {left}, right {right}, top {top}, bottom {bottom}"
    print(output.cell(said))


def _save(found: shown.Bytes, path: pathlib.Path) -> None:
    from node.formats import picture, whole

    kind = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg"}.get(path.suffix.lower())
    if kind is None:
        raise errors.UsageError(f"--png {path}: a picture ends with .png or .jpg")
    with whole.whole(path) as file:
        whole.write(file, picture.encoded(found, kind))


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(preview)
