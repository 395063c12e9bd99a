"""The acts of the demo that show forwarding: one archive dies and comes back, the other misbehaves."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
import pathlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from node import errors, orders
from node.commands import acts, journey, neighbour

if TYPE_CHECKING:
    import sqlalchemy

PATIENT = "PACS-4711"  # the Patient ID that the PACS wants
REFUSED = 7  # the C-STORE that the archive refuses for good
FORGOTTEN = 30  # the one that it answers with success, and throws away
JOURNAL = "archive.jsonl"  # what the archive did with each C-STORE
_WITHIN = 40.0  # seconds that anything of this may take
_POLL = 0.05
_Found = TypeVar("_Found")


def configuration(path: pathlib.Path, pacs: int, archive: int) -> pathlib.Path:
    """Write what the node forwards to whom."""
    path.write_text(f"""\
[peers.pacs]
aet = "PACS"
host = "127.0.0.1"
port = {pacs}

[peers.archive]
aet = "ARCHIVE"
host = "127.0.0.1"
port = {archive}

[destinations.pacs]
peer = "pacs"
coerce = "for-pacs"
retry = "200ms"
retry_most = "1s"
breaker = 2

[destinations.archive]
peer = "archive"
retry = "200ms"
verify = "find"
verify_after = "200ms"

[destinations.volumes]
kind = "folder"
folder = "{path.parent / "volumes"}"
retry = "200ms"

[[coerce.for-pacs]]
set = "PatientID"
to = "{PATIENT}"

[[coerce.for-pacs]]
set = "InstitutionName"
to = "Demo Hospital"

[routes.scans]
when.Modality = "CT"
to = ["pacs", "archive"]

[routes.volumes]
when.Modality = "CT"
to = ["volumes"]

[[routes.volumes.steps]]
step = "convert"
to = "nifti"

[completeness.scanner]
released = "300ms"
""")
    return path


def first(story: acts.Story, line: journey.Step) -> None:
    acts.send(story, line, story.items[: acts.FIRST])
    line.says += "; then the association is released"


def settled(story: acts.Story, line: journey.Step) -> None:
    assert story.study is not None
    series = story.study.series
    begun = time.monotonic()

    def known(connection: sqlalchemy.Connection) -> str | None:
        line.says = "waiting for the evidence"
        return _verdict(connection, series)

    verdict = wait(story.node, known, "the series was not settled")
    seconds = time.monotonic() - begun
    line.says = f"{verdict} after {seconds:.1f} s; routes send it to pacs and archive, and make a volume"
    sent = wait(story.node, lambda connection: _delivered(connection, series, "pacs"), "pacs got nothing")
    line.says += f"; pacs has {sent}, with Patient ID {PATIENT}"


def refuses(story: acts.Story, line: journey.Step) -> None:
    assert story.study is not None
    series = story.study.series

    def known(connection: sqlalchemy.Connection) -> int | None:
        found = standing(connection, series, "archive")
        line.says = f"archive: {found.done} delivered, {found.dead} given up"
        return found.done if found.dead and not found.open else None

    done = wait(story.node, known, "archive did not get the rest")
    line.says = (
        f"archive has {done}; the C-STORE that it answered with A900 is a dead letter, the rest went on"
    )


def dies(story: acts.Story, line: journey.Step) -> None:
    story.pacs.kill()
    rest = story.items[acts.FIRST :]
    rate = acts.send(story, line, rest)
    line.says = f"SIGKILL; {len(rest)} of {len(rest)} more answered with 0000, {rate:.0f} a second"
    story.facts.append(f"{len(story.items)} instances stored, each synced and journalled before its answer")


def lane_down(story: acts.Story, line: journey.Step) -> None:
    assert story.study is not None
    series, rest = story.study.series, len(story.items) - acts.FIRST

    def known(connection: sqlalchemy.Connection) -> str | None:
        from node.index import lanes

        pacs, archive = (standing(connection, series, name) for name in ("pacs", "archive"))
        lane = lanes.lane(connection, "pacs")
        line.says = f"revision 2: pacs is {lane.state.value}, {pacs.open} wait; archive has {archive.done}"
        good = lane.state is orders.LaneState.DOWN and pacs.open == rest
        # But for the dead letter, and the one that it lost, if that was found out already.
        return lane.reason if good and archive.done >= len(story.items) - 2 else None

    reason = wait(story.node, known, "the lane did not go down")
    line.says = f"only what is new goes out: archive has it; pacs is down, {rest} wait ({reason})"


def comes_back(story: acts.Story, line: journey.Step) -> None:
    assert story.study is not None
    series = story.study.series
    line.says = "started again, it recovers by itself"
    begun = time.monotonic()
    story.pacs.start()

    def known(connection: sqlalchemy.Connection) -> int | None:
        found = standing(connection, series, "pacs")
        return None if found.open or found.dead else found.done

    done = wait(story.node, known, "the backlog did not move")
    seconds = time.monotonic() - begun
    if done != len(story.items):
        raise errors.Permanent(f"pacs has {done} of {len(story.items)}")
    line.says = (
        f"it answered a C-ECHO, and the backlog moved: {done} of {done} delivered after {seconds:.1f} s"
    )
    story.facts.append(f"{done} instances delivered to a PACS that was killed on the way")


def replayed(story: acts.Story, line: journey.Step) -> None:
    assert story.study is not None
    series = story.study.series
    reason = _replay(story, "archive")

    def known(connection: sqlalchemy.Connection) -> bool | None:
        found = standing(connection, series, "archive")
        return None if found.open or found.dead else True

    wait(story.node, known, "the dead letter was not delivered")
    line.says = f"replayed by hand, and delivered; it was given up for {reason}"
    story.facts.append("one dead letter, with its reason, replayed and delivered")


def found_out(story: acts.Story, line: journey.Step) -> None:
    assert story.study is not None
    series = story.study.series

    def known(connection: sqlalchemy.Connection) -> int | None:
        from node.index import why as facts

        (told,) = facts.story(connection, series)
        sent = [one for one in told.series[0].sent if one.consignment.destination == "archive"]
        verified = sum(one.verified for one in sent)
        line.says = f"C-FIND: archive keeps {verified} of {len(story.items)}"
        through = all(one.consignment.state is orders.State.DONE for one in sent)
        return verified if through and verified == len(story.items) else None

    verified = wait(story.node, known, "archive was not found to keep everything")
    line.says = (
        f"C-FIND missed what archive had thrown away after 0000: sent again, {verified} of {verified} kept"
    )
    story.facts.append(
        "one instance that an archive lost after it had said 0000 was found out, and sent again"
    )


def compare(story: acts.Story, line: journey.Step) -> None:
    from node.dicom import edit

    program = edit.ready([edit.Set("PatientID", PATIENT), edit.Set("InstitutionName", "Demo Hospital")])
    changed = {}
    for item in story.items:
        buffer = memoryview(item.path.read_bytes())[item.offset :]
        made = edit.edit(buffer, item.syntax, program).tobytes()
        changed[item.sop_instance] = "sha256:" + hashlib.sha256(made).hexdigest()
    acts.settle(story.pacs)
    with acts.index(story.pacs) as database:
        found = acts.held(database, story.items)
    for item, (place, digest) in zip(story.items, found, strict=True):
        if digest != changed[item.sop_instance]:
            raise errors.Permanent(f"{place} in the PACS is not what was to be sent")
    kept = _kept(story.folder / JOURNAL)
    for item in story.items:
        if kept.get(item.sop_instance) != f"sha256:{acts.digest(item)}":
            raise errors.Permanent(f"{item.sop_instance} in the archive is not what was received")
    line.says = (
        f"{len(kept)} digests in the archive are those of what was received; "
        f"{len(changed)} in the PACS differ by Patient ID and institution alone"
    )


def _kept(journal: pathlib.Path) -> dict[str, str]:
    """By UID the digest of what the archive keeps."""
    entries = [json.loads(line) for line in journal.read_text().splitlines()]
    return {one["sop_instance"]: one["digest"] for one in entries if one["stored"]}


def why(story: acts.Story, line: journey.Step) -> None:
    from node.index import why as facts

    with acts.index(story.node) as database, database.read() as connection:
        (told,) = facts.story(connection, story.refused)
    (series,) = told.series
    parts = [f"came from {series.came[0].calling}", f"settled by {series.settled[0].signals['by']}"]
    for sent in series.sent:
        tries = [attempt for one in sent.deliveries for attempt in one.tries]
        answers = ", ".join("no answer" if one.status is None else f"{one.status:04X}" for one in tries)
        parts.append(f"{sent.consignment.destination} answered {answers}")
    line.says = f"of the refused one: {'; '.join(parts)}"
    story.facts.append("an answer to every why: dicom-node why UID")


# -- what the node's index says -------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class Standing:
    """How it stands with what one series owes one destination."""

    done: int  # instances that it has
    open: int  # that are to be sent
    dead: int  # that were given up


def standing(connection: sqlalchemy.Connection, series: str, destination: str) -> Standing:
    from node.index import queue

    listed = queue.consignments_of(connection, queue.Chosen(destination=destination, uid=series))
    parcels = [one.consignment for one in listed]
    total = sum(one.total - one.cancelled for one in parcels)
    done, dead = sum(one.done for one in parcels), sum(one.dead for one in parcels)
    return Standing(done, total - done - dead, dead)


def _verdict(connection: sqlalchemy.Connection, series: str) -> str | None:
    from node.index import why as facts

    for story in facts.story(connection, series):
        for settled in story.series[0].settled:
            return f"{settled.verdict}: {settled.signals['reasons'][0]}"
    return None


def _delivered(connection: sqlalchemy.Connection, series: str, destination: str) -> int | None:
    found = standing(connection, series, destination)
    return None if found.open or not found.done else found.done


def _replay(story: acts.Story, destination: str) -> str:
    """Replay its dead letters as `dicom-node queue replay` does; why the first of them was given up."""
    from node.files import layout
    from node.index import desk, queue, witness
    from node.queue import bell

    data = layout.Data(story.node.data)
    chosen = queue.Chosen(destination=destination)
    now = datetime.datetime.now(datetime.UTC)
    with acts.index(story.node) as database:
        with database.read() as connection:
            letters = queue.dead(connection, chosen)
        if not letters:
            raise errors.Permanent(f"{destination} refused nothing")
        with database.write() as connection:
            at = desk.Desk(connection, who="demo", why="cured", now=now, witness=witness.Witness(data))
            at.replay(chosen)
    bell.ring(data)
    story.refused = letters[0].sop_instance
    return letters[0].error


def wait(
    one: neighbour.Neighbour, look: Callable[[sqlalchemy.Connection], _Found | None], failed: str
) -> _Found:
    """Look at a node's index until there is what is looked for."""
    deadline = time.monotonic() + _WITHIN
    with acts.index(one) as database:
        while True:
            with database.read() as connection:
                found = look(connection)
            if found is not None:
                return found
            if time.monotonic() > deadline:
                raise errors.Transient(f"{failed} within {_WITHIN:.0f} s")
            time.sleep(_POLL)
