"""What a destination with a coercion gets: a changed copy, whose other bytes are those of the file."""

from __future__ import annotations

import dataclasses
import io
import pathlib
import sys
from collections.abc import Iterator
from typing import Any

import pydicom
import pynetdicom
import pytest
from pynetdicom import evt

from node import cli
from node.dicom import scan
from tests import make

BIG = 3_000_000  # is mapped, where a small one is read


@dataclasses.dataclass
class Sink:
    """A peer that keeps what it is sent."""

    port: int = 0
    calling: list[str] = dataclasses.field(default_factory=list)  # who called
    got: dict[str, bytes] = dataclasses.field(default_factory=dict)  # data sets by the UID of the command

    def keep(self, event: Any) -> int:
        self.calling.append(event.assoc.requestor.ae_title)
        self.got[str(event.request.AffectedSOPInstanceUID)] = event.request.DataSet.getvalue()
        return 0x0000


@pytest.fixture
def sink() -> Iterator[Sink]:
    one = Sink()
    ae = pynetdicom.AE("SINK")
    for sop_class in (make.CT, make.MR):
        ae.add_supported_context(
            sop_class, [make.EXPLICIT, make.IMPLICIT, "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.70"]
        )
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, one.keep)])
    assert server is not None
    one.port = server.server_address[1]
    try:
        yield one
    finally:
        server.shutdown()


def configuration(folder: pathlib.Path, sink: Sink, steps: str) -> pathlib.Path:
    path = folder / "node.toml"
    path.write_text(
        f'[peers.pacs]\naet = "SINK"\nhost = "127.0.0.1"\nport = {sink.port}\n'
        '[destinations.research]\npeer = "pacs"\ncalling = "NODE_RES"\ncoerce = "tidy"\n'
        f"{steps}"
    )
    return path


def send(
    monkeypatch: pytest.MonkeyPatch, config: pathlib.Path, to: str, *paths: pathlib.Path
) -> int | str | None:
    words = ["dicom-node", "send", to, *map(str, paths), "--config", str(config), "--retries", "0"]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as end:
        cli.main()
    return end.value.code


def pixels(data: bytes) -> bytes:
    return data[data.rindex(b"\xe0\x7f\x10\x00") :]


def test_the_copy_is_changed_and_the_file_is_not(
    tmp_path: pathlib.Path, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [make.instance(1, seed=1), make.instance(2, seed=1, size=BIG)]
    paths = make.files(tmp_path / "in", made)
    before = [path.read_bytes() for path in paths]
    (tmp_path / "ids.csv").write_text("SYN-0001,R-1\n")  # lies beside the configuration
    steps = """
[[coerce.tidy]]
change = "PatientID"
lookup = "ids.csv"
[[coerce.tidy]]
remove = "AccessionNumber"
"""
    assert send(monkeypatch, configuration(tmp_path, sink, steps), "research", tmp_path / "in") == 0
    assert [path.read_bytes() for path in paths] == before
    assert set(sink.calling) == {"NODE_RES"}
    assert sink.got.keys() == {one.sop_instance for one in made}
    for one in made:
        data = one.data.replace(b"\x10\x00\x20\x00LO\x08\x00SYN-0001", b"\x10\x00\x20\x00LO\x04\x00R-1 ")
        at = data.index(b"\x08\x00\x50\x00SH")
        assert sink.got[one.sop_instance] == data[:at] + data[at + 16 :]


def test_new_uids_are_in_the_command_as_in_the_data_set(
    tmp_path: pathlib.Path, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [
        make.instance(1, seed=1),
        make.instance(2, seed=1, size=BIG),
        make.instance(3, seed=1, sop_class=make.MR, syntax=make.IMPLICIT),
    ]
    make.files(tmp_path / "in", made)
    config = configuration(tmp_path, sink, '[[coerce.tidy]]\nremap = "secret"\n')
    assert send(monkeypatch, config, "research", tmp_path / "in") == 0
    assert len(sink.got) == 3
    tables = {}
    for uid, data in sink.got.items():
        explicit = data[4:6] == b"CS"
        tables[uid] = scan.scan(data, make.EXPLICIT if explicit else make.IMPLICIT)
    assert {uid: table.get(0x00080018) for uid, table in tables.items()} == {uid: uid for uid in tables}
    assert len({table.get(0x0020000D) for table in tables.values()}) == 1
    assert not {one.sop_instance for one in made} & sink.got.keys()
    assert {pixels(data) for data in sink.got.values()} == {pixels(one.data) for one in made}


def test_encapsulated_and_deflated_copies_are_changed_too(
    tmp_path: pathlib.Path, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    deflated = make.instance(1, seed="deflated", syntax="1.2.840.10008.1.2.1.99")
    jpeg = make.instance(
        1, seed="jpeg", syntax="1.2.840.10008.1.2.4.70", fragments=[b"\xff\xd8" * 99, b"\xff\xd9"]
    )
    make.files(tmp_path / "in", [deflated, jpeg])
    config = configuration(tmp_path, sink, '[[coerce.tidy]]\nset = "PatientID"\nto = "R-1"\n')
    assert send(monkeypatch, config, "research", tmp_path / "in") == 0
    assert scan.scan(sink.got[deflated.sop_instance], deflated.syntax).get(0x00100020) == "R-1"
    assert scan.scan(sink.got[jpeg.sop_instance], jpeg.syntax).get(0x00100020) == "R-1"
    assert pixels(sink.got[jpeg.sop_instance]) == pixels(jpeg.data)


def test_the_peer_by_its_own_name_gets_what_is_held(
    tmp_path: pathlib.Path, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make.instance(1, seed=1)
    make.files(tmp_path / "in", [made])
    config = configuration(tmp_path, sink, '[[coerce.tidy]]\nset = "PatientID"\nto = "R-1"\n')
    assert send(monkeypatch, config, "pacs", tmp_path / "in") == 0
    assert sink.got == {made.sop_instance: made.data}
    assert sink.calling == ["NODE"]


def test_a_copy_that_cannot_be_made_fails_by_itself(
    tmp_path: pathlib.Path, sink: Sink, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    known = make.instance(1, seed=1)
    unknown = make.instance(2, seed=1)
    unknown = dataclasses.replace(unknown, data=unknown.data.replace(b"SYN-0001", b"SYN-0002"))
    make.files(tmp_path / "in", [known, unknown])
    (tmp_path / "ids.csv").write_text("SYN-0001,R-1\n")
    steps = '[[coerce.tidy]]\nchange = "PatientID"\nlookup = "ids.csv"\nmissing = "fail"\n'
    assert send(monkeypatch, configuration(tmp_path, sink, steps), "research", tmp_path / "in") == 1
    told = capsys.readouterr()
    assert sink.got.keys() == {known.sop_instance}
    assert "000001.dcm cannot be changed as it must be: the value is not in ids.csv" in told.out
    assert "1 of 2 did not arrive" in told.err
    assert "SYN-0002" not in told.out + told.err


def test_an_identity_that_is_taken_away_is_a_failure_and_nothing_is_sent(
    tmp_path: pathlib.Path, sink: Sink, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make.files(tmp_path / "in", [make.instance(1, seed=1)])
    config = configuration(tmp_path, sink, '[[coerce.tidy]]\nremove = "SOPInstanceUID"\n')
    assert send(monkeypatch, config, "research", tmp_path / "in") == 1
    assert "SOPInstanceUID is '', which is not a UID" in capsys.readouterr().out
    assert not sink.got


def test_a_wider_character_set_is_told(
    tmp_path: pathlib.Path, sink: Sink, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = make.instance(1, seed=1)
    make.files(tmp_path / "in", [made])
    config = configuration(tmp_path, sink, '[[coerce.tidy]]\nset = "InstitutionName"\nto = "東京"\n')
    assert send(monkeypatch, config, "research", tmp_path / "in") == 0
    assert "all text written anew in ISO_IR 192 (before: ISO_IR 100)" in capsys.readouterr().out
    data = pydicom.filereader.read_dataset(io.BytesIO(sink.got[made.sop_instance]), False, True)
    assert data.InstitutionName == "東京"


@pytest.mark.parametrize("command", ["send", "run", "check"])
def test_a_mistake_in_a_step_is_told_with_file_and_line(
    tmp_path: pathlib.Path,
    sink: Sink,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
) -> None:
    make.files(tmp_path / "in", [make.instance(1, seed=1)])
    steps = '[[coerce.tidy]]\nempty = "PatientID"\n\n[[coerce.tidy]]\nempty = "PatientNam"\n'
    config = configuration(tmp_path, sink, steps)
    if command == "send":
        assert send(monkeypatch, config, "research", tmp_path / "in") == 2
    else:
        words = ["dicom-node", command, "--config", str(config), "--data", str(tmp_path / "data")]
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as end:
            cli.main()
        assert end.value.code == 2
        assert not (tmp_path / "data" / "index.sqlite").exists()
    told = capsys.readouterr()
    assert f"{config}:12: coerce.tidy: there is no element 'PatientNam'; did you mean PatientName?" in (
        told.out + told.err
    )
    assert not sink.got
