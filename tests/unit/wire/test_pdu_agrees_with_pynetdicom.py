"""Our association PDUs say to pynetdicom what they say to us, and the other way round."""

from __future__ import annotations

import pynetdicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynetdicom import pdu as theirs
from pynetdicom import pdu_primitives as primitives

from node import errors
from node.wire import pdu

CT = "1.2.840.10008.5.1.4.1.1.2"
IMPLICIT = "1.2.840.10008.1.2"

uids = st.lists(st.integers(0, 10**9), min_size=2, max_size=5).map(
    lambda parts: ".".join(map(str, [1, *parts]))
)
titles = st.text("ABCDEFGHIJ 0123456789_", min_size=1, max_size=16).map(str.strip).filter(bool)
values = st.binary(max_size=40)
users = st.builds(
    pdu.User,
    max_pdu=st.integers(0, 2**32 - 1),
    implementation_class=uids,
    implementation_version=titles,
    window=st.none() | st.tuples(st.integers(0, 65535), st.integers(0, 65535)),
    roles=st.dictionaries(uids, st.builds(pdu.Role, st.booleans(), st.booleans()), max_size=3),
    extended=st.dictionaries(uids, values, max_size=3),
    common_extended=st.lists(
        st.builds(pdu.CommonExtended, uids, uids, st.lists(uids, max_size=3).map(tuple)), max_size=2
    ).map(tuple),
    identity=st.none()
    | st.builds(pdu.Identity, st.integers(1, 5), st.binary(min_size=1), values, st.booleans()),
)
proposals = st.lists(st.tuples(uids, st.lists(uids, min_size=1, max_size=4)), max_size=20).map(
    lambda found: tuple(
        pdu.Proposal(2 * number + 1, abstract, tuple(transfers))
        for number, (abstract, transfers) in enumerate(found)
    )
)


@given(st.builds(pdu.Request, titles, titles, proposals, users))
def test_a_request_comes_back_as_it_went(request: pdu.Request) -> None:
    assert pdu.decode_request(pdu.encode_request(request)[6:]) == request


@given(st.builds(pdu.Request, titles, titles, proposals, users))
def test_pynetdicom_reads_our_request_and_writes_the_same_bytes(request: pdu.Request) -> None:
    data = pdu.encode_request(request)
    read = theirs.A_ASSOCIATE_RQ()
    read.decode(data)
    assert read.calling_ae_title == request.calling
    assert read.called_ae_title == request.called
    assert [
        (context.context_id, str(context.abstract_syntax), tuple(map(str, context.transfer_syntax)))
        for context in read.presentation_context
    ] == [(context.id, context.abstract, context.transfers) for context in request.contexts]
    assert read.user_information.maximum_length == request.user.max_pdu
    assert read.encode() == data


def test_we_read_what_pynetdicom_writes() -> None:
    role = primitives.SCP_SCU_RoleSelectionNegotiation()
    role.sop_class_uid, role.scu_role, role.scp_role = CT, True, True
    window = primitives.AsynchronousOperationsWindowNegotiation()
    window.maximum_number_operations_invoked, window.maximum_number_operations_performed = 5, 1
    identity = primitives.UserIdentityNegotiation()
    identity.user_identity_type, identity.primary_field, identity.secondary_field = 2, b"who", b"secret"
    length = primitives.MaximumLengthNotification()
    length.maximum_length_received = 16384
    implementation = primitives.ImplementationClassUIDNotification()
    implementation.implementation_class_uid = "1.2.3"
    asked = primitives.A_ASSOCIATE()
    asked.calling_ae_title, asked.called_ae_title = "THEM", "US"
    asked.application_context_name = pdu.APPLICATION_CONTEXT
    asked.user_information = [length, implementation, role, window, identity]
    context = pynetdicom.build_context(CT, [IMPLICIT])
    context.context_id = 1
    asked.presentation_context_definition_list = [context]
    read = pdu.decode_request(theirs.A_ASSOCIATE_RQ(asked).encode()[6:])
    assert (read.calling, read.called) == ("THEM", "US")
    assert read.contexts == (pdu.Proposal(1, CT, (IMPLICIT,)),)
    assert read.user.max_pdu == 16384
    assert read.user.roles == {CT: pdu.Role(scu=True, scp=True)}
    assert read.user.window == (5, 1)
    assert read.user.identity == pdu.Identity(2, b"who", b"secret")
    assert "secret" not in repr(read)


def test_pynetdicom_reads_our_answers() -> None:
    accept = pdu.Accept("A", "B", (pdu.Result(1, 0, IMPLICIT), pdu.Result(3, 4, IMPLICIT)))
    data = pdu.encode_accept(accept)
    read = theirs.A_ASSOCIATE_AC()
    read.decode(data)
    assert [(item.context_id, item.result) for item in read.presentation_context] == [(1, 0), (3, 4)]
    back = pdu.decode_accept(data[6:])
    assert back.results[0] == accept.results[0]
    assert back.results[1].result == 4
    rejected = theirs.A_ASSOCIATE_RJ()
    rejected.decode(pdu.encode_reject(pdu.Rejection(2, 3, 1)))
    assert (rejected.result, rejected.source, rejected.reason_diagnostic) == (2, 3, 1)
    aborted = theirs.A_ABORT_RQ()
    aborted.decode(pdu.encode_abort(2, 6))
    assert (aborted.source, aborted.reason_diagnostic) == (2, 6)


@given(st.binary(max_size=300))
def test_garbage_is_bad_data_and_nothing_else(garbage: bytes) -> None:
    for decode in (pdu.decode_request, pdu.decode_accept):
        for data in (garbage, bytes(68) + garbage):
            try:
                decode(data)
            except errors.BadData:
                continue


@given(st.builds(pdu.Request, titles, titles, proposals, users), st.data())
def test_a_request_that_breaks_off_is_bad_data(request: pdu.Request, data: st.DataObject) -> None:
    whole = pdu.encode_request(request)[6:]
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    try:
        found = pdu.decode_request(cut)
    except errors.BadData:
        return
    # It can only be read where it breaks off between two items.
    assert len(found.contexts) <= len(request.contexts)


def test_sub_items_that_nobody_knows_are_skipped() -> None:
    request = pdu.Request("A", "B", (pdu.Proposal(1, CT, (IMPLICIT,)),))
    data = pdu.encode_request(request)[6:]
    stranger = bytes.fromhex("9900 0002 abcd")
    assert pdu.decode_request(data + stranger) == request


def test_titles_that_are_not_ascii_are_read_as_they_are() -> None:
    data = bytearray(pdu.encode_request(pdu.Request("A", "B", ()))[6:])
    data[4:6] = b"\xff\xfe"
    assert pdu.decode_request(bytes(data)).called == "\xff\xfe"


@pytest.mark.parametrize(
    ("rejection", "words"),
    [
        (pdu.Rejection(1, 1, 7), "permanently: called AE title not recognized"),
        (pdu.Rejection(2, 3, 2), "for now: local limit exceeded"),
        (pdu.Rejection(9, 9, 9), "with result 9: source 9, reason 9"),
    ],
)
def test_a_rejection_is_told_in_words(rejection: pdu.Rejection, words: str) -> None:
    assert rejection.describe() == words
