"""Everything that can be decoded arrives at a peer that takes implicit VR little endian and nothing else."""

from __future__ import annotations

import contextlib
import pathlib
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import pydicom
import pytest

from node import cli
from node.dicom import transcode
from node.wire import contexts
from tests import encoded, make, peers

# Those with an encoder at hand; the others are made by hand and hold no image.
REAL = [
    *encoded.DCMTK,
    encoded.NEAR_LOSSLESS,
    *encoded.OPENJPEG,
    encoded.UNCOMPRESSED_FRAMES,
    encoded.DEFLATED_FRAMES,
]
LOSSLESS = [uid for uid in REAL if uid[-3:] not in (".50", ".51", ".53", ".55", ".81", ".91")]


@contextlib.contextmanager
def _storescp(folder: pathlib.Path, *words: str) -> Iterator[int]:
    folder.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = [peers.require("storescp"), *words, "-od", str(folder), str(port)]
    with subprocess.Popen(command, env=peers.environment(), stderr=subprocess.DEVNULL) as sink:
        try:
            for _ in range(400):
                with (
                    contextlib.suppress(ConnectionRefusedError),
                    socket.create_connection(("127.0.0.1", port)),
                ):
                    break
                threading.Event().wait(0.05)
            yield port
        finally:
            sink.terminate()


def _send(monkeypatch: pytest.MonkeyPatch, port: int, folder: pathlib.Path) -> int:
    monkeypatch.setattr(sys, "argv", ["dicom-node", "send", f"SINK@127.0.0.1:{port}", str(folder)])
    try:
        cli.main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def test_a_peer_that_takes_only_implicit_little_endian_gets_everything(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    made = {uid: encoded.encoded(uid, tmp_path) for uid in REAL}
    for uid, one in made.items():
        (folder / f"{uid}.dcm").write_bytes(make.part10(one))
    with _storescp(tmp_path / "out", "+xi") as port:
        code = _send(monkeypatch, port, folder)
    told = capsys.readouterr().out
    assert code == 0, told
    assert f"{len(REAL)} sent" in told
    assert f"{len(REAL) - 1} in another transfer syntax" in told
    got = {str(one.SOPInstanceUID): one for one in map(pydicom.dcmread, (tmp_path / "out").iterdir())}
    assert {str(one.file_meta.TransferSyntaxUID) for one in got.values()} == {make.IMPLICIT}
    want = b"".join(encoded._frames(12))
    for uid in LOSSLESS:
        assert got[made[uid].sop_instance].PixelData == want, contexts.TRANSFER_SYNTAXES[uid]


def test_a_peer_that_takes_one_compression_gets_it_from_another(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """DCMTK's sink says that it takes RLE, and implicit little endian as everybody must."""
    folder = tmp_path / "in"
    folder.mkdir()
    one = encoded.encoded(make.JPEG_LS, tmp_path)
    (folder / "one.dcm").write_bytes(make.part10(one))
    with _storescp(tmp_path / "out", "+xr") as port:
        assert _send(monkeypatch, port, folder) == 0, capsys.readouterr().out
    (got,) = map(pydicom.dcmread, (tmp_path / "out").iterdir())
    assert got.pixel_array.tobytes() == b"".join(encoded._frames(12))


def test_what_nobody_decodes_is_named(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    video = "1.2.840.10008.1.2.4.102"
    assert transcode.targets(video) == ()
    (folder / "video.dcm").write_bytes(make.part10(encoded.encoded(video, tmp_path)))
    with _storescp(tmp_path / "out", "+xi") as port:
        assert _send(monkeypatch, port, folder) != 0
    told = capsys.readouterr().out
    assert "does not take SOP class" in told
    assert "nothing here transcodes it" in told
