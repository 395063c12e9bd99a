"""The same changes to many files: a series, a folder. Each file is changed whole or not at all.

Files are read one after the other into the same memory, and a large one through a mapping from which it is
copied range by range, so that memory stays flat. The new file appears under its name by a rename; one that
replaces its original is synced first, and keeps its mode and owner.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import mmap
import os
import pathlib
import stat
from collections.abc import Iterable, Iterator

from node import errors
from node.dicom import edit

_TEMPORARY = ".dicom-node-edit"  # suffix of a file that is not whole yet
_MAPPED_FROM = 4 << 20  # bytes; a smaller file is read and written faster than it is mapped and copied


class Outcome(enum.StrEnum):
    """What became of a file."""

    EDITED = "edited"  # the new file is in its place
    UNCHANGED = "unchanged"  # the changes do nothing to it; --out has a copy
    REFUSED = "refused"  # nothing was done; there is a reason
    READY = "ready"  # it could be done: a dry run, or held back because another one was refused


@dataclasses.dataclass(frozen=True, slots=True)
class Task:
    """One file, and where the result goes."""

    source: pathlib.Path  # read
    target: pathlib.Path  # written; the same: in place

    @property
    def in_place(self) -> bool:
        """Whether the result replaces the file."""
        return self.source == self.target

    @property
    def temporary(self) -> str:
        """Where the new file is made; beside its target, so that a rename suffices."""
        folder, name = os.path.split(self.target)
        return os.path.join(folder, f".{name}{_TEMPORARY}")


@dataclasses.dataclass(frozen=True, slots=True)
class Result:
    """What became of one file."""

    task: Task  # the file
    outcome: Outcome  # what became of it
    why: str = ""  # the reason, when refused
    notes: tuple[str, ...] = ()  # what was done beyond the changes: character sets, for example
    differences: tuple[edit.Difference, ...] = ()  # when they were asked for


@dataclasses.dataclass(frozen=True, slots=True)
class Order:
    """How it is done."""

    original: edit.Original | None = None  # who is named in the Original Attributes Sequence; None: not kept
    overwrite: bool = False  # a target that is there may be replaced
    explain: bool = False  # results carry the differences


def tasks(found: Iterable[tuple[pathlib.Path, pathlib.Path]], out: pathlib.Path | None) -> Iterator[Task]:
    """Pair each file, given with the root that it was found below, with its target; None: in place.

    A file that is found twice is one task. Raises UsageError when two results would have one name.
    """
    seen: set[str] = set()
    taken: dict[str, pathlib.Path] = {}
    folders: dict[str, str] = {}  # their real names: to ask for each file's is a fifth of an edit
    for path, root in found:
        real = _real(path, folders)
        if real in seen:
            continue
        seen.add(real)
        if out is None:
            one = pathlib.Path(real) if path.is_symlink() else path
            yield Task(one, one)
            continue
        target = out / (path.relative_to(root) if path != root else path.name)
        place = _real(target, folders)
        if place in taken:
            raise errors.UsageError(
                f"{path} and {taken[place]} would both become {target}: edit them into folders of their own"
            )
        if place == real:
            raise errors.UsageError(f"--out would replace {path} by its own result: say --in-place")
        taken[place] = path
        yield Task(path, target)


def _real(path: pathlib.Path, folders: dict[str, str]) -> str:
    """What a path leads to, links followed."""
    if os.path.islink(path):
        return os.path.realpath(path)
    folder, name = os.path.split(path)
    if name in ("", "..", "."):
        return os.path.realpath(path)
    if folder not in folders:
        folders[folder] = os.path.realpath(folder)
    return os.path.join(folders[folder], name)


def look(chosen: Iterable[Task], program: edit.Program, order: Order) -> Iterator[Result]:
    """Say what each file would become, and write nothing."""
    room = bytearray(_MAPPED_FROM)
    for task in chosen:
        yield _tried(task, program, order, room, write=False)


def each(chosen: Iterable[Task], program: edit.Program, order: Order) -> Iterator[Result]:
    """Edit file by file; one that is refused is left as it was, the others are done."""
    room = bytearray(_MAPPED_FROM)
    for task in chosen:
        result = _tried(task, program, order, room, write=True)
        yield result if result.outcome is Outcome.REFUSED else _published(result)


def together(chosen: Iterable[Task], program: edit.Program, order: Order) -> Iterator[Result]:
    """Edit all files or none: every new file is made before the first one gets its name."""
    room = bytearray(_MAPPED_FROM)
    staged: list[Result] = []
    try:
        staged.extend(_tried(task, program, order, room, write=True) for task in chosen)
        whole = all(result.outcome is not Outcome.REFUSED for result in staged)
        for result in staged:
            made = _published(result) if whole else result
            # Names that cannot be given are rare by now; the rest keeps what it has, and is told so.
            whole = whole and made.outcome is not Outcome.REFUSED
            yield made
    finally:
        for result in staged:
            with contextlib.suppress(OSError):  # most of them have their name by now
                os.unlink(result.task.temporary)


def _tried(task: Task, program: edit.Program, order: Order, room: bytearray, *, write: bool) -> Result:
    try:
        return _edited(task, program, order, room, write=write)
    except errors.NodeError as error:
        return Result(task, Outcome.REFUSED, str(error))
    except OSError as error:
        return Result(task, Outcome.REFUSED, _reason(error, task))


def _reason(error: OSError, task: Task) -> str:
    why = error.strerror or str(error)
    named = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
    if named == task.temporary:
        named = str(task.target)  # the name that a person knows
    return why if named in ("", str(task.source)) else f"{named}: {why}"


def _edited(task: Task, program: edit.Program, order: Order, room: bytearray, *, write: bool) -> Result:
    if not task.in_place and os.path.lexists(task.target):
        if task.target.is_dir():
            raise errors.UsageError(f"{task.target} is a folder: choose another --out")
        if not order.overwrite:
            raise errors.UsageError(f"{task.target} exists: choose another --out, or say --overwrite")
    with _opened(task.source) as source, _bytes_of(source, room) as (buffer, copied):
        patched = edit.edit_file(buffer, program, original=order.original, bare=True)
        differences = tuple(patched.differences()) if order.explain else ()
        if write and (patched.changed or not task.in_place):
            _write(patched, task, source, copied=copied)
        outcome = Outcome.READY if patched.changed else Outcome.UNCHANGED
        notes = patched.notes
    return Result(task, outcome, notes=notes, differences=differences)


@contextlib.contextmanager
def _opened(path: pathlib.Path) -> Iterator[int]:
    # Without O_NONBLOCK a pipe that lies in a folder would be waited for.
    source = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(source).st_mode):
            raise errors.UsageError("this is no file that can be edited")
        yield source
    finally:
        os.close(source)


@contextlib.contextmanager
def _bytes_of(source: int, room: bytearray) -> Iterator[tuple[memoryview | mmap.mmap, bool]]:
    """A file's bytes, and whether they are so many that they should be copied from the file itself."""
    size = os.fstat(source).st_size
    if size == 0:
        raise errors.BadData("the file is empty")
    if size <= len(room):
        # Fresh memory for each file would take as long as reading it does.
        with memoryview(room)[:size] as view:
            if os.preadv(source, [view], 0) != size:
                raise errors.BadData("the file became shorter while it was read")
            yield view, False
        return
    mapped = mmap.mmap(source, size, access=mmap.ACCESS_READ)
    try:
        yield mapped, True
    finally:
        # What was cut from it may be left in a result or a traceback; the mapping goes when that does.
        with contextlib.suppress(BufferError):
            mapped.close()


def _write(patched: edit.Patched, task: Task, source: int, *, copied: bool) -> None:
    into = task.temporary
    facts = os.fstat(source)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        target = os.open(into, flags, facts.st_mode & 0o777)
    except FileNotFoundError:
        task.target.parent.mkdir(parents=True, exist_ok=True)
        target = os.open(into, flags, facts.st_mode & 0o777)
    try:
        patched.write(target, source if copied else None)
        if task.in_place:
            if facts.st_uid != os.geteuid() or facts.st_gid != os.getegid():
                with contextlib.suppress(PermissionError):  # only root may give files away
                    os.fchown(target, facts.st_uid, facts.st_gid)
            os.fchmod(target, facts.st_mode & 0o7777)
            os.fdatasync(target)
    except BaseException:
        os.unlink(into)
        raise
    finally:
        os.close(target)


def _published(result: Result) -> Result:
    """Give the new file its name."""
    task = result.task
    if result.outcome is Outcome.UNCHANGED and task.in_place:
        return result
    try:
        os.replace(task.temporary, task.target)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(task.temporary)
        return dataclasses.replace(result, outcome=Outcome.REFUSED, why=_reason(error, task))
    if result.outcome is Outcome.READY:
        return dataclasses.replace(result, outcome=Outcome.EDITED)
    return result
