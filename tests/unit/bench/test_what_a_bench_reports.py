from __future__ import annotations

import json
import pathlib

import pytest

from bench import corpora, harness
from bench.harness import Target


@pytest.fixture
def bench(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> harness.Bench:
    monkeypatch.setattr(harness, "RESULTS", tmp_path)
    return harness.Bench("trial", runs=3)


def test_the_runs_alternate_and_medians_are_compared(bench: harness.Bench) -> None:
    order, numbers = [], {"ours": iter([10.0, 30.0, 20.0]), "theirs": iter([5.0, 8.0, 50.0])}

    def measure(who: str) -> harness.Measure:
        def once() -> float:
            order.append(who)
            return next(numbers[who])

        return once

    medians = bench.compare("case", {who: measure(who) for who in numbers}, unit="/s")
    assert order == ["ours", "theirs"] * 3
    assert medians == {"ours": 20.0, "theirs": 8.0}


@pytest.mark.parametrize(("bound", "missed"), [(2.5, 0), (2.6, 1)])
def test_a_missed_target_is_counted_and_said(
    bench: harness.Bench, tmp_path: pathlib.Path, bound: float, missed: int
) -> None:
    targets = {"theirs": Target(bound)}
    bench.compare("case", {"ours": lambda: 5.0, "theirs": lambda: 2.0}, unit="/s", targets=targets)
    assert bench.finish() == missed
    lines = json.loads((tmp_path / "trial.json").read_text())["lines"]
    assert [(line["who"], line["ratio"], line["met"]) for line in lines] == [
        ("ours", None, None),
        ("theirs", 2.5, not missed),
    ]
    assert ("**missed**" in (tmp_path / "trial.md").read_text()) == bool(missed)


def test_a_bound_from_above_and_a_case_that_could_not_run(bench: harness.Bench) -> None:
    bench.record("memory", 70.0, "KiB", target=Target(64, at_least=False))
    bench.skip("beside Orthanc", "Orthanc is not installed: apt-get install orthanc")
    table = harness.markdown(bench._lines)
    assert "| memory |  | 70 KiB |  |  | <= 64 | **missed** |" in table
    assert "apt-get install orthanc" in table


@pytest.mark.parametrize(("size", "about"), [("4 kB", 4_096), ("75 kB", 76_800), ("525 kB", 537_600)])
def test_instances_have_the_size_that_their_name_says_and_differ(size: str, about: int) -> None:
    one, other = corpora.instance(1, corpora.SIZES[size]), corpora.instance(2, corpora.SIZES[size])
    assert abs(len(one.data) - about) < 300 + about * 0.01
    assert one.sop_instance != other.sop_instance
    assert one.data == corpora.instance(1, corpora.SIZES[size]).data
