"""The peer that misbehaves on purpose does what it says, and holds what it says that it holds."""

from __future__ import annotations

import json
import pathlib
import re
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from node import errors, model
from node.dicom import commitment
from node.faulty import pacs as faulty
from node.faulty import plan as faulty_plan
from node.send import commitment as committing
from node.send import dimse, query
from tests import make, peers, scu

MADE = make.series(6, seed="faulty")


def _served(plan: faulty_plan.Plan | None = None, **more: object) -> faulty.Faulty:
    return faulty.Faulty(plan, **more)  # type: ignore[arg-type]


@pytest.fixture
def well() -> Iterator[faulty.Faulty]:
    with _served() as running:
        yield running


def _store(running: faulty.Faulty, made: make.Made, timeout: float = 30.0) -> int:
    """One C-STORE over an association of its own."""
    with scu.call(running.address, [made], timeout) as caller:
        status = caller.store(made).status
        caller.release()
    return status


def test_without_a_fault_it_stores_what_it_gets(tmp_path: pathlib.Path) -> None:
    keep, journal = tmp_path / "kept", tmp_path / "journal"
    with _served(keep=keep, journal=journal, sync=True) as running:
        with scu.call(running.address, MADE) as caller:
            assert caller.echo() == 0
            assert [caller.store(one).status for one in MADE] == [0] * 6
            caller.release()
        assert {uid: one.digest for uid, one in running.stored.items()} == {
            one.sop_instance: one.digest for one in MADE
        }
        assert {one.series for one in running.stored.values()} == {MADE[0].series}
        assert not running.faults
    assert sorted(path.stem for path in keep.iterdir()) == sorted(one.sop_instance for one in MADE)
    by_name = {path.stem: path.read_bytes() for path in keep.iterdir()}
    assert all(by_name[one.sop_instance].endswith(one.data) for one in MADE)
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    assert [(line["number"], line["sop_instance"], line["digest"], line["status"]) for line in lines] == [
        (at + 1, one.sop_instance, one.digest, 0) for at, one in enumerate(MADE)
    ]


def test_statuses_come_to_those_that_were_named() -> None:
    told: list[str] = []
    plan = faulty_plan.plan(status=["A700@2", "C000@4", "B000@5"])
    with _served(plan, tell=told.append) as running:
        with scu.call(running.address, MADE) as caller:
            assert [caller.store(one).status for one in MADE] == [0, 0xA700, 0, 0xC000, 0xB000, 0]
            caller.release()
        assert set(running.stored) == {MADE[at].sop_instance for at in (0, 2, 4, 5)}
        assert told == running.faults
        assert [line.split()[1] for line in told] == ["2", "4", "5"]


def test_the_connection_is_reset_after_storing_and_its_0111_comes_the_second_time() -> None:
    plan = faulty_plan.plan(drop=["2"], known="0111")
    with _served(plan) as running:
        with scu.call(running.address, MADE) as caller:
            assert caller.store(MADE[0]).status == 0
            with pytest.raises(scu.Closed, match="reset"):
                caller.store(MADE[1])
        assert MADE[1].sop_instance in running.stored
        assert running.journal[1].status is None
        assert running.journal[1].stored
        assert _store(running, MADE[1]) == 0x0111
        assert len(running.stored) == 2


@pytest.mark.parametrize(
    ("plan", "how"),
    [(faulty_plan.plan(close=["1"]), scu.Closed), (faulty_plan.plan(abort=["1"]), scu.Aborted)],
)
def test_it_breaks_off_before_it_stores(plan: faulty_plan.Plan, how: type[Exception]) -> None:
    with _served(plan) as running:
        with scu.call(running.address, MADE) as caller, pytest.raises(how):
            caller.store(MADE[0])
        assert not running.stored
        assert _store(running, MADE[0]) == 0


@pytest.mark.parametrize("where", ["data", "pdu", "answer"])
def test_it_falls_silent_and_lives_on(where: str) -> None:
    with _served(faulty_plan.plan(stall=[f"{where}@1"])) as running:
        with scu.call(running.address, MADE) as caller:
            caller.socket.settimeout(0.2)
            with pytest.raises(TimeoutError):
                caller.store(MADE[0])
        assert running.wait(lambda it: len(it.faults) == 1)
        assert (MADE[0].sop_instance in running.stored) is (where != "data")
        assert _store(running, MADE[1]) == 0


def test_an_association_is_rejected_or_never_answered() -> None:
    plan = faulty_plan.plan(reject=["transient@1", "permanent@2"], stall=["associate@3"])
    with _served(plan) as running:
        codes = []
        for _ in range(2):
            with pytest.raises(scu.Rejected) as rejected:
                scu.call(running.address)
            codes.append(rejected.value.code)
        assert [code[0] for code in codes] == [2, 1]
        with pytest.raises(TimeoutError):
            scu.call(running.address, timeout=0.2)
        assert running.wait(lambda it: len(it.faults) == 3)
        assert _store(running, MADE[0]) == 0
        assert len(running.faults) == 3


def test_classes_and_syntaxes_are_refused() -> None:
    plan = faulty_plan.plan(refuse=["MRImageStorage", make.EXPLICIT])
    asked = [scu.Context(make.CT, (make.EXPLICIT,)), scu.Context(make.CT, (make.EXPLICIT, make.IMPLICIT))]
    with _served(plan) as running, scu.Caller(running.address) as caller:
        caller.associate([*asked, scu.Context(make.MR)])
        assert caller.results == {1: 4, 3: 0, 5: 3}
        assert set(caller.accepted) == {(make.CT, make.IMPLICIT)}


def test_it_takes_so_many_associations_and_says_no_to_the_next() -> None:
    with _served(faulty_plan.plan(associations=1)) as running:
        with scu.call(running.address) as first:
            with pytest.raises(scu.Rejected):
                scu.call(running.address)
            first.release()
        assert running.wait(lambda it: len(it.faults) == 1)


def test_what_is_forgotten_is_answered_with_success() -> None:
    with _served(faulty_plan.plan(forget=["1"])) as running:
        assert _store(running, MADE[0]) == 0
        assert not running.stored
        assert not running.journal[0].stored


def test_its_plan_may_change_and_it_may_go_and_come_back(well: faulty.Faulty) -> None:
    well.plan = faulty_plan.plan(status=["A700"])
    assert _store(well, MADE[0]) == 0xA700
    well.plan = faulty_plan.Plan()
    assert _store(well, MADE[0]) == 0
    before = well.address
    well.stop()
    with pytest.raises(errors.PeerUnreachable):
        dimse.echo(well.peer, model.Settings())
    well.start()
    assert well.address == before
    assert _store(well, MADE[1]) == 0
    assert set(well.stored) == {MADE[0].sop_instance, MADE[1].sop_instance}


def test_it_is_asked_what_it_holds(well: faulty.Faulty) -> None:
    other = make.instance(1, seed="another")
    for one in (*MADE[:3], other):
        _store(well, one)
    with query.opened(well.peer, "ASKER", model.TlsSettings()) as link:
        keys = {"StudyInstanceUID": MADE[0].study, "SeriesInstanceUID": MADE[0].series, "SOPInstanceUID": ""}
        found = list(query.Search(link, keys, level=model.Level.IMAGE))
        counted = list(query.Search(link, {"StudyInstanceUID": MADE[0].study}, level=model.Level.STUDY))
    assert {one["SOPInstanceUID"] for one in found} == {one.sop_instance for one in MADE[:3]}
    assert [one["NumberOfStudyRelatedInstances"] for one in counted] == ["3"]


@pytest.mark.parametrize(
    ("how", "failed"), [("honest", {1}), ("lie", set()), ("fail", {0, 1}), ("late", {1})]
)
def test_commitment(how: str, failed: set[int]) -> None:
    with _served(faulty_plan.plan(commit=how, late=0.01)) as running:
        assert _store(running, MADE[0]) == 0
        asked = [commitment.Reference(one.sop_class, one.sop_instance) for one in MADE[:2]]
        report = committing.request(running.peer, "ASKER", model.TlsSettings(), asked, wait=30.0)
        assert report is not None
        assert {one.sop_instance for one in report.failed} == {MADE[at].sop_instance for at in failed}
        assert [one.uid for one in running.requests] == [report.uid]


def test_a_commitment_that_is_refused_and_one_that_is_never_reported() -> None:
    asked = [commitment.Reference(MADE[0].sop_class, MADE[0].sop_instance)]
    with _served(faulty_plan.plan(commit="refuse")) as running:
        with pytest.raises(errors.PeerRefused, match="0x0110"):
            committing.request(running.peer, "ASKER", model.TlsSettings(), asked, wait=30.0)
        running.plan = faulty_plan.plan(commit="never")
        assert committing.request(running.peer, "ASKER", model.TlsSettings(), asked, wait=0.2) is None
        assert len(running.faults) == 2


def test_what_it_reads_slowly_arrives_whole() -> None:
    with _served(faulty_plan.plan(slow="2000000/s")) as running:
        made = make.instance(1, size=100_000)
        assert _store(running, made) == 0
        assert running.stored[made.sop_instance].digest == made.digest


def test_the_command_says_what_it_does_wrong(tmp_path: pathlib.Path) -> None:
    storescu = peers.require("storescu")
    words = ["faulty-pacs", "--port", "0", "--status", "A700@2", "--journal", str(tmp_path / "journal")]
    running = subprocess.Popen([sys.executable, "-m", "node", *words], stdout=subprocess.PIPE, text=True)
    assert running.stdout is not None
    try:
        found = re.search(r"FAULTY listens on 127\.0\.0\.1:(\d+)", running.stdout.readline())
        assert found is not None
        paths = make.files(tmp_path / "files", MADE[:3])
        subprocess.run(
            [storescu, "--no-halt", "-aec", "FAULTY", "127.0.0.1", found[1], *map(str, paths)],
            env=peers.environment(),
            check=False,
            capture_output=True,
            timeout=60,
        )
        said = running.stdout.readline()
        running.send_signal(signal.SIGTERM)
        rest = running.stdout.read()
        assert running.wait(30) == 0
    finally:
        running.kill()
        running.wait()
        running.stdout.close()
    assert said.startswith("C-STORE 2 (")
    assert "0xA700" in said
    assert "2 instances stored, 3 C-STOREs, 1 faults" in rest
    statuses = [json.loads(line)["status"] for line in (tmp_path / "journal").read_text().splitlines()]
    assert statuses == [0, 0xA700, 0]


def test_the_command_refuses_what_makes_no_sense() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "node", "faulty-pacs", "--status", "A700@x"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 2
    assert "3, 5-9, 5- or %2" in done.stderr
