"""The senders of a worker: one for each consignment that a lane takes up, as its destination wants it.

What they share over lanes and consignments lives here: associations that stay open for a moment, the pace of
each destination, and what is known of each peer.
"""

from __future__ import annotations

import collections
import contextlib
import datetime
import functools
import pathlib
import threading
from collections.abc import Callable, Iterator
from typing import Protocol

from node import errors, model, orders
from node.files import layout
from node.index import db
from node.send import base, dimse, folder, link, memory, peers, program
from node.send import pace as pacing
from node.wire import association

KEPT_OPEN = 5.0  # seconds that an association waits for its next use
_PROBE = association.Timeouts(request=10.0, pdu=10.0, idle=10.0)


class Sender(base.Sender, Protocol):
    """A sender of a worker."""

    whole: bool  # it wants every instance of the series each time, and not only what is due

    def cut(self, why: str) -> None:
        """From another thread: end what is under way at once."""


def _one() -> int:
    return 1


class Senders:
    """Makes senders; one for each worker process, for all its threads."""

    def __init__(
        self,
        settings: model.Settings,
        data: layout.Data,
        *,
        transcoder: base.Transcoder | None = None,
        database: db.Database | None = None,
        accept: program.Accept | None = None,
        workers: Callable[[], int] = _one,
        idle: float = KEPT_OPEN,
    ) -> None:
        self._settings = settings
        self._data = data
        self._transcoder = transcoder
        self._accept = accept
        self._workers = workers  # how many worker processes live: they share the caps
        self._pool = link.Pool(most=64, idle=idle)
        self._memories = memory.Memories(database)
        self._paces: dict[str, pacing.Pace] = {}
        self._open: collections.Counter[str] = collections.Counter()  # sends under way, by destination
        self._swept: set[pathlib.Path] = set()  # folders that were looked through
        self._lock = threading.Lock()
        program.sweep(self._programs)

    def sender(
        self,
        destination: orders.Destination,
        consignment: orders.Consignment | None = None,
        conversion: program.Conversion | None = None,
    ) -> Sender:
        """What sends to a destination, for one consignment; raises errors.NodeError when nothing can."""
        match destination.kind:
            case orders.Kind.DICOM:
                return self._dicom(destination, consignment)
            case orders.Kind.FOLDER:
                return self._folder(destination)
            case orders.Kind.COMMAND:
                return program.Program(
                    destination,
                    self._programs,
                    accept=self._accept,
                    transcoder=self._transcoder,
                    largest=self._settings.limits.max_instance,
                    reserve=self._settings.storage.min_free,
                    conversion=conversion,
                )

    def probe(self, destination: orders.Destination) -> None:
        """Find out whether a destination is there; raises errors.NodeError with the reason when it is not."""
        match destination.kind:
            case orders.Kind.DICOM:
                calling = self._calling(destination)
                dimse.echo(self._peer(destination), self._settings, calling=calling, timeouts=_PROBE)
            case orders.Kind.FOLDER:
                folder.probe(_root(destination))
            case orders.Kind.COMMAND:
                if wrong := program.check(destination.command):
                    raise errors.UsageError(f"destination {destination.name}: command: {wrong}")

    def lanes(self, destination: orders.Destination) -> int:
        """How many lanes at once are worth having: those configured, or fewer where it refused more."""
        if destination.kind is not orders.Kind.DICOM:
            return destination.lanes
        known = self._memories.last(destination.name, self._fingerprint(destination))
        return known.most(destination.lanes, datetime.datetime.now(datetime.UTC))

    def apply(self, settings: model.Settings) -> None:
        """Take over a changed configuration; what is under way goes on as it began."""
        with self._lock:
            self._settings = settings
            for destination in settings.destinations:
                if destination.name in self._paces:
                    self._paces[destination.name].apply(destination)

    def close(self) -> None:
        """Release what waits for its next use."""
        self._pool.close()

    @property
    def reserve(self) -> int:
        """Bytes that stay free on every disk."""
        return self._settings.storage.min_free

    # -- each kind ------------------------------------------------------------------------------

    @property
    def _programs(self) -> pathlib.Path:
        """Where programs work."""
        return self._data.root / "run" / "programs"

    def _folder(self, destination: orders.Destination) -> Sender:
        root = _root(destination)
        with self._lock:
            first = root not in self._swept
            self._swept.add(root)
        if first:
            folder.sweep(root)
        return folder.Folder(destination, root, transcoder=self._transcoder, pace=self._pace(destination))

    def _peer(self, destination: orders.Destination) -> model.Peer:
        for peer in self._settings.peers:
            if peer.name == destination.peer:
                return peer
        raise errors.UsageError(
            f"destination {destination.name}: there is no peer {destination.peer!r} in the configuration"
        )

    def _calling(self, destination: orders.Destination) -> str:
        return destination.calling or self._settings.node.aet

    def _fingerprint(self, destination: orders.Destination) -> str:
        return memory.fingerprint(self._peer(destination), self._calling(destination))

    def _pace(self, destination: orders.Destination) -> pacing.Pace:
        """The pace of a destination, shared by its lanes."""
        with self._lock:
            found = self._paces.get(destination.name)
            if found is None:
                found = self._paces[destination.name] = pacing.Pace(destination, workers=self._workers)
            found.apply(destination)
            return found

    @contextlib.contextmanager
    def _under_way(self, name: str) -> Iterator[Callable[[], int]]:
        """Count a send; what is given says how many others there are."""
        with self._lock:
            self._open[name] += 1
        try:
            yield lambda: self._open[name] - 1
        finally:
            with self._lock:
                self._open[name] -= 1

    def _dicom(self, destination: orders.Destination, consignment: orders.Consignment | None) -> Sender:
        urgent = consignment is not None and consignment.priority is orders.Priority.URGENT
        return peers.Dicom(
            destination,
            self._peer(destination),
            self._calling(destination),
            self._settings.tls,
            pool=self._pool,
            transcoder=self._transcoder,
            memories=self._memories,
            pace=self._pace(destination),
            counting=functools.partial(self._under_way, destination.name),
            priority=1 if urgent else 0,
        )


def _root(destination: orders.Destination) -> pathlib.Path:
    if destination.folder is None:
        raise errors.UsageError(f"destination {destination.name} names no folder")
    return destination.folder
