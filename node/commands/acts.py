"""The acts of the demo that show receiving: made, sent, filed, found, fetched back, committed."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import pathlib
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from node import errors, model
from node.commands import journey, neighbour, output

if TYPE_CHECKING:
    from node.commands import phantom
    from node.index import db
    from node.send import base

AET = "DEMO"  # what the demo calls itself
SLICES = 60
FIRST = 20  # slices that come before the pause of the scanner
_READY_WITHIN = 25.0
_FILED_WITHIN = 15.0


@dataclasses.dataclass(slots=True)
class Story:
    """What the acts hand on to each other."""

    folder: pathlib.Path  # everything is in it
    node: neighbour.Neighbour  # the node
    pacs: neighbour.Neighbour  # the PACS: another node
    archive: neighbour.Neighbour  # the archive: it refuses one instance
    study: phantom.Study | None = None  # what was made
    items: list[base.Item] = dataclasses.field(default_factory=list)  # as sent to the node
    refused: str = ""  # SOP Instance UID of the dead letter
    facts: list[str] = dataclasses.field(default_factory=list)  # for the summary

    @property
    def all(self) -> tuple[neighbour.Neighbour, ...]:
        """Everything that is started and stopped."""
        return (self.node, self.pacs, self.archive)


def make(story: Story, line: journey.Step) -> None:
    from node.commands import phantom

    # All of them need a while to start: they begin while the study is being made.
    for one in story.all:
        one.start()
    folder = story.folder / "made"
    folder.mkdir()
    story.study = phantom.study(folder, slices=SLICES)
    story.items = gathered(folder)
    size = sum(item.size for item in story.items)
    line.says = f"{len(story.items)} CT slices of a head that never was, {output.size(size)}"


def start(story: Story, line: journey.Step) -> None:
    for one in story.all:
        line.says = f"waiting for {one.aet}"
        one.wait(_READY_WITHIN)
    places = ", ".join(f"{one.aet} on port {one.peer.port}" for one in story.all)
    line.says = f"{places}; each answers a C-ECHO"


def send(story: Story, line: journey.Step, items: list[base.Item]) -> float:
    """Send what is to be stored; the instances a second."""
    from node.send import base, dimse

    begun = time.monotonic()
    done = 0
    for result in dimse.Dimse(story.node.peer, AET).send(items):
        if not isinstance(result.outcome, base.Done):
            raise errors.Permanent(f"{result.item.path.name}: {result.outcome.why}")
        done += 1
        line.says = f"{done} of {len(items)} answered with 0000"
    return done / (time.monotonic() - begun)


def filed(story: Story, line: journey.Step) -> None:
    begun = time.monotonic()
    settle(story.node)
    with index(story.node) as database:
        places = held(database, story.items)
    path, _ = places[0]
    milliseconds = (time.monotonic() - begun) * 1000
    line.says = f"{len(places)} files and rows {milliseconds:.0f} ms later, the first is {path}"


def settle(one: neighbour.Neighbour) -> None:
    """Wait until a node has filed everything that it acknowledged."""
    from node.files import journal, layout

    if not journal.barrier(layout.Data(one.data), _FILED_WITHIN):
        raise errors.Transient(f"{one.aet} did not file everything within {_FILED_WITHIN:.0f} s")


def found(story: Story, line: journey.Step) -> None:
    from node.send import query

    assert story.study is not None
    keys = {"PatientName": "phantom*", "StudyDate": time.strftime("%Y%m%d-")}
    wanted = dict.fromkeys(("StudyInstanceUID", "NumberOfStudyRelatedInstances"))
    begun = time.monotonic()
    with query.opened(story.node.peer, AET, model.TlsSettings()) as opened:
        answers = list(query.Search(opened, {**keys, **wanted}, level=model.Level.STUDY))
    uids = [answer.get("StudyInstanceUID") for answer in answers]
    if uids != [story.study.uid]:
        raise errors.Permanent(f"the query gave {uids} instead of {story.study.uid}")
    count = answers[0].get("NumberOfStudyRelatedInstances")
    milliseconds = (time.monotonic() - begun) * 1000
    line.says = f"PatientName=phantom* since today: one study of {count} instances, {milliseconds:.0f} ms"


def retrieved(story: Story, line: journey.Step) -> None:
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
    sent = {item.sop_instance: digest(item) for item in story.items}
    came = {item.sop_instance: digest(item) for item in gathered(back.root)}
    if came != sent:
        raise errors.Permanent(f"{len(came)} instances came back, and not as {len(sent)} were sent")
    line.says = f"{len(came)} came back at {rate:.0f} a second, each with the digest that it was sent with"
    story.facts.append(f"{len(came)} instances found with C-FIND and fetched with C-GET, byte for byte")


def digest(item: base.Item) -> str:
    """Of the data set."""
    return hashlib.sha256(item.path.read_bytes()[item.offset :]).hexdigest()


def commit(story: Story, line: journey.Step) -> None:
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


def audit(story: Story, line: journey.Step) -> None:
    from node import upkeep
    from node.files import layout
    from node.index import audit as auditing

    counted = []
    for one in (story.node, story.pacs):
        with index(one) as database:
            with database.read() as connection:
                counts = auditing.counts(connection)
                missing = next(auditing.unaccounted(connection), None)
            astray = next(upkeep.deep_audit(layout.Data(one.data), database), None)
        if missing is not None:
            raise errors.Permanent(f"{one.aet}: {missing.sop_instance} is not accounted for: {missing.why}")
        if astray is not None:
            raise errors.Permanent(f"{one.aet}: {astray.path}: {astray.why}")
        parts = ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items()))
        counted.append(f"{one.aet} {parts}")
    line.says = f"clean: {'; '.join(counted)}"
    story.facts.append("every acknowledged instance accounted for, in the node and in the PACS")


def stop(story: Story, line: journey.Step) -> None:
    for one in story.all:
        line.says = f"SIGTERM to {one.aet}"
        code = one.stop()
        if code:
            raise errors.Permanent(f"{one.aet} ended with {code} after SIGTERM")
    line.says = "each drained and ended with 0"


def gathered(folder: pathlib.Path) -> list[base.Item]:
    from node.commands import gather

    return [one for one in gather.items([folder]) if not isinstance(one, gather.Skipped)]


def held(database: db.Database, items: list[base.Item]) -> list[tuple[str, str]]:
    """Place and digest of each item; raises when one is not held."""
    from node.index import lookup

    places = []
    with database.read() as connection:
        for item in items:
            rows = lookup.by_uid(connection, item.sop_instance)
            if not rows:
                raise errors.NotFound(f"{item.sop_instance} is not in the index")
            places.append((rows[0][0].path, rows[0][0].digest))
    return places


@contextlib.contextmanager
def index(of: neighbour.Neighbour) -> Iterator[db.Database]:
    from node.files import layout
    from node.index import db

    database = db.open(layout.database_url(of.data))
    try:
        yield database
    finally:
        database.close()
