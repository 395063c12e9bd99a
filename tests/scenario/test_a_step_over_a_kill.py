"""A modality takes a step from the worklist, the node is killed in its midst, and the step goes on."""

from __future__ import annotations

import http.client
import json
import pathlib
from collections.abc import Callable
from typing import Any

from node.dicom import identifier
from tests import make, reports, scu
from tests.scenario import harness

WORKLIST = "1.2.840.10008.5.1.4.31"
STEP = make.uid("scenario", "step")
ENTRY: dict[str, Any] = {
    "PatientName": "SYNTHETIC^ALPHA",
    "PatientID": "SYN-1",
    "AccessionNumber": "A-1",
    "StudyInstanceUID": make.uid("study", 1),
    "ScheduledProcedureStepSequence": [
        {
            "Modality": "CT",
            "ScheduledStationAETitle": "CT1",
            "ScheduledProcedureStepStartDate": "20261121",
            "ScheduledProcedureStepStartTime": "0915",
            "ScheduledProcedureStepID": "SPS-1",
        }
    ],
}
STATUS: identifier.Fields = {
    "PatientID": None,
    "ScheduledProcedureStepSequence": [{"Modality": "CT", "ScheduledProcedureStepStatus": None}],
}


def _ask(node: harness.Node) -> dict[str, identifier.Value]:
    """Patient id -> status of what is on the list."""
    found = {}
    with scu.Caller(node.address).associate([scu.Context(WORKLIST)]) as caller:
        values: dict[int, scu.Value] = {0x2: WORKLIST, 0x100: 0x20, 0x110: 1, 0x700: 0, 0x800: 1}
        caller.message(1, values, identifier.encode(STATUS, make.IMPLICIT))
        while (answer := caller.response()).status == 0xFF00:
            fields = identifier.decode(answer.data, make.IMPLICIT)
            items = fields["ScheduledProcedureStepSequence"]
            assert isinstance(items, list)
            found[str(fields["PatientID"])] = items[0]["ScheduledProcedureStepStatus"]
        assert answer.status == 0x0000
        caller.release()
    return found


def _add(node: harness.Node, entry: object) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", node.http, timeout=10)
    body = json.dumps(entry)
    connection.request("PUT", "/api/worklist/RIS-1", body, {"Content-Type": "application/json"})
    status = connection.getresponse().status
    connection.close()
    return status


def test_the_step_goes_on_after_the_restart(
    make_node: Callable[..., harness.Node], tmp_path: pathlib.Path
) -> None:
    folder = tmp_path / "worklist"
    folder.mkdir()
    filed = ENTRY | {"PatientID": "SYN-2", "StudyInstanceUID": "1.2.3"}
    (folder / "two.json").write_text(json.dumps(filed))
    node = make_node(worklist={"folder": str(folder)}).start()
    assert _add(node, ENTRY) == 201
    assert _ask(node) == {"SYN-1": None, "SYN-2": None}
    modality = reports.Modality(node.address, calling="CT1")
    assert modality.create(STEP).status == 0x0000
    node.kill()
    modality.caller.close()

    node.start()
    assert _ask(node) == {"SYN-1": "STARTED", "SYN-2": None}
    modality = reports.Modality(node.address, calling="CT1")
    assert modality.create(STEP).status == 0x0111
    assert modality.set(STEP, reports.ended([("1.2.3.1", 3)])).status == 0x0000
    assert modality.set(STEP, reports.ended()).status == 0x0110
    modality.caller.release()
    assert _ask(node) == {"SYN-2": None}
    actions = [event["action"] for event in node.events()]
    assert [actions.count(one) for one in ("worklist_changed", "step_created", "step_ended")] == [1, 1, 1]
    assert "SYNTHETIC" not in node.log.read_text()
    assert node.stop() == 0

    # No file of the tree has these: a rebuild makes them from the ledger, also when the index is lost.
    for left in node.data.glob("index.sqlite*"):
        left.unlink()
    assert node.command("rebuild").returncode == 0
    (step,) = json.loads(node.command("steps", "list", "--json").stdout)
    assert (step["sop_instance"], step["state"]) == (STEP, "COMPLETED")
    shown = node.command("steps", "show", STEP).stdout
    assert "1.2.3.1: 3 instances" in shown
    assert f"step SPS-1, accession A-1, study {make.uid('study', 1)}" in shown
    listed = node.command("worklist", "list").stdout
    assert "RIS-1" in listed
    assert "COMPLETED" in listed
    (folder / "bad.wl").write_bytes(b"no DICOM at all")
    checked = node.command("check")
    assert checked.returncode == 2
    assert f"{folder} has 1 entries" in checked.stdout
    assert "bad.wl is not served" in checked.stdout
