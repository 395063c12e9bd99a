"""What a worker process forwards with, put together: senders, courier, queue, and what programs give back."""

from __future__ import annotations

import socket

from node import converters, metrics, model, transcoding
from node.files import layout
from node.index import db
from node.push import back
from node.push import courier as push
from node.queue import engine
from node.send import destinations


class Forwarding:
    """The forwarding of one worker process; `run` is its loop, `end` ends it from another thread."""

    def __init__(
        self,
        database: db.Database,
        data: layout.Data,
        settings: model.Settings,
        counts: metrics.Metrics | None = None,
        *,
        role: str = "work-1",
        version: str = "",
    ) -> None:
        # The same after a restart, and another one on each machine that shares the database.
        worker = f"{role}@{socket.gethostname()}"
        self._transcoder = transcoding.Transcoder(data.spool)
        self._back = back.Back(data, f"back-{role.rpartition('-')[2]}", settings)
        self._senders = destinations.Senders(
            settings,
            data,
            transcoder=self._transcoder,
            database=database,
            accept=self._back.accept,
            workers=lambda: self._engine.workers(),  # noqa: PLW0108 - it is made a few lines below
        )
        self._converter = converters.Converter()
        self._courier = push.Courier(
            database,
            data,
            self._senders,
            settings,
            worker=worker,
            counts=counts,
            converter=self._converter,
            transcoder=self._transcoder,
        )
        self._engine = engine.Engine(
            database, data, self._courier, settings, worker=worker, name=role, version=version
        )

    def run(self) -> None:
        """Send what is due until it is ended."""
        self._engine.run()

    def end(self) -> None:
        """Make `run` return: lanes finish the item under way."""
        self._engine.end()

    def apply(self, settings: model.Settings) -> None:
        """Take over a changed configuration."""
        self._back.apply(settings)
        self._courier.apply(settings)
        self._engine.apply(settings)

    def close(self) -> None:
        """Let go of books, associations, programs and the journal."""
        self._courier.close(recorded=self._engine.clean)
        self._senders.close()
        self._transcoder.close()
        self._converter.close()
        self._back.close()
