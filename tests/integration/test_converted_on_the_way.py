"""Series that routes convert: into a folder, for a program and back, for a peer; with a real courier."""

from __future__ import annotations

import contextlib
import datetime
import io
import json
import os
import pathlib
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator

import nibabel
import numpy as np
import pydicom
import pytest
import sqlalchemy

from node import converters, converting, errors, model, orders, receive, workers
from node.faulty import pacs as faulty
from node.faulty import plan as faulty_plan
from node.index import ledger, tables
from node.push import converted
from node.push import courier as push
from node.send import destinations
from tests import series, stored

NOW = datetime.datetime(2026, 11, 21, 8, tzinfo=datetime.UTC)
PYTHON = os.path.realpath(sys.executable)
DONE, DUE, DEAD = orders.State.DONE, orders.State.DUE, orders.State.DEAD


@pytest.fixture(scope="module")
def converter() -> Iterator[converters.Converter]:
    with contextlib.closing(converters.Converter(processes=1)) as made:
        yield made


class _Asked:
    """A converter that keeps what it was asked."""

    def __init__(self, inner: converters.Converter) -> None:
        self.requests: list[converting.Request] = []
        self.cut = inner.cut
        self._inner = inner

    def convert(self, request: converting.Request, size: int) -> converting.Report:
        self.requests.append(request)
        return self._inner.convert(request, size)


class Way:
    """Series that are held, and a courier that converts them for one destination."""

    def __init__(self, root: pathlib.Path, converter: converters.Converter) -> None:
        self.root = root
        self.data = stored.data(root / "data")
        self.opened = contextlib.ExitStack()
        self.database = self.opened.enter_context(stored.database(self.data))
        self.converter = _Asked(converter)
        self.came_back: list[pydicom.Dataset] = []
        self._orders = self._last = 0

    def hold(self, name: str, only: slice = slice(None), modality: str = "") -> None:
        """Take a series of `tests.series` into the node."""
        with stored.receiver(self.data) as receiver:
            folder = self.root / "series" / name
            paths = series.write(name, folder)
            if modality:
                paths = [path for path in paths if pydicom.dcmread(path).Modality == modality]
                assert paths
            for path in paths[only]:
                receiver.import_file(path, receive.Sender("", "", "import", "", "x"))
        stored.file_all(self.data, self.database)

    def accept(self, paths: list[str], source: str) -> int:
        self.came_back += [pydicom.dcmread(io.BytesIO(pathlib.Path(path).read_bytes())) for path in paths]
        return len(paths)

    def carry(
        self,
        destination: orders.Destination,
        *peers: model.Peer,
        before: Callable[[push.Courier], object] = lambda _: None,
        **options: object,
    ) -> tuple[str, list[ledger.Member]]:
        """Owe everything that is held to the destination, carry it once; the trip's error, and all of it."""
        settings = model.Settings(
            peers=peers, destinations=(destination,), storage=model.StorageSettings(min_free=0)
        )
        with contextlib.ExitStack() as stack:
            database = self.database
            senders = stack.enter_context(
                contextlib.closing(
                    destinations.Senders(
                        settings,
                        self.data,
                        database=database,
                        accept=self.accept,  # type: ignore[arg-type]
                        idle=0.1,
                    )
                )
            )
            courier = stack.enter_context(
                contextlib.closing(
                    push.Courier(database, self.data, senders, settings, worker="w", converter=self.converter)
                )
            )
            self._orders += 1
            step = orders.StepSetting("convert", options)
            query = (
                sqlalchemy.select(
                    tables.instance.c.key,
                    tables.instance.c.sop_instance,
                    tables.series.c.series,
                    tables.study.c.study,
                )
                .join(tables.series, tables.series.c.key == tables.instance.c.series_key)
                .join(tables.study, tables.study.c.key == tables.series.c.study_key)
            )
            with database.write() as connection:
                rows = connection.execute(query).all()
                order = ledger.Order(
                    destination.name, rows[0].study, rows[0].series, f"r{self._orders}", 1, steps=(step,)
                )
                held = [(row.key, row.sop_instance) for row in rows if row.series == rows[0].series]
                key = ledger.enqueue(connection, order, held, NOW, again=True)
                self._last = key = key or self._last  # it may be owed still
                consignment = ledger.get(connection, key)
            assert consignment is not None
            before(courier)
            trip = courier.carry(consignment, destination, bool, lambda: None)
            with database.write() as connection:
                ledger.record(connection, key, trip.attempts, NOW)
                return trip.failed or trip.error, list(ledger.members(connection, key))

    def folder(self, **how: object) -> orders.Destination:
        out = self.root / "out"
        return orders.Destination("out", kind=orders.Kind.FOLDER, folder=out, **how)  # type: ignore[arg-type]

    def program(self, script: str, **how: object) -> orders.Destination:
        path = self.root / "program.py"
        path.write_text(script)
        command = (PYTHON, str(path), "{in}", "{out}")
        return orders.Destination("tool", kind=orders.Kind.COMMAND, command=command, **how)  # type: ignore[arg-type]

    @property
    def files(self) -> list[str]:
        """What is to be seen below the folder."""
        root = self.root / "out"
        found = (path.relative_to(root) for path in root.rglob("*") if path.is_file())
        return sorted(path.as_posix() for path in found if not path.parts[0].startswith("."))


@pytest.fixture
def way(tmp_path: pathlib.Path, converter: converters.Converter) -> Iterator[Way]:
    made = Way(tmp_path, converter)
    with made.opened:
        yield made


def _states(members: list[ledger.Member]) -> set[orders.State]:
    return {member.state for member in members}


def test_a_folder_gets_files_of_the_series(way: Way) -> None:
    way.hold("ct_axial")
    destination = way.folder(template="{Modality}/{StudyDate}/{InstanceNumber}.dcm")
    error, members = way.carry(destination, to="nifti", options="sidecar=no")
    assert (error, _states(members), len(members)) == ("", {DONE}, 5)
    (name,) = way.files
    assert name.startswith("CT/")
    assert members[0].error.startswith("it became CT/")
    made = nibabel.load(way.root / "out" / name)
    assert np.array_equal(np.asarray(made.dataobj).T.ravel(), np.arange(400) - 1024)
    assert not list((way.data.root / "run" / "converting").iterdir())


def test_what_the_index_knows_is_not_read_again_and_gives_the_same(way: Way) -> None:
    way.hold("ct_tilted")
    way.carry(way.folder(), to="nifti", options="sidecar=no", name="{Modality}/known")
    way.carry(way.folder(), to="nifti", options="sidecar=no", name="{Modality}/known", split="EchoTime")
    known, read = way.converter.requests
    assert known.table is not None
    assert read.table is None
    (path,) = (way.root / "out" / "CT").iterdir()
    data = path.read_bytes()
    way.carry(way.folder(), to="nifti", options="sidecar=no", name="{Modality}/known")
    assert path.read_bytes() == data


def test_late_instances_make_the_same_file_again(way: Way) -> None:
    way.hold("ct_axial", slice(0, 3))
    way.carry(way.folder(), to="nrrd", name="{Modality}")
    before = (way.root / "out" / "CT.nrrd").stat().st_size
    way.hold("ct_axial", slice(3, None))
    _, members = way.carry(way.folder(), to="nrrd", name="{Modality}")
    assert (_states(members), len(members)) == ({DONE}, 5)
    assert way.files == ["CT.nrrd"]
    assert (way.root / "out" / "CT.nrrd").stat().st_size > before


def test_late_instances_make_the_same_folder_again(way: Way) -> None:
    way.hold("ct_axial", slice(0, 3))
    way.carry(way.folder(), to="dicom", name="{Modality}")
    way.hold("ct_axial", slice(3, None))
    _, members = way.carry(way.folder(), to="dicom", name="{Modality}")
    assert _states(members) == {DONE}
    assert [path.split("/")[0] for path in way.files] == ["CT"] * 5


def test_what_another_has_made_is_not_replaced(way: Way) -> None:
    (way.root / "out").mkdir()
    (way.root / "out" / "CT.nrrd").write_bytes(b"another's")
    way.hold("ct_axial")
    way.carry(way.folder(), to="nrrd", name="{Modality}")
    assert way.files == ["CT-2.nrrd", "CT.nrrd"]
    assert (way.root / "out" / "CT.nrrd").read_bytes() == b"another's"


def test_a_series_without_a_volume_is_done_and_not_dead(way: Way) -> None:
    way.hold("ct_mixed", modality="SR")
    error, members = way.carry(way.folder(), to="nifti")
    assert (error, _states(members)) == ("", {DONE}), members[0].error
    assert "nothing was converted" in members[0].error
    assert way.files == []


def test_gaps_are_left_out_on_request(way: Way) -> None:
    way.hold("ct_gap")
    _, members = way.carry(way.folder(), to="nifti", partial="skip")
    assert _states(members) == {DONE}
    assert "has gaps" in members[0].error
    assert way.files == []
    _, members = way.carry(way.folder(), to="nifti")
    assert "is not complete: gaps" in members[0].error
    assert len(way.files) == 2


def test_a_folder_that_is_not_there_is_the_lane_s_failure(way: Way) -> None:
    way.hold("ct_axial")
    gone = orders.Destination("out", kind=orders.Kind.FOLDER, folder=way.root / "no" / "where")
    error, members = way.carry(gone, to="nifti")
    assert "is not there" in error
    assert _states(members) == {DUE}
    assert members[0].attempts == 0


def test_a_program_gets_the_volume_and_what_it_makes_comes_back(way: Way) -> None:
    way.hold("ct_axial")
    script = (
        "import os, shutil, sys\n"
        "names = sorted(os.listdir(sys.argv[1]))\n"
        "assert [name.split('.')[-1] for name in names] == ['nii'], names\n"
        "shutil.copy(sys.argv[1] + '/' + names[0], sys.argv[2] + '/result.nii')\n"
        "open(sys.argv[2] + '/notes.txt', 'w').write('fine')\n"
    )
    error, members = way.carry(
        way.program(script), to="nifti", options="sidecar=no", description="Twice", number=900
    )
    assert (error, _states(members)) == ("", {DONE}), members[0].error
    assert "5 instances were taken back; 1 files that are no DICOM were dropped" in members[0].error
    original = pydicom.dcmread(next((way.root / "series" / "ct_axial").iterdir()))
    assert len(way.came_back) == 5
    for one in way.came_back:
        assert (one.PatientID, one.StudyInstanceUID) == (original.PatientID, original.StudyInstanceUID)
        assert one.SeriesInstanceUID != original.SeriesInstanceUID
        assert (one.SeriesDescription, int(one.SeriesNumber)) == ("Twice", 900)


def test_a_program_may_want_the_instances_too_and_no_results_back(way: Way) -> None:
    way.hold("ct_axial")
    script = (
        "import os, shutil, sys\n"
        "assert len(os.listdir(sys.argv[1] + '/dicom')) == 5\n"
        "names = [name for name in os.listdir(sys.argv[1]) if name.endswith('.nrrd')]\n"
        "shutil.copy(sys.argv[1] + '/' + names[0], sys.argv[2] + '/result.nrrd')\n"
    )
    error, members = way.carry(way.program(script), to="nrrd", dicom=True, back="no")
    assert (error, _states(members), way.came_back) == ("", {DONE}, [])
    assert "1 files that are no DICOM were dropped" in members[0].error


def test_a_program_is_not_run_for_what_is_no_volume(way: Way) -> None:
    way.hold("ct_mixed", modality="SR")
    error, members = way.carry(way.program("raise SystemExit(1)"), to="nifti")
    assert (error, _states(members)) == ("", {DONE}), members[0].error
    assert "nothing was converted" in members[0].error


def test_a_reason_tells_no_names_of_files() -> None:
    root = pathlib.Path("/srv/out (1)")
    said = "/srv/out (1)/.parts/x/SYN ALPHA.nii cannot be written (No space)"
    assert converted.discreet(said, root) == "a file in /srv/out (1) cannot be written (No space)"
    assert converted.discreet("nothing decodes 1.2.3", root) == "nothing decodes 1.2.3"
    assert "ALPHA" not in converted.discreet("/srv/out (1)/ALPHA^B/x is there already", root)


@pytest.mark.soak
def test_a_mask_that_a_program_makes_comes_back_as_a_segmentation(way: Way) -> None:
    way.hold("ct_axial")
    script = (
        "import array, os, sys\n"
        "(name,) = os.listdir(sys.argv[1])\n"
        "head, _, raw = open(f'{sys.argv[1]}/{name}', 'rb').read().partition(b'\\n\\n')\n"
        "lines = [b'type: uint8' if line.startswith(b'type') else line for line in head.split(b'\\n')]\n"
        "values = array.array('i' if b'int32' in head else 'h', raw)\n"
        "mask = bytes(value > -900 for value in values)\n"
        "open(sys.argv[2] + '/mask.nrrd', 'wb').write(b'\\n'.join(lines) + b'\\n\\n' + mask)\n"
    )
    error, members = way.carry(
        way.program(script), to="nrrd", back="seg", back_options="segments=1=liver", description="Liver"
    )
    assert (error, _states(members)) == ("", {DONE}), members[0].error
    (made,) = way.came_back
    assert (made.Modality, made.SeriesDescription) == ("SEG", "Liver")
    assert made.SegmentSequence[0].SegmentLabel == "liver"
    assert {
        one.ReferencedSOPInstanceUID for one in made.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    } <= {member.sop_instance for member in members}


@pytest.fixture
def pacs() -> Iterator[faulty.Faulty]:
    with faulty.Faulty() as opened:
        yield opened


def _peer(pacs: faulty.Faulty) -> model.Peer:
    host, port = pacs.address
    return model.Peer("pacs", pacs.aet, host, port)


def test_a_peer_gets_what_was_made_and_the_same_each_time(way: Way, pacs: faulty.Faulty) -> None:
    way.hold("ct_axial")
    destination = orders.Destination("pacs", peer="pacs")
    error, members = way.carry(destination, _peer(pacs), to="dicom", description="Slices")
    assert (error, _states(members)) == ("", {DONE}), members[0].error
    assert members[0].error == "it became 5 instances"
    first = set(pacs.stored)
    assert len(first) == 5
    assert not first & {member.sop_instance for member in members}
    way.carry(destination, _peer(pacs), to="dicom", description="Slices")
    assert set(pacs.stored) == first


def test_what_a_peer_refuses_is_refused_for_all(way: Way, pacs: faulty.Faulty) -> None:
    way.hold("ct_axial")
    pacs.plan = faulty_plan.Plan(refuse=frozenset({"1.2.840.10008.5.1.4.1.1.2"}))
    _, members = way.carry(orders.Destination("pacs", peer="pacs"), _peer(pacs), to="dicom")
    assert _states(members) == {DEAD}
    assert pacs.stored == {}


def test_what_a_destination_does_not_take_is_not_tried(way: Way, pacs: faulty.Faulty) -> None:
    way.hold("ct_axial")
    error, members = way.carry(orders.Destination("pacs", peer="pacs"), _peer(pacs), to="nifti")
    assert "takes DICOM only" in error
    assert (_states(members), pacs.associations) == ({DUE}, 0)


@pytest.mark.parametrize(
    ("how", "state"), [(signal.SIGKILL, DUE), (signal.SIGSEGV, DEAD)], ids=["killed", "crashed"]
)
def test_a_worker_that_dies_over_a_series_leaves_no_file(
    way: Way, converter: converters.Converter, how: signal.Signals, state: orders.State
) -> None:
    """It is stopped, so that it is surely at work, and then dies."""
    way.hold("ct_axial")
    way.carry(way.folder(), to="nrrd", name="{Modality}/first")
    (worker,) = converter.workers.idle

    def kill() -> None:
        while converter.workers.idle:
            threading.Event().wait(0.01)
        os.kill(worker.process.pid, how)
        os.kill(worker.process.pid, signal.SIGCONT)

    killer = threading.Thread(target=kill)

    def begin(_: push.Courier) -> None:
        os.kill(worker.process.pid, signal.SIGSTOP)
        killer.start()

    _, members = way.carry(way.folder(), to="nrrd", name="{Modality}/second", before=begin)
    killer.join(30)
    assert _states(members) == {state}
    assert way.files == ["CT/first.nrrd"]
    _, members = way.carry(way.folder(), to="nrrd", name="{Modality}/second")  # by another
    assert _states(members) == {DONE}
    assert way.files == ["CT/second.nrrd"]  # in the place of what it was


def test_what_is_cut_short_is_nobody_s_fault(way: Way, converter: converters.Converter) -> None:
    way.hold("ct_axial")
    way.carry(way.folder(), to="nrrd")
    (worker,) = converter.workers.idle

    def begin(courier: push.Courier) -> None:
        os.kill(worker.process.pid, signal.SIGSTOP)

        def cut() -> None:
            while converter.workers.idle:
                threading.Event().wait(0.01)
            courier.cut("this node stops")

        threading.Thread(target=cut).start()

    error, members = way.carry(way.folder(), to="nrrd", before=begin)
    assert error == "this node stops"
    assert (_states(members), members[0].attempts) == ({DUE}, 0)


def test_a_worker_ends_with_who_asked_it_also_while_it_works() -> None:
    worker = workers.Worker(converters.KIND, 600.0)
    reading, writing = os.pipe()  # a request that never comes to its end
    words = json.dumps({"memory": 1 << 30, "seconds": 600}).encode()
    socket.send_fds(worker._socket, [words], [reading, reading])
    worker._socket.close()
    assert worker.process.wait(60) == -signal.SIGKILL
    os.close(reading)
    os.close(writing)


def test_a_worker_does_what_is_a_request_alone(converter: converters.Converter) -> None:
    with pytest.raises(errors.UsageError, match="no request"):
        converter.convert("not one", 0)  # type: ignore[arg-type]
