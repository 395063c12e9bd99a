"""What `convert` does, apart from its words: it is loaded without what reads and explains these.

A series of a hundred slices is converted in less time than the command line's library takes to load.
"""

from __future__ import annotations

import contextlib
import pathlib
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from node import errors

if TYPE_CHECKING:
    from node import converting
    from node.formats import base

_SOON = 0.5  # seconds without a bar: what is done by then needs none, and a bar takes long to load
_HELD = "dicom-node://"  # begins what names a series that the node holds


def run(
    paths: Sequence[pathlib.Path | str],
    *,
    to: str = "",
    order: str | None = None,
    split: str | None = None,
    template: str | None = None,
    series: Sequence[str] = (),
    stacks: Sequence[str] = (),
    scaling: str = "stored",
    tilt: bool = False,
    whole: bool = False,
    given: Sequence[str] = (),
    name: str | None = None,
    force: bool = False,
    as_json: bool = False,
    quiet: bool = False,
    config: pathlib.Path | None = None,
    data: pathlib.Path | None = None,
) -> None:
    """Convert what is in `paths[1:]` into `paths[0]`; ends the program with the report's exit code."""
    out, *inputs = map(str, paths)
    if not inputs:
        raise errors.UsageError(
            f"give the target and what is to be converted, as in `dicom-node convert --to nifti OUT IN`: "
            f"{out!r} stands alone"
        )
    from node import converting

    request = converting.Request(
        to=to or _by_name(out),
        out=pathlib.Path(out),
        inputs=tuple(inputs),
        order=_words(order),
        split=_words(split),
        template=template or "",
        series=tuple(series),
        stacks=tuple(map(_number, stacks)),
        scaling=scaling,
        tilt=tilt,
        partial=not whole,
        options=dict(map(_option, given)),
        name=name or "",
        force=force,
    )
    with _here(request, config, data) as wanted, _told(shown=not (as_json or quiet)) as progress:
        report = converting.convert(wanted, progress)
    _say(report, as_json=as_json, quiet=quiet)
    if report.code:
        sys.exit(report.code)


def _by_name(out: str) -> str:
    """The format that the target's ending names."""
    from node.formats import registry

    found = registry.of(pathlib.Path(out))
    if found is None:
        raise errors.UsageError(f"say what it is to become: --to with one of {', '.join(registry.names())}")
    return found.name


def _words(text: str | None) -> tuple[str, ...]:
    return tuple(filter(None, (word.strip() for word in (text or "").split(","))))


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not int(text[:9]) > 0:
        raise errors.UsageError(f"--stack {text!r}: give its number, as `dicom-node show` lists it")
    return int(text[:9])


def _option(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise errors.UsageError(f"--option {text!r}: write KEY=VALUE")
    return key.strip(), value.strip()


@contextlib.contextmanager
def _here(
    request: converting.Request, config: pathlib.Path | None, data: pathlib.Path | None
) -> Iterator[converting.Request]:
    """The request with files in the place of series that the node holds."""
    here = config is not None or data is not None
    asked = [*request.inputs, request.template]
    held = [
        one for one in asked if one.startswith(_HELD) or (here and one and not pathlib.Path(one).exists())
    ]
    if not held:
        yield request
        return
    import dataclasses
    import tempfile

    from node.commands import holding

    with tempfile.TemporaryDirectory(prefix="dicom-node-") as folder:
        files: dict[str, list[str]] = {}
        for number, one in enumerate(dict.fromkeys(held)):
            place = pathlib.Path(folder, str(number))
            place.mkdir()
            files[one] = holding.files(one.removeprefix(_HELD), config, data, place)
        template = request.template
        if template in files:  # which is one folder or file
            template = str(pathlib.Path(folder, "template"))
            pathlib.Path(template).mkdir()
            for number, path in enumerate(files[request.template]):
                pathlib.Path(template, f"{number:06}.dcm").symlink_to(pathlib.Path(path).absolute())
        inputs = [path for one in request.inputs for path in files.get(one, [one])]
        yield dataclasses.replace(request, inputs=tuple(inputs), template=template)


@contextlib.contextmanager
def _told(*, shown: bool) -> Iterator[base.Progress | None]:
    """A bar on a terminal for what takes longer than a moment."""
    if not shown or not sys.stderr.isatty():
        yield None
        return
    from node.commands import output

    begun = time.monotonic()
    with contextlib.ExitStack() as stack:
        bars: dict[str, Any] = {}

        def progress(done: int, total: int, what: str) -> None:
            if what not in bars:
                if time.monotonic() - begun < _SOON:
                    return
                stack.close()
                bars.clear()
                bars[what] = stack.enter_context(output.counted(what))
            bars[what](done, total)

        yield progress


def _say(report: converting.Report, *, as_json: bool, quiet: bool) -> None:
    from node.commands import output

    if as_json:
        output.as_json(report.as_json())
        return
    if not quiet:
        for line in report.words():
            if not line.startswith("left out"):
                print(output.cell(line))
    if not quiet or report.code:
        from node import converting

        for line in converting.told(report.left if not quiet else report.missing):
            print(output.cell(line), file=sys.stderr)
    if not report.made:
        why = "for the reasons above" if report.left else "there is no volume in what was given"
        print(f"dicom-node: nothing was made: {why}", file=sys.stderr)
