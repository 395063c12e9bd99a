"""What a worker process forwards with, put together: senders, courier, queue, and what programs give back."""

from __future__ import annotations

import contextlib
import pathlib
import secrets
import socket
import threading
from collections.abc import Sequence

from node import errors, log, metrics, model, receive, transcoding
from node.files import journal, layout, reader, spool
from node.index import db
from node.push import courier as push
from node.queue import bell, engine
from node.send import destinations

_SEGMENTS = 16 << 20  # bytes of the journal for what programs give back; they are in no hurry


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
        self._back = Back(data, f"back-{role.rpartition('-')[2]}", settings)
        self._senders = destinations.Senders(
            settings,
            data,
            transcoder=self._transcoder,
            database=database,
            accept=self._back.accept,
            workers=lambda: self._engine.workers(),  # noqa: PLW0108 - it is made a few lines below
        )
        self._courier = push.Courier(database, data, self._senders, settings, worker=worker, counts=counts)
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
        self._back.close()


class Back:
    """Takes what programs made into the node as it takes what a modality sends: by its own journal."""

    def __init__(self, data: layout.Data, slot: str, settings: model.Settings) -> None:
        self._data = data
        self._slot = slot
        self._settings = settings
        self._lock = threading.Lock()
        self._stack = contextlib.ExitStack()
        self._receiver: receive.Receiver | None = None

    def accept(self, paths: Sequence[str], source: str) -> int:
        """Take files for a source `command:NAME`; how many. What is no sound instance is told and left out.

        Raises StorageFull or StorageFailed: then none counts as taken, and the same may come again.
        """
        sender = receive.Sender(source, "", "import", source, secrets.token_hex(8))
        receiver = self._open()
        taken = 0
        for path in paths:
            try:
                receiver.import_file(pathlib.Path(path), sender)
                taken += 1
            except (receive.Refused, errors.NotFound) as refused:
                # The file's name is the program's, and may be a patient's.
                why = refused.fault.value if isinstance(refused, receive.Refused) else "unreadable"
                log.instance_refused(sop_instance="", why=why, peer=source)
        bell.ring(self._data)
        return taken

    def apply(self, settings: model.Settings) -> None:
        """Take over changed limits."""
        self._settings = settings
        if self._receiver is not None:
            self._receiver.max_instance = settings.limits.max_instance

    def close(self) -> None:
        """Let go of the journal."""
        self._stack.close()

    def _open(self) -> receive.Receiver:
        """The receiver; made when it is needed first, for few nodes run programs."""
        with self._lock:
            if self._receiver is None:
                own = self._stack.enter_context(
                    contextlib.closing(journal.Journal(self._data, self._slot, size=_SEGMENTS, whole=False))
                )
                pool = self._stack.enter_context(
                    contextlib.closing(spool.Spool(self._data.spool, self._slot))
                )
                pool.sweep(lambda: reader.spooled_names(self._data, self._slot))
                self._receiver = receive.Receiver(
                    self._data,
                    own,
                    pool,
                    max_instance=self._settings.limits.max_instance,
                    reserve=self._settings.storage.min_free,
                )
            return self._receiver
