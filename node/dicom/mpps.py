"""The rules of the Modality Performed Procedure Step (PS3.4 F.7.2): what may be created, changed, and ended.

Pure: a data set goes in, the data set to keep comes out, or `Refused` with what is wrong. What the standard
wants at least empty (type 2) may be absent, for modalities leave much of it out and nothing here needs it.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable

from node import errors
from node.dicom import identifier, uids, values
from node.dicom import vr as vrs

SOP_CLASS = "1.2.840.10008.3.1.2.3.3"
RETRIEVE = "1.2.840.10008.3.1.2.3.4"  # the same steps, to be read

STATUS = "PerformedProcedureStepStatus"
SCHEDULED = "ScheduledStepAttributesSequence"
SERIES = "PerformedSeriesSequence"
_REFERENCES = ("ReferencedImageSequence", "ReferencedNonImageCompositeSOPInstanceSequence")

# Table F.7.2-1: what must have a value at N-CREATE ...
_AT_CREATION = (
    SCHEDULED,
    "PerformedProcedureStepID",
    "PerformedStationAETitle",
    "PerformedProcedureStepStartDate",
    "PerformedProcedureStepStartTime",
    STATUS,
    "Modality",
)
# ... and beside it when the step ends,
_AT_THE_END = ("PerformedProcedureStepEndDate", "PerformedProcedureStepEndTime", SERIES)
_OF_SERIES = ("ProtocolName", "SeriesInstanceUID")
# and what N-SET may not change.
_FIXED = frozenset({
    SCHEDULED,
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "ReferencedPatientSequence",
    "PerformedProcedureStepID",
    "PerformedStationAETitle",
    "PerformedStationName",
    "PerformedLocation",
    "PerformedProcedureStepStartDate",
    "PerformedProcedureStepStartTime",
    "Modality",
    "StudyID",
})  # fmt: skip


class State(enum.StrEnum):
    """How far a step is: the values of Performed Procedure Step Status."""

    IN_PROGRESS = "IN PROGRESS"  # images may still be made
    COMPLETED = "COMPLETED"  # it ended as it was meant to
    DISCONTINUED = "DISCONTINUED"  # it ended before that

    @property
    def final(self) -> bool:
        """Whether it cannot change any more."""
        return self is not State.IN_PROGRESS


class Fault(enum.Enum):
    """What is wrong with a request."""

    MISSING = enum.auto()  # an attribute that must be there is not
    EMPTY = enum.auto()  # an attribute that must have a value has none
    INVALID = enum.auto()  # an attribute has a value that it cannot have, or that may not change
    ENDED = enum.auto()  # the step is completed or discontinued, and nothing of it changes any more


class Refused(errors.Permanent):
    """The request breaks a rule; its sentence goes to the log, so that it names elements and no values."""

    def __init__(self, fault: Fault, why: str, keys: Iterable[str] = ()) -> None:
        super().__init__(why)
        self.fault = fault  # which kind of rule
        self.keys = tuple(keys)  # the attributes that it is about, of the outermost level


def create(asked: identifier.Fields) -> identifier.Fields:
    """What is kept of an N-CREATE."""
    kept = _kept(asked)
    _need(kept, _AT_CREATION)
    for item in _items(kept, SCHEDULED):
        _need(item, ("StudyInstanceUID",), SCHEDULED)
        _check_uid(item, "StudyInstanceUID", SCHEDULED)
    if state_of(kept) is not State.IN_PROGRESS:
        raise Refused(
            Fault.INVALID, f"a step is created {State.IN_PROGRESS}, not {kept[STATUS]!r}", (STATUS,)
        )
    _check(kept)
    return kept


def change(held: identifier.Fields, asked: identifier.Fields) -> identifier.Fields:
    """What a step says after an N-SET; a sequence that is given takes the place of the one that was."""
    if state_of(held).final:
        raise Refused(Fault.ENDED, "Performed Procedure Step Object may no longer be updated")
    new = _kept(asked)
    # Modalities repeat what they said at the beginning; only what would be another value is a change.
    other = sorted(key for key in new if key in _FIXED and (new[key] or None) != (held.get(key) or None))
    if other:
        raise Refused(Fault.INVALID, f"{', '.join(other)[:200]} cannot change after the N-CREATE", other)
    if identifier.CHARSET in held:
        new.pop(identifier.CHARSET, None)
    if STATUS in new:
        _need(new, (STATUS,))
    changed = held | {key: value for key, value in new.items() if key not in _FIXED}
    state = state_of(changed)
    _check(changed)
    if state.final:
        _need(changed, _AT_THE_END)
        for item in _items(changed, SERIES):
            _need(item, _OF_SERIES, SERIES)
    return changed


def state_of(fields: identifier.Fields) -> State:
    """How far a step is by its own words."""
    try:
        return State(str(fields.get(STATUS)))
    except ValueError:
        why = f"a step's status is one of {', '.join(State)}"
        raise Refused(Fault.INVALID, why, (STATUS,)) from None


# -- checks -----------------------------------------------------------------------------------------


def _kept(asked: identifier.Fields) -> identifier.Fields:
    """The fields without private ones, whose meaning and form nobody here knows."""
    kept: identifier.Fields = {}
    for key, value in asked.items():
        if identifier.private(key):
            continue
        try:
            sequence = vrs.of(identifier.tag_of(key)) == "SQ"
        except errors.UsageError as error:
            raise Refused(Fault.INVALID, str(error)) from None
        if value and sequence != isinstance(value, list):
            what = "a sequence" if sequence else "no sequence"
            raise Refused(Fault.INVALID, f"{key} is {what}", (key,))
        kept[key] = [_kept_item(item, key) for item in value] if isinstance(value, list) else value
    return kept


def _kept_item(item: identifier.Fields, within: str) -> identifier.Fields:
    try:
        return _kept(item)
    except Refused as refused:
        raise Refused(refused.fault, f"{within}: {refused}", (within,)) from None


def _need(fields: identifier.Fields, keys: Iterable[str], within: str = "") -> None:
    """Refuse when one of the keys is missing or has no value."""
    where = f" in an item of {within}" if within else ""
    missing = [key for key in keys if key not in fields]
    if missing:
        raise Refused(Fault.MISSING, f"{', '.join(missing)} missing{where}", (within,) if within else missing)
    empty = [key for key in keys if not _has_value(fields[key])]
    if empty:
        raise Refused(
            Fault.EMPTY, f"{', '.join(empty)} without a value{where}", (within,) if within else empty
        )


def _has_value(value: identifier.Value) -> bool:
    return bool(value.strip(" \\\0") if isinstance(value, str) else value)


def _check(fields: identifier.Fields) -> None:
    """Refuse values that could not be used later."""
    for end in ("Start", "End"):
        for kind, vr in (("Date", "DA"), ("Time", "TM")):
            key = f"PerformedProcedureStep{end}{kind}"
            if not _fits(fields.get(key), vr):
                raise Refused(Fault.INVALID, f"{key} is no {kind.lower()}", (key,))
    for item in _items(fields, SERIES):
        _check_uid(item, "SeriesInstanceUID", SERIES)
        for references in _REFERENCES:
            for one in _items(item, references):
                _need(one, ("ReferencedSOPClassUID", "ReferencedSOPInstanceUID"), SERIES)
                _check_uid(one, "ReferencedSOPInstanceUID", SERIES)


def _fits(value: identifier.Value, vr: str) -> bool:
    """Whether a value is one that its VR can have, in the forms of before 1993 too."""
    if not value:
        return True
    try:
        values.encode(str(value).replace("." if vr == "DA" else ":", ""), vr)
    except values.BadValue:
        return False
    return True


def _check_uid(fields: identifier.Fields, key: str, within: str) -> None:
    value = fields.get(key)
    if value and not (isinstance(value, str) and uids.valid(value)):
        raise Refused(Fault.INVALID, f"{key} in {within} is no UID", (within,))


def _items(fields: identifier.Fields, key: str) -> list[identifier.Fields]:
    value = fields.get(key)
    return value if isinstance(value, list) else []
