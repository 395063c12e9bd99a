"""Asking: `findscu` against the node, Orthanc and dcmqrscp, 24,000 instances in 4,000 studies; and 2,000,000.

What is measured is the query: the time of `findscu`, without what it takes to start it (the same command with
a server of a few lines that answers at once that there is nothing) and without what the association costs
(`echoscu` to both). What that costs is shown apart, and so is a query that needs neither.
"""

from __future__ import annotations

import contextlib
import json
import pathlib
import statistics
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence

from bench import archive, bench_ingest, big_index, contestants, corpora, harness, nobody
from bench.harness import Target
from node.dicom import identifier
from tests import make, scu

STUDY_ROOT = "1.2.840.10008.5.1.4.1.2.2.1"

ANSWERED = (
    *("StudyInstanceUID", "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate"),
    *("StudyTime", "AccessionNumber", "StudyID", "StudyDescription", "ModalitiesInStudy"),
    "NumberOfStudyRelatedInstances",
)
_OPEN = ", on an open association"
MOST_FILLED = 400  # studies that dcmqrscp is filled with unasked
REPEATS = 15  # pairs of client and start-up in one measurement of what takes a few milliseconds

# What is asked: keys, how many answers there are, ours to Orthanc's.
_SELECTIVE, _ALL = Target(0.5, at_least=False), Target(0.6, at_least=False)
ASKED: Mapping[str, tuple[dict[str, str], int, Target]] = {
    "by PatientID": ({"PatientID": archive.patient(77)}, 1, _SELECTIVE),
    "by date range": (
        {"StudyDate": f"{archive.day(100)}-{archive.day(110)}"},
        2 * archive.PER_DAY,
        _SELECTIVE,
    ),
    "by name prefix": ({"PatientName": f"{archive.family(7)}*"}, archive.PER_FAMILY, _SELECTIVE),
    "all studies": ({}, archive.STUDIES, _ALL),
}


def run(bench: harness.Bench) -> None:
    """Measure."""
    if contestants.find("findscu") is None:
        bench.skip("all", "findscu is not installed: apt-get install dcmtk")
        return
    if any(bench.wants(f"{case}, 4,000 studies") or bench.wants(f"{case}{_OPEN}") for case in ASKED):
        _beside_others(bench)
    if bench.long:
        _large(bench)
    else:
        bench.skip("2,000,000 instances", "takes minutes: --long")


def _beside_others(bench: harness.Bench) -> None:
    studies = bench.count(archive.STUDIES)
    with contextlib.ExitStack() as stack:
        startup = stack.enter_context(nobody.answering())
        servers = list(_servers(bench, stack, studies))
        bench.compare(
            "an association that echoes",
            {server.name: _opening(server, startup) for server in servers},
            unit="ms",
        )
        for case, (keys, answers, target) in ASKED.items():
            expected = min(answers, studies) if keys else studies
            bench.compare(
                f"{case}, {studies:,} studies",
                {server.name: _asking(server, startup, keys, expected) for server in servers},
                unit="ms",
                targets={"Orthanc": target},
            )
            bench.compare(
                case + _OPEN,
                {server.name: _open(server, keys, expected) for server in servers},
                unit="ms",
            )


class Orthanc(contestants.Orthanc):
    """Orthanc, which answers whoever asks."""

    def command(self) -> list[str]:
        command = super().command()
        path = pathlib.Path(command[-1])
        path.write_text(json.dumps(json.loads(path.read_text()) | {"DicomAlwaysAllowFind": True}))
        return command


class Dcmqrscp(contestants.Receiver):
    """DCMTK's archive; its storage area is kept, because to fill it takes it an hour."""

    name = "dcmqrscp"
    aet = "QRSCP"
    studies = archive.STUDIES

    @staticmethod
    def area(studies: int) -> pathlib.Path:
        """Where so many studies are kept."""
        return corpora.HERE / f"dcmqrscp-{studies}"

    def command(self) -> list[str]:
        area = self.area(self.studies)
        area.mkdir(parents=True, exist_ok=True)
        path = self.folder / "dcmqrscp.cfg"
        path.write_text(
            f"NetworkTCPPort = {self.port}\nMaxPDUSize = 131072\nMaxAssociations = 16\n"
            "HostTable BEGIN\nHostTable END\nVendorTable BEGIN\nVendorTable END\n"
            f"AETable BEGIN\n{self.aet} {area} RW (5000, 4096mb) ANY\nAETable END\n"
        )
        return ["dcmqrscp", "-c", str(path)]

    def held(self) -> int:
        return sum(path.suffix == ".dcm" for path in self.area(self.studies).iterdir())


def _servers(
    bench: harness.Bench, stack: contextlib.ExitStack, studies: int
) -> Iterator[contestants.Receiver]:
    files = archive.files(studies)
    kinds: list[type[contestants.Receiver]] = [contestants.Node]
    if contestants.find("Orthanc") is None:
        bench.skip("beside Orthanc", contestants.missing("Orthanc"))
    else:
        kinds.append(Orthanc)
    sized = type("Sized", (Dcmqrscp,), {"studies": studies})
    if contestants.find("dcmqrscp") is None:
        bench.skip("beside dcmqrscp", "dcmqrscp is not installed: apt-get install dcmtk")
    elif studies > MOST_FILLED and not bench.long and not sized.area(studies).exists():
        bench.skip("beside dcmqrscp", "it reads its whole index for each instance that comes: --long")
    else:
        kinds.append(sized)
    for kind in kinds:
        server = stack.enter_context(contestants.running(kind))
        begun = time.monotonic()
        held = server.held()
        for first in range(held, len(files), 3000):  # a command line has an end
            bench_ingest.send(server, [files[first : first + 3000]])
        print(f"  {server.name} holds {len(files):,} instances, {time.monotonic() - begun:.0f} s", flush=True)
        yield server


def _asking(
    server: contestants.Receiver, startup: int, keys: Mapping[str, str], expected: int
) -> harness.Measure:
    """Return a measurement: milliseconds that a query takes beyond client and association."""
    words = ["-S", "-k", "QueryRetrieveLevel=STUDY"]
    for key in (*(f"{key}={value}" for key, value in keys.items()), *(set(ANSWERED) - set(keys))):
        words += ["-k", key]

    def find(port: int, loud: str = "-q") -> list[str]:
        return ["findscu", loud, "-aec", server.aet, *words, "127.0.0.1", str(port)]

    def measure() -> float:
        _check(server, find(server.port, "-v"), expected)
        repeats = REPEATS if expected < 1000 else 3
        commands = [find(server.port), find(startup), _echo(server.aet, server.port), _echo("", startup)]
        asked, alone, echoed, nobody_echoed = _medians(commands, repeats)
        # Two processors start four programs: a difference below this is noise.
        return max(0.1, (asked - alone) - (echoed - nobody_echoed))

    return measure


def _opening(server: contestants.Receiver, startup: int) -> harness.Measure:
    """Return a measurement: milliseconds of an association that only echoes, beyond the client's start-up."""

    def measure() -> float:
        echoed, alone = _medians([_echo(server.aet, server.port), _echo("", startup)], REPEATS)
        return max(0.1, echoed - alone)

    return measure


def _open(server: contestants.Receiver, keys: Mapping[str, str], expected: int) -> harness.Measure:
    """Return a measurement without any start-up: milliseconds of a query on an association that is open."""
    asked: identifier.Fields = {"QueryRetrieveLevel": "STUDY", **dict.fromkeys(ANSWERED), **keys}
    data = identifier.encode(asked, make.EXPLICIT)
    command: dict[int, scu.Value] = {0x2: STUDY_ROOT, 0x100: 0x20, 0x110: 1, 0x700: 0, 0x800: 1}

    def measure() -> float:
        times = []
        with scu.Caller(("127.0.0.1", server.port), 60) as caller:
            caller.associate([scu.Context(STUDY_ROOT, (make.EXPLICIT,))], calling="OPEN", called=server.aet)
            for _ in range(REPEATS if expected < 1000 else 3):
                begun, answers = time.perf_counter(), 0
                caller.message(1, command, data)
                while caller.response().status in (0xFF00, 0xFF01):
                    answers += 1
                times.append((time.perf_counter() - begun) * 1000)
                if answers != expected:
                    raise RuntimeError(f"{server.name} gave {answers} answers instead of {expected}")
            caller.release()
        return statistics.median(times)

    return measure


def _echo(aet: str, port: int) -> list[str]:
    return ["echoscu", "-q", "-aec", aet or "ANY-SCP", "127.0.0.1", str(port)]


def _medians(commands: Sequence[Sequence[str]], repeats: int) -> list[float]:
    """Return milliseconds of each command; they take turns, so that a slow moment hits all of them."""
    taken: list[list[float]] = [[] for _ in commands]
    for _ in range(repeats):
        for command, times in zip(commands, taken, strict=True):
            times.append(harness.timed(command, env=contestants.ENVIRONMENT) * 1000)
    return [statistics.median(times) for times in taken]


def _check(server: contestants.Receiver, command: Sequence[str], expected: int) -> None:
    """Make sure that the question is answered, and by as many as it should be."""
    done = subprocess.run(command, env=contestants.ENVIRONMENT, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    answers = sum("(Pending)" in line and "Response" in line for line in said.splitlines())
    if done.returncode or answers != expected:
        raise RuntimeError(f"{server.name} gave {answers} answers instead of {expected}: {said[-1000:]}")


def _large(bench: harness.Bench) -> None:
    """The same selective questions to two nodes of ours, one with eighty times as many instances."""
    small = big_index.of_studies(bench.count(archive.STUDIES))
    large = big_index.of_studies(bench.count(2_000_000) // archive.PER_STUDY)
    with (
        nobody.answering() as startup,
        contestants.running(big_index.node_with(large)) as full,
        contestants.running(big_index.node_with(small)) as usual,
    ):
        for case, (keys, answers, _) in ASKED.items():
            if keys:
                both = {"node, 2,000,000": full, "node, 24,000": usual}
                bench.compare(
                    f"{case}, 2,000,000 instances",
                    {name: _asking(one, startup, keys, answers) for name, one in both.items()},
                    unit="ms",
                )
                # Without the start-up of a program the difference between the two can be seen.
                bench.compare(
                    f"{case}, 2,000,000 instances{_OPEN}",
                    {name: _open(one, keys, answers) for name, one in both.items()},
                    unit="ms",
                    targets={"node, 24,000": Target(1.5, at_least=False)},
                )
