"""What programs make comes back into the node: received like a file import, for the source `command:NAME`."""

from __future__ import annotations

import contextlib
import pathlib
import secrets
import threading
from collections.abc import Sequence

from node import errors, log, model, receive
from node.files import journal, layout, spool

_SLOT = "program"  # the journal that they are acknowledged from, while some come
_SIZE = 64 << 20  # bytes of it


class Intake:
    """Takes files for one worker process; fit for many threads."""

    def __init__(self, data: layout.Data, settings: model.Settings) -> None:
        self._data = data
        self._settings = settings
        self._lock = threading.Lock()

    def apply(self, settings: model.Settings) -> None:
        """Take over a changed configuration."""
        self._settings = settings

    def accept(self, paths: Sequence[str], source: str) -> int:
        """Take files in; how many. What is no sound instance is told and passed over.

        Each is durable before the next. Raises StorageFull, StorageFailed or UsageError: then the same files
        may come again, and what was taken is a duplicate.
        """
        sender = receive.Sender(
            calling="", called="", address="command", peer=source, association=secrets.token_hex(8)
        )
        taken = 0
        settings = self._settings
        with self._lock, contextlib.ExitStack() as stack:
            book = stack.enter_context(contextlib.closing(journal.claim(self._data, _SLOT, size=_SIZE)))
            pool = stack.enter_context(contextlib.closing(spool.Spool(self._data.spool, _SLOT)))
            receiver = receive.Receiver(
                self._data,
                book,
                pool,
                max_instance=settings.limits.max_instance,
                reserve=settings.storage.min_free,
            )
            for path in paths:
                try:
                    receiver.import_file(pathlib.Path(path), sender)
                    taken += 1
                except (receive.Refused, errors.NotFound) as refused:
                    # Its name and its words are the program's: they may be a patient's.
                    why = refused.fault.value if isinstance(refused, receive.Refused) else "unreadable"
                    log.instance_refused(sop_instance="", why=why, peer=source)
        return taken
