"""Which attribute of a query is in which column, and how it is matched (PS3.4 C.2.2.2, C.6; PS3.18 10.6)."""

from __future__ import annotations

import dataclasses
import enum
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
    DATE = "date"  # a day, or a range
    TIME = "time"  # a time of day, or a range
    NUMBER = "number"  # one of a list of numbers
    COUNT = "count"  # only answered, never matched


@dataclasses.dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute that the index answers."""

    level: model.Level  # where it belongs
    kind: Kind  # how it is compared
    column: sqlalchemy.Column[Any]  # what is answered, and compared
    folded: tuple[sqlalchemy.Column[Any], ...] = ()  # NAME: the folded forms, one per component group


def _table(
    level: model.Level, table: sqlalchemy.Table, kinds: dict[Kind, dict[str, str]]
) -> dict[str, Attribute]:
    return {
        keyword: Attribute(level, kind, table.c[column])
        for kind, columns in kinds.items()
        for keyword, column in columns.items()
    }


_patient, _study = tables.patient.c, tables.study.c

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
            Kind.TEXTS: {"OtherPatientIDs": "other_patient_ids", "OtherPatientNames": "other_patient_names"},
            Kind.DATE: {"PatientBirthDate": "patient_birth_date"},
            Kind.TIME: {"PatientBirthTime": "patient_birth_time"},
            Kind.COUNT: {
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
                "TimezoneOffsetFromUTC": "timezone",
            },
            Kind.TEXTS: {
                "NameOfPhysiciansReadingStudy": "reading_physicians",
                "AdmittingDiagnosesDescription": "admitting_diagnoses",
                "ModalitiesInStudy": "modalities",
                "SOPClassesInStudy": "sop_classes",
            },
            Kind.DATE: {"StudyDate": "study_date"},
            Kind.TIME: {"StudyTime": "study_time"},
            Kind.COUNT: {
                "NumberOfStudyRelatedSeries": "series",
                "NumberOfStudyRelatedInstances": "instances",
                "PatientSize": "patient_size",
                "PatientWeight": "patient_weight",
                "SpecificCharacterSet": "charset",
            },
        },
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
            Kind.TEXTS: {
                "OperatorsName": "operators",
                "PerformingPhysicianName": "performing_physicians",
                "SoftwareVersions": "software_versions",
            },
            Kind.DATE: {
                "SeriesDate": "series_date",
                "PerformedProcedureStepStartDate": "performed_step_start_date",
            },
            Kind.TIME: {
                "SeriesTime": "series_time",
                "PerformedProcedureStepStartTime": "performed_step_start_time",
            },
            Kind.NUMBER: {"SeriesNumber": "series_number", "ImagesInAcquisition": "images_in_acquisition"},
            Kind.COUNT: {"NumberOfSeriesRelatedInstances": "instances"},
        },
    ),
    **_table(
        model.Level.IMAGE,
        tables.instance,
        {
            Kind.UID: {
                "SOPInstanceUID": "sop_instance",
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
            Kind.COUNT: {
                "ImagePositionPatient": "image_position",
                "ImageOrientationPatient": "image_orientation",
                "PixelSpacing": "pixel_spacing",
                "SliceLocation": "slice_location",
                "SliceThickness": "slice_thickness",
                "SpacingBetweenSlices": "spacing_between_slices",
            },
        },
    ),
}

REQUESTS = "RequestAttributesSequence"
_request = tables.series_request
REQUEST: dict[str, Attribute] = _table(
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
)

UNIQUE = {
    model.Level.PATIENT: ("PatientID", "IssuerOfPatientID"),
    model.Level.STUDY: ("StudyInstanceUID",),
    model.Level.SERIES: ("StudyInstanceUID", "SeriesInstanceUID"),
    model.Level.IMAGE: ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"),
}
