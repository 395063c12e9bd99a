"""Which attribute of a query is in which column, and how it is matched (PS3.4 C.2.2.2, C.6; PS3.18 10.6)."""

from __future__ import annotations

import dataclasses
import enum
import functools
from collections.abc import Mapping
from typing import Any

import sqlalchemy

from node import model
from node.index import tables


class Kind(enum.Enum):
    """How a key is compared."""

    UID = "uid"  # one of a list of UIDs
    TEXT = "text"  # wildcards, with case
    TEXTS = "texts"  # any of several values, wildcards, with case
    NAME = "name"  # wildcards, without case, by component group
    NAMES = "names"  # any of several names
    DATE = "date"  # a day, or a range
    TIME = "time"  # a time of day, or a range
    NUMBER = "number"  # one of a list of whole numbers
    DECIMAL = "decimal"  # one of a list of numbers
    DECIMALS = "decimals"  # any of several numbers
    SHOWN = "shown"  # only answered, never matched


@dataclasses.dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute that the index answers."""

    level: model.Level  # where it belongs
    kind: Kind  # how it is compared
    column: sqlalchemy.Column[Any]  # what is answered, and compared
    folded: tuple[
        sqlalchemy.Column[Any], ...
    ] = ()  # NAME: the folded forms, one per component group or of all
    vr: str = ""  # its value representation, where the kind leaves it open
    zone: sqlalchemy.Column[Any] | None = None  # DATE and TIME: what says the time zone that they are in
    hashed: sqlalchemy.Column[Any] | None = None  # UID: words.uid_hash of it, which has the index

    @property
    def narrow(self) -> bool:
        """Whether an index leads from its value to few rows."""
        columns = (self.column, *self.folded)
        return self.hashed is not None or any(one.name in _leading(one.table) for one in columns)


@dataclasses.dataclass(frozen=True, slots=True)
class Sequence:
    """A sequence whose items are rows of a table of their own."""

    level: model.Level  # where it belongs
    table: sqlalchemy.Table  # a row per item
    owner: sqlalchemy.Column[Any]  # the key of the row that the item belongs to
    order: sqlalchemy.Column[Any]  # which item it is
    keys: Mapping[str, Attribute]  # what stands in an item


@functools.cache
def _leading(table: sqlalchemy.FromClause) -> frozenset[str]:
    """The columns that an index or a unique constraint begins with."""
    assert isinstance(table, sqlalchemy.Table)
    found = [index.columns for index in table.indexes]
    found += [one.columns for one in table.constraints if isinstance(one, sqlalchemy.UniqueConstraint)]
    return frozenset(columns[0].name for columns in map(list, found) if columns)


def _table(
    level: model.Level,
    table: sqlalchemy.Table,
    kinds: dict[Kind, dict[str, str]],
    zone: sqlalchemy.Column[Any] | None = None,
) -> dict[str, Attribute]:
    timed = (Kind.DATE, Kind.TIME)
    return {
        keyword: Attribute(
            level, kind, table.c[column], vr=_VRS.get(keyword, ""), zone=zone if kind in timed else None
        )
        for kind, columns in kinds.items()
        for keyword, column in columns.items()
    }


_patient, _study, _series = tables.patient.c, tables.study.c, tables.series.c
# Of a text: whether a backslash is a character of it.
_VRS = {"PatientComments": "LT", "AdditionalPatientHistory": "LT"}

KNOWN: dict[str, Attribute] = {
    **_table(
        model.Level.PATIENT,
        tables.patient,
        {
            Kind.TEXT: {
                "PatientID": "patient_id",
                "IssuerOfPatientID": "issuer_of_patient_id",
                "PatientSex": "patient_sex",
                "EthnicGroup": "ethnic_group",
                "PatientComments": "patient_comments",
            },
            Kind.TEXTS: {"OtherPatientIDs": "other_patient_ids"},
            Kind.NAMES: {"OtherPatientNames": "other_patient_names"},
            Kind.DATE: {"PatientBirthDate": "patient_birth_date"},
            Kind.TIME: {"PatientBirthTime": "patient_birth_time"},
            Kind.NUMBER: {
                "NumberOfPatientRelatedStudies": "studies",
                "NumberOfPatientRelatedSeries": "series",
                "NumberOfPatientRelatedInstances": "instances",
            },
        },
    ),
    "PatientName": Attribute(
        model.Level.PATIENT,
        Kind.NAME,
        _patient.patient_name,
        (_patient.name_alphabetic, _patient.name_ideographic, _patient.name_phonetic),
    ),
    **_table(
        model.Level.STUDY,
        tables.study,
        {
            Kind.UID: {"StudyInstanceUID": "study"},
            Kind.TEXT: {
                "AccessionNumber": "accession_number",
                "StudyID": "study_id",
                "StudyDescription": "study_description",
                "PatientAge": "patient_age",
                "Occupation": "occupation",
                "AdditionalPatientHistory": "additional_history",
            },
            Kind.NAMES: {"NameOfPhysiciansReadingStudy": "reading_physicians"},
            Kind.TEXTS: {
                "AdmittingDiagnosesDescription": "admitting_diagnoses",
                "ModalitiesInStudy": "modalities",
                "SOPClassesInStudy": "sop_classes",
            },
            Kind.DATE: {"StudyDate": "study_date"},
            Kind.TIME: {"StudyTime": "study_time"},
            Kind.NUMBER: {
                "NumberOfStudyRelatedSeries": "series",
                "NumberOfStudyRelatedInstances": "instances",
            },
            Kind.DECIMAL: {"PatientSize": "patient_size", "PatientWeight": "patient_weight"},
            Kind.SHOWN: {"SpecificCharacterSet": "charset", "TimezoneOffsetFromUTC": "timezone"},
        },
        _study.timezone,
    ),
    "ReferringPhysicianName": Attribute(
        model.Level.STUDY, Kind.NAME, _study.referring_physician, (_study.referring_folded,)
    ),
    **_table(
        model.Level.SERIES,
        tables.series,
        {
            Kind.UID: {"SeriesInstanceUID": "series"},
            Kind.TEXT: {
                "Modality": "modality",
                "SeriesDescription": "series_description",
                "BodyPartExamined": "body_part",
                "Laterality": "laterality",
                "PatientPosition": "patient_position",
                "ProtocolName": "protocol_name",
                "SequenceName": "sequence_name",
                "Manufacturer": "manufacturer",
                "ManufacturerModelName": "manufacturer_model",
                "StationName": "station_name",
                "DeviceSerialNumber": "device_serial_number",
                "InstitutionName": "institution_name",
                "InstitutionalDepartmentName": "department",
                "PerformedProcedureStepID": "performed_step_id",
                "PerformedProcedureStepDescription": "performed_step_description",
            },
            Kind.NAMES: {"OperatorsName": "operators", "PerformingPhysicianName": "performing_physicians"},
            Kind.TEXTS: {"SoftwareVersions": "software_versions"},
            Kind.DATE: {
                "SeriesDate": "series_date",
                "PerformedProcedureStepStartDate": "performed_step_start_date",
            },
            Kind.TIME: {
                "SeriesTime": "series_time",
                "PerformedProcedureStepStartTime": "performed_step_start_time",
            },
            Kind.NUMBER: {
                "SeriesNumber": "series_number",
                "ImagesInAcquisition": "images_in_acquisition",
                "NumberOfSeriesRelatedInstances": "instances",
            },
        },
        _series.timezone,
    ),
    **_table(
        model.Level.IMAGE,
        tables.instance,
        {
            Kind.UID: {
                "SOPClassUID": "sop_class",
                "FrameOfReferenceUID": "frame_of_reference",
                "AvailableTransferSyntaxUID": "syntax",
            },
            Kind.TEXT: {
                "PhotometricInterpretation": "photometric",
                "ContentLabel": "content_label",
                "ContentDescription": "content_description",
                "CompletionFlag": "completion_flag",
                "VerificationFlag": "verification_flag",
            },
            Kind.TEXTS: {"ImageType": "image_type"},
            Kind.DATE: {"ContentDate": "content_date", "AcquisitionDate": "acquisition_date"},
            Kind.TIME: {"ContentTime": "content_time", "AcquisitionTime": "acquisition_time"},
            Kind.NUMBER: {
                "InstanceNumber": "instance_number",
                "AcquisitionNumber": "acquisition_number",
                "Rows": "rows",
                "Columns": "columns",
                "SamplesPerPixel": "samples_per_pixel",
                "BitsAllocated": "bits_allocated",
                "BitsStored": "bits_stored",
                "PixelRepresentation": "pixel_representation",
                "NumberOfFrames": "frames",
                "TemporalPositionIdentifier": "temporal_position",
            },
            Kind.DECIMALS: {
                "ImagePositionPatient": "image_position",
                "ImageOrientationPatient": "image_orientation",
                "PixelSpacing": "pixel_spacing",
            },
            Kind.DECIMAL: {
                "SliceLocation": "slice_location",
                "SliceThickness": "slice_thickness",
                "SpacingBetweenSlices": "spacing_between_slices",
                "TriggerTime": "trigger_time",
                "EchoTime": "echo_time",
            },
        },
        _series.timezone,
    ),
}

_instance = tables.instance.c
KNOWN["SOPInstanceUID"] = Attribute(
    model.Level.IMAGE, Kind.UID, _instance.sop_instance, hashed=_instance.sop_hash
)

_request = tables.series_request
SEQUENCES: dict[str, Sequence] = {
    "RequestAttributesSequence": Sequence(
        model.Level.SERIES,
        _request,
        _request.c.series_key,
        _request.c.position,
        _table(
            model.Level.SERIES,
            _request,
            {
                Kind.TEXT: {
                    "ScheduledProcedureStepID": "scheduled_step_id",
                    "ScheduledProcedureStepDescription": "scheduled_step_description",
                    "RequestedProcedureID": "procedure_id",
                    "RequestedProcedureDescription": "procedure_description",
                    "AccessionNumber": "accession_number",
                },
                Kind.UID: {"StudyInstanceUID": "study"},
            },
        ),
    ),
}

UNIQUE = {
    model.Level.PATIENT: ("PatientID", "IssuerOfPatientID"),
    model.Level.STUDY: ("StudyInstanceUID",),
    model.Level.SERIES: ("StudyInstanceUID", "SeriesInstanceUID"),
    model.Level.IMAGE: ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"),
}
