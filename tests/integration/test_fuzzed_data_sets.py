"""The short form of the data set fuzzer."""

from __future__ import annotations

import pathlib

import pytest

from tests.fuzz import datasets


def test_mutated_data_sets_break_nothing(tmp_path: pathlib.Path) -> None:
    assert datasets.fuzz(60.0, seed=1, folder=tmp_path, most=8_000) > 100


def test_what_breaks_is_kept_for_a_replay(tmp_path: pathlib.Path) -> None:
    def breaks(data: bytes) -> None:
        raise AssertionError(len(data))

    with pytest.raises(AssertionError):
        datasets.fuzz(1.0, seed=2, folder=tmp_path, use=breaks)
    assert [path.name for path in tmp_path.iterdir()] == ["dataset-2-0.dcm"]
