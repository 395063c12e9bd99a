"""Two of our associations on a socket pair: whole messages in every size, in both directions."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node import errors
from node.wire import association, buffers, command, faults, sending, stream
from node.wire import contexts as presentation

CT = presentation.Context(1, "1.2.840.10008.5.1.4.1.1.2", presentation.IMPLICIT_LITTLE, scu=True, scp=True)
TIMEOUTS = association.Timeouts(2, 2, 4)
ECHO = command.request(command.Field.C_ECHO, 1)
STORE = command.request(command.Field.C_STORE, 2, has_data=True)


def pair(max_pdu: int = 16384) -> tuple[association.Association, association.Association]:
    """Two ends of an association that has been negotiated."""
    ends = []
    for number, sock in enumerate(socket.socketpair()):
        facts = association.Facts("test", "", 0, inbound=bool(number))
        made = association.Association(
            stream.Stream(sock), facts, TIMEOUTS, buffers.Buffers(max_pdu), max_pdu
        )
        made.agree({1: CT}, max_pdu, 1)
        ends.append(made)
    return ends[0], ends[1]


@pytest.fixture
def ends() -> Iterator[tuple[association.Association, association.Association]]:
    near, far = pair()
    yield near, far
    for end in (near, far):
        end.cut("")
        end.abort()


Ends = tuple[association.Association, association.Association]


def received(end: association.Association) -> association.Message:
    """The next message, which must be one."""
    found = end.receive()
    assert isinstance(found, association.Message)
    return found


@given(
    st.lists(st.binary(max_size=700), max_size=12),
    st.integers(2, 300).map(lambda half: 2 * half),
    st.integers(1, 400),
)
def test_shares_hold_the_data_in_order_and_only_the_last_is_marked(
    pieces: list[bytes], payload: int, length: int
) -> None:
    message = os.urandom(length)
    out = b""
    for parts, size in sending.frames(5, message, pieces, payload):
        joined = b"".join(parts)
        assert len(joined) == size
        out += joined
    found = {1: b"", 0: b""}
    controls = []
    while out:
        pdu_length = int.from_bytes(out[2:6], "big")
        assert pdu_length <= payload + 6
        assert int.from_bytes(out[6:10], "big") == pdu_length - 4
        assert (out[0], out[10]) == (4, 5)
        controls.append(out[11])
        found[out[11] & 1] += out[12 : 6 + pdu_length]
        out = out[6 + pdu_length :]
    assert found == {1: message, 0: b"".join(pieces)}
    commands = [control for control in controls if control & 1]
    data = [control for control in controls if not control & 1]
    assert controls == commands + data
    assert commands == [1] * (len(commands) - 1) + [3]
    assert data == [0] * (len(data) - 1) + [2]


@settings(max_examples=25, deadline=None)
@given(st.sampled_from([128, 130, 4096, 16384, 131072]), st.integers(0, 300_000), st.booleans())
def test_a_data_set_arrives_as_it_was_sent(max_pdu: int, size: int, in_pieces: bool) -> None:
    near, far = pair(max_pdu)
    data = os.urandom(size)
    sent: sending.Data = [data[:100], data[100:101], data[101:]] if in_pieces else data
    writer = threading.Thread(target=near.send, args=(1, STORE, sent))
    writer.start()
    message = received(far)
    assert message.read(size) == data
    assert message.received == size
    writer.join()
    far.send(message.context, command.response(message.command, 0))
    assert received(near).command.status == 0
    assert (near.bytes_out, far.bytes_out) == (far.bytes_in, near.bytes_in)
    for end in (near, far):
        end.cut("")
        end.abort()


def test_messages_that_come_at_once_are_taken_one_by_one(ends: Ends) -> None:
    near, far = ends
    for number in range(1, 40):
        near.send(1, command.request(command.Field.C_STORE, number, has_data=True), bytes([number]) * 500)
    for number in range(1, 40):
        message = received(far)
        assert message.command.message_id == number
        if number % 3:  # what a handler leaves behind is passed over
            assert message.read(500) == bytes([number]) * 500


def test_messages_that_are_sent_in_one_write_arrive_one_by_one(ends: Ends) -> None:
    near, far = ends
    stores = [
        (command.request(command.Field.C_STORE, n, has_data=True), bytes([n]) * 500) for n in range(1, 40)
    ]
    near.send_all(CT, [*stores, (ECHO, None)])
    for number in range(1, 40):
        message = received(far)
        assert message.command.message_id == number
        assert message.read(500) == bytes([number]) * 500
    assert received(far).command.field == command.Field.C_ECHO


def test_a_peer_that_does_not_read_does_not_keep_up(ends: Ends) -> None:
    near, far = ends
    sent = 0
    while near.keeps_up():
        near.send_all(CT, [(STORE, bytes(2000))])
        sent += 1
    for _ in range(sent):
        assert received(far).read(2000) == bytes(2000)
    assert near.keeps_up()
    near.abort()
    assert not near.keeps_up()


def test_a_data_set_over_the_cap_is_bad_data_and_the_association_lives(ends: Ends) -> None:
    near, far = ends
    near.send(1, STORE, bytes(5000))
    near.send(1, ECHO)
    with pytest.raises(errors.BadData, match="more than 4000 bytes"):
        received(far).read(4000)
    assert received(far).command.field == command.Field.C_ECHO


def test_a_source_that_breaks_off_aborts_instead_of_sending_half_a_message(ends: Ends) -> None:
    near, far = ends

    def source() -> Iterator[bytes]:
        yield bytes(3 << 20)
        raise OSError("the disk is gone")

    def take() -> None:
        with contextlib.suppress(faults.AssociationLost):
            received(far).drain()

    taking = threading.Thread(target=take)
    taking.start()
    with pytest.raises(OSError, match="disk"):
        near.send(1, STORE, source())
    taking.join(5)
    assert not near.open
    assert far.fault
    assert far.fault.by_peer


def test_a_cancel_is_seen_without_waiting(ends: Ends) -> None:
    near, far = ends
    near.send(1, command.request(command.Field.C_FIND, 7, has_data=True), b"keys")
    message = received(far)
    assert not far.cancelled(7)  # its own identifier has not been read
    message.read(100)
    assert not far.cancelled(7)
    near.send(1, command.cancel(6))  # of something that is long over
    near.send(1, command.cancel(7))
    assert far.cancelled(7)
    assert not far.cancelled(7)


def test_a_request_that_waits_behind_is_not_lost_by_looking_for_a_cancel(ends: Ends) -> None:
    near, far = ends
    near.send(1, ECHO)
    received(far)
    near.send(1, STORE, b"data")
    near.send(1, command.cancel(1))
    assert not far.cancelled(1)
    assert received(far).read(10) == b"data"
    assert far.cancelled(1)


def test_an_abort_is_seen_when_looking_for_a_cancel(ends: Ends) -> None:
    near, far = ends
    near.abort(faults.Source.PROVIDER, faults.Reason.UNEXPECTED_PDU)
    with pytest.raises(faults.AssociationLost, match="unexpected PDU"):
        far.cancelled(1)
    assert not far.open


def test_both_may_ask_for_the_release_at_once(ends: Ends) -> None:
    near, far = ends
    other = threading.Thread(target=far.release)
    other.start()
    near.release()
    other.join(5)
    assert not other.is_alive()
    assert (near.fault, far.fault) == (None, None)


def test_what_is_sent_after_the_end_is_refused(ends: Ends) -> None:
    near, far = ends
    near.abort()
    with pytest.raises(faults.AssociationLost, match="aborted by us"):
        near.send(1, ECHO)
    with pytest.raises(faults.AssociationLost):
        near.receive()
    assert isinstance(far.receive(), association.Abort)


def test_an_idle_association_holds_no_buffer_and_ends_at_its_deadline() -> None:
    near, far = pair()
    far._timeouts = association.Timeouts(1, 1, 1.2)
    near.send(1, ECHO)
    received(far)
    caught: list[str] = []

    def wait() -> None:
        try:
            far.receive()
        except faults.AssociationLost as fault:
            caught.append(fault.why)

    waiting = threading.Thread(target=wait)
    waiting.start()
    while far.idle_since is None:
        assert waiting.is_alive()
    assert far._view is None
    waiting.join(5)
    assert caught == ["the peer said nothing for 1.2 s"]
    assert isinstance(near.receive(), association.Abort)


def test_two_threads_send_whole_messages(ends: Ends) -> None:
    near, far = ends
    senders = [
        threading.Thread(target=lambda: [near.send(1, STORE, bytes(40000)) for _ in range(10)])
        for _ in range(2)
    ]
    for sender in senders:
        sender.start()
    for _ in range(20):
        assert len(received(far).read(40000)) == 40000
    for sender in senders:
        sender.join()


def test_contexts_are_found_by_what_they_carry(ends: Ends) -> None:
    near, _ = ends
    assert near.find(CT.abstract) is CT
    assert (
        near.find(CT.abstract, [presentation.EXPLICIT_LITTLE, presentation.IMPLICIT_LITTLE], scp=True) is CT
    )
    assert near.find(CT.abstract, [presentation.EXPLICIT_LITTLE]) is None
    assert near.find("1.2.3") is None
    assert [near.next_id() for _ in range(3)] == [1, 2, 3]
