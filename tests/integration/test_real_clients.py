"""What hospitals send with: DCMTK, Orthanc and pynetdicom store into the node, in the clear and over TLS."""

from __future__ import annotations

import json
import pathlib
import ssl
import subprocess
import time
from collections.abc import Iterator

import pydicom
import pynetdicom
import pytest

from tests import certificates, make, oracle, orthanc, peers, ports, scu
from tests.scenario import harness


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> certificates.Authority:
    return certificates.Authority(tmp_path_factory.mktemp("certificates"))


class Secure(harness.Node):
    """A daemon with a TLS listener."""

    tls_port = 0


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, authority: certificates.Authority) -> Iterator[Secure]:
    own = authority.issue("node.test")
    port = ports.free()
    tls = {
        "port": port,
        "certificate": str(own.certificate),
        "key": str(own.key),
        "ca": str(own.ca),
        "client_certificate": True,
    }
    made = Secure(tmp_path_factory.mktemp("clients"), tls=tls)
    made.tls_port = port
    try:
        yield made.start()
    finally:
        made.kill()


def corpus(seed: str) -> list[make.Made]:
    """Several modalities and encodings; DCMTK takes each syntax from the file."""
    found = make.series(6, seed=seed, size=75_000)
    found += make.series(3, seed=f"{seed} mr", size=20_000, sop_class=make.MR, syntax=make.IMPLICIT)
    found += make.series(2, seed=f"{seed} big", size=1_400_000)
    return found


def arrived(node: harness.Node, sent: list[make.Made], *, verbatim: bool = True) -> oracle.Held:
    """All of it is held; byte for byte unless the client writes data sets anew."""
    answers = [oracle.Answer(one.sop_instance, one.digest, 0, 0.0) for one in sent]
    if verbatim:
        held = node.settled(answers)
        wrong = [text for text in oracle.judge(held, answers) if "is not held" in text]
        assert not wrong, "\n".join(wrong)
        return held
    end = time.monotonic() + 20
    while True:
        held = oracle.Held(node.data)
        if all(one.sop_instance in held.by_uid for one in sent) or time.monotonic() > end:
            break
        time.sleep(0.1)
    for one in sent:
        (row,) = held.by_uid[one.sop_instance]
        assert row.actual() == row.digest
        ours, theirs = pydicom.dcmread(row.path), pydicom.dcmread(_stream(one))
        assert ours.PixelData == theirs.PixelData
        assert ours.PatientName == theirs.PatientName
    return held


def _stream(one: make.Made) -> object:
    import io

    return io.BytesIO(make.part10(one))


def run(*words: object) -> None:
    done = subprocess.run(
        [str(word) for word in words],
        env=peers.environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_storescu_stores_every_syntax_as_it_is(node: Secure, tmp_path: pathlib.Path) -> None:
    sent = corpus("storescu")
    make.files(tmp_path / "in", sent)
    where = ("-aec", harness.AET, *node.address)
    for proposal, syntax in (("-xe", make.EXPLICIT), ("-xi", make.IMPLICIT)):
        folder = tmp_path / proposal
        make.files(folder, [one for one in sent if one.syntax == syntax])
        run(peers.require("storescu"), proposal, *where, "+sd", folder)
    arrived(node, sent, verbatim=False)


def test_dcmsend_stores_a_folder(node: Secure, tmp_path: pathlib.Path) -> None:
    sent = corpus("dcmsend")
    make.files(tmp_path / "in", sent)
    run(peers.require("dcmsend"), "-aec", harness.AET, *node.address, "+sd", tmp_path / "in")
    arrived(node, sent, verbatim=False)


def test_storescu_stores_over_tls(
    node: Secure, authority: certificates.Authority, tmp_path: pathlib.Path
) -> None:
    own = authority.issue("storescu.test")
    sent = make.series(4, seed="storescu tls", size=75_000)
    make.files(tmp_path / "in", sent)
    secure = ("+tls", own.key, own.certificate, "+cf", own.ca)
    run(
        peers.require("storescu"),
        *secure,
        *("-aec", harness.AET, "127.0.0.1", node.tls_port),
        *("+sd", tmp_path / "in"),
    )
    arrived(node, sent, verbatim=False)


@pytest.mark.parametrize("secure", [False, True], ids=["clear", "tls"])
def test_pynetdicom_stores(
    node: Secure, authority: certificates.Authority, tmp_path: pathlib.Path, secure: bool
) -> None:
    sent = make.series(5, seed=f"pynetdicom {secure}", size=75_000)
    paths = make.files(tmp_path / "in", sent)
    entity = pynetdicom.AE("PYNETDICOM")
    entity.add_requested_context(make.CT, make.EXPLICIT)
    tls = None
    if secure:
        own = authority.issue("pynetdicom.test")
        context = ssl.create_default_context(cafile=str(own.ca))
        context.load_cert_chain(str(own.certificate), str(own.key))
        tls = (context, "127.0.0.1")
    port = node.tls_port if secure else node.port
    link = entity.associate("127.0.0.1", port, ae_title=harness.AET, tls_args=tls)
    assert link.is_established
    statuses = [link.send_c_store(path).Status for path in paths]
    link.release()
    assert statuses == [0] * len(sent)
    arrived(node, sent, verbatim=False)


def test_a_client_without_a_certificate_gets_no_association(node: Secure) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(OSError, match=r".+"), scu.Caller(("127.0.0.1", node.tls_port), tls=context) as caller:
        caller.associate([scu.Context(scu.VERIFICATION)])
    node.alive()


@pytest.mark.parametrize("secure", [False, True], ids=["clear", "tls"])
def test_orthanc_stores(
    node: Secure, authority: certificates.Authority, tmp_path: pathlib.Path, secure: bool
) -> None:
    own = authority.issue("orthanc.test")
    more: dict[str, object] = {}
    if secure:
        more = {
            "DicomTlsEnabled": True,
            "DicomTlsCertificate": str(own.certificate),
            "DicomTlsPrivateKey": str(own.key),
            "DicomTlsTrustedCertificates": str(own.ca),
        }
    modality: dict[str, object] = {
        "AET": harness.AET,
        "Host": "127.0.0.1",
        "Port": node.tls_port if secure else node.port,
        "UseDicomTls": secure,
    }
    sent = make.series(5, seed=f"orthanc {secure}", size=75_000)
    running = orthanc.Orthanc(tmp_path / "orthanc", modality, **more)
    try:
        names = [running.ask("POST", "/instances", make.part10(one))["ID"] for one in sent]
        done = running.ask("POST", "/modalities/node/store", json.dumps(names).encode())
        assert done["FailedInstancesCount"] == 0
        arrived(node, sent, verbatim=False)
    finally:
        running.stop()
