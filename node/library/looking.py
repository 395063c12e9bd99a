"""The way back from a volume to the files it came from."""

from __future__ import annotations

import contextlib
import dataclasses
import mmap
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np

from node import errors
from node.dicom import header, path
from node.loading import headers as loading
from node.volume import table
from node.volume.arrays import header as headers

Array = np.ndarray[Any, np.dtype[Any]]


class Kept:
    """What must stay while volumes refer to it: files unpacked from an archive."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self._close = weakref.finalize(self, stack.close)


@dataclasses.dataclass(frozen=True, slots=True)
class Files:
    """Reads headers again when they are asked for."""

    kept: Kept | None = None  # unpacked files, which go when nothing refers to them any more

    def __reduce__(self) -> Any:
        return Files, ()  # in another process unpacked files may be gone; then reading says so

    def identity(self, found: table.Table, row: int) -> headers.Identity:
        """Whose the data set of a row is; raises BadData when its file cannot be read any more."""
        source = found.source(row)
        said = _attributes(source)
        return headers.Identity(
            patient_name=said.patient_name or "",
            patient_id=said.patient_id or "",
            patient_birth_date=said.patient_birth_date or "",
            patient_sex=said.patient_sex or "",
            accession_number=said.accession_number or "",
            study=said.study or "",
            study_id=said.study_id or "",
            study_date=said.study_date or "",
            study_description=said.study_description or "",
            series=said.series or "",
            series_number=said.series_number,
            series_description=said.series_description or "",
            modality=said.modality or "",
            frame_of_reference=said.frame_of_reference or "",
        )

    def values(self, found: table.Table, rows: Array, name: str) -> Array:
        """The values of an element in the rows asked for; absent in all others."""
        if name not in table.COLUMNS:
            path.parse(name)  # says what is wrong with it
        which = found["source"]
        sources = np.unique(which[rows])
        paths = [found.sources[int(at)].path for at in sources]
        again = loading.read(paths, extra=() if name in table.COLUMNS else (name,))
        column = again[name]
        made = (
            np.full(len(found), "", dtype=object)
            if column.dtype == object
            else np.full((len(found), *column.shape[1:]), np.nan)
        )
        places = {key: at for at, key in enumerate(_keys(again, [source.path for source in again.sources]))}
        wanted = _keys(found, [source.path for source in found.sources])
        for row in rows:
            at = places.get(wanted[int(row)])
            if at is None:
                raise errors.BadData(f"{wanted[int(row)][0]}: the file does not hold what was read from it")
            made[row] = column[at]
        return made


def _keys(found: table.Table, paths: Sequence[str]) -> list[tuple[str, int, int]]:
    """What tells frames apart: file, frame, tile."""
    columns = (found["source"].tolist(), found["frame"].tolist(), found["tile"].tolist())
    return [(paths[source], frame, tile) for source, frame, tile in zip(*columns, strict=True)]


def _attributes(source: table.Source) -> header.Header:
    try:
        with (
            open(source.path, "rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as buffer,
            memoryview(buffer) as view,
            view[source.offset : source.offset + source.size] as data,
        ):
            return header.attributes(data, source.syntax)
    except (OSError, ValueError) as error:
        raise errors.BadData(f"{source.path}: it cannot be read any more ({error})") from error
