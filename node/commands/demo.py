"""`demo`: the journey of a study through a node, and on to two archives of which neither behaves."""

from __future__ import annotations

import contextlib
import pathlib
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Annotated

import typer

from node import errors
from node.commands import acts, journey, neighbour, onward, volumes

Act = Callable[[acts.Story, journey.Step], None]

ACTS: dict[str, Act] = {
    "make a study": acts.make,
    "start a node, two archives": acts.start,
    "the scanner sends, and pauses": onward.first,
    "settled, routed, sent on": onward.settled,
    "one archive refuses one": onward.refuses,
    "one dies, the rest comes": onward.dies,
    "a volume is made of it": volumes.made,
    "filed and indexed": acts.filed,
    "found by patient and date": acts.found,
    "fetched back": acts.retrieved,
    "storage commitment": acts.commit,
    "one lane is down, not both": onward.lane_down,
    "the dead one comes back": onward.comes_back,
    "a dead letter is replayed": onward.replayed,
    "a lost one is found out": onward.found_out,
    "both have every byte": onward.compare,
    "why": onward.why,
    "audit": acts.audit,
    "stop": acts.stop,
}


def demo(
    keep: Annotated[
        pathlib.Path | None,
        typer.Option(metavar="DIR", help="Leave everything in this new directory.", show_default=False),
    ] = None,
    plain: Annotated[bool, typer.Option("--plain", help="Lines instead of a live table.")] = False,
) -> None:
    """Show the journey of a synthetic study: received, found, fetched, committed, sent on to two archives.

    Starts a node and its archives in a temporary directory, and stops them again. Nothing else is touched.

    Example: dicom-node demo --keep /tmp/demo
    """
    begun = time.monotonic()
    live = sys.stdout.isatty() and not plain
    with _folder(keep) as folder, _started(folder) as story:
        heading = "The journey of a study through a node"
        try:
            with journey.Journey(list(ACTS), heading=heading, live=live) as shown:
                run(story, shown)
        except errors.NodeError as error:
            # The temporary directory goes with this process, so the logs are told now.
            for one in story.all:
                print(f"\nthe end of {one.aet}'s log: {one.tail()}", file=sys.stderr)
            raise errors.Permanent(f"the demo failed: {error}") from error
        _summary(story, time.monotonic() - begun, kept=keep is not None)


def run(story: acts.Story, shown: journey.Journey) -> None:
    """Go through every act; the first that fails ends it."""
    for act in ACTS.values():
        with shown.step() as line:
            act(story, line)


@contextlib.contextmanager
def _folder(keep: pathlib.Path | None) -> Iterator[pathlib.Path]:
    if keep is not None:
        try:
            keep.mkdir(parents=True)
        except OSError as error:
            raise errors.UsageError(
                f"--keep {keep} cannot be made ({error.strerror}): name a new one"
            ) from error
        yield keep.resolve()
        return
    made = pathlib.Path(tempfile.mkdtemp(prefix="dicom-node-demo-"))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


@contextlib.contextmanager
def _started(folder: pathlib.Path) -> Iterator[acts.Story]:
    """The node and its archives, not started yet; none of them is left behind."""
    ports = neighbour.free_ports(4)
    config = onward.configuration(folder / "node.toml", ports[2], ports[3])
    faulty = ["faulty-pacs", "--aet", "ARCHIVE", "--port", str(ports[3])]
    faulty += ["--status", f"A900@{onward.REFUSED}", "--forget", str(onward.FORGOTTEN)]
    faulty += ["--journal", str(folder / onward.JOURNAL)]
    story = acts.Story(
        folder,
        neighbour.Neighbour(folder, "NODE", ports[0], ports[1], config=config),
        neighbour.Neighbour(folder, "PACS", ports[2]),
        neighbour.Neighbour(folder, "ARCHIVE", ports[3], words=faulty),
    )
    try:
        yield story
    finally:
        for one in story.all:
            one.kill()


def _summary(story: acts.Story, seconds: float, *, kept: bool) -> None:
    print(f"\nDone in {seconds:.1f} s.")
    for fact in story.facts:
        print(f"  {fact}")
    node = story.node
    if kept:
        print(f"Everything is in {story.folder}. Try:")
        print(f"  dicom-node images list --data {node.data}")
        print(f"  dicom-node queue list --state done --data {node.data}")
        print(f"  dicom-node why {story.refused} --data {node.data}")
        print(f"  dicom-node audit --deep --data {node.data}")
        print(f"  dicom-node run --data {node.data}")
    else:
        print("It was in a temporary directory and is gone; --keep DIR leaves it. Try:")
        print("  dicom-node run")
        print("  dicom-node send NODE@127.0.0.1:11112 FOLDER")
        print("  dicom-node find NODE@127.0.0.1:11112 date=today")
        print("  dicom-node images list")


def register(app: typer.Typer) -> None:
    """Put the command on the command line."""
    app.command()(demo)
