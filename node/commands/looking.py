"""From what a person gives to frames in stacks, for the commands that look at series and make no volumes."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import tempfile
from collections.abc import Iterator, Sequence

from node import converting, errors
from node.commands import output
from node.loading import headers
from node.volume import stack, table
from node.volume.sorting import sort

HELD = "dicom-node://"  # begins what names a series that the node holds


@dataclasses.dataclass(frozen=True, slots=True)
class Looked:
    """What was found in what was given."""

    stacks: tuple[stack.Stack, ...]  # as `convert --stack` counts them
    others: tuple[pathlib.Path, ...]  # files of other formats
    report: converting.Report  # what is in no stack
    held: bool = False  # files of the node's own store are among them: nobody else may have a link to those

    @property
    def missing(self) -> list[table.Skipped]:
        """What was left out though somebody may have wanted it."""
        return self.report.missing


@contextlib.contextmanager
def at(
    inputs: Sequence[str],
    *,
    order: Sequence[str] = (),
    split: Sequence[str] = (),
    series: Sequence[str] = (),
    extra: Sequence[str] = (),
    shown: bool = True,
    config: pathlib.Path | None = None,
    data: pathlib.Path | None = None,
) -> Iterator[Looked]:
    """Read and sort; the files are there as long as the block runs. Raises UsageError and NotFound."""
    wanted = (*sort.needs((*order, *split)), *extra)
    with _files(inputs, config, data) as files, headers.opened(files) as found:
        dicom, others = converting.sorted_out(found, inputs)
        with output.counted("headers", shown=shown) as tell:
            frames = headers.read(
                dicom,
                extra=tuple(dict.fromkeys(wanted)),
                progress=lambda done, total, _: tell(done, total),
            )
        asked = converting.chosen(frames, series)
        made = sort.sort(asked, order=order, split=split)
        left = tuple(dict.fromkeys((*frames.skipped, *made.left)))
        yield Looked(made.stacks, tuple(others), converting.Report((), left, frozenset(inputs)), held(inputs))


def held(inputs: Sequence[str]) -> bool:
    """Whether some of what is given is what the node holds."""
    return any(one.startswith(HELD) or not pathlib.Path(one).exists() for one in inputs)


@contextlib.contextmanager
def _files(
    inputs: Sequence[str], config: pathlib.Path | None, data: pathlib.Path | None
) -> Iterator[list[str]]:
    """Files and folders, also in the place of series that the node holds."""
    with contextlib.ExitStack() as ends:
        found = []
        for one in inputs:
            uid = one.removeprefix(HELD)
            here = pathlib.Path(one).exists()
            if uid == one and (here or (config is None and data is None)):
                if not here:
                    raise errors.UsageError(f"{one!r} does not exist: give files, folders or zip archives")
                found.append(one)
                continue
            from node.commands import holding  # a database is opened only for what lies in one

            folder = ends.enter_context(tempfile.TemporaryDirectory(prefix="dicom-node-"))
            found += holding.files(uid, config, data, pathlib.Path(folder))
        yield found


def words(text: str | None) -> tuple[str, ...]:
    """The parts of an option that lists several."""
    return tuple(filter(None, (word.strip() for word in (text or "").split(","))))
