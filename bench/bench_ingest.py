"""Receiving: one association, four, a hundred; a crowd that idles; 2 GB; an index of two million rows."""

from __future__ import annotations

import pathlib
import statistics
import subprocess
import time
from collections.abc import Sequence

from bench import client, contestants, corpora, harness, procs
from bench.harness import Target

# Ours to theirs.
ONE = {
    "4 kB": {"Orthanc": Target(2.0), "storescp": Target(0.6)},
    "75 kB": {"Orthanc": Target(2.5), "storescp": Target(0.8)},
    "525 kB": {"Orthanc": Target(3.0), "storescp": Target(1.0)},
}
FOUR = {
    "4 kB": {"Orthanc": Target(2.5)},
    "75 kB": {"Orthanc": Target(1.8), "storescp": Target(1.0)},
    "525 kB": {},
}


def run(bench: harness.Bench) -> None:
    """Measure."""
    if contestants.find("storescu") is None:
        bench.skip("all", contestants.missing("storescu"))
        return
    kinds = _kinds(bench)
    for size, targets in ONE.items():
        files = corpora.files(size, bench.count(corpora.COUNTS[size]))
        bench.compare(
            f"one association, {size}",
            {kind.name: _sending(kind, [files]) for kind in kinds},
            unit="/s",
            targets=targets,
        )
    for size, targets in FOUR.items():
        files = corpora.files(size, bench.count(corpora.COUNTS[size]))
        bench.compare(
            f"four associations, {size}",
            {kind.name: _sending(kind, [files[part::4] for part in range(4)]) for kind in kinds},
            unit="/s",
            targets=targets,
        )
    _hundred(bench)
    _idle(bench)
    _large(bench)
    if bench.long:
        _churn(bench)
        _two_million(bench)
    else:
        bench.skip("100,000 associations", "takes minutes: --long")
        bench.skip("index of 2,000,000 instances", "takes minutes: --long")


def _kinds(bench: harness.Bench) -> list[type[contestants.Receiver]]:
    kinds: list[type[contestants.Receiver]] = [contestants.Node]
    for kind in (contestants.Storescp, contestants.Orthanc):
        if contestants.find(kind.name) is None:
            bench.skip(f"beside {kind.name}", contestants.missing(kind.name))
        else:
            kinds.append(kind)
    return kinds


def _sending(kind: type[contestants.Receiver], parts: Sequence[Sequence[pathlib.Path]]) -> harness.Measure:
    """Return a measurement: instances a second from so many `storescu` at once into an empty store."""

    def measure() -> float:
        with contestants.running(kind) as receiver:
            return send(receiver, parts)

    return measure


def send(receiver: contestants.Receiver, parts: Sequence[Sequence[pathlib.Path]]) -> float:
    """Send the parts at once; return instances a second, and make sure that all of them arrived."""
    before, total = receiver.held(), sum(len(part) for part in parts)
    target = ["127.0.0.1", str(receiver.port)]
    begun = time.perf_counter()
    senders = [
        subprocess.Popen(
            ["storescu", "-q", "-aec", receiver.aet, "-aet", f"BENCH{number}", *target, *map(str, part)],
            env=contestants.ENVIRONMENT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        for number, part in enumerate(parts)
    ]
    complaints = [sender.communicate()[1] for sender in senders]
    seconds = time.perf_counter() - begun
    if any(sender.returncode for sender in senders):
        raise RuntimeError(f"storescu to {receiver.name}: {b''.join(complaints)[-500:]!r}")
    procs.wait_until(
        lambda: receiver.held() - before >= total, 60, f"{receiver.name} did not hold all {total} instances"
    )
    return total / seconds


def _hundred(bench: harness.Bench) -> None:
    """A hundred associations against four, from our own sender: a hundred start-ups would drown the rest."""
    case = "100 associations, 75 kB"
    if not bench.wants(case):
        return
    spread: list[float] = []

    def measure(senders: int) -> harness.Measure:
        def rate() -> float:
            total = bench.count(3000)
            each = max(2, total // senders)
            with contestants.running(contestants.Crowd) as receiver:
                sent = client.fan_out(receiver.port, senders, each, "75 kB")
            seconds = max(one.ended for one in sent) - min(one.begun for one in sent)
            if any(one.stored != each for one in sent):
                raise RuntimeError("not every instance was acknowledged")
            if senders == 100:
                took = [one.ended - one.begun for one in sent]
                spread.append(max(took) / statistics.median(took))
            return each * senders / seconds

        return rate

    bench.compare(
        case,
        {"node, 100 at once": measure(100), "node, 4 at once": measure(4)},
        unit="/s",
        targets={"node, 4 at once": Target(0.8)},
    )
    bench.record(
        "100 associations, slowest to median",
        statistics.median(spread),
        "x",
        target=Target(3, at_least=False),
    )


def _idle(bench: harness.Bench) -> None:
    case = "1,000 idle associations"
    if not bench.wants(case):
        return
    count = bench.count(1000)
    with contestants.running(contestants.Crowd) as receiver:
        client.churn(receiver.port, 20)  # what is loaded once is not an association's cost
        pid = receiver.process.pid
        time.sleep(2)
        rest = _cpu(pid)
        before = procs.cost(pid)
        callers = client.idle(receiver.port, count)
        time.sleep(1)
        after = procs.cost(pid)
        busy = _cpu(pid)
        for caller in callers:
            caller.close()
    each = (after.pss - before.pss) / count / 1024
    bench.record(f"{case}, memory of each", each, "KiB", target=Target(64, at_least=False))
    note = f"at rest {rest * 100:.2f} %"
    bench.record(
        f"{case}, processor", max(0.0, busy - rest) * 100, "%", target=Target(0.5, at_least=False), note=note
    )


def _cpu(pid: int, seconds: float = 5.0) -> float:
    """Return the share of one processor that a tree of processes uses now."""
    before = procs.cost(pid).cpu
    time.sleep(seconds)
    return (procs.cost(pid).cpu - before) / seconds


def _large(bench: harness.Bench) -> None:
    case = "one instance of 2 GB"
    if not bench.wants(case):
        return
    size = bench.count(2000) * 1_000_000
    with contestants.running(contestants.Node) as receiver:
        client.send_large(receiver.port, 4_000_000)
        with procs.Peak(receiver.process.pid) as peak:
            seconds = client.send_large(receiver.port, size)
    limit = Target(16, at_least=False)
    bench.record(f"{case}, memory grows by", peak.growth / (1 << 20), "MiB", target=limit)
    bench.record(f"{case}, speed", size / seconds / 1e6, "MB/s")


def _churn(bench: harness.Bench) -> None:
    case = "100,000 associations"
    if not bench.wants(case):
        return
    with contestants.running(contestants.Node) as receiver:
        pid = receiver.process.pid
        client.churn(receiver.port, 500)
        before = procs.cost(pid)
        client.churn(receiver.port, bench.count(100_000))
        time.sleep(1)
        after = procs.cost(pid)
    grown = (after.pss - before.pss) / (1 << 20)
    bench.record(f"{case}, memory grows by", grown, "MiB", target=Target(8, at_least=False))
    none = Target(2, at_least=False)
    bench.record(f"{case}, threads more", after.threads - before.threads, "", target=none)
    bench.record(f"{case}, descriptors more", after.descriptors - before.descriptors, "", target=none)


def _two_million(bench: harness.Bench) -> None:
    case = "index of 2,000,000 instances"
    if not bench.wants(case):
        return
    from bench import big_index

    rows = bench.count(2_000_000)
    index = big_index.prepared(rows)
    files = corpora.files("4 kB", bench.count(corpora.COUNTS["4 kB"]))

    def full() -> float:
        with contestants.running(big_index.node_with(index)) as receiver:
            return send(receiver, [files])

    medians = bench.compare(
        case,
        {f"node, {rows:,} held": full, "node, empty": _sending(contestants.Node, [files])},
        unit="/s",
        targets={"node, empty": Target(0.85)},
    )
    assert medians
