"""What only the index knows is written to the ledger before it is committed, so that a rebuild has it too."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from node import failpoints
from node.files import layout, ledger

if TYPE_CHECKING:
    from node.index import remove


class Witness:
    """Writes to the ledger of one data directory; call it in the write scope of what it is told of.

    The scope's lock gives the lines the order of the commits, and what is answered after the commit is in
    both. A crash between the two leaves a line without a commit: `rebuild` says what that comes to.
    """

    def __init__(self, data: layout.Data) -> None:
        self._data = data

    def removing(self, removed: Sequence[remove.Removed]) -> None:
        """Say what is about to go, until `upkeep.purge` has seen it through."""
        ledger.intend(
            self._data,
            [{"kind": ledger.DELETION, "removed": dataclasses.asdict(one)} for one in removed],
        )
        failpoints.hit("remove.after-intent")

    def given(self, kind: str, **fact: object) -> None:
        """Say what a person gave to a series, an image or the worklist, or what a modality reported."""
        ledger.append(self._data, [{"kind": kind, **fact}], sync=True)

    def noted(self, kind: str, **fact: object) -> None:
        """Say what was decided, owed or found out here.

        Without a sync of its own: what a power loss takes is decided again, and at worst sent once more.
        """
        ledger.append(self._data, [{"kind": kind, **fact}])
