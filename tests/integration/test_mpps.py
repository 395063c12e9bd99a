"""Performed procedure steps reported over sockets: every rule with the status that the standard gives it."""

from __future__ import annotations

import dataclasses
import pathlib
import struct
import threading
from collections.abc import Iterator
from typing import Any

import pynetdicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom.sop_class import ModalityPerformedProcedureStep, ModalityPerformedProcedureStepRetrieve  # type: ignore[attr-defined]

from node import metrics, model
from node.dicom import identifier
from node.index import db, steps
from node.scp import mpps
from node.wire import policy
from tests import indexed, make, raw, reports

AFFECTED = 0x00001000
COMMENT, ERROR_ID, ATTRIBUTES = 0x00000902, 0x00000903, 0x00001005


@dataclasses.dataclass
class Ward:
    """A node that takes steps, and a modality that reports them."""

    database: db.Database
    address: tuple[str, int]
    modality: reports.Modality


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    database = indexed.sqlite(tmp_path_factory.mktemp("index"))
    handlers = mpps.Mpps(database, metrics.Metrics(None)).handlers()
    with raw.running(handlers=handlers, services=policy.PERFORMED_STEP) as running:
        address = ("127.0.0.1", running.port)
        modality = reports.Modality(address)
        yield Ward(database, address, modality)
        modality.caller.release()
    database.close()


@pytest.fixture
def uid(request: pytest.FixtureRequest) -> str:
    """A step of each test's own."""
    return make.uid("step", request.node.name)


def _held(ward: Ward, uid: str) -> steps.Step | None:
    with ward.database.read() as connection:
        return steps.get(connection, uid)


def _tags(answer: Any) -> list[int]:
    value = answer.values.get(ATTRIBUTES, b"")
    return [group << 16 | element for group, element in struct.iter_unpack("<HH", value)]


def test_a_step_from_its_beginning_to_its_end(ward: Ward, uid: str) -> None:
    created = ward.modality.create(uid)
    assert (created.field, created.status) == (0x8140, 0x0000)
    assert created.values[AFFECTED].rstrip(b"\0") == uid.encode()
    held = _held(ward, uid)
    assert held is not None
    assert (held.state, held.calling, held.modality, held.station) == ("IN PROGRESS", "RAWSCU", "CT", "CT1")
    assert held.scheduled == (steps.Scheduled(make.uid("study", 1), "A-1", "RP-1", "SPS-1"),)
    with ward.database.read() as connection:
        assert steps.signals(connection, "1.2.3.77") == []

    between = Dataset()
    between.PerformedSeriesSequence = reports.ended([("1.2.3.77", 1)]).PerformedSeriesSequence
    assert ward.modality.set(uid, between).status == 0x0000
    with ward.database.read() as connection:
        (signal,) = steps.signals(connection, "1.2.3.77")
    assert (signal.step, signal.state, signal.ended, signal.instances) == (uid, "IN PROGRESS", None, 1)

    last = ward.modality.set(uid, reports.ended([("1.2.3.77", 3), ("1.2.3.78", 1)]))
    assert (last.field, last.status) == (0x8120, 0x0000)
    held = _held(ward, uid)
    assert held is not None
    assert held.state is steps.State.COMPLETED
    assert held.series == (steps.Made("1.2.3.77", 3), steps.Made("1.2.3.78", 1))
    with ward.database.read() as connection:
        (signal,) = steps.signals(connection, "1.2.3.77")
        states = steps.of_studies(connection, [make.uid("study", 1), "1.2.3.4"])
    assert (signal.state, signal.ended, signal.instances) == ("COMPLETED", held.ended, 3)
    assert steps.State.COMPLETED in states[make.uid("study", 1), "SPS-1"]


def test_a_step_is_created_once(ward: Ward, uid: str) -> None:
    assert ward.modality.create(uid).status == 0x0000
    assert ward.modality.create(uid, reports.begun(Modality="MR")).status == 0x0111
    held = _held(ward, uid)
    assert held is not None
    assert held.modality == "CT"


@pytest.mark.parametrize("status", ["COMPLETED", "DISCONTINUED", "FINISHED"])
def test_a_step_begins_in_progress(ward: Ward, uid: str, status: str) -> None:
    answer = ward.modality.create(uid, reports.begun(PerformedProcedureStepStatus=status))
    assert (answer.status, _tags(answer)) == (0x0106, [0x00400252])
    assert _held(ward, uid) is None


def test_what_a_beginning_must_say(ward: Ward, uid: str) -> None:
    for to, status in ((None, 0x0120), (..., 0x0121)):
        answer = ward.modality.create(uid, reports.begun(PerformedProcedureStepID=to, Modality=to))
        assert (answer.status, _tags(answer)) == (status, [0x00400253, 0x00080060])
        assert "PerformedProcedureStepID" in answer.comment
    assert _held(ward, uid) is None


@pytest.mark.parametrize("status", ["COMPLETED", "DISCONTINUED"])
def test_an_ended_step_is_closed(ward: Ward, uid: str, status: str) -> None:
    ward.modality.create(uid)
    assert ward.modality.set(uid, reports.ended(status=status)).status == 0x0000
    before = _held(ward, uid)
    for again in (reports.ended(), reports.ended(status="IN PROGRESS"), Dataset()):
        answer = ward.modality.set(uid, again)
        assert (answer.status, answer.number(ERROR_ID)) == (0x0110, 0xA506)
        assert answer.comment == "Performed Procedure Step Object may no longer be updated"
    assert _held(ward, uid) == before


@pytest.mark.parametrize("status", ["COMPLETED", "DISCONTINUED"])
def test_an_end_without_its_facts_is_none(ward: Ward, uid: str, status: str) -> None:
    ward.modality.create(uid)
    answer = ward.modality.set(uid, reports.ended([], status=status))
    assert (answer.status, _tags(answer)) == (0x0121, [0x00400340])
    answer = ward.modality.set(uid, reports.ended(status=status, PerformedProcedureStepEndTime=...))
    assert (answer.status, _tags(answer)) == (0x0121, [0x00400251])
    held = _held(ward, uid)
    assert held is not None
    assert held.state is steps.State.IN_PROGRESS
    assert ward.modality.set(uid, reports.ended(status=status)).status == 0x0000


def test_what_was_said_at_the_beginning_stays(ward: Ward, uid: str) -> None:
    ward.modality.create(uid)
    answer = ward.modality.set(uid, reports.ended(PatientID="OTHER"))
    assert (answer.status, _tags(answer)) == (0x0106, [0x00100020])
    assert ward.modality.set(uid, reports.ended(PatientID="SYN-1")).status == 0x0000


def test_nobody_changes_a_step_that_there_is_not(ward: Ward, uid: str) -> None:
    assert ward.modality.set(uid, reports.ended()).status == 0x0112
    assert ward.modality.get(uid).status == 0x0112


@pytest.mark.parametrize("bad", ["1..2", "../../etc/passwd", "1." * 40])
def test_a_name_that_is_no_uid(ward: Ward, bad: str) -> None:
    assert ward.modality.create(bad).status == 0x0117
    assert ward.modality.set(bad, reports.ended()).status == 0x0117
    assert ward.modality.get(bad).status == 0x0117


def test_a_step_without_a_name_is_given_one(ward: Ward) -> None:
    answer = ward.modality.create("")
    assert answer.status == 0x0000
    assert _held(ward, answer.values[AFFECTED].rstrip(b"\0").decode()) is not None


def test_operations_stay_in_their_presentation_context(ward: Ward, uid: str) -> None:
    ask = ward.modality.ask
    assert ask(reports.CREATE_RQ, uid, reports.begun(), context=3).status == 0x0122
    assert ask(reports.SET_RQ, uid, reports.ended(), context=3).status == 0x0122
    assert ask(reports.GET_RQ, uid, context=1).status == 0x0122
    assert ask(reports.CREATE_RQ, uid, reports.begun(), sop_class=make.CT).status == 0x0118
    assert ask(reports.GET_RQ, uid, sop_class=make.CT, context=3).status == 0x0118


@pytest.mark.parametrize("data", [b"garbage that is no data set", b"\x40\x00\x52\x02\xff\xff\xff\x7fX"])
def test_what_cannot_be_read_is_refused(ward: Ward, uid: str, data: bytes) -> None:
    assert ward.modality.create(uid, data).status == 0x0110
    assert ward.modality.create(uid).status == 0x0000  # and the association lives
    assert ward.modality.set(uid, data).status == 0x0110


def test_more_than_a_step_can_be_is_not_taken(ward: Ward, uid: str) -> None:
    assert ward.modality.create(uid, bytes(9 << 20)).status == 0x0213
    assert _held(ward, uid) is None


def test_a_step_of_many_images(ward: Ward, uid: str) -> None:
    ward.modality.create(uid)
    assert ward.modality.set(uid, reports.ended([(make.uid("long"), 8000)])).status == 0x0000
    held = _held(ward, uid)
    assert held is not None
    assert held.series[0].instances == 8000


def test_a_step_is_read_whole_and_in_parts(ward: Ward, uid: str) -> None:
    ward.modality.create(uid)
    whole = ward.modality.get(uid)
    assert (whole.field, whole.status) == (0x8110, 0x0000)
    said = identifier.decode(reports.written(reports.begun()), make.IMPLICIT)
    assert identifier.decode(whole.data, make.IMPLICIT) == said
    part = ward.modality.get(uid, 0x00400252, 0x00080060)
    assert identifier.decode(part.data, make.IMPLICIT) == {
        "Modality": "CT",
        "PerformedProcedureStepStatus": "IN PROGRESS",
    }


def test_names_come_back_in_the_set_that_they_came_in(ward: Ward, uid: str) -> None:
    name = "ヤマダ^タロウ=山田^太郎=やまだ^たろう"
    said = {"SpecificCharacterSet": "\\ISO 2022 IR 87\\ISO 2022 IR 13", "PatientName": name}
    asked = identifier.decode(reports.written(reports.begun()), make.IMPLICIT) | said
    data = identifier.encode(asked, make.IMPLICIT, said["SpecificCharacterSet"])
    assert ward.modality.create(uid, data).status == 0x0000
    held = _held(ward, uid)
    assert held is not None
    assert held.fields["PatientName"] == name
    back = identifier.decode(ward.modality.get(uid, 0x00100010).data, make.IMPLICIT)
    assert back["PatientName"] == name


def test_two_ends_at_once_make_one(ward: Ward, uid: str) -> None:
    ward.modality.create(uid)
    others = [reports.Modality(ward.address, calling=f"CT{number}") for number in range(4)]
    found: list[int] = []

    def end(other: reports.Modality) -> None:
        found.append(other.set(uid, reports.ended()).status)
        other.caller.release()

    threads = [threading.Thread(target=end, args=(other,)) for other in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [0x0000, 0x0110, 0x0110, 0x0110]


def test_a_peer_without_the_right_is_not_heard(tmp_path: pathlib.Path) -> None:
    database = indexed.sqlite(tmp_path)
    known = model.Peer("ct", "CT1", rights=frozenset({model.Right.ECHO, model.Right.STORE}))
    handlers = mpps.Mpps(database, metrics.Metrics(None)).handlers()
    with raw.running(handlers=handlers, services=policy.PERFORMED_STEP, peers=[known]) as running:
        modality = reports.Modality(("127.0.0.1", running.port), calling="CT1")
        assert modality.create("1.2.3").status == 0x0124
        assert modality.set("1.2.3", reports.ended()).status == 0x0124
        assert modality.get("1.2.3").status == 0x0124
        modality.caller.release()
    with database.read() as connection:
        assert steps.each(connection) == []
    database.close()


def test_a_modality_of_another_make(ward: Ward, uid: str) -> None:
    ae = pynetdicom.AE("PYNET")
    ae.add_requested_context(ModalityPerformedProcedureStep)
    ae.add_requested_context(ModalityPerformedProcedureStepRetrieve)
    link = ae.associate(*ward.address, ae_title="NODE")
    assert link.is_established
    step = UID(uid)
    status, _ = link.send_n_create(reports.begun(), ModalityPerformedProcedureStep, step)
    assert status.Status == 0x0000
    status, _ = link.send_n_create(reports.begun(), ModalityPerformedProcedureStep, step)
    assert status.Status == 0x0111
    status, _ = link.send_n_set(reports.ended(), ModalityPerformedProcedureStep, step)
    assert status.Status == 0x0000
    status, _ = link.send_n_set(reports.ended(), ModalityPerformedProcedureStep, step)
    assert (status.Status, status.ErrorID) == (0x0110, 0xA506)
    status, read = link.send_n_get([0x00400252], ModalityPerformedProcedureStepRetrieve, step)
    assert status.Status == 0x0000
    assert read is not None
    assert read.PerformedProcedureStepStatus == "COMPLETED"
    link.release()
