"""`import`: files and folders into the store, by the durable way that instances from the network take."""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import itertools
import pathlib
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from node import errors, model
from node.commands import opening, options, output

if TYPE_CHECKING:
    from node import receive
    from node.files import layout

THREADS = 4  # they share the syncs of the journal
_AHEAD = 64  # files handed to the threads before one of them is done
_SEGMENTS = 64 << 20  # bytes of journal that an import takes


@dataclasses.dataclass(frozen=True, slots=True)
class Refusal:
    """A file that was not taken."""

    path: pathlib.Path  # the file
    why: str  # one sentence
    named: bool  # the person named it himself


@dataclasses.dataclass(slots=True)
class Summary:
    """What became of everything."""

    taken: int = 0  # durable and filed; duplicates of what is held among them
    refused: int = 0  # files that were named, or are DICOM and cannot be taken
    skipped: int = 0  # files in folders that are not DICOM
    size: int = 0  # bytes of the data sets
    seconds: float = 0.0  # all together


def import_(
    path: Annotated[
        list[pathlib.Path], typer.Argument(metavar="PATH...", help="DICOM files, or folders of them.")
    ],
    config: options.Config = None,
    data: options.Data = None,
    as_json: options.Json = False,
) -> None:
    """Take files into the store, beside a running node or without one.

    Example: dicom-node import /media/cdrom --data /srv/images
    """
    settings = options.settings(config, data=data)
    from node.commands import gather

    total = None if as_json else sum(1 for _ in gather.files(path))

    def tell(refusal: Refusal) -> None:
        if as_json:
            output.line(refusal)
        else:
            print(f"REFUSED  {refusal.path}: {refusal.why}")

    with receiver(settings) as take, output.progress("import", total, shown=not as_json) as advance:
        summary = run(take, gather.files(path), advance=advance, tell=tell)
    if as_json:
        output.line({"summary": summary})
    else:
        rate = summary.taken / summary.seconds if summary.seconds else 0.0
        words = f"{summary.taken} instances taken in ({output.size(summary.size)}, {rate:.0f}/s)"
        if summary.skipped:
            words += f", {summary.skipped} files passed over that are not DICOM"
        print(words)
    if summary.refused:
        raise errors.Permanent(f"{summary.refused} files were refused")
    if not summary.taken:
        raise errors.UsageError(f"there is no DICOM instance in {', '.join(map(str, path))}")


@contextlib.contextmanager
def receiver(settings: model.Settings) -> Iterator[receive.Receiver]:
    """Open a journal of our own; where no node runs, an adopter too, and everything is filed at the end."""
    from node import receive
    from node.files import journal, layout, spool

    root = settings.node.data
    with contextlib.ExitStack() as stack:
        if layout.holder(root) is None:
            where = stack.enter_context(layout.owned(root))
            stack.enter_context(_adopter(settings, where))
        else:
            where = layout.Data(root)
        log = stack.enter_context(contextlib.closing(journal.claim(where, "import", size=_SEGMENTS)))
        pool = stack.enter_context(contextlib.closing(spool.Spool(where.spool, "import")))
        yield receive.Receiver(
            where,
            log,
            pool,
            max_instance=settings.limits.max_instance,
            reserve=settings.storage.min_free,
        )
        if not journal.barrier(where, 600.0):
            raise errors.DatabaseUnavailable(
                "everything taken is durable, but not all of it is filed yet: look at the node's log"
            )


@contextlib.contextmanager
def _adopter(settings: model.Settings, where: layout.Data) -> Iterator[None]:
    from node import adopt
    from node.files import layout
    from node.index import db, migrate

    opening.quiet()
    database = db.open(layout.index_url(settings))
    try:
        migrate.upgrade(database, lambda _: None)
        adopter = adopt.Adopter(where, database, settings.rules, settings.coerce)
        stop = threading.Event()
        thread = threading.Thread(target=adopter.run, args=(stop,), name="adopter")
        thread.start()
        try:
            yield
        finally:
            stop.set()
            adopter.wake()
            thread.join()
            adopter.close()
    finally:
        database.close()


def run(
    take: receive.Receiver,
    found: Iterable[tuple[pathlib.Path, bool]],
    *,
    advance: Callable[[int], object],
    tell: Callable[[Refusal], None],
) -> Summary:
    """Take every file; a fault of the storage ends it, a fault of a file does not."""
    from node import receive

    summary = Summary()
    begun = time.monotonic()
    sender = receive.Sender("", "", "import", "", secrets.token_hex(8))

    def one(path: pathlib.Path, named: bool) -> model.Arrival | Refusal:
        try:
            return take.import_file(path, sender)
        except receive.Refused as refused:
            plain = refused.fault is receive.Fault.NOT_DICOM and not named
            return Refusal(path, "" if plain else str(refused), named)
        except errors.NotFound as error:
            return Refusal(path, str(error), named)

    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        files = iter(found)
        waiting = {pool.submit(one, *file) for file in itertools.islice(files, _AHEAD)}
        while waiting:
            done, waiting = concurrent.futures.wait(waiting, return_when=concurrent.futures.FIRST_COMPLETED)
            for future in done:
                _count(summary, future.result(), tell)
                advance(1)
            waiting |= {pool.submit(one, *file) for file in itertools.islice(files, len(done))}
    summary.seconds = time.monotonic() - begun
    return summary


def _count(summary: Summary, outcome: model.Arrival | Refusal, tell: Callable[[Refusal], None]) -> None:
    if isinstance(outcome, model.Arrival):
        summary.taken += 1
        summary.size += outcome.size
    elif outcome.why:
        summary.refused += 1
        tell(outcome)
    else:
        summary.skipped += 1


def register(app: typer.Typer) -> None:
    """Put the command on the command line."""
    app.command("import")(import_)
