"""What a reload may take over while the node runs, and what must wait for a restart."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from node import model
from node.config import tables

# What the processes take over while they run; everything else is bound or opened once, at the start.
_LIVE = frozenset(
    {
        "node.drain",
        "node.accept_any_called",
        "node.accept_unknown",
        "log.level",
        "storage.min_free",
        "storage.on_conflict",
        "storage.retention",
    }
)
_LIVE_TABLES = frozenset({"limits", "worklist", "routing", "queue"})
_ORDERED = frozenset({"rules", "routes", "completeness"})  # the first that fits has a say before the others


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """What a reload does."""

    settings: model.Settings  # in force from now on: the new ones, but for what needs a restart
    applied: tuple[str, ...]  # keys that take effect at once, as in "limits.pdu" or "peers.ct (new)"
    restart: tuple[str, ...]  # keys that take effect after a restart

    def describe(self) -> str:
        """Say it in one sentence."""
        parts = []
        if self.applied:
            parts.append(f"applied: {', '.join(self.applied)}")
        if self.restart:
            parts.append(f"needs a restart: {', '.join(self.restart)}")
        return "; ".join(parts) or "nothing changed"


def changed(old: model.Settings, new: model.Settings) -> Change:
    """Return what of `new` may take effect while running, and what must wait for a restart."""
    applied: list[str] = []
    restart: list[str] = []
    parts: dict[str, Any] = {}
    for section in dict.fromkeys(path[0] for path in tables.TABLES):
        before, after = getattr(old, section), getattr(new, section)
        kept: dict[str, object] = {}
        for field in dataclasses.fields(after):
            if getattr(before, field.name) == getattr(after, field.name):
                continue
            key = f"{section}.{field.name}"
            if key in _LIVE or section in _LIVE_TABLES:
                applied.append(key)
            else:
                restart.append(key)
                kept[field.name] = getattr(before, field.name)
        parts[section] = dataclasses.replace(after, **kept)
    for section in (*tables.NAMED, tables.STEPS):
        parts[section] = getattr(new, section)
        applied += _differences(section, getattr(old, section), getattr(new, section))
    return Change(model.Settings(**parts), tuple(applied), tuple(restart))


def _differences(section: str, old: Sequence[Any], new: Sequence[Any]) -> list[str]:
    before = {item.name: item for item in old}
    after = {item.name: item for item in new}
    found = [
        f"{section}.{name}" + ("" if name in before else " (new)")
        for name, item in after.items()
        if before.get(name) != item
    ]
    found += [f"{section}.{name} (removed)" for name in before if name not in after]
    if not found and section in _ORDERED and list(before) != list(after):
        found.append(f"{section} (order)")
    return found
