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
    for size, each in EACH.items():
        if not bench.wants(size):
            continue
        medians: dict[str, list[float]] = {name: [] for name in ("idle", "loaded", "alone", "beside")}
        for _ in range(bench.runs):
            once = _measure(kind, size, bench.count(each))
            for name, value in once.items():
                medians[name].append(value)
                print(f"  {size} {name}: {value:,.4g}", flush=True)
        idle, loaded, alone, beside = (statistics.median(values) for values in medians.values())
        bench.record(f"{size}: a selective query, nobody sends, median", idle * 1000, "ms")
        bench.record(
            f"{size}: the same while {SENDERS} send, 99 of 100",
            loaded / idle,
            "x",
            target=Target(5, at_least=False),
            note=f"{loaded * 1000:.1f} ms",
        )
        bench.record(f"{size}: received, nobody asks", alone, "/s")
        bench.record(
            f"{size}: received while {CLIENTS} ask, share of that",
            beside / alone,
            "",
            target=Target(0.75),
            note=f"{beside:,.0f} /s",
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


def _measure(kind: type[contestants.Node], size: str, each: int) -> dict[str, float]:
    """Latencies in seconds and rates a second: without the other side, and beside it."""
    with contestants.running(kind) as receiver:
        with _Workstations(receiver.port, 6.0) as crowd:
            pass
        idle = statistics.median(one.seconds for one in crowd.asked)
    with contestants.running(kind) as receiver:
        alone = _rate(client.fan_out(receiver.port, SENDERS, each, size), each)
    with contestants.running(kind) as receiver:
        with _Workstations(receiver.port, 120.0) as crowd:
            time.sleep(1.5)
            sent = client.fan_out(receiver.port, SENDERS, each, size)
        begun, ended = max(one.begun for one in sent), min(one.ended for one in sent)  # all four send
        meanwhile = sorted(one.seconds for one in crowd.asked if begun <= one.begun <= ended)
    if not meanwhile:
        raise RuntimeError("nobody asked anything while the modalities sent; send more")
    return {
        "idle": idle,
        "loaded": meanwhile[min(len(meanwhile) - 1, int(len(meanwhile) * 0.99))],
        "alone": alone,
        "beside": _rate(sent, each),
    }


def _rate(sent: list[client.Sent], each: int) -> float:
    if any(one.stored != each for one in sent):
        raise RuntimeError("not every instance was acknowledged")
    return each * len(sent) / (max(one.ended for one in sent) - min(one.begun for one in sent))


class _Workstations:
    """A process of clients that each ask once a second, by a patient, a day or the beginning of a name."""

    def __init__(self, port: int, seconds: float) -> None:
        self.asked: list[Asked] = []
        self._port = port
        self._seconds = seconds
        self._pid = 0
        self._answer = -1
        self._stop = -1

    def __enter__(self) -> Self:
        self._answer, out = os.pipe()
        stop, self._stop = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            code = 1
            try:
                os.close(self._stop)
                asked = _ask_all(self._port, self._seconds, stop)
                with os.fdopen(out, "wb") as file:
                    pickle.dump(asked, file)
                code = 0
            finally:
                os._exit(code)
        os.close(out)
        os.close(stop)
        return self

    def __exit__(self, *_: object) -> None:
        if self._seconds > 60:
            os.close(self._stop)  # what else runs is over
        with os.fdopen(self._answer, "rb") as file:
            data = file.read()
        if self._seconds <= 60:
            os.close(self._stop)
        os.waitpid(self._pid, 0)
        if not data:
            raise RuntimeError("the workstations failed; their error is above")
        self.asked = pickle.loads(data)


def _ask_all(port: int, seconds: float, stop: int) -> list[Asked]:
    over = threading.Event()
    asked: list[Asked] = []
    threads = [
        threading.Thread(target=_ask, args=(port, number, over, asked), daemon=True)
        for number in range(CLIENTS)
    ]
    for thread in threads:
        thread.start()
    threading.Thread(target=lambda: (os.read(stop, 1), over.set()), daemon=True).start()
    over.wait(seconds)
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
