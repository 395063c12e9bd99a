"""A program sends a volume to a node, and opens what the node holds."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest

import node
from node import errors
from node.index import tables
from tests import ports, series, small, stored


def test_a_volume_goes_to_a_node_and_is_opened_there(tmp_path: pathlib.Path) -> None:
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
        with pytest.raises(errors.NodeError):
            node.open(f"dicom-node://{tmp_path}/node?series=1.2.3.4.5")


def test_nobody_there_is_said(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    series.write("ct_single", tmp_path / "in")
    volume = node.open(tmp_path / "in")
    monkeypatch.setattr("time.sleep", lambda _: None)
    with pytest.raises(errors.PeerUnreachable, match="PACS@127"):
        volume.write(f"dicom://127.0.0.1:{ports.free()}/PACS")
    assert np.asarray(volume).any()
