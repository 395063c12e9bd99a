"""Orthanc and DCMTK's storescp as destinations, in the clear and over TLS, get what a modality sent."""

from __future__ import annotations

import contextlib
import pathlib
import socket
import subprocess
import threading
from collections.abc import Iterator

import pydicom

from tests import certificates, make, orthanc, peers, ports, scu
from tests.scenario import harness
from tests.scenario.test_d08_peer_fails import Forwarded


@contextlib.contextmanager
def _storescp(folder: pathlib.Path, *words: str) -> Iterator[int]:
    folder.mkdir()
    port = ports.free()
    command = [peers.require("storescp"), "+xa", "+B", *words, "-od", str(folder), str(port)]
    with subprocess.Popen(command, env=peers.environment(), stderr=subprocess.DEVNULL) as sink:
        try:
            for _ in range(600):
                with (
                    contextlib.suppress(ConnectionRefusedError),
                    socket.create_connection(("127.0.0.1", port)),
                ):
                    break
                threading.Event().wait(0.05)
            yield port
        finally:
            sink.terminate()


def _arrived(folder: pathlib.Path) -> set[tuple[str, bytes]]:
    """SOP Instance UID and pixels of each file."""
    return {(str(one.SOPInstanceUID), one.PixelData) for one in map(pydicom.dcmread, folder.iterdir())}


def _sent(made: list[make.Made], folder: pathlib.Path) -> set[tuple[str, bytes]]:
    make.files(folder, made)
    return _arrived(folder)


def test_a_series_reaches_them_all_and_orthanc_commits_to_it(tmp_path: pathlib.Path) -> None:
    authority = certificates.Authority(tmp_path)
    ours, theirs = authority.issue("node"), authority.issue("sink")
    secured = ["+tls", str(theirs.key), str(theirs.certificate), "+cf", str(theirs.ca)]
    made = make.series(5, size=75_000, seed="archives")
    node_port = ports.free()
    with contextlib.ExitStack() as stack:
        plain = stack.enter_context(_storescp(tmp_path / "plain"))
        tls = stack.enter_context(_storescp(tmp_path / "secured", *secured))
        archive = orthanc.Orthanc(
            tmp_path / "orthanc", {"AET": "NODE", "Host": "127.0.0.1", "Port": node_port}
        )
        stack.callback(archive.stop)
        where = {"plain": plain, "secured": tls, "orthanc": archive.port}
        tables: dict[str, dict[str, object]] = {
            "completeness.all": {"released": "50ms"},
            "tls": {key: str(getattr(ours, key)) for key in ("certificate", "key", "ca")},
            "routes.all": {"to": [*where, "asked"]},
        }
        for name, port in where.items():
            tables[f"peers.{name}"] = {"aet": name.upper(), "host": "127.0.0.1", "port": port}
            tables[f"destinations.{name}"] = {"peer": name, "retry": "100ms", "retry_most": "500ms"}
        tables["peers.secured"] |= {"tls": True, "certificate": "sink"}
        # The same archive twice: what it has committed to, it also says when it is asked.
        tables["destinations.asked"] = tables["destinations.orthanc"] | {
            "verify": "find",
            "verify_after": "50ms",
        }
        tables["destinations.orthanc"] |= {"verify": "commit", "verify_after": "50ms"}
        node = harness.Node(tmp_path / "node", **tables)
        node.port = node_port
        stack.callback(node.kill)
        node.start()
        with scu.call(node.address, made) as caller:
            assert {caller.store(one).status for one in made} == {0}
            caller.release()
        forwarded = Forwarded(node, {})
        for name in (*where, "asked"):
            forwarded.delivered(name, 5)
        verified = forwarded.rows(
            "select destination, count(*) from delivery where verified is not null group by 1 order by 1"
        )
        assert verified == [("asked", 5), ("orthanc", 5)]
        assert archive.ask("GET", "/statistics")["CountInstances"] == 5
    wanted = _sent(made, tmp_path / "sent")
    assert _arrived(tmp_path / "plain") == wanted
    assert _arrived(tmp_path / "secured") == wanted
