"""`show`: the series in folders and files, and what they would become."""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import typer

from node import converting, errors
from node.commands import looking, options, output
from node.formats import registry
from node.volume import stack

_SHOWN = 4  # values of an axis that are listed
_LONGEST = 40  # characters of a description


def show(
    inputs: options.Inputs,
    order: options.Order = None,
    split: options.Split = None,
    as_json: options.Json = False,
    config: options.Config = None,
    data: options.Data = None,
) -> None:
    """List the series that are found, and the volumes that they would become.

    Exit codes: 0 everything is in a volume, 1 there is none, 2 it cannot be asked so, 3 something is in none.

    Example: dicom-node show STUDY
    """
    with looking.at(
        inputs,
        order=looking.words(order),
        split=looking.words(split),
        shown=not as_json,
        config=config,
        data=data,
    ) as found:
        volumes = [_volume(number, one) for number, one in enumerate(found.stacks, 1)]
        volumes += [_other(path) for path in found.others]
        left = found.report
        if as_json:
            output.as_json({"volumes": volumes, "left_out": left.as_json()["left_out"]})
        else:
            if volumes:
                _print(volumes)
            for line in converting.told(left.left):
                print(output.cell(line), file=sys.stderr)
    if not volumes:
        raise errors.NotFound(f"there is no volume in {', '.join(inputs)[:200]}")
    if found.missing:
        sys.exit(3)


def _volume(number: int, one: stack.Stack) -> dict[str, Any]:
    """What is said of a stack."""
    frames, row = one.table, one.first
    rows, columns = (int(np.nan_to_num(frames[name][row])) for name in ("rows", "columns"))
    samples = int(np.nan_to_num(frames["samples"][row], nan=1.0))
    bits = int(np.nan_to_num(frames["bits_allocated"][row], nan=16.0))
    return {
        "number": number,
        "series_number": _whole(frames["series_number"][row]),
        "series": str(frames["series"][row]),
        "modality": str(frames["modality"][row]),
        "description": str(frames["series_description"][row]),
        "label": one.label,
        "dimensions": one.order.ndim + 2 - (one.order.ndim == 1 and one.order.size == 1),
        "shape": [*map(int, one.order.shape), rows, columns],
        "axes": [{"name": axis.name, "unit": axis.unit, "values": axis.values.tolist()} for axis in one.axes],
        "spacing": list(one.geometry.spacing) if one.geometry is not None else None,
        "verdict": one.verdict.value,
        "frames": int((one.order >= 0).sum()),
        "bytes": one.order.size * rows * columns * samples * bits // 8,
        "notes": [{"kind": note.kind.value, "text": note.text} for note in one.notes],
    }


def _other(path: pathlib.Path) -> dict[str, Any]:
    """What is said of a file of another format."""
    form = registry.of(path)
    assert form is not None
    found: dict[str, Any] = {"number": None, "path": str(path), "format": form.name, "notes": []}
    try:
        made = form.read([path])
    except errors.NodeError as error:
        return {**found, "error": str(error)}
    axes = [{"name": axis.name, "unit": axis.unit, "values": axis.values.tolist()} for axis in made.axes]
    return {
        **found,
        "shape": list(map(int, made.shape)),
        "axes": axes,
        "spacing": list(made.geometry.spacing) if made.geometry is not None else None,
        "bytes": made.nbytes,
    }


def _print(volumes: list[dict[str, Any]]) -> None:
    columns = ("stack", "series", "modality", "description", "becomes", "size", "verdict")
    output.table(columns, (list(_cells(one)) for one in volumes))
    for one in volumes:
        for note in one["notes"]:
            print(output.cell(f"stack {one['number']}: {note['kind']}: {note['text']}"))


def _cells(one: dict[str, Any]) -> Iterator[object]:
    if "path" in one:
        yield from (None, None, one["format"], pathlib.Path(one["path"]).name[:_LONGEST])
        yield one.get("error") or _becomes(one)
        yield output.size(one.get("bytes", 0))
        yield None
        return
    yield from (one["number"], one["series_number"], one["modality"] or None)
    label = f" ({one['label']})" if one["label"] else ""
    yield (one["description"][:_LONGEST] + label).strip() or None
    yield _becomes(one)
    yield output.size(one["bytes"])
    yield one["verdict"]


def _becomes(one: dict[str, Any]) -> str:
    """The volume in words: columns x rows x slices and what else it has, with spacing and axes."""
    shape = [size for size, axis in zip(one["shape"], _names(one), strict=True) if axis != "rgb"]
    if one.get("dimensions") == 2:
        shape = shape[1:]
    said = [f"{len(shape)}D", "x".join(map(str, reversed(shape)))]
    if one["spacing"] is not None:
        sizes = one["spacing"] if len(shape) > 2 else one["spacing"][1:]
        said.append("of " + "x".join(f"{size:.4g}" for size in reversed(sizes)) + " mm")
    leading = one["axes"][: next((at for at, name in enumerate(_names(one)) if name == "slice"), 0)]
    return "; ".join([" ".join(said), *map(_axis, leading)])


def _names(one: dict[str, Any]) -> list[str]:
    names = [axis["name"] for axis in one["axes"]]
    return names + ["row", "column"][: len(one["shape"]) - len(names)]


def _axis(axis: dict[str, Any]) -> str:
    """An axis in words: what values it has, and how many."""
    kinds = [f"{value:.5g}" for value in dict.fromkeys(axis["values"])]
    if len(kinds) > _SHOWN:
        kinds = [*kinds[: _SHOWN - 2], "...", kinds[-1]]
    unit = f" {axis['unit']}" if axis["unit"] else ""
    return f"{axis['name']}: {', '.join(kinds)}{unit} ({len(axis['values'])})"


def _whole(value: float) -> int | None:
    return int(value) if np.isfinite(value) else None


def register(app: typer.Typer) -> None:
    """Put the command on the command line."""
    app.command()(show)
