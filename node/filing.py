"""Acknowledged bytes take their place in the tree: whole or not there, and again without a difference."""

from __future__ import annotations

import dataclasses
import os
import pathlib

from node import errors, log, model
from node.files import disk as disks
from node.files import layout, reader, spool, whole
from node.index import ingest


class Filer:
    """Writes files for the adopter; doing it again changes nothing."""

    def __init__(self, data: layout.Data, disk: disks.Disk) -> None:
        self._data = data
        self._disk = disk
        self._directories: set[str] = set()  # that are known to be there
        self._writer = whole.Writer(disk)
        self._temporary = str(data.spool / "adopt.new")
        pathlib.Path(self._temporary).unlink(missing_ok=True)

    def file(self, record: reader.Record, one: ingest.Decided) -> ingest.Decided | None:
        """Put the bytes where the verdict says; None when the same bytes were set aside there before.

        The same place for the same arrival, however often it is done.
        """
        of = facts(record, one)
        place = layout.place(record.arrival, of.verdict)
        path = f"{self._data.root}/{place}"
        if of.verdict in _ASIDE and _is_anothers(path, of):
            return None
        self._directory(path)
        if record.payload is None:
            head = layout.head(of, room=layout.FACTS_ROOM)
            self._move(record, path, head)
        else:
            head = layout.head(of)
            self._write(path, head, record.payload)
        return dataclasses.replace(one, path=place, offset=len(head))

    def _write(self, path: str, head: bytes, payload: memoryview) -> None:
        try:
            self._writer.write(self._temporary, head, payload)
            self._disk.rename(self._temporary, path)
        except OSError as error:
            self._directories.clear()
            raise disks.failure(error, f"writing {path}") from error

    def _move(self, record: reader.Record, path: str, head: bytes) -> None:
        """A spooled file is already whole; its head learns the verdict, and its name changes."""
        source = self._data.spool / spool.checked(record.spooled)
        # An earlier try may have moved it, and a power loss have torn the head that it wrote.
        moved = not source.exists() and os.path.exists(path)
        try:
            fd = os.open(path if moved else source, os.O_WRONLY | os.O_CLOEXEC)
            try:
                if os.fstat(fd).st_size == len(head) + record.arrival.size:
                    self._disk.write(fd, (head,), 0)
                else:
                    log.storage_failed(what="spooled instance", error="its length is another", path=source)
            finally:
                os.close(fd)
            if not moved:
                self._disk.rename(source, path)
        except FileNotFoundError:
            # Nothing to wait for: the row is made, and the audit and the scrub say what is missing.
            log.storage_failed(what="spooled instance", error="its file is gone", path=source)
        except OSError as error:
            raise disks.failure(error, f"moving {source} to {path}") from error

    def _directory(self, path: str) -> None:
        directory = os.path.dirname(path)
        if directory not in self._directories:
            try:
                os.makedirs(directory, 0o750, exist_ok=True)
            except OSError as error:
                raise disks.failure(error, f"making {directory}") from error
            if len(self._directories) > 4096:
                self._directories.clear()
            self._directories.add(directory)


_ASIDE = frozenset({model.Verdict.CONFLICT, model.Verdict.QUARANTINED})
_FILED = frozenset({model.Verdict.STORED, *_ASIDE})


def due(one: ingest.Decided) -> bool:
    """Whether a file is to be written."""
    if one.gone:
        return False  # it was deleted since, and perhaps another came
    return one.verdict in _FILED or one.repair


def facts(record: reader.Record, one: ingest.Decided) -> layout.Facts:
    """What the file, or the ledger, tells of an arrival."""
    item = one.item
    return layout.Facts(
        item.arrival,
        item.slot,
        item.generation,
        item.position,
        one.verdict,
        item.rule,
        item.reason,
        item.keep,
        record.note,
        item.coercion if due(one) else "",
    )


def _is_anothers(path: str, of: layout.Facts) -> bool:
    """Whether the same bytes were set aside there by an earlier arrival."""
    try:
        held, offset = layout.read_head(path)
        size = os.stat(path).st_size
    except (OSError, errors.BadData):
        return False
    same = (held.slot, held.generation, held.position) == (of.slot, of.generation, of.position)
    return not same and size == offset + held.arrival.size
