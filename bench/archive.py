"""An archive of many small studies: who and when each is, as files and as what an index knows of it."""

from __future__ import annotations

import datetime
import pathlib

from bench import corpora
from tests import make

STUDIES = 4000
PER_STUDY = 6  # instances, three to a series
PER_SERIES = 3
PER_DAY = 10  # studies
PER_FAMILY = 10  # patients of one family name
_FIRST = datetime.date(1930, 1, 1)
_SYLLABLES = ("AL", "BER", "CO", "DAN", "EL", "FAR", "GRO", "HAN", "IN", "JOR")


def patient(number: int) -> str:
    """The Patient ID of a study: each has a patient of its own."""
    return f"SYN-{number:07d}"


def family(number: int) -> str:
    """A family name; no other begins with it."""
    return "".join(_SYLLABLES[int(digit)] for digit in f"{number:05d}") + "SYN"


def day(number: int) -> str:
    """The day of a study."""
    return f"{_FIRST + datetime.timedelta(days=number // PER_DAY):%Y%m%d}"


def facts(number: int) -> dict[str, str]:
    """What is known of a study and its patient, by keyword."""
    return {
        "StudyInstanceUID": make.uid("archive", number),
        "PatientID": patient(number),
        "PatientName": f"{family(number // PER_FAMILY)}^{_SYLLABLES[number % 10]}",
        "PatientBirthDate": f"19{number % 100:02d}0{number % 9 + 1}1{number % 10}",
        "PatientSex": "FMO"[number % 3],
        "StudyDate": day(number),
        "StudyTime": f"{number % 24:02d}{number % 60:02d}00",
        "AccessionNumber": f"ACC{number:07d}",
        "StudyID": f"ST{number:07d}",
        "StudyDescription": f"Synthetic study {number % 40}",
        "Modality": ("CT", "MR")[number % 2],
    }


def files(studies: int) -> list[pathlib.Path]:
    """Every instance as a file; those that are missing are made."""
    folder = corpora.HERE / "archive"
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(studies):
        for image in range(1, PER_STUDY + 1):
            path = folder / f"{number:06d}-{image}.dcm"
            paths.append(path)
            if not path.exists():
                path.write_bytes(make.part10(_instance(number, image)))
    return paths


def _instance(number: int, image: int) -> make.Made:
    known = facts(number)
    element = make.element
    sop_class = make.CT if known["Modality"] == "CT" else make.MR
    series = make.uid("archive", number, (image - 1) // PER_SERIES)
    sop_instance = make.uid("archive", number, "image", image)
    elements = [
        element(0x00080008, "CS", ["ORIGINAL", "PRIMARY"]),
        element(0x00080016, "UI", sop_class),
        element(0x00080018, "UI", sop_instance),
        element(0x00080020, "DA", known["StudyDate"]),
        element(0x00080030, "TM", known["StudyTime"]),
        element(0x00080050, "SH", known["AccessionNumber"]),
        element(0x00080060, "CS", known["Modality"]),
        element(0x00080090, "PN", "REFERRER^SYNTHETIC"),
        element(0x00081030, "LO", known["StudyDescription"]),
        element(0x00100010, "PN", known["PatientName"]),
        element(0x00100020, "LO", known["PatientID"]),
        element(0x00100030, "DA", known["PatientBirthDate"]),
        element(0x00100040, "CS", known["PatientSex"]),
        element(0x0020000D, "UI", known["StudyInstanceUID"]),
        element(0x0020000E, "UI", series),
        element(0x00200010, "SH", known["StudyID"]),
        element(0x00200011, "IS", (image - 1) // PER_SERIES + 1),
        element(0x00200013, "IS", image),
        element(0x00280002, "US", 1),
        element(0x00280004, "CS", "MONOCHROME2"),
        element(0x00280010, "US", 8),
        element(0x00280011, "US", 8),
        element(0x00280100, "US", 16),
        element(0x00280101, "US", 12),
        element(0x00280102, "US", 11),
        element(0x00280103, "US", 0),
        element(0x7FE00010, "OW", make.pixels(8, 8, number)),
    ]
    data = make.encode(elements)
    return make.Made(sop_class, sop_instance, known["StudyInstanceUID"], series, make.EXPLICIT, data)
