"""The keys of a query as people write them: `PatientName=DOE*`, `date=-7d..today`, `modality=CT`."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable

from node import errors, model
from node.dicom import identifier, match, uids
from node.dicom import vr as vrs
from node.send import query

STEP = "ScheduledProcedureStepSequence"

# Short forms in every model, then those that depend on what is asked for.
_SHORT = {
    "name": "PatientName",
    "patient": "PatientName",
    "id": "PatientID",
    "birthdate": "PatientBirthDate",
    "sex": "PatientSex",
    "accession": "AccessionNumber",
    "referring": "ReferringPhysicianName",
    "study": "StudyInstanceUID",
    "series": "SeriesInstanceUID",
    "instance": "SOPInstanceUID",
    "date": "StudyDate",
    "time": "StudyTime",
    "description": "StudyDescription",
    "modality": "ModalitiesInStudy",
}
_SHORT_BELOW = {"modality": "Modality", "description": "SeriesDescription", "number": "SeriesNumber"}
_SHORT_WORKLIST = {
    "date": f"{STEP}.ScheduledProcedureStepStartDate",
    "time": f"{STEP}.ScheduledProcedureStepStartTime",
    "modality": f"{STEP}.Modality",
    "station": f"{STEP}.ScheduledStationAETitle",
    "description": f"{STEP}.ScheduledProcedureStepDescription",
    "performer": f"{STEP}.ScheduledPerformingPhysicianName",
}
# What stands in the step of a worklist's entry, so that nobody has to write the sequence's name.
_IN_STEP = frozenset(
    {
        "Modality",
        "ScheduledStationAETitle",
        "ScheduledStationName",
        "ScheduledProcedureStepStartDate",
        "ScheduledProcedureStepStartTime",
        "ScheduledProcedureStepEndDate",
        "ScheduledProcedureStepEndTime",
        "ScheduledPerformingPhysicianName",
        "ScheduledProcedureStepDescription",
        "ScheduledProcedureStepLocation",
        "ScheduledProcedureStepID",
        "ScheduledProcedureStepStatus",
        "ScheduledProtocolCodeSequence",
    }
)

Path = tuple[str, ...]  # keywords from the outermost sequence to the element


def parse(
    words: Iterable[str],
    root: query.Root,
    level: model.Level | None,
    *,
    today: datetime.date | None = None,
) -> dict[Path, str | None]:
    """The keys in the order they were given; a name without a value, or with an empty one, is only answered.

    Raises UsageError for an element that does not exist, or a value that it cannot have.
    """
    found: dict[Path, str | None] = {}
    for word in words:
        written, sign, value = word.partition("=")
        if sign and not written.strip():
            raise errors.UsageError(f"{word!r} has no name: write KEY=VALUE, such as PatientName='DOE*'")
        path = _path(written.strip(), root, level)
        if path in found and found[path] is not None:
            raise errors.UsageError(
                f"{'.'.join(path)} is given twice; several UIDs are joined with a backslash"
            )
        found[path] = _value(path, value.strip(), today or datetime.date.today()) or None  # noqa: DTZ011
    return found


def fields(keys: Iterable[tuple[Path, str | None]]) -> identifier.Fields:
    """The keys as an identifier; a sequence has one item, as a query must have it."""
    made: identifier.Fields = {}
    for path, value in keys:
        within = made
        for keyword in path[:-1]:
            items = within.setdefault(keyword, [{}])
            if not isinstance(items, list):
                raise errors.UsageError(f"{keyword} is asked for by itself and for what is in it: choose one")
            within = items[0]
        if within.get(path[-1]) is None:
            within[path[-1]] = value
    return made


def default_level(keys: Iterable[Path], root: query.Root) -> model.Level | None:
    """The innermost level whose unique key has a value; a study where none has."""
    if root is query.Root.WORKLIST:
        return None
    named = set(keys)
    for level in reversed(root.levels()):
        if (model.UNIQUE[level],) in named:
            return level
    return root.levels()[0]


def _path(written: str, root: query.Root, level: model.Level | None) -> Path:
    short = dict(_SHORT)
    if root is query.Root.WORKLIST:
        short |= _SHORT_WORKLIST
    elif level in (model.Level.SERIES, model.Level.IMAGE):
        short |= _SHORT_BELOW
    expanded = short.get(written, written)
    path = tuple(_keyword(part.strip()) for part in expanded.split("."))
    if root is query.Root.WORKLIST and path[0] in _IN_STEP:
        path = (STEP, *path)
    for keyword in path[:-1]:
        if vrs.of(identifier.tag_of(keyword)) not in ("SQ", "UN"):
            raise errors.UsageError(f"{keyword} in {written!r} is no sequence: nothing is in it")
    return path


def _keyword(part: str) -> str:
    """The key of a part, by keyword in any case or by tag."""
    if part in vrs.keywords():
        return part
    digits = part.strip("()").replace(",", "")
    if re.fullmatch(r"[0-9A-Fa-f]{8}", digits):
        return identifier.name(int(digits, 16))
    folded = part.casefold()
    for known in vrs.keywords():
        if known.casefold() == folded:
            return known
    raise errors.UsageError(f"there is no element {part!r}{vrs.nearest(part)}")


def _value(path: Path, value: str, today: datetime.date) -> str:
    if not value:
        return ""
    keyword = path[-1]
    vr = vrs.of(identifier.tag_of(keyword))
    if vr == "SQ":
        raise errors.UsageError(f"{keyword} is a sequence: write {keyword}.KEY={value}")
    if vr == "DA":
        value = dates(value, today)
    if vr == "UI" and value != "*" and not all(uids.valid(uid) for uid in value.split("\\")):
        raise errors.UsageError(f"{keyword}={value}: that is no UID, nor several with backslashes between")
    if vr not in ("UN", "AT") and keyword != "SpecificCharacterSet":
        try:
            match.matcher(vr, value)
        except errors.UsageError as error:
            raise errors.UsageError(f"{keyword}={value}: {error}") from error
    return value


_DAY = re.compile(
    r"(?P<word>today|yesterday)|(?P<days>[+-]\d{1,5})(?P<unit>[dwmy])|(?P<date>\d{4}-\d\d-\d\d)"
)
_UNITS = {"d": 1, "w": 7, "m": 30, "y": 365}


def dates(value: str, today: datetime.date) -> str:
    """A day or a range in DICOM's form: `today`, `-7d..today`, `2026-11-01..`, `20261101-20261130`."""
    if ".." in value:
        low, _, high = value.partition("..")
        return f"{_day(low.strip(), today)}-{_day(high.strip(), today)}"
    return _day(value, today)


def _day(text: str, today: datetime.date) -> str:
    found = _DAY.fullmatch(text)
    if found is None:
        return text  # as DICOM writes it, or wrong, which is told when the whole value is looked at
    if found["word"]:
        day = today - datetime.timedelta(days=found["word"] == "yesterday")
    elif found["days"]:
        day = today + datetime.timedelta(days=int(found["days"]) * _UNITS[found["unit"]])
    else:
        try:
            day = datetime.date.fromisoformat(found["date"])
        except ValueError as error:
            raise errors.UsageError(f"{text!r} is not a day: {error}") from error
    return f"{day:%Y%m%d}"
