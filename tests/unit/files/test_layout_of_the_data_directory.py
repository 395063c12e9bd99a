"""Who may use the data directory, and where things lie in it."""

from __future__ import annotations

import datetime
import os
import pathlib
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread

from node import errors, model
from node.files import layout

HERE = pathlib.Path(__file__).parents[3]
TIME = datetime.datetime(2026, 11, 21, 23, 59, 59, 5, tzinfo=datetime.UTC)


def arrival(**changes: object) -> model.Arrival:
    fields: dict[str, object] = {
        "identity": model.Identity("1.2.840.1", "1.2.3", "1.2", "1.2.4"),
        "syntax": "1.2.840.10008.1.2.1",
        "digest": "sha256:" + "ab" * 32,
        "size": 10,
        "calling": "MODALITY",
        "called": "NODE",
        "address": "192.0.2.1",
        "peer": "",
        "association": "a-1",
        "received": TIME,
    }
    return model.Arrival(**{**fields, **changes})  # type: ignore[arg-type]


def test_two_nodes_on_one_data_directory(tmp_path: pathlib.Path) -> None:
    with layout.owned(tmp_path, "all"):
        assert layout.holder(tmp_path) == os.getpid()
        for part in ("all", "listen"):
            with (
                pytest.raises(errors.UsageError, match=f"process {os.getpid()}"),
                layout.owned(tmp_path, part),
            ):
                pass
    assert layout.holder(tmp_path) is None


def test_parts_of_one_node_share_it_and_each_runs_once(tmp_path: pathlib.Path) -> None:
    with layout.owned(tmp_path, "listen"), layout.owned(tmp_path, "work"):
        assert layout.holder(tmp_path) == os.getpid()
        with pytest.raises(errors.UsageError, match="listen"), layout.owned(tmp_path, "listen"):
            pass
        with pytest.raises(errors.UsageError, match="in use"), layout.owned(tmp_path, "all"):
            pass


def test_a_killed_holder_holds_nothing(tmp_path: pathlib.Path) -> None:
    program = """
import os, pathlib, signal, sys
from node.files import layout
with layout.owned(pathlib.Path(sys.argv[1])):
    os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], cwd=HERE, check=False, timeout=60)
    with layout.owned(tmp_path):
        pass


def test_a_file_in_the_way_is_said_in_one_sentence(tmp_path: pathlib.Path) -> None:
    (tmp_path / "data").write_text("x")
    with pytest.raises(errors.ConfigError, match="--data"):
        layout.Data(tmp_path / "data").make()


def test_the_same_arrival_has_the_same_place_and_another_has_another() -> None:
    place = layout.place(arrival(), model.Verdict.STORED)
    assert place.startswith("store/2026/11/21/")
    assert place == layout.place(arrival(calling="OTHER"), model.Verdict.STORED)
    other = arrival(identity=model.Identity("1.2.840.1", "1.2.3", "1.2.4", "1.2"))
    assert place.rpartition("/")[2] != layout.place(other, model.Verdict.STORED).rpartition("/")[2]
    late = arrival(received=TIME + datetime.timedelta(days=400))
    changed = arrival(digest="sha256:" + "cd" * 32)
    for verdict in (model.Verdict.CONFLICT, model.Verdict.QUARANTINED):
        assert layout.place(arrival(), verdict) == layout.place(late, verdict)
        assert layout.place(arrival(), verdict) != layout.place(changed, verdict)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@given(calling=TEXT, called=TEXT, rule=TEXT, reason=st.text(max_size=900), note=TEXT, keep=st.floats(0, 1e9))
def test_a_head_tells_what_was_put_into_it(
    tmp_path_factory: pytest.TempPathFactory,
    calling: str,
    called: str,
    rule: str,
    reason: str,
    note: str,
    keep: float,
) -> None:
    one = arrival(calling=calling, called=called)
    of = layout.Facts(one, "web", 7, 4096, model.Verdict.CONFLICT, rule, reason[:40], keep, note)
    path = tmp_path_factory.mktemp("head") / "x.dcm"
    for room in (0, 4096):
        head = layout.head(of, room=room)
        path.write_bytes(head + b"\x08\x00\x05\x00CS\x00\x00")
        assert layout.read_head(path) == (of, len(head))
    read = dcmread(path)
    assert read.file_meta.TransferSyntaxUID == one.syntax
    assert read.file_meta.FileMetaInformationGroupLength == len(head) - 144


def test_a_head_of_given_room_has_one_length() -> None:
    lengths = {
        len(layout.head(layout.Facts(arrival(), slot="s", position=p, reason=r), room=layout.FACTS_ROOM))
        for p, r in ((0, ""), (1 << 31, "é" * 100))
    }
    assert len(lengths) == 1


@pytest.mark.parametrize(
    "content", [b"", b"x" * 4096, bytes(128) + b"DICM" + b"\x02\x00\x00\x00UL\x04\x00" + b"\xff" * 4]
)
def test_a_file_that_is_not_ours(tmp_path: pathlib.Path, content: bytes) -> None:
    path = tmp_path / "x.dcm"
    path.write_bytes(content)
    with pytest.raises(errors.BadData, match=r"x\.dcm"):
        layout.read_head(path)
