"""What programs make comes back into the node, as what a modality sends does."""

from __future__ import annotations

import contextlib
import pathlib
import secrets
import threading
from collections.abc import Sequence

from node import errors, log, model, receive
from node.files import journal, layout, reader, spool
from node.queue import bell

_SEGMENTS = 16 << 20  # bytes of the journal for what programs give back; they are in no hurry


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
