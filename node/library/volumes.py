"""The volume that programs get: one that can be written where an address says."""

from __future__ import annotations

import os
from typing import Any

from node.formats import base
from node.volume.arrays import volume


class Volume(volume.Volume):
    """A numpy array with axes, place and identity; see docs/library.md."""

    def write(
        self,
        url: str | os.PathLike[str],
        format: str | None = None,  # noqa: A002 - what everybody calls it
        *,
        overwrite: bool = False,
        **options: Any,
    ) -> base.Written:
        """Write it to a file, a folder, a zip archive or dicom://HOST:PORT/CALLED; see `node.write`."""
        from node.library import writing

        return writing.write(self, url, format, overwrite=overwrite, **options)
