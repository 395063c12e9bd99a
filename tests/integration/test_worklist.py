"""The worklist as modalities see it: over sockets, from files and from the table, with wlmscpfs beside it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence

import pytest
from pydicom.dataset import Dataset

from node import metrics, model, worklist
from node.dicom import identifier
from node.dicom import worklist as entries
from node.index import db
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
