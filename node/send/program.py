"""A program as a destination: it is given a series in a folder, and what it makes comes back into the node.

It runs under limits, in a session of its own, with a clean environment, and no longer than its time. What it
is given are copies: it could not be kept from writing to the files of the store. Nothing of it is left when
it has ended, however that was; a folder that a crash left behind is removed at the next start.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pathlib
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol, Self

from node import errors, orders
from node.dicom import part10, statuses, uids
from node.files import disk as disks
from node.send import base, copies, launch

SOURCE = "command:"  # and the destination's name: where what a program made comes from
PATH = "/usr/local/bin:/usr/bin:/bin"

_LOOK = 1.0  # seconds between two looks at the room that is left
_TAIL = 4096  # bytes of what it says that are kept
_GRACE = 10.0  # seconds in which the launcher must have ended everything
_MOST = 100_000  # files that it may make
_HEAD = 1 << 16  # bytes of a file in which it must show that it is DICOM

# Takes files that a program made back into the node, for the source `command:NAME`; how many it took.
# Raises errors.NodeError: then none of them counts as taken.
Accept = Callable[[Sequence[str], str], int]


class Conversion(Protocol):
    """What a program is given in the place of instances, and what becomes of what it makes."""

    dicom: bool  # it is given the instances, too

    def given(self, instances: pathlib.Path, folder: pathlib.Path) -> tuple[str, ...]:
        """Make it of the instances in a folder; notes. Raises errors.NodeError."""

    def back(
        self, made: Sequence[pathlib.Path], instances: pathlib.Path, folder: pathlib.Path
    ) -> tuple[list[pathlib.Path], int, tuple[str, ...]]:
        """Make DICOM files of other files: these, how many files were no volumes, and notes.

        Raises errors.NodeError.
        """


class Nothing(Exception):
    """A conversion found nothing that a program could be given; the text says why, and nothing is wrong."""


class Program:
    """Runs a program over one consignment."""

    whole = True  # a volume is made of all its slices, whichever came late

    def __init__(
        self,
        destination: orders.Destination,
        folder: pathlib.Path,
        *,
        accept: Accept | None = None,
        transcoder: base.Transcoder | None = None,
        largest: int = 8 << 30,
        reserve: int = 64 << 20,
        conversion: Conversion | None = None,
    ) -> None:
        self._conversion = conversion
        self._destination = destination
        self._folder = folder  # below which it works
        self._accept = accept
        self._transcoder = transcoder
        self._largest = largest  # bytes of one file that it writes
        self._reserve = reserve  # bytes that stay free, or it is killed
        self._running: _Running | None = None
        self._cut = ""

    def describe(self) -> str:
        """Where this sends to, in words."""
        return f"{self._destination.name} (command {self._destination.command[0]})"

    def cut(self, why: str) -> None:
        """From another thread: kill the program at once."""
        self._cut = why
        running = self._running
        if running is not None:
            running.stop()

    def send(self, items: Sequence[base.Item] | base.Stream) -> Iterator[base.Result]:
        """Run it over all of the items; each gets the one outcome."""
        if isinstance(items, base.Stream):
            everything = list(items.each())
            if items.until():
                return
        else:
            everything = list(items)
        begun = time.monotonic()
        try:
            with _work(self._folder) as work:
                given, failed = self._give(everything, self._instances(work))
                yield from failed
                if failed:
                    why = "the program was not run: not every instance could be given to it"
                    yield from (base.Result(item, base.Retry(why)) for item, *_ in given)
                    return
                notes = self._converted(work)
                if self._conversion is not None:
                    (work / "in").chmod(0o500)
                notes += self._run(work)
        except Nothing as nothing:
            for item, syntax, size, more in given:
                done = base.Done(statuses.SUCCESS)
                yield base.Result(item, done, syntax, size, time.monotonic() - begun, (*more, str(nothing)))
            return
        except _Ended as ended:
            for item in everything:
                yield base.Result(item, base.Retry(str(ended), detail=ended.said), lane=ended.ours)
                ended.said = ""  # once is enough for a series
            return
        except errors.Permanent as error:
            yield from (base.Result(item, base.Failed(f"{self.describe()}: {error}")) for item in everything)
            return
        except (OSError, errors.NodeError) as error:
            # Room, processes, the journal of what comes back: nothing that this series is to blame for.
            why = error.strerror or str(error) if isinstance(error, OSError) else str(error)
            outcome = base.Retry(f"{self.describe()}: {why}")
            yield from (base.Result(item, outcome, lane=True) for item in everything)
            return
        seconds = time.monotonic() - begun
        for item, syntax, size, more in given:
            done = base.Done(statuses.SUCCESS)
            yield base.Result(item, done, syntax, size, seconds, (*more, *notes))

    def _give(
        self, items: Sequence[base.Item], folder: pathlib.Path
    ) -> tuple[list[tuple[base.Item, str, int, tuple[str, ...]]], list[base.Result]]:
        """Copy the items into a folder that is read-only then."""
        if why := self._room(folder, sum(item.size for item in items)):
            raise errors.StorageFull(why)
        given, failed = [], []
        buffer = bytearray()
        for number, item in enumerate(items, 1):
            try:
                with copies.opened(item, self._transcoder, buffer) as copy:
                    name = copy.sop_instance if uids.valid(copy.sop_instance) else f"{number:06}"
                    fd = os.open(folder / f"{name}.dcm", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
                    try:
                        copy.write(fd)
                    finally:
                        os.close(fd)
                    given.append((item, copy.syntax, copy.size, copy.notes))
            except errors.Transient as error:
                failed.append(base.Result(item, base.Retry(str(error))))
            except errors.NodeError as error:
                failed.append(base.Result(item, base.Failed(str(error))))
        folder.chmod(0o500)
        return given, failed

    def _run(self, work: pathlib.Path) -> tuple[str, ...]:
        """Run the program, and take back what it made; what is worth a note about it."""
        places = {"{in}": str(work / "in"), "{out}": str(work / "out")}
        wanted = self._destination
        command = [_filled(word, places) for word in wanted.command]
        with _Running(self._order(command, work)) as running:
            self._running = running
            try:
                ending = "" if self._cut else running.wait(wanted.timeout, lambda: self._room(work))
            finally:
                self._running = None
        if self._cut:
            raise _Ended(self._cut, running.said, ours=True)
        if ending:
            raise _Ended(f"{self.describe()} {ending}", running.said)
        found, strange, others = _made(work / "out")
        more: tuple[str, ...] = ()
        if self._conversion is not None and strange:
            turned = work / "back"
            turned.mkdir(mode=0o700)
            made, useless, more = self._conversion.back(strange, self._instances(work), turned)
            found, others = found + made, others + useless
        else:
            others += len(strange)
        if not found and not others:
            return more
        taken = 0
        if found:
            if self._accept is None:
                raise errors.StorageFailed("nothing here takes back what a program makes")
            taken = self._accept([str(path) for path in found], SOURCE + self._destination.name)
        notes = [f"{taken} instances were taken back"] if taken else []
        if taken < len(found):
            notes.append(f"{len(found) - taken} instances that are not sound were dropped")
        if others:
            notes.append(f"{others} files that are no DICOM were dropped")
        return (*more, *notes)

    def _instances(self, work: pathlib.Path) -> pathlib.Path:
        """Where the instances lie: the program looks elsewhere when it is given something else."""
        if self._conversion is None:
            return work / "in"
        place = work / "in" / "dicom" if self._conversion.dicom else work / "dicom"
        if not place.is_dir():
            place.mkdir(mode=0o700)
        return place

    def _converted(self, work: pathlib.Path) -> tuple[str, ...]:
        """Make what it is given in the place of instances, or beside them."""
        if self._conversion is None:
            return ()
        return self._conversion.given(self._instances(work), work / "in")

    def _room(self, work: pathlib.Path, needed: int = 0) -> str:
        """Why there is not enough room on the disk that it works on; "": there is."""
        free = disks.Disk().free(work)
        return "" if free - needed >= self._reserve else f"only {free} bytes are free where it works"

    def _order(self, command: Sequence[str], work: pathlib.Path) -> Mapping[str, object]:
        wanted = self._destination
        limits = {"RLIMIT_CORE": 0, "RLIMIT_FSIZE": self._largest}
        if wanted.memory is not None:
            limits["RLIMIT_AS"] = wanted.memory
        if wanted.cpu is not None:
            limits["RLIMIT_CPU"] = max(1, round(wanted.cpu))
        environment = {
            "PATH": PATH,
            "LANG": "C.UTF-8",
            "HOME": str(work / "tmp"),
            "TMPDIR": str(work / "tmp"),
            **wanted.environment,
        }
        return {
            "command": list(command),
            "folder": str(work / "tmp"),
            "environment": environment,
            "limits": limits,
        }


class _Ended(errors.Transient):
    """The program did not do what it was to do."""

    def __init__(self, why: str, said: str, *, ours: bool = False) -> None:
        super().__init__(why)
        self.ours = ours  # it did nothing wrong
        self.said = said  # the last of what it said, which may hold names


def check(command: Sequence[str]) -> str | None:
    """What is wrong with a command, in a sentence; None: nothing."""
    if not command:
        return "it is empty: give a program and its arguments"
    if shutil.which(command[0], path=PATH) is None:
        return f"there is no program {command[0]!r} that this user may run (looked for in {PATH})"
    if not any("{in}" in word for word in command):
        return "it has no {in}, the folder in which the program finds the series"
    return None


def sweep(folder: pathlib.Path) -> int:
    """Remove the working folders that crashed workers left below a folder; how many."""
    removed = 0
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                fd = os.open(entry.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    _remove(pathlib.Path(entry.path))
                    removed += 1
                finally:
                    os.close(fd)
    return removed


@contextlib.contextmanager
def _work(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """A working folder with `in`, `out` and `tmp`; a lock says that its user lives."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    work = folder / secrets.token_hex(8)
    work.mkdir(mode=0o700)
    fd = os.open(work, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        for name in ("in", "out", "tmp"):
            (work / name).mkdir(mode=0o700)
        yield work
    finally:
        _remove(work)
        os.close(fd)


def _remove(folder: pathlib.Path) -> None:
    """Remove a folder with what a program may have done to the rights in it."""

    def again(function: Callable[..., object], path: str, _: object) -> None:
        with contextlib.suppress(OSError):
            os.chmod(os.path.dirname(path), 0o700)
            if not os.path.islink(path):
                os.chmod(path, 0o700)
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path, ignore_errors=True)
            else:
                os.unlink(path)

    (folder / "in").chmod(0o700)
    shutil.rmtree(folder, onerror=again)


def _filled(word: str, places: Mapping[str, str]) -> str:
    for name, place in places.items():
        word = word.replace(name, place)
    return word


class _Running:
    """A program under its launcher; at the end of the block nothing of it is left."""

    def __init__(self, order: Mapping[str, object]) -> None:
        self._order = order
        self._tail = bytearray()

    def __enter__(self) -> Self:
        self._control, theirs = socket.socketpair()
        try:
            with theirs:
                self._process = subprocess.Popen(
                    [sys.executable, "-I", "-S", launch.__file__, str(theirs.fileno())],
                    pass_fds=(theirs.fileno(),),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    env={},
                )
        except BaseException:
            self._control.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdout is not None
        self.stop()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)  # for a launcher that its program has killed
        self._process.wait()
        self._process.stdout.close()
        self._control.close()

    @property
    def said(self) -> str:
        """The last of what it said."""
        return bytes(self._tail).decode("utf-8", "replace").strip()

    def stop(self) -> None:
        """Have its launcher kill it; from any thread."""
        with contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_RDWR)

    def wait(self, timeout: float, must_end: Callable[[], str]) -> str:
        """Wait until it has ended, or must; how, in words, "" when all went well."""
        assert self._process.stdout is not None
        deadline = time.monotonic() + timeout
        out = self._process.stdout.fileno()
        os.set_blocking(out, False)
        try:
            self._control.sendall(json.dumps(self._order).encode() + b"\n")
        except OSError as error:
            return f"cannot be started ({error.strerror or error})"
        poller = select.poll()
        poller.register(out, select.POLLIN)
        poller.register(self._control, select.POLLIN)
        while (left := deadline - time.monotonic()) > 0:
            ready = {fd for fd, _ in poller.poll(int(min(left, _LOOK) * 1000) + 1)}
            if out in ready and not self._listen(out):
                poller.unregister(out)
            if self._control.fileno() in ready:
                self._listen(out)
                return self._ending()
            if why := must_end():
                return f"was killed: {why}"
        return f"did not end within {timeout:g} s, and was killed"

    def _listen(self, out: int) -> bool:
        """Keep the last of what it says; whether there may be more."""
        try:
            said = os.read(out, 1 << 16)
        except BlockingIOError:
            return True
        self._tail += said
        del self._tail[:-_TAIL]
        return bool(said)

    def _ending(self) -> str:
        try:
            answer = self._control.makefile("rb").readline()
            code = json.loads(answer)["code"]
        except (OSError, ValueError):
            return "ended, and nobody could see how"
        if code == 0:
            return ""
        if code is None:
            return "was ended"
        if code < 0:
            return f"was killed by signal {-code}: is one of its limits too low?"
        return f"ended with exit code {code}"


def _made(folder: pathlib.Path) -> tuple[list[pathlib.Path], list[pathlib.Path], int]:
    """The DICOM files that it made, in order, its other files, and how many things are neither."""
    found: list[pathlib.Path] = []
    strange: list[pathlib.Path] = []
    others = 0
    for place, _, names in os.walk(folder):  # follows no links
        for name in sorted(names):
            path = pathlib.Path(place, name)
            if path.is_symlink() or not path.is_file():
                others += 1
            else:
                (found if _is_dicom(path) else strange).append(path)
            if len(found) + len(strange) + others > _MOST:
                raise _Ended(f"it made more than {_MOST} files", "")
    return found, strange, others


def _is_dicom(path: pathlib.Path) -> bool:
    try:
        with open(path, "rb") as file:
            part10.part10(file.read(_HEAD))
    except (OSError, errors.NodeError):
        return False
    return True
