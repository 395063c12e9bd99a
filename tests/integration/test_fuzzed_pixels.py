"""The short form of the pixel fuzzer."""

from __future__ import annotations

import pathlib

from tests.fuzz import pixels


def test_mutated_images_break_no_worker(tmp_path: pathlib.Path) -> None:
    assert pixels.fuzz(60.0, seed=1, folder=tmp_path, most=60) > 5
    assert not list(tmp_path.iterdir())
