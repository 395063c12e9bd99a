"""`get` and `move` against archives of other makes, and against some that do what they should not."""

from __future__ import annotations

import functools
import io
import json
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import pydicom
import pynetdicom
import pytest

from node import model
from node.commands import fetching, move, persist
from node.files import folder
from node.send import fetch, inbox, link, listing, query
from node.wire import association, command, contexts
from tests import archives, make
from tests.archives import SUCCESS, Archive, Asked, holding, odd, program

STUDY = [
    *make.series(3, seed="one", patient="ALPHA^ANNA"),
    make.instance(7, seed="raw", study=make.uid("one", "study"), sop_class="1.2.840.10008.5.1.4.1.1.66"),
]
OTHER = make.series(2, seed="two", patient="BETA^BERT", size=200_000)
UID = STUDY[0].study


@pytest.fixture(scope="module")
def dcmtk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    """DCMTK's archive with two studies."""
    work = tmp_path_factory.mktemp("dcmqrscp")
    with archives.dcmqrscp(work / "archive") as archive:
        make.files(work / "in", [*STUDY, *OTHER])
        assert program("send", archive.address, work / "in").code == 0
        yield archive


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(persist, "LONGEST", 0.01)


def _same(out: pathlib.Path, made: Sequence[make.Made]) -> None:
    """Exactly these are there, each with its pixels under its UIDs."""
    found = {str(path.relative_to(out)): pydicom.dcmread(path) for path in out.rglob("*") if path.is_file()}
    assert set(found) == {f"{one.study}/{one.series}/{one.sop_instance}.dcm" for one in made}
    for one in made:
        held = found[f"{one.study}/{one.series}/{one.sop_instance}.dcm"]
        assert held.PixelData in one.data
        assert len(held.PixelData) > 100


# -- get --------------------------------------------------------------------------------------------


def test_a_study_is_fetched_and_a_second_time_nothing_is_written(
    dcmtk: Archive, tmp_path: pathlib.Path
) -> None:
    ran = program("get", dcmtk.address, f"study={UID}", "--out", tmp_path / "out")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith(f"4 instances fetched to {tmp_path / 'out'} in ")
    _same(tmp_path / "out", STUDY)
    again = program("get", dcmtk.address, f"study={UID}", "--out", tmp_path / "out")
    assert "4 were there already" in again.err
    _same(tmp_path / "out", STUDY)


def test_what_is_no_unique_key_is_looked_up_first(dcmtk: Archive, tmp_path: pathlib.Path) -> None:
    ran = program("get", dcmtk.address, "name=*", "date=2000-01-01..", "--out", tmp_path / "out", "--json")
    summary = json.loads(ran.out)["summary"]
    assert (summary["requests"], summary["completed"], summary["arrived"]) == (2, 6, 6)
    _same(tmp_path / "out", [*STUDY, *OTHER])
    ran = program("get", dcmtk.address, "name=NOBODY", "--out", tmp_path / "none", "--json")
    assert (ran.code, ran.error) == (1, "the peer holds nothing that matches")
    assert json.loads(ran.out)["summary"]["says"] == [ran.error]


@pytest.mark.parametrize(
    ("words", "made"),
    [
        ([f"series={STUDY[3].series}", f"study={UID}"], STUDY[3:]),
        ([f"instance={STUDY[0].sop_instance}", f"series={STUDY[0].series}", f"study={UID}"], STUDY[:1]),
        (["id=SYN-0001", "--model", "patient"], [*STUDY, *OTHER]),
    ],
    ids=["series", "image", "patient"],
)
def test_each_level_is_fetched(
    dcmtk: Archive, tmp_path: pathlib.Path, words: list[str], made: list[make.Made]
) -> None:
    assert program("get", dcmtk.address, *words, "--out", tmp_path / "out").code == 0
    _same(tmp_path / "out", made)


def test_it_goes_into_the_nodes_own_store(dcmtk: Archive, tmp_path: pathlib.Path) -> None:
    (tmp_path / "node.toml").write_text('[storage]\nmin_free = "0"\n')
    more = ["--config", tmp_path / "node.toml", "--data", tmp_path / "data"]
    ran = program("get", dcmtk.address, f"study={UID}", "--into-node", *more)
    assert ran.code == 0
    held = list((tmp_path / "data" / "store").rglob("*.dcm"))
    assert {pydicom.dcmread(path).SOPInstanceUID for path in held} == {one.sop_instance for one in STUDY}
    assert program("audit", "--deep", *more).code == 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["study=1.2"], "say where the instances go: --out DIR, or --into-node"),
        (["study", "--out", "x"], "say what is wanted, such as study=UID"),
        (["study=1.2", "--model", "worklist", "--out", "x"], "a worklist can be queried only"),
    ],
)
def test_what_cannot_be_fetched_is_one_sentence(
    words: list[str], says: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = program("get", "A@127.0.0.1:1", *words)
    assert ran.code == 2
    assert ran.error.startswith(says)


# -- move -------------------------------------------------------------------------------------------


def test_an_archive_moves_to_this_command(dcmtk: Archive, tmp_path: pathlib.Path) -> None:
    ran = program("move", dcmtk.address, f"study={UID}", "--out", tmp_path / "out", "--port", dcmtk.mover)
    assert (ran.code, ran.error) == (0, "")
    assert ran.out.startswith("4 instances fetched to ")
    _same(tmp_path / "out", STUDY)


def test_an_archive_moves_to_a_third(dcmtk: Archive, tmp_path: pathlib.Path) -> None:
    tally = fetching.Tally()
    got = folder.Folder(tmp_path)

    def store(opened: association.Association, message: association.Message) -> None:
        assert message.command.text(command.MOVE_ORIGINATOR) == "NODE"
        tally.add(fetch.take(opened, message, got))

    with inbox.listening("NODE", dcmtk.mover, {command.Field.C_STORE: store}):
        ran = program("move", dcmtk.address, f"study={OTHER[0].study}", "--to", "NODE", "--json")
    summary = json.loads(ran.out)["summary"]
    assert (ran.code, summary["completed"], summary["arrived"]) == (0, 2, 0)
    _same(tmp_path, OTHER)


def test_a_destination_that_the_archive_does_not_know_or_reach_is_told(dcmtk: Archive) -> None:
    ran = program("move", dcmtk.address, f"study={UID}", "--to", "NOBODY", "--retries", "0")
    assert ran.code == 1
    assert "0xA801 (the move destination is not known to the peer)" in ran.out
    ran = program("move", dcmtk.address, f"study={UID}", "--to", "NODE", "--retries", "0")
    assert ran.code == 1
    assert "FAILED   0x" in ran.out
    ran = program("move", dcmtk.address, f"study={UID}")
    assert (ran.code, ran.error[:23]) == (2, "say who gets the instan")


def test_what_was_not_sent_for_us_is_not_taken(tmp_path: pathlib.Path) -> None:
    (one,) = make.series(1)
    tally = fetching.Tally()
    into = folder.Folder(tmp_path)
    with move.receiving(into, tally, "NODE", 0, "NODE") as port:
        peer = model.Peer("us", "NODE", "127.0.0.1", port)
        proposed = [contexts.Proposed(one.sop_class, (one.syntax,))]
        with link.opened(peer, "THEM", model.TlsSettings(), proposed) as opened:
            request = command.request(
                command.Field.C_STORE,
                opened.next_id(),
                sop_class=one.sop_class,
                sop_instance=one.sop_instance,
                priority=0,
                has_data=True,
                elements={command.MOVE_ORIGINATOR: command.text("STRANGER")},
            )
            context = opened.find(one.sop_class)
            assert context is not None
            opened.send(context, request, one.data)
            assert link.response(opened, 1).command.status == 0x0124
    assert list(tmp_path.iterdir()) == []


def test_orthanc_is_asked_and_fetched_from_both_ways(tmp_path: pathlib.Path) -> None:
    compressed = make.instance(
        9, seed="jpeg", study=UID, syntax=make.JPEG_BASELINE, fragments=[b"\xff\xd8" * 90]
    )
    held = [*STUDY, compressed]
    make.files(tmp_path / "in", held)
    with archives.orthanc(tmp_path / "orthanc") as archive:
        assert program("send", archive.address, tmp_path / "in").code == 0
        ran = program("find", archive.address, "name=ALPHA*", "--json")
        answer = json.loads(ran.out.splitlines()[0])
        assert (answer["NumberOfStudyRelatedInstances"], answer["StudyInstanceUID"]) == ("5", UID)
        assert set(answer["ModalitiesInStudy"].split("\\")) <= {"CT", "OT", "MR"}
        words = ["name=ALPHA*", "--out", tmp_path / "got"]
        assert program("get", archive.address, *words).code == 0
        words = [f"study={UID}", "--out", tmp_path / "moved", "--port", archive.mover]
        assert program("move", archive.address, *words).code == 0
    for out in ("got", "moved"):
        found = {path.stem: pydicom.dcmread(path) for path in (tmp_path / out).rglob("*.dcm")}
        assert set(found) == {one.sop_instance for one in held}
        # What is stored compressed comes as it is.
        assert found[compressed.sop_instance].file_meta.TransferSyntaxUID == make.JPEG_BASELINE


@pytest.mark.parametrize("roles", [True, False], ids=["roles", "no roles"])
def test_pynetdicoms_archive_is_fetched_from(roles: bool, tmp_path: pathlib.Path) -> None:
    def find(event: Any) -> Iterator[Any]:
        found = pydicom.Dataset()
        found.StudyInstanceUID = UID
        found.SOPClassesInStudy = [STUDY[0].sop_class, STUDY[3].sop_class]
        yield 0xFF00, found

    def get(event: Any) -> Iterator[Any]:
        yield len(STUDY)
        for one in STUDY:
            yield 0xFF00, pydicom.dcmread(io.BytesIO(make.part10(one)))

    ae = pynetdicom.AE("PYNETDICOM")
    for number in (1, 3):
        ae.add_supported_context(f"1.2.840.10008.5.1.4.1.2.2.{number}")
    for one in STUDY:
        role = {"scu_role": True, "scp_role": True} if roles else {}
        ae.add_supported_context(one.sop_class, make.EXPLICIT, **role)
    handlers: Any = [(pynetdicom.evt.EVT_C_FIND, find), (pynetdicom.evt.EVT_C_GET, get)]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    assert server is not None
    try:
        address = f"PYNETDICOM@127.0.0.1:{server.server_address[1]}"
        ran = program("get", address, f"study={UID}", "--out", tmp_path, "--retries", "0")
    finally:
        server.shutdown()
    if roles:
        assert (ran.code, ran.error) == (0, "")
        _same(tmp_path, STUDY)
    else:
        assert ran.code == 1
        assert "it granted us no role to take instances in: try move --out" in ran.out


# -- archives that do what they should not ----------------------------------------------------------


def _all(made: Sequence[make.Made]) -> archives.Answers:
    """Sends everything that a request names, with a pending response before each."""

    def get(asked: Asked) -> int:
        wanted = str(asked.fields.get("SOPInstanceUID") or "").split("\\")
        chosen = [one for one in made if wanted == [""] or one.sop_instance in wanted]
        for number, one in enumerate(chosen):
            asked.counts(len(chosen) - number)
            asked.store(one)
        asked.counts(0, SUCCESS)
        return -1

    return get


def test_what_broke_off_is_fetched_again_and_only_what_is_missing(tmp_path: pathlib.Path) -> None:
    requests: list[Any] = []

    def get(asked: Asked) -> int:
        requests.append(asked.fields)
        if len(requests) == 1:
            for one in STUDY[:2]:
                asked.store(one)
            asked.opened.abort()
            return -1
        return _all(STUDY)(asked)

    with odd(holding(STUDY), get) as archive:
        ran = program("get", archive.address, f"study={UID}", "--out", tmp_path)
    assert (ran.code, ran.error) == (0, "")
    assert "aborted the association before it was done; again in" in ran.err
    assert [fields["QueryRetrieveLevel"] for fields in requests] == ["STUDY", "IMAGE", "IMAGE"]
    again = {(fields["SeriesInstanceUID"], fields["SOPInstanceUID"]) for fields in requests[1:]}
    assert again == {(one.series, one.sop_instance) for one in STUDY[2:]}
    _same(tmp_path, STUDY)


def test_an_archive_that_answers_no_queries_is_fetched_from_all_the_same(tmp_path: pathlib.Path) -> None:
    tries: list[int] = []

    def get(asked: Asked) -> int:
        tries.append(1)
        if len(tries) == 1:
            asked.store(STUDY[0])
            asked.opened.abort()
            return -1
        return _all(STUDY[:3])(asked)

    with odd(lambda _: 0xC000, get) as archive:
        ran = program("get", archive.address, f"study={UID}", "--out", tmp_path)
    assert (ran.code, len(tries)) == (0, 2)
    _same(tmp_path, STUDY[:3])


def test_a_path_in_place_of_a_uid_goes_nowhere(tmp_path: pathlib.Path) -> None:
    statuses: list[int] = []
    evil = make.instance(1, seed="evil", study="../../../evil", series="/tmp/evil")

    def get(asked: Asked) -> int:
        for changes in ({"sop_instance": "../../evil"}, {"sop_instance": "1.2.3"}, {"sop_class": make.MR}):
            asked.store(STUDY[0], **changes)
        asked.store(evil)
        asked.store(STUDY[0])
        statuses.extend(asked.statuses)
        asked.counts(0, 0xB000, ["../../evil", STUDY[0].sop_instance])
        return -1

    with odd(holding([STUDY[0], evil]), get) as archive:
        ran = program("get", archive.address, f"study={UID}", "--out", tmp_path / "out")
    assert statuses == [0xC000, 0xC000, 0xC000, 0x0000, 0x0000]
    assert (ran.code, ran.error) == (1, "3 did not arrive")
    assert "../../evil" not in ran.out
    held = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    assert len(held) == 2
    assert all(path.parts[0] == "out" and len(path.parts) == 4 for path in held)


def test_failed_instances_are_named_with_the_peers_words(tmp_path: pathlib.Path) -> None:
    def get(asked: Asked) -> int:
        asked.store(STUDY[0])
        asked.sent[1] = 25
        asked.counts(0, 0xB000, [f"1.2.{number}" for number in range(25)])
        return -1

    with odd(holding(STUDY), get) as archive:
        ran = program("get", archive.address, f"study={UID}", "--out", tmp_path)
    lines = ran.out.splitlines()
    assert lines[0] == "FAILED   0xB000 (some sub-operations failed or had warnings)"
    assert lines[1] == "FAILED   1.2.0: the peer could not send it"
    assert lines[-2] == "FAILED   ... and 5 more instances"
    assert (ran.code, ran.error) == (1, "25 did not arrive")


def test_more_than_was_announced_and_counts_that_do_not_add_up_are_no_problem(tmp_path: pathlib.Path) -> None:
    def get(asked: Asked) -> int:
        asked.counts(1)
        for one in [*STUDY[:3], *STUDY[:3]]:
            asked.store(one)
            asked.counts(0)
        asked.sent[0] = 1
        asked.counts(0, SUCCESS)
        return -1

    with odd(holding(STUDY[:3]), get) as archive:
        ran = program("get", archive.address, f"study={UID}", "--out", tmp_path)
    assert ran.code == 0
    assert ran.out.startswith("3 instances fetched")
    _same(tmp_path, STUDY[:3])


def test_success_without_an_instance_is_no_success(tmp_path: pathlib.Path) -> None:
    with odd(holding(STUDY), lambda _: SUCCESS) as archive:
        ran = program("get", archive.address, "study=1.2.3", "--out", tmp_path)
    assert (ran.code, ran.error) == (1, "nothing came: the peer holds nothing under these keys")


def test_an_archive_without_room_is_asked_again_and_one_that_refuses_is_not(tmp_path: pathlib.Path) -> None:
    says = [0xA701, 0xA702]

    def get(asked: Asked) -> int:
        return says.pop(0) if says else _all(STUDY[:3])(asked)

    with odd(holding(STUDY[:3]), get) as archive:
        assert program("get", archive.address, f"study={UID}", "--out", tmp_path).code == 0
        assert says == []
        says += [0xA900, 0]
        ran = program("get", archive.address, f"study={UID}", "--out", tmp_path)
    assert (ran.code, says) == (1, [0])
    assert "FAILED   0xA900 (the identifier does not match the SOP class" in ran.out


def test_ctrl_c_cancels_and_tells_what_arrived(tmp_path: pathlib.Path) -> None:
    stop = persist.Stop()
    many = make.series(400, seed="many", size=2000)

    def get(asked: Asked) -> int:
        for number, one in enumerate(many):
            asked.counts(len(many) - number)
            asked.store(one)
            if number == 2:
                stop.pressed()
            if asked.cancelled:
                asked.counts(0, 0xFE00)
                return -1
        asked.counts(0, SUCCESS)
        return -1

    with odd(holding([]), get) as archive:
        into = folder.Folder(tmp_path)
        plan = fetching.Plan(archive.peer, model.Settings(), query.Root.STUDY, 30.0, 3, sink=into)
        request = listing.Request(model.Level.STUDY, {"StudyInstanceUID": many[0].study})
        bar = functools.partial(fetching.bars, as_json=True)
        summary = fetching.run(plan, [request, request], fetching.Tally(), stop, bar=bar)
    assert summary.cancelled
    assert summary.requests == 1
    assert 3 <= summary.arrived == len(list(tmp_path.rglob("*.dcm"))) < len(many)


def test_a_full_disk_is_answered_and_ends_with_what_is_missing(tmp_path: pathlib.Path) -> None:
    (tmp_path / "node.toml").write_text('[storage]\nmin_free = "900 TB"\n')
    with odd(holding(STUDY[:3]), _all(STUDY[:3])) as archive:
        more = ["--out", tmp_path / "out", "--config", tmp_path / "node.toml"]
        ran = program("get", archive.address, f"study={UID}", *more)
    assert (ran.code, ran.error) == (1, "3 did not arrive")
    assert list((tmp_path / "out").iterdir()) == []
