"""The clock starts work: a node pulls what another holds, fetches priors, sends on, catches up the missed."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json
import pathlib
import sqlite3
import time
from collections.abc import Callable

from tests import make, oracle, scu
from tests.scenario import harness

NOW = datetime.datetime.now().astimezone()
TODAY, TOMORROW = (f"{NOW + datetime.timedelta(days=days):%Y%m%d}" for days in (0, 1))


def dated(count: int, seed: str, day: str, patient: str) -> list[make.Made]:
    """A series of a day and a patient: values of the same length take the place of the usual ones."""
    return [
        dataclasses.replace(
            made,
            data=made.data.replace(b"20260102", day.encode()).replace(b"SYN-0001", patient.encode()),
        )
        for made in make.series(count, seed=seed)
    ]


NEW = dated(5, "new", TODAY, "SYN-0007")
OLD = dated(4, "old", "20190304", "SYN-0007")
OTHER = dated(3, "other", "20190305", "SYN-0008")


def wait_for(what: Callable[[], object], node: harness.Node, timeout: float = 60.0) -> object:
    """What it says once it says something."""
    end = time.monotonic() + timeout
    while not (found := what()):
        assert time.monotonic() < end, node.tail()
        time.sleep(0.05)
    return found


def held(node: harness.Node) -> set[str]:
    """SOP Instance UIDs of what a node holds."""
    return {row.sop_instance for row in oracle.Held(node.data).rows}


def uids(*series: list[make.Made]) -> set[str]:
    return {made.sop_instance for ones in series for made in ones}


def ended(node: harness.Node, schedule: str, action: str = "job_finished") -> list[str]:
    """The outcomes of a schedule's runs."""
    return [
        str(one.get("outcome") or one.get("error"))
        for one in node.events()
        if one.get("action") == action and one.get("schedule") == schedule
    ]


def shelf(below: pathlib.Path) -> set[str]:
    return {path.stem for path in (below / "shelf").rglob("*.dcm")}


def owed(node: harness.Node) -> list[str]:
    """What the ledger has for the shelf."""
    with contextlib.closing(sqlite3.connect(node.data / "index.sqlite")) as index:
        rows = index.execute("SELECT sop_instance FROM delivery WHERE destination = 'shelf'").fetchall()
    return sorted(uid for (uid,) in rows)


def test_a_node_pulls_prefetches_and_catches_up(
    make_node: Callable[..., harness.Node], tmp_path: pathlib.Path
) -> None:
    archive, node = make_node("archive"), make_node("node")
    archive.config.write_text(
        archive.config.read_text().replace('"NODE"', '"ARCHIVE"')
        + harness.toml(
            {
                "peers.node": {
                    "aet": "NODE",
                    "host": "127.0.0.1",
                    "port": node.port,
                    "rights": ["echo", "find", "retrieve"],
                }
            }
        )
    )
    node.config.write_text(
        node.config.read_text()
        + harness.toml(
            {
                "peers.archive": {"aet": "ARCHIVE", "host": "127.0.0.1", "port": archive.port},
                "schedules.recent": {"job": "pull", "every": "1s", "peer": "archive", "retry": "1s"},
                "schedules.recent.query": {"StudyDate": "-2d..today"},
                "schedules.priors": {
                    "job": "prefetch",
                    "at": f"{NOW - datetime.timedelta(hours=1):%H:%M}",
                    "peer": "archive",
                    "by": "get",
                    "modalities": [],
                    "days": 3,
                },
                "schedules.tidy": {"job": "retention", "at": f"{NOW - datetime.timedelta(hours=1):%H:%M}"},
                "destinations.shelf": {"kind": "folder", "folder": str(tmp_path / "shelf")},
                "schedules.onward": {"job": "forward", "every": "1s", "to": ["shelf"]},
                "schedules.onward.query": {"PatientID": "SYN-0007"},
            }
        )
    )
    archive.start()
    with scu.call(archive.address, [*NEW, *OLD, *OTHER], called="ARCHIVE") as caller:
        assert all(caller.store(made).status == 0 for made in [*NEW, *OLD, *OTHER])
        caller.release()
    node.start()
    # Only what matches comes, by C-MOVE through the node's own listener, and then nothing more.
    wait_for(lambda: held(node) == uids(NEW), node)
    wait_for(lambda: "1 studies found, 1 here already, 0 instances fetched" in ended(node, "recent"), node)
    assert len(oracle.Held(node.data).rows) == len(NEW)

    # Somebody is expected: his earlier study comes by C-GET, once it is asked for; nobody else's does.
    entry = tmp_path / "entry.json"
    step = {"Modality": "CT", "ScheduledProcedureStepStartDate": TOMORROW}
    entry.write_text(
        json.dumps(
            {
                "PatientName": "SYNTHETIC^SEVEN",
                "PatientID": "SYN-0007",
                "ScheduledProcedureStepSequence": [step],
            }
        )
    )
    added = node.command("worklist", "add", str(entry))
    assert added.returncode == 0, added.stderr
    done = node.command("schedules", "run", "priors")
    assert done.returncode == 0, done.stderr
    assert f"{len(OLD)} instances fetched" in done.stdout
    wait_for(lambda: held(node) == uids(NEW, OLD), node)

    # What is held of him is owed to the shelf, once, whenever it came.
    wait_for(lambda: shelf(tmp_path) == uids(NEW, OLD), node)
    assert owed(node) == sorted(uids(NEW, OLD))

    # The archive is away: the run fails, says so, and is tried again.
    archive.kill()
    refused = f"ARCHIVE at 127.0.0.1:{archive.port} cannot be reached"
    wait_for(lambda: any(refused in why for why in ended(node, "recent", "job_failed")), node)
    assert node.stop() == 0

    # A night went by while the node was down: it is caught up at once when it is back.
    yesterday = datetime.datetime.now().astimezone() - datetime.timedelta(days=1)
    with contextlib.closing(sqlite3.connect(node.data / "index.sqlite")) as index, index:
        ((text,),) = index.execute("SELECT value FROM progress WHERE job = 'schedule:tidy'").fetchall()
        run = json.loads(text) | {"last": yesterday.isoformat()}
        index.execute("UPDATE progress SET value = ? WHERE job = 'schedule:tidy'", [json.dumps(run)])
    assert not ended(node, "tidy")
    node.start()
    wait_for(lambda: ended(node, "tidy") == ["0 instances in 0 series removed"], node)
    listed = node.command("schedules", "--json")
    assert listed.returncode == 0, listed.stderr
    shown = {one["name"]: one for one in json.loads(listed.stdout)}
    assert shown["tidy"]["last"]["state"] == "finished"
    assert shown["recent"]["last"]["state"] in ("failed", "running")
