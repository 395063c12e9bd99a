"""`audit --deep` tells what is astray, what is foreign, and what to do about either."""

from __future__ import annotations

import io
import json
import pathlib

import pytest
from typer.testing import CliRunner

from node import cli, errors, log, model
from node.index import manager
from tests import make, stored

MADE = make.series(3)


@pytest.fixture
def root(tmp_path: pathlib.Path) -> pathlib.Path:
    log.configure(model.LogSettings(), "test", io.StringIO())
    data = stored.data(tmp_path / "data")
    with stored.database(data) as database, stored.receiver(data) as receiver:
        for one in MADE:
            stored.send(receiver, one)
        stored.file_all(data, database)
    return data.root


def audit(root: pathlib.Path, *words: str) -> tuple[str, BaseException | None]:
    result = CliRunner().invoke(cli.program(), ["audit", "--deep", *words, "--data", str(root)])
    fault = result.exception
    return result.stdout, None if isinstance(fault, SystemExit) and not fault.code else fault


def test_a_foreign_file_is_told_of_and_is_no_fault(root: pathlib.Path) -> None:
    foreign = root / "store" / "notes.txt"
    foreign.write_text("x")
    said, fault = audit(root)
    assert fault is None
    assert f"STRAY  {foreign}: this node wrote no such file: move it out" in said
    assert "every one of them is accounted for" in said
    said, _ = audit(root, "--json")
    assert json.loads(said)["strays"] == [str(foreign)]


def test_a_file_that_no_row_has_is_a_fault_unless_it_waits_for_its_removal(root: pathlib.Path) -> None:
    data = stored.data(root)
    with stored.database(data) as database:
        images = manager.Images(database)
        images.remove(model.Level.IMAGE, MADE[0].sop_instance, who="a person", why="asked for")
    assert audit(root)[1] is None
    (left, *_) = (root / "store").rglob("*.dcm")
    copy = root / "store" / "2001" / "02" / "03" / left.parent.name / left.name
    copy.parent.mkdir(parents=True)
    copy.write_bytes(left.read_bytes())
    said, fault = audit(root)
    assert isinstance(fault, errors.Permanent)
    assert f"ASTRAY  {copy.relative_to(root)}: no row of the index has this file: stop the node" in said
