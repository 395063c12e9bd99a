"""Scheduled pulls, prefetches and forwards, with archives that do what they should and some that do not."""

from __future__ import annotations

import dataclasses
import datetime
import pathlib
import threading
from collections.abc import Iterator

import pytest
import sqlalchemy

from node import errors, model, orders
from node.files import layout
from node.index import db, tables
from node.jobs import expected, forward, pull
from tests import archives, make, stored
from tests.archives import PENDING, SUCCESS, Archive, Asked

STUDY = make.series(4, seed="pulled")
OTHER = make.series(2, seed="pulled too")
RECENT = {"StudyDate": "-2000d..today"}
NIGHT = model.Schedule(
    "night", model.Job.PULL, every=60.0, query={"StudyInstanceUID": STUDY[0].study}, by=model.By.GET
)


class Node:
    """What a worker works on."""

    def __init__(self, root: pathlib.Path, database: db.Database) -> None:
        self.data = layout.Data(root)
        self.database = database
        self.stop = threading.Event()
        self.told: list[str] = []

    def job(self, archive: Archive) -> pull.Job:
        settings = model.Settings(storage=model.StorageSettings(min_free=0))
        peer = dataclasses.replace(archive.peer, name="archive")
        brake = pull.Brake(self.stop)
        return pull.Job(
            self.data, self.database, settings, peer, model.By.GET, self.stop, brake, self.told.append
        )

    def take(self, *several: make.Made) -> None:
        """As a modality would send them."""
        with stored.receiver(self.data) as receiver:
            for made in several:
                stored.send(receiver, made)
        stored.file_all(self.data, self.database)

    def pulled(self, archive: Archive, schedule: model.Schedule = NIGHT) -> str:
        job = self.job(archive)
        with job.brake.watching():
            said = pull.pull(job, schedule)
        stored.file_all(self.data, self.database)
        return said


@pytest.fixture
def node(tmp_path: pathlib.Path) -> Iterator[Node]:
    data = stored.data(tmp_path / "data")
    with stored.database(data) as database:
        yield Node(data.root, database)


@pytest.mark.parametrize("level", [model.Level.STUDY, model.Level.SERIES, model.Level.IMAGE])
def test_only_what_is_missing_comes_and_says_where_it_came_from(node: Node, level: model.Level) -> None:
    node.take(STUDY[0], STUDY[2])
    schedule = dataclasses.replace(NIGHT, level=level)
    asked: list[str] = []

    def get(request: Asked) -> int:
        wanted = str(request.fields.get("SOPInstanceUID") or "").split("\\")
        asked.extend(wanted)
        for made in STUDY:
            if made.sop_instance in wanted:
                assert request.store(made) == SUCCESS
        request.counts(0, SUCCESS)
        return -1

    with archives.odd(archives.holding([*STUDY, *OTHER]), get) as archive:
        assert "2 instances fetched" in node.pulled(archive, schedule)
        assert sorted(asked) == sorted([STUDY[1].sop_instance, STUDY[3].sop_instance])
        assert "0 instances fetched" in node.pulled(archive, schedule)
    assert len(asked) == 2
    arrivals = stored.rows(node.database, tables.arrival)
    assert {one["verdict"] for one in arrivals} == {"stored"}
    came = [one for one in arrivals if one["peer"] == "archive"]
    assert {(one["calling"], one["address"], one["called"]) for one in came} == {("ODD", "127.0.0.1", "NODE")}
    assert stored.bodies(node.data, node.database) == {made.sop_instance: made.data for made in STUDY}


def test_keys_are_asked_for_at_their_level(node: Node) -> None:
    asked: list[tuple[str, set[str]]] = []

    def find(request: Asked) -> int:
        valued = {key for key, value in request.fields.items() if value}
        asked.append((request.level, valued - {"QueryRetrieveLevel"}))
        return archives.holding(STUDY)(request)

    keys = {"StudyDate": "today", "PatientID": "SYN-*", "Modality": "CT", "BodyPartExamined": "HEAD"}
    schedule = dataclasses.replace(NIGHT, query=keys, level=model.Level.SERIES, by=model.By.GET)
    with archives.odd(find, lambda _: 0) as archive:
        node.pulled(archive, schedule)
    assert asked[0] == ("STUDY", {"StudyDate", "PatientID"})
    assert asked[1] == ("SERIES", {"StudyInstanceUID", "Modality", "BodyPartExamined"})


def test_an_archive_whose_count_is_ours_is_not_asked_for_lists(node: Node) -> None:
    node.take(*STUDY)
    levels: list[str] = []

    def find(request: Asked) -> int:
        levels.append(request.level)
        request.answer({"StudyInstanceUID": STUDY[0].study, "NumberOfStudyRelatedInstances": str(len(STUDY))})
        return SUCCESS

    with archives.odd(find, lambda _: 0xA701) as archive:
        assert node.pulled(archive) == "1 studies found, 1 here already, 0 instances fetched"
    assert levels == ["STUDY"]


def test_dcmtks_archive_is_pulled_from(node: Node, tmp_path: pathlib.Path) -> None:
    with archives.dcmqrscp(tmp_path / "archive") as archive:
        make.files(tmp_path / "in", [*STUDY, *OTHER])
        assert archives.program("send", archive.address, tmp_path / "in").code == 0
        schedule = dataclasses.replace(NIGHT, query=RECENT)
        assert node.pulled(archive, schedule).startswith("2 studies found, 0 here already, 6 instances")
        assert node.pulled(archive, schedule).startswith("2 studies found, 2 here already, 0 instances")
    assert len(stored.rows(node.database, tables.instance)) == 6


def test_no_more_than_the_limit_is_asked_for(node: Node) -> None:
    def get(request: Asked) -> int:
        for made in [*STUDY, *OTHER]:
            if made.study == request.fields["StudyInstanceUID"]:
                request.store(made)
        request.counts(0, SUCCESS)
        return -1

    schedule = dataclasses.replace(NIGHT, query=RECENT, limit=1)
    with archives.odd(archives.holding([*STUDY, *OTHER]), get) as archive:
        said = node.pulled(archive, schedule)
        assert said.startswith("1 studies found")
        assert said.endswith("more than the limit")
        said = node.pulled(archive, dataclasses.replace(schedule, limit=2))
        assert said.startswith("2 studies found")
        assert not said.endswith("more than the limit")


def test_what_an_archive_cannot_send_is_said_and_the_rest_comes(node: Node) -> None:
    def get(request: Asked) -> int:
        if request.fields["StudyInstanceUID"] == STUDY[0].study:
            return 0xA701
        for made in OTHER:
            request.store(made)
        request.counts(0, SUCCESS)
        return -1

    schedule = dataclasses.replace(NIGHT, query=RECENT)
    with (
        archives.odd(archives.holding([*STUDY, *OTHER]), get) as archive,
        pytest.raises(errors.Transient, match=r"2 instances fetched, 1 not: .*A701"),
    ):
        node.pulled(archive, schedule)
    stored.file_all(node.data, node.database)
    assert len(stored.rows(node.database, tables.instance)) == len(OTHER)


def test_a_stop_ends_what_an_archive_never_does(node: Node) -> None:
    def find(request: Asked) -> int:
        while not request.cancelled:
            request.answer({"StudyInstanceUID": make.uid("endless")}, PENDING)
            node.stop.set()
        return 0xFE00

    schedule = dataclasses.replace(NIGHT, query=RECENT, limit=100_000_000)
    with archives.odd(find) as archive:
        node.pulled(archive, schedule)
    assert node.stop.is_set()


def test_a_key_that_is_none_is_told(node: Node) -> None:
    with pytest.raises(errors.UsageError, match="there is no element 'PatientNmae'"):
        pull.terms({"PatientNmae": "X"}, model.Level.STUDY, datetime.date(2026, 11, 21))
    asked = model.Schedule("s", model.Job.FORWARD, query={"(0009,1001)": "X"}, to=("a",))
    with pytest.raises(errors.UsageError, match="is nothing that the index can look for"):
        forward.question(asked)


# -- priors -------------------------------------------------------------------------------------------


def _prior(
    number: int, day: str, modality: str, birth: str = "19700101", patient: str = "P1"
) -> dict[str, str]:
    return {
        "PatientID": patient,
        "PatientBirthDate": birth,
        "StudyDate": day,
        "StudyTime": "101112",
        "ModalitiesInStudy": modality,
        "StudyInstanceUID": f"1.2.3.{number}",
        "NumberOfStudyRelatedInstances": "9",
    }


PRIORS = [
    _prior(1, "20240101", "CT"),
    _prior(2, "20250101", "CT\\SR"),
    _prior(3, "20260101", "MR"),
    _prior(4, "20260201", "CT"),
    _prior(5, "20260301", "CT", birth="19991231"),  # the same ID, somebody else
    _prior(6, "20260401", "CT", patient="P11"),  # a peer that matches beginnings
    _prior(7, "20261121", "CT"),  # the study that is to be made
]


def test_the_newest_earlier_studies_of_a_patient_are_fetched(node: Node) -> None:
    got: list[str] = []

    def find(request: Asked) -> int:
        if request.level == "STUDY" and request.fields.get("PatientID"):
            for prior in PRIORS:
                request.answer(dict(prior))
        return SUCCESS

    def get(request: Asked) -> int:
        got.append(str(request.fields["StudyInstanceUID"]))
        request.counts(0, SUCCESS)
        return -1

    listed = [pull.Expected("P1", "19700101", "CT", "1.2.3.7")] * 2  # on the list with two steps
    cases: list[tuple[dict[str, object], list[int]]] = [
        ({}, [4, 2, 1]),
        ({"priors": 2}, [4, 2]),
        ({"modalities": ("MR",)}, [3]),
        ({"modalities": ()}, [4, 3, 2]),
        ({"modalities": ("same", "MR"), "priors": 9}, [4, 3, 2, 1]),
        ({"limit": 1}, [4]),
    ]
    with archives.odd(find, get) as archive:
        for more, fetched in cases:
            schedule = model.Schedule("p", model.Job.PREFETCH, at="04:00", by=model.By.GET, **more)  # type: ignore[arg-type]
            pull.prefetch(node.job(archive), schedule, listed)
            assert got == [f"1.2.3.{number}" for number in fetched], more
            got.clear()


def test_only_series_of_the_body_parts_come_and_only_of_studies_that_are_young_enough(node: Node) -> None:
    got: list[tuple[str, str]] = []
    dates: list[str] = []

    def find(request: Asked) -> int:
        if request.level == "STUDY":
            dates.append(str(request.fields.get("StudyDate")))
            request.answer(dict(PRIORS[0]))
        else:
            study = request.fields["StudyInstanceUID"]
            for number, part in enumerate(("HEAD", "Chest", "CHEST", ""), 1):
                series = f"1.2.3.1.{number}"
                found = {"StudyInstanceUID": study, "SeriesInstanceUID": series, "BodyPartExamined": part}
                request.answer(found)
        return SUCCESS

    def get(request: Asked) -> int:
        got.append((request.level, str(request.fields["SeriesInstanceUID"])))
        request.counts(0, SUCCESS)
        return -1

    schedule = model.Schedule(
        "p", model.Job.PREFETCH, at="04:00", zone="UTC", body_parts=("CHEST",), age=5 * 86400.0
    )
    with archives.odd(find, get) as archive:
        pull.prefetch(node.job(archive), schedule, [pull.Expected("P1", "", "CT", "1.2.3.7")])
    assert got == [("SERIES", "1.2.3.1.2"), ("SERIES", "1.2.3.1.3")]
    (asked,) = dates
    day = datetime.datetime.strptime(asked.rstrip("-"), "%Y%m%d").replace(tzinfo=datetime.UTC)
    assert 5 <= (datetime.datetime.now(datetime.UTC) - day).days <= 6


def test_a_peers_worklist_says_who_is_expected(node: Node, tmp_path: pathlib.Path) -> None:
    element = make.element
    tomorrow = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=1)
    entries = []
    for number, (patient, day) in enumerate(
        (("P1", tomorrow), ("P2", tomorrow + datetime.timedelta(days=9)))
    ):
        step = (
            element(0x00080060, "CS", "CT"),
            element(0x00400001, "AE", "STATION"),
            element(0x00400002, "DA", f"{day:%Y%m%d}"),
            element(0x00400003, "TM", "101500"),
            element(0x00400006, "PN", "DOC^TOR"),
            element(0x00400007, "LO", "Scan"),
            element(0x00400009, "SH", "S1"),
        )
        head = [
            element(0x00080050, "SH", "A1"),
            element(0x00100010, "PN", "SYNTHETIC^ALPHA"),
            element(0x00100020, "LO", patient),
            element(0x00100030, "DA", "19700101"),
            element(0x0020000D, "UI", f"1.2.3.{number}"),
            element(0x00321060, "LO", "Scan"),
            element(0x00400100, "SQ", (step,)),
            element(0x00401001, "SH", "R1"),
        ]
        uid = make.uid("expected", number)
        made = make.Made("1.2.276.0.7230010.3.1.0.1", uid, "", "", make.EXPLICIT, make.encode(head))
        entries.append(make.part10(made))
    schedule = model.Schedule("p", model.Job.PREFETCH, at="04:00", zone="UTC", worklist="work", days=3)
    with archives.wlmscpfs(tmp_path, entries) as archive:
        peer = dataclasses.replace(archive.peer, name="work")
        settings = model.Settings(peers=(peer,))
        found = expected.today(settings, node.database, schedule)
    assert found == [pull.Expected("P1", "19700101", "CT", "1.2.3.0")]
    with pytest.raises(errors.ConfigError, match="there is no peer 'work' any more"):
        expected.today(model.Settings(), node.database, schedule)


# -- forwards -----------------------------------------------------------------------------------------


def _forward(node: Node, *to: str, groups: tuple[orders.Group, ...] = (), **more: object) -> str:
    schedule = model.Schedule("on", model.Job.FORWARD, every=60.0, to=to, **more)  # type: ignore[arg-type]
    settings = model.Settings(groups=groups)
    return forward.forward(
        node.data, node.database, settings, schedule, stop=node.stop, tell=node.told.append
    )


def _owed(node: Node) -> list[tuple[object, object]]:
    rows = stored.rows(node.database, tables.delivery)
    return sorted((str(row["destination"]), str(row["sop_instance"])) for row in rows)


def test_what_matches_is_owed_once_and_what_came_since_the_next_time(node: Node) -> None:
    query = {"StudyInstanceUID": STUDY[0].study}
    node.take(*STUDY[:2], *OTHER)
    assert _forward(node, "a", query=query).endswith("1 owed anew")
    assert _forward(node, "a", query=query).endswith("0 owed anew")
    node.take(*STUDY[2:])
    assert _forward(node, "a", query=query).endswith("1 owed anew")
    assert _owed(node) == sorted(("a", made.sop_instance) for made in STUDY)
    (route,) = {row["route"] for row in stored.rows(node.database, tables.consignment)}
    assert route == "schedule on"
    assert _forward(node, "a", query=query, again=True).endswith("0 owed anew")  # it is to get them yet
    with node.database.write() as connection:
        for table in (tables.delivery, tables.consignment):
            connection.execute(sqlalchemy.update(table).values(state="done"))
    assert _forward(node, "a", query=query).endswith("0 owed anew")
    assert _forward(node, "a", query=query, again=True).endswith("1 owed anew")
    assert len(_owed(node)) == len(STUDY)


def test_one_member_of_a_group_is_enough(node: Node) -> None:
    both = orders.Group("either", ("a", "b"), orders.Choice.SPREAD)
    query = RECENT
    node.take(*STUDY, *OTHER)
    assert _forward(node, "either", groups=(both,), query=query).endswith("2 owed anew")
    assert _forward(node, "either", groups=(both,), query=query).endswith("0 owed anew")
    assert sorted(uid for _, uid in _owed(node)) == sorted(made.sop_instance for made in [*STUDY, *OTHER])
    assert {name for name, _ in _owed(node)} == {"a", "b"}
