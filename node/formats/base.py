"""What every format is: it writes an image into files and reads files back."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from node.volume import image

# (done, of how many, what): called as long work goes on; whoever shows it decides how often.
Progress = Callable[[int, int, str], None]


@dataclasses.dataclass(frozen=True, slots=True)
class Written:
    """What was made of one image."""

    paths: tuple[pathlib.Path, ...]  # the files or folders, the principal one first
    notes: tuple[str, ...] = ()  # what did not fit the format, in sentences


class Format(Protocol):
    """One format. Options are text, as a command line or a configuration gives them."""

    @property
    def name(self) -> str:
        """As `--to` takes it."""

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Of its files, the usual one first: (".nii.gz", ".nii")."""

    @property
    def about(self) -> str:
        """One line for the help."""

    def check(self, options: Mapping[str, str]) -> str | None:
        """What is wrong with options, in a sentence; None: nothing."""

    def write(
        self,
        made: image.Image,
        target: pathlib.Path,
        options: Mapping[str, str],
        progress: Progress | None = None,
    ) -> Written:
        """Write one image; `target` is the path without a suffix. A file is whole or not there.

        Raises errors.UsageError when the format cannot hold it, errors.StorageFull and StorageFailed.
        """

    def read(self, paths: Sequence[pathlib.Path]) -> image.Image:
        """Read one image; raises errors.BadData with the file when it is none."""
