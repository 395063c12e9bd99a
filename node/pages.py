"""The numbers of the status page, gathered from where each of them lives."""

from __future__ import annotations

import datetime
import pathlib
import shutil
from typing import TYPE_CHECKING

import sqlalchemy

from node import errors, model, orders, outlook, state
from node.files import journal, layout
from node.index import db, lookup, queue, recent
from node.web import status

if TYPE_CHECKING:
    from node import roles


_LATELY = datetime.timedelta(hours=1)
_SHOWN = 8  # consignments that ended
_HOLDS = 4  # consignments that are held


class Numbers:
    """Answers what the page asks."""

    def __init__(self, shared: roles.Shared, database: db.Database) -> None:
        self._shared = shared
        self._database = database

    def now(self) -> status.Status:
        """Return the node as it is now."""
        settings = self._shared.settings
        running = state.running(settings.node.data)
        started = min((one.started for one in running), default=0.0)
        return status.Status(
            aet=settings.node.aet,
            version=self._shared.version,
            started=datetime.datetime.fromtimestamp(started, datetime.UTC),
            listening=tuple(self._listening()),
            held=self._held(),
            disk=disk(settings.node.data, settings.storage.min_free),
            journal=waiting(self._shared.data, settings.storage.journal),
            children=tuple(
                status.Child(child.name, child.pid, child.ready, child.restarts)
                for one in running
                for child in one.children
            ),
            associations=tuple(
                status.Association(
                    peer=one.peer,
                    address=one.address,
                    ended=datetime.datetime.fromtimestamp(one.ended, datetime.UTC),
                    seconds=one.seconds,
                    instances=one.instances,
                    outcome=one.outcome,
                    good=one.good,
                )
                for supervisor in running
                for one in supervisor.associations
            ),
            open_associations=sum(self._shared.slots.totals()),
            notices=tuple(notices(running, self._shared.data)),
            forwarding=self._forwarding(),
        )

    def _listening(self) -> list[status.Listening]:
        node, tls = self._shared.settings.node, self._shared.settings.tls
        found = [status.Listening("DICOM", f"{node.host}:{node.port}")]
        if tls.port is not None:
            found.append(status.Listening("DICOM over TLS", f"{node.host}:{tls.port}"))
        return [*found, status.Listening("HTTP", node.http)]

    def _held(self) -> status.Held | None:
        try:
            with self._database.read() as connection:
                totals = lookup.totals(connection)
        except errors.DatabaseUnavailable:
            return None
        return status.Held(totals.patients, totals.studies, totals.series, totals.instances, totals.bytes)

    def _forwarding(self) -> status.Forwarding | None:
        try:
            with self._database.read() as connection:
                return forwarding(connection, self._shared.settings, datetime.datetime.now(datetime.UTC))
        except errors.DatabaseUnavailable:
            return None


def forwarding(
    connection: sqlalchemy.Connection, settings: model.Settings, now: datetime.datetime
) -> status.Forwarding:
    """Return the lanes of destinations and of whoever is owed something, and what happened lately."""
    counts, more = recent.verdicts(connection, now - _LATELY)
    shown = []
    for one, words in outlook.each(settings, queue.standings(connection), now):
        owed, lane = one.owed, one.lane
        down = lane.state is orders.LaneState.DOWN
        shown.append(
            status.Lane(
                name=lane.destination,
                state=lane.state.value,
                # The page itself says how long it is until then, for its own time goes on.
                reason=lane.reason if down else words,
                waiting=owed.due + owed.held + owed.running,
                oldest=owed.oldest,
                held=owed.held,
                dead=owed.dead,
                next=lane.probe if down else None,
            )
        )
    return status.Forwarding(
        lanes=tuple(shown),
        last=tuple(_delivery(one) for one in recent.ended(connection, _SHOWN)),
        holds=tuple(_delivery(one) for one in recent.held(connection, _HOLDS)),
        settled=status.Settled(
            counts[orders.Completeness.COMPLETE],
            counts[orders.Completeness.PARTIAL],
            counts[orders.Completeness.INCONSISTENT],
            more,
        ),
    )


def _delivery(one: recent.Shown) -> status.Delivery:
    return status.Delivery(
        one.destination, one.series, one.route, one.state.value, one.done, one.total, one.changed, one.error
    )


def disk(data: pathlib.Path, watermark: int) -> status.Disk:
    """Return how full the file system of the data directory is."""
    usage = shutil.disk_usage(data)
    return status.Disk(str(data), usage.free, usage.total, watermark)


def waiting(data: layout.Data, capacity: int) -> status.Journal:
    """Return what was acknowledged and is not filed yet, over all slots."""
    slots = data.slots()
    return status.Journal(
        waiting=sum(journal.lag(data, slot) for slot in slots),
        capacity=capacity * max(1, len(slots)),
        degraded=data.degraded.exists(),
    )


def notices(running: list[state.State], data: layout.Data) -> list[status.Notice]:
    """Return what a person should look at."""
    found = []
    for one in running:
        if one.reload_error:
            found.append(status.Notice(f"the last reload was refused: {one.reload_error}"))
        found += [
            status.Notice(f"process {child.name} was started again {child.restarts} times")
            for child in one.children
            if child.restarts
        ]
    if data.degraded.exists():
        found.append(
            status.Notice(
                f"a sync has failed: look at the disk, then remove {data.degraded.name} and restart"
            )
        )
    return found
