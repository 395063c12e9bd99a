"""A program sends a volume to a node, and opens what the node holds."""

from __future__ import annotations

import io
import pathlib

import numpy as np
import pydicom
import pytest

import node
from node import errors, model
from node.dicom import part10
from node.index import tables
from tests import make, ports, series, small, stored


def test_a_volume_goes_to_a_node_and_is_opened_there(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    series.write("mr_time", tmp_path / "in")
    volume = node.open(tmp_path / "in")
    with small.node(tmp_path / "node") as running:
        host, port = running.address
        (volume[1] * 3).write(f"dicom://{host}:{port}/{small.AET}?calling=PROGRAM", description="tripled")
        running.settle()
        (row,) = stored.rows(running.database, tables.series)
        back = node.open(f"dicom-node://{tmp_path}/node?series={row['series']}")
        found = node.compare(back, volume[1] * 3)
        assert found.equal, str(found)
        assert found.identity == ("series",)
        assert back.identity.series_description == "tripled"
        assert set(back.tag("Modality")) == {"MR"}
        assert len(set(back.tag("SOPInstanceUID"))) == 4
        monkeypatch.setenv("DICOM_NODE_DATA", str(tmp_path / "node"))
        assert node.compare(node.open(f"dicom-node://{row['series']}"), back).equal
        with pytest.raises(errors.NodeError):
            node.open(f"dicom-node://{tmp_path}/node?series=1.2.3.4.5")


def test_what_a_node_presents_otherwise_is_opened_as_it_is_presented(tmp_path: pathlib.Path) -> None:
    rule = model.Rule("to-ward", model.Action.KEEP, coerce="ward")
    ward = model.Coercion(
        "ward", ({"set": "PatientName", "to": "Ward^Seven"}, {"set": "StationName", "to": "W7"})
    )
    data = stored.data(tmp_path / "node")
    with stored.database(data) as index, stored.receiver(data) as receiver:
        for content in series.files("ct_axial"):
            stored.send(receiver, made(content))
        stored.file_all(data, index, [rule], [ward])
        (row,) = stored.rows(index, tables.series)
    volume = node.open(f"dicom-node://{tmp_path}/node?series={row['series']}")
    series.write("ct_axial", tmp_path / "in")
    assert np.array_equal(volume, node.open(tmp_path / "in"))
    assert volume.identity.patient_name == "Ward^Seven"
    assert set(volume.tag("StationName")) == {"W7"}


def made(content: bytes) -> make.Made:
    """A file's data set, as the network brings it."""
    head = part10.part10(content)
    read = pydicom.dcmread(io.BytesIO(content), stop_before_pixels=True)
    return make.Made(
        head.sop_class,
        head.sop_instance,
        read.StudyInstanceUID,
        read.SeriesInstanceUID,
        head.syntax,
        content[head.offset :],
    )


def test_nobody_there_is_said(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    series.write("ct_single", tmp_path / "in")
    volume = node.open(tmp_path / "in")
    monkeypatch.setattr("time.sleep", lambda _: None)
    with pytest.raises(errors.PeerUnreachable, match="PACS@127"):
        volume.write(f"dicom://127.0.0.1:{ports.free()}/PACS")
    assert np.asarray(volume).any()
