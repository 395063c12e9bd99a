"""The same changes to many files: a series, a folder. Each file is changed whole or not at all.

A file is read through a mapping and its unchanged ranges go from file to file in the kernel, so that memory
stays flat. The new file appears under its name by a rename; one that replaces its original is synced first.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import mmap
import os
import pathlib
from collections.abc import Iterable, Iterator

from node import errors
from node.dicom import edit

_TEMPORARY = ".dicom-node-edit"  # suffix of a file that is not whole yet


class Outcome(enum.StrEnum):
    """What became of a file."""

    EDITED = "edited"  # the new file is in its place
    UNCHANGED = "unchanged"  # the changes do nothing to it
    REFUSED = "refused"  # nothing was done; there is a reason
    READY = "ready"  # it could be done: a dry run, or held back because another one was refused


@dataclasses.dataclass(frozen=True, slots=True)
class Task:
    """One file, and where the result goes."""

    source: pathlib.Path  # read
    target: pathlib.Path  # written; the same: in place


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
    """Pair each file, given with the root that it was found below, with its target; None: in place."""
    taken: dict[pathlib.Path, pathlib.Path] = {}
    for path, root in found:
        if out is None:
            yield Task(path, path)
            continue
        target = out / (path.relative_to(root) if path != root else path.name)
        if target in taken:
            raise errors.UsageError(
                f"{path} and {taken[target]} would both become {target}: edit them into folders of their own"
            )
        taken[target] = path
        yield Task(path, target)


def look(chosen: Iterable[Task], program: edit.Program, order: Order) -> Iterator[Result]:
    """Say what each file would become, and write nothing."""
    for task in chosen:
        yield _tried(task, program, order, None)


def each(chosen: Iterable[Task], program: edit.Program, order: Order) -> Iterator[Result]:
    """Edit file by file; one that is refused is left as it was, the others are done."""
    for task in chosen:
        yield _published(_tried(task, program, order, _temporary(task)))


def together(chosen: Iterable[Task], program: edit.Program, order: Order) -> Iterator[Result]:
    """Edit all files or none: every new file is made before the first one gets its name."""
    staged: list[Result] = []
    try:
        staged.extend(_tried(task, program, order, _temporary(task)) for task in chosen)
        whole = all(result.outcome is not Outcome.REFUSED for result in staged)
        for result in staged:
            yield _published(result) if whole else result
    finally:
        for result in staged:
            _temporary(result.task).unlink(missing_ok=True)


def _tried(task: Task, program: edit.Program, order: Order, into: pathlib.Path | None) -> Result:
    try:
        return _edited(task, program, order, into)
    except errors.NodeError as error:
        return Result(task, Outcome.REFUSED, str(error))
    except OSError as error:
        return Result(task, Outcome.REFUSED, error.strerror or str(error))


def _edited(task: Task, program: edit.Program, order: Order, into: pathlib.Path | None) -> Result:
    in_place = task.source == task.target
    if not in_place and not order.overwrite and task.target.exists():
        raise errors.UsageError(f"{task.target} exists: choose another --out, or say --overwrite")
    with task.source.open("rb") as source:
        if os.fstat(source.fileno()).st_size == 0:
            raise errors.BadData("the file is empty")
        with mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            patched = edit.edit_file(mapped, program, original=order.original, bare=True)
            differences = tuple(patched.differences()) if order.explain else ()
            changed, notes = patched.changed, patched.notes
            try:
                if into is not None and (changed or not in_place):
                    _write(patched, source.fileno(), into, sync=in_place)
            finally:
                del patched  # it holds the mapping open
    outcome = Outcome.READY if changed else Outcome.UNCHANGED
    return Result(task, outcome, notes=notes, differences=differences)


def _write(patched: edit.Patched, source: int, into: pathlib.Path, *, sync: bool) -> None:
    into.parent.mkdir(parents=True, exist_ok=True)
    mode = os.fstat(source).st_mode & 0o777
    target = os.open(into, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        patched.write(target, source)
        if sync:
            os.fdatasync(target)
    except BaseException:
        into.unlink(missing_ok=True)
        raise
    finally:
        os.close(target)


def _published(result: Result) -> Result:
    """Give the new file its name."""
    task = result.task
    if result.outcome is Outcome.REFUSED:
        with contextlib.suppress(FileNotFoundError):
            _temporary(task).unlink()
        return result
    if result.outcome is Outcome.UNCHANGED and task.source == task.target:
        return result
    try:
        _temporary(task).replace(task.target)
    except OSError as error:
        return dataclasses.replace(result, outcome=Outcome.REFUSED, why=error.strerror or str(error))
    if result.outcome is Outcome.READY:
        return dataclasses.replace(result, outcome=Outcome.EDITED)
    return result


def _temporary(task: Task) -> pathlib.Path:
    return task.target.with_name(f".{task.target.name}{_TEMPORARY}")
