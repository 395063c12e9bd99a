"""A DICOM network node: takes what modalities send, keeps it, finds it, processes it and sends it on.

As a library it opens series as volumes: `node.open`, `node.stack`, `node.compare`; see docs/library.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from node.library import Comparison, LeftOut, Volume, compare, open, open_all, overlays, stack, write  # noqa: A004

__all__ = ["Comparison", "LeftOut", "Volume", "compare", "open", "open_all", "overlays", "stack", "write"]


def __getattr__(name: str) -> Any:
    """The library, loaded when it is asked for: the daemon imports this package too."""
    if name in __all__:
        from node import library

        return getattr(library, name)
    raise AttributeError(f"module 'node' has no attribute {name!r}")
