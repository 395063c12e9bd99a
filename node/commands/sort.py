"""`sort`: files into folders by series and volume, under names that tell their place."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated

import numpy as np
import typer

from node import converting, errors, outputs
from node.commands import looking, options, output
from node.volume import stack

Put = tuple[pathlib.Path, pathlib.PurePath]  # a file, and its name below the folder


def sort(
    out: Annotated[pathlib.Path, typer.Argument(metavar="OUT", help="A folder; nothing is replaced in it.")],
    inputs: options.Inputs,
    by: Annotated[
        str | None, typer.Option("--by", metavar="AXES", help="Sort by these: time, b, te, or an element.")
    ] = None,
    split: options.Split = None,
    series: options.Series = None,
    pattern: Annotated[
        str,
        typer.Option(
            "--pattern", metavar="PATTERN", help="Folders of series, as {StudyDate}/{SeriesNumber:03}."
        ),
    ] = "",
    copy: Annotated[bool, typer.Option("--copy", help="Copy, where a hard link would do.")] = False,
    plan: Annotated[bool, typer.Option("--plan", help="Show what would be done, do nothing.")] = False,
    as_json: options.Json = False,
    config: options.Config = None,
    data: options.Data = None,
) -> None:
    """Put files into folders by series and volume, in the order of their places.

    The files that are given stay as they are: those below OUT are hard links to them, or copies.
    Exit codes: 0 all files have a place, 1 none has, 2 it cannot be asked so, 3 some files have none.

    Example: dicom-node sort SORTED STUDY --by time
    """
    with looking.at(
        inputs,
        order=looking.words(by),
        split=looking.words(split),
        series=series or (),
        extra=outputs.keywords(pattern),
        shown=not as_json,
        config=config,
        data=data,
    ) as found:
        puts = places(found.stacks, pattern)
        if not plan:
            # A link to what the node holds would let others change its bytes.
            _put(out, puts, copy=copy or found.held, shown=not as_json)
        if as_json:
            files = [{"from": str(path), "to": str(out / name)} for path, name in puts]
            output.as_json({"files": files, "left_out": found.report.as_json()["left_out"]})
        else:
            _tell(out, puts, plan=plan)
            for line in converting.told(found.report.left):
                print(output.cell(line), file=sys.stderr)
    if not puts:
        raise errors.NotFound(f"there is no image in {', '.join(inputs)[:200]}")
    if found.missing:
        sys.exit(3)


def places(stacks: Sequence[stack.Stack], pattern: str = "") -> list[Put]:
    """Where each file goes: a file of many frames to the first of its volumes."""
    made: list[Put] = []
    seen: set[str] = set()
    folders: dict[str, pathlib.PurePath] = {}  # by series
    taken: set[pathlib.PurePath] = set()
    for one in stacks:
        series = f"{one.table['study'][one.first]}/{one.table['series'][one.first]}"
        if series not in folders:
            folders[series] = outputs.free(_series(one, pattern), taken)
            taken.add(folders[series])
        folder = folders[series]
        if one.label:
            folder = outputs.free(folder / (outputs.plain(one.label) or "volume"), taken)
            taken.add(folder)
        for path, name in _files(one):
            if path not in seen:
                seen.add(path)
                made.append((pathlib.Path(path), folder / name))
    return made


def _series(one: stack.Stack, pattern: str) -> pathlib.PurePath:
    """The folder of a series: its number and description, or as the pattern says."""
    row = one.first
    if pattern:
        texts = {word: (_text(one.table[word][row]),) for word in outputs.keywords(pattern)}
        return outputs.patterned(pattern.removesuffix("/"), texts, "")
    number, description = one.table["series_number"][row], one.table["series_description"][row]
    return pathlib.PurePath(outputs.usual(float(number), str(description), ""))


def _text(value: object) -> str:
    if isinstance(value, float):
        return "" if np.isnan(value) else f"{value:g}"
    return str(value)


def _files(one: stack.Stack) -> Iterator[tuple[str, str]]:
    """The files of a stack by what they are: `time002-0017.dcm` is the 17th slice of the second volume."""
    source = one.table["source"]
    # Files of several frames are counted as files.
    alone = len(np.unique(source[one.order[one.order >= 0]])) == int((one.order >= 0).sum())
    counted = 0
    last = -1
    for cell, row in np.ndenumerate(one.order):
        if row < 0 or int(source[row]) == last:
            continue
        last = int(source[row])
        counted += 1
        leading = "".join(f"{axis.name}{at + 1:03}-" for axis, at in zip(one.axes[:-1], cell, strict=False))
        name = f"{outputs.plain(leading)}-{cell[-1] + 1:04}" if leading else f"{cell[-1] + 1:04}"
        yield one.table.sources[last].path, f"{name if alone else f'{counted:04}'}.dcm"


def _put(out: pathlib.Path, puts: Sequence[Put], *, copy: bool, shown: bool) -> None:
    """Give every file its name; raises UsageError before anything is done where one is taken."""
    for path, name in puts:
        target = out / name
        if target.is_symlink() or (target.exists() and not target.samefile(path)):
            raise errors.UsageError(
                f"{target} is there already, and nothing is overwritten: give another OUT"
            )
    try:
        for folder in dict.fromkeys((out / name).parent for _, name in puts):
            folder.mkdir(parents=True, exist_ok=True)
        with output.progress("files", len(puts), shown=shown) as advance:
            for path, name in puts:
                _one(path, out / name, copy=copy)
                advance(1)
    except FileExistsError as error:
        raise errors.UsageError(
            f"{error.filename2 or error.filename} is in the way: give another OUT"
        ) from None
    except OSError as error:
        raise errors.StorageFailed(f"{out} cannot be written to: {error.strerror or error}") from error


def _one(path: pathlib.Path, target: pathlib.Path, *, copy: bool) -> None:
    """A link to the file, or where that cannot be a copy, which has its name when it is whole."""
    if target.exists() and target.samefile(path):
        return
    if not copy:
        with contextlib.suppress(OSError):
            os.link(path, target, follow_symlinks=True)
            return
    part = target.with_name(f".{target.name}.part")
    try:
        shutil.copyfile(path, part)
        outputs.move(part, target, replace=False)
    finally:
        part.unlink(missing_ok=True)


def _tell(out: pathlib.Path, puts: Iterable[Put], *, plan: bool) -> None:
    counts: dict[pathlib.PurePath, int] = {}
    for _, name in puts:
        counts[name.parent] = counts.get(name.parent, 0) + 1
    for folder, many in counts.items():
        print(output.cell(f"{out / folder}: {output.count(many, 'file')}{' (planned)' if plan else ''}"))


def register(app: typer.Typer) -> None:
    """Put the command on the command line."""
    app.command()(sort)
