"""What every bench uses: alternating runs, medians, ratios, targets, and their printing.

A bench file `bench_NAME.py` has one function `run(bench: harness.Bench) -> None`. It calls
- `bench.compare(case, {"node": f, "Orthanc": g}, unit=..., targets=...)`: each contestant is a function
  that measures once and returns a number; the runs alternate, so that a slow minute of the machine
  hits all of them. The first contestant is ours, the ratios are ours to theirs.
- `bench.record(case, value, unit, target=...)`: a number that stands alone.
- `bench.skip(case, why)`: what cannot be measured here, and how to get it.
Results go to `bench/results/NAME.json` and `.md`, and to the terminal.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence

Measure = Callable[[], float]
RESULTS = pathlib.Path(__file__).parent / "results"


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """What a number must reach."""

    bound: float  # the number
    at_least: bool = True  # False: at most

    def met(self, value: float) -> bool:
        """Tell whether the value reaches it."""
        return value >= self.bound if self.at_least else value <= self.bound

    def __str__(self) -> str:
        return f"{'>=' if self.at_least else '<='} {self.bound:g}"


@dataclasses.dataclass(frozen=True, slots=True)
class Line:
    """One row of the result."""

    case: str  # what was measured
    who: str  # which contestant, "" for a number that stands alone
    value: float | None  # the median; None: it could not be measured
    unit: str  # of the value
    runs: tuple[float, ...] = ()  # every measurement, in order
    ratio: float | None = None  # ours to this one's
    target: Target | None = None  # for the ratio, or for a number that stands alone
    note: str = ""  # why there is no value, or what else to know

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None where there is none."""
        judged = self.value if self.ratio is None else self.ratio
        return None if self.target is None or judged is None else self.target.met(judged)


class Bench:
    """One bench's run: how often, how large, and what came out."""

    def __init__(
        self, name: str, *, runs: int = 5, scale: float = 1.0, long: bool = False, only: str = ""
    ) -> None:
        self.name = name
        self.runs = runs  # of each contestant
        self.long = long  # whether to do what takes many minutes
        self._scale = scale
        self._only = only
        self._lines: list[Line] = []
        print(f"\n## {name}\n\n{machine()}; median of {runs} alternating run(s)\n", flush=True)

    def count(self, full: int) -> int:
        """Return how many to take when the full form takes so many."""
        return max(4, round(full * self._scale))

    def wants(self, case: str) -> bool:
        """Tell whether this case was asked for."""
        return self._only in case

    def compare(
        self,
        case: str,
        contestants: Mapping[str, Measure],
        *,
        unit: str,
        targets: Mapping[str, Target] | None = None,
    ) -> dict[str, float]:
        """Measure the contestants in turn; the first is ours. Return the medians."""
        if not self.wants(case):
            return {}
        taken: dict[str, list[float]] = {name: [] for name in contestants}
        for number in range(self.runs):
            for name, measure in contestants.items():
                os.sync()  # what the one before left unwritten is not this one's burden
                taken[name].append(measure())
                print(f"  {case} {number + 1}/{self.runs} {name}: {taken[name][-1]:,.4g} {unit}", flush=True)
        medians = {name: statistics.median(values) for name, values in taken.items()}
        ours = next(iter(contestants))
        for name, median in medians.items():
            ratio = medians[ours] / median if name != ours and median else None
            target = (targets or {}).get(name)
            self._lines.append(Line(case, name, median, unit, tuple(taken[name]), ratio, target))
        return medians

    def record(
        self, case: str, value: float, unit: str, *, target: Target | None = None, note: str = ""
    ) -> None:
        """Note a number that stands alone."""
        self._lines.append(Line(case, "", value, unit, (value,), None, target, note))
        print(f"  {case}: {value:,.4g} {unit} {note}", flush=True)

    def skip(self, case: str, why: str) -> None:
        """Say what was not measured."""
        if self.wants(case):
            self._lines.append(Line(case, "", None, "", note=why))
            print(f"  {case}: not measured: {why}", flush=True)

    def finish(self) -> int:
        """Print the table, write the files, return how many targets were missed."""
        table = markdown(self._lines)
        print(f"\n{table}", flush=True)
        RESULTS.mkdir(exist_ok=True)
        when = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        told = {
            "bench": self.name,
            "when": when,
            "machine": machine(),
            "runs": self.runs,
            "lines": [{**dataclasses.asdict(line), "met": line.met} for line in self._lines],
        }
        (RESULTS / f"{self.name}.json").write_text(json.dumps(told, indent=1))
        (RESULTS / f"{self.name}.md").write_text(f"## {self.name}\n\n{machine()}, {when}\n\n{table}\n")
        return sum(line.met is False for line in self._lines)


def markdown(lines: Sequence[Line]) -> str:
    """Return the lines as a table."""
    rows = ["| case | who | median | spread | ratio | target | |", "|---|---|--:|--:|--:|--:|---|"]
    for line in lines:
        value = "-" if line.value is None else f"{line.value:,.4g} {line.unit}"
        spread = f"{min(line.runs):,.4g} - {max(line.runs):,.4g}" if len(line.runs) > 1 else ""
        ratio = "" if line.ratio is None else f"{line.ratio:.2f}x"
        target = "" if line.target is None else str(line.target)
        verdict = {True: "met", False: "**missed**", None: ""}[line.met]
        note = f"{verdict} {line.note}".strip()
        rows.append(f"| {line.case} | {line.who} | {value} | {spread} | {ratio} | {target} | {note} |")
    return "\n".join(rows)


def machine() -> str:
    """Say what this was measured on."""
    model = platform.machine()
    try:
        for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    except OSError:
        pass  # not Linux: the architecture must do
    system = f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    return f"{os.cpu_count()} x {model}, {system}"


def timed(command: Sequence[str], **more: object) -> float:
    """Run a program to its end and return the seconds it took; it must succeed."""
    begun = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False, **more)  # type: ignore[call-overload]
    seconds = time.perf_counter() - begun
    if done.returncode:
        sys.exit(f"{command[0]} failed with {done.returncode}: {(done.stderr or done.stdout)[-600:]}")
    return seconds
