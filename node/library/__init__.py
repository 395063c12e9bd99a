"""Volumes for programs: open them, compute with them, write them; `import node` gives all of it.

Nothing here is loaded before it is used, and the daemon uses none of it.
"""

from __future__ import annotations

from node.library.comparing import Comparison, compare
from node.library.opening import LeftOut, open, open_all  # noqa: A004 - it is read as `node.open`
from node.library.overlaid import overlays
from node.library.placing import stack
from node.library.volumes import Volume
from node.library.writing import write

__all__ = ["Comparison", "LeftOut", "Volume", "compare", "open", "open_all", "overlays", "stack", "write"]
