"""Every transfer syntax with encoded pixel data: taken, kept and sent on without a byte changed.

`tests/encoded.py` says which streams an encoder made and which are made by hand.
"""

from __future__ import annotations

import pathlib
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pydicom
import pynetdicom
import pytest
from pydicom import filereader
from pydicom import uid as uids
from pynetdicom import evt

from node import errors, model
from node.commands import gather
from node.index import tables
from node.send import base, dimse
from node.wire import contexts
from tests import encoded, make, peers, ports, scu, small, stored

# How storescu proposes a syntax, of those that it knows.
PROPOSALS = {
    make.IMPLICIT: "-xi",
    make.EXPLICIT: "-xe",
    make.BIG: "-xb",
    make.DEFLATED: "-xd",
    "1.2.840.10008.1.2.4.50": "-xy",
    "1.2.840.10008.1.2.4.51": "-xx",
    "1.2.840.10008.1.2.4.70": "-xs",
    "1.2.840.10008.1.2.4.80": "-xt",
    "1.2.840.10008.1.2.4.81": "-xu",
    "1.2.840.10008.1.2.4.90": "-xv",
    "1.2.840.10008.1.2.4.91": "-xw",
    "1.2.840.10008.1.2.4.100": "-xm",
    "1.2.840.10008.1.2.4.101": "-xh",
    "1.2.840.10008.1.2.4.102": "-xn",
    "1.2.840.10008.1.2.4.103": "-xl",
    "1.2.840.10008.1.2.4.104": "-x2",
    "1.2.840.10008.1.2.4.105": "-x3",
    "1.2.840.10008.1.2.4.106": "-xo",
    "1.2.840.10008.1.2.4.107": "-x4",
    "1.2.840.10008.1.2.4.108": "-x5",
    make.RLE: "-xr",
}


def name(syntax: str) -> str:
    return f"{syntax.removeprefix('1.2.840.10008.')} {contexts.TRANSFER_SYNTAXES[syntax]}"


every = pytest.mark.parametrize("syntax", contexts.TRANSFER_SYNTAXES, ids=name)
known_to_dcmtk = pytest.mark.parametrize("syntax", PROPOSALS, ids=name)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[small.Small]:
    with small.node(tmp_path_factory.mktemp("node")) as running:
        yield running


@pytest.fixture(scope="module")
def got() -> dict[str, tuple[str, bytes]]:
    """By SOP Instance UID: the syntax that the second receiver got it in, and its bytes."""
    return {}


@pytest.fixture(scope="module")
def sink(got: dict[str, tuple[str, bytes]]) -> Iterator[model.Peer]:
    """A second receiver, of another make."""
    entity = pynetdicom.AE("SINK")
    for sop_class in (encoded.WORDS, encoded.BYTES):
        entity.add_supported_context(sop_class, list(contexts.TRANSFER_SYNTAXES))

    def keep(event: Any) -> int:
        data = event.request.DataSet.getvalue()
        got[str(event.request.AffectedSOPInstanceUID)] = (str(event.context.transfer_syntax), data)
        return 0x0000

    handlers: Any = [(evt.EVT_C_STORE, keep)]
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    assert server is not None
    try:
        yield model.Peer(name="sink", aet="SINK", host="127.0.0.1", port=server.server_address[1])
    finally:
        server.shutdown()


def row(node: small.Small, sop_instance: str) -> dict[str, Any]:
    node.settle()
    (found,) = [
        one for one in stored.rows(node.database, tables.instance) if one["sop_instance"] == sop_instance
    ]
    return found


def held(node: small.Small, sop_instance: str) -> tuple[pathlib.Path, bytes]:
    """The file of an instance, and the data set in it."""
    found = row(node, sop_instance)
    path = node.data.place(found["path"])
    return path, path.read_bytes()[found["offset"] :]


def send_on(path: pathlib.Path, to: model.Peer) -> None:
    items = [one for one in gather.items([path]) if isinstance(one, base.Item)]
    (result,) = dimse.Dimse(to, small.AET).send(items)
    assert isinstance(result.outcome, base.Done), result.outcome
    assert result.outcome.status == 0x0000


@every
def test_it_is_taken_kept_and_sent_on_byte_for_byte(
    node: small.Small,
    sink: model.Peer,
    got: dict[str, tuple[str, bytes]],
    syntax: str,
    tmp_path: pathlib.Path,
) -> None:
    made = encoded.encoded(syntax, tmp_path)
    assert made.syntax == syntax
    with scu.Caller(node.address) as caller:
        caller.associate([scu.Context(made.sop_class, (syntax,))])
        assert caller.store(made).status == 0x0000
        caller.release()
    found = row(node, made.sop_instance)
    wanted = {
        "syntax": syntax,
        "digest": made.digest,
        "size": len(made.data),
        "frames": encoded.FRAMES,
        "rows": encoded.ROWS,
        "columns": encoded.COLUMNS,
        "bits_stored": 8 if made.sop_class == encoded.BYTES else 12,
    }
    assert {key: found[key] for key in wanted} == wanted
    path, data = held(node, made.sop_instance)
    assert data == made.data
    assert filereader.read_file_meta_info(path).TransferSyntaxUID == syntax
    send_on(path, sink)
    assert got[made.sop_instance] == (syntax, made.data)


def test_nothing_of_the_standard_is_left_out() -> None:
    live = {uid for uid in uids.AllTransferSyntaxes if uid.startswith("1.2.840.10008.1.2.7.")}
    assert set(uids.AllTransferSyntaxes) - live <= set(contexts.TRANSFER_SYNTAXES)


@known_to_dcmtk
def test_storescu_sends_it_and_storescp_gets_it(
    node: small.Small, storescp: tuple[model.Peer, pathlib.Path], syntax: str, tmp_path: pathlib.Path
) -> None:
    made = encoded.encoded(syntax, tmp_path)
    # Under another name: storescu may write lengths its own way, which would be a conflict with what is held.
    whole = pydicom.dcmread(_written(tmp_path, made))
    whole.SOPInstanceUID = whole.file_meta.MediaStorageSOPInstanceUID = make.uid("storescu", syntax)
    file = tmp_path / "sent.dcm"
    whole.save_as(file)
    words = (peers.require("storescu"), "-R", PROPOSALS[syntax], "-aec", small.AET, *map(str, node.address))
    done = subprocess.run(
        [*words, str(file)], env=peers.environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    found = row(node, whole.SOPInstanceUID)
    assert (found["syntax"], found["frames"]) == (syntax, encoded.FRAMES)
    path, data = held(node, whole.SOPInstanceUID)
    ours = pydicom.dcmread(path)
    assert ours.PixelData == whole.PixelData
    assert [one.tag for one in ours] == [one.tag for one in whole]
    peer, folder = storescp
    send_on(path, peer)
    (arrived,) = folder.glob(f"*{whole.SOPInstanceUID}*")
    assert encoded.read(arrived.read_bytes()).data == data


def _written(folder: pathlib.Path, made: make.Made) -> pathlib.Path:
    path = folder / "made.dcm"
    path.write_bytes(make.part10(made))
    return path


@pytest.fixture(scope="module")
def storescp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[model.Peer, pathlib.Path]]:
    """A second receiver that writes what it gets exactly as it is read."""
    folder = tmp_path_factory.mktemp("storescp")
    port = ports.free()
    peer = model.Peer(name="storescp", aet="STORESCP", host="127.0.0.1", port=port)
    words = [peers.require("storescp"), "+xa", "+B", "-od", str(folder), "-aet", "STORESCP", str(port)]
    log = folder.with_suffix(".log")
    with log.open("wb") as out:
        process = subprocess.Popen(words, env=peers.environment(), stdout=out, stderr=out)
    try:
        settings = model.Settings()
        end = time.monotonic() + 20
        while True:
            try:
                dimse.echo(peer, settings)
            except errors.NodeError:
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < end, log.read_text()
                time.sleep(0.05)
            else:
                break
        yield peer, folder
    finally:
        process.terminate()
        process.wait(20)
