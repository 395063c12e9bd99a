"""What several real processes count is one answer to a scrape."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import sys
import textwrap

import pytest

from node import metrics

ROOT = str(pathlib.Path(__file__).parents[3])


def run(directory: pathlib.Path, code: str) -> str:
    """A supervisor of its own: the library keeps one directory a process."""
    program = textwrap.dedent(
        """
        import os, pathlib, signal, sys
        from node import metrics
        directory = pathlib.Path(sys.argv[1])

        def child(work):
            pid = os.fork()
            if pid == 0:
                try:
                    work()
                finally:
                    os._exit(0)
            os.waitpid(pid, 0)
            return pid
        """
    ) + textwrap.dedent(code)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, str(directory)],
        capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "PYTHONPATH": ROOT},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def samples(text: str) -> dict[str, float]:
    found = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            found[name.removeprefix("dicom_node_")] = float(value)
    return found


def test_forked_processes_are_added_up(tmp_path: pathlib.Path) -> None:
    shown = samples(
        run(
            tmp_path / "all",
            """
            counts = metrics.begin(directory, peers={"ct"}, version="1.2.3")

            def listen():
                counts.association_opened()
                tally = counts.tally("ct")
                for seconds in (0.0015, 0.0015, 0.3, 100.0):
                    tally.stored(1000, seconds)
                tally.refused("out_of_room")
                tally.close()
                counts.group_commit(0.0002, 3)

            for _ in range(3):
                child(listen)
            counts.association_refused("a title from outside")
            print(counts.render().decode())
            """,
        )
    )
    assert shown['instances_received_total{outcome="stored",peer="ct"}'] == 12
    assert shown['instances_received_total{outcome="out_of_room",peer="ct"}'] == 3
    assert shown['received_bytes_total{peer="ct"}'] == 12000
    assert shown["ingest_seconds_count"] == 12
    assert shown["ingest_seconds_sum"] == pytest.approx(300.909)
    assert shown['ingest_seconds_bucket{le="0.001"}'] == 0
    assert shown['ingest_seconds_bucket{le="0.002"}'] == 6
    assert shown['ingest_seconds_bucket{le="0.5"}'] == 9
    assert shown['ingest_seconds_bucket{le="60.0"}'] == 9
    assert shown['ingest_seconds_bucket{le="+Inf"}'] == 12
    assert shown["committed_instances_total"] == 9
    assert shown['associations_open{direction="in"}'] == 3  # their processes were never said to be dead
    assert shown['build_info{version="1.2.3"}'] == 1
    assert shown['associations_total{direction="in",outcome="rejected",peer="unknown"}'] == 1


def test_a_dead_process_keeps_its_counts_and_loses_its_gauges(tmp_path: pathlib.Path) -> None:
    out = run(
        tmp_path / "all",
        """
        counts = metrics.begin(directory, peers={"ct"})

        def killed():
            counts.association_opened()
            counts.group_commit(0.01, 5)
            os.kill(os.getpid(), signal.SIGKILL)

        for _ in range(20):
            counts.child_died("listen-1", child(killed))
        print(len(list(directory.glob("*.db"))))
        print(counts.render().decode())
        """,
    )
    files, _, rest = out.partition("\n")
    shown = samples(rest)
    assert int(files) < 10  # and not three for each of the dead
    assert shown["committed_instances_total"] == 100
    assert shown["commit_seconds_count"] == 20
    assert shown["commit_seconds_sum"] == pytest.approx(0.2)
    assert shown['process_restarts_total{process="listen-1"}'] == 20
    assert shown['process_up{process="listen-1"}'] == 0
    assert 'associations_open{direction="in"}' not in shown


def test_a_counter_never_falls_while_the_dead_are_folded(tmp_path: pathlib.Path) -> None:
    out = run(
        tmp_path / "all",
        """
        import subprocess
        counts = metrics.begin(directory)
        watch = '''
        import pathlib, sys
        from node import metrics
        counts = metrics.start(pathlib.Path(sys.argv[1]))
        for _ in range(300):
            for line in counts.render().decode().splitlines():
                if line.startswith("dicom_node_committed_instances_total"):
                    print(line.split()[1], flush=True)
        '''
        import textwrap
        watcher = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(watch), str(directory)], stdout=subprocess.PIPE, text=True
        )
        first = watcher.stdout.readline()
        for _ in range(60):
            counts.child_died("x", child(lambda: counts.group_commit(0.01, 1)))
        print(first + watcher.communicate()[0])
        """,
    )
    seen = [float(line) for line in out.split()]
    assert seen == sorted(seen)
    assert seen[-1] > seen[0]


def test_parts_under_supervisors_of_their_own_are_added_up(tmp_path: pathlib.Path) -> None:
    run(tmp_path / "listen", "metrics.begin(directory).group_commit(0.1, 4)")
    shown = samples(run(tmp_path / "web", "print(metrics.begin(directory).render().decode())"))
    assert shown["committed_instances_total"] == 4


def test_a_start_forgets_the_last_run(tmp_path: pathlib.Path) -> None:
    run(tmp_path / "all", "metrics.begin(directory).group_commit(0.1, 4)")
    shown = samples(run(tmp_path / "all", "print(metrics.begin(directory).render().decode())"))
    assert shown["committed_instances_total"] == 0


def test_the_library_may_have_been_imported_before(tmp_path: pathlib.Path) -> None:
    shown = samples(
        run(
            tmp_path / "all",
            """
            import prometheus_client
            counts = metrics.begin(directory)
            child(lambda: counts.group_commit(0.1, 4))
            print(counts.render().decode())
            """,
        )
    )
    assert shown["committed_instances_total"] == 4


def test_without_a_directory_a_process_counts_for_itself() -> None:
    counts = metrics.start(peers={"ct"}, destinations={"pacs"}, version="1")
    counts.sent("pacs", "success", 500, 0.01)
    counts.sent("pacs", "retry", 500)
    counts.sent("from outside", "failed")
    counts.operation("echo", 0.001)
    counts.operation("an operation from outside", 0.001, "failure")
    counts.held(patients=1, studies=2, series=3, instances=4, size=5)
    counts.scrubbed(sound=10, corrupt=1)
    counts.check("disk", ok=False)
    counts.process_usage("listen-1")
    shown = samples(counts.render().decode())
    assert shown['sent_bytes_total{destination="pacs"}'] == 500
    assert shown['instances_sent_total{destination="pacs",outcome="retry"}'] == 1
    assert shown['instances_sent_total{destination="unknown",outcome="failed"}'] == 1
    assert shown['operations_total{operation="other",outcome="failure"}'] == 1
    assert shown['held{what="series"}'] == 3
    assert shown['scrubbed_instances_total{outcome="corrupt"}'] == 1
    assert 'scrubbed_instances_total{outcome="missing"}' not in shown
    assert shown['check{check="disk"}'] == 0
    assert shown['process_resident_bytes{process="listen-1"}'] > 1 << 20


def test_a_tally_hands_over_by_number_and_by_time() -> None:
    counts = metrics.start(peers={"ct"})
    now = [100.0]
    tally = metrics.Tally(counts, "ct", clock=lambda: now[0])

    def handed_over() -> float:
        return samples(counts.render().decode()).get('received_bytes_total{peer="ct"}', 0)

    tally.stored(1, 0.1)
    assert handed_over() == 1  # the first at once
    for _ in range(63):
        tally.stored(1, 0.1)
    assert handed_over() == 1
    tally.stored(1, 0.1)
    assert handed_over() == 65
    tally.stored(1, 0.1)
    assert handed_over() == 65
    now[0] += 1.0
    tally.stored(1, 0.1)
    assert handed_over() == 67
    tally.stored(1, 0.1)
    tally.close()
    assert handed_over() == 68


def test_open_tallies_are_flushed_from_outside() -> None:
    counts = metrics.start(peers={"ct"})
    tally = counts.tally("ct")
    for _ in range(3):
        tally.stored(1, 0.1)
    counts.flush()
    assert samples(counts.render().decode())["ingest_seconds_count"] == 3


def test_a_reload_changes_which_peers_have_a_name() -> None:
    counts = metrics.start(peers={"old"})
    assert (counts.peer("old"), counts.peer("new")) == ("old", "unknown")
    counts.configure({"new"})
    assert (counts.peer("old"), counts.peer("new")) == ("unknown", "new")


def test_batched_observations_are_those_of_the_library() -> None:
    """The sums are handed to attributes that the library does not promise: this holds them."""
    one, many = metrics.start(), metrics.start()
    values = [0.0005, 0.001, 0.0011, 0.05, 0.3, 60.0, 61.0]
    for value in values:
        one._ingest.observe(value)
    tally = many.tally("ct")
    for value in values:
        tally.stored(0, value)
    tally.close()

    def lines(counts: metrics.Metrics) -> list[str]:
        return [
            line
            for line in counts.render().decode().splitlines()
            if re.match(r"\w+ingest_seconds_(bucket|count)", line)
        ]

    assert lines(one) == lines(many)
    assert len(lines(one)) == len(metrics.INGEST) + 2


def test_a_process_that_was_stopped_hard_leaves_nothing_that_breaks_a_scrape(tmp_path: pathlib.Path) -> None:
    out = run(
        tmp_path / "all",
        """
        counts = metrics.begin(directory)
        pids = []
        for _ in range(4):
            pid = os.fork()
            if pid == 0:
                while True:
                    counts.operation("echo", 0.001)
            pids.append(pid)
        for pid in pids:
            counts.render()
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            counts.child_died("x", pid)
        print(counts.render().decode())
        """,
    )
    shown = samples(out)
    assert shown['operation_seconds_count{operation="echo"}'] > 0
