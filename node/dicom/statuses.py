"""DIMSE status codes: their names, the words shown to people, and what a sender makes of them. A pure table.

The codes and ranges are those of PS3.7 Annex C and of the services in PS3.4.
"""

from __future__ import annotations

import enum

SUCCESS = 0x0000
CANCEL = 0xFE00
PENDING = 0xFF00
PENDING_WARNING = 0xFF01  # optional keys were not supported

# Any service (PS3.7 Annex C)
INVALID_ATTRIBUTE = 0x0106
ATTRIBUTE_LIST_ERROR = 0x0107
PROCESSING_FAILURE = 0x0110
DUPLICATE_INSTANCE = 0x0111
NO_SUCH_INSTANCE = 0x0112
NO_SUCH_EVENT = 0x0113
NO_SUCH_ARGUMENT = 0x0114
INVALID_ARGUMENT = 0x0115
INVALID_INSTANCE = 0x0117
NO_SUCH_CLASS = 0x0118
CLASS_INSTANCE_CONFLICT = 0x0119
MISSING_ATTRIBUTE = 0x0120
MISSING_VALUE = 0x0121
CLASS_NOT_SUPPORTED = 0x0122
NO_SUCH_ACTION = 0x0123
NOT_AUTHORIZED = 0x0124
DUPLICATE_TRANSACTION = 0x0131  # storage commitment's failure reason
DUPLICATE_INVOCATION = 0x0210
UNRECOGNIZED_OPERATION = 0x0211
MISTYPED_ARGUMENT = 0x0212
RESOURCE_LIMITATION = 0x0213

# Storage (PS3.4 B.2.3); queries and retrieval share some of these
OUT_OF_RESOURCES = 0xA700
DATA_SET_MISMATCH = 0xA900
COERCED = 0xB000
ELEMENTS_DISCARDED = 0xB006
CLASS_MISMATCH_STORED = 0xB007
CANNOT_UNDERSTAND = 0xC000

# Query and retrieval (PS3.4 C.4)
CANNOT_COUNT = 0xA701
CANNOT_SUBOPERATE = 0xA702
UNKNOWN_DESTINATION = 0xA801
SUBOPERATIONS_FAILED = 0xB000
RESPONSE_LIMIT = 0xB001  # there are more answers than are given at once

_NAMES = {
    0x0000: "success",
    0x0001: "optional attributes are not supported",
    0x0105: "no such attribute",
    0x0106: "invalid attribute value",
    0x0107: "some attributes were not recognized",
    0x0110: "processing failure",
    0x0111: "duplicate: the peer holds this instance already",
    0x0112: "no such object instance",
    0x0113: "no such event type",
    0x0114: "no such argument",
    0x0115: "invalid argument value",
    0x0116: "an attribute value is out of range",
    0x0117: "invalid object instance UID",
    0x0118: "no such SOP class",
    0x0119: "the SOP class is not this instance's",
    0x0120: "missing attribute",
    0x0121: "missing attribute value",
    0x0122: "the SOP class is not supported",
    0x0123: "no such action",
    0x0124: "not authorized",
    0x0131: "the transaction UID is in use already",
    0x0210: "duplicate message id",
    0x0211: "unrecognized operation",
    0x0212: "mistyped argument",
    0x0213: "resource limitation",
    0xA701: "out of resources: cannot count the matches",
    0xA702: "out of resources: cannot perform sub-operations",
    0xA801: "the move destination is not known to the peer",
    0xB000: "elements were coerced",
    0xB001: "there are more answers; the same or a narrower query gets them",
    0xB006: "elements were discarded",
    0xB007: "stored although the data set does not match its SOP class",
    0xFE00: "cancelled",
    0xFF00: "pending",
    0xFF01: "pending: some keys are not supported",
}
# What the same codes mean where a query or a retrieval is answered with them (PS3.4 C.4).
_RETRIEVAL = {
    0xA700: "out of resources",
    0xA900: "the identifier does not match the SOP class: a key is missing, or is not allowed there",
    0xB000: "some sub-operations failed or had warnings",
    0xC000: "the peer cannot process it",
}
_RANGES = (  # the first that holds the code
    (0xA700, 0xA7FF, "out of resources"),
    (0xA900, 0xA9FF, "the data set does not match its SOP class"),
    (0xA000, 0xAFFF, "failure"),
    (0xB000, 0xBFFF, "warning"),
    (0xC000, 0xCFFF, "the peer cannot understand the data set"),
)


class Kind(enum.StrEnum):
    """What a sender does after a C-STORE was answered with a status."""

    SUCCESS = "success"  # delivered
    WARNING = "warning"  # delivered, with a remark worth keeping
    RETRY = "retry"  # not delivered; the same may work later
    PERMANENT = "permanent"  # not delivered; the same will fail again


_WARNINGS = frozenset({0x0001, ATTRIBUTE_LIST_ERROR, 0x0116})

# What passes by itself: a full disk, a busy server, a cancelled operation. PROCESSING_FAILURE is what
# many archives say when their database is down.
_PASSING = frozenset({PROCESSING_FAILURE, DUPLICATE_INVOCATION, RESOURCE_LIMITATION, CANCEL})


def classify(status: int) -> Kind:
    """What a C-STORE's status means for its sender; a code that nobody defined is worth another try."""
    if status == SUCCESS:
        return Kind.SUCCESS
    # The peer has it: an earlier attempt was stored, and its answer was lost on the way.
    if status == DUPLICATE_INSTANCE:
        return Kind.WARNING
    if status in _WARNINGS or 0xB000 <= status <= 0xBFFF:
        return Kind.WARNING
    if status in _PASSING or 0xA700 <= status <= 0xA7FF:
        return Kind.RETRY
    if status in _NAMES or 0xA000 <= status <= 0xAFFF or 0xC000 <= status <= 0xCFFF:
        return Kind.PERMANENT
    return Kind.RETRY


def name(status: int, *, retrieval: bool = False) -> str:
    """The status in words, for people; with `retrieval`, as an answer to C-FIND, C-MOVE or C-GET."""
    known = _NAMES.get(status)
    if retrieval:
        # Archives say more with the last digits of these, and the standard leaves them free.
        known = _RETRIEVAL.get(status & 0xF000 if status >> 12 == 0xC else status, known)
    if known is not None:
        return known
    for low, high, words in _RANGES:
        if low <= status <= high:
            return words
    return "a status that the standard does not define"


def text(status: int, comment: str = "", *, retrieval: bool = False) -> str:
    """The status as it is shown: `0xA700 (out of resources): disk full`."""
    shown = f"0x{status:04X} ({name(status, retrieval=retrieval)})"
    return f"{shown}: {comment}" if comment else shown
