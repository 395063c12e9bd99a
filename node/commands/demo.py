"""`demo`: the journey of a study through a node and on to a PACS that goes down and comes back."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import pathlib
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from node import errors, model
from node.commands import journey, neighbour, output

if TYPE_CHECKING:
    from node.commands import phantom
    from node.index import db
    from node.send import base

AET = "DEMO"  # what the demo calls itself
SLICES = 60
KILL_AFTER = 20  # instances that the PACS has when it is killed
PATIENT = "PACS-4711"  # the Patient ID that the PACS wants
_READY_WITHIN = 25.0
_FILED_WITHIN = 15.0
_DELIVERED_WITHIN = 40.0

STEPS = [
    "make a study",
    "start a node and a PACS",
    "send the study to the node",
    "filed and indexed",
    "found by patient and date",
    "fetched back",
    "storage commitment",
    "change the Patient ID",
    "send on, and the PACS dies",
    "the PACS comes back",
    "the PACS has every byte",
    "audit",
    "stop",
]


@dataclasses.dataclass(slots=True)
class Story:
    """What the steps hand on to each other."""

    folder: pathlib.Path  # everything is in it
    node: neighbour.Neighbour  # the node
    pacs: neighbour.Neighbour  # the PACS: another node
    study: phantom.Study | None = None  # what was made
    items: list[base.Item] = dataclasses.field(default_factory=list)  # as sent to the node
    changed: list[base.Item] = dataclasses.field(default_factory=list)  # as sent to the PACS
    waiting: list[base.Item] = dataclasses.field(default_factory=list)  # of these, not delivered yet
    facts: list[str] = dataclasses.field(default_factory=list)  # for the summary


def demo(
    keep: Annotated[
        pathlib.Path | None,
        typer.Option(metavar="DIR", help="Leave everything in this new directory.", show_default=False),
    ] = None,
    plain: Annotated[bool, typer.Option("--plain", help="Lines instead of a live table.")] = False,
) -> None:
    """Show the journey of a synthetic study: received, found, fetched, committed, changed, sent on.

    Starts a node and a small PACS in a temporary directory, and stops them again. Nothing else is touched.

    Example: dicom-node demo --keep /tmp/demo
    """
    begun = time.monotonic()
    live = sys.stdout.isatty() and not plain
    with _folder(keep) as folder, _neighbours(folder) as (node, pacs):
        story = Story(folder, node, pacs)
        heading = "The journey of a study through a node"
        try:
            with journey.Journey(STEPS, heading=heading, live=live) as shown:
                run(story, shown)
        except errors.NodeError as error:
            # The temporary directory goes with this process, so the logs are told now.
            for one in (node, pacs):
                print(f"\nthe end of {one.aet}'s log: {one.tail()}", file=sys.stderr)
            raise errors.Permanent(f"the demo failed: {error}") from error
        _summary(story, time.monotonic() - begun, kept=keep is not None)


def run(story: Story, shown: journey.Journey) -> None:
    """Go through every step; the first that fails ends it."""
    for step in (
        _make,
        _start,
        _send,
        _filed,
        _found,
        _retrieved,
        _commit,
        _change,
        _send_on,
        _comes_back,
        _compare,
        _audit,
        _stop,
    ):
        with shown.step() as line:
            step(story, line)


def _make(story: Story, line: journey.Step) -> None:
    from node.commands import phantom

    # The nodes need a while to start: they begin while the study is being made.
    story.node.start()
    story.pacs.start()
    folder = story.folder / "made"
    folder.mkdir()
    story.study = phantom.study(folder, slices=SLICES)
    story.items = _items(folder)
    size = sum(item.size for item in story.items)
    line.says = f"{len(story.items)} CT slices of a head that never was, {output.size(size)}"


def _start(story: Story, line: journey.Step) -> None:
    for one in (story.node, story.pacs):
        line.says = f"waiting for {one.aet}"
        one.wait(_READY_WITHIN)
    line.says = (
        f"{story.node.aet} on port {story.node.peer.port}, {story.pacs.aet} on port {story.pacs.peer.port}; "
        "both answer a C-ECHO"
    )


def _send(story: Story, line: journey.Step) -> None:
    from node.send import base, dimse

    begun = time.monotonic()
    done = 0
    for result in dimse.Dimse(story.node.peer, AET).send(story.items):
        if not isinstance(result.outcome, base.Done):
            raise errors.Permanent(f"{result.item.path.name}: {result.outcome.why}")
        done += 1
        line.says = f"{done} of {len(story.items)} answered with 0000"
    rate = done / (time.monotonic() - begun)
    line.says += f", {rate:.0f} a second; each was on the disk before its answer"
    story.facts.append(f"{done} instances stored at {rate:.0f} a second, synced and journalled")


def _filed(story: Story, line: journey.Step) -> None:
    from node.files import journal, layout

    begun = time.monotonic()
    if not journal.barrier(layout.Data(story.node.data), _FILED_WITHIN):
        raise errors.Transient(f"not everything was filed within {_FILED_WITHIN:.0f} s")
    with _index(story.node) as database:
        found = _held(database, story.items)
    path, _ = found[0]
    milliseconds = (time.monotonic() - begun) * 1000
    line.says = f"{len(found)} files and rows {milliseconds:.0f} ms later, the first is {path}"


def _found(story: Story, line: journey.Step) -> None:
    from node.send import query

    assert story.study is not None
    keys = {"PatientName": "phantom*", "StudyDate": time.strftime("%Y%m%d-")}
    wanted = dict.fromkeys(("StudyInstanceUID", "NumberOfStudyRelatedInstances"))
    begun = time.monotonic()
    with query.opened(story.node.peer, AET, model.TlsSettings()) as opened:
        found = list(query.Search(opened, {**keys, **wanted}, level=model.Level.STUDY))
    uids = [answer.get("StudyInstanceUID") for answer in found]
    if uids != [story.study.uid]:
        raise errors.Permanent(f"the query gave {uids} instead of {story.study.uid}")
    count = found[0].get("NumberOfStudyRelatedInstances")
    milliseconds = (time.monotonic() - begun) * 1000
    line.says = f"PatientName=phantom* since today: one study of {count} instances, {milliseconds:.0f} ms"


def _retrieved(story: Story, line: journey.Step) -> None:
    from node.files import folder
    from node.send import fetch, query

    assert story.study is not None
    back = folder.Folder(story.folder / "back")
    classes = {item.sop_class for item in story.items}
    begun = time.monotonic()
    with fetch.opened(
        story.node.peer, AET, model.TlsSettings(), query.Root.STUDY, move=False, known=classes
    ) as opened:
        study = {"StudyInstanceUID": story.study.uid}
        retrieval = fetch.Retrieval(opened, {**study}, model.Level.STUDY, sink=back)
        for heard in retrieval:
            if isinstance(heard, fetch.Counts):
                line.says = f"{heard.completed} of {heard.total} came back"
    rate = len(story.items) / (time.monotonic() - begun)
    sent = {item.sop_instance: _digest(item) for item in story.items}
    came = {item.sop_instance: _digest(item) for item in _items(back.root)}
    if came != sent:
        raise errors.Permanent(f"{len(came)} instances came back, and not as {len(sent)} were sent")
    line.says = f"{len(came)} came back at {rate:.0f} a second, each with the digest that it was sent with"
    story.facts.append(f"{len(came)} instances found with C-FIND and fetched with C-GET, byte for byte")


def _digest(item: base.Item) -> str:
    """Of the data set."""
    return hashlib.sha256(item.path.read_bytes()[item.offset :]).hexdigest()


def _commit(story: Story, line: journey.Step) -> None:
    from node.dicom import commitment
    from node.send import commitment as sending

    references = [commitment.Reference(item.sop_class, item.sop_instance) for item in story.items]
    line.says = f"asked for {len(references)} instances"
    report = sending.request(story.node.peer, AET, model.TlsSettings(), references, wait=20.0)
    if report is None:
        raise errors.Transient("the report did not come")
    if report.failed or len(report.references or ()) != len(references):
        raise errors.Permanent(f"{len(report.failed)} of {len(references)} are not committed")
    line.says = f"all {len(references)} committed, after their bytes were read again and compared"
    story.facts.append(f"{len(references)} instances committed, each digest verified at rest")


def _change(story: Story, line: journey.Step) -> None:
    from node.dicom import edit

    folder = story.folder / "changed"
    folder.mkdir()
    program = edit.ready([edit.Set("PatientID", PATIENT), edit.Set("InstitutionName", "Demo Hospital")])
    begun = time.monotonic()
    touched = 0
    for item in story.items:
        content = item.path.read_bytes()
        patched = edit.edit_file(content, program)
        (folder / item.path.name).write_bytes(patched.tobytes())
        touched += sum(len(piece) for piece in patched.pieces if isinstance(piece, bytes))
    milliseconds = (time.monotonic() - begun) * 1000
    story.changed = _items(folder)
    story.waiting = list(story.changed)
    size = sum(item.size for item in story.changed)
    line.says = (
        f"{len(story.changed)} copies in {milliseconds:.0f} ms: {touched} of {size} bytes written anew"
    )


def _send_on(story: Story, line: journey.Step) -> None:
    from node.send import base, dimse

    left: list[base.Item] = []
    done = 0
    why = ""
    # One at a time, so that the PACS dies where the story says.
    for result in dimse.Dimse(story.pacs.peer, AET, window=1).send(story.waiting):
        if isinstance(result.outcome, base.Done):
            done += 1
            line.says = f"{done} of {len(story.changed)} delivered"
            if done == KILL_AFTER:
                story.pacs.kill()
        else:
            left.append(result.item)
            why = result.outcome.why
    story.waiting = left
    if not left:
        raise errors.Permanent("the PACS was killed and took everything nevertheless")
    line.says = f"{done} delivered, then SIGKILL; {len(left)} wait: {why}"


def _comes_back(story: Story, line: journey.Step) -> None:
    from node.send import base, dimse

    deadline = time.monotonic() + _DELIVERED_WITHIN
    tries = 0
    pause = 0.2
    while story.waiting:
        if time.monotonic() > deadline:
            raise errors.Transient(f"{len(story.waiting)} were not delivered")
        if tries == 1:
            story.pacs.start()
        tries += 1
        left = []
        for result in dimse.Dimse(story.pacs.peer, AET).send(story.waiting):
            if isinstance(result.outcome, base.Failed):
                raise errors.Permanent(f"{result.item.path.name}: {result.outcome.why}")
            if isinstance(result.outcome, base.Retry):
                left.append(result.item)
        story.waiting = left
        if left:
            line.says = f"attempt {tries}: the PACS does not answer, {len(left)} wait; next in {pause:.1f} s"
            time.sleep(pause)
            pause = min(pause * 1.5, 1.5)
    line.says = f"started again, recovered by itself; attempt {tries} delivered the rest"
    story.facts.append(f"{len(story.changed)} instances delivered to a PACS that was killed on the way")


def _compare(story: Story, line: journey.Step) -> None:
    from node.files import journal, layout

    if not journal.barrier(layout.Data(story.pacs.data), _FILED_WITHIN):
        raise errors.Transient("the PACS did not file everything")
    with _index(story.pacs) as database:
        found = _held(database, story.changed)
    for (place, held), item in zip(found, story.changed, strict=True):
        if held != "sha256:" + _digest(item):
            raise errors.Permanent(f"{place} in the PACS is not what was sent")
    line.says = f"{len(found)} digests are those of what was sent, with Patient ID {PATIENT}"


def _audit(story: Story, line: journey.Step) -> None:
    from node import upkeep
    from node.files import layout
    from node.index import audit

    counted = []
    for one in (story.node, story.pacs):
        with _index(one) as database:
            with database.read() as connection:
                counts = audit.counts(connection)
                missing = next(audit.unaccounted(connection), None)
            astray = next(upkeep.deep_audit(layout.Data(one.data), database), None)
        if missing is not None:
            raise errors.Permanent(f"{one.aet}: {missing.sop_instance} is not accounted for: {missing.why}")
        if astray is not None:
            raise errors.Permanent(f"{one.aet}: {astray.path}: {astray.why}")
        parts = ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items()))
        counted.append(f"{one.aet} {parts}")
    line.says = f"clean: {'; '.join(counted)}"
    story.facts.append("every acknowledged instance accounted for, on both sides")


def _stop(story: Story, line: journey.Step) -> None:
    for one in (story.node, story.pacs):
        line.says = f"SIGTERM to {one.aet}"
        code = one.stop()
        if code:
            raise errors.Permanent(f"{one.aet} ended with {code} after SIGTERM")
    line.says = "both drained and ended with 0"


def _items(folder: pathlib.Path) -> list[base.Item]:
    from node.commands import gather

    return [one for one in gather.items([folder]) if not isinstance(one, gather.Skipped)]


def _held(database: db.Database, items: list[base.Item]) -> list[tuple[str, str]]:
    """Place and digest of each item; raises when one is not held."""
    from node.index import lookup

    found = []
    with database.read() as connection:
        for item in items:
            held = lookup.by_uid(connection, item.sop_instance)
            if not held:
                raise errors.NotFound(f"{item.sop_instance} is not in the index")
            found.append((held[0][0].path, held[0][0].digest))
    return found


@contextlib.contextmanager
def _index(of: neighbour.Neighbour) -> Iterator[db.Database]:
    from node.files import layout
    from node.index import db

    database = db.open(layout.database_url(of.data))
    try:
        yield database
    finally:
        database.close()


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
def _neighbours(folder: pathlib.Path) -> Iterator[tuple[neighbour.Neighbour, neighbour.Neighbour]]:
    ports = neighbour.free_ports(3)
    both = (
        neighbour.Neighbour(folder, "NODE", ports[0], ports[1]),
        neighbour.Neighbour(folder, "PACS", ports[2]),
    )
    try:
        yield both
    finally:
        for one in both:
            one.kill()


def _summary(story: Story, seconds: float, *, kept: bool) -> None:
    print(f"\nDone in {seconds:.1f} s.")
    for fact in story.facts:
        print(f"  {fact}")
    node = story.node
    if kept:
        print(f"Everything is in {story.folder}. Try:")
        print(f"  dicom-node images list --data {node.data}")
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
