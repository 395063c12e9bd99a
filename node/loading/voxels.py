"""A stack as an image: what its voxels will be is said at once, they are read when somebody asks for them."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from node import errors
from node.dicom import pixels
from node.dicom import syntax as syntaxes
from node.loading import frames, locate
from node.volume import image as images
from node.volume import stack, table
from node.volume.pixels import cells, colour, lookup, scale

Array = np.ndarray[Any, np.dtype[Any]]

# What these are never has a modality table (PS3.3 A.3, A.4, A.21), so that nobody looks for one.
_WITHOUT_TABLE = frozenset({"MR", "PT", "CT", "NM"})


def image(found: stack.Stack, *, scaling: str = scale.STORED, jobs: int | None = None) -> images.Image:
    """The image of a stack; its pixels are not opened yet.

    `scaling`: "stored" leaves values as they are, one slope and intercept beside them, and makes real ones
    only where these differ from frame to frame; "real" makes real ones always; "philips" and "rwv" are
    other slopes. `jobs` is how many processes decode; None: as many as there are processors.

    Raises BadData, naming the file, and UsageError when headers do not say what a scaling needs.
    """
    order = np.asarray(found.order, dtype=np.int64)
    flat = order.reshape(-1)
    rows = flat[flat >= 0]
    if not len(rows):
        raise errors.BadData("a stack without frames is no volume")
    found, sources = _located(found, rows)
    for one in sources.values():
        _bare(one)
    shape = _shape(sources)
    scaled = scale.of(found.table, rows, scaling)
    lookups = _lookups(sources, found.table, rows) if scaled.plain else {}
    stored, coloured = _stored(sources, lookups)
    made_real = not coloured and (scaling == scale.REAL or not scaled.uniform)
    if made_real:
        wide = stored.itemsize > 2 and not (stored.kind == "f" and stored.itemsize == 4)
        dtype = np.dtype("<f8" if wide else "<f4")
    else:
        dtype = stored
    slopes = np.ones(len(flat)), np.zeros(len(flat))
    slopes[0][flat >= 0], slopes[1][flat >= 0] = scaled.slope, scaled.intercept
    loader = frames.Loader(
        sources=sources,
        source=np.where(flat >= 0, found.table["source"][flat], -1),
        frame=found.table["frame"][flat],
        tile=found.table["tile"][flat],
        shape=order.shape,
        size=(*shape, 3) if coloured else shape,
        dtype=dtype,
        lookups=lookups,
        scales=slopes if made_real else None,
        jobs=jobs or len(os.sched_getaffinity(0)),
    )
    spans = frames.spans(loader)
    loader = dataclasses.replace(loader, spans=spans)
    unit = next((one.unit for one in lookups.values() if one.unit != "US"), "") if lookups else scaled.unit
    plain = made_real or coloured or bool(lookups)
    return images.Image(
        shape=(*order.shape, *loader.size),
        dtype=dtype,
        axes=(*found.axes, *_plane(found, shape, coloured)),
        geometry=found.geometry,
        slope=1.0 if plain else float(scaled.slope[0]),
        intercept=0.0 if plain else float(scaled.intercept[0]),
        unit="" if coloured else unit,
        voxels=loader,
        spans=spans,
        table=found.table,
        rows=order,
        verdict=found.verdict,
        notes=(
            *found.notes,
            *_notes(sources, scaled, made_real=made_real and scaling == scale.STORED),
            *_senseless(found.table, rows),
        ),
        label=found.label,
    )


def _bare(source: table.Source) -> None:
    """Refuse pixels that should be compressed, stand there bare, and are not as many as the header says."""
    place = source.place
    if place is None or place.fragments or not syntaxes.encoding(source.syntax).encapsulated:
        return
    shown = _pixels(source)
    wanted = -(-cells.frame_bits(shown) * shown.frames // 8)
    if place.length not in (wanted, wanted + 1):
        raise errors.BadData(
            f"{source.path}: its transfer syntax compresses, and its pixel data is {place.length} bytes that"
            " are not in fragments"
        )


def _located(found: stack.Stack, rows: Array) -> tuple[stack.Stack, Mapping[int, table.Source]]:
    """The data sets of some rows with the places of their pixels, by number; with the slopes, where the
    table has no column of them, because it came from the index."""
    used = sorted(set(found.table["source"][rows].tolist()))  # np.unique loads masked arrays, in 18 ms
    if "slope" in found.table:
        return found, {at: locate.located(found.table.sources[at]) for at in used}
    read = {at: locate.rescaled(found.table.sources[at]) for at in used}
    slope, intercept = table.absent("slope", len(found.table)), table.absent("intercept", len(found.table))
    kind = table.absent("rescale_type", len(found.table))
    for row, at in enumerate(found.table["source"].tolist()):
        if at in read:
            told = read[at][1]
            slope[row], intercept[row], kind[row] = told.slope, told.intercept, told.kind
    columns = {**found.table.columns, "slope": slope, "intercept": intercept, "rescale_type": kind}
    whole = table.Table(found.table.sources, columns, len(found.table), found.table.skipped)
    return dataclasses.replace(found, table=whole), {at: source for at, (source, _) in read.items()}


def load(made: images.Image) -> Array:
    """The voxels of an image."""
    return made.voxels()


def _shape(sources: Mapping[int, table.Source]) -> tuple[int, int]:
    """Rows and columns of every frame; BadData when they differ."""
    found = {
        (one.mosaic.rows, one.mosaic.columns) if one.mosaic else (_pixels(one).rows, _pixels(one).columns)
        for one in sources.values()
    }
    if len(found) != 1:
        said = ", ".join(f"{rows}x{columns}" for rows, columns in sorted(found)[:4])
        raise errors.BadData(f"frames of different sizes ({said}) are no volume")
    return found.pop()


def _pixels(source: table.Source) -> pixels.Pixels:
    if source.pixels is None:
        raise errors.BadData(f"{source.path}: nothing is known of its pixels")
    return source.pixels


def _stored(
    sources: Mapping[int, table.Source], lookups: Mapping[int, lookup.Lookup]
) -> tuple[np.dtype[Any], bool]:
    """The type of the values, and whether they are colours; BadData when frames do not go together."""
    kinds: dict[tuple[Any, ...], table.Source] = {}
    for at, one in sources.items():
        shown = _pixels(one)
        kind = one.place.kind if one.place is not None else "int"
        given = lookups[at].values.dtype if at in lookups else None
        key = (shown.samples, shown.photometric, shown.allocated, shown.stored, shown.signed, kind, given)
        kinds.setdefault(key, one)
    types, colours = set(), set()
    for (samples, photometric, allocated, *_, kind, given), one in kinds.items():
        _lowest(one)
        coloured = samples > 1 or photometric == colour.PALETTE
        if coloured and (samples not in (1, 3) or not colour.known(photometric) or allocated < 8):
            raise errors.BadData(
                f"{one.path}: {samples} samples of {allocated} bits as {photometric[:16] or 'nothing'}"
                " are no colours that can be read"
            )
        colours.add(coloured)
        if photometric == colour.PALETTE:
            types.add(np.dtype("u1"))
        else:
            types.add(cells.dtype(_pixels(one), kind) if given is None else given)
    if len(colours) > 1:
        raise errors.BadData("colours and grey values in one stack are no volume")
    made = np.result_type(*types)
    return made.newbyteorder("<"), colours.pop()


def _lowest(source: table.Source) -> None:
    """Refuse samples that do not lie in the lowest bits, as nobody writes them since ACR-NEMA."""
    shown = _pixels(source)
    if shown.stored >= shown.allocated or (source.place is not None and source.place.fragments):
        return
    high = locate.whole(source).get(pixels.HIGH)
    if isinstance(high, int) and high != shown.stored - 1:
        raise errors.BadData(
            f"{source.path}: {shown.stored} bits below bit {high} of {shown.allocated} are not read here:"
            " only the lowest are"
        )


def _lookups(
    sources: Mapping[int, table.Source], found: table.Table, rows: Array
) -> Mapping[int, lookup.Lookup]:
    """The modality tables of the data sets, for all or for none."""
    modality = str(found["modality"][rows[0]])
    if modality in _WITHOUT_TABLE:
        return {}
    made = {}
    for at, one in sources.items():
        try:
            has = frames.mentions(one, lookup.MODALITY)
            table_ = lookup.modality(locate.whole(one), signed=_pixels(one).signed) if has else None
        except errors.BadData as error:
            raise locate.named(error, one.path) from error
        if table_ is not None:
            made[at] = table_
    if made and len(made) != len(sources):
        raise errors.BadData("some frames have a modality table and others have none: they are no volume")
    return made


def _plane(found: stack.Stack, shape: tuple[int, int], coloured: bool) -> tuple[stack.Axis, ...]:
    rows, columns = shape
    unit, row, column = "", 1.0, 1.0
    if found.geometry is not None:
        unit = "mm"
        _, row, column = found.geometry.spacing
    else:
        told = found.table["spacing"][found.first]
        if np.all(np.isfinite(told) & (told > 0)):
            unit, row, column = "mm", float(told[0]), float(told[1])
    made = (
        stack.Axis("row", np.arange(rows) * row, unit),
        stack.Axis("column", np.arange(columns) * column, unit),
    )
    return (*made, stack.Axis("rgb", np.arange(3.0))) if coloured else made


def _senseless(found: table.Table, rows: Array) -> tuple[stack.Note, ...]:
    """PS3.3 C.11.1 asks for both or none, and a slope of 0 or no number would leave nothing of an image."""
    slope, intercept = found["slope"][rows], found["intercept"][rows]
    missing = ~(np.isfinite(slope) & (slope != 0)) & np.isfinite(intercept)
    if not missing.any():
        return ()
    text = f"{int(missing.sum())} frames have a Rescale Intercept and no slope that can be one; 1 is taken"
    return (stack.Note(stack.Kind.HEADER, text),)


def _notes(
    sources: Mapping[int, table.Source], scaled: scale.Scale, *, made_real: bool
) -> tuple[stack.Note, ...]:
    made = []
    kinds = {(one.syntax, _pixels(one).photometric) for one in sources.values()}
    if made_real:
        made.append("slope or intercept differ between frames, so the voxels are real values")
    if any(photometric == "MONOCHROME1" for _, photometric in kinds):
        made.append("low values are bright (MONOCHROME1); they are left as they are")
    if any(frames.loses(syntax) for syntax, _ in kinds):
        made.append("frames were compressed with loss")
    return tuple(stack.Note(stack.Kind.PIXELS, text) for text in made)
