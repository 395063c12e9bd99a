"""DIMSE command sets as bytes: group 0000, implicit VR little endian (PS3.7 annex E).

Written by hand because this is the hot path: a pynetdicom message with its data set costs
more than everything else that happens to a small instance.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Mapping
from typing import NamedTuple

from node import errors

MAX_LENGTH = 65536  # bytes of one command set; no real one comes near

NO_DATA_SET = 0x0101  # value of (0000,0800) that says that no data set follows
DATA_SET = 0x0001  # what we send when one does

GROUP_LENGTH = 0x00000000
AFFECTED_SOP_CLASS = 0x00000002
REQUESTED_SOP_CLASS = 0x00000003
COMMAND_FIELD = 0x00000100
MESSAGE_ID = 0x00000110
MESSAGE_ID_RESPONDED_TO = 0x00000120
MOVE_DESTINATION = 0x00000600
PRIORITY = 0x00000700
DATA_SET_TYPE = 0x00000800
STATUS = 0x00000900
OFFENDING_ELEMENT = 0x00000901
ERROR_COMMENT = 0x00000902
ERROR_ID = 0x00000903
AFFECTED_SOP_INSTANCE = 0x00001000
REQUESTED_SOP_INSTANCE = 0x00001001
EVENT_TYPE = 0x00001002
ATTRIBUTE_LIST = 0x00001005
ACTION_TYPE = 0x00001008
REMAINING = 0x00001020
COMPLETED = 0x00001021
FAILED = 0x00001022
WARNING = 0x00001023
MOVE_ORIGINATOR = 0x00001030
MOVE_ORIGINATOR_ID = 0x00001031


class Field(enum.IntEnum):
    """The command field of each request; the response has the highest bit set."""

    C_STORE = 0x0001
    C_GET = 0x0010
    C_FIND = 0x0020
    C_MOVE = 0x0021
    C_ECHO = 0x0030
    N_EVENT_REPORT = 0x0100
    N_GET = 0x0110
    N_SET = 0x0120
    N_ACTION = 0x0130
    N_CREATE = 0x0140
    N_DELETE = 0x0150
    C_CANCEL = 0x0FFF


RESPONSE = 0x8000  # the bit that makes a command field a response

_ELEMENT = struct.Struct("<HHI")
_US = struct.Struct("<H")
_UL = struct.Struct("<I")
# the elements of (almost) every response in one go: command field, responded-to, data set, status
_RESPONSE_HEAD = struct.Struct("<HHI H HHI H HHI H HHI H")
_EMPTY: Mapping[int, bytes] = {}


class Command(NamedTuple):
    """One command set, taken apart; a tuple because one is made for every message."""

    field: int  # what is asked or answered
    message_id: int  # of a request; 0 in a response
    responded_to: int  # of a response or a C-CANCEL; 0 in a request
    sop_class: str  # affected or requested SOP Class UID, "" when absent
    sop_instance: str  # affected or requested SOP Instance UID, "" when absent
    priority: int  # 0 medium, 1 high, 2 low
    status: int  # of a response; 0 in a request
    has_data: bool  # a data set follows
    elements: Mapping[int, bytes]  # every element as it came, by tag

    @property
    def is_response(self) -> bool:
        """Whether this answers a request."""
        return bool(self.field & RESPONSE)

    def text(self, tag: int) -> str:
        """The value of a text element without its padding, "" when absent."""
        return self.elements.get(tag, b"").decode("latin-1").strip(" \0")

    def number(self, tag: int, default: int = 0) -> int:
        """The value of a US or UL element."""
        value = self.elements.get(tag)
        if value is None:
            return default
        if len(value) not in (2, 4):
            raise errors.BadData(f"an element of {len(value)} bytes where a number belongs", tag=tag)
        return int.from_bytes(value, "little")


def decode(data: bytes | bytearray | memoryview) -> Command:
    """The command set in these bytes, or BadData."""
    data = bytes(data)
    end = len(data)
    if end > MAX_LENGTH:
        raise errors.BadData(f"a command set of {end} bytes; at most {MAX_LENGTH} are taken")
    elements: dict[int, bytes] = {}
    unpack = _ELEMENT.unpack_from
    offset = 0
    while offset < end:
        if end - offset < 8:
            raise errors.BadData("a command set that breaks off", offset=offset)
        group, element, length = unpack(data, offset)
        if group:
            raise errors.BadData("an element outside group 0000 in a command set", offset=offset)
        start = offset + 8
        offset = start + length
        if offset > end:
            raise errors.BadData("a command element longer than its command set", offset=start - 8)
        elements[element] = data[start:offset]
    return _command(elements)


def _command(elements: dict[int, bytes]) -> Command:
    get = elements.get
    try:
        field = _US.unpack(elements[COMMAND_FIELD])[0]
        data_set_type = _US.unpack(elements[DATA_SET_TYPE])[0]
        number = get(MESSAGE_ID)
        message_id = _US.unpack(number)[0] if number is not None else 0
        number = get(MESSAGE_ID_RESPONDED_TO)
        responded_to = _US.unpack(number)[0] if number is not None else 0
        number = get(PRIORITY)
        priority = _US.unpack(number)[0] if number is not None else 0
        number = get(STATUS)
        status = _US.unpack(number)[0] if number is not None else 0
    except KeyError as error:
        raise errors.BadData("a command set without this element", tag=error.args[0]) from None
    except struct.error:
        raise errors.BadData("a number of the command set has not two bytes") from None
    answers = field & RESPONSE or field == Field.C_CANCEL
    if (MESSAGE_ID_RESPONDED_TO if answers else MESSAGE_ID) not in elements:
        raise errors.BadData(f"command field {field:04X}h without a message id")
    if field & RESPONSE and STATUS not in elements:
        raise errors.BadData(f"command field {field:04X}h without a status")
    sop_class = get(AFFECTED_SOP_CLASS) or get(REQUESTED_SOP_CLASS) or b""
    sop_instance = get(AFFECTED_SOP_INSTANCE) or get(REQUESTED_SOP_INSTANCE) or b""
    return Command(
        field,
        message_id,
        responded_to,
        sop_class.rstrip(b"\0 ").decode("latin-1"),
        sop_instance.rstrip(b"\0 ").decode("latin-1"),
        priority,
        status,
        data_set_type != NO_DATA_SET,
        elements,
    )


def encode(elements: Mapping[int, bytes]) -> bytes:
    """A command set of these elements (tag -> value), padded, sorted, with its group length."""
    parts: list[bytes] = []
    for tag in sorted(elements):
        if tag != GROUP_LENGTH:
            value = elements[tag]
            if len(value) & 1:
                value += b"\0"
            parts.append(_ELEMENT.pack(0, tag, len(value)))
            parts.append(value)
    body = b"".join(parts)
    return _ELEMENT.pack(0, 0, 4) + _UL.pack(len(body)) + body


def us(value: int) -> bytes:
    """A US value."""
    return _US.pack(value)


def uid(value: str) -> bytes:
    """A UI value with its padding."""
    raw = value.encode("latin-1")
    return raw + b"\0" if len(raw) & 1 else raw


def text(value: str) -> bytes:
    """A text value (AE, LO) with its padding; what is not ASCII becomes a question mark."""
    raw = value.encode("ascii", "replace")
    return raw + b" " if len(raw) & 1 else raw


def request(
    field: int,
    message_id: int,
    *,
    sop_class: str = "",
    sop_instance: str = "",
    priority: int | None = None,
    has_data: bool = False,
    elements: Mapping[int, bytes] = _EMPTY,
) -> bytes:
    """A request; N-services other than N-EVENT-REPORT and N-CREATE name the requested instance."""
    requested = field in (Field.N_GET, Field.N_SET, Field.N_ACTION, Field.N_DELETE)
    all_elements = dict(elements)
    all_elements[COMMAND_FIELD] = _US.pack(field)
    all_elements[MESSAGE_ID] = _US.pack(message_id)
    all_elements[DATA_SET_TYPE] = _US.pack(DATA_SET if has_data else NO_DATA_SET)
    if sop_class:
        all_elements[REQUESTED_SOP_CLASS if requested else AFFECTED_SOP_CLASS] = uid(sop_class)
    if sop_instance:
        all_elements[REQUESTED_SOP_INSTANCE if requested else AFFECTED_SOP_INSTANCE] = uid(sop_instance)
    if priority is not None:
        all_elements[PRIORITY] = _US.pack(priority)
    return encode(all_elements)


# the elements of a C-STORE request between its SOP class and its instance: field, id, priority, data set
_STORE_MIDDLE = struct.Struct("<HHI H HHI H HHI H HHI H")


def store(
    message_id: int,
    sop_class: str,
    sop_instance: str,
    priority: int = 0,
    originator: tuple[str, int] | None = None,
) -> bytes:
    """The C-STORE request with its data set to come, which thousands of instances a second need.

    `originator` is the AE title and message id of the C-MOVE that it is a sub-operation of.
    """
    first, instance = uid(sop_class), uid(sop_instance)
    parts = [
        b"",
        _ELEMENT.pack(0, AFFECTED_SOP_CLASS, len(first)),
        first,
        _STORE_MIDDLE.pack(
            *(0, COMMAND_FIELD, 2, Field.C_STORE),
            *(0, MESSAGE_ID, 2, message_id),
            *(0, PRIORITY, 2, priority),
            *(0, DATA_SET_TYPE, 2, DATA_SET),
        ),
        _ELEMENT.pack(0, AFFECTED_SOP_INSTANCE, len(instance)),
        instance,
    ]
    if originator is not None:
        title = text(originator[0])
        parts += [
            _ELEMENT.pack(0, MOVE_ORIGINATOR, len(title)),
            title,
            _ELEMENT.pack(0, MOVE_ORIGINATOR_ID, 2),
            _US.pack(originator[1]),
        ]
    parts[0] = _ELEMENT.pack(0, 0, 4) + _UL.pack(sum(map(len, parts)))
    return b"".join(parts)


def cancel(message_id: int) -> bytes:
    """A C-CANCEL of the request with this message id."""
    return encode(
        {
            COMMAND_FIELD: _US.pack(Field.C_CANCEL),
            MESSAGE_ID_RESPONDED_TO: _US.pack(message_id),
            DATA_SET_TYPE: _US.pack(NO_DATA_SET),
        }
    )


def response(
    to: Command,
    status: int,
    *,
    has_data: bool = False,
    comment: str = "",
    elements: Mapping[int, bytes] = _EMPTY,
) -> bytes:
    """The answer to a request, naming its SOP class and instance as it did."""
    get = to.elements.get
    sop_class = get(AFFECTED_SOP_CLASS) or get(REQUESTED_SOP_CLASS) or b""
    sop_instance = get(AFFECTED_SOP_INSTANCE) or get(REQUESTED_SOP_INSTANCE) or b""
    if comment or elements:
        more = dict(elements)
        if comment:
            more[ERROR_COMMENT] = text(comment[:64])
        more[COMMAND_FIELD] = _US.pack(to.field | RESPONSE)
        more[MESSAGE_ID_RESPONDED_TO] = _US.pack(to.message_id)
        more[DATA_SET_TYPE] = _US.pack(DATA_SET if has_data else NO_DATA_SET)
        more[STATUS] = _US.pack(status)
        if sop_class:
            more.setdefault(AFFECTED_SOP_CLASS, sop_class)
        if sop_instance:
            more.setdefault(AFFECTED_SOP_INSTANCE, sop_instance)
        return encode(more)
    # The plain answer, which thousands of instances a second get.
    head = _RESPONSE_HEAD.pack(
        *(0, COMMAND_FIELD, 2, to.field | RESPONSE),
        *(0, MESSAGE_ID_RESPONDED_TO, 2, to.message_id),
        *(0, DATA_SET_TYPE, 2, DATA_SET if has_data else NO_DATA_SET),
        *(0, STATUS, 2, status),
    )
    if len(sop_class) & 1:
        sop_class += b"\0"
    if len(sop_instance) & 1:
        sop_instance += b"\0"
    parts = [b"", head]
    if sop_class:
        parts[1:1] = [_ELEMENT.pack(0, AFFECTED_SOP_CLASS, len(sop_class)), sop_class]
    if sop_instance:
        parts += [_ELEMENT.pack(0, AFFECTED_SOP_INSTANCE, len(sop_instance)), sop_instance]
    length = sum(map(len, parts))
    parts[0] = _ELEMENT.pack(0, 0, 4) + _UL.pack(length)
    return b"".join(parts)
