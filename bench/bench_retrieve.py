"""Retrieving: C-MOVE to a sink and C-GET, beside Orthanc, and storescu with the same files and sink."""

from __future__ import annotations

import contextlib
import json
import pathlib
import subprocess
import tempfile
from collections.abc import Iterator

from bench import bench_ingest, contestants, corpora, harness
from bench.harness import Target

SIZES = ("4 kB", "75 kB")
TARGETS = {"Orthanc": Target(2.5), "storescu": Target(0.9)}
_SINK = "SINK"


class Sink(contestants.Receiver):
    """DCMTK's receiver, which throws away what it gets: what is measured is who sends."""

    name = "storescp"
    aet = _SINK

    def command(self) -> list[str]:
        return ["storescp", "--fork", "--ignore", "-aet", self.aet, str(self.port)]


class Node(contestants.Node):
    """Our node, with the sink among its peers."""

    sink = 0  # its port

    def command(self) -> list[str]:
        config = self.folder / "node.toml"
        config.write_text(f'[peers.sink]\naet = "{_SINK}"\nhost = "127.0.0.1"\nport = {self.sink}\n')
        return [*super().command(), "--config", str(config)]


class Orthanc(contestants.Orthanc):
    """Orthanc, with the sink among its modalities, and open to whoever asks."""

    sink = 0  # its port

    def command(self) -> list[str]:
        command = super().command()
        path = self.folder / "orthanc.json"
        config = json.loads(path.read_text())
        config |= {
            "DicomModalities": {"sink": [_SINK, "127.0.0.1", self.sink]},
            "DicomAlwaysAllowMove": True,
            "DicomAlwaysAllowGet": True,
            "DicomCheckModalityHost": False,
        }
        path.write_text(json.dumps(config))
        return command


def run(bench: harness.Bench) -> None:
    """Measure."""
    for program in ("storescu", "movescu", "getscu"):
        if contestants.find(program) is None:
            bench.skip("all", contestants.missing("storescu"))
            return
    archives: list[type[Node | Orthanc]] = [Node]
    if contestants.find("Orthanc") is None:
        bench.skip("beside Orthanc", contestants.missing("Orthanc"))
    else:
        archives.append(Orthanc)
    with contextlib.ExitStack() as stack:
        sink = stack.enter_context(contestants.running(Sink))
        for size in SIZES:
            if any(bench.wants(f"{verb}, {size}") for verb in ("C-MOVE", "C-GET")):
                with contextlib.ExitStack() as held:
                    _compare(
                        bench,
                        size,
                        sink,
                        [held.enter_context(_holding(kind, size, sink, bench)) for kind in archives],
                    )


@contextlib.contextmanager
def _holding(
    kind: type[Node | Orthanc], size: str, sink: contestants.Receiver, bench: harness.Bench
) -> Iterator[contestants.Receiver]:
    """An archive that holds the files of one size, and nothing else."""
    known = type(kind.__name__, (kind,), {"sink": sink.port})
    with contestants.running(known) as archive:
        bench_ingest.send(archive, [_files(size, bench)])
        yield archive


def _files(size: str, bench: harness.Bench) -> list[pathlib.Path]:
    return corpora.files(size, bench.count(corpora.COUNTS[size]))


def _compare(
    bench: harness.Bench, size: str, sink: contestants.Receiver, archives: list[contestants.Receiver]
) -> None:
    files = _files(size, bench)
    study = corpora.instance(1, corpora.SIZES[size]).study
    for verb, retrieve in (("C-MOVE", _move), ("C-GET", _get)):
        measures: dict[str, harness.Measure] = {
            archive.name: lambda archive=archive, retrieve=retrieve: retrieve(archive, study, len(files))  # type: ignore[misc]
            for archive in archives
        }
        measures["storescu"] = lambda: _sent(sink, files)
        bench.compare(f"{verb}, {size}", measures, unit="/s", targets=TARGETS)


def _keys(archive: contestants.Receiver, study: str) -> list[str]:
    return [
        *("-S", "-aet", "BENCH", "-aec", archive.aet),
        *("-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study}"),
        *("127.0.0.1", str(archive.port)),
    ]


def _move(archive: contestants.Receiver, study: str, many: int) -> float:
    """Instances a second from an archive to the sink, as the requestor of the C-MOVE sees it."""
    command = ["movescu", "-v", "-aem", _SINK, *_keys(archive, study)]
    return _rate(command, many, "Received Final Move Response (Success)")


def _get(archive: contestants.Receiver, study: str, many: int) -> float:
    """Instances a second from an archive to getscu, which throws them away."""
    command = ["getscu", "-v", "--ignore", *_keys(archive, study)]
    return _rate(command, many, f"Number of Completed Suboperations : {many}")


def _rate(command: list[str], many: int, says: str) -> float:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        log = pathlib.Path(folder, "log")
        with log.open("wb") as output:
            seconds = harness.timed(
                ["sh", "-c", 'exec "$@" >log 2>&1', "sh", *command], cwd=folder, env=contestants.ENVIRONMENT
            )
            del output
        said = log.read_text(errors="replace")
        if says not in said:
            raise RuntimeError(f"{' '.join(command)}: {said[-800:]}")
    return many / seconds


def _sent(sink: contestants.Receiver, files: list[pathlib.Path]) -> float:
    """Instances a second from storescu to the same sink."""
    target = ["storescu", "-aec", sink.aet, "127.0.0.1", str(sink.port), *map(str, files)]
    return len(files) / harness.timed(target, env=contestants.ENVIRONMENT, stdin=subprocess.DEVNULL)
