"""`send`: files and folders to a destination or a peer, as they are or as its coercion makes them."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import pathlib
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from node import errors
from node.commands import options, output, persist, targets

if TYPE_CHECKING:
    from node.send import base

_BATCH = 2000  # files whose heads are read before they are sent; a million is sent in constant memory


@dataclasses.dataclass(slots=True)
class Summary:
    """What became of everything that was to be sent."""

    sent: int = 0  # the peer has them
    warnings: int = 0  # of these, with a remark
    failed: int = 0  # the peer has not got them
    transcoded: int = 0  # in another transfer syntax than they are stored in
    skipped: int = 0  # files in folders that are no DICOM instances
    size: int = 0  # bytes of the data sets that were sent
    seconds: float = 0.0  # from the first file to the last answer
    cancelled: bool = False  # by Ctrl-C: what was not sent is not counted

    @property
    def ok(self) -> bool:
        """Whether everything that is DICOM has arrived."""
        return not self.failed


def send(
    peer: Annotated[
        str,
        typer.Argument(
            metavar="TO",
            help="A configured destination's or peer's name, or AET@HOST:PORT.",
            show_default=False,
        ),
    ],
    path: Annotated[
        list[pathlib.Path], typer.Argument(metavar="PATH...", help="DICOM files, or folders of them.")
    ],
    retries: options.Retries = 3,
    config: options.Config = None,
    aet: options.Aet = None,
    as_json: options.Json = False,
) -> None:
    """Send DICOM files to a destination or peer.

    They go in the transfer syntax they are stored in, or where the peer does not take that, in one that it
    takes and that loses nothing.

    Example: dicom-node send PACS@10.0.0.5:104 scans/
    """
    settings = options.settings(config, aet=aet)
    to = targets.target(peer, settings)
    from node import transcoding
    from node.commands import gather
    from node.send import dimse, link

    coercion = None
    if to.coerce is not None:
        from node.steps import coerce

        coercion = coerce.configured(to.coerce)
    lines = _Lines()
    total = None if as_json else sum(1 for _ in gather.files(path))
    with (
        persist.stoppable() as stop,
        stop.calls(_nothing),
        transcoding.Transcoder() as transcoder,
        contextlib.closing(link.Pool()) as pool,
        output.progress(f"to {peer}", total, shown=not as_json) as advance,
    ):
        sender = dimse.Dimse(to.peer, to.calling, settings.tls, transcoder=transcoder, pool=pool)
        summary = run(
            sender,
            gather.items(path, coercion),
            retries=retries,
            advance=advance,
            tell=_json_line if as_json else lines,
            pause=stop.pause,
            stopped=lambda: stop.asked,
        )
    lines.close()
    if as_json:
        output.line({"summary": dataclasses.asdict(summary)})
    else:
        print(_words(summary, sender.describe()))
    if summary.cancelled:
        raise errors.Permanent(f"cancelled after {summary.sent} were sent")
    if not summary.ok:
        raise errors.Transient(f"{summary.failed} of {summary.sent + summary.failed} did not arrive")
    if not summary.sent:
        raise errors.UsageError(f"there is no DICOM instance in {', '.join(map(str, path))}")


def _nothing() -> None:
    """The association is released by itself once nothing more is sent."""


def run(
    sender: base.Sender,
    found: Iterable[Any],
    *,
    retries: int,
    advance: Callable[[int], object],
    tell: Callable[[pathlib.Path, str, bool], None],
    pause: Callable[[float], None] = time.sleep,
    stopped: Callable[[], bool] = lambda: False,
) -> Summary:
    """Send everything, or until it is stopped; what may pass is tried again after a growing pause."""
    summary = Summary()
    begun = time.monotonic()
    batch: list[base.Item] = []
    from node.commands import gather

    for one in found:
        if isinstance(one, gather.Skipped):
            summary.skipped += 1
            # What a person named himself must not be passed over; other files lie about in folders.
            if one.named:
                summary.failed += 1
                tell(one.path, one.why, False)
            advance(1)
            continue
        batch.append(one)
        if len(batch) == _BATCH:
            _send_batch(sender, batch, summary, retries, advance, tell, pause, stopped)
            batch = []
        if stopped():
            break
    _send_batch(sender, batch, summary, retries, advance, tell, pause, stopped)
    summary.cancelled = stopped()
    summary.seconds = time.monotonic() - begun
    return summary


def _send_batch(
    sender: base.Sender,
    items: Sequence[base.Item],
    summary: Summary,
    retries: int,
    advance: Callable[[int], object],
    tell: Callable[[pathlib.Path, str, bool], None],
    pause: Callable[[float], None],
    stopped: Callable[[], bool],
) -> None:
    from node.send import base

    for attempt in range(retries + 1):
        again: list[base.Item] = []
        if stopped():
            return
        firsts = list({(item.sop_class, item.syntax): item for item in items}.values())
        for result in sender.send(base.Stream(firsts, items.__iter__, stopped)):
            match result.outcome:
                case base.Done(_, why):
                    summary.sent += 1
                    summary.size += result.size
                    summary.warnings += bool(why)
                    summary.transcoded += result.syntax not in ("", result.item.syntax)
                    advance(1)
                    for said in (why, *result.notes):
                        if said:
                            tell(result.item.path, said, True)
                case base.Retry() if attempt < retries:
                    again.append(result.item)
                case base.Retry(why) | base.Failed(why):
                    summary.failed += 1
                    advance(1)
                    tell(result.item.path, why, False)
        if not again:
            return
        items = again
        pause(min(2.0**attempt, 30.0))


class _Lines:
    """Prints what went wrong; a reason that many files share is printed with the first few of them."""

    _SHOWN = 3

    def __init__(self) -> None:
        self._counts: collections.Counter[tuple[str, bool]] = collections.Counter()

    def __call__(self, path: pathlib.Path, why: str, arrived: bool) -> None:
        self._counts[why, arrived] += 1
        if self._counts[why, arrived] <= self._SHOWN:
            print(f"{'warning' if arrived else 'FAILED '}  {path}: {why}")

    def close(self) -> None:
        """Say how many were not printed."""
        for (why, _), count in self._counts.items():
            if count > self._SHOWN:
                print(f"... and {count - self._SHOWN} more: {why}")


def _json_line(path: pathlib.Path, why: str, arrived: bool) -> None:
    output.line({"path": path, "arrived": arrived, "says": why})


def _words(summary: Summary, to: str) -> str:
    rate = summary.sent / summary.seconds if summary.seconds else 0.0
    words = [f"{summary.sent} sent to {to} in {summary.seconds:.1f} s"]
    words.append(f"({output.size(summary.size)}, {rate:.0f}/s)")
    for count, what in (
        (summary.warnings, "with warnings"),
        (summary.transcoded, "in another transfer syntax"),
        (summary.skipped, "files passed over"),
    ):
        if count:
            words.append(f"{count} {what}")
    return ", ".join([" ".join(words[:2]), *words[2:]])


def register(app: typer.Typer) -> None:
    """Put the command on the command line."""
    app.command()(send)
