"""A series that goes out as what it was converted into: files, a program's input, other instances.

What is answered is answered for each of the instances that were converted: the ledger knows no others. What
went in their place stands in the note of their delivery.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import pathlib
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from node import errors, gathering, orders, outputs
from node.dicom import header, part10, statuses, uids
from node.files import disk as disks
from node.send import base, destinations, folder, program
from node.steps import convert

if TYPE_CHECKING:
    from node import converting
    from node.volume import table

_MADE = ".made"  # the folder of what was made of which series, below a destination's
_HEAD = 1 << 16  # bytes of a file that was made in which its name stands


class Converter(Protocol):
    """As converters.Converter."""

    def convert(self, request: converting.Request, size: int) -> converting.Report: ...

    def cut(self) -> None: ...


class Sender:
    """Converts one consignment on its way to a folder or to a DICOM peer."""

    whole = True  # a volume is made of all its slices, whichever came late

    def __init__(
        self,
        inner: destinations.Sender,
        step: convert.Step,
        destination: orders.Destination,
        converter: Converter,
        scratch: pathlib.Path,
        transcoder: base.Transcoder | None = None,
        reserve: int = 64 << 20,
        known: Callable[[], table.Table | None] = lambda: None,
    ) -> None:
        """Raises UsageError where the destination does not take what is made."""
        if wrong := step.fits(destination):
            raise errors.UsageError(wrong)
        self._known = known  # the frames of the series as the index has them, where it has all that is asked
        self._inner = inner
        self._step = step
        self._destination = destination
        self._converter = converter
        self._scratch = scratch  # where changed copies and instances lie meanwhile
        self._transcoder = transcoder
        self._reserve = reserve
        self._cut = ""

    def describe(self) -> str:
        """Where this sends to, in words."""
        return f"{self._inner.describe()}, as {self._step.to}"

    def cut(self, why: str) -> None:
        """From another thread: end what is under way at once."""
        self._cut = why
        self._inner.cut(why)
        self._converter.cut()

    def send(self, items: Sequence[base.Item] | base.Stream) -> Iterator[base.Result]:
        """Convert all of the items, and send what is made; each gets the one outcome."""
        everything = list(items.each() if isinstance(items, base.Stream) else items)
        if not everything or (isinstance(items, base.Stream) and items.until()):
            return
        begun = time.monotonic()
        outcome: base.Outcome
        notes: tuple[str, ...]
        try:
            self._scratch.mkdir(parents=True, exist_ok=True, mode=0o700)
            outputs.sweep(self._scratch)
            with outputs.work(self._scratch) as work:
                files, failed = gathering.each(everything, work, self._transcoder)
                if failed:
                    yield from self._failed(everything, failed)
                    return
                if self._destination.kind is orders.Kind.FOLDER:
                    outcome, notes = self._into_folder(everything, files)
                else:
                    outcome, notes = self._as_instances(everything, files, work)
            lane = False
        except program.Nothing as nothing:
            outcome, notes, lane = base.Done(statuses.SUCCESS), (str(nothing),), False
        except _Lane as failed_lane:
            outcome, notes, lane = failed_lane.outcome, (), True
        except (errors.StorageFull, errors.StorageFailed) as error:
            outcome, notes, lane = base.Retry(str(error)), (), True
        except errors.Transient as error:
            outcome, notes, lane = base.Retry(str(error)), (), False
        except errors.NodeError as error:
            outcome, notes, lane = base.Failed(f"it cannot be converted: {error}"), (), False
        except OSError as error:
            why = f"{self.describe()}: it cannot be written ({error.strerror or error})"
            outcome, notes, lane = base.Retry(why), (), True
        if self._cut and not isinstance(outcome, base.Done):
            outcome, lane = base.Retry(self._cut), True
        if lane:
            yield from (base.Result(item, outcome, lane=True) for item in everything)
            return
        seconds = time.monotonic() - begun
        for item in everything:
            sent = isinstance(outcome, base.Done)
            yield base.Result(
                item, outcome, item.syntax if sent else "", item.size if sent else 0, seconds, notes
            )

    def _failed(
        self, everything: Sequence[base.Item], failed: Mapping[int, errors.NodeError]
    ) -> Iterator[base.Result]:
        """Some cannot be read: these are told of, and the others wait for them."""
        for number, item in enumerate(everything):
            error = failed.get(number)
            if error is None:
                yield base.Result(item, base.Retry("not converted: not every instance of it can be read"))
            elif isinstance(error, errors.Transient):
                yield base.Result(item, base.Retry(str(error)))
            else:
                yield base.Result(item, base.Failed(str(error)))

    # -- files ----------------------------------------------------------------------------------

    def _into_folder(
        self, items: Sequence[base.Item], files: Sequence[str]
    ) -> tuple[base.Outcome, tuple[str, ...]]:
        """Make files below the folder; those that were made of the series before are replaced."""

        root = self._destination.folder
        assert root is not None
        folder.ready(root)
        size = sum(item.size for item in items)
        if disks.Disk().free(root) - size < self._reserve:
            raise errors.StorageFull(f"there is no room left in {root}")
        named = hashlib.sha256(_series(files[0]).encode()).hexdigest()[:32]
        place = root / _MADE / f"{named}.json"
        record = outputs.Record(place)
        before = record.read()
        request = dataclasses.replace(
            self._asked(root, items, files),
            name=self._step.name or _folders(self._destination.template),
            ours=before,
            record=place,
            parts=root / ".parts",
            durable=True,
        )
        report = _convert(self._converter, request, size)
        made = [pathlib.Path(path).relative_to(root).as_posix() for one in report.made for path in one.paths]
        if not made:
            nothing(report, root)
        # What was one volume before may be two now, under other names.
        record.write(made)
        for path in sorted(before.difference(made)):
            _remove(root / path)
        return base.Done(statuses.SUCCESS), said(report, made)

    def _asked(
        self, out: pathlib.Path, items: Sequence[base.Item], files: Sequence[str]
    ) -> converting.Request:
        """The request: for frames that the index knows, where it does, and for files otherwise."""
        if self._cut:
            raise _Lane(base.Retry(self._cut))
        request = asked(self._step, out, files)
        if self._step.order or self._step.split:
            return request
        if any(item.change is not None or item.wanted is not None for item in items):
            return request
        known = self._known()
        if known is None or {one.path for one in known.sources} != set(files):
            return request
        return dataclasses.replace(request, table=known)

    # -- instances ------------------------------------------------------------------------------

    def _as_instances(
        self, items: Sequence[base.Item], files: Sequence[str], work: pathlib.Path
    ) -> tuple[base.Outcome, tuple[str, ...]]:
        """Make instances, and send them; all of them are there, or none counts."""

        out = work / "made"
        out.mkdir()
        request = self._asked(out, items, files)
        report = _convert(self._converter, request, sum(item.size for item in items))
        if not report.made:
            nothing(report, out)
        going = [_item(path) for path in instances_of(out)]
        results = list(self._inner.send(going))
        lane = next((one for one in results if one.lane), None)
        if lane is not None or len(results) < len(going):
            raise _Lane(lane.outcome if lane is not None else base.Retry("it was broken off"))
        for kind in (base.Failed, base.Retry):
            for one in results:
                if isinstance(one.outcome, kind):
                    return one.outcome, (f"of {len(going)} instances that it became",)
        warned = next((one.outcome for one in results if one.outcome.status), None)
        return warned or base.Done(statuses.SUCCESS), said(report, [f"{len(going)} instances"])


class Given:
    """What a program is given of a series, and what comes of what it makes; as program.Conversion."""

    def __init__(self, step: convert.Step, destination: orders.Destination, converter: Converter) -> None:
        """Raises UsageError where a program does not take what is made."""
        if wrong := step.fits(destination):
            raise errors.UsageError(wrong)
        self.dicom = step.dicom
        self._step = step
        self._converter = converter

    def given(self, instances: pathlib.Path, folder: pathlib.Path) -> tuple[str, ...]:
        """The volumes of the instances, as files in the folder."""

        files = sorted(str(path) for path in instances.iterdir())
        request = asked(self._step, folder, files)
        report = _convert(self._converter, request, _sizes(files))
        if not report.made:
            nothing(report, folder)
        return said(report, [])

    def back(
        self, made: Sequence[pathlib.Path], instances: pathlib.Path, folder: pathlib.Path
    ) -> tuple[list[pathlib.Path], int, tuple[str, ...]]:
        """DICOM instances of the volumes that a program made, with the identity of what it was given."""
        if self._step.back == "no":
            return [], len(made), ()
        from node import converting
        from node.formats import registry

        volumes = [path for path in made if _is_volume(registry.of(path))]
        if not volumes:
            return [], len(made), ()
        request = converting.Request(
            to=self._step.back,
            out=folder,
            inputs=tuple(map(str, volumes)),
            template=str(instances),
            options=self._step.returned,
        )
        report = _convert(self._converter, request, _sizes(map(str, volumes)))
        if not report.made or report.missing:
            why = "; ".join(discreet(one.detail, folder) or one.why.value for one in report.missing[:3])
            raise errors.UsageError(f"what it made cannot become DICOM: {why or 'there is no volume in it'}")
        # Sidecars and second halves of volumes are part of these.
        stems = {path.name.split(".")[0] for path in volumes}
        useless = [path for path in made if path.name.split(".")[0] not in stems]
        return instances_of(folder), len(useless), ()


class _Lane(Exception):
    """The destination as a whole failed."""

    def __init__(self, outcome: base.Outcome) -> None:
        super().__init__(outcome)
        self.outcome = outcome


def _convert(converter: Converter, request: converting.Request, size: int) -> converting.Report:
    """Have it converted; what goes wrong is told without the names of files that are made."""
    try:
        return converter.convert(request, size)
    except errors.NodeError as error:
        raise type(error)(discreet(str(error), request.out)) from None


def discreet(text: str, root: pathlib.Path) -> str:
    """A reason as it may stand in a log: names below the folder may hold what identifies a patient."""
    return re.sub(re.escape(str(root)) + r"/.*?(?= cannot | is there |$)", f"a file in {root}", text)


def asked(step: convert.Step, out: pathlib.Path, files: Sequence[str]) -> converting.Request:
    """The request for files of DICOM, as the step says it."""
    from node import converting

    return converting.Request(
        to=step.to,
        out=out,
        inputs=tuple(files),
        order=step.order,
        split=step.split,
        scaling=step.scaling,
        tilt=step.tilt,
        partial=step.partial,
        options=step.made,
    )


def nothing(report: converting.Report, root: pathlib.Path) -> None:
    """Raise what it means that nothing was made: nothing could be, or something is wrong."""
    from node.volume import table

    wanted = [one for one in report.missing if one.why is not table.Why.NOT_ASKED]
    if wanted:
        whys = dict.fromkeys(discreet(one.detail, root) or one.why.value for one in wanted[:3])
        raise errors.UsageError("; ".join(whys))
    reasons = "; ".join(list(dict.fromkeys(one.detail or one.why.value for one in report.left))[:3])
    raise program.Nothing(f"nothing was converted: {reasons or 'there is no volume in it'}")


def said(report: converting.Report, names: Sequence[str]) -> tuple[str, ...]:
    """What was made, and what was left out, in sentences for the ledger."""
    notes = []
    if names:
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        notes.append(f"it became {', '.join(names[:3])}{more}")
    notes += [
        f"{one.label or 'a volume'} is not complete: {one.verdict}"
        for one in report.made
        if one.verdict in ("gaps", "unequal")
    ]
    if report.missing:
        notes.append(f"{len(report.missing)} left out: {report.missing[0].why.value}")
    return tuple(notes)


def instances_of(folder: pathlib.Path) -> list[pathlib.Path]:
    """The DICOM files below a folder, in order."""
    return sorted(path for path in folder.rglob("*.dcm") if path.is_file())


def _remove(path: pathlib.Path) -> None:
    with contextlib.suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _is_volume(found: object) -> bool:
    return found is not None and getattr(found, "name", "") not in ("png", "jpeg", *convert.DICOM)


def _sizes(files: Iterator[str] | Sequence[str]) -> int:
    return sum(os.stat(path).st_size for path in files)


def _folders(template: str) -> str:
    """The folders of a template of names; what is made has the usual name in them."""
    above, _, _ = template.rpartition("/")
    return f"{above}/" if "{" in above else ""


def _series(path: str) -> str:
    """The series that an instance is of, as it goes out; raises BadData."""
    with open(path, "rb") as file:
        data = file.read(_HEAD)
    meta = part10.part10(data)
    texts = header.texts(data[meta.offset :], meta.syntax, ("SeriesInstanceUID",))
    return next(iter(texts["SeriesInstanceUID"]), "")


def _item(path: pathlib.Path) -> base.Item:
    """A file that was made, as it is sent."""
    with path.open("rb") as file:
        meta = part10.part10(file.read(_HEAD))
    if not uids.valid(meta.sop_instance) or not uids.valid(meta.sop_class):
        raise errors.BadData(f"{path.name} was made without a valid UID")
    size = path.stat().st_size - meta.offset
    return base.Item(meta.sop_class, meta.sop_instance, meta.syntax, path, meta.offset, size)
