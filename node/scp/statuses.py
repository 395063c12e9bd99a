"""Which status a failure gets. The codes themselves are a pure table in `node.dicom.statuses`."""

from __future__ import annotations

from node import errors, receive
from node.dicom.statuses import (
    CANNOT_UNDERSTAND,
    DATA_SET_MISMATCH,
    DUPLICATE_INSTANCE,
    INVALID_INSTANCE,
    OUT_OF_RESOURCES,
    PROCESSING_FAILURE,
)

_FAULTS = {
    receive.Fault.MALFORMED: CANNOT_UNDERSTAND,
    receive.Fault.NOT_DICOM: CANNOT_UNDERSTAND,
    receive.Fault.MISSING_UID: CANNOT_UNDERSTAND,
    receive.Fault.WRONG_CLASS: DATA_SET_MISMATCH,
    receive.Fault.WRONG_INSTANCE: DATA_SET_MISMATCH,
    receive.Fault.TOO_LARGE: OUT_OF_RESOURCES,
    receive.Fault.CONFLICT: DUPLICATE_INSTANCE,
}


def of_store(error: errors.NodeError) -> int:
    """The status of a C-STORE that failed."""
    if isinstance(error, receive.Refused):
        if error.fault is receive.Fault.BAD_UID:
            # Without a tag it is the command's own UID; a bad one in the data set is the data set's fault.
            return INVALID_INSTANCE if error.tag is None else CANNOT_UNDERSTAND
        return _FAULTS[error.fault]
    if isinstance(error, errors.Transient):
        return OUT_OF_RESOURCES
    return PROCESSING_FAILURE
