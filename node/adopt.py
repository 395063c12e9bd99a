"""The adopter: acknowledged instances leave the journals, become files and rows, and free their segments.

One per data directory. Every step may be repeated: the same record gives the same file and the same rows,
so that after a crash or a power loss everything since the last checkpoint is simply done again.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import datetime
import mmap
import os
import select
import threading
import time
from collections.abc import Iterator, Sequence

from node import errors, failpoints, filing, log, metrics, model, rules
from node.dicom import header
from node.files import disk as disks
from node.files import layout, ledger, position, reader, spool
from node.index import db, ingest, lookup
from node.queue import bell
from node.steps import presented

BATCH_RECORDS = 256
BATCH_BYTES = 16 << 20
_CHECKPOINT_BYTES = 64 << 20  # adopted bytes after which a checkpoint is due
_CHECKPOINT_AFTER = 1.0  # seconds after which one is due when there is nothing else to do
_LONG = 5.0  # seconds without a pause after which catching up is worth a line
_FEW = 64  # records; a smaller round waits for company, because each costs a transaction
_GATHER = 0.02  # seconds that it waits, unless somebody asks for what is there
_LONGEST_REASON = 160  # characters of why a coercion failed: a spooled file's head has room for them
_NAP = 0.2  # seconds between looks for new slots, and for the stop
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0  # between tries while the database or the disk refuses


@dataclasses.dataclass(frozen=True, slots=True)
class _Body:
    """An instance's bytes on their way into the tree."""

    record: reader.Record  # from the journal
    item: ingest.Item  # what the index is told


class Adopter:
    """Files what was acknowledged. `run` is for the process that does nothing else, `once` for commands."""

    def __init__(
        self,
        data: layout.Data,
        database: db.Database,
        receipt: Sequence[model.Rule] = (),
        coercions: Sequence[model.Coercion] = (),
        *,
        meter: metrics.Metrics | None = None,
        disk: disks.Disk | None = None,
    ) -> None:
        data.make()
        self._data = data
        self._database = database
        self._meter = meter
        self._disk = disk or disks.Disk()
        self._owner = layout.Lock(data.journal / "adopter.lock", f"the adopter of {data.root}")
        self._wake = position.open_fifo(data.wake)
        self._readers: dict[str, reader.Reader] = {}
        self._committed: dict[str, int] = {}  # by slot: the place behind what is filed and rowed
        self._buffer = bytearray(BATCH_BYTES)
        self._filer = filing.Filer(data, self._disk)
        self._doomed: list[tuple[str, str, int]] = []  # spool files to unlink once their records are durable
        # Opened once: the kernel tells each descriptor of a failed write-back, but only since it was opened.
        self._root_fd = os.open(data.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._checkpoints = concurrent.futures.ThreadPoolExecutor(1, "checkpoint")
        self._checkpoint: concurrent.futures.Future[dict[str, int]] | None = None
        self._dirty = 0  # bytes adopted since the last checkpoint began
        self._last_checkpoint = time.monotonic()
        self._troubled_since: float | None = None
        self._pause = _FIRST_PAUSE
        self.set_rules(receipt, coercions)

    def set_rules(self, receipt: Sequence[model.Rule], coercions: Sequence[model.Coercion] = ()) -> None:
        """Take other rules at receipt, from the next batch on; fit to be called from another thread."""
        named = presented.at_receipt(receipt, coercions, self._data)
        self._rules = (tuple(receipt), rules.needed(receipt), named)

    # -- running --------------------------------------------------------------------------------

    def run(self, stop: threading.Event) -> None:
        """Adopt until told to stop, then what is left, and make it durable."""
        began = time.monotonic()
        self._find_slots()
        log.adopter_started(slots=len(self._readers))
        records = 0
        while not stop.is_set():
            adopted = self._try()
            records += adopted or 0
            if adopted == 0:
                busy = time.monotonic() - began
                if busy > _LONG:
                    log.adopter_caught_up(records=records, seconds=round(busy, 3))
                records = 0
                self._idle(stop)
                began = time.monotonic()
            elif adopted is not None and adopted < _FEW:
                self._doze(_GATHER)
        # The listeners are gone by now: what they acknowledged last is filed before we go.
        self.once(patience=2.0)

    def once(self, *, patience: float | None = None) -> int:
        """Adopt everything that is there and make it durable; return how many instances that was.

        With `patience`, give up after so many seconds of trouble: the journal keeps what is left.
        """
        adopted = 0
        deadline = None if patience is None else time.monotonic() + patience
        while True:
            done = self._try()
            if done is None and deadline is not None and time.monotonic() > deadline:
                return adopted
            adopted += done or 0
            if done == 0:
                if self._finish_checkpoint(wait=True) and self._begin_checkpoint():
                    self._finish_checkpoint(wait=True)
                if self._troubled_since is None or (deadline is not None and time.monotonic() > deadline):
                    return adopted

    def close(self) -> None:
        """Let go of everything; what is not adopted waits in the journals."""
        self._checkpoints.shutdown(wait=True)
        for one in self._readers.values():
            one.asleep(False)
            one.close()
        self._readers.clear()
        for fd in (self._wake, self._root_fd):
            os.close(fd)
        self._owner.release()

    @property
    def waiting(self) -> int:
        """Bytes that were acknowledged and are not filed yet."""
        return sum(one.waiting for one in self._readers.values() if one.behind)

    def wake(self) -> None:
        """End a nap, from another thread."""
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake, b"!")

    def _try(self) -> int | None:
        """One round; None when the database or the disk refused, after a pause."""
        try:
            adopted = self._round()
        except (errors.Transient, OSError) as error:
            now = time.monotonic()
            if self._troubled_since is None:
                self._troubled_since = now
            log.adopter_waits(error=error, retry_in=self._pause)
            for slot, one in self._readers.items():
                one.rewind(self._committed.get(slot))
            time.sleep(self._pause)
            self._pause = min(self._pause * 2, _LONGEST_PAUSE)
            return None
        if adopted and self._troubled_since is not None:
            log.database_recovered(seconds=round(time.monotonic() - self._troubled_since, 3))
        if adopted or self._troubled_since is None:
            self._troubled_since = None
            self._pause = _FIRST_PAUSE
        return adopted

    def _round(self) -> int:
        self._find_slots()
        self._finish_checkpoint(wait=False)
        adopted = 0
        for one in self._readers.values():
            records = one.read(self._buffer, BATCH_RECORDS)
            if records:
                self._adopt(one.slot, records)
                adopted += len(records)
                failpoints.hit("adopt.after-commit")
            self._committed[one.slot] = one.place
            one.publish_adopted(one.place)
            failpoints.hit("adopt.after-publish")
        if adopted:
            bell.ring(self._data, "router")  # they look at what is new
        if self._dirty >= _CHECKPOINT_BYTES:
            self._begin_checkpoint()
        return adopted

    def _idle(self, stop: threading.Event) -> None:
        now = time.monotonic()
        if now - self._last_checkpoint >= _CHECKPOINT_AFTER:
            self._begin_checkpoint()
        for one in self._readers.values():
            one.asleep(True)
        try:
            # Looked at again after saying that we sleep: a writer that published before did not wake us.
            if not stop.is_set() and not any(one.behind for one in self._readers.values()):
                self._doze(_NAP)
        finally:
            for one in self._readers.values():
                one.asleep(False)

    def _doze(self, seconds: float) -> None:
        """Wait so long at most, or until somebody wakes us."""
        select.select([self._wake], [], [], seconds)
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake, 65536)

    def _find_slots(self) -> None:
        for directory in reader.paths(self._data):
            if directory.name not in self._readers:
                self._readers[directory.name] = reader.Reader(self._data, directory.name, self._damaged)

    def _damaged(self, slot: str, generation: int, offset: int, why: str) -> None:
        log.storage_failed(
            what=f"journal record at {generation}:{offset}", error=why, path=self._data.journal / slot
        )

    # -- a batch --------------------------------------------------------------------------------

    def _adopt(self, slot: str, records: Sequence[reader.Record]) -> None:
        began = time.monotonic()
        bodies = [self._body(slot, record) for record in records]
        try:
            decided = self._commit(bodies)
        except (errors.Transient, OSError):
            raise
        except Exception as error:  # noqa: BLE001 - the edge: nothing acknowledged may hold up the rest
            log.unexpected(where="adopt", error=error)
            self._adopt_one_by_one(bodies)
            return
        self._tell(decided)
        size = sum(record.arrival.size for record in records)
        self._dirty += size + 4096 * len(records)
        log.adopter_batch(records=len(records), size=size, seconds=round(time.monotonic() - began, 4))

    def _adopt_one_by_one(self, bodies: Sequence[_Body]) -> None:
        """Something in this batch cannot be rowed: the others must not wait for it."""
        failed: list[tuple[_Body, Exception]] = []
        for body in bodies:
            bare = dataclasses.replace(body, item=dataclasses.replace(body.item, header=None))
            refused: Exception | None = None
            for attempt in (body, bare):
                try:
                    self._tell(self._commit([attempt]))
                except (errors.Transient, OSError):
                    raise
                except Exception as error:  # noqa: BLE001 - as above
                    refused = error
                else:
                    refused = None
                    break
            if refused is not None:
                failed.append((body, refused))
        if len(failed) == len(bodies) > 1:
            # Then it is not they: the index is at fault, and what waits in the journal is safe there.
            raise errors.DatabaseUnavailable(f"the index takes nothing: {failed[0][1]}")
        if failed:
            self._database.probe()
        for body, fault in failed:
            self._set_aside(body, fault)

    def _set_aside(self, body: _Body, error: Exception) -> None:
        """Keep the bytes of what the index cannot take; a rebuild with a mended program takes them in."""
        decided = ingest.Decided(body.item, model.Verdict.QUARANTINED)
        self._filer.file(body.record, decided)
        uid = body.item.arrival.identity.sop_instance
        log.unexpected(where=f"adopt {uid}", error=error)
        log.instance_quarantined(sop_instance=uid, reason="the index cannot take it")

    def _body(self, slot: str, record: reader.Record) -> _Body:
        try:
            with self._bytes(record) as body:
                return _Body(record, self._item(slot, record, body))
        except (OSError, ValueError, errors.NodeError) as error:
            # Whatever it is, it was acknowledged: it is filed with what the command and the check said.
            log.instance_unreadable(sop_instance=record.arrival.identity.sop_instance, why=error)
            return _Body(record, self._item(slot, record, None))

    def _item(self, slot: str, record: reader.Record, body: memoryview | None) -> ingest.Item:
        """What the rules say of an instance, and what the index is to know of it."""
        receipt, needed, coercions = self._rules
        known, elements = self._look(record, body, needed)
        released = record.note.startswith(model.RELEASED)
        if released:
            # What a person released must not be put back by the rule that it was released from.
            receipt = tuple(rule for rule in receipt if rule.action is model.Action.KEEP)
        rule = rules.match(receipt, rules.facts(elements, record.arrival)) if receipt else None
        action, name, reason, keep = model.Action.KEEP, "", "", None
        if rule is not None:
            action, name, reason, keep = rule.action, rule.name, rule.reason, rule.keep
        item = ingest.Item(
            record.arrival, known, slot, record.generation, record.offset, action, name, reason, keep
        )
        if rule is None or rule.coerce is None:
            return item
        return _coerced(item, body, coercions[rule.coerce], released=released)

    def _look(
        self, record: reader.Record, body: memoryview | None, needed: frozenset[str]
    ) -> tuple[header.Header | None, dict[str, tuple[str, ...]]]:
        """The header and the elements that rules ask for; nothing of it when it cannot be read."""
        if body is None:
            return None, {}
        syntax = record.arrival.syntax
        try:
            known = header.attributes(body, syntax)
            return known, header.texts(body, syntax, needed) if needed else {}
        except Exception as error:  # noqa: BLE001 - the edge: a header that breaks its reader is still kept
            log.instance_unreadable(sop_instance=record.arrival.identity.sop_instance, why=error)
            return None, {}

    @contextlib.contextmanager
    def _bytes(self, record: reader.Record) -> Iterator[memoryview]:
        """The data set: from the journal, a spool file, or the store when an earlier try moved it there."""
        if record.payload is not None:
            yield record.payload
            return
        path = self._data.spool / spool.checked(record.spooled)
        if not path.exists():
            path = self._data.root / layout.place(record.arrival, model.Verdict.STORED)
        with open(path, "rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        try:
            with memoryview(mapped) as whole, whole[len(whole) - record.arrival.size :] as body:
                yield body
        finally:
            # A view of it may be left in a traceback; the mapping goes when that does.
            with contextlib.suppress(BufferError):
                mapped.close()

    def _commit(self, bodies: Sequence[_Body]) -> list[ingest.Decided]:
        """Files, ledger lines and rows of a batch, in one transaction of the index."""
        with self._database.write() as connection:
            failpoints.hit("adopt.before-files")
            decided = ingest.decide(connection, [body.item for body in bodies])
            lines: list[dict[str, object]] = []
            damaged: list[str] = []
            for number, body in enumerate(bodies):
                one = decided[number]
                if one.repair:
                    held = lookup.held(connection, one.item.arrival.identity)
                    damaged += [held.path] if held is not None else []
                filed = self._filer.file(body.record, one) if filing.due(one) else None
                if filed is None:
                    lines.append({"kind": ledger.ARRIVAL, **filing.facts(body.record, one).words()})
                    self._forget(body)
                else:
                    decided[number] = filed
                if number == len(bodies) // 2:
                    failpoints.hit("adopt.mid-files")
            ledger.append(self._data, lines)
            failpoints.hit("adopt.after-files")
            ingest.record(connection, decided)
            failpoints.hit("adopt.before-commit")
        for path in damaged:
            # A rebuild must not find the damaged file beside the whole one.
            if all(one.path != path for one in decided):
                self._data.place(path).unlink(missing_ok=True)
        return decided

    def _forget(self, body: _Body) -> None:
        """A spool file that nothing refers to goes after the checkpoint: a replay may need it until then."""
        if body.record.spooled:
            self._doomed.append((body.record.spooled, body.item.slot, body.record.generation))

    # -- checkpoints ----------------------------------------------------------------------------

    def _begin_checkpoint(self) -> bool:
        """Start making everything adopted so far durable; whether that was needed and possible."""
        if self._checkpoint is not None:
            return False
        self._last_checkpoint = time.monotonic()
        places = {slot: one.place for slot, one in self._readers.items() if one.unsynced}
        if not places:
            return False
        self._dirty = 0
        doomed, self._doomed = self._doomed, []
        self._checkpoint = self._checkpoints.submit(self._make_durable, places, doomed)
        return True

    def _make_durable(self, places: dict[str, int], doomed: list[tuple[str, str, int]]) -> dict[str, int]:
        failpoints.hit("adopt.before-checkpoint")
        began = time.monotonic()
        self._disk.sync_filesystem(self._root_fd)
        self._database.durable()
        failpoints.hit("adopt.after-checkpoint")
        for name, _, _ in doomed:
            with contextlib.suppress(OSError):
                (self._data.spool / name).unlink()
        log.checkpoint(segments=len(places), seconds=round(time.monotonic() - began, 4))
        return places

    def _finish_checkpoint(self, *, wait: bool) -> bool:
        """Publish a checkpoint that has ended; False while one runs."""
        running = self._checkpoint
        if running is None:
            return True
        if not wait and not running.done():
            return False
        concurrent.futures.wait([running])
        self._checkpoint = None
        try:
            places = running.result()
        except OSError as error:
            # The kernel may have dropped what it could not write: all of it is filed again.
            self._committed.clear()
            log.storage_failed(what="checkpoint", error=error, path=self._data.root)
            raise disks.failure(error, f"syncing {self._data.root}") from error
        for slot, place in places.items():
            self._readers[slot].publish_synced(place)
        return True

    # -- telling --------------------------------------------------------------------------------

    def _tell(self, decided: Sequence[ingest.Decided]) -> None:
        """One event for each that is not simply stored; counts of all."""
        now = datetime.datetime.now(datetime.UTC)
        counts: dict[str, int] = {}
        for one in decided:
            if one.replayed:
                continue
            arrival = one.item.arrival
            identity = arrival.identity
            verdict = one.verdict
            counts[verdict.value] = counts.get(verdict.value, 0) + 1
            if verdict is model.Verdict.DUPLICATE:
                log.instance_duplicate(
                    sop_instance=identity.sop_instance,
                    series=identity.series,
                    study=identity.study,
                    calling=arrival.calling,
                    association=arrival.association,
                )
            elif verdict is model.Verdict.CONFLICT:
                log.instance_conflict(
                    sop_instance=identity.sop_instance,
                    series=identity.series,
                    study=identity.study,
                    held=one.held or "",
                    came=arrival.digest,
                    calling=arrival.calling,
                    address=arrival.address,
                    association=arrival.association,
                    patient_id=one.item.header.patient_id if one.item.header else None,
                )
            elif verdict is model.Verdict.DISCARDED:
                log.instance_discarded(
                    sop_instance=identity.sop_instance, rule=one.item.rule, reason=one.item.reason
                )
            elif verdict is model.Verdict.QUARANTINED:
                log.instance_quarantined(
                    sop_instance=identity.sop_instance, rule=one.item.rule, reason=one.item.reason
                )
        if self._meter is not None:
            for name, count in counts.items():
                self._meter.adopted(name, count)
            if decided:
                oldest = decided[0].item.arrival.received
                self._meter.adoption(max(0.0, (now - oldest).total_seconds()))


def _coerced(
    item: ingest.Item, body: memoryview | None, coercion: presented.Prepared, *, released: bool
) -> ingest.Item:
    """The instance as it is to be presented; what that cannot be done to is set aside, with the reason.

    Unless a person released it: then it is presented as it came, and its arrival says why.
    """
    arrival = item.arrival
    why = f"coercion {coercion.name}: its header cannot be read"
    try:
        if body is None or item.header is None:
            known = None
        else:
            known = coercion.header(body, arrival.syntax, arrival, item.header)
    except presented.Unfit as error:
        why = str(error)
    except Exception as error:  # noqa: BLE001 - the edge: what breaks a coercion is kept all the same
        log.unexpected(where=f"coerce {arrival.identity.sop_instance}", error=error)
        why = f"coercion {coercion.name}: it broke off ({type(error).__name__})"
    else:
        if known is not None:
            return dataclasses.replace(item, header=known, coercion=coercion.digest)
    if released:
        return dataclasses.replace(item, reason=why[:_LONGEST_REASON])
    return dataclasses.replace(item, action=model.Action.QUARANTINE, reason=why[:_LONGEST_REASON], keep=None)
