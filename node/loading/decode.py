"""Compressed frames, decoded by processes that may crash or hang without harm.

The libraries underneath are written in C and read what strangers wrote. Children are forked, which takes
milliseconds, each takes the next frame that nobody has taken, and writes what came of it straight to where
it belongs. The first frame that cannot be decoded ends the whole: half a volume is none.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import mmap
import os
import resource
import select
import signal
import struct
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import NoReturn

import numpy as np

from node import errors
from node.loading import frames

Progress = Callable[[int, int, str], None]

_ROOM = 1 << 30  # bytes of address space for a child beside what its frame needs
_TIMES = 24  # how often a decoder may hold the bytes of a frame
_SECONDS, _PER_SECOND = 30.0, 1 << 20  # for a frame, and a second more for so many bytes of it
_DONE, _FAILED = b".", b"!"
_LINE = 4096  # bytes of an error's words
_MOST = 1000  # numbers that a pipe takes before anybody reads, even one of a single page
_DEADLY = (
    *(signal.SIGTERM, signal.SIGHUP, signal.SIGALRM),
    *(signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL),
)
_NUMBER = struct.Struct("<I")
_END = b"\xff\xff\xff\xff"


class _Child:
    """One process that decodes, and what is known of it."""

    def __init__(self, number: int, pid: int, said: int) -> None:
        self.number = number
        self.pid = pid
        self.said = said  # the pipe it speaks through
        self.words = b""  # why it failed
        self.failed = False


@dataclasses.dataclass(frozen=True, slots=True)
class _Task:
    """What all children do together."""

    loader: frames.Loader
    jobs: Sequence[frames.Job]
    batch: int  # jobs for a number
    todo: int  # the pipe that numbers are taken from
    current: mmap.mmap  # which job each child is at, from 1
    fd: int  # the file that voxels are written to
    offset: int  # where they begin in it


def run(
    loader: frames.Loader, jobs: Sequence[frames.Job], fd: int, offset: int, progress: Progress | None = None
) -> None:
    """Have jobs done, their voxels written at `offset` of an open file; BadData names the file."""
    if not jobs:
        return
    _warm(loader)
    batch = -(-len(jobs) // _MOST)
    numbers = -(-len(jobs) // batch)
    count = min(max(loader.jobs, 1), numbers)
    todo = _todo(numbers, count)
    current = mmap.mmap(-1, 8 * count)
    task = _Task(loader, jobs, batch, todo, current, fd, offset)
    children: list[_Child] = []
    try:
        for number in range(count):
            children.append(_forked(task, number, children))
        _watch(task, children, progress)
    finally:
        os.close(todo)
        for child in children:
            _end(child)
        current.close()


def _warm(loader: frames.Loader) -> None:
    """Load what decodes before there are children, so that each need not."""
    from node.dicom import codecs

    codecs.prepare({one.syntax for one in loader.sources.values()})


def _todo(count: int, children: int) -> int:
    """A pipe with the numbers of what is to be done, and an end for each child; reads of one are whole.

    Nobody waits for the pipe to be closed: what another thread forks meanwhile may have it open, too.
    """
    reads, writes = os.pipe2(os.O_CLOEXEC)
    try:
        os.write(writes, b"".join(map(_NUMBER.pack, range(count))) + _END * children)
    finally:
        os.close(writes)
    return reads


def _forked(task: _Task, number: int, before: Sequence[_Child]) -> _Child:
    reads, writes = os.pipe2(os.O_CLOEXEC)
    parent = os.getpid()
    try:
        with _quiet():
            pid = os.fork()
    except OSError as error:
        os.close(reads)
        os.close(writes)
        raise errors.TranscodingBusy(
            f"no process can be started that decodes ({error.strerror or error})"
        ) from error
    if pid:
        os.close(writes)
        return _Child(number, pid, reads)
    code = 1
    try:
        os.close(reads)
        for other in before:
            os.close(other.said)
        _settle(task.loader)
        code = _work(task, number, writes, parent)
    except BaseException:  # noqa: BLE001 - the edge of the process: nothing of the parent's may run in it
        code = 1
    finally:
        os._exit(code)
    raise AssertionError


def _quiet() -> contextlib.AbstractContextManager[object]:
    """Newer Pythons warn of forks beside threads; a child only decodes, and takes no lock of theirs."""
    if sys.hexversion < 0x030C0000:
        return contextlib.nullcontext()
    return warnings.catch_warnings(action="ignore", category=DeprecationWarning)


def _settle(loader: frames.Loader) -> None:
    """Become a process of its own: limits, no signals of the parent's, nothing on its terminal."""
    gc.disable()
    with contextlib.suppress(ValueError):
        signal.set_wakeup_fd(-1)
    for one in _DEADLY:
        signal.signal(one, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who asked ends us
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    largest = max((one.pixels.frame_size for one in loader.sources.values() if one.pixels), default=0)
    if any(one.place is None for one in loader.sources.values()):  # a deflated data set is inflated whole
        largest = max((one.pixels.size for one in loader.sources.values() if one.pixels), default=0)
    with open("/proc/self/statm", encoding="ascii") as file:
        own = int(file.read().split()[0]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = own + _ROOM + min(_TIMES * largest, 8 << 30)
    resource.setrlimit(resource.RLIMIT_AS, (wanted if hard < 0 else min(wanted, hard), hard))
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write("900")


def _work(task: _Task, number: int, said: int, parent: int) -> int:
    """Do what is to be done until nothing is, or something fails; the exit code."""
    loader = task.loader
    while os.getppid() == parent:
        raw = os.read(task.todo, _NUMBER.size)
        if len(raw) < _NUMBER.size or raw == _END:
            return 0
        first = _NUMBER.unpack(raw)[0] * task.batch
        for at in range(first, min(first + task.batch, len(task.jobs))):
            job = task.jobs[at]
            task.current[8 * number : 8 * number + 8] = (at + 1).to_bytes(8, "little")
            signal.setitimer(signal.ITIMER_REAL, _seconds(loader, job))
            try:
                for place, voxels in loader.made(job):
                    start = task.offset + place * loader.length
                    _write(task.fd, voxels.reshape(-1).view(np.uint8).data, start)
            except errors.NodeError as error:
                return _fail(said, str(error))
            except MemoryError:
                return _fail(said, f"{loader.sources[job.source].path}: a frame needs too much memory")
            except OSError as error:
                return _fail(said, f"\0{error.errno}")
            signal.setitimer(signal.ITIMER_REAL, 0)
            os.write(said, _DONE)
    return 0


def _seconds(loader: frames.Loader, job: frames.Job) -> float:
    shown = loader.sources[job.source].pixels
    return _SECONDS + (0 if shown is None else min(shown.frame_size, 4 << 30) / _PER_SECOND)


def _fail(said: int, words: str) -> int:
    os.write(said, _FAILED + words.encode(errors="surrogateescape")[:_LINE])
    return 0


def _write(fd: int, data: memoryview, offset: int) -> None:
    place = 0
    while place < len(data):
        place += os.pwrite(fd, data[place:], offset + place)


def _watch(task: _Task, children: Sequence[_Child], progress: Progress | None) -> None:
    """Wait until every child has ended; the first failure ends it."""
    done = 0
    poll = select.poll()
    speaking = {child.said: child for child in children}
    for said in speaking:
        poll.register(said, select.POLLIN)
    while speaking:
        for said, _ in poll.poll():
            child = speaking[said]
            words = os.read(said, _LINE + 1)
            if not words:
                poll.unregister(said)
                del speaking[said]
                _check(task, child)
                continue
            if not child.failed:
                before, mark, after = words.partition(_FAILED)
                done += len(before)
                child.failed = bool(mark)
                words = after
                if progress is not None and not child.failed:
                    progress(done, len(task.jobs), "decoding")
            if child.failed:
                child.words += words
    if done < len(task.jobs):
        raise errors.TranscodingBusy(
            f"{done} of {len(task.jobs)} frames were decoded, and then no process was left"
        )


def _check(task: _Task, child: _Child) -> None:
    """Raise what a child that ended says of how it did."""
    _, status = os.waitpid(child.pid, 0)
    child.pid = 0
    code = os.waitstatus_to_exitcode(status)
    if child.failed:
        _raise(child.words)
    if not code:
        return
    at = int.from_bytes(task.current[8 * child.number : 8 * child.number + 8], "little")
    what = "a frame"
    if 0 < at <= len(task.jobs):
        job = task.jobs[at - 1]
        what = f"{task.loader.sources[job.source].path}: frame {job.frame + 1}"
    if code == -signal.SIGKILL:  # as the system does it when memory is short; it may go well later
        raise errors.TranscodingBusy(f"{what}: the process that decoded it was killed")
    if code == -signal.SIGALRM:
        raise errors.BadData(f"{what}: decoding it took too long")
    said = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    raise errors.BadData(f"{what}: the process that decoded it crashed ({said})")


def _raise(words: bytes) -> NoReturn:
    text = words.decode(errors="surrogateescape")
    if text.startswith("\0"):
        said = os.strerror(int(text[1:] or 0))
        raise errors.StorageFailed(f"the voxels cannot be written ({said})")
    raise errors.BadData(text)


def _end(child: _Child) -> None:
    os.close(child.said)
    if child.pid:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child.pid, signal.SIGKILL)
        os.waitpid(child.pid, 0)
