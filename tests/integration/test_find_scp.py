"""C-FIND on the raw socket: levels, keys, statuses, extended negotiation; HOSTILE 28."""

from __future__ import annotations

import contextlib
import datetime
import pathlib
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator

import pytest
import sqlalchemy

from node import errors, model
from node.dicom import identifier
from node.files import filed
from node.index import db
from tests import asking, indexed, make, scu, small, stored

MANY = 600  # studies of one patient, in the index alone
CAP = 400


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[small.Small]:
    """Two studies with files, and many in the index alone."""
    with small.node(tmp_path_factory.mktemp("find"), limits=model.Limits(answers=CAP)) as running:
        for made in (
            *make.series(2, seed="first", patient="SYNTHETIC^ALPHA"),
            *make.series(1, seed="second", patient="SYNTHETIC^BETA", extra=[ZONE]),
        ):
            stored.send(running.receiver, made)
        running.settle()
        with running.database.write() as connection:
            items = [_many(number) for number in range(MANY)]
            decided = [indexed.placed(one) for one in indexed.ingest.decide(connection, items)]
            indexed.ingest.record(connection, decided)
        yield running


ZONE = make.element(0x00080201, "SH", "+0100")
FIRST, SECOND = make.uid("first", "study"), make.uid("second", "study")


def _many(number: int) -> indexed.ingest.Item:
    return indexed.item(
        study=f"1.2.9.{number}",
        series=f"1.2.9.{number}.1",
        patient_id="MANY",
        patient_name="SYNTHETIC^MANY",
        patient_comments="long " * 1000,
        study_date=(datetime.date(2020, 1, 1) + datetime.timedelta(days=number)).strftime("%Y%m%d"),
        position=4096 * (number + 1),
    )


@pytest.fixture
def asker(node: small.Small) -> Iterator[asking.Asker]:
    """An association in Study Root that is fine behind the test too."""
    with asking.Asker.call(node.address, more=[scu.Context(scu.VERIFICATION)]) as caller:
        yield caller
        assert caller.find(StudyInstanceUID=FIRST).texts("StudyInstanceUID") == [FIRST]
        caller.release()


# -- levels and keys ----------------------------------------------------------------------------------


def test_each_level_answers_its_unique_keys_and_where_it_is_retrieved_from(asker: asking.Asker) -> None:
    above = {"StudyInstanceUID": FIRST, "SeriesInstanceUID": make.uid("first", "study", "series")}
    study = asker.find(StudyInstanceUID=FIRST, NumberOfStudyRelatedInstances=None, InstanceAvailability=None)
    assert study.fields == [
        {
            "QueryRetrieveLevel": "STUDY",
            "RetrieveAETitle": "NODE",
            "InstanceAvailability": "ONLINE",
            "StudyInstanceUID": FIRST,
            "NumberOfStudyRelatedInstances": "2",
        }
    ]
    series = asker.find(level="SERIES", StudyInstanceUID=FIRST, SeriesInstanceUID=None, Modality=None)
    assert series.texts("Modality") == ["CT"]
    assert series.texts("SeriesInstanceUID") == [above["SeriesInstanceUID"]]
    images = asker.find(level="IMAGE", **above, SOPInstanceUID=None, InstanceNumber=None, NumberOfFrames=None)
    assert images.texts("InstanceNumber") == ["1", "2"]
    assert {study.status, series.status, images.status} == {0}
    assert {*study.statuses, *series.statuses, *images.statuses} == {asking.PENDING}


def test_patients_are_found_in_patient_root_and_patient_study_only(node: small.Small) -> None:
    for abstract in (asking.PATIENT, asking.PATIENT_STUDY):
        with asking.Asker.call(node.address, abstract, syntax=make.EXPLICIT) as caller:
            found = caller.find(
                level="PATIENT", PatientName="synthetic^m*", NumberOfPatientRelatedStudies=None
            )
            (answer,) = found.fields
            assert answer == {
                "QueryRetrieveLevel": "PATIENT",
                "RetrieveAETitle": "NODE",
                "PatientID": "MANY",
                "PatientName": "SYNTHETIC^MANY",
                "NumberOfPatientRelatedStudies": str(MANY),
            }
            found = caller.find(level="STUDY", PatientID="SYN-0001", StudyInstanceUID=None)
            assert found.texts("StudyInstanceUID") == sorted([FIRST, SECOND])
            caller.release()


def test_nothing_found_is_a_success(asker: asking.Asker) -> None:
    found = asker.find(PatientID="NOBODY", StudyInstanceUID=None)
    assert (found.answers, found.status) == ([], 0)


def test_what_the_index_does_not_hold_comes_from_the_stored_header(asker: asking.Asker) -> None:
    code = {"CodeValue": None, "CodeMeaning": None}
    found = asker.find(StudyInstanceUID=FIRST, ProcedureCodeSequence=[code], RescaleIntercept=None)
    (answer,) = found.fields
    assert answer["ProcedureCodeSequence"] == [{"CodeValue": "SYN1", "CodeMeaning": "Synthetic protocol"}]
    assert answer["RescaleIntercept"] == "-1024"
    assert found.statuses == [asking.PENDING]


def test_what_the_index_does_not_hold_is_matched_in_the_stored_header(asker: asking.Asker) -> None:
    for value, studies in (("SYN?", [FIRST, SECOND]), ("OTHER", [])):
        found = asker.find(
            PatientID="SYN-0001", StudyInstanceUID=None, ProcedureCodeSequence=[{"CodeValue": value}]
        )
        assert found.texts("StudyInstanceUID") == sorted(studies)


def test_request_attributes_match_within_one_item(asker: asking.Asker) -> None:
    request = {"ScheduledProcedureStepID": "STEP1", "ScheduledProcedureStepDescription": "Synthetic step"}
    for changed, number in (({}, 1), ({"ScheduledProcedureStepID": "STEP2"}, 0)):
        found = asker.find(
            level="SERIES", StudyInstanceUID=FIRST, RequestAttributesSequence=[{**request, **changed}]
        )
        assert len(found.answers) == number
    assert found.status == 0


def test_a_header_that_is_gone_leaves_the_answer_and_a_warning(asker: asking.Asker) -> None:
    found = asker.find(StudyInstanceUID="1.2.9.1", RescaleIntercept=None)
    assert found.statuses == [asking.PARTIAL]
    assert found.texts("StudyInstanceUID") == ["1.2.9.1"]


def test_private_keys_and_keys_of_a_lower_level_are_ignored_with_ff01(asker: asking.Asker) -> None:
    private = asker.find(StudyInstanceUID=FIRST, **{"00090010": "SYNTH HEADER 1", "00091001": "other"})
    assert private.statuses == [asking.PARTIAL]
    assert not [key for key in private.fields[0] if identifier.private(key)]
    lower = asker.find(StudyInstanceUID=FIRST, InstanceNumber="77")
    assert lower.statuses == [asking.PARTIAL]
    assert "InstanceNumber" not in lower.fields[0]


# -- what is refused (HOSTILE 28) -----------------------------------------------------------------------


@pytest.mark.parametrize("level", [None, "", "PATIENT", "EVERYTHING", "STUDY\\SERIES"])
def test_28_a_level_that_is_missing_or_not_the_models_is_a900(asker: asking.Asker, level: str | None) -> None:
    found = asker.find(level=level, StudyInstanceUID=None)
    assert (found.answers, found.status) == ([], 0xA900)
    assert found.last.values[0x0901] == struct.pack("<HH", 0x0008, 0x0052)
    assert found.last.comment


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"StudyInstanceUID": None},
        {"StudyInstanceUID": "1.2*"},
        {"StudyInstanceUID": "1.2.3\\1.2.4"},
    ],
)
def test_28_a_unique_key_that_is_missing_above_the_level_is_a900(
    asker: asking.Asker, keys: dict[str, str | None]
) -> None:
    found = asker.find(level="SERIES", SeriesInstanceUID=None, **keys)
    assert (found.answers, found.status) == ([], 0xA900)
    assert found.last.values[0x0901] == struct.pack("<HH", 0x0020, 0x000D)


@pytest.mark.parametrize(
    "data", [b"\x08", b"\x08\x00\x52\x00\xff\xff\xff\x00STUDY ", bytes(128) + b"DICM", None]
)
def test_28_what_cannot_be_decoded_is_c000(asker: asking.Asker, data: bytes | None) -> None:
    asker.ask(data)
    assert asker.found().status == 0xC000


def test_28_a_key_that_its_vr_cannot_have_is_c000(asker: asking.Asker) -> None:
    assert asker.find(StudyDate="yesterday").status == 0xC000


def test_28_another_sop_class_than_the_contexts_is_0122(asker: asking.Asker) -> None:
    asker.ask(identifier.encode({"QueryRetrieveLevel": "STUDY"}, make.IMPLICIT), sop_class=asking.PATIENT)
    assert asker.found().status == 0x0122


def test_28_more_than_the_cap_is_b001_and_the_same_again_gets_the_rest(asker: asking.Asker) -> None:
    first = asker.find(PatientID="MANY", StudyInstanceUID=None)
    assert (len(first.answers), first.status) == (CAP, 0xB001)
    rest = asker.find(PatientID="MANY", StudyInstanceUID=None)
    assert (len(rest.answers), rest.status) == (MANY - CAP, 0)
    assert len({*first.texts("StudyInstanceUID"), *rest.texts("StudyInstanceUID")}) == MANY
    again = asker.find(PatientID="MANY", StudyInstanceUID=None)
    assert again.answers == first.answers
    other = asker.find(PatientID="MANY", StudyInstanceUID=None, StudyDate="20200101")
    assert (len(other.answers), other.status) == (1, 0)


def test_28_a_database_that_does_not_answer_is_a700(
    asker: asking.Asker, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextlib.contextmanager
    def down(self: db.Database) -> Iterator[sqlalchemy.Connection]:
        raise errors.DatabaseUnavailable("the database did not answer: it is down")
        yield

    with monkeypatch.context() as patch:
        patch.setattr(db.Database, "read", down)
        found = asker.find(StudyInstanceUID=None)
    assert (found.answers, found.status) == ([], 0xA700)


def test_28_an_adopter_that_does_not_keep_up_is_a700(
    asker: asking.Asker, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(filed.Filed, "wait", lambda *_, **__: False)
        assert asker.find(StudyInstanceUID=None).status == 0xA700


def test_a_peer_without_the_right_is_0124(tmp_path: pathlib.Path) -> None:
    mute = model.Peer("mute", "MUTE", rights=frozenset({model.Right.STORE}))
    with (
        small.node(tmp_path, peers=[mute], adopting=False) as running,
        asking.Asker.call(running.address, calling="MUTE") as caller,
    ):
        assert caller.find(StudyInstanceUID=None).status == 0x0124
        caller.release()


# -- what was stored is found ---------------------------------------------------------------------------


def test_what_was_stored_is_found_at_once(tmp_path: pathlib.Path) -> None:
    storing = scu.Context(make.CT, (make.EXPLICIT,))
    mades = make.series(5, seed="at once")
    with small.node(tmp_path) as running:
        with asking.Asker.call(running.address, more=[storing]) as caller:  # over the same association
            for number, made in enumerate(mades, 1):
                assert caller.store(made).status == 0
                found = caller.find(StudyInstanceUID=made.study, NumberOfStudyRelatedInstances=None)
                assert found.texts("NumberOfStudyRelatedInstances") == [str(number)]
            caller.release()
        for number in range(5):  # over one that was released
            made = make.instance(seed=f"released {number}")
            with scu.call(running.address, [made]) as sender:
                assert sender.store(made).status == 0
                sender.release()
            with asking.Asker.call(running.address) as caller:
                assert caller.find(StudyInstanceUID=made.study).texts("StudyInstanceUID") == [made.study]
                caller.release()


def test_nobody_waits_for_what_others_are_still_sending(tmp_path: pathlib.Path) -> None:
    made = make.instance(seed="still sending")
    with (
        small.node(tmp_path, adopting=False) as running,
        scu.call(running.address, [made]) as sender,
        asking.Asker.call(running.address) as caller,
    ):
        assert sender.store(made).status == 0
        assert (caller.find(StudyInstanceUID=None).answers) == []
        sender.release()
        caller.ask(identifier.encode({"QueryRetrieveLevel": "STUDY"}, make.IMPLICIT))
        time.sleep(0.1)
        caller.cancel()  # now it waits, and nothing is adopted here
        assert caller.found().status == 0xFE00
        caller.release()


# -- cancelling, and peers that do not read --------------------------------------------------------------


def test_28_a_query_that_is_cancelled_ends_with_fe00(asker: asking.Asker) -> None:
    with asker.together():  # it lies there before the first answers go out
        asker.ask(identifier.encode({"QueryRetrieveLevel": "STUDY", "PatientID": "MANY"}, make.IMPLICIT))
        asker.cancel()
    found = asker.found()
    assert found.status == 0xFE00
    assert len(found.answers) < CAP


def test_28_a_query_is_cancelled_while_it_is_in_the_database(asker: asking.Asker, node: small.Small) -> None:
    with _slow(node.database):
        asker.ask(identifier.encode({"QueryRetrieveLevel": "STUDY", "PatientID": "MANY"}, make.IMPLICIT))
        time.sleep(0.2)
        asker.cancel()
        begun = time.monotonic()
        found = asker.found()
    assert (found.answers, found.status) == ([], 0xFE00)
    assert time.monotonic() - begun < 10  # the statement would take a minute


def test_a_query_of_a_peer_that_goes_away_ends(node: small.Small) -> None:
    with _slow(node.database) as running:
        caller = asking.Asker.call(node.address)
        caller.ask(identifier.encode({"QueryRetrieveLevel": "STUDY", "PatientID": "MANY"}, make.IMPLICIT))
        assert running.wait(20)
        caller.close()
        assert _eventually(lambda: not running.is_set())


def test_cancelling_something_else_stops_nothing(asker: asking.Asker) -> None:
    asker.ask(identifier.encode({"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": FIRST}, make.IMPLICIT), 9)
    asker.cancel(8)
    assert asker.found().status == 0


def test_a_peer_that_does_not_read_holds_no_view_of_the_database_open(node: small.Small) -> None:
    caller = asking.Asker(node.address)
    caller.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    with caller.associate([scu.Context(asking.STUDY)]):
        fields: identifier.Fields = {
            "QueryRetrieveLevel": "STUDY",
            "PatientID": "MANY",
            "PatientComments": None,
        }
        before = _asked(node)
        for message in range(1, 30):  # far more than the sockets between us hold
            caller.ask(identifier.encode(fields, make.IMPLICIT), message)
        assert _eventually(lambda: _asked(node) > before and _idle(node.database))
        assert _asked(node) < before + 29


def _asked(node: small.Small) -> float:
    """Queries that were answered to the end."""
    found = re.findall(
        rb'^dicom_node_operations_total{.*operation="find".*} (.*)$', node.counts.render(), re.MULTILINE
    )
    return sum(map(float, found))


def _idle(database: db.Database) -> bool:
    """Whether nobody reads for a while."""
    for _ in range(20):
        if _checked_out(database):
            return False
        time.sleep(0.02)
    return True


def _checked_out(database: db.Database) -> int:
    pool = database._reading.pool
    assert isinstance(pool, sqlalchemy.pool.QueuePool)
    return pool.checkedout()


def _eventually(true: object, seconds: float = 20.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if true():  # type: ignore[operator]
            return True
        time.sleep(0.02)
    return False


@contextlib.contextmanager
def _slow(database: db.Database) -> Iterator[threading.Event]:
    """Statements that begin here take a minute, unless they are interrupted; the event says that one runs."""
    running = threading.Event()

    def before(connection: sqlalchemy.Connection, cursor: object, statement: str, *_: object) -> None:
        if not statement.startswith("SELECT"):
            return
        running.set()
        endless = (
            "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 300000000)"
            " SELECT count(*) FROM n"
        )
        try:
            connection.connection.execute(endless).fetchall()  # type: ignore[attr-defined]
        finally:
            running.clear()

    engine = database._reading
    sqlalchemy.event.listen(engine, "before_cursor_execute", before)
    try:
        yield running
    finally:
        sqlalchemy.event.remove(engine, "before_cursor_execute", before)


# -- extended negotiation ---------------------------------------------------------------------------------


def test_what_is_agreed_is_what_was_asked_for_and_we_can(node: small.Small) -> None:
    with asking.Asker.call(node.address, extended=b"\x01\x00\x01\x01\x01") as caller:
        assert caller.extended == {asking.STUDY: b"\x01\x00\x01\x01\x00"}
    with asking.Asker.call(node.address, extended=b"\x01") as caller:
        assert caller.extended == {asking.STUDY: b"\x01"}
    with asking.Asker.call(node.address) as caller:
        assert caller.extended == {}


def test_relational_queries_need_no_unique_keys_above(node: small.Small) -> None:
    with asking.Asker.call(node.address, extended=b"\x01") as caller:
        images = caller.find(level="IMAGE", PatientID="SYN-0001", SOPInstanceUID=None)
        assert (len(images.answers), images.status) == (3, 0)
        below = caller.find(
            PatientID="SYN-0001", StudyInstanceUID=None, Modality="CT", SeriesInstanceUID="1.2.3"
        )
        assert (below.answers, below.status) == ([], 0)
        below = caller.find(PatientID="SYN-0001", StudyInstanceUID=None, Modality="CT")
        assert below.texts("StudyInstanceUID") == sorted([FIRST, SECOND])
        assert {one["Modality"] for one in below.fields} == {None}  # there may be many
        assert below.statuses == [asking.PENDING] * 2
        caller.release()


def test_fuzzy_names_match_by_the_beginnings_of_their_words(node: small.Small) -> None:
    for agreed, number in ((b"\x00\x00\x01", 2), (b"\x00\x00\x00", 0)):
        with asking.Asker.call(node.address, extended=agreed) as caller:
            assert len(caller.find(PatientName="alph", StudyInstanceUID=None).answers) == number
            caller.release()


def test_dates_and_times_are_one_moment_when_that_was_agreed(node: small.Small) -> None:
    keys = {"PatientID": "SYN-0001", "StudyDate": "20251231-20260102", "StudyTime": "120000-110000"}
    for agreed, number in ((b"\x00\x01", 2), (b"\x00\x00", 0)):
        with asking.Asker.call(node.address, extended=agreed) as caller:
            assert len(caller.find(**keys).answers) == number
            caller.release()


def test_dates_and_times_are_in_the_askers_time_zone_when_that_was_agreed(node: small.Small) -> None:
    keys = {"StudyInstanceUID": SECOND, "StudyDate": "20260102", "TimezoneOffsetFromUTC": "+1500"}
    with asking.Asker.call(node.address, extended=b"\x00\x01\x00\x01") as caller:
        assert caller.find(**{**keys, "TimezoneOffsetFromUTC": "+9900"}).status == 0xC000
        keys["TimezoneOffsetFromUTC"] = "-1100"
        assert caller.find(**keys).fields == []
        (answer,) = caller.find(**{**keys, "StudyDate": "20260101"}).fields
        caller.release()
    assert (answer["StudyDate"], answer["StudyTime"]) == ("20260101", "221112")
    assert answer["TimezoneOffsetFromUTC"] == "-1100"
    with asking.Asker.call(node.address) as caller:
        (answer,) = caller.find(**{**keys, "TimezoneOffsetFromUTC": None}).fields
        assert (answer["StudyDate"], answer["TimezoneOffsetFromUTC"]) == ("20260102", "+0100")
        caller.release()
