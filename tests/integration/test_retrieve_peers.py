"""Who retrieves from a node, and where it sends: DCMTK, Orthanc, pynetdicom, and what they do not take."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import pathlib
import subprocess
from collections.abc import Iterator, Sequence
from typing import Any

import pydicom
import pynetdicom
import pytest
from pynetdicom import evt

from node import model, orders
from node.dicom import part10
from node.wire import classes
from tests import archives, encoded, make, orthanc, peers, ports, retrieving, scu, small, stored

CT = make.series(6, seed="ct peers", size=75_000)
STUDY = CT[0].study
MR = make.series(2, seed="mr peers", study=STUDY, sop_class=make.MR)
PACKED = "1.2.840.10008.5.1.4.1.1.7.3"  # what `encoded` makes: multi-frame secondary capture
RLE = "1.2.840.10008.1.2.5"
GET = "1.2.840.10008.5.1.4.1.2.2.3"


@dataclasses.dataclass(frozen=True)
class Scene:
    """A node and the destinations that it knows."""

    node: small.Small
    sink: retrieving.Sink  # known as SINK, and as RESEARCH through a coercion
    kinds: retrieving.Sink  # known as KINDS
    receiver: int  # where the destination MOVESCU is called
    archive: archives.Archive  # DCMTK's, known as ARCHIVE
    other: orthanc.Orthanc  # known as ORTHANC

    def put(self, made: Sequence[make.Made]) -> None:
        """Have the node hold these."""
        for one in made:
            stored.send(self.node.receiver, one)
        self.node.settle()

    def move(self, study: str, to: str) -> scu.Response:
        """The end of a C-MOVE of a study."""
        with retrieving.asking(self.node.address) as asker:
            last = asker.moved(retrieving.identifier(level="STUDY", study=study), to)[1]
            asker.release()
        return last


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    root = tmp_path_factory.mktemp("peers")
    with contextlib.ExitStack() as stack:
        sink, peer = stack.enter_context(retrieving.sink())
        kinds, third = stack.enter_context(retrieving.sink("KINDS"))
        archive = stack.enter_context(archives.dcmqrscp(root / "archive"))
        other, receiver, plain, picky = (ports.free() for _ in range(4))
        known = [
            peer,
            third,
            dataclasses.replace(archive.peer, aet="ARCHIVE", name="archive"),
            model.Peer("orthanc", "ORTHANC", "127.0.0.1", other, rights=frozenset(model.Right)),
            model.Peer("movescu", "MOVESCU", "127.0.0.1", receiver, rights=frozenset(model.Right)),
            model.Peer("plain", "PLAIN", "127.0.0.1", plain),
            model.Peer("picky", "PICKY", "127.0.0.1", picky),
        ]
        steps = ({"set": "PatientName", "to": "NOBODY"}, {"remap": "a secret of the test"})
        node = stack.enter_context(
            small.node(
                root / "data",
                peers=known,
                destinations=[orders.Destination("RESEARCH", "sink", "COPIER", "hidden")],
                coerce=[model.Coercion("hidden", steps)],
            )
        )
        modality = {"AET": "NODE", "Host": "127.0.0.1", "Port": node.address[1]}
        running = orthanc.Orthanc(root / "orthanc", modality, DicomPort=other, DicomAet="ORTHANC")
        stack.callback(running.stop)
        for port, sop_classes, syntax in (
            (plain, (make.CT, PACKED), make.IMPLICIT),
            (picky, (make.CT,), make.EXPLICIT),
        ):
            stack.enter_context(_pynetdicom(port, sop_classes, syntax))
        made = Scene(node, sink, kinds, receiver, archive, running)
        made.put([*CT, *MR])
        yield made


TAKEN: dict[str, dict[str, Any]] = {}  # by title, what pynetdicom's servers took


@contextlib.contextmanager
def _pynetdicom(port: int, sop_classes: Sequence[str], syntax: str) -> Iterator[None]:
    def keep(event: Any) -> int:
        data = event.request.DataSet.getvalue()
        TAKEN.setdefault(syntax, {})[str(event.request.AffectedSOPInstanceUID)] = data
        return 0

    entity = pynetdicom.AE()
    for sop_class in sop_classes:
        entity.add_supported_context(sop_class, syntax)
    server = entity.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, keep)])
    assert server is not None
    try:
        yield
    finally:
        server.shutdown()


def _run(program: str, *words: object, cwd: pathlib.Path) -> str:
    done = subprocess.run(
        [peers.require(program), *map(str, words)],
        env=peers.environment(),
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    return said


def _data_sets(folder: pathlib.Path) -> list[bytes]:
    found = []
    for path in folder.iterdir():
        raw = path.read_bytes()
        found.append(raw[part10.part10(raw).offset :])
    return sorted(found)


# -- who asks ---------------------------------------------------------------------------------------


def _asked(level: str, **keys: str) -> list[str]:
    said = ["-k", f"QueryRetrieveLevel={level}"]
    for name, value in keys.items():
        said += ["-k", f"{name}={value}"]
    return said


def test_getscu_gets_the_bytes_of_a_study(scene: Scene, tmp_path: pathlib.Path) -> None:
    keys = _asked("STUDY", StudyInstanceUID=STUDY)
    where = ("-aec", "NODE", *scene.node.address)
    (tmp_path / "out").mkdir()
    said = _run("getscu", "-v", "-S", "+B", "-od", "out", *keys, *where, cwd=tmp_path)
    assert "Number of Completed Suboperations : 8" in said
    assert _data_sets(tmp_path / "out") == sorted(one.data for one in (*CT, *MR))


@pytest.mark.parametrize("model_", ["-P", "-O"])
def test_getscu_asks_in_the_other_models(scene: Scene, tmp_path: pathlib.Path, model_: str) -> None:
    patient = str(pydicom.dcmread(_file(CT[0])).PatientID)
    keys = _asked("STUDY", PatientID=patient, StudyInstanceUID=STUDY)
    said = _run("getscu", "-v", model_, "--ignore", *keys, "-aec", "NODE", *scene.node.address, cwd=tmp_path)
    assert "Number of Completed Suboperations : 8" in said


def test_movescu_receives_what_it_moves(scene: Scene, tmp_path: pathlib.Path) -> None:
    keys = _asked("SERIES", StudyInstanceUID=STUDY, SeriesInstanceUID=CT[0].series)
    (tmp_path / "out").mkdir()
    called = ("-aec", "NODE", "-aem", "MOVESCU", "-aet", "MOVESCU", "+P", scene.receiver)
    said = _run("movescu", "-v", "-S", *called, "-od", "out", *keys, *scene.node.address, cwd=tmp_path)
    assert "Received Final Move Response (Success)" in said
    # It writes them anew: the pixels must be those.
    taken = {
        str(one.SOPInstanceUID): one.PixelData for one in map(pydicom.dcmread, (tmp_path / "out").iterdir())
    }
    assert set(taken) == {one.sop_instance for one in CT}
    assert all(taken[one.sop_instance] in one.data for one in CT)


def test_pynetdicom_gets_one_instance(scene: Scene) -> None:
    taken: list[bytes] = []

    def keep(event: Any) -> int:
        taken.append(event.request.DataSet.getvalue())
        return 0

    entity = pynetdicom.AE("PYNETDICOM")
    entity.add_requested_context(GET)
    entity.add_requested_context(make.CT, make.EXPLICIT)
    role = pynetdicom.build_role(make.CT, scp_role=True)
    link = entity.associate(
        *scene.node.address, ae_title="NODE", ext_neg=[role], evt_handlers=[(evt.EVT_C_STORE, keep)]
    )
    assert link.is_established
    asked = pydicom.Dataset()
    asked.QueryRetrieveLevel = "IMAGE"
    asked.StudyInstanceUID, asked.SeriesInstanceUID = CT[0].study, CT[0].series
    asked.SOPInstanceUID = [CT[1].sop_instance, CT[3].sop_instance]
    statuses = [
        (status.Status, status.get("NumberOfCompletedSuboperations"))
        for status, _ in link.send_c_get(asked, GET)
    ]
    link.release()
    assert statuses[-1] == (0, 2)
    assert taken == [CT[1].data, CT[3].data]


def test_orthanc_has_a_study_moved_to_itself(scene: Scene) -> None:
    made = make.series(4, seed="orthanc asks", size=75_000)
    scene.put(made)
    before = scene.other.ask("GET", "/statistics")["CountInstances"]
    wanted = {"Level": "Study", "Resources": [{"StudyInstanceUID": made[0].study}], "TargetAet": "ORTHANC"}
    scene.other.ask("POST", "/modalities/node/move", json.dumps(wanted).encode())
    assert scene.other.ask("GET", "/statistics")["CountInstances"] == int(str(before)) + 4


# -- where to ---------------------------------------------------------------------------------------


def test_orthanc_is_a_destination(scene: Scene) -> None:
    before = scene.other.ask("GET", "/statistics")["CountInstances"]
    last = scene.move(STUDY, "ORTHANC")
    assert (last.status, retrieving.counts(last).completed) == (0, 8), last.comment
    assert scene.other.ask("GET", "/statistics")["CountInstances"] == int(str(before)) + 8


def test_dcmqrscp_is_a_destination(scene: Scene, tmp_path: pathlib.Path) -> None:
    last = scene.move(STUDY, "ARCHIVE")
    assert (last.status, retrieving.counts(last).completed) == (0, 8), last.comment
    host, port = scene.archive.peer.host, scene.archive.peer.port
    keys = _asked("IMAGE", StudyInstanceUID=STUDY, SeriesInstanceUID=CT[0].series, SOPInstanceUID="")
    said = _run("findscu", "-S", "-aec", "ARCHIVE", *keys, host, port, cwd=tmp_path)
    assert all(one.sop_instance in said for one in CT)


def test_a_destination_that_takes_one_of_two_classes(scene: Scene) -> None:
    last = scene.move(STUDY, "PICKY")
    assert last.status == 0xB000
    assert retrieving.counts(last) == retrieving.Counts(None, 6, 2, 0)
    assert sorted(retrieving.failed(last)) == sorted(one.sop_instance for one in MR)
    assert make.MR in last.comment
    assert TAKEN[make.EXPLICIT] == {one.sop_instance: one.data for one in CT}


def test_what_is_not_taken_as_it_is_stored_is_transcoded(scene: Scene, tmp_path: pathlib.Path) -> None:
    study = make.uid("transcoded")
    packed = encoded.encoded(RLE, tmp_path)
    plain = make.instance(1, study=study, seed="transcoded")
    scene.put([packed, plain])
    assert scene.move(packed.study, "PLAIN").status == 0
    assert scene.move(study, "PLAIN").status == 0
    for one in (packed, plain):
        taken = pydicom.dcmread(
            _file(dataclasses.replace(one, syntax=make.IMPLICIT, data=TAKEN[make.IMPLICIT][one.sop_instance]))
        )
        held = pydicom.dcmread(_file(one))
        assert taken.pixel_array.tolist() == held.pixel_array.tolist()
    with retrieving.asking(
        scene.node.address,
        GET,
        [scu.Context(packed.sop_class, (make.EXPLICIT,))],
        roles={packed.sop_class: (0, 1)},
    ) as asker:
        got, _, last = asker.got(retrieving.identifier(level="STUDY", study=packed.study))
        asker.release()
    assert last.status == 0
    assert len(got[packed.sop_instance]) > len(packed.data)


def _file(made: make.Made) -> Any:
    return pydicom.filebase.DicomBytesIO(make.part10(made))


def test_a_destinations_coercion_applies_and_failures_keep_their_held_names(scene: Scene) -> None:
    made = make.series(3, seed="coerced")
    scene.put(made)
    scene.sink.__init__()  # type: ignore[misc]
    scene.sink.status = lambda _: 0xC000 if len(scene.sink.stored) == 2 else 0
    # Its peer's own title means the same: nobody goes round the coercion.
    for title in ("RESEARCH", "SINK"):
        scene.sink.stored.clear()
        last = scene.move(made[0].study, title)
        assert last.status == 0xB000
        assert retrieving.failed(last) == [made[1].sop_instance]
        taken = [
            pydicom.dcmread(_file(dataclasses.replace(made[0], data=data)))
            for _, _, data in scene.sink.stored
        ]
        assert {str(one.PatientName) for one in taken} == {"NOBODY"}
        assert not {str(one.SOPInstanceUID) for one in taken} & {one.sop_instance for one in made}
        for (asked, _, _), one in zip(scene.sink.stored, taken, strict=True):
            assert asked.sop_instance == str(one.SOPInstanceUID)


def test_more_kinds_than_one_association_has_contexts(scene: Scene) -> None:
    study, names = make.uid("kinds"), sorted(classes.STORAGE)
    kinds = [(one, make.EXPLICIT) for one in names[:110]] + [(one, make.IMPLICIT) for one in names[:40]]
    made = [
        make.instance(number, study=study, seed=f"kind {number}", sop_class=one, syntax=syntax, size=2600)
        for number, (one, syntax) in enumerate(kinds)
    ]
    scene.put(made)
    last = scene.move(study, "KINDS")
    assert last.status == 0, last.comment
    assert retrieving.counts(last) == retrieving.Counts(None, 150, 0, 0)
    assert scene.kinds.bodies() == {one.sop_instance: one.data for one in made}
    assert {(asked.sop_class, syntax) for asked, syntax, _ in scene.kinds.stored} == set(kinds)
    assert len(scene.kinds.associations) > 1
