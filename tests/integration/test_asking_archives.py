"""`find` against archives of other makes, and against some that do what they should not."""

from __future__ import annotations

import json
import pathlib
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from node import errors, model
from node.commands import find as finding
from node.commands import persist
from node.send import inbox, query
from node.wire import association, command
from tests import archives, make
from tests.archives import PENDING, SUCCESS, Archive, Asked, odd, program

STUDIES = [
    make.series(3, seed="one", patient="ALPHA^ANNA"),
    make.series(2, seed="two", patient="BETA^BERT"),
    [
        *make.series(2, seed="three", patient="GAMMA^GUST", sop_class=make.MR),
        make.instance(9, seed="four", study=make.uid("three", "study"), patient="GAMMA^GUST"),
    ],
]


@pytest.fixture(scope="module")
def dcmtk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    """DCMTK's archive with the studies."""
    work = tmp_path_factory.mktemp("dcmqrscp")
    with archives.dcmqrscp(work / "archive") as archive:
        make.files(work / "in", [one for study in STUDIES for one in study])
        assert program("send", archive.address, work / "in").code == 0
        yield archive


def test_studies_are_listed_in_a_table(dcmtk: Archive) -> None:
    ran = program("find", dcmtk.address)
    heading, *rows, count = ran.out.splitlines()
    assert heading.split()[:3] == ["PATIENT", "ID", "DATE"]
    assert {row.split()[0]: row.split()[-1] for row in rows} == {
        "ALPHA^ANNA": STUDIES[0][0].study,
        "BETA^BERT": STUDIES[1][0].study,
        "GAMMA^GUST": STUDIES[2][0].study,
    }
    assert (count, ran.code) == ("3 studies", 0)


def test_each_level_is_asked_for_as_json(dcmtk: Archive) -> None:
    study = STUDIES[2]
    keys: dict[str, set[str]] = {}
    words: list[str] = [f"study={study[0].study}"]
    for level, uid in (("study", "StudyInstanceUID"), ("series", "SeriesInstanceUID")):
        keys[uid] = _answered(uid, program("find", dcmtk.address, *words, "--level", level, "--json"))
    assert keys["SeriesInstanceUID"] == {one.series for one in study}
    words.append(f"series={study[0].series}")
    found = _answered("SOPInstanceUID", program("find", dcmtk.address, *words, "--level", "image", "--json"))
    assert found == {one.sop_instance for one in study[:2]}
    ran = program("find", dcmtk.address, "--model", "patient", "--level", "patient", "id=SYN*", "--json")
    assert _answered("PatientID", ran) == {"SYN-0001"}


def _answered(key: str, ran: archives.Ran) -> set[str]:
    *answers, last = map(json.loads, ran.out.splitlines())
    assert last["summary"]["answers"] == len(answers)
    assert (last["summary"]["status"], ran.code) == (0, 0)
    return {answer[key] for answer in answers}


def test_what_does_not_match_is_said(dcmtk: Archive) -> None:
    ran = program("find", dcmtk.address, "name=NOBODY*")
    assert (ran.out, ran.code) == ("nothing matches\n", 0)


def test_a_worklist_is_asked_with_keys_of_the_step(tmp_path: pathlib.Path) -> None:
    entries = [_entry("ALPHA^ANNA", "CT", "20260301"), _entry("BETA^BERT", "MR", "20260302")]
    with archives.wlmscpfs(tmp_path, entries) as archive:
        ran = program("find", archive.address, "--model", "worklist", "modality=MR", "date=2026-03-01..")
        assert "BETA^BERT" in ran.out
        assert "ALPHA^ANNA" not in ran.out
        assert "2026-03-02" in ran.out
        assert ran.out.endswith("1 entry\n")
        ran = program("find", archive.address, "--model", "worklist", "--json")
    answers = [json.loads(line) for line in ran.out.splitlines()][:-1]
    steps = [answer["ScheduledProcedureStepSequence"] for answer in answers]
    assert sorted(items[0]["Modality"] for items in steps) == ["CT", "MR"]


def _entry(patient: str, modality: str, day: str) -> bytes:
    element = make.element
    step = (
        element(0x00080060, "CS", modality),
        element(0x00400001, "AE", "STATION"),
        element(0x00400002, "DA", day),
        element(0x00400003, "TM", "101500"),
        element(0x00400006, "PN", "DOC^TOR"),
        element(0x00400007, "LO", "Scan"),
        element(0x00400009, "SH", "S1"),
    )
    data = make.encode(
        [
            element(0x00080050, "SH", "A1"),
            element(0x00100010, "PN", patient),
            element(0x00100020, "LO", "P1"),
            element(0x0020000D, "UI", make.uid(patient)),
            element(0x00321060, "LO", "Scan"),
            element(0x00400100, "SQ", (step,)),
            element(0x00401001, "SH", "R1"),
        ]
    )
    # A worklist file has a class and an instance in its file meta information, and none in its data set.
    made = make.Made("1.2.276.0.7230010.3.1.0.1", make.uid(patient, "entry"), "", "", make.EXPLICIT, data)
    return make.part10(made)


# -- archives that do what they should not ----------------------------------------------------------


def _match(number: int) -> dict[str, Any]:
    return {"PatientName": f"N{number}", "StudyInstanceUID": f"1.2.{number}"}


def test_an_archive_that_ignores_keys_is_named_and_believed() -> None:
    def find(asked: Asked) -> int:
        asked.answer(_match(1), 0xFF01)
        return SUCCESS

    with odd(find) as archive:
        ran = program("find", archive.address, "00091001=x", "--fuzzy")
    assert "N1" in ran.out
    assert "did not look at all keys (FF01)" in ran.err
    assert "does not do fuzzy queries" in ran.err


def test_an_archive_that_gives_so_many_at_once_is_asked_for_the_next() -> None:
    left = list(range(25))

    def find(asked: Asked) -> int:
        for _ in range(10):
            if not left:
                return SUCCESS
            asked.answer(_match(left.pop(0)))
        return 0xB001

    with odd(find) as archive:
        ran = program("find", archive.address)
    assert ran.out.endswith("25 studies\n")
    assert (ran.code, ran.err) == (0, "")


def test_an_archive_that_gives_the_same_ones_again_is_not_asked_for_ever() -> None:
    def find(asked: Asked) -> int:
        asked.answer(_match(1))
        return 0xB001

    with odd(find) as archive:
        ran = program("find", archive.address)
    assert (ran.code, ran.out.splitlines()[-1]) == (0, "1 study")
    assert "there may be more" in ran.err
    assert "0xB001" in ran.err


def test_a_refusal_is_told_in_a_querys_words_and_not_repeated() -> None:
    asked_for: list[str] = []

    def find(asked: Asked) -> int:
        asked_for.append(asked.level)
        return 0xA900

    with odd(find) as archive:
        ran = program("find", archive.address)
    assert (ran.code, asked_for) == (1, ["STUDY"])
    assert ran.error == (
        "the peer answered the query with 0xA900 (the identifier does not match the SOP class: "
        "a key is missing, or is not allowed there)"
    )


@pytest.mark.parametrize("as_json", [False, True], ids=["table", "json"])
def test_an_archive_that_goes_away_in_the_middle_is_asked_again_where_nothing_was_printed(
    as_json: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(persist, "LONGEST", 0.01)
    times: list[int] = []

    def find(asked: Asked) -> int:
        times.append(1)
        asked.answer(_match(1))
        if len(times) == 1:
            asked.opened.abort()
            return -1
        asked.answer(_match(2))
        return SUCCESS

    with odd(find) as archive:
        ran = program("find", archive.address, *(["--json"] if as_json else []))
    assert len(times) == (1 if as_json else 2)
    assert ran.out.count("N1") == 1
    if as_json:
        summary = json.loads(ran.out.splitlines()[-1])["summary"]
        assert (summary["answers"], summary["status"], summary["says"]) == (1, None, ran.error)
    assert ran.code == (1 if as_json else 0)
    assert "aborted the association" in (ran.error if as_json else ran.err)


def test_what_had_come_before_it_broke_off_is_shown() -> None:
    def find(asked: Asked) -> int:
        asked.answer(_match(1))
        asked.opened.abort()
        return -1

    with odd(find) as archive:
        ran = program("find", archive.address, "--retries", "0")
    assert (ran.code, ran.out.splitlines()[-1]) == (1, "1 study")
    assert ran.error == "the peer aborted the association"


def test_an_archive_that_is_busy_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(persist, "LONGEST", 0.01)
    says = [0xA700, 0xA700, SUCCESS]
    with odd(lambda _: says.pop(0)) as archive:
        ran = program("find", archive.address, "--retries", "2")
        assert (ran.code, says) == (0, [])
        says += [0xA700]
        assert "0xA700 (out of resources)" in program("find", archive.address, "--retries", "0").error


def test_an_archive_that_never_answers_is_not_waited_for_for_ever() -> None:
    over = threading.Event()

    def find(_: Asked) -> int:
        over.wait(30)
        return -1

    with odd(find) as archive:
        ran = program("find", archive.address, "--timeout", "0.3", "--retries", "0")
        over.set()
    assert (ran.code, ran.out) == (1, "")
    assert "said nothing for 0.3 s" in ran.error


def test_answers_in_a_wrong_character_set_or_no_dicom_at_all_hide_no_other() -> None:
    def find(asked: Asked) -> int:
        element = make.element
        wrong = [
            element(0x00080005, "CS", "ISO_IR 192"),
            element(0x00100010, "PN", b"M\xfcller^\x1b[2J"),
            element(0x0020000D, "UI", "1.2.1"),
        ]
        asked.raw(make.encode(wrong, asked.context.transfer))
        asked.raw(make.encode([element(0x00080005, "CS", "NO_SUCH_SET"), *wrong[1:]], asked.context.transfer))
        asked.raw(b"no data set at all")
        asked.answer(_match(2))
        return SUCCESS

    with odd(find) as archive:
        ran = program("find", archive.address)
    assert ran.code == 0
    assert ran.out.count("ller^") == 2
    assert "\x1b" not in ran.out
    assert "N2" in ran.out
    assert "1 answers cannot be read" in ran.err


def test_a_query_in_another_script_arrives_in_a_set_that_holds_it() -> None:
    seen: list[Any] = []

    def find(asked: Asked) -> int:
        seen.append(asked.fields)
        asked.answer({"PatientName": "山田^太郎", "StudyInstanceUID": "1.2"}, charset="ISO 2022 IR 87")
        return SUCCESS

    with odd(find) as archive:
        ran = program("find", archive.address, "name=山田*")
        program("find", archive.address, "name=Müller", "SpecificCharacterSet=ISO_IR 100")
    assert seen[0]["PatientName"] == "山田*"
    assert seen[0]["SpecificCharacterSet"] == "ISO_IR 192"
    assert (seen[1]["PatientName"], seen[1]["SpecificCharacterSet"]) == ("Müller", "ISO_IR 100")
    assert "山田^太郎" in ran.out


def test_the_limit_cancels_and_the_association_is_fit_for_the_next_query() -> None:
    cancelled: list[bool] = []

    def find(asked: Asked) -> int:
        for number in range(100_000):
            if asked.cancelled:
                cancelled.append(True)
                return 0xFE00
            asked.answer(_match(number))
        return SUCCESS

    with odd(find) as archive:
        ran = program("find", archive.address, "--limit", "5")
        assert ran.out.endswith("5 studies\n")
        assert "there may be more" in ran.err
        with query.opened(archive.peer, "ME", model.TlsSettings()) as opened:
            for _ in range(2):
                search = query.Search(opened, {"StudyInstanceUID": None}, level=model.Level.STUDY)
                coming = iter(search)
                assert next(coming)["StudyInstanceUID"] == "1.2.0"
                coming.close()
                assert search.status == 0xFE00
    assert cancelled == [True] * 3


def test_ctrl_c_cancels_and_tells_what_had_come() -> None:
    stop = persist.Stop()

    def find(asked: Asked) -> int:
        for number in range(100_000):
            if asked.cancelled:
                return 0xFE00
            asked.answer(_match(number))
            if number == 3:
                stop.pressed()
        return SUCCESS

    found: list[Any] = []
    with odd(find) as archive:
        question = finding.Question(
            archive.peer,
            model.Settings(),
            query.Root.STUDY,
            model.Level.STUDY,
            {"StudyInstanceUID": None},
            query.Extension(0),
            0,
            30.0,
        )
        with stop.calls(lambda: None):
            summary = finding._ask(question, stop, found, as_json=False)
    assert summary.cancelled
    assert summary.status == 0xFE00
    assert 4 <= len(found) == summary.answers < 100_000


def test_an_archive_that_takes_no_queries_is_told_apart() -> None:
    def wrong(opened: association.Association, message: association.Message) -> None:
        raise AssertionError

    with inbox.listening("ODD", 0, {command.Field.C_FIND: wrong}) as port:
        ran = program("find", f"ODD@127.0.0.1:{port}")
    assert ran.error == "the peer took the association, but not queries in the Study Root model"


def test_an_empty_list_of_extensions_and_the_bytes_of_one() -> None:
    both = query.Extension.RELATIONAL | query.Extension.FUZZY
    assert both.encode() == bytes((1, 0, 1, 0))
    assert query.Extension.decode(bytes((1, 0, 1, 0))) == both
    assert query.Extension.decode(b"") == query.Extension(0)


def test_a_search_without_a_context_raises_before_anything_is_sent() -> None:
    with (
        odd(lambda _: PENDING) as archive,
        query.opened(archive.peer, "ME", model.TlsSettings()) as opened,
        pytest.raises(errors.PeerRefused, match="not queries in the Patient Root model"),
    ):
        query.Search(opened, {}, query.Root.PATIENT)
