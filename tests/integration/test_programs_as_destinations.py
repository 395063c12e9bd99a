"""Commands as destinations, for real: what a program is given, its limits, what comes back, what is left."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence

import pydicom
import pytest

from node import errors, orders
from node.commands import gather
from node.send import base, program
from tests import make

PYTHON = os.path.realpath(sys.executable)


def _items(folder: pathlib.Path, made: Sequence[make.Made]) -> list[base.Item]:
    make.files(folder, made)
    return [one for one in gather.items([folder]) if isinstance(one, base.Item)]


class _Runs:
    """Runs scripts as destinations below one folder."""

    def __init__(self, root: pathlib.Path) -> None:
        self.root = root
        self.work = root / "run" / "programs"
        self.accepted: list[tuple[list[bytes], str]] = []
        self.refuse: errors.NodeError | None = None

    def accept(self, paths: Sequence[str], source: str) -> int:
        if self.refuse is not None:
            raise self.refuse
        self.accepted.append(([pathlib.Path(path).read_bytes() for path in paths], source))
        return len(paths)

    def sender(self, script: str, *more: str, **how: object) -> program.Program:
        path = self.root / "program.py"
        path.write_text(script)
        command = (PYTHON, "-I", "-S", str(path), "{in}", "{out}", *more)
        wanted = orders.Destination(
            name="tool",
            kind=orders.Kind.COMMAND,
            command=command,
            **how,  # type: ignore[arg-type]
        )
        return program.Program(wanted, self.work, accept=self.accept, reserve=0)

    def run(self, script: str, items: Sequence[base.Item], **how: object) -> list[base.Result]:
        return list(self.sender(script, **how).send(items))

    def left(self) -> list[str]:
        return os.listdir(self.work) if self.work.exists() else []


@pytest.fixture
def runs(tmp_path: pathlib.Path) -> _Runs:
    return _Runs(tmp_path)


@pytest.fixture
def items(tmp_path: pathlib.Path) -> list[base.Item]:
    return _items(tmp_path / "held", make.series(3))


def _retry(results: Sequence[base.Result]) -> base.Retry:
    """The one outcome of all of them, which the first tells with all that is known."""
    first, *others = [result.outcome for result in results]
    assert isinstance(first, base.Retry)
    assert set(others) <= {dataclasses.replace(first, detail="")}
    return first


def test_a_series_is_given_and_what_is_made_comes_back(runs: _Runs, items: list[base.Item]) -> None:
    script = (
        "import os, shutil, sys\n"
        "for name in os.listdir(sys.argv[1]):\n"
        "    shutil.copyfile(f'{sys.argv[1]}/{name}', f'{sys.argv[2]}/{name}')\n"
        "open(sys.argv[2] + '/report.txt', 'w').write('fine')\n"
    )
    results = runs.run(script, items)
    assert {type(result.outcome) for result in results} == {base.Done}
    assert {result.item.sop_instance for result in results} == {item.sop_instance for item in items}
    assert results[0].notes == ("3 instances were taken back", "1 files that are no DICOM were dropped")
    ((files, source),) = runs.accepted
    assert source == "command:tool"
    assert {item.path.read_bytes()[item.offset :] for item in items} == {
        one[-items[0].size :] for one in files
    }
    assert {file[:132] for file in files} == {bytes(128) + b"DICM"}
    assert runs.left() == []


def test_what_it_is_given_cannot_be_changed_and_is_no_file_of_the_store(
    runs: _Runs, items: list[base.Item]
) -> None:
    script = (
        "import os, sys\n"
        "for one in os.scandir(sys.argv[1]):\n"
        "    assert one.stat().st_nlink == 1, 'linked'\n"
        "    assert not one.stat().st_mode & 0o222, 'writable'\n"
        "    os.chmod(one.path, 0o600); open(one.path, 'r+b').write(b'gone')\n"
    )
    before = [item.path.read_bytes() for item in items]
    results = runs.run(script, items)
    assert {type(result.outcome) for result in results} == {base.Done}, results
    assert [item.path.read_bytes() for item in items] == before


def test_its_environment_is_clean(
    runs: _Runs, items: list[base.Item], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NODE_SECRET", "not for programs")
    script = (
        "import os, sys\n"
        "print(sorted(os.environ)); print(os.environ['WANTED']); print(sorted(os.listdir('/proc/self/fd')))\n"
        "print(os.getsid(0) != int(sys.argv[3])); sys.exit(1)\n"
    )
    sender = runs.sender(script, str(os.getsid(0)), environment={"WANTED": "this"})
    said = _retry(list(sender.send(items))).detail.splitlines()
    names = {"HOME", "LANG", "LC_CTYPE", "PATH", "TMPDIR", "WANTED"}
    assert set(eval(said[0])) <= names
    assert said[1] == "this"
    assert len(eval(said[2])) == 4  # its three streams, and the folder that is being listed
    assert said[3] == "True"


def test_an_exit_code_is_told_with_the_last_of_what_it_said(runs: _Runs, items: list[base.Item]) -> None:
    script = "print('x' * 10000, flush=True)\nraise SystemExit('SYNTHETIC^ALPHA is bad')\n"
    outcome = _retry(runs.run(script, items))
    assert "ended with exit code 1" in outcome.why
    assert "SYNTHETIC" not in outcome.why
    assert outcome.detail.endswith("SYNTHETIC^ALPHA is bad")
    assert len(outcome.detail) <= 4096
    assert runs.left() == []
    assert runs.accepted == []


def test_a_program_that_is_not_there_is_told(runs: _Runs, items: list[base.Item]) -> None:
    wanted = orders.Destination(name="tool", kind=orders.Kind.COMMAND, command=("/no/such/program", "{in}"))
    outcome = _retry(list(program.Program(wanted, runs.work, reserve=0).send(items)))
    assert "/no/such/program cannot be started" in outcome.detail
    assert "exit code 127" in outcome.why


_FOREVER = (
    "import os, sys, time\n"
    "if os.fork() == 0:\n"
    "    os.setsid()\n"  # a daemon, as far as it can
    "    if os.fork() == 0:\n"
    "        open(sys.argv[3] + '.part', 'w').write(str(os.getpid()))\n"
    "        os.rename(sys.argv[3] + '.part', sys.argv[3])\n"
    "        time.sleep(3600)\n"
    "    os._exit(0)\n"
    "time.sleep(3600)\n"
)


def _until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _gone(number: int) -> bool:
    try:
        return pathlib.Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_one_that_does_not_end_is_killed_with_all_that_it_started(
    runs: _Runs, items: list[base.Item]
) -> None:
    told = runs.root / "daemon"
    sender = runs.sender(_FOREVER, str(told), timeout=3600.0)
    found: list[base.Result] = []
    thread = threading.Thread(target=lambda: found.extend(sender.send(items)))
    thread.start()
    _until(told.exists)
    sender.cut("the node stops")
    thread.join(60)
    assert _retry(found).why == "the node stops"
    assert _gone(int(told.read_text()))
    assert runs.left() == []


def test_its_time_is_limited(runs: _Runs, items: list[base.Item]) -> None:
    outcome = _retry(runs.run("import time\ntime.sleep(3600)\n", items, timeout=0.3))
    assert "did not end within 0.3 s" in outcome.why


def test_its_memory_is_limited(runs: _Runs, items: list[base.Item]) -> None:
    outcome = _retry(runs.run("x = bytearray(1 << 30)\n", items, memory=256 << 20))
    assert "MemoryError" in outcome.detail


def test_its_processor_time_is_limited(runs: _Runs, items: list[base.Item]) -> None:
    outcome = _retry(runs.run("while True: pass\n", items, cpu=1.0))
    assert f"killed by signal {int(signal.SIGKILL)}" in outcome.why


def test_it_gains_no_privileges_and_dumps_no_core(runs: _Runs, items: list[base.Item]) -> None:
    script = (
        "import resource\n"
        "assert resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)\n"
        "assert 'NoNewPrivs:\\t1' in open('/proc/self/status').read()\n"
    )
    assert {type(result.outcome) for result in runs.run(script, items)} == {base.Done}


def test_links_and_pipes_are_not_taken_back(runs: _Runs, items: list[base.Item]) -> None:
    script = (
        "import os, sys\n"
        "name = os.listdir(sys.argv[1])[0]\n"
        "os.symlink(f'{sys.argv[1]}/{name}', f'{sys.argv[2]}/link.dcm')\n"
        "os.symlink('/', f'{sys.argv[2]}/folder')\n"
        "os.mkfifo(f'{sys.argv[2]}/pipe')\n"
    )
    results = runs.run(script, items)
    assert {type(result.outcome) for result in results} == {base.Done}
    assert runs.accepted == []


_COPY_ONE = (
    "import os, shutil, sys\n"
    "name = os.listdir(sys.argv[1])[0]\n"
    "shutil.copyfile(f'{sys.argv[1]}/{name}', f'{sys.argv[2]}/{name}')\n"
)


def test_what_cannot_be_taken_back_now_is_made_again(runs: _Runs, items: list[base.Item]) -> None:
    runs.refuse = errors.StorageFull("no room")
    assert "no room" in _retry(runs.run(_COPY_ONE, items)).why
    assert runs.left() == []


def test_a_series_that_is_not_whole_is_not_run_over(runs: _Runs, items: list[base.Item]) -> None:
    items[1].path.unlink()
    results = runs.run("raise SystemExit(0)\n", items)
    kinds = {result.item.sop_instance: type(result.outcome) for result in results}
    assert kinds[items[1].sop_instance] is base.Failed
    assert sorted(kind.__name__ for kind in kinds.values()) == ["Failed", "Retry", "Retry"]


def test_what_a_crash_left_is_removed_and_what_is_in_use_is_not(runs: _Runs, items: list[base.Item]) -> None:
    left = runs.work / "0123456789abcdef"
    (left / "in").mkdir(parents=True)
    (left / "in" / "x.dcm").write_bytes(b"x")
    (left / "in").chmod(0o500)
    told = runs.root / "daemon"
    sender = runs.sender(_FOREVER, str(told), timeout=3600.0)
    thread = threading.Thread(target=lambda: list(sender.send(items)))
    thread.start()
    try:
        _until(told.exists)
        assert program.sweep(runs.work) == 1
        assert not left.exists()
        assert len(runs.left()) == 1
    finally:
        sender.cut("enough")
        thread.join(60)


def test_given_files_are_whole_part_10_files(runs: _Runs, tmp_path: pathlib.Path) -> None:
    (item,) = _items(tmp_path / "one", make.series(1))
    (result,) = runs.run(_COPY_ONE, [item])
    assert isinstance(result.outcome, base.Done)
    (((file,), _),) = runs.accepted
    path = tmp_path / "back.dcm"
    path.write_bytes(file)
    read = pydicom.dcmread(path)
    assert read.file_meta.MediaStorageSOPInstanceUID == item.sop_instance
    assert file.endswith(item.path.read_bytes()[item.offset :])


_WORKER = """
import pathlib, sys
from node import orders
from node.commands import gather
from node.send import program

held, work, *command = sys.argv[1:]
wanted = orders.Destination("tool", kind=orders.Kind.COMMAND, command=tuple(command))
list(program.Program(wanted, pathlib.Path(work), reserve=0).send(list(gather.items([pathlib.Path(held)]))))
"""


def test_nothing_of_it_outlives_a_worker_that_is_killed(runs: _Runs, items: list[base.Item]) -> None:
    told, script = runs.root / "daemon", runs.root / "program.py"
    script.write_text(_FOREVER)
    command = [PYTHON, "-I", "-S", str(script), "{in}", "{out}", str(told)]
    worker = subprocess.Popen(
        [sys.executable, "-c", _WORKER, str(items[0].path.parent), str(runs.work), *command],
        cwd=pathlib.Path(__file__).parents[2],
    )
    try:
        _until(told.exists)
    finally:
        worker.kill()
        worker.wait()
    _until(lambda: _gone(int(told.read_text())))
    _until(lambda: program.sweep(runs.work) == 1)
    assert runs.left() == []


@pytest.mark.parametrize("room", ["before", "while"])
def test_a_disk_that_fills_up_ends_it(room: str, runs: _Runs, items: list[base.Item]) -> None:
    sender = runs.sender("import time\ntime.sleep(3600)\n")
    free = iter([1 << 50] if room == "while" else [])
    sender._room = lambda work, needed=0: "" if next(free, 0) else "no room is left"  # type: ignore[method-assign]
    assert "no room is left" in _retry(list(sender.send(items))).why
    assert runs.left() == []


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ((), "it is empty"),
        (("/no/such/program", "{in}"), "no program '/no/such/program'"),
        (("true",), "no {in}"),
        (("true", "--from={in}"), None),
    ],
)
def test_commands_are_checked(command: tuple[str, ...], why: str | None) -> None:
    found = program.check(command)
    assert found is None if why is None else why in (found or "")
