"""The short form of the PDU fuzzer."""

from __future__ import annotations

import pathlib

from tests.fuzz import pdus


def test_mutated_conversations_break_nothing(tmp_path: pathlib.Path) -> None:
    assert pdus.fuzz(60.0, seed=1, folder=tmp_path, most=150) > 50
