"""HOSTILE.md 1 to 22, 25 to 27: hostile bytes on the socket, the exact answer, and nothing left behind."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator

import pytest

from node import model
from node.wire import association, command
from tests import certificates, raw


@pytest.fixture
def node() -> Iterator[raw.Acceptor]:
    with raw.running() as made:
        yield made


@pytest.fixture
def impatient() -> Iterator[raw.Acceptor]:
    """With deadlines that a test can wait for."""
    with raw.running(limits=raw.IMPATIENT) as made:
        yield made


def said(node: raw.Acceptor, data: bytes) -> bytes:
    """What a fresh connection hears back before it is closed."""
    with node.connect() as sock:
        sock.sendall(data)
        heard = raw.receive_pdu(sock)
        assert raw.reaches_end(sock)
    return heard


def replied(node: raw.Acceptor, data: bytes, asked: bytes | None = None) -> bytes:
    """What an association hears back to these bytes before it is closed."""
    with node.associated(asked) as sock:
        sock.sendall(data)
        heard = raw.receive_pdu(sock)
        assert raw.reaches_end(sock)
    return heard


# -- PDU --------------------------------------------------------------------------------------------


def test_01_a_silent_connection_is_closed_at_the_deadline(impatient: raw.Acceptor) -> None:
    assert said(impatient, b"") == b""
    impatient.check()
    assert impatient.heard.of("dropped") == ["0 of 6 bytes came before the deadline"]


def test_02_half_a_header_is_closed_at_the_deadline(impatient: raw.Acceptor) -> None:
    assert said(impatient, b"\x01\x00\x00") == b""
    impatient.check()


def test_03_a_dripping_request_is_closed_at_the_deadline_of_the_whole(impatient: raw.Acceptor) -> None:
    asked = raw.request()
    with impatient.connect() as sock, contextlib.suppress(ConnectionError):
        for byte in asked[: len(asked) - 1]:
            sock.sendall(bytes((byte,)))
            time.sleep(0.05)
            if impatient.heard.of("dropped"):
                break
        else:
            pytest.fail("the whole request could be dripped")
    impatient.check()


def test_04_a_silent_tls_client_waits_alone(tmp_path: object) -> None:
    with certificates.server(tmp_path) as secure, raw.running(secure=secure, limits=raw.IMPATIENT) as node:
        with node.connect() as silent:
            with raw.insecure_client().wrap_socket(node.connect()) as spoken:
                spoken.sendall(raw.request())
                assert raw.receive_pdu(spoken)[0] == 2
                spoken.sendall(raw.p_data(raw.pdv(1, 3, raw.echo_command())))
                assert raw.status(raw.receive_pdu(spoken)) == 0
                spoken.sendall(raw.RELEASE_RQ)
                assert raw.receive_pdu(spoken) == raw.RELEASE_RP
            assert raw.reaches_end(silent)
        assert node.heard.wait("dropped") == ["the TLS handshake was not finished in time"]
        assert not node.heard.crashes


def test_05_http_is_aborted(node: raw.Acceptor) -> None:
    assert said(node, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n") == raw.ABORT_USER
    node.check()


def test_06_an_unknown_pdu_type_is_aborted(node: raw.Acceptor) -> None:
    assert replied(node, b"\x42\x00\x00\x00\x00\x04abcd") == raw.ABORT_UNRECOGNIZED
    node.check()


def test_07_a_second_request_is_aborted(node: raw.Acceptor) -> None:
    assert replied(node, raw.request()) == raw.ABORT_UNEXPECTED
    node.check()


def test_08_data_before_an_association_is_aborted(node: raw.Acceptor) -> None:
    assert said(node, raw.p_data(raw.pdv(1, 3, raw.echo_command()))) == raw.ABORT_USER
    node.check()


def test_09_a_request_of_four_gigabytes_is_aborted_before_it_is_read(node: raw.Acceptor) -> None:
    assert said(node, b"\x01\x00\xff\xff\xff\xff" + bytes(1000)) == raw.ABORT_USER
    node.check()


def test_10_a_pdu_over_the_maximum_is_aborted(node: raw.Acceptor) -> None:
    data = raw.p_data(raw.pdv(1, 3, raw.echo_command()))
    longer = struct.pack(">BxI", 4, raw.LIMITS.pdu + 1) + data[6:]
    assert replied(node, longer) == raw.ABORT_INVALID
    node.check()


def test_11_a_pdv_longer_than_its_pdu_is_aborted(node: raw.Acceptor) -> None:
    body = struct.pack(">IBB", 500, 1, 3) + raw.echo_command()
    assert replied(node, raw.p_data(body)) == raw.ABORT_INVALID
    node.check()


@pytest.mark.parametrize("length", [0, 1])
def test_12_a_pdv_without_room_for_its_header_is_aborted(node: raw.Acceptor, length: int) -> None:
    assert replied(node, raw.p_data(struct.pack(">IBB", length, 1, 3))) == raw.ABORT_INVALID
    node.check()


def test_12_a_pdu_without_a_pdv_is_aborted(node: raw.Acceptor) -> None:
    assert replied(node, raw.p_data()) == raw.ABORT_INVALID
    node.check()


def test_13_another_protocol_version_is_rejected(node: raw.Acceptor) -> None:
    assert said(node, raw.request(version=2)) == raw.rejection(1, 2, 2)
    node.check()


def test_14_another_application_context_is_rejected(node: raw.Acceptor) -> None:
    assert said(node, raw.request(application="1.2.3")) == raw.rejection(1, 1, 2)
    node.check()


def test_15_an_unknown_calling_title_is_rejected_where_strangers_are() -> None:
    with raw.running(node=model.NodeSettings(accept_unknown=False), peers=[model.Peer("raw", "RAW")]) as node:
        assert said(node, raw.request(calling="NOBODY")) == raw.rejection(1, 1, 3)
        node.check()


def test_15_another_called_title_is_rejected(node: raw.Acceptor) -> None:
    assert said(node, raw.request(called="OTHER")) == raw.rejection(1, 1, 7)
    node.check()


def test_16_over_the_limit_is_rejected_and_an_echo_still_goes() -> None:
    limits = dataclasses.replace(raw.LIMITS, associations=2, echo_slots=1)
    with raw.running(limits=limits) as node:
        with node.associated(), node.associated():
            assert said(node, raw.request()) == raw.rejection(2, 3, 2)
            only_echo = raw.request(raw.context(1, raw.VERIFICATION))
            with node.associated(only_echo) as sock:
                sock.sendall(raw.p_data(raw.pdv(1, 3, raw.echo_command())))
                assert raw.status(raw.receive_pdu(sock)) == 0
                assert said(node, only_echo) == raw.rejection(2, 3, 2)
        node.check()


def test_16_over_the_limit_of_one_peer_only_that_peer_is_rejected() -> None:
    limits = dataclasses.replace(raw.LIMITS, per_peer=1, echo_slots=0)
    with raw.running(limits=limits) as node:
        with node.associated():
            assert said(node, raw.request()) == raw.rejection(2, 3, 2)
            with node.associated(raw.request(calling="ANOTHER")):
                pass
        node.check()


def test_16_when_congested_what_would_store_is_rejected_and_an_echo_goes(node: raw.Acceptor) -> None:
    node.congested = True
    assert said(node, raw.request()) == raw.rejection(2, 3, 1)
    with node.associated(raw.request(raw.context(1, raw.VERIFICATION))):
        pass
    node.congested = False
    node.check()


@pytest.mark.parametrize(
    "contexts",
    [
        raw.context(2, raw.VERIFICATION),
        raw.context(0, raw.VERIFICATION),
        raw.context(1, raw.VERIFICATION) + raw.context(1, raw.CT),
        raw.item(0x20, b"\x01\x00"),
        raw.item(0x20, b"\x01\x00\x00\x00\x30\x00\xff\xff1.2"),
    ],
    ids=["even", "zero", "twice", "short", "lying"],
)
def test_17_impossible_contexts_are_aborted(node: raw.Acceptor, contexts: bytes) -> None:
    assert said(node, raw.request(contexts)) == raw.ABORT_USER
    node.check()


def test_17_no_contexts_are_rejected(node: raw.Acceptor) -> None:
    assert said(node, raw.request(b"")) == raw.rejection(1, 1, 1)
    node.check()


@pytest.mark.parametrize("max_pdu", [1, 7, 127])
def test_18_a_maximum_that_holds_no_message_is_aborted(node: raw.Acceptor, max_pdu: int) -> None:
    assert said(node, raw.request(max_pdu=max_pdu)) == raw.ABORT_INVALID
    node.check()


def test_18_no_maximum_and_the_smallest_are_taken(node: raw.Acceptor) -> None:
    for max_pdu in (0, association.SMALLEST_PDU, 0xFFFFFFFF):
        with node.associated(raw.request(max_pdu=max_pdu)) as sock:
            sock.sendall(raw.p_data(raw.pdv(1, 3, raw.echo_command())))
            answer = raw.receive_pdu(sock)
            assert not max_pdu or len(answer) - 6 <= max_pdu
            assert answer[0] == 4
    node.check()


# -- DIMSE ------------------------------------------------------------------------------------------


def test_19_a_message_on_a_context_that_was_not_accepted_is_aborted(node: raw.Acceptor) -> None:
    asked = raw.request(raw.BOTH + raw.context(5, "1.2.840.10008.5.1.4.31"))
    for number in (5, 99):
        echo = raw.p_data(raw.pdv(number, 3, raw.echo_command()))
        assert replied(node, echo, asked) == raw.ABORT_INVALID
    node.check()


@pytest.mark.parametrize(
    "garbage",
    [
        b"\xff" * 100,
        b"",
        raw.element(0x100, b"\x30\x00"),
        struct.pack("<HHI", 0, 0x100, 0xFFFFFFF0) + b"ab",
        struct.pack("<HHI", 8, 0x16, 2) + b"1\0",
        raw.command_set(raw.us(0x100, 0x30), raw.us(0x800, 0x101)),
        raw.command_set(raw.element(0x100, b"\x30"), raw.element(0x800, b"")),
    ],
)
def test_20_a_garbage_command_set_is_aborted(node: raw.Acceptor, garbage: bytes) -> None:
    assert replied(node, raw.p_data(raw.pdv(1, 3, garbage))) == raw.ABORT_USER
    node.check()
    assert len(node.heard.of("aborted")) == 1


def test_20_an_endless_command_set_is_aborted_at_64_kilobytes(node: raw.Acceptor) -> None:
    with node.associated() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        fragment = raw.p_data(raw.pdv(1, 1, bytes(16000)))
        for _ in range(5):
            sock.sendall(fragment)
        assert raw.receive_pdu(sock) == raw.ABORT_USER
    node.check()


def test_20_a_command_set_in_many_fragments_is_taken(node: raw.Acceptor) -> None:
    asked = raw.echo_command()
    with node.associated() as sock:
        sock.sendall(b"".join(raw.p_data(raw.pdv(1, 1, asked[n : n + 2])) for n in range(0, len(asked), 2)))
        sock.sendall(raw.p_data(raw.pdv(1, 3, b"")))
        assert raw.status(raw.receive_pdu(sock)) == 0
    node.check()


@pytest.mark.parametrize("field", [0x0150, 0x0777])
def test_21_an_unknown_command_is_answered_and_the_association_lives(node: raw.Acceptor, field: int) -> None:
    with node.associated() as sock:
        sock.sendall(raw.p_data(raw.pdv(1, 3, raw.echo_command(field=field))))
        assert raw.status(raw.receive_pdu(sock)) == 0x0211
        sock.sendall(raw.p_data(raw.pdv(1, 3, raw.echo_command())))
        assert raw.status(raw.receive_pdu(sock)) == 0
    node.check()


def test_21_an_answer_and_a_cancel_that_belong_to_nothing_are_passed_over(node: raw.Acceptor) -> None:
    late = raw.command_set(raw.us(0x100, 0x8001), raw.us(0x120, 5), raw.us(0x800, 0x101), raw.us(0x900, 0))
    cancel = raw.command_set(raw.us(0x100, 0x0FFF), raw.us(0x120, 5), raw.us(0x800, 0x101))
    with node.associated() as sock:
        for message in (late, cancel, raw.echo_command()):
            sock.sendall(raw.p_data(raw.pdv(1, 3, message)))
        assert raw.status(raw.receive_pdu(sock)) == 0
    node.check()


def test_22_data_in_another_context_than_its_command_is_aborted(node: raw.Acceptor) -> None:
    asked = raw.p_data(raw.pdv(3, 3, raw.store_command()), raw.pdv(1, 2, b"abcd"))
    assert replied(node, asked) == raw.ABORT_INVALID
    node.check()


def test_22_data_where_a_command_belongs_is_aborted(node: raw.Acceptor) -> None:
    assert replied(node, raw.p_data(raw.pdv(3, 2, b"abcd"))) == raw.ABORT_INVALID
    node.check()


def test_25_a_request_without_the_right_is_refused_and_the_association_lives() -> None:
    peer = model.Peer("raw", "RAW", rights=frozenset({model.Right.ECHO}))
    with raw.running(peers=[peer]) as node:
        with node.associated() as sock:
            sock.sendall(raw.p_data(raw.pdv(3, 3, raw.store_command()), raw.pdv(3, 2, b"abcd")))
            assert raw.status(raw.receive_pdu(sock)) == 0x0124
            sock.sendall(raw.p_data(raw.pdv(1, 3, raw.echo_command())))
            assert raw.status(raw.receive_pdu(sock)) == 0
        assert node.heard.of("unauthorized") == ["store"]
        assert not node.stored


def test_26_a_last_fragment_that_never_comes_is_aborted(impatient: raw.Acceptor) -> None:
    asked = raw.p_data(raw.pdv(3, 3, raw.store_command()), raw.pdv(3, 0, b"abcd"))
    assert replied(impatient, asked) == raw.ABORT_USER
    assert not impatient.stored
    impatient.check()


def test_26_a_pdu_that_drips_is_aborted_at_its_deadline(impatient: raw.Acceptor) -> None:
    with impatient.associated() as sock:
        whole = raw.p_data(raw.pdv(3, 3, raw.store_command()), raw.pdv(3, 2, bytes(2000)))
        with contextlib.suppress(ConnectionError):
            for byte in whole[:-1]:
                sock.sendall(bytes((byte,)))
                time.sleep(0.02)
                if impatient.heard.of("aborted"):
                    break
        assert "before the deadline" in impatient.heard.wait("aborted")[0]
    impatient.check()


def test_26_a_data_set_that_nobody_wants_is_not_read_for_ever() -> None:
    def refuse(link: association.Association, message: association.Message) -> None:
        message.drain(50000)
        pytest.fail("the data set was drained beyond its cap")

    with raw.running(handlers={command.Field.C_STORE: refuse}) as node:
        with node.associated() as sock:
            sock.sendall(raw.p_data(raw.pdv(3, 3, raw.store_command())))
            for _ in range(4):
                sock.sendall(raw.p_data(raw.pdv(3, 0, bytes(16000))))
            assert raw.receive_pdu(sock) == raw.ABORT_USER
        assert not node.heard.crashes


def test_27_pipelined_requests_are_answered_in_order(node: raw.Acceptor) -> None:
    with node.associated() as sock:
        sock.sendall(b"".join(raw.p_data(raw.pdv(1, 3, raw.echo_command(n))) for n in range(1, 101)))
        for number in range(1, 101):
            answer = raw.receive_pdu(sock)
            assert raw.us(0x120, number) in answer
    node.check()


def test_27_a_peer_that_does_not_read_is_held_back_and_then_aborted(impatient: raw.Acceptor) -> None:
    sent = 0
    with impatient.associated() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.settimeout(0.2)
        many = b"".join(raw.p_data(raw.pdv(1, 3, raw.echo_command())) for _ in range(500))
        deadline = time.monotonic() + 60
        with contextlib.suppress(ConnectionError):
            while not impatient.heard.of("aborted") and time.monotonic() < deadline:
                with contextlib.suppress(TimeoutError):  # back-pressure: our requests stay with us
                    sent += sock.send(many[sent % len(many) :])
    # A full window stalls its own requests too, so any of the deadlines may be the first.
    assert re.search("does not read|before the deadline|said nothing", impatient.heard.wait("aborted")[0])
    assert sent < 64 << 20
    impatient.check()


def test_a_connection_that_ends_in_the_middle_is_one_event(node: raw.Acceptor) -> None:
    with node.associated() as sock:
        sock.sendall(raw.p_data(raw.pdv(3, 3, raw.store_command()), raw.pdv(3, 0, b"abcd")))
    node.check()
    assert node.heard.of("aborted") == ["the peer closed the connection without a release"]


def test_an_abort_by_the_peer_is_told_with_its_reason(node: raw.Acceptor) -> None:
    with node.associated() as sock:
        sock.sendall(raw.ABORT_INVALID)
        assert raw.reaches_end(sock)
    node.check()
    (why,) = node.heard.of("aborted")
    assert "invalid PDU parameter value" in why


def test_a_handler_that_fails_costs_only_its_own_association() -> None:
    def fail(link: association.Association, message: association.Message) -> None:
        raise ZeroDivisionError

    with raw.running(handlers={command.Field.C_ECHO: fail}) as node:
        assert replied(node, raw.p_data(raw.pdv(1, 3, raw.echo_command()))) == raw.ABORT_USER
        assert [type(error) for error in node.heard.crashes] == [ZeroDivisionError]
        with node.associated():
            pass


def test_many_silent_connections_do_not_lock_others_out(node: raw.Acceptor) -> None:
    silent = [node.connect() for _ in range(100)]
    try:
        with node.associated() as sock:
            sock.sendall(raw.p_data(raw.pdv(1, 3, raw.echo_command())))
            assert raw.status(raw.receive_pdu(sock)) == 0
    finally:
        for sock in silent:
            sock.close()
    node.check()


def test_a_drain_lets_a_running_message_end_and_aborts_the_rest() -> None:
    with raw.running() as node, node.associated() as sock:
        sock.sendall(raw.p_data(raw.pdv(3, 3, raw.store_command()), raw.pdv(3, 0, b"abcd")))
        node.acceptor.drain(0)
        assert raw.receive_pdu(sock) == raw.ABORT_USER
    assert node.heard.of("aborted") == ["the node is stopping"]
    assert not node.stored


def test_a_drain_waits_for_a_message_that_is_coming_in() -> None:
    limits = dataclasses.replace(raw.LIMITS, pdu_timeout=10.0)
    with raw.running(limits=limits) as node, node.associated() as sock:
        sock.sendall(raw.p_data(raw.pdv(3, 3, raw.store_command()), raw.pdv(3, 0, b"abcd")))
        draining = threading.Thread(target=node.acceptor.drain, args=(20.0,))
        draining.start()
        time.sleep(0.1)
        sock.sendall(raw.p_data(raw.pdv(3, 2, b"efgh")))
        assert raw.status(raw.receive_pdu(sock)) == 0
        sock.sendall(raw.RELEASE_RQ)
        assert raw.receive_pdu(sock) == raw.RELEASE_RP
        draining.join(10)
        assert not draining.is_alive()
    assert node.stored == [b"abcdefgh"]


def test_16_who_was_released_may_call_again_at_once() -> None:
    limits = dataclasses.replace(raw.LIMITS, associations=1, per_peer=1)
    with raw.running(limits=limits) as node:
        for _ in range(50):
            with node.associated() as sock:
                sock.sendall(raw.RELEASE_RQ)
                assert raw.receive_pdu(sock) == raw.RELEASE_RP
