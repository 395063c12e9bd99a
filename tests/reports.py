"""Performed procedure steps as modalities report them, as pydicom data sets, over sockets of our own."""

from __future__ import annotations

from collections.abc import Sequence

from pydicom import config
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from tests import make, scu

STEP = "1.2.840.10008.3.1.2.3.3"
RETRIEVE = "1.2.840.10008.3.1.2.3.4"
CREATE_RQ, SET_RQ, GET_RQ = 0x0140, 0x0120, 0x0110


def begun(**changes: object) -> Dataset:
    """What an N-CREATE says; a change to None leaves the element out, `...` leaves it empty."""
    order = Dataset()
    order.StudyInstanceUID = make.uid("study", 1)
    order.ReferencedStudySequence = []
    order.AccessionNumber = "A-1"
    order.RequestedProcedureID = "RP-1"
    order.RequestedProcedureDescription = "Head"
    order.ScheduledProcedureStepID = "SPS-1"
    order.ScheduledProcedureStepDescription = "Head native"
    order.ScheduledProtocolCodeSequence = []
    step = Dataset()
    step.ScheduledStepAttributesSequence = [order]
    step.PatientName = "SYNTHETIC^ALPHA"
    step.PatientID = "SYN-1"
    step.PatientBirthDate = "19700101"
    step.PatientSex = "O"
    step.ReferencedPatientSequence = []
    step.PerformedProcedureStepID = "PPS-1"
    step.PerformedStationAETitle = "CT1"
    step.PerformedStationName = "CT room 1"
    step.PerformedLocation = ""
    step.PerformedProcedureStepStartDate = "20261121"
    step.PerformedProcedureStepStartTime = "091500"
    step.PerformedProcedureStepStatus = "IN PROGRESS"
    step.PerformedProcedureStepDescription = "Head native"
    step.PerformedProcedureTypeDescription = ""
    step.ProcedureCodeSequence = []
    step.PerformedProcedureStepEndDate = ""
    step.PerformedProcedureStepEndTime = ""
    step.Modality = "CT"
    step.StudyID = "1"
    step.PerformedProtocolCodeSequence = []
    step.PerformedSeriesSequence = []
    return changed(step, **changes)


def ended(
    series: Sequence[tuple[str, int]] = (("1.2.3.1", 2),), status: str = "COMPLETED", **changes: object
) -> Dataset:
    """What the last N-SET says: the series, each with so many images."""
    step = Dataset()
    step.PerformedProcedureStepStatus = status
    step.PerformedProcedureStepEndDate = "20261121"
    step.PerformedProcedureStepEndTime = "092500"
    step.PerformedSeriesSequence = []
    for uid, images in series:
        one = Dataset()
        one.PerformingPhysicianName = ""
        one.ProtocolName = "Head"
        one.OperatorsName = ""
        one.SeriesInstanceUID = uid
        one.SeriesDescription = ""
        one.RetrieveAETitle = ""
        one.ReferencedImageSequence = []
        for number in range(images):
            image = Dataset()
            image.ReferencedSOPClassUID = make.CT
            image.ReferencedSOPInstanceUID = f"{uid}.{number + 1}"
            one.ReferencedImageSequence.append(image)
        one.ReferencedNonImageCompositeSOPInstanceSequence = []
        step.PerformedSeriesSequence.append(one)
    return changed(step, **changes)


def changed(dataset: Dataset, **changes: object) -> Dataset:
    """The data set with other values, right or wrong; None takes an element out, `...` empties it."""
    for keyword, value in changes.items():
        if value is None:
            del dataset[keyword]
        else:
            tag = tag_for_keyword(keyword)
            assert tag is not None
            shown = "" if value is ... else value
            dataset[tag] = DataElement(tag, dictionary_VR(tag), shown, validation_mode=config.IGNORE)
    return dataset


def written(dataset: Dataset, *, implicit: bool = True) -> bytes:
    """The bytes of a data set, little endian."""
    file = DicomBytesIO()
    file.is_implicit_VR, file.is_little_endian = implicit, True
    write_dataset(file, dataset)
    return file.getvalue()


class Modality:
    """An association that reports steps."""

    def __init__(self, address: tuple[str, int], **more: object) -> None:
        self.caller = scu.Caller(address).associate([scu.Context(STEP), scu.Context(RETRIEVE)], **more)
        self._message = 0

    def ask(
        self,
        field: int,
        uid: str,
        data: Dataset | bytes | None = None,
        *,
        sop_class: str = STEP,
        context: int = 1,
        elements: dict[int, scu.Value] | None = None,
    ) -> scu.Response:
        """One request and its answer."""
        self._message += 1
        affected = field == CREATE_RQ
        values: dict[int, scu.Value] = {
            (0x00000002 if affected else 0x00000003): sop_class,
            0x00000100: field,
            0x00000110: self._message,
            0x00000800: 0x0101 if data is None else 1,
            **(elements or {}),
        }
        if uid:
            values[0x00001000 if affected else 0x00001001] = uid
        self.caller.message(context, values, written(data) if isinstance(data, Dataset) else data)
        return self.caller.response()

    def create(self, uid: str, data: Dataset | bytes | None = None) -> scu.Response:
        """N-CREATE."""
        return self.ask(CREATE_RQ, uid, begun() if data is None else data)

    def set(self, uid: str, data: Dataset | bytes) -> scu.Response:
        """N-SET."""
        return self.ask(SET_RQ, uid, data)

    def get(self, uid: str, *tags: int) -> scu.Response:
        """N-GET."""
        wanted = b"".join(bytes((tag >> 16 & 255, tag >> 24, tag & 255, tag >> 8 & 255)) for tag in tags)
        elements: dict[int, scu.Value] = {0x00001005: wanted} if tags else {}
        return self.ask(GET_RQ, uid, sop_class=RETRIEVE, context=3, elements=elements)
