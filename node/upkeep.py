"""What keeps a store in order by the clock or by hand: retention, removal of files, scrub, the deep audit."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import itertools
import pathlib
import time
from collections.abc import Callable, Iterable, Iterator

import sqlalchemy

from node import errors, failpoints, log, model
from node.files import coercions, journal, layout, ledger, scrub
from node.files import disk as disks
from node.index import aside, db, lookup, progress, remove, restore, retain, witness
from node.index import ledger as owed

SCRUB = "scrub"
RETENTION = "retention"  # who removed, in the audit trail
_PAGE = 256


@dataclasses.dataclass(frozen=True, slots=True)
class Retained:
    """What a retention run did."""

    series: int  # how many were removed
    instances: int  # in them
    bytes: int  # of their data sets
    files: int  # that are gone


def retention(
    data: layout.Data,
    database: db.Database,
    policy: model.RetentionSettings,
    *,
    now: datetime.datetime | None = None,
    stop: Callable[[], bool] = lambda: False,
    undelivered: retain.Undelivered = owed.undelivered,
) -> Retained:
    """Remove what the rules and the policy keep no longer: the rows of a series at a time, then the files."""
    at = now or datetime.datetime.now(datetime.UTC)
    began = time.monotonic()
    log.retention_started(max_age=policy.max_age, max_size=policy.max_size)
    series = instances = size = 0
    seen: set[int] = set()
    while not stop():
        with database.read() as connection:
            found = retain.by_age(connection, at, policy.max_age, undelivered=undelivered)
            if not found and policy.max_size is not None:
                found = retain.by_size(connection, at, policy.max_size, undelivered=undelivered)
        # What changed since it was chosen is left; it must not be chosen for ever.
        fresh = [one for one in found if one.key not in seen]
        if not fresh:
            break
        for one in fresh:
            seen.add(one.key)
            with database.write() as connection:
                gone = retain.drop(
                    connection,
                    one,
                    who=RETENTION,
                    now=at,
                    undelivered=undelivered,
                    witness=witness.Witness(data),
                )
            if gone:
                series += 1
                instances += len(gone)
                size += sum(each.size for each in gone)
                log.retention_removed(study=one.study, instances=len(gone), size=one.bytes, why=one.why)
            if stop():
                break
    files = purge(data, database)
    log.retention_finished(
        studies=series, instances=instances, size=size, seconds=round(time.monotonic() - began, 3)
    )
    return Retained(series, instances, size, files)


def purge(data: layout.Data, database: db.Database) -> int:
    """Unlink the files of what was removed from the index, each with a line of the ledger first.

    What was begun and never committed is forgotten here: nobody else can be at it, for this holds the lock.
    """
    failpoints.hit("sweep.after-rows")
    files = 0
    while True:
        with database.write() as connection:
            dues = remove.doomed(connection, _PAGE)
            if not dues:
                begun = ledger.intents(data)
                if begun:
                    database.durable()
                    ledger.forget(data, begun)
                return files
            # A power loss must not bring rows back whose files are gone.
            database.durable()
            removed = restore.removals(connection, [due.deletion for due in dues])
            ledger.append(data, [_line(data, due, removed[due.deletion]) for due in dues], sync=True)
            failpoints.hit("sweep.after-ledger")
            for due in dues:
                if not due.reused:
                    with contextlib.suppress(FileNotFoundError, errors.BadData):
                        _unlink(data.place(due.path))
                        files += 1
            failpoints.hit("sweep.after-files")
            remove.files_removed(connection, [due.deletion for due in dues])
            _tell(removed.values())


def _tell(removed: Iterable[remove.Removed]) -> None:
    """Journal what people removed; retention has told of its own series by series."""
    for (by, why, series), ones in itertools.groupby(removed, lambda one: (one.who, one.why, one.series)):
        if by != RETENTION:
            gone = list(ones)
            size = sum(one.size for one in gone)
            log.deletion(by=by, why=why, scope="series", uid=series, instances=len(gone), size=size)


def _line(data: layout.Data, due: remove.Doomed, removed: remove.Removed) -> dict[str, object]:
    """A deletion, with the receipt facts of the file that goes."""
    fact: dict[str, object] = {"kind": ledger.DELETION, "removed": dataclasses.asdict(removed)}
    if not due.reused:
        with contextlib.suppress(OSError, errors.BadData):
            facts, _ = layout.read_head(data.place(due.path))
            fact["arrival"] = facts.words()
    return fact


def _unlink(path: pathlib.Path) -> None:
    try:
        path.unlink()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise disks.failure(error, f"removing {path}") from error


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """An instance whose bytes are not as they came."""

    instance: model.Instance  # as the index knows it
    state: model.Held  # CORRUPT or MISSING
    why: str  # in words


@dataclasses.dataclass(frozen=True, slots=True)
class Scrubbed:
    """What a scrub saw."""

    instances: int  # looked at in this run
    bytes: int  # of their data sets
    findings: tuple[Finding, ...]  # the first thousand that are not whole
    complete: bool  # it came to the end; the next one starts anew


def scrub_store(
    data: layout.Data,
    database: db.Database,
    *,
    rate: int | None = None,
    anew: bool = False,
    stop: Callable[[], bool] = lambda: False,
    seen: Callable[[int, int], None] = lambda _instances, _size: None,
) -> Scrubbed:
    """Verify digests from where the last scrub stopped; `rate` in bytes a second, `seen` after each page."""
    began = time.monotonic()
    with database.read() as connection:
        saved = None if anew else progress.load(connection, SCRUB)
    stage, after = _resumed(saved)
    log.scrub_started(resumed_at=saved or "", rate=rate)
    limit = scrub.Rate(rate)
    instances = size = corrupt = missing = 0
    findings: list[Finding] = []
    complete = False
    while not stop():
        kind = _STAGES[stage]
        with database.read() as connection:
            page = _page(connection, kind, after)
        if not page:
            stage, after = stage + 1, 0
            complete = stage == len(_STAGES)
            if complete:
                break
            continue
        changed: list[tuple[int, model.Instance, model.Held]] = []
        for key, instance, state in page:
            now, why = _judge(data, instance, limit)
            if now is model.Held.MISSING and kind and not _still(database, kind, key):
                now = None  # a person decided it between the page and the look
            if now is not None and now is not state:
                changed.append((key, instance, now))
            if now is not None and now is not model.Held.HELD:
                corrupt += now is model.Held.CORRUPT
                missing += now is model.Held.MISSING
                if len(findings) < 1000:
                    findings.append(Finding(instance, now, why))
            instances += 1
            size += instance.size
            after = key
            if stop():
                break
        # The rows of what was set aside have no state: each scrub finds it anew.
        _note(database, [] if kind else changed, f"{kind}:{after}" if kind else str(after))
        seen(instances, size)
    if complete:
        with database.write() as connection:
            progress.clear(connection, SCRUB)
    log.scrub_finished(
        instances=instances,
        size=size,
        corrupt=corrupt,
        missing=missing,
        seconds=round(time.monotonic() - began, 3),
    )
    return Scrubbed(instances, size, tuple(findings), complete)


_STAGES: tuple[aside.Kind | None, ...] = (None, *aside.Kind)  # of a scrub: the store, then what was set aside


def _resumed(saved: str | None) -> tuple[int, int]:
    """The stage of a scrub and the key that it came to; the beginning for what nobody of us wrote."""
    name, _, key = (saved or "").rpartition(":")
    stages = {str(kind or ""): number for number, kind in enumerate(_STAGES)}
    return (stages[name], int(key)) if name in stages and key.isdigit() else (0, 0)


def _page(
    connection: sqlalchemy.Connection, kind: aside.Kind | None, after: int, limit: int = _PAGE
) -> list[tuple[int, model.Instance, model.Held]]:
    """What is to be looked at next, of the store or of what was set aside."""
    if kind is None:
        return lookup.each(connection, after, limit)
    found = aside.each(connection, kind, after, limit)
    return [(entry.key, entry.instance, model.Held.HELD) for entry in found]


def _still(database: db.Database, kind: aside.Kind, key: int) -> bool:
    """Whether something set aside is still there."""
    with database.read() as connection:
        return any(entry.key == key for entry in aside.each(connection, kind, key - 1, 1))


def _judge(
    data: layout.Data, instance: model.Instance, rate: scrub.Rate | None = None
) -> tuple[model.Held | None, str]:
    """How it stands with the bytes of an instance; None when the disk does not say."""
    try:
        path = data.place(instance.path)
        why = scrub.verify(path, instance.offset, instance.size, instance.digest, rate)
    except errors.NotFound as error:
        log.scrub_missing(sop_instance=instance.identity.sop_instance, path=instance.path)
        return model.Held.MISSING, str(error)
    except errors.BadData as error:
        return model.Held.MISSING, str(error)
    except errors.StorageFailed as error:
        log.storage_failed(what="scrub", error=error, path=instance.path)
        return None, str(error)
    if why:
        log.scrub_corrupt(
            sop_instance=instance.identity.sop_instance,
            path=instance.path,
            expected=instance.digest,
            found=why,
        )
        return model.Held.CORRUPT, why
    return model.Held.HELD, ""


def _note(database: db.Database, changed: list[tuple[int, model.Instance, model.Held]], place: str) -> None:
    """Write down what a page showed; a file that was deleted or mended meanwhile is looked at again."""
    with database.write() as connection:
        for key, instance, state in changed:
            now = [row for row in lookup.each(connection, key - 1, 1) if row[0] == key]
            if now and now[0][1].path == instance.path:
                lookup.mark(connection, key, state)
        progress.save(connection, SCRUB, place, datetime.datetime.now(datetime.UTC))


@dataclasses.dataclass(frozen=True, slots=True)
class Astray:
    """The tree and the index do not say the same."""

    path: str  # below the data directory
    why: str  # in words


def _astray_coercions(data: layout.Data, database: db.Database) -> Iterator[Astray]:
    """Steps that instances are presented through, and that are not there to be applied."""
    with database.read() as connection:
        digests = lookup.coercions(connection)
    for digest in digests:
        try:
            coercions.read(data, digest)
        except errors.NodeError as error:
            yield Astray(f"coercions/{digest}.json", str(error))


def deep_audit(data: layout.Data, database: db.Database) -> Iterator[Astray]:
    """Hold every row against its file, by existence and length, and every file against its row."""
    for kind, top in zip(_STAGES, (data.store, data.conflicts, data.quarantine), strict=True):
        yield from _astray_rows(data, database, kind)
        yield from _astray_files(data, database, kind, top)
    yield from _astray_coercions(data, database)


def _astray_rows(data: layout.Data, database: db.Database, kind: aside.Kind | None) -> Iterator[Astray]:
    after = 0
    while True:
        with database.read() as connection:
            page = _page(connection, kind, after, 1000)
        if not page:
            return
        for key, instance, _ in page:
            after = key
            why = _misplaced(data, instance)
            if why and (kind is None or _still(database, kind, key)):
                yield Astray(instance.path, why)


def _astray_files(
    data: layout.Data, database: db.Database, kind: aside.Kind | None, top: pathlib.Path
) -> Iterator[Astray]:
    suspects: list[tuple[pathlib.Path, model.Identity]] = []
    for path in layout.tree(top):
        try:
            facts, _ = layout.read_head(path)
        except (OSError, errors.BadData) as error:
            if path.exists():
                yield Astray(_place(data, path), str(error))
            continue
        if not _accounted(data, database, kind, path, facts.arrival.identity):
            suspects.append((path, facts.arrival.identity))
    if suspects and layout.holder(data.root) is not None:
        journal.barrier(data, _SETTLING)  # the file of what is being filed is there before its row
    for path, identity in suspects:
        if path.exists() and not _accounted(data, database, kind, path, identity):
            yield Astray(_place(data, path), _NO_ROW)


_SETTLING = 10.0  # seconds that a running node gets to file what it acknowledged
_NO_ROW = "no row of the index has this file: stop the node, and `dicom-node rebuild` takes it in"


def _place(data: layout.Data, path: pathlib.Path) -> str:
    return str(path.relative_to(data.root))


def _accounted(
    data: layout.Data,
    database: db.Database,
    kind: aside.Kind | None,
    path: pathlib.Path,
    identity: model.Identity,
) -> bool:
    """Whether a row has this file, or it waits for its removal."""
    place = _place(data, path)
    with database.read() as connection:
        if kind is None:
            held = lookup.held(connection, identity)
            known = held is not None and held.path == place
        else:
            known = any(entry.path == place for entry in aside.named(connection, identity.sop_instance))
        return known or remove.awaited(connection, place)


def _misplaced(data: layout.Data, instance: model.Instance) -> str:
    try:
        size = data.place(instance.path).stat().st_size
    except FileNotFoundError:
        return "the file is gone"
    except (OSError, errors.BadData) as error:
        return str(error)
    if size != instance.offset + instance.size:
        return f"the file has {size} bytes and should have {instance.offset + instance.size}"
    return ""
