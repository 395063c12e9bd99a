"""From files to volumes in another format: what the command, the workers of the node and the step do.

Each thing that goes in is in the report: it is part of what was made, or it was left out for a reason.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import mmap
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from node import errors, outputs
from node.formats import base, registry
from node.loading import headers, voxels
from node.volume import image, stack, table
from node.volume.sorting import sort

Progress = base.Progress

SCALING = ("stored", "real", "philips", "rwv")
# What nobody misses who gives a folder: not what he meant, or nothing that could be a volume.
_NO_LOSS = frozenset({table.Why.NOT_DICOM, table.Why.NO_PIXELS, table.Why.NOT_ASKED})
# Formats that make DICOM objects: their files are named by themselves, below a folder.
DICOM = ("dicom", "enhanced", "sc", "seg")
# What formats write beside their files.
_BESIDE = {"nifti": (".json", ".bval", ".bvec"), "metaimage": (".raw", ".zraw"), "nrrd": (".raw", ".raw.gz")}
_PICTURES = frozenset({"png", "jpeg"})  # found in a folder, they are no volumes that somebody meant


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """What is to be made of what."""

    to: str  # the name of the format
    out: pathlib.Path  # a folder, or with an ending of the format the file
    inputs: tuple[str, ...] = ()  # files, folders, zip archives, files of other formats
    table: table.Table | None = None  # frames that are known already, in the place of inputs
    order: tuple[str, ...] = ()  # axes to sort by, slowest first; (): found by what varies
    split: tuple[str, ...] = ()  # columns or elements by which stacks are parted beside what always does
    template: str = ""  # a folder or file of the series whose identity goes into DICOM objects
    series: tuple[str, ...] = ()  # UIDs or numbers of those meant; (): all
    stacks: tuple[int, ...] = ()  # of those sorted, counted from 1, as `show` lists them; (): all
    scaling: str = "stored"  # as in loading.voxels
    tilt: bool = False  # a gantry tilt is taken out
    partial: bool = True  # also what has gaps; False: that is left out
    options: Mapping[str, str] = dataclasses.field(default_factory=dict)  # of the format
    name: str = ""  # pattern of names below the folder; "": from the number and description of the series
    force: bool = False  # what is there is replaced
    ours: frozenset[str] | None = None  # what is there may be replaced where it is one of these files below
    # `out`; in the place of others nothing is put, but beside them, with a number
    record: pathlib.Path | None = None  # where outputs.Record keeps which these are
    parts: pathlib.Path | None = None  # where what is not whole lies, on the same disk; None: beside it
    durable: bool = False  # what was made is on the disk when this is over


@dataclasses.dataclass(frozen=True, slots=True)
class Made:
    """One volume that was made."""

    paths: tuple[str, ...]  # the files or folders, the principal one first
    series: str  # Series Instance UID; "" where it came from no DICOM
    label: str  # what it is among the volumes of its series
    shape: tuple[int, ...]  # as in the array
    axes: tuple[str, ...]  # their names
    dtype: str  # of the stored values
    frames: int  # that are in it
    verdict: str  # as stack.Verdict; "" where nothing was sorted
    notes: tuple[str, ...]  # what is to be said of it


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """What came of a conversion."""

    made: tuple[Made, ...]
    left: tuple[table.Skipped, ...]  # what is in no volume, and why
    named: frozenset[str] = frozenset()  # inputs that were named one by one

    @property
    def missing(self) -> list[table.Skipped]:
        """What was left out though somebody may have wanted it."""
        return [one for one in self.left if one.why not in _NO_LOSS or one.name in self.named]

    @property
    def code(self) -> int:
        """The exit code: 0 all made, 1 nothing, 3 something was left out."""
        if not self.made:
            return 1
        return 3 if self.missing else 0

    def words(self) -> Iterator[str]:
        """A line for each volume and each reason."""
        for one in self.made:
            axes = "x".join(map(str, one.shape))
            said = [axes, " ".join(one.axes), one.dtype]
            if one.verdict and one.verdict != stack.Verdict.COMPLETE.value:
                said.append(one.verdict.upper())
            yield f"{one.paths[0]}: {', '.join(said)}"
            for note in one.notes:
                yield f"  {note}"
        yield from told(self.left)

    @classmethod
    def of(cls, words: Mapping[str, Any]) -> Report:
        """From what `as_json` gave."""
        lists = ("paths", "shape", "axes", "notes")
        made = []
        for one in words["made"]:
            fields: dict[str, Any] = {key: tuple(one[key]) if key in lists else one[key] for key in one}
            made.append(Made(**fields))
        left = [table.Skipped(one["name"], table.Why(one["why"]), one["detail"]) for one in words["left_out"]]
        return cls(tuple(made), tuple(left))

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            "made": [dataclasses.asdict(one) for one in self.made],
            "left_out": [{"name": one.name, "why": one.why.value, "detail": one.detail} for one in self.left],
            "code": self.code,
        }


def told(left: Sequence[table.Skipped], names: int = 3) -> Iterator[str]:
    """A line for each reason for which something is in no volume, with a few of the names."""
    by_reason: dict[tuple[str, str], list[str]] = {}
    for one in left:
        by_reason.setdefault((one.why.value, one.detail), []).append(one.name)
    for (why, detail), found in by_reason.items():
        shown = ", ".join(map(errors.printable, found[:names]))
        more = f" and {len(found) - names:,} more" if len(found) > names else ""
        yield f"left out: {shown}{more}: {why}{f' ({detail})' if detail else ''}"


def check(request: Request) -> base.Format:
    """The format that is asked for; raises UsageError for what cannot be asked."""
    made = registry.get(request.to)
    template = {"template": request.template} if request.template else {}
    if wrong := made.check({**request.options, **template}):
        raise errors.UsageError(f"--to {request.to}: {wrong}")
    _place(request.out, made)
    if request.scaling not in SCALING:
        raise errors.UsageError(f"scaling {request.scaling!r}: it is one of {', '.join(SCALING)}")
    outputs.keywords(request.name)
    return made


def _place(out: pathlib.Path, made: base.Format) -> None:
    """Refuse a place whose ending promises something else than what would be there."""
    if out.is_dir():
        return
    if out.suffix.lower() == ".zip":
        raise errors.UsageError(f"{out}: archives are read, and not written: name a folder")
    promised = registry.of(out)
    if promised is not None and promised.name != made.name:
        raise errors.UsageError(
            f"{out} ends as {promised.name} does, and --to says {made.name}:"
            " leave out one of them, or name a folder"
        )


def convert(request: Request, progress: Progress | None = None) -> Report:
    """Make what is asked for; raises UsageError for a request that cannot be, and errors of storage.

    What is wrong with one series or file stands in the report, and the others are made.
    """
    making = _Making(request, check(request), progress)
    if request.table is not None:
        making.frames(request.table)
        return making.make()
    for named in (*request.inputs, *filter(None, [request.template])):
        if not os.path.lexists(named):
            raise errors.UsageError(f"{named!r} does not exist: give files, folders or zip archives")
    with headers.opened(request.inputs) as found:
        dicom, others = sorted_out(found, request.inputs)
        if dicom:
            extra = sort.needs((*request.order, *request.split))
            making.frames(headers.read(dicom, extra=extra, progress=progress))
        for path in others:
            making.other(path, named=str(path) in request.inputs)
        return making.make()


@dataclasses.dataclass(frozen=True, slots=True)
class _Job:
    """One volume that is to be made."""

    name: pathlib.PurePath  # below the folder, without an ending
    get: Callable[[], image.Image]  # what it is
    of: stack.Stack | None = None  # what was sorted for it
    source: str = ""  # the file that it is read from, where nothing was sorted


class _Making:
    """One conversion under way: what is to be made is gathered first, so that nothing is made half."""

    def __init__(self, request: Request, format_: base.Format, progress: Progress | None) -> None:
        self._request = request
        self._format = format_
        self._progress = progress
        self._jobs: list[_Job] = []
        self._made: list[Made] = []
        self._left: list[table.Skipped] = []
        self._named: set[str] = set()  # what was made, below the folder
        self._file = suffix(request.out, format_)
        self._options = dict(request.options)
        if request.template:
            self._options.setdefault("template", request.template)
        # Formats with endings of several kinds are told which.
        if self._file and format_.check({**self._options, "suffix": self._file}) is None:
            self._options.setdefault("suffix", self._file)

    def frames(self, found: table.Table) -> None:
        """Sort what was found."""
        asked = chosen(found, self._request.series)
        self._left += found.skipped
        made = sort.sort(asked, order=self._request.order, split=self._request.split)
        self._left += made.left
        stacks = list(enumerate(made.stacks, 1))
        if wanted := self._request.stacks:
            if missing := [one for one in wanted if not 1 <= one <= len(stacks)]:
                raise errors.UsageError(f"there is no stack {missing[0]}: {len(stacks)} were found")
            stacks = [one for one in stacks if one[0] in wanted]
        for number, one in stacks:
            try:
                name = self._name(one)
            except errors.BadData as error:
                self._leave(one.table.source(one.first).path, table.Why.DAMAGED, str(error))
                continue
            if one.verdict is stack.Verdict.GAPS and not self._request.partial:
                said = f"stack {number} has gaps, and what has gaps is not wanted"
                self._leave(name, table.Why.NOT_ASKED, said)
            else:
                self._jobs.append(_Job(name, functools.partial(self._image, one), one))

    def other(self, path: pathlib.Path, *, named: bool) -> None:
        """Take a file of another format."""
        form = registry.of(path)
        assert form is not None
        if form.name == self._request.to and not named:
            said = f"it lay there, and is {form.name} already"
            self._left.append(table.Skipped(str(path), table.Why.NOT_ASKED, said))
            return
        stem = path.name
        for ending in sorted(form.suffixes, key=len, reverse=True):
            if stem.lower().endswith(ending):
                stem = stem[: -len(ending)]
                break
        name = pathlib.PurePath(outputs.plain(stem) or "volume")
        self._jobs.append(_Job(name, lambda: form.read([path]), source=str(path)))

    def make(self) -> Report:
        """Make all of it; what came of it."""
        if self._file and len(self._jobs) > 1:
            raise errors.UsageError(
                f"{len(self._jobs)} volumes are found, and {self._request.out} is one file: name a folder, "
                "or choose one with --series or --stack (`dicom-node show` lists them)"
            )
        named: dict[pathlib.PurePath, _Job] = {}
        for job in self._jobs:
            name = outputs.free(job.name, named, self._others)
            named[name] = job
            if self._request.force or self._request.ours is not None:
                continue
            if there := self._there(name):
                raise outputs.taken(there[0])
        for name, job in named.items():
            self._each(name, job)
        # What reading left out, sorting may tell again.
        left = tuple(dict.fromkeys(self._left))
        return Report(tuple(self._made), left, frozenset(self._request.inputs))

    def _image(self, one: stack.Stack) -> image.Image:
        made = voxels.image(one, scaling=self._request.scaling)
        if self._request.tilt and any(note.kind is stack.Kind.TILT for note in one.notes):
            from node.volume.sorting import tilt  # few series need it

            made = tilt.corrected(made)
        return made

    def _each(self, name: pathlib.PurePath, job: _Job) -> None:
        """Make one volume; what is wrong with it is its own affair."""
        source = job.source or name
        try:
            got = job.get()
            written = self._write(got, name)
        except errors.BadData as error:
            self._leave(source, table.Why.DAMAGED, str(error))
            return
        except _Taken:
            raise
        except errors.UsageError as error:  # the format cannot hold it, or nothing decodes it
            self._leave(source, table.Why.UNSUPPORTED, str(error))
            return
        except MemoryError:
            self._leave(source, table.Why.UNSUPPORTED, "it needs more memory than there is")
            return
        of = job.of
        self._made.append(
            Made(
                paths=tuple(str(path) for path in written.paths),
                series=str(of.table["series"][of.first]) if of is not None else "",
                label=got.label,
                shape=tuple(int(size) for size in got.shape),
                axes=tuple(axis.name for axis in got.axes),
                dtype=np.dtype(got.dtype).name,
                frames=int(np.count_nonzero(of.order >= 0)) if of is not None else 0,
                verdict=got.verdict.value if got.verdict is not None else "",
                notes=(*(f"{note.kind.value}: {note.text}" for note in got.notes), *written.notes),
            )
        )

    def _name(self, one: stack.Stack) -> pathlib.PurePath:
        row = one.first
        pattern = self._request.name
        texts = _texts(one.table.source(row), outputs.keywords(pattern)) if pattern else {}
        if pattern and not pattern.endswith("/"):
            return outputs.patterned(pattern, texts, one.label)
        number = float(one.table["series_number"][row])
        name = outputs.usual(number, str(one.table["series_description"][row]), one.label)
        return outputs.patterned(pattern[:-1], texts, "") / name if pattern else pathlib.PurePath(name)

    def _leave(self, name: pathlib.PurePath | str, why: table.Why, detail: str) -> None:
        self._left.append(table.Skipped(str(name), why, detail))

    def _write(self, got: image.Image, name: pathlib.PurePath) -> base.Written:
        """Have the format write it apart, then give what it made its names."""
        target = self._target(name)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise errors.StorageFailed(
                f"{self._request.out} cannot be written to ({error.strerror or error})"
            ) from error
        parts = self._request.parts or target.parent
        outputs.sweep(parts)
        with outputs.work(parts) as apart:
            written = self._format.write(got, apart / target.name, self._options, self._progress)
            if self._request.durable:
                outputs.sync(written.paths)
            paths = []
            self._keep(target.parent / path.relative_to(apart) for path in written.paths)
            # The principal file comes last: who waits for it finds the others.
            for path in reversed(written.paths):
                place = target.parent / path.relative_to(apart)
                place.parent.mkdir(parents=True, exist_ok=True)
                try:
                    outputs.move(path, place, replace=self._replaces(place))
                except errors.UsageError as error:
                    raise _Taken(str(error)) from None
                paths.append(place)
        if self._request.durable:
            outputs.sync((target.parent,), inside=False)
        return base.Written(tuple(reversed(paths)), written.notes)

    def _keep(self, places: Iterable[pathlib.Path]) -> None:
        """Write down what is ours from now on."""
        request = self._request
        if request.record is not None:
            self._named.update(map(self._relative, places))
            outputs.Record(request.record).write(self._named | (request.ours or frozenset()))

    def _relative(self, place: pathlib.Path) -> str:
        return place.relative_to(self._request.out).as_posix()

    def _there(self, name: pathlib.PurePath) -> list[pathlib.Path]:
        # Formats without endings make folders, which have the bare name.
        endings = self._format.suffixes or ("",)
        return outputs.there(self._target(name), (*endings, *_BESIDE.get(self._format.name, ())))

    def _replaces(self, place: pathlib.Path) -> bool:
        ours = self._request.ours
        if ours is None:
            return self._request.force
        return self._relative(place) in ours

    def _others(self, name: pathlib.PurePath) -> bool:
        """Whether the name is taken by what is not ours."""
        ours = self._request.ours
        if ours is None:
            return False
        return not ours.issuperset(self._relative(path) for path in self._there(name))

    def _target(self, name: pathlib.PurePath) -> pathlib.Path:
        out = self._request.out
        return out.with_name(out.name[: -len(self._file)]) if self._file else out / name


class _Taken(errors.UsageError):
    """A name that is taken ends the whole: the same would be said of the next one."""


def suffix(out: pathlib.Path, format_: base.Format) -> str:
    """The ending that makes `out` one file of the format; "": it is a folder."""
    if out.is_dir() and not out.name.lower().endswith(".zarr"):
        return ""
    name = out.name.lower()
    found = [one for one in format_.suffixes if name.endswith(one) and len(name) > len(one)]
    return max(found, key=len, default="")


def chosen(found: table.Table, series: Sequence[str]) -> table.Table:
    """The rows of these series, by UID or number; raises UsageError for one that is not there."""
    if not series:
        return found
    uids, numbers = found["series"], found["series_number"]
    meant = np.zeros(len(found), dtype=bool)
    for one in series:
        these = uids == one
        if one.isdecimal() and len(one) < 10:
            these |= numbers == float(one)
        if not these.any():
            there = sorted({f"{number:g}" for number in numbers if np.isfinite(number)})[:20]
            known = ", ".join(there) or "none"
            raise errors.UsageError(f"there is no series {one!r}; there are numbers {known}")
        meant |= these
    return found.take(np.flatnonzero(meant))


def sorted_out(found: Sequence[str], named: Sequence[str]) -> tuple[list[str], list[pathlib.Path]]:
    """Files that may be DICOM, and those of other formats."""
    dicom: list[str] = []
    others: list[pathlib.Path] = []
    mine = frozenset(named)
    folders: set[str] = set()
    for path in found:
        if (end := path.lower().find(".zarr" + os.sep)) >= 0:  # a volume that is a folder
            folders.add(path[: end + 5])
            continue
        at = os.path.basename(path).rpartition(".")
        # Most names of DICOM files end in nothing, in .dcm or in a number: the registry is not asked then.
        if not at[1] or at[2].lower() in ("dcm", "ima") or at[2].isdigit():
            dicom.append(path)
            continue
        form = registry.of(pathlib.Path(path))
        if form is None or form.name in DICOM or (form.name in _PICTURES and path not in mine):
            dicom.append(path)
        elif not (path.lower().endswith(".img") and path[:-4] + ".hdr" in found):
            others.append(pathlib.Path(path))
    return dicom, [*others, *map(pathlib.Path, sorted(folders))]


def _texts(source: table.Source, keywords: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
    """The values of elements of a data set; raises BadData."""
    from node.dicom import header  # only names by a pattern need it

    try:
        with open(source.path, "rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise errors.BadData(f"{source.path} cannot be read ({error})") from error
    try:
        return header.texts(memoryview(mapped)[source.offset :], source.syntax, keywords)
    finally:
        # A view of it may be left in a traceback; the mapping goes when that does.
        with contextlib.suppress(BufferError):
            mapped.close()
