"""Overlays are no voxels, and can be had beside them."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest

import node
from node import errors
from tests import make, series, series_base, series_plain

ODD = np.indices((series_base.ROWS, series_base.COLUMNS)).sum(0) % 2 == 1


def test_an_overlay_lies_at_the_place_of_its_volume(tmp_path: pathlib.Path) -> None:
    series.write("ct_overlay", tmp_path / "in")
    ct = node.open(str(tmp_path / "in"))

    (group, drawn), *more = node.overlays(ct[1:3]).items()

    assert (group, more) == (0x6000, [])
    assert drawn.dtype == bool
    assert drawn.position(0, 0, 0) == ct.position(1, 0, 0)
    assert all(np.array_equal(np.asarray(one), ODD) for one in drawn)


def test_an_overlay_of_one_slice_begins_where_it_says_and_is_cut_at_the_edge(tmp_path: pathlib.Path) -> None:
    for at, one in enumerate(series_plain.ct(make.uid("drawn"))):
        if at == 2:
            one.add_new(0x60020010, "US", 4)
            one.add_new(0x60020011, "US", 4)
            one.add_new(0x60020040, "CS", "G")
            one.add_new(0x60020050, "SS", [7, -1])
            one.add_new(0x60020100, "US", 1)
            one.add_new(0x60020102, "US", 0)
            one.add_new(0x60023000, "OW", b"\xff\xff")
        (tmp_path / f"{at}.dcm").write_bytes(series_base.content(one))

    drawn = node.overlays(node.open(str(tmp_path)))[0x6002]

    assert np.argwhere(np.asarray(drawn)).tolist() == [[2, 6, 0], [2, 6, 1], [2, 7, 0], [2, 7, 1]]


def test_what_was_cut_or_has_no_overlays_says_so(tmp_path: pathlib.Path) -> None:
    series.write("ct_overlay", tmp_path / "in")
    series.write("ct_axial", tmp_path / "plain")
    ct = node.open(str(tmp_path / "in"))

    assert node.overlays(node.open(str(tmp_path / "plain"))) == {}
    for changed in (ct[:, 1:], ct[:, ::-1], ct.transpose(0, 2, 1)):
        with pytest.raises(errors.UsageError, match="before rows or columns change"):
            node.overlays(changed)
    with pytest.raises(errors.UsageError, match="no DICOM file"):
        node.overlays(node.open(np.zeros((2, 3, 4))))
