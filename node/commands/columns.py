"""What the answers to a query show: what is asked for beside the keys, and what stands above it."""

from __future__ import annotations

from collections.abc import Sequence

from node import model
from node.dicom import identifier
from node.send import keys, query

# What is answered without being asked for: enough to know what one has before oneself.
DEFAULTS: dict[model.Level | None, list[str]] = {
    model.Level.PATIENT: ["PatientName", "PatientID", "PatientBirthDate", "PatientSex"],
    model.Level.STUDY: [
        "PatientName",
        "PatientID",
        "StudyDate",
        "StudyTime",
        "ModalitiesInStudy",
        "StudyDescription",
        "AccessionNumber",
        "NumberOfStudyRelatedInstances",
        "StudyInstanceUID",
    ],
    model.Level.SERIES: [
        "SeriesNumber",
        "Modality",
        "SeriesDescription",
        "BodyPartExamined",
        "NumberOfSeriesRelatedInstances",
        "SeriesInstanceUID",
    ],
    model.Level.IMAGE: ["InstanceNumber", "SOPClassUID", "SOPInstanceUID"],
    None: [
        "PatientName",
        "PatientID",
        "AccessionNumber",
        f"{keys.STEP}.ScheduledProcedureStepStartDate",
        f"{keys.STEP}.ScheduledProcedureStepStartTime",
        f"{keys.STEP}.Modality",
        f"{keys.STEP}.ScheduledStationAETitle",
        f"{keys.STEP}.ScheduledProcedureStepDescription",
        f"{keys.STEP}.ScheduledProcedureStepID",
        "RequestedProcedureID",
        "RequestedProcedureDescription",
        "StudyInstanceUID",
    ],
}


def with_defaults(
    asked: dict[keys.Path, str | None], root: query.Root, level: model.Level | None
) -> list[tuple[keys.Path, str | None]]:
    """The keys among what is always answered, the UID last."""
    paths = [tuple(name.split(".")) for name in DEFAULTS[level]]
    if root is query.Root.PATIENT and level not in (None, model.Level.PATIENT):
        paths.insert(0, ("PatientID",))
    last = [paths.pop()] if paths[-1][-1].endswith("UID") else []
    order = dict.fromkeys([*paths, *(path for path in asked if path not in last), *last])
    return [(path, asked.get(path)) for path in order]


def column(path: keys.Path) -> str:
    """What stands above a column of this key."""
    return _HEADINGS.get(path[-1], path[-1])


_HEADINGS = {
    "PatientName": "patient",
    "PatientID": "id",
    "PatientBirthDate": "born",
    "PatientSex": "sex",
    "StudyDate": "date",
    "StudyTime": "time",
    "ModalitiesInStudy": "modality",
    "Modality": "modality",
    "StudyDescription": "description",
    "SeriesDescription": "description",
    "ScheduledProcedureStepDescription": "description",
    "AccessionNumber": "accession",
    "NumberOfStudyRelatedInstances": "images",
    "NumberOfSeriesRelatedInstances": "images",
    "SeriesNumber": "no",
    "InstanceNumber": "no",
    "BodyPartExamined": "body part",
    "StudyInstanceUID": "study",
    "SeriesInstanceUID": "series",
    "SOPInstanceUID": "instance",
    "SOPClassUID": "class",
    "ScheduledProcedureStepStartDate": "date",
    "ScheduledProcedureStepStartTime": "time",
    "ScheduledStationAETitle": "station",
    "ScheduledProcedureStepID": "step",
    "RequestedProcedureID": "procedure",
    "RequestedProcedureDescription": "requested",
}


def values(answer: identifier.Fields, paths: Sequence[keys.Path]) -> list[str | None]:
    """What an answer says to each path; several items' values are joined."""
    return [_found(answer, path) for path in paths]


def _found(within: identifier.Fields, path: keys.Path) -> str | None:
    value = within.get(path[0])
    if len(path) == 1:
        if isinstance(value, list):
            return f"{len(value)} item{'s' * (len(value) != 1)}"
        return value
    if not isinstance(value, list):
        return None
    several = [text for item in value if (text := _found(item, path[1:])) is not None]
    return "\\".join(several) if several else None
