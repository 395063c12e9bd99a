"""The worklist as modalities see it: over sockets, from files and from the table, with wlmscpfs beside it."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import pathlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence

import pynetdicom
import pytest
from pydicom.dataset import Dataset
from pynetdicom.sop_class import ModalityWorklistInformationFind  # type: ignore[attr-defined]

from node import log, metrics, model, worklist
from node.dicom import identifier
from node.dicom import worklist as entries
from node.files import worklist as folders
from node.index import db
from node.index import worklist as table
from node.scp import find, mpps
from node.scp import worklist as listing
from node.wire import command, policy
from tests import indexed, make, peers, raw, reports, scu

CALLED = "NODE"


@dataclasses.dataclass
class Ward:
    """A node that serves a worklist."""

    database: db.Database
    folder: pathlib.Path
    lists: worklist.Lists
    desk: worklist.Desk
    address: tuple[str, int]

    def ask(self, asked: identifier.Fields, charset: str = "") -> list[tuple[int, identifier.Fields]]:
        """The answers of a C-FIND with the status that each came with; the last is the end's."""
        with scu.Caller(self.address).associate([scu.Context(entries.SOP_CLASS)]) as caller:
            values: dict[int, scu.Value] = {0x2: entries.SOP_CLASS, 0x100: 0x20, 0x110: 1, 0x700: 0, 0x800: 1}
            caller.message(1, values, identifier.encode(asked, make.IMPLICIT, charset))
            found = []
            while True:
                answer = caller.response()
                fields = identifier.decode(answer.data, make.IMPLICIT) if answer.data else {}
                found.append((answer.status, fields))
                if answer.status not in (0xFF00, 0xFF01):
                    caller.release()
                    return found

    def names(self, asked: identifier.Fields) -> list[str]:
        """Patient ids of what a query finds."""
        *found, (status, _) = self.ask({"PatientID": None} | asked)
        assert status == 0x0000
        return [entries.text(fields, "PatientID") for _, fields in found]


@contextlib.contextmanager
def _serving(root: pathlib.Path, finished: model.Finished = model.Finished.HIDE) -> Iterator[Ward]:
    folder = root / "worklist"
    folder.mkdir(exist_ok=True)
    database = indexed.sqlite(root)
    lists = worklist.Lists(database, model.WorklistSettings(folder, finished))
    counts = metrics.Metrics(None)
    asking = find.Find({entries.SOP_CLASS: listing.Worklist(lists)}, counts)
    handlers = {command.Field.C_FIND: asking, **mpps.Mpps(database, counts).handlers()}
    services = (policy.WORKLIST, *policy.PERFORMED_STEP)
    with raw.running(handlers=handlers, services=services) as running:
        agreed = {policy.WORKLIST: listing.EXTENDED}
        running.acceptor.admit = policy.Policy(
            running.node, raw.LIMITS, (), services=services, extended=agreed
        )
        yield Ward(database, folder, lists, worklist.Desk(database), ("127.0.0.1", running.port))
    asking.close()
    database.close()


@pytest.fixture
def ward(tmp_path: pathlib.Path) -> Iterator[Ward]:
    with _serving(tmp_path) as found:
        yield found


def _entry(
    number: int, step: Mapping[str, identifier.Value] | None = None, **fields: identifier.Value
) -> identifier.Fields:
    """What wlmscpfs wants to find in an entry, and a little more."""
    whole: identifier.Fields = {
        "AccessionNumber": f"A-{number}",
        "ReferringPhysicianName": "SYNTHETIC^REFERRER",
        "PatientName": f"SYNTHETIC^N{number:04}",
        "PatientID": f"SYN-{number}",
        "PatientBirthDate": "19700101",
        "PatientSex": "O",
        "StudyInstanceUID": make.uid("wl", number),
        "RequestedProcedureDescription": "Head",
        "ScheduledProcedureStepSequence": [
            {
                "Modality": "CT",
                "ScheduledStationAETitle": "CT1",
                "ScheduledProcedureStepStartDate": "20261121",
                "ScheduledProcedureStepStartTime": f"{8 + number % 10:02}00",
                "ScheduledPerformingPhysicianName": "SYNTHETIC^PERFORMER",
                "ScheduledProcedureStepDescription": "Head native",
                "ScheduledProcedureStepID": f"SPS-{number}",
                **(step or {}),
            }
        ],
        "RequestedProcedureID": f"RP-{number}",
        "RequestedProcedurePriority": "ROUTINE",
    }
    return whole | fields


def _write(path: pathlib.Path, fields: identifier.Fields, charset: str = "") -> None:
    """A worklist file as dump2dcm makes it: Part 10, explicit VR."""
    data = identifier.encode(fields, make.EXPLICIT, charset)
    meta = make.element(0x00020010, "UI", make.EXPLICIT)
    head = make.encode([meta], make.EXPLICIT)
    path.write_bytes(bytes(128) + b"DICM" + head + data)
    old = time.time() - 60  # not one that is being written
    os.utime(path, (old, old))


STEP_KEYS: identifier.Fields = {
    "Modality": None,
    "ScheduledStationAETitle": None,
    "ScheduledProcedureStepStartDate": None,
    "ScheduledProcedureStepStartTime": None,
    "ScheduledPerformingPhysicianName": None,
    "ScheduledProcedureStepDescription": None,
    "ScheduledProcedureStepID": None,
}


def test_an_entry_of_a_file_and_one_of_the_table_are_one_list(ward: Ward) -> None:
    _write(ward.folder / "one.wl", _entry(2))
    (ward.folder / "two.json").write_text(json.dumps(_entry(1)))
    ward.desk.add(_entry(3), by="test")
    asked: identifier.Fields = {
        "PatientName": None,
        "PatientID": None,
        "RequestedProcedureCodeSequence": None,
        "ScheduledProcedureStepSequence": [STEP_KEYS],
    }
    *found, last = ward.ask(asked)
    assert last == (0x0000, {})
    assert [status for status, _ in found] == [0xFF00] * 3
    assert [fields["PatientID"] for _, fields in found] == ["SYN-1", "SYN-2", "SYN-3"]  # as they begin
    whole = _entry(2)
    assert found[1][1] == {
        "PatientName": whole["PatientName"],
        "PatientID": "SYN-2",
        "RequestedProcedureCodeSequence": [],
        "ScheduledProcedureStepSequence": whole["ScheduledProcedureStepSequence"],
    }


# -- another make's opinion -------------------------------------------------------------------------

KEYS = (
    "AccessionNumber",
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "StudyInstanceUID",
    "RequestedProcedureID",
)
# Nothing stands here in which the two differ by choice: names without case, wildcards in ids.
QUERIES: list[list[str]] = [
    [],
    ["PatientID=SYN-3"],
    ["PatientID=syn-3"],
    ["PatientName=SYNTHETIC^N000*"],
    ["AccessionNumber=A-4"],
    ["RequestedProcedureID=RP-5"],
    ["ScheduledProcedureStepSequence[0].Modality=MR"],
    ["ScheduledProcedureStepSequence[0].Modality=CT", "PatientName=*N0001"],
    ["ScheduledProcedureStepSequence[0].ScheduledStationAETitle=MR1"],
    ["ScheduledProcedureStepSequence[0].ScheduledProcedureStepStartDate=20261122"],
    ["ScheduledProcedureStepSequence[0].ScheduledProcedureStepStartDate=20261122-"],
    ["ScheduledProcedureStepSequence[0].ScheduledProcedureStepStartDate=-20261121"],
    ["ScheduledProcedureStepSequence[0].ScheduledProcedureStepStartTime=1000-1200"],
    [
        "ScheduledProcedureStepSequence[0].ScheduledProcedureStepStartDate=20261121-20261122",
        "ScheduledProcedureStepSequence[0].ScheduledProcedureStepStartTime=1000-1200",
    ],
    ["ScheduledProcedureStepSequence[0].ScheduledPerformingPhysicianName=*PERFORMER"],
    ["ScheduledProcedureStepSequence[0].ScheduledProcedureStepStartDate=", "PatientID=NOBODY"],
]


def _findscu(port: int, called: str, query: Sequence[str], out: pathlib.Path) -> list[identifier.Fields]:
    """What findscu gets for a query, in any order."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    step = [f"ScheduledProcedureStepSequence[0].{key}" for key in STEP_KEYS]
    asked = dict.fromkeys([*KEYS, *step], "") | dict(key.split("=") for key in query)
    words = [word for key, value in asked.items() for word in ("-k", f"{key}={value}" if value else key)]
    done = subprocess.run(
        [
            peers.require("findscu"),
            "-W",
            "-X",
            "-od",
            str(out),
            "-aec",
            called,
            "127.0.0.1",
            str(port),
            *words,
        ],
        env=peers.environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = [folders.read(path, path.name)[0].fields for path in out.glob("rsp*.dcm")]
    return sorted(found, key=lambda fields: entries.text(fields, "PatientID"))


@contextlib.contextmanager
def _wlmscpfs(folder: pathlib.Path) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    program = subprocess.Popen(
        [peers.require("wlmscpfs"), "-s", "-csk", "-dfp", str(folder), str(port)],
        env=peers.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 30
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield port
    finally:
        program.terminate()
        program.wait()


def test_findscu_hears_of_us_what_it_hears_of_wlmscpfs(ward: Ward, tmp_path: pathlib.Path) -> None:
    place = ward.folder / CALLED
    place.mkdir()
    (place / "lockfile").touch()
    for number in range(1, 13):
        modality, day = ("MR", "20261122") if number % 3 == 0 else ("CT", "20261121")
        step = {
            "Modality": modality,
            "ScheduledStationAETitle": f"{modality}1",
            "ScheduledProcedureStepStartDate": day,
        }
        _write(place / f"{number}.wl", _entry(number, step))
    counts = []
    with _wlmscpfs(ward.folder) as port:
        for query in QUERIES:
            theirs = _findscu(port, CALLED, query, tmp_path / "theirs")
            ours = _findscu(ward.address[1], CALLED, query, tmp_path / "ours")
            assert ours == theirs, query
            counts.append(len(ours))
    assert counts[0] == 12
    assert counts[-1] == 0
    assert len(set(counts)) > 5  # the queries tell entries apart


def test_a_worklist_is_for_the_title_that_its_folder_is_named_after(ward: Ward) -> None:
    for name in ("NODE", "OTHER"):
        (ward.folder / name).mkdir()
    _write(ward.folder / "NODE" / "1.wl", _entry(1))
    _write(ward.folder / "OTHER" / "2.wl", _entry(2))
    _write(ward.folder / "3.wl", _entry(3))
    assert sorted(ward.names({})) == ["SYN-1", "SYN-3"]
    found = ward.lists.find(entries.Question({"PatientID": None}), "../worklist/OTHER")
    assert [one.fields["PatientID"] for one in found] == ["SYN-3"]


# -- meaning ----------------------------------------------------------------------------------------


def test_a_sequence_is_given_as_it_was_asked_for(ward: Ward) -> None:
    code = {"CodeValue": "1", "CodingSchemeDesignator": "99", "CodeMeaning": "Head"}
    ward.desk.add(_entry(1, RequestedProcedureCodeSequence=[code]), by="test")
    whole = _entry(1)["ScheduledProcedureStepSequence"]
    for asked, answer in (
        ({"ScheduledProcedureStepSequence": []}, {"ScheduledProcedureStepSequence": whole}),
        ({"ScheduledProcedureStepSequence": [{}]}, {"ScheduledProcedureStepSequence": whole}),
        ({"RequestedProcedureCodeSequence": []}, {"RequestedProcedureCodeSequence": [code]}),
        (
            {"RequestedProcedureCodeSequence": [{"CodeMeaning": None, "CodingSchemeVersion": None}]},
            {"RequestedProcedureCodeSequence": [{"CodeMeaning": "Head", "CodingSchemeVersion": None}]},
        ),
        ({"RequestedProcedureCodeSequence": [{"CodeValue": "2"}]}, None),
        ({"AdmissionID": None}, {"AdmissionID": None}),
        ({"AdmissionID": "7"}, None),
    ):
        *found, (status, _) = ward.ask(asked)  # type: ignore[arg-type]
        assert status == 0x0000
        assert [fields for _, fields in found] == ([answer] if answer else [])


def test_keys_that_nobody_knows_are_said_not_to_be_supported(ward: Ward) -> None:
    ward.desk.add(_entry(1), by="test")
    private = {
        "PatientID": None,
        "00091001": "anything",
        "ScheduledProcedureStepSequence": [{"00110010": "X"}],
    }
    (status, fields), last = ward.ask(private)  # type: ignore[arg-type]
    assert (status, last[0]) == (0xFF01, 0x0000)
    assert "00091001" not in fields
    assert fields["PatientID"] == "SYN-1"


def test_a_key_that_its_element_cannot_have_is_refused(ward: Ward) -> None:
    ward.desk.add(_entry(1), by="test")
    bad = {"ScheduledProcedureStepSequence": [{"ScheduledProcedureStepStartDate": "tomorrow"}]}
    assert ward.ask(bad)[-1][0] == 0xC000  # type: ignore[arg-type]
    star = {"ScheduledProcedureStepStartDate": "20261121", "ScheduledProcedureStepStartTime": "*"}
    assert ward.names({"ScheduledProcedureStepSequence": [star]}) == ["SYN-1"]  # type: ignore[list-item]


def _with_pynetdicom(ward: Ward, name: str, fuzzy: bool) -> list[str]:
    ae = pynetdicom.AE("PYNET")
    ae.add_requested_context(entries.SOP_CLASS)
    asked = pynetdicom.pdu_primitives.SOPClassExtendedNegotiation()
    asked.sop_class_uid = entries.SOP_CLASS
    asked.service_class_application_information = bytes((0, 0, fuzzy))
    link = ae.associate(*ward.address, ae_title=CALLED, ext_neg=[asked])
    assert link.is_established
    query = Dataset()
    query.PatientName = name
    query.PatientID = ""
    found = [
        (status.Status, answer) for status, answer in link.send_c_find(query, ModalityWorklistInformationFind)
    ]
    link.release()
    assert [status for status, _ in found] == [0xFF00] * (len(found) - 1) + [0x0000]
    return [answer.PatientID for _, answer in found[:-1]]


def test_names_match_fuzzily_where_that_was_agreed(ward: Ward) -> None:
    ward.desk.add(_entry(1, PatientName="Müller^Jörg"), by="test")
    ward.desk.add(_entry(2, PatientName="Meier^Jana"), by="test")
    assert _with_pynetdicom(ward, "mueller jörg", fuzzy=True) == ["SYN-1"]
    assert _with_pynetdicom(ward, "mueller jörg", fuzzy=False) == []
    assert _with_pynetdicom(ward, "Meier*", fuzzy=False) == ["SYN-2"]


def test_one_file_with_two_steps_is_two_entries(ward: Ward) -> None:
    (first,), (second,) = (_entry(n)["ScheduledProcedureStepSequence"] for n in (1, 2))  # type: ignore[misc, union-attr]
    _write(ward.folder / "both.wl", _entry(1, ScheduledProcedureStepSequence=[first, second]))
    *found, _ = ward.ask({"ScheduledProcedureStepSequence": [{"ScheduledProcedureStepID": "SPS-2"}]})
    assert [fields for _, fields in found] == [
        {"ScheduledProcedureStepSequence": [{"ScheduledProcedureStepID": "SPS-2"}]}
    ]


@pytest.mark.parametrize(
    ("charset", "name", "part"),
    [
        ("ISO_IR 100", "Müller^Jörg", "MÜLL*"),
        ("ISO_IR 144", "Иванов^Иван", "иван*"),
        ("\\ISO 2022 IR 87", "Yamada^Tarou=山田^太郎=やまだ^たろう", "*=山田*"),
        ("\\ISO 2022 IR 149", "Hong^Gildong=洪^吉洞=홍^길동", "*=*=홍*"),
        ("GB18030", "Wang^XiaoDong=王^小东", "*=王*"),
        ("ISO_IR 192", "قباني^لنزار", "قبا*"),
    ],
)
def test_a_worklist_in_the_set_of_its_modality(ward: Ward, charset: str, name: str, part: str) -> None:
    _write(ward.folder / "1.wl", _entry(1, PatientName=name), charset)
    ward.desk.add(_entry(2, PatientName=name), by="test")
    # Asked in the modality's own set, answered in it; asked in none, a file's set, or UTF-8, is used.
    *found, _ = ward.ask({"PatientName": part}, charset)
    assert [(one["PatientName"], one["SpecificCharacterSet"]) for _, one in found] == [(name, charset)] * 2
    *plain, _ = ward.ask({"PatientName": None})
    assert [one["PatientName"] for _, one in plain] == [name] * 2
    assert plain[0][1]["SpecificCharacterSet"] in (charset, "ISO_IR 192")


# -- steps --------------------------------------------------------------------------------------------


def _status(fields: identifier.Fields) -> identifier.Value:
    items = fields[entries.STEP]
    assert isinstance(items, list)
    return items[0][entries.STATUS]


def _perform(ward: Ward, number: int, status: str | None) -> None:
    """A modality begins a scheduled step, and ends it when a status says how."""
    uid = make.uid("perform", number, str(status), time.monotonic_ns())
    begun = reports.begun()
    begun.ScheduledStepAttributesSequence[0].StudyInstanceUID = make.uid("wl", number)
    begun.ScheduledStepAttributesSequence[0].ScheduledProcedureStepID = f"SPS-{number}"
    modality = reports.Modality(ward.address)
    assert modality.create(uid, begun).status == 0x0000
    if status is not None:
        assert modality.set(uid, reports.ended(status=status)).status == 0x0000
    modality.caller.release()


_STATUS: identifier.Fields = {
    "PatientID": None,
    "ScheduledProcedureStepSequence": [{"ScheduledProcedureStepStatus": None}],
}


@pytest.mark.parametrize("finished", list(model.Finished))
def test_what_is_done_leaves_the_list_or_says_so(tmp_path: pathlib.Path, finished: model.Finished) -> None:
    with _serving(tmp_path, finished) as ward:
        _write(ward.folder / "1.wl", _entry(1))
        for number in (2, 3, 4):
            ward.desk.add(_entry(number), by="test")
        _perform(ward, 1, "COMPLETED")
        _perform(ward, 2, "DISCONTINUED")
        _perform(ward, 3, "DISCONTINUED")
        _perform(ward, 3, None)  # and is begun again
        *found, _ = ward.ask(_STATUS)
        shown = {one["PatientID"]: _status(one) for _, one in found}
        if finished is model.Finished.HIDE:
            assert shown == {"SYN-3": "STARTED", "SYN-4": None}
        else:
            assert shown == {"SYN-1": "COMPLETED", "SYN-2": "DISCONTINUED", "SYN-3": "STARTED", "SYN-4": None}
        begun = {"ScheduledProcedureStepSequence": [{"ScheduledProcedureStepStatus": "STARTED"}]}
        assert ward.names(begun) == ["SYN-3"]  # type: ignore[arg-type]


# -- the folder -----------------------------------------------------------------------------------------


def test_the_folder_is_read_when_it_changes(ward: Ward) -> None:
    _write(ward.folder / "1.wl", _entry(1))
    assert ward.names({}) == ["SYN-1"]
    _write(ward.folder / "1.wl", _entry(2))
    _write(ward.folder / "3.wl", _entry(3))
    assert sorted(ward.names({})) == ["SYN-2", "SYN-3"]
    (ward.folder / "1.wl").unlink()
    assert ward.names({}) == ["SYN-3"]
    (ward.folder / "4.json").write_text(json.dumps(_entry(4)))  # just now, and at once changed again
    assert sorted(ward.names({})) == ["SYN-3", "SYN-4"]
    (ward.folder / "4.json").write_text(json.dumps(_entry(5)))
    assert sorted(ward.names({})) == ["SYN-3", "SYN-5"]


def test_a_bad_file_is_told_once_and_the_rest_is_served(ward: Ward) -> None:
    _write(ward.folder / "1.wl", _entry(1))
    bad = {
        "cut.wl": (ward.folder / "1.wl").read_bytes()[:300],
        "garbage.wl": b"no DICOM at all",
        "huge.wl": bytes(entries.LARGEST + 1),
        "no-step.json": b'{"PatientName": "SYNTHETIC^ONE", "PatientID": "1"}',
        "no.json": b"{",
        "odd-date.json": json.dumps(_entry(3, PatientBirthDate="SYNTHETIC")).encode(),
        "odd-name.json": json.dumps(_entry(4) | {"PatientName": 4711815}).encode(),
    }
    for name, data in bad.items():
        (ward.folder / name).write_bytes(data)
    os.mkfifo(ward.folder / "pipe.wl")  # never opened: it would wait for ever
    heard = io.StringIO()
    log.configure(model.LogSettings(format="json"), "test", heard)
    try:
        assert ward.names({}) == ["SYN-1"]
        assert "worklist_file_skipped" not in heard.getvalue()  # they may still be being written
        for name in bad:
            os.utime(ward.folder / name, (time.time() - 60,) * 2)
        assert ward.names({}) == ward.names({}) == ["SYN-1"]
    finally:
        log.configure(model.LogSettings(), "test", io.StringIO())
    lines = [json.loads(line) for line in heard.getvalue().splitlines()]
    told = [line["path"] for line in lines if line["action"] == "worklist_file_skipped"]
    assert told == [str(ward.folder / name) for name in sorted(bad)]
    assert "SYNTHETIC" not in heard.getvalue()
    assert "4711815" not in heard.getvalue()
    served, skipped = folders.look(ward.folder)
    assert (served, [path.name for path, _ in skipped]) == (1, sorted(bad))


def test_a_folder_that_cannot_be_read_is_no_empty_list(ward: Ward) -> None:
    ward.desk.add(_entry(1), by="test")
    ward.folder.rename(ward.folder.with_name("elsewhere"))
    assert ward.ask({"PatientID": None}) == [(0xA700, {})]
    ward.folder.with_name("elsewhere").rename(ward.folder)
    assert ward.names({}) == ["SYN-1"]


def test_more_entries_than_are_looked_through_is_no_short_list(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2, 3):
        ward.desk.add(_entry(number), by="test")
    monkeypatch.setattr(worklist, "MOST", 2)
    ((status, _),) = ward.ask({"PatientID": None})
    assert status == 0xA700
    assert ward.names({"PatientID": "SYN-2"}) == ["SYN-2"]
    _perform(ward, 3, "COMPLETED")  # what is done is not looked through
    assert ward.names({}) == ["SYN-1", "SYN-2"]


def test_another_folder_is_served_from_the_reload_on(ward: Ward, tmp_path: pathlib.Path) -> None:
    _write(ward.folder / "1.wl", _entry(1))
    other = tmp_path / "other"
    other.mkdir()
    _write(other / "2.wl", _entry(2))
    assert ward.names({}) == ["SYN-1"]
    ward.lists.apply(model.WorklistSettings(other))
    assert ward.names({}) == ["SYN-2"]
    ward.lists.apply(model.WorklistSettings())
    assert ward.names({}) == []


def test_a_thousand_entries(ward: Ward) -> None:
    for number in range(500):
        _write(ward.folder / f"{number}.wl", _entry(number))
    with ward.database.write() as connection:
        for number in range(500, 1000):
            entry = entries.checked(_entry(number), f"e{number}")
            table.put(connection, entry, by="test", now=indexed.START, new=True)
    assert len(ward.names({})) == 1000
    assert ward.names({"PatientID": "SYN-999"}) == ["SYN-999"]
    assert ward.names({"PatientID": "SYN-7"}) == ["SYN-7"]
    assert len(ward.names({"PatientID": "SYN-99*"})) == 11
