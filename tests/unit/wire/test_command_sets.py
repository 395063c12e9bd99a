"""Command sets as bytes, held against pynetdicom's messages."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import filereader
from pydicom.dataset import Dataset
from pynetdicom import dimse_messages, dsutils

from node import errors
from node.wire import command

CT = "1.2.840.10008.5.1.4.1.1.2"
uids = st.text("0123456789.", min_size=1, max_size=64)


def as_data_set(data: bytes) -> Dataset:
    """The command set as pydicom reads it."""
    found: Dataset = filereader.read_dataset(io.BytesIO(data), is_implicit_VR=True, is_little_endian=True)
    return found


@given(st.integers(0, 65535), uids, uids, st.integers(0, 2))
def test_a_request_reads_back(message_id: int, sop_class: str, sop_instance: str, priority: int) -> None:
    data = command.request(
        command.Field.C_STORE,
        message_id,
        sop_class=sop_class,
        sop_instance=sop_instance,
        priority=priority,
        has_data=True,
    )
    read = command.decode(data)
    assert read.field == command.Field.C_STORE
    assert (read.message_id, read.priority, read.has_data) == (message_id, priority, True)
    assert (read.sop_class, read.sop_instance) == (sop_class, sop_instance)
    assert not read.is_response
    assert as_data_set(data).CommandGroupLength == len(data) - 12


def test_pynetdicom_understands_a_request_and_writes_the_same_bytes() -> None:
    data = command.request(
        command.Field.C_STORE, 7, sop_class=CT, sop_instance="1.2.3", priority=0, has_data=True
    )
    message = dimse_messages.C_STORE_RQ()
    message.command_set = dsutils.decode(io.BytesIO(data), True, True)
    primitive = message.message_to_primitive()
    assert (primitive.MessageID, str(primitive.AffectedSOPClassUID)) == (7, CT)
    assert as_data_set(data).CommandDataSetType == 1


@given(
    st.sampled_from([field for field in command.Field if field != command.Field.C_CANCEL]),
    st.integers(0, 65535),
    st.integers(0, 65535),
    st.booleans(),
)
def test_the_short_way_to_a_response_writes_what_the_long_one_does(
    field: command.Field, message_id: int, status: int, has_data: bool
) -> None:
    request = command.decode(command.request(field, message_id, sop_class=CT, sop_instance="1.2.34"))
    short = command.response(request, status, has_data=has_data)
    found = as_data_set(short)
    assert found.CommandGroupLength == len(short) - 12
    assert found.CommandField == field | 0x8000
    assert found.MessageIDBeingRespondedTo == message_id
    assert found.Status == status
    assert found.AffectedSOPClassUID == CT
    assert found.AffectedSOPInstanceUID == "1.2.34"
    assert (found.CommandDataSetType != 0x0101) == has_data
    values = {element.tag: element.value for element in found}
    assert list(values) == sorted(values)
    long = command.response(request, status, has_data=has_data, comment="why")
    commented = as_data_set(long)
    assert commented.ErrorComment == "why"
    assert {**values, 0x00000902: "why"}.keys() == {element.tag for element in commented}


def test_a_comment_is_cut_to_what_its_value_holds() -> None:
    request = command.decode(command.request(command.Field.C_ECHO, 1))
    found = command.decode(command.response(request, 0xC000, comment="ü" * 100))
    assert found.text(command.ERROR_COMMENT) == "?" * 64


def test_a_cancel_names_the_request() -> None:
    read = command.decode(command.cancel(9))
    assert (read.field, read.responded_to, read.has_data) == (command.Field.C_CANCEL, 9, False)


def test_numbers_and_texts_are_read_from_the_elements() -> None:
    read = command.decode(
        command.request(
            command.Field.C_MOVE,
            1,
            elements={
                command.MOVE_DESTINATION: command.text("DEST"),
                command.MOVE_ORIGINATOR_ID: command.us(5),
            },
        )
    )
    assert read.text(command.MOVE_DESTINATION) == "DEST"
    assert read.number(command.MOVE_ORIGINATOR_ID) == 5
    assert read.number(command.FAILED, 3) == 3
    with pytest.raises(errors.BadData, match="where a number belongs"):
        command.decode(command.request(command.Field.C_ECHO, 1, elements={command.FAILED: b"abcdef"})).number(
            command.FAILED
        )


@given(st.binary(max_size=200))
def test_garbage_is_bad_data_and_nothing_else(garbage: bytes) -> None:
    try:
        command.decode(garbage)
    except errors.BadData:
        return


@given(st.data())
def test_a_changed_byte_is_bad_data_or_a_command(data: st.DataObject) -> None:
    whole = bytearray(command.request(command.Field.C_STORE, 1, sop_class=CT, sop_instance="1.2.3"))
    whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        command.decode(bytes(whole))
    except errors.BadData:
        return


def test_more_than_64_kilobytes_are_not_looked_at() -> None:
    with pytest.raises(errors.BadData, match="at most 65536"):
        command.decode(bytes(65537))


@pytest.mark.parametrize("missing", [command.COMMAND_FIELD, command.DATA_SET_TYPE])
def test_what_every_command_has_is_missed(missing: int) -> None:
    elements = {command.COMMAND_FIELD: b"\x30\0", command.MESSAGE_ID: b"\1\0", command.DATA_SET_TYPE: b"\1\1"}
    del elements[missing]
    with pytest.raises(errors.BadData, match=f"0000,{missing:04X}"):
        command.decode(command.encode(elements))


def test_a_response_without_a_status_is_bad_data() -> None:
    elements = {
        command.COMMAND_FIELD: b"\x30\x80",
        command.MESSAGE_ID_RESPONDED_TO: b"\1\0",
        command.DATA_SET_TYPE: b"\1\1",
    }
    with pytest.raises(errors.BadData, match="without a status"):
        command.decode(command.encode(elements))
