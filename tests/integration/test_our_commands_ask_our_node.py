"""`find`, `get` and `move` against this node: what one side promises, the other takes."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterator

import pydicom
import pytest

from node import model
from tests import archives, make, ports, small

MOVER = "STATION"
STUDIES = [make.instance(seed=f"study {number}", patient=f"PATIENT^{number:02}") for number in range(9)]
COMPRESSED = make.instance(2, seed="study 0", syntax=make.JPEG_BASELINE, fragments=[b"\xff\xd8" * 90])
RARE = make.instance(3, seed="study 0", sop_class="1.2.3.4.5.6.7", series="1.2.3.9")
HELD = [*STUDIES, COMPRESSED, RARE]


@pytest.fixture(scope="module")
def port() -> int:
    return ports.free()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, port: int) -> Iterator[str]:
    """A node with nine studies that answers four at once and knows our AE title."""
    work = tmp_path_factory.mktemp("node")
    rights = frozenset(model.Right)
    peers = [model.Peer("station", MOVER, "127.0.0.1", port, rights=rights)]
    with small.node(work / "data", peers=peers, limits=model.Limits(answers=4)) as node:
        make.files(work / "in", HELD)
        address = f"{small.AET}@127.0.0.1:{node.address[1]}"
        assert archives.apart("send", address, work / "in").code == 0
        node.settle()
        yield address


def _bodies(out: pathlib.Path) -> dict[str, bytes]:
    return {path.stem: path.read_bytes() for path in out.rglob("*.dcm")}


def test_every_study_is_found_although_only_so_many_are_answered_at_once(address: str) -> None:
    ran = archives.apart("find", address, "name=patient*", "--json")
    *answers, last = map(json.loads, ran.out.splitlines())
    assert {answer["StudyInstanceUID"] for answer in answers} == {one.study for one in STUDIES}
    assert (len(answers), last["summary"]["cut"], last["summary"]["says"]) == (9, False, "")
    assert {answer["NumberOfStudyRelatedInstances"] for answer in answers} == {"1", "3"}


def test_relational_and_fuzzy_queries_are_granted(address: str) -> None:
    wanted = [f"study={STUDIES[3].study}", "--fuzzy", "--relational", "--level", "image", "--json"]
    ran = archives.apart("find", address, *wanted)
    *answers, last = map(json.loads, ran.out.splitlines())
    assert last["summary"]["refused"] == []
    assert [answer["SOPInstanceUID"] for answer in answers] == [STUDIES[3].sop_instance]


def test_a_study_is_fetched_as_it_is_stored_private_classes_and_all(
    address: str, tmp_path: pathlib.Path
) -> None:
    ran = archives.apart("get", address, f"study={STUDIES[0].study}", "--out", tmp_path, "--retries", "0")
    assert (ran.code, ran.error) == (0, "")
    found = _bodies(tmp_path)
    wanted = {one.sop_instance: one for one in (STUDIES[0], COMPRESSED, RARE)}
    assert set(found) == set(wanted)
    assert all(found[uid].endswith(one.data) for uid, one in wanted.items())


def test_what_matches_is_looked_up_and_fetched(address: str, tmp_path: pathlib.Path) -> None:
    ran = archives.apart("get", address, "name=PATIENT^0*", "--out", tmp_path, "--json")
    assert json.loads(ran.out)["summary"]["arrived"] == len(HELD)
    assert set(_bodies(tmp_path)) == {one.sop_instance for one in HELD}


def test_it_moves_to_the_command_that_asks(address: str, port: int, tmp_path: pathlib.Path) -> None:
    words = [f"study={STUDIES[0].study}", "--aet", MOVER, "--out", tmp_path, "--port", port]
    ran = archives.apart("move", address, *words)
    assert (ran.code, ran.error) == (0, "")
    (moved,) = tmp_path.rglob(f"{COMPRESSED.sop_instance}.dcm")
    assert pydicom.dcmread(moved).file_meta.TransferSyntaxUID == make.JPEG_BASELINE
    assert set(_bodies(tmp_path)) == {one.sop_instance for one in (STUDIES[0], COMPRESSED, RARE)}


def test_it_does_not_move_to_who_is_not_configured(address: str) -> None:
    ran = archives.apart("move", address, f"study={STUDIES[0].study}", "--to", "NOBODY")
    assert ran.code == 1
    assert "0xA801 (the move destination is not known to the peer)" in ran.out
