"""Forwarding: from the queue to a sink, beside Orthanc and storescu; one instance straight through."""

from __future__ import annotations

import contextlib
import json
import statistics
import threading
import time
import urllib.request

from bench import bench_ingest, contestants, corpora, forwarding, harness, nobody
from bench.harness import Target
from tests import scu

SIZES = ("75 kB", "4 kB")
TARGETS = {"Orthanc": Target(2.5), "storescu": Target(0.9)}
THROUGH = 50  # instances that go straight through
PAUSE = 0.3  # seconds between them: the node is idle when the next one comes


class Orthanc(contestants.Orthanc):
    """Orthanc, with the sink among its modalities."""

    sink = 0  # its port

    def command(self) -> list[str]:
        command = super().command()
        path = self.folder / "orthanc.json"
        config = json.loads(path.read_text())
        config |= {"DicomModalities": {"sink": [forwarding.Sink.aet, "127.0.0.1", self.sink]}}
        path.write_text(json.dumps(config))
        return command

    def stored(self, many: int) -> float:
        """Instances a second of a store job, which is waited for."""
        body = json.dumps({"Resources": self._json("/studies"), "Synchronous": True}).encode()
        asked = urllib.request.Request(f"http://127.0.0.1:{self.http}/modalities/sink/store", data=body)
        begun = time.perf_counter()
        with urllib.request.urlopen(asked, timeout=forwarding.PATIENCE) as answer:
            said = json.load(answer)
        seconds = time.perf_counter() - begun
        if said.get("FailedInstancesCount") or said.get("InstancesCount") != many:
            raise RuntimeError(f"Orthanc did not store all {many}: {said}")
        return many / seconds


def run(bench: harness.Bench) -> None:
    """Measure."""
    for program in ("storescu", "storescp"):
        if contestants.find(program) is None:
            bench.skip("from the queue", contestants.missing(program))
            return
    if contestants.find("Orthanc") is None:
        bench.skip("beside Orthanc", contestants.missing("Orthanc"))
    with contestants.running(forwarding.Sink) as sink:
        for size in SIZES:
            if bench.wants(f"from the queue, {size}"):
                _compare(bench, size, sink)
    if bench.wants("straight through"):
        for size in SIZES:
            _through(bench, size)


def _compare(bench: harness.Bench, size: str, sink: contestants.Receiver) -> None:
    files = corpora.files(size, bench.count(corpora.COUNTS[size]))
    with contextlib.ExitStack() as stack:
        kind = type("Node", (forwarding.Node,), {"text": forwarding.peer("sink", sink.port)})
        node = stack.enter_context(contestants.running(kind))
        assert isinstance(node, forwarding.Node)
        bench_ingest.send(node, [files])
        database = stack.enter_context(forwarding.index(node))
        measures: dict[str, harness.Measure] = {
            "node": lambda: forwarding.sent(node, database, "sink"),
        }
        if contestants.find("Orthanc") is not None:
            other = stack.enter_context(contestants.running(type("Orthanc", (Orthanc,), {"sink": sink.port})))
            assert isinstance(other, Orthanc)
            bench_ingest.send(other, [files])
            measures["Orthanc"] = lambda: other.stored(len(files))
        measures["storescu"] = lambda: forwarding.storescu(sink, files)
        bench.compare(f"from the queue, {size}", measures, unit="/s", targets=TARGETS)


def _through(bench: harness.Bench, size: str) -> None:
    """From the last byte of an instance in to the last byte out, on a node that does nothing else."""
    came: dict[str, float] = {}
    news = threading.Condition()

    def heard(uid: str) -> None:
        with news:
            came[uid] = time.monotonic()
            news.notify_all()

    made = [
        corpora.instance(number, corpora.SIZES[size], "through") for number in range(bench.count(THROUGH))
    ]
    with nobody.answering(heard) as port:
        route = '[routes.now]\nlevel = "instance"\nto = ["sink"]\n'
        text = forwarding.peer("sink", port) + route
        with contestants.running(type("Node", (forwarding.Node,), {"text": text})) as node:
            taken = []
            for one in made:
                time.sleep(PAUSE)
                with scu.call(("127.0.0.1", node.port), [one], called=node.aet) as caller:
                    begun = time.monotonic()  # before its first byte even: no worse than from its last
                    status = caller.store(one).status
                    caller.release()
                if status:
                    raise RuntimeError(f"the node answered a C-STORE with {status:04X}")
                with news:
                    if not news.wait_for(lambda one=one: one.sop_instance in came, 60):  # type: ignore[misc]
                        raise RuntimeError(f"it did not come out: {node.last_words()[-600:]}")
                taken.append(came[one.sop_instance] - begun)
    taken.sort()
    bench.record(
        f"straight through, {size}, median",
        statistics.median(taken) * 1000,
        "ms",
        target=Target(300, at_least=False),
        note=f"{taken[0] * 1000:.0f} - {taken[-1] * 1000:.0f} ms, {len(taken)} instances",
    )
    bench.record(f"straight through, {size}, 95 of 100", taken[int(len(taken) * 0.95)] * 1000, "ms")
