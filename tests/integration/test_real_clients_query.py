"""What hospitals query with: DCMTK's findscu, Orthanc and pynetdicom ask the node."""

from __future__ import annotations

import http.client
import json
import pathlib
import subprocess
from collections.abc import Iterator

import pydicom
import pynetdicom
import pytest
from pynetdicom import sop_class

from tests import make, orthanc, peers, small, stored


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[small.Small]:
    with small.node(tmp_path_factory.mktemp("queried")) as running:
        for number in range(3):
            for made in make.series(2, seed=f"study {number}", patient="SYNTHETIC^JÉRÔME"):
                stored.send(running.receiver, made)
        running.settle()
        yield running


STUDIES = sorted(make.uid(f"study {number}", "study") for number in range(3))


@pytest.mark.parametrize("model", ["-S", "-P", "-O"])
def test_findscu_finds_studies(node: small.Small, model: str, tmp_path: pathlib.Path) -> None:
    keys = ["QueryRetrieveLevel=STUDY", "PatientID=SYN-0001", "StudyInstanceUID", "PatientName=SYNTH*"]
    command = [peers.require("findscu"), model, "-X", "-od", str(tmp_path), "-aec", small.AET]
    for key in keys:
        command += ["-k", key]
    command += [node.address[0], str(node.address[1])]
    done = subprocess.run(command, env=peers.environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    read = [pydicom.dcmread(path) for path in sorted(tmp_path.glob("rsp*.dcm"))]
    assert sorted(one.StudyInstanceUID for one in read) == STUDIES
    assert {str(one.PatientName) for one in read} == {"SYNTHETIC^JÉRÔME"}


def test_findscu_hears_why_it_is_refused(node: small.Small) -> None:
    command = [peers.require("findscu"), "-v", "-S", "-k", "QueryRetrieveLevel=SERIES", "-aec", small.AET]
    command += [node.address[0], str(node.address[1])]
    done = subprocess.run(command, env=peers.environment(), capture_output=True, text=True, check=False)
    assert "DataSetDoesNotMatchSOPClass" in done.stdout + done.stderr


def test_pynetdicom_finds_images_and_cancels(node: small.Small) -> None:
    ae = pynetdicom.AE("PYNETDICOM")
    ae.add_requested_context(sop_class.StudyRootQueryRetrieveInformationModelFind)
    link = ae.associate(*node.address, ae_title=small.AET)
    assert link.is_established
    asked = pydicom.Dataset()
    asked.QueryRetrieveLevel = "IMAGE"
    asked.StudyInstanceUID = make.uid("study 1", "study")
    asked.SeriesInstanceUID = make.uid("study 1", "study", "series")
    asked.SOPInstanceUID = ""
    asked.InstanceNumber = ""
    found = list(link.send_c_find(asked, sop_class.StudyRootQueryRetrieveInformationModelFind))
    assert [status.Status for status, _ in found] == [0xFF00, 0xFF00, 0x0000]
    assert sorted(int(one.InstanceNumber) for _, one in found if one is not None) == [1, 2]
    del asked.QueryRetrieveLevel
    ((status, nothing),) = link.send_c_find(asked, sop_class.StudyRootQueryRetrieveInformationModelFind)
    assert (status.Status, nothing) == (0xA900, None)
    assert status.ErrorComment
    link.release()


def _ask(port: int, method: str, path: str, body: object = None) -> object:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, json.dumps(body))
        answer = connection.getresponse()
        text = answer.read().decode()
        assert answer.status == 200, f"{path}: {answer.status} {text}"
        return json.loads(text)
    finally:
        connection.close()


def test_orthanc_queries_the_node_as_its_modality(node: small.Small, tmp_path: pathlib.Path) -> None:
    modality: dict[str, object] = {"AET": small.AET, "Host": node.address[0], "Port": node.address[1]}
    peer = orthanc.Orthanc(tmp_path / "orthanc", modality)
    try:
        asked = {"Level": "Study", "Query": {"PatientName": "*jérôme*", "StudyDate": "20260101-20260201"}}
        query = _ask(peer.http, "POST", "/modalities/node/query", asked)
        assert isinstance(query, dict)
        answers = _ask(peer.http, "GET", f"{query['Path']}/answers?expand&simplify")
        assert isinstance(answers, list)
        assert sorted(one["StudyInstanceUID"] for one in answers) == STUDIES
        assert {one["PatientName"] for one in answers} == {"SYNTHETIC^JÉRÔME"}
        series = _ask(peer.http, "POST", f"{query['Path']}/answers/0/query-series", {"Query": {}})
        assert isinstance(series, dict)
        found = _ask(peer.http, "GET", f"{series['Path']}/answers")
        assert isinstance(found, list)
        assert len(found) == 1
    finally:
        peer.stop()
