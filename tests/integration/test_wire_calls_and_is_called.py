"""The engine with DCMTK and pynetdicom, in both roles, plain and over TLS."""

from __future__ import annotations

import contextlib
import pathlib
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator

import pynetdicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pynetdicom import evt

from node import errors, model
from node.wire import association, command, contexts, faults, pdu, policy, requestor, tls
from tests import certificates, peers, raw

CT, EXPLICIT, IMPLICIT = raw.CT, raw.EXPLICIT, raw.IMPLICIT
SHORT = association.Timeouts(2, 2, 2)
ECHO = [contexts.Proposed(raw.VERIFICATION, (IMPLICIT,))]
STORE = [*ECHO, contexts.Proposed(CT, (EXPLICIT, IMPLICIT))]


def connect(
    port: int, proposed: list[contexts.Proposed] | None = None, **how: object
) -> association.Association:
    """An association of ours with a port of this machine."""
    given: dict[str, object] = {"calling": "US", "called": "NODE", "timeouts": SHORT} | how
    return requestor.connect(("127.0.0.1", port), proposed=proposed or STORE, **given)  # type: ignore[arg-type]


def ask(link: association.Association, abstract: str, message: bytes, data: bytes | None = None) -> int:
    """The status that a request gets."""
    context = link.find(abstract)
    assert context
    link.send(context, message, data)
    found = link.receive()
    assert isinstance(found, association.Message)
    return found.command.status


def echo(link: association.Association) -> int:
    """The status of a C-ECHO."""
    return ask(
        link,
        raw.VERIFICATION,
        command.request(command.Field.C_ECHO, link.next_id(), sop_class=raw.VERIFICATION),
    )


def store(link: association.Association, data: bytes, instance: str = "1.2.3") -> int:
    """The status of a C-STORE."""
    message = command.request(
        command.Field.C_STORE,
        link.next_id(),
        sop_class=CT,
        sop_instance=instance,
        priority=0,
        has_data=True,
    )
    return ask(link, CT, message, data)


def ct(folder: pathlib.Path, size: int, number: int = 1) -> pathlib.Path:
    """A synthetic CT image in a file."""
    data = Dataset()
    data.SOPClassUID, data.SOPInstanceUID = CT, f"1.2.3.{number}"
    data.StudyInstanceUID, data.SeriesInstanceUID = "1.2.3", "1.2.3.4"
    data.PatientID, data.Modality = "SYNTHETIC", "CT"
    data.Columns = min(size // 2, 500)
    data.Rows = size // 2 // data.Columns
    data.BitsAllocated = data.BitsStored = 16
    data.HighBit, data.PixelRepresentation, data.SamplesPerPixel = 15, 0, 1
    data.PhotometricInterpretation = "MONOCHROME2"
    data.PixelData = bytes(size)
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = EXPLICIT
    path = folder / f"{number}.dcm"
    data.save_as(path, enforce_file_format=True)
    return path


def run(*program: object) -> str:
    """Run a peer program to its end and return what it says; it must succeed."""
    done = subprocess.run(
        [str(word) for word in program],
        env=peers.environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@contextlib.contextmanager
def storescp(folder: pathlib.Path, *options: object) -> Iterator[int]:
    """DCMTK's storescp on a free port."""
    program = peers.require("storescp")
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
    server = subprocess.Popen(
        [program, *map(str, options), "-od", str(folder), "-aet", "NODE", str(port)],
        env=peers.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.02)
        yield port
    finally:
        server.terminate()
        server.wait(10)


# -- called -----------------------------------------------------------------------------------------


def test_dcmtk_echoes_and_stores(tmp_path: pathlib.Path) -> None:
    echoscu, storescu = peers.require("echoscu"), peers.require("storescu")
    files = [ct(tmp_path, size, number) for number, size in enumerate((10, 4000, 200_000))]
    with raw.running() as node:
        run(echoscu, "-aec", "NODE", "127.0.0.1", node.port)
        run(storescu, "-aec", "NODE", "127.0.0.1", node.port, *files)
        assert [len(data) > size for data, size in zip(node.stored, (10, 4000, 200_000), strict=True)]
        assert node.stored[2].endswith(bytes(200_000))
        node.check()


def test_pynetdicom_stores_with_a_window_roles_and_a_user_identity() -> None:
    seen: list[pdu.Identity] = []

    def check(identity: pdu.Identity, call: policy.Call) -> policy.Verdict:
        seen.append(identity)
        return policy.Verdict(identity.secondary == b"right")

    with raw.running(check=check) as node:
        entity = pynetdicom.AE("THEM")
        entity.add_requested_context(CT, [IMPLICIT])
        asked = pynetdicom.pdu_primitives.UserIdentityNegotiation()
        asked.user_identity_type, asked.positive_response_requested = 2, True
        asked.primary_field, asked.secondary_field = b"who", b"right"
        window = pynetdicom.pdu_primitives.AsynchronousOperationsWindowNegotiation()
        window.maximum_number_operations_invoked = 100
        window.maximum_number_operations_performed = 1
        role = pynetdicom.build_role(CT, scp_role=True, scu_role=True)
        link = entity.associate("127.0.0.1", node.port, ae_title="NODE", ext_neg=[asked, window, role])
        assert link.is_established
        (accepted,) = link.accepted_contexts
        assert accepted.as_scp
        assert accepted.as_scu
        assert link.acceptor.user_identity.server_response == b""
        assert link.acceptor.asynchronous_operations == (16, 1)
        data = Dataset()
        data.SOPClassUID, data.SOPInstanceUID = CT, "1.2.3"
        data.BitsAllocated, data.PixelData = 16, bytes(100_000)
        data.file_meta = FileMetaDataset()
        data.file_meta.TransferSyntaxUID = IMPLICIT
        assert link.send_c_store(data).Status == 0
        link.release()
        assert len(node.stored[0]) > 100_000
        asked.secondary_field = b"wrong"
        assert entity.associate("127.0.0.1", node.port, ae_title="NODE", ext_neg=[asked]).is_rejected
        assert [identity.kind for identity in seen] == [2, 2]


def test_a_thousand_times_the_same_and_nothing_grows() -> None:
    with raw.running() as node:
        for _ in range(200):
            with connect(node.port) as link:
                assert echo(link) == 0
        node.check()
        assert len(node.heard.of("closed")) == 201


# -- calling ----------------------------------------------------------------------------------------


def test_we_store_at_dcmtk_in_its_small_pdus(tmp_path: pathlib.Path) -> None:
    data = b"\x08\x00\x16\x00UI\x1a\x00" + CT.encode() + b"\0"
    instance = b"\x08\x00\x18\x00UI\x06\x001.2.3\0"
    pixels = b"\xe0\x7f\x10\x00OW\0\0" + (300_000).to_bytes(4, "little") + bytes(300_000)
    with (
        storescp(tmp_path, "--max-pdu", 4096) as port,
        connect(port, [*ECHO, contexts.Proposed(CT, (EXPLICIT,))]) as link,
    ):
        assert link.max_out == 4096
        assert echo(link) == 0
        assert store(link, data + instance + pixels) == 0
    (stored,) = tmp_path.iterdir()
    assert stored.read_bytes().endswith(pixels)


def test_we_store_at_pynetdicom(tmp_path: pathlib.Path) -> None:
    got: list[bytes] = []

    def keep(event: evt.Event) -> int:
        got.append(event.encoded_dataset(include_meta=False))
        return 0

    entity = pynetdicom.AE("NODE")
    entity.add_supported_context(CT)
    entity.add_supported_context(raw.VERIFICATION)
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, keep)])
    try:
        with connect(server.socket.getsockname()[1]) as link:
            assert echo(link) == 0
            assert store(link, b"\x08\x00\x18\x00\x06\x00\x00\x001.2.3\0" * 5000) == 0
        assert got == [b"\x08\x00\x18\x00\x06\x00\x00\x001.2.3\0" * 5000]
    finally:
        server.shutdown()


def test_a_window_lets_several_requests_be_under_way() -> None:
    with raw.running() as node, connect(node.port, window=8) as link:
        assert link.window == 8
        context = link.find(raw.VERIFICATION)
        assert context
        for number in range(8):
            link.send(context, command.request(command.Field.C_ECHO, number))
        answered = []
        for _ in range(8):
            found = link.receive()
            assert isinstance(found, association.Message)
            answered.append(found.command.responded_to)
        assert answered == list(range(8))
    with raw.running() as node, connect(node.port, window=0) as link:
        assert link.window == 16  # we ask for any number, and get the node's


def test_we_are_the_provider_where_the_role_is_granted() -> None:
    roles = {CT: pdu.Role(scu=True, scp=True)}
    with raw.running() as node, connect(node.port, roles=roles) as link:
        assert link.find(CT, scp=True)
        assert not link.find(raw.VERIFICATION, scp=True)


def test_a_refusal_is_told_in_words() -> None:
    with raw.running() as node:
        with pytest.raises(errors.PeerRefused, match=r"OTHER at .* permanently: called AE title not"):
            connect(node.port, called="OTHER")
        node.congested = True
        with pytest.raises(errors.PeerBusy, match="for now: temporary congestion"):
            connect(node.port)


def test_nobody_there_is_told_in_words() -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    with pytest.raises(errors.PeerUnreachable, match=r"cannot be reached .*refused"):
        connect(port)
    with pytest.raises(errors.PeerUnreachable, match="host name is not known"):
        requestor.connect(
            ("no.such.host.invalid", 104), calling="A", called="B", proposed=ECHO, timeouts=SHORT
        )


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "before the deadline"),
        (b"\x02\x00\x00", "before the deadline"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "no association PDU"),
        (b"\x02\x00\x00\x00\x00\x04abcd", "cannot be read"),
        (b"\x02\x00\xff\xff\xff\xff", "at most"),
        (b"\x03\x00\x00\x00\x00\x02ab", "2 bytes where four belong"),
        (raw.ABORT_INVALID, "invalid PDU parameter value"),
    ],
)
def test_a_peer_that_answers_nonsense_is_unreachable(answer: bytes, words: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def speak() -> None:
            sock, _ = server.accept()
            with sock:
                sock.sendall(answer)
                sock.settimeout(3)
                with contextlib.suppress(OSError):
                    while sock.recv(4096):
                        pass

        speaking = threading.Thread(target=speak)
        speaking.start()
        with pytest.raises(errors.PeerUnreachable, match=words):
            connect(server.getsockname()[1], timeouts=association.Timeouts(0.5, 0.5, 0.5))
        speaking.join(5)


def test_a_peer_that_stops_in_the_middle_of_an_answer_is_given_up() -> None:
    with raw.running(handlers={command.Field.C_ECHO: lambda link, message: time.sleep(1)}) as node:
        link = connect(node.port, timeouts=association.Timeouts(0.6, 0.6, 0.6))
        with pytest.raises(faults.AssociationLost, match="said nothing for"):
            echo(link)
        assert not link.open


# -- TLS --------------------------------------------------------------------------------------------


@pytest.fixture
def authority(tmp_path: pathlib.Path) -> certificates.Authority:
    return certificates.Authority(tmp_path)


def secured(authority: certificates.Authority, **how: object) -> tls.Reloading:
    """What a TLS listener shows."""
    return tls.Reloading(model.TlsSettings(**{**fields(authority.issue("node.test")), **how}))  # type: ignore[arg-type]


def fields(settings: model.TlsSettings) -> dict[str, object]:
    """The settings as keywords."""
    return {name: getattr(settings, name) for name in settings.__slots__}


def test_both_roles_speak_tls_and_bind_names(authority: certificates.Authority) -> None:
    peer = model.Peer("us", "US", tls=True, certificate="us.test")
    ours = tls.client(authority.issue("us.test"))
    theirs = tls.client(authority.issue("others.test"))
    with raw.running(secure=secured(authority, client_certificate=True), peers=[peer]) as node:
        for wanted in (None, "node.test"):
            with connect(node.port, secure=ours, certificate=wanted) as link:
                assert link.facts.tls_names[0] == "node.test"
                assert store(link, bytes(1_000_000)) == 0
                assert len(node.stored[-1]) == 1_000_000
        with pytest.raises(errors.PeerRefused, match=r"certificate of node.test, .*expected other.test"):
            connect(node.port, secure=ours, certificate="other.test")
        with pytest.raises(errors.PeerRefused, match="calling AE title"):
            connect(node.port, secure=theirs)
        assert "others.test" in node.heard.of("rejected")[0]


def test_a_drain_says_goodbye_in_tls_and_not_in_the_clear(authority: certificates.Authority) -> None:
    with (
        raw.running(secure=secured(authority)) as node,
        connect(node.port, secure=tls.client(model.TlsSettings(ca=authority.pem))) as link,
    ):
        assert echo(link) == 0
        with node.connect() as silent:  # in the middle of its handshake
            while len(node.acceptor._running) < 2:
                time.sleep(0.001)
            node.acceptor.drain(0)
            assert raw.reaches_end(silent)
        assert link.receive() == association.Abort(0, 0)
        assert node.heard.wait("aborted") == ["the node is stopping"]


def test_a_caller_without_a_certificate_is_not_heard(authority: certificates.Authority) -> None:
    with raw.running(secure=secured(authority, client_certificate=True)) as node:
        with pytest.raises((errors.PeerUnreachable, errors.PeerRefused)):
            connect(node.port, secure=tls.client(model.TlsSettings(ca=authority.pem)))
        assert "did not return a certificate" in node.heard.wait("dropped")[0]


def test_a_server_of_a_strange_authority_is_refused(
    authority: certificates.Authority, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "strange").mkdir()
    strange = certificates.Authority(tmp_path / "strange", "Strange Authority")
    with (
        raw.running(secure=secured(authority)) as node,
        pytest.raises(errors.PeerRefused, match="certificate is not accepted"),
    ):
        connect(node.port, secure=tls.client(strange.issue("us.test")))


def test_old_versions_and_ciphers_are_refused(authority: certificates.Authority) -> None:
    with raw.running(secure=secured(authority)) as node:
        modern = raw.insecure_client()
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            modern.minimum_version = modern.maximum_version = version
            with modern.wrap_socket(node.connect()) as sock:
                assert "GCM" in sock.cipher()[0] or "CHACHA" in sock.cipher()[0]
        weak = raw.insecure_client()
        weak.maximum_version = ssl.TLSVersion.TLSv1_2
        weak.set_ciphers("ECDHE-ECDSA-AES128-SHA256")
        with pytest.raises(ssl.SSLError), node.connect() as sock:
            weak.wrap_socket(sock)
        # A hello of TLS 1.1, written out: our own OpenSSL would not say it any more.
        hello = bytes.fromhex("0302") + bytes(32) + bytes.fromhex("00 0002 c009 0100")
        shake = b"\x01" + len(hello).to_bytes(3, "big") + hello
        with node.connect() as sock:
            sock.sendall(bytes.fromhex("160301") + len(shake).to_bytes(2, "big") + shake)
            assert sock.recv(100)[:1] == b"\x15"  # an alert
        assert "unsupported protocol" in node.heard.wait("dropped", 4)[-1]


def test_dcmtk_stores_over_tls(authority: certificates.Authority, tmp_path: pathlib.Path) -> None:
    storescu = peers.require("storescu")
    settings = authority.issue("us.test")
    file = ct(tmp_path, 100_000)
    with raw.running(secure=secured(authority, client_certificate=True)) as node:
        run(
            *(storescu, "+tls", settings.key, settings.certificate, "+cf", authority.pem, "-aec", "NODE"),
            *("127.0.0.1", node.port, file),
        )
        assert node.stored[0].endswith(bytes(100_000))


def test_renewed_certificates_are_used_and_broken_ones_are_not(
    authority: certificates.Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls, "CHECK_EVERY", 0.0)
    said: list[str] = []
    settings = authority.issue("first.test", "node")
    secure = tls.Reloading(settings, tls.server, lambda: said.append("new"), lambda e: said.append(str(e)))
    client = tls.client(model.TlsSettings(ca=authority.pem))
    with raw.running(secure=secure) as node:
        with connect(node.port, secure=client) as link:
            assert link.facts.tls_names[0] == "first.test"
        authority.issue("second.test", "node")
        with connect(node.port, secure=client) as link:
            assert link.facts.tls_names[0] == "second.test"
        assert said == ["new"]
        assert settings.key
        settings.key.write_text("no key")
        with connect(node.port, secure=client) as link:
            assert link.facts.tls_names[0] == "second.test"
        assert "do not work together" in said[1]


def test_settings_that_cannot_work_are_refused_in_words(
    authority: certificates.Authority, tmp_path: pathlib.Path
) -> None:
    good = fields(authority.issue("node.test"))
    other = authority.issue("other.test").key
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    for change, words in (
        ({"certificate": None}, "tls.certificate is not"),
        ({"certificate": tmp_path / "none.pem"}, "does not exist"),
        ({"key": other}, "do not work together"),
        ({"ca": empty}, "tls.ca"),
        ({"ca": None, "client_certificate": True}, "tls.ca is not"),
    ):
        with pytest.raises(errors.ConfigError, match=words):
            tls.server(model.TlsSettings(**{**good, **change}))  # type: ignore[arg-type]
