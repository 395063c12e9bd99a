"""Queries in the writing of six parts of the world, at each level, byte for byte as they were recorded.

`tests/conversations/` holds what was asked and answered. pydicom says what the answers mean, so that a
recording cannot be wrong for ever. RECORD=1 records anew.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
from collections.abc import Iterator

import pydicom
import pytest
from pydicom import filebase, filereader

from node.dicom import identifier
from tests import asking, make, small, stored

RECORDED = pathlib.Path(__file__).parent.parent / "conversations"
UTF8 = "ISO_IR 192"


@dataclasses.dataclass(frozen=True)
class Script:
    """How a part of the world writes a name."""

    short: str  # two letters
    charset: str  # Specific Character Set
    codec: str  # Python's name of it
    name: str  # a patient's
    part: str  # what is typed to find it

    def encoded(self) -> str:
        """The name as it lies in a data set, a character for each byte."""
        if self.short == "KR":  # the code element's escape stands before each component that needs it
            groups = [
                "^".join("\x1b$)C" * (not part.isascii()) + part for part in group.split("^"))
                for group in self.name.split("=")
            ]
            return "=".join(groups).encode(self.codec).decode("latin-1")
        return self.name.encode(self.codec).decode("latin-1")


SCRIPTS = {
    "japanese": Script(
        "JP", "\\ISO 2022 IR 87", "iso2022_jp", "Yamada^Tarou=山田^太郎=やまだ^たろう", "山田*"
    ),
    "korean": Script("KR", "\\ISO 2022 IR 149", "euc_kr", "Hong^Gildong=洪^吉洞=홍^길동", "홍^*"),
    "chinese": Script("CN", "GB18030", "gb18030", "Wang^XiaoDong=王^小东", "王*"),
    "arabic": Script("AR", "ISO_IR 127", "iso8859_6", "قباني^لنزار", "قباني*"),
    "cyrillic": Script("RU", "ISO_IR 144", "iso8859_5", "Люксембург^Роза", "люксем*"),
    "latin": Script("FR", "ISO_IR 100", "latin_1", "Buc^Jérôme", "BUC^JÉR*"),
}


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[small.Small]:
    """Each name twice: as its part of the world writes it, and in UTF-8."""
    with small.node(tmp_path_factory.mktemp("scripts")) as running:
        for script in SCRIPTS.values():
            for kind, charset, raw in (
                ("N", script.charset, script.encoded()),
                ("U", UTF8, script.name.encode().decode("latin-1")),
            ):
                made = make.instance(seed=f"{script.short} {kind}", patient=raw, charset=charset)
                data = made.data.replace(b"SYN-0001", f"SYN-{script.short}-{kind}".encode())
                stored.send(running.receiver, dataclasses.replace(made, data=data))
                running.settle()  # answers come in the order of filing
        yield running


def _questions(script: Script) -> Iterator[tuple[str, str, str, identifier.Fields]]:
    """What is asked: a name for it, the SOP class, the character set, the keys."""
    study = make.uid(f"{script.short} N", "study")
    series = make.uid(f"{script.short} N", "study", "series")
    for told, charset in (("own", script.charset), ("utf-8", UTF8)):
        whole: identifier.Fields = {"PatientName": script.name, "PatientID": None}
        part: identifier.Fields = {"PatientName": script.part, "PatientID": None, "StudyInstanceUID": None}
        yield f"patient, {told}", asking.PATIENT, charset, {"QueryRetrieveLevel": "PATIENT", **whole}
        yield f"study, {told}", asking.STUDY, charset, {"QueryRetrieveLevel": "STUDY", **part}
        above: identifier.Fields = {"StudyInstanceUID": study, "PatientName": script.part}
        below: identifier.Fields = {"SeriesInstanceUID": None, "Modality": None}
        yield (
            *(f"series, {told}", asking.STUDY, charset),
            {"QueryRetrieveLevel": "SERIES", **above, **below},
        )
        below = {"SeriesInstanceUID": series, "SOPInstanceUID": None, "InstanceNumber": None}
        yield f"image, {told}", asking.STUDY, charset, {"QueryRetrieveLevel": "IMAGE", **above, **below}
    silent: identifier.Fields = {"PatientID": f"SYN-{script.short}-?", "PatientName": None}
    yield "study, without a word", asking.STUDY, "", {"QueryRetrieveLevel": "STUDY", **silent}


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_conversation_goes_as_it_was_recorded(node: small.Small, script: str) -> None:
    known = SCRIPTS[script]
    path = RECORDED / f"{script}.json"
    held = json.loads(path.read_text()) if path.exists() else {}
    heard: dict[str, dict[str, object]] = {}
    for told, abstract, charset, keys in _questions(known):
        recording = held.get(told)
        asked = (
            bytes.fromhex(recording["asked"])
            if recording and not os.environ.get("RECORD")
            else identifier.encode(keys, make.EXPLICIT, charset)
        )
        with asking.Asker.call(node.address, abstract, syntax=make.EXPLICIT) as caller:
            caller.ask(asked)
            found = caller.found()
            caller.release()
        assert found.status == 0
        assert set(found.statuses) == {asking.PENDING}
        _check(known, told, charset, found.answers)
        heard[told] = {"asked": asked.hex(), "answered": [answer.hex() for answer in found.answers]}
    if os.environ.get("RECORD"):
        path.write_text(json.dumps(heard, indent=1) + "\n")
    else:
        assert heard == held


def _check(script: Script, told: str, charset: str, answers: list[bytes]) -> None:
    """What the answers say, as another library reads them."""
    level, _, _ = told.partition(",")
    ids = ["N", "U"] if level in ("patient", "study") else ["N"]
    read = [_read(answer) for answer in answers]
    if ids == ["N", "U"]:
        assert [str(one.PatientID) for one in read] == [f"SYN-{script.short}-{kind}" for kind in ids]
    assert len(read) == len(ids)
    for one, kind in zip(read, ids, strict=True):
        assert str(one.PatientName) == script.name
        terms = one.SpecificCharacterSet
        written = terms if isinstance(terms, str) else "\\".join(terms)
        # Who names no set gets the one that the study came in.
        assert written == (charset or (script.charset if kind == "N" else UTF8))


def _read(data: bytes) -> pydicom.Dataset:
    found = filereader.read_dataset(filebase.DicomBytesIO(data), is_implicit_VR=False, is_little_endian=True)
    found.decode()
    return found
