"""The policy that refuses an instance whose UIDs are held with other bytes."""

from __future__ import annotations

from node import errors, log, model, receive
from node.files import journal, layout
from node.index import db, lookup

_FILED_WITHIN = 5.0  # seconds to wait for what was acknowledged just before


class RefuseConflicts:
    """Looks before the answer; costs a query per instance, so it is in place only where it is configured.

    Two that differ and come at the same moment are both taken; then the adopter keeps the second beside
    the first, as the other policy does.
    """

    def __init__(self, database: db.Database, data: layout.Data) -> None:
        self._database = database
        self._data = data

    def __call__(self, identity: model.Identity, digest: str) -> None:
        """Raise Refused when other bytes are held."""
        if not journal.barrier(self._data, _FILED_WITHIN):
            raise errors.DatabaseUnavailable("what came before is still being filed; try again")
        with self._database.read() as connection:
            held = lookup.held(connection, identity)
        if held is None or held.digest == digest:
            return
        log.instance_conflict(
            sop_instance=identity.sop_instance,
            series=identity.series,
            study=identity.study,
            held=held.digest,
            came=digest,
            kept=False,
        )
        raise receive.Refused(receive.Fault.CONFLICT, "another instance is held under this UID")
