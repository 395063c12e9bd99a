"""Worklist entries: what one must say, how it is written as JSON, and how a query selects and answers.

An entry is `identifier.Fields` with exactly one scheduled procedure step. Pure: no file and no table.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import re
from collections.abc import Iterator, Mapping

from node import errors
from node.dicom import charset as charsets
from node.dicom import identifier, match, mpps, uids, values
from node.dicom import vr as vrs

SOP_CLASS = "1.2.840.10008.5.1.4.31"  # Modality Worklist Information Model - FIND
STEP = "ScheduledProcedureStepSequence"
STATUS = "ScheduledProcedureStepStatus"
LARGEST = 256 << 10  # bytes of one entry, as a file or as JSON

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?")
_NOT_PLAIN = re.compile(r"[^A-Za-z0-9._-]")
_DEEPEST = 8  # items within each other
_MOST = 2000  # elements of one entry

# What an entry that is added here must say; modalities cannot work with less.
_NEEDED = ("PatientName", "PatientID")
_NEEDED_OF_STEP = ("Modality", "ScheduledProcedureStepStartDate")

# What a scheduled step is called once a modality works on it.
_SHOWN = {
    mpps.State.IN_PROGRESS: "STARTED",
    mpps.State.COMPLETED: "COMPLETED",
    mpps.State.DISCONTINUED: "DISCONTINUED",
}


class Unfit(errors.UsageError):
    """A value that an entry cannot have."""

    def __init__(self, place: str, why: str, discreet: str) -> None:
        super().__init__(f"{place}{why}")
        self.discreet = f"{place}{discreet}"  # for logs: the value may be a patient's


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """One line of the worklist."""

    name: str  # what the API, or the file, calls it
    fields: identifier.Fields  # everything it says, one scheduled step in it

    @property
    def study(self) -> str:
        """Study Instance UID."""
        return text(self.fields, "StudyInstanceUID")

    @property
    def step(self) -> identifier.Fields:
        """Its scheduled procedure step."""
        items = self.fields.get(STEP)
        return items[0] if isinstance(items, list) and items else {}

    @property
    def step_id(self) -> str:
        """Scheduled Procedure Step ID."""
        return text(self.step, "ScheduledProcedureStepID")

    @property
    def order(self) -> tuple[str, ...]:
        """Sorts by when it begins; the same every time."""
        step = self.step
        begins = ("ScheduledProcedureStepStartDate", "ScheduledProcedureStepStartTime")
        return (*(text(step, key) for key in (*begins, "ScheduledStationAETitle")), self.name)


def text(fields: Mapping[str, identifier.Value], key: str) -> str:
    """The text of an element without outer spaces, "" where there is none."""
    value = fields.get(key)
    return value.strip(" ") if isinstance(value, str) else ""


def split(name: str, fields: identifier.Fields) -> list[Entry]:
    """An entry for each scheduled step of a data set, for each answer has one (PS3.4 K.6.1.2)."""
    items = fields.get(STEP)
    if not isinstance(items, list) or not items:
        raise errors.BadData(f"it has no {STEP}, so it is no worklist entry")
    if len(items) == 1:
        return [Entry(name, fields)]
    return [Entry(f"{name}#{number}", fields | {STEP: [item]}) for number, item in enumerate(items, 1)]


# -- queries ----------------------------------------------------------------------------------------


class Question:
    """A query of the worklist, understood once and put to every entry."""

    def __init__(self, asked: identifier.Fields, *, fuzzy: bool = False) -> None:
        """Raises UsageError for a key that its VR cannot have."""
        self.asked, self.partial = _known(asked)  # without what is not supported; whether there was any
        status = _status_key(self.asked)
        # The status is what modalities report, so it is looked at once the rest matches.
        self._status = match.matcher("CS", status) if status else None
        # A range of days and one of times are a range of moments (PS3.4 K.6.1.2.2).
        self._matches = match.fields(_selecting(self.asked), fuzzy=fuzzy, together=True)

    def matches(self, entry: Entry) -> bool:
        """Whether an entry is meant, whatever its status is."""
        return self._matches(entry.fields)

    def wants(self, status: str) -> bool:
        """Whether entries of this status are meant."""
        return self._status is None or self._status(status)

    def answer(self, entry: Entry) -> identifier.Fields:
        """What was asked for of an entry; what it does not say is there without a value."""
        found = _chosen(entry.fields, self.asked)
        charset = identifier.terms(entry.fields)
        if charset:
            found[identifier.CHARSET] = charset
        return found


def progressed(entry: Entry, states: frozenset[mpps.State]) -> Entry:
    """The entry with the status that the steps modalities report give it."""
    reached = reached_of(states)
    if reached is None:
        return entry
    return Entry(entry.name, entry.fields | {STEP: [entry.step | {STATUS: _SHOWN[reached]}]})


def reached_of(states: frozenset[mpps.State]) -> mpps.State | None:
    """How far a scheduled step is that several performed steps answer to; nothing: not begun."""
    for state in (mpps.State.COMPLETED, mpps.State.IN_PROGRESS, mpps.State.DISCONTINUED):
        if state in states:
            return state
    return None


def _known(asked: identifier.Fields) -> tuple[identifier.Fields, bool]:
    """The keys without those that an entry cannot hold, and whether there are such."""
    known: identifier.Fields = {}
    partial = False
    for key, value in asked.items():
        if key not in vrs.keywords():
            partial = True
            continue
        if isinstance(value, list):
            inner = [_known(item) for item in value]
            known[key] = [item for item, _ in inner]
            partial = partial or any(one for _, one in inner)
        else:
            known[key] = value
    return known, partial


def _status_key(asked: identifier.Fields) -> str:
    items = asked.get(STEP)
    key = text(items[0], STATUS) if isinstance(items, list) and items else ""
    return "" if match.universal(key) else key


def _selecting(asked: identifier.Fields, within: str = "") -> identifier.Fields:
    """The keys that select by themselves: without those that match everything, and without the status."""
    found: identifier.Fields = {}
    for key, value in asked.items():
        if isinstance(value, list):
            found[key] = [_selecting(item, key) for item in value]
        elif value and not match.universal(value) and (within, key) != (STEP, STATUS):
            found[key] = value
    return found


def _chosen(held: identifier.Fields, asked: identifier.Fields) -> identifier.Fields:
    found: identifier.Fields = {}
    for key, wanted in asked.items():
        if key in match.NEVER_KEYS and not held.get(key):
            continue
        value = held.get(key)
        if isinstance(value, list):
            items = wanted[0] if isinstance(wanted, list) and wanted else {}
            # A sequence that is asked for without saying what of it is given whole.
            value = [_chosen(item, items) for item in value] if items else value
        elif vrs.of(vrs.keywords()[key]) == "SQ":
            value = []
        found[key] = value
    return found


# -- entries that are added here --------------------------------------------------------------------


def check_name(name: str) -> str:
    """The name of an entry, or UsageError."""
    if not _NAME.fullmatch(name) or ".." in name:
        raise errors.UsageError(
            f"{name[:80]!r} names no entry: use letters, digits, `.`, `_` and `-`, at most 64"
        )
    return name


def read_json(data: bytes | str) -> identifier.Fields:
    """An entry from JSON: keywords or GGGGEEEE to text, null, or a list of such objects; or UsageError."""
    if len(data) > LARGEST:
        raise errors.UsageError(f"an entry of {len(data)} bytes; {LARGEST} are the most")
    try:
        found = json.loads(data, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise errors.UsageError(f"this is no JSON: {_sentence(error)}") from None
    if not isinstance(found, dict):
        raise errors.UsageError('an entry is an object, as in {"PatientName": "Doe^Jane", ...}')
    count = sum(1 for _ in _walk(found, "", 1))
    if count > _MOST:
        raise errors.UsageError(f"an entry of {count} elements; {_MOST} are the most")
    return found


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    if len({key for key, _ in pairs}) != len(pairs):
        raise ValueError("an element stands there twice")
    return dict(pairs)


def _sentence(error: Exception) -> str:
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)


def _walk(item: object, path: str, depth: int) -> Iterator[str]:
    """The places of all elements, or UsageError at one that is none."""
    if not isinstance(item, dict):
        raise errors.UsageError(f"{path}: an item of a sequence is an object")
    if depth > _DEEPEST:
        raise errors.UsageError(f"{path}: more than {_DEEPEST} items within each other")
    for key, value in item.items():
        here = f"{path}.{key}" if path else str(key)
        yield here
        vr = vrs.of(identifier.tag_of(key))
        if isinstance(value, list) != (vr == "SQ" and value is not None):
            what = "a sequence: give a list of objects" if vr == "SQ" else "no sequence: give text, or null"
            raise errors.UsageError(f"{here} is {what}")
        if isinstance(value, list):
            for inner in value:
                yield from _walk(inner, here, depth + 1)
        elif value is not None and not isinstance(value, str):
            advice = ": write numbers as text, in quotes"
            raise Unfit(here, f" = {json.dumps(value)[:40]}{advice}", advice)


def checked(fields: identifier.Fields, name: str, study: str = "") -> Entry:
    """An entry that modalities can work with, with the UID and ids that it needs; or UsageError.

    `study` is the Study Instance UID of one that has none; without it, that is a new one.
    """
    items = fields.get(STEP)
    if not isinstance(items, list) or len(items) != 1:
        raise errors.UsageError(f"an entry has one scheduled step: give {STEP} with one object in it")
    missing = [key for key in _NEEDED if not text(fields, key)]
    missing += [f"{STEP}.{key}" for key in _NEEDED_OF_STEP if not text(items[0], key)]
    if missing:
        raise errors.UsageError(f"an entry needs {', '.join(missing)}")
    _check_values(fields, "")
    # The text is Unicode; this is the set in which who names none is answered.
    charset = identifier.terms(fields)
    if not charsets.known(tuple(charset.split("\\")) if charset else ()):
        raise errors.UsageError(f"{identifier.CHARSET} {charset[:64]!r} is no character set")
    step = dict(items[0])
    own = _NOT_PLAIN.sub("-", pathlib.PurePath(name).stem)[:16]
    # What the standard wants to have a value in every answer, and whoever adds the entry may not know.
    step.setdefault("ScheduledProcedureStepStartTime", "000000")
    step["ScheduledProcedureStepID"] = text(step, "ScheduledProcedureStepID") or own
    whole = fields | {STEP: [step]}
    whole["StudyInstanceUID"] = text(fields, "StudyInstanceUID") or study or uids.new()
    whole["RequestedProcedureID"] = text(fields, "RequestedProcedureID") or own
    return Entry(name, whole)


def _check_values(fields: identifier.Fields, path: str) -> None:
    for key, value in fields.items():
        here = f"{path}.{key}" if path else key
        if isinstance(value, list):
            for item in value:
                _check_values(item, here)
        elif value and key != identifier.CHARSET:
            vr = vrs.of(identifier.tag_of(key))
            if vr in values.BYTES_VRS or vr == "AT":
                raise errors.UsageError(f"{here} is bytes or a tag ({vr}), which no worklist entry has")
            try:
                values.encode(value, vr, sets=(charsets.UTF8,))
            except values.BadValue as error:
                raise Unfit(f"{here}: ", str(error), error.discreet) from None
            except charsets.Unencodable:
                raise errors.UsageError(f"{here}: it has half a character") from None
