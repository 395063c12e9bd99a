"""Queries beside receiving: fifty workstations ask while four modalities send; who waits for whom."""

from __future__ import annotations

import dataclasses
import datetime
import os
import pathlib
import pickle
import random
import statistics
import struct
import threading
import time
from typing import Self

from bench import big_index, client, contestants, corpora, harness
from bench.harness import Target
from node.dicom import identifier
from node.index import db, ingest, migrate
from tests import indexed, make, scu

CLIENTS = 50  # workstations with an open association
EVERY = 1.0  # seconds between the questions of one
STUDIES = 4000
PER_STUDY = 6
SENDERS = 4
EACH = {"4 kB": 2500, "75 kB": 1000}  # instances of one modality

STUDY_ROOT = "1.2.840.10008.5.1.4.1.2.2.1"
_FIRST = datetime.date(2020, 1, 1)


@dataclasses.dataclass(frozen=True, slots=True)
class Asked:
    """One question."""

    begun: float  # monotonic seconds, the same clock for all processes
    seconds: float  # until the last answer
    answers: int


def run(bench: harness.Bench) -> None:
    """Measure."""
    kind = big_index.node_with(archive())
    for size, full in EACH.items():
        if not bench.wants(size):
            continue
        each = bench.count(full)
        idle: list[float] = []
        loaded: list[float] = []
        alone: list[float] = []
        shares: list[float] = []
        with contestants.running(kind) as receiver:
            _Side(receiver.port, size, each // 4).measure()  # what is loaded once is no query's cost
            for number in range(bench.runs):
                side = _Side(receiver.port, size, each)
                side.measure()
                idle += side.idle
                loaded += side.loaded
                alone.append(side.alone)
                shares.append(side.beside / side.alone)
                print(f"  {size} {number + 1}/{bench.runs}: {side}", flush=True)
        median = statistics.median(idle)
        bench.record(f"{size}: a selective query, nobody sends, median", median * 1000, "ms")
        loaded.sort()
        worst = loaded[int(len(loaded) * 0.99)]
        told = f"{worst * 1000:.1f} ms; median {statistics.median(loaded) * 1000:.1f}, {len(loaded)} queries"
        bench.record(
            f"{size}: the same while {SENDERS} send, 99 of 100",
            worst / median,
            "x",
            target=Target(5, at_least=False),
            note=told,
        )
        bench.record(f"{size}: received, nobody asks", statistics.median(alone), "/s")
        bench.record(
            f"{size}: received while {CLIENTS} ask, share of that",
            statistics.median(shares),
            "",
            target=Target(0.75),
            note=f"{min(shares):.2f} - {max(shares):.2f}",
        )


def archive() -> pathlib.Path:
    """An index of 24,000 instances in 4,000 studies, made once; there are no files behind it."""
    path = corpora.HERE / f"index-studies-{STUDIES}-{migrate.revisions()[-1]}.db"
    if path.exists():
        return path
    corpora.HERE.mkdir(exist_ok=True)
    unfinished = path.with_suffix(".new")
    unfinished.unlink(missing_ok=True)
    database = db.open(f"sqlite:///{unfinished}")
    try:
        migrate.upgrade(database)
        for first in range(0, STUDIES, 50):
            with database.write() as connection:
                items = [_item(s, n) for s in range(first, first + 50) for n in range(PER_STUDY)]
                decided = [indexed.placed(one) for one in ingest.decide(connection, items)]
                ingest.record(connection, decided)
    finally:
        database.close()
    unfinished.replace(path)
    return path


def _item(study: int, number: int) -> ingest.Item:
    uid = make.uid("study", study)
    day = _FIRST + datetime.timedelta(days=study // 2)
    return indexed.item(
        number + 1,
        study=uid,
        series=f"{uid[:50]}.1",
        position=(study * PER_STUDY + number + 1) * 4096,
        patient_id=f"SYN-{study:05}",
        patient_name=f"SYNTHETIC^N{study:05}",
        study_date=day.strftime("%Y%m%d"),
        study_time="101112",
        accession_number=f"A{study:05}",
        study_description="Synthetic study",
    )


class _Side:
    """Receiving alone and beside queries, one right after the other, on the same node."""

    def __init__(self, port: int, size: str, each: int) -> None:
        self.idle: list[float] = []  # seconds of queries before anybody sends
        self.loaded: list[float] = []  # while all four send
        self.alone = self.beside = 0.0  # instances a second
        self._port, self._size, self._each = port, size, each

    def measure(self) -> None:
        """Do it."""
        self.alone = self._rate(client.fan_out(self._port, SENDERS, self._each, self._size))
        time.sleep(1.0)  # what was acknowledged is filed
        with _Workstations(self._port) as crowd:
            time.sleep(3.0)
            quiet = time.monotonic()
            sent = client.fan_out(self._port, SENDERS, self._each, self._size)
        self.beside = self._rate(sent)
        begun, ended = max(one.begun for one in sent), min(one.ended for one in sent)
        self.idle = [one.seconds for one in crowd.asked if one.begun < quiet]
        self.loaded = [one.seconds for one in crowd.asked if begun <= one.begun <= ended]
        if not self.loaded:
            raise RuntimeError("nobody asked anything while the modalities sent; send more")

    def _rate(self, sent: list[client.Sent]) -> float:
        if any(one.stored != self._each for one in sent):
            raise RuntimeError("not every instance was acknowledged")
        seconds = max(one.ended for one in sent) - min(one.begun for one in sent)
        return self._each * len(sent) / seconds

    def __str__(self) -> str:
        worst = sorted(self.loaded)[int(len(self.loaded) * 0.99)] * 1000
        return f"{self.alone:,.0f} /s alone, {self.beside:,.0f} beside; 99 of 100 queries {worst:.1f} ms"


class _Workstations:
    """A process of clients that each ask once a second, by a patient, a day or the beginning of a name."""

    def __init__(self, port: int) -> None:
        self.asked: list[Asked] = []
        self._port = port
        self._pid = self._answer = self._stop = -1

    def __enter__(self) -> Self:
        self._answer, out = os.pipe()
        stop, self._stop = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            code = 1
            try:
                os.close(self._stop)
                asked = _ask_all(self._port, stop)
                with os.fdopen(out, "wb") as file:
                    pickle.dump(asked, file)
                code = 0
            finally:
                os._exit(code)
        os.close(out)
        os.close(stop)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._stop)
        with os.fdopen(self._answer, "rb") as file:
            data = file.read()
        os.waitpid(self._pid, 0)
        if not data:
            raise RuntimeError("the workstations failed; their error is above")
        self.asked = pickle.loads(data)


def _ask_all(port: int, stop: int) -> list[Asked]:
    over = threading.Event()
    asked: list[Asked] = []
    threads = [
        threading.Thread(target=_ask, args=(port, number, over, asked), daemon=True)
        for number in range(CLIENTS)
    ]
    for thread in threads:
        thread.start()
    os.read(stop, 1)  # until the other end is closed
    over.set()
    for thread in threads:
        thread.join(10)
    return asked


def _ask(port: int, number: int, over: threading.Event, asked: list[Asked]) -> None:
    chance = random.Random(number)
    with scu.Caller(("127.0.0.1", port), 60) as caller:
        caller.associate([scu.Context(STUDY_ROOT, (make.EXPLICIT,))], calling=f"WORK{number}")
        due = time.monotonic() + chance.random() * EVERY
        while not over.wait(max(0.0, due - time.monotonic())):
            begun = time.monotonic()
            answers = _query(caller, chance)
            asked.append(Asked(begun, time.monotonic() - begun, answers))
            due += EVERY
        caller.release()


def _query(caller: scu.Caller, chance: random.Random) -> int:
    study = chance.randrange(STUDIES)
    key: identifier.Fields = chance.choice(
        (
            {"PatientID": f"SYN-{study:05}"},
            {"StudyDate": (_FIRST + datetime.timedelta(days=study // 2)).strftime("%Y%m%d")},
            {"PatientName": f"SYNTHETIC^N{study // 10:04}*"},
        )
    )
    fields: identifier.Fields = {
        "QueryRetrieveLevel": "STUDY",
        "PatientName": None,
        "PatientID": None,
        "StudyDate": None,
        "StudyInstanceUID": None,
        "AccessionNumber": None,
        "ModalitiesInStudy": None,
        "NumberOfStudyRelatedInstances": None,
        **key,
    }
    values: dict[int, scu.Value] = {0x2: STUDY_ROOT, 0x100: 0x20, 0x110: 1, 0x700: 0, 0x800: 1}
    caller.message(1, values, identifier.encode(fields, make.EXPLICIT))
    answers = 0
    while True:
        answer = caller.response()
        if answer.status not in (0xFF00, 0xFF01):
            break
        answers += 1
    if answer.status or not answers:
        raise RuntimeError(f"a query found {answers} and ended with {struct.pack('>H', answer.status).hex()}")
    return answers
