"""From volumes to files, folders, archives and other DICOM applications."""

from __future__ import annotations

import contextlib
import mmap
import os
import pathlib
import re
import tempfile
import time
import urllib.parse
import zipfile
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from node import converting, errors, outputs
from node.formats import base, registry
from node.volume import image
from node.volume.arrays import volume

if TYPE_CHECKING:
    from node.send import base as sending

_AET = re.compile(r"[ -\[\]-~]{1,16}")  # no backslash, no control character
_PORT = 104
_RETRIES = 3
_CALLING = "DICOM_NODE"


def write(
    what: volume.Volume | image.Image,
    url: str | os.PathLike[str],
    format: str | None = None,  # noqa: A002 - what everybody calls it
    *,
    overwrite: bool = False,
    **options: Any,
) -> base.Written:
    """Write a volume; the files or folders made, the principal one first, and what did not fit the format.

    `url` is a file ("x.nii.gz": the ending says the format), a folder (DICOM, unless a format is named), a
    zip archive of what a folder would hold, or dicom://HOST:PORT/CALLED?calling=AET, which sends it.
    `options` are those of the format; `template=` is a folder or a volume whose identity it takes.

    Raises errors.UsageError where something is there already and `overwrite` is not asked for.
    """
    address = os.fspath(url)
    template = options.pop("template", None)
    if isinstance(template, volume.Volume):
        from node.library import placing  # few volumes need it

        given = what if isinstance(what, volume.Volume) else volume.Volume.of(what, stored=True)
        what, template = placing.onto(given, template), None
    made = what.image() if isinstance(what, volume.Volume) else what
    if 0 in made.shape:
        raise errors.UsageError(f"a volume of {' x '.join(map(str, made.shape))} has no voxels to write")
    texts = {name: _text(value) for name, value in options.items()}
    if template is not None:
        texts["template"] = os.fspath(template)
    if address.startswith("dicom://"):
        return _send(made, address, format or "dicom", texts)
    if "://" in address:
        raise errors.UsageError(
            f"{address!r} is no place to write to: give a path, or dicom://HOST:PORT/CALLED"
        )
    path = pathlib.Path(address)
    if not overwrite and path.exists() and (not path.is_dir() or path.suffix == ".zarr"):
        raise _taken(path)
    if path.name.lower().endswith(".zip"):
        return _zip(made, path, format or "dicom", texts, overwrite=overwrite)
    form, target, texts = _meant(made, path, format, texts)
    return _placed(form, made, target, texts, overwrite=overwrite)


def _meant(
    made: image.Image, path: pathlib.Path, name: str | None, options: Mapping[str, str]
) -> tuple[base.Format, pathlib.Path, dict[str, str]]:
    """The format, the target without its ending, and the options, for a path and maybe a format's name."""
    found = registry.get(name) if name is not None else None if path.is_dir() else registry.of(path)
    if found is None:
        known = registry.of(path) if path.suffix else None
        if known is None and path.suffix and not path.is_dir():
            raise errors.UsageError(
                f"{path.name} does not say a format: give format=, one of {', '.join(registry.names())}"
            )
        found = registry.get("dicom")
    if wrong := found.check(options):
        raise errors.UsageError(f"{found.name}: {wrong}")
    ending = converting.suffix(path, found)
    if ending:
        told = {**options, "suffix": ending}
        # A format of one kind of file takes no such option.
        texts = told if found.check(told) is None else dict(options)
        return found, path.with_name(path.name[: -len(ending)]), texts
    # A folder that is there gets a file in it, as a copy would; DICOM makes a folder of files itself.
    if path.is_dir() and found.name not in converting.DICOM:
        return found, path / _name(made), dict(options)
    return found, path, dict(options)


def _placed(
    form: base.Format, made: image.Image, target: pathlib.Path, options: Mapping[str, str], *, overwrite: bool
) -> base.Written:
    """Make it beside its place, and move it there when it is whole."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if form.name in converting.DICOM and target.is_dir() and not any(target.iterdir()):
            target.rmdir()  # an empty folder that somebody made for it
    except OSError as error:
        raise errors.StorageFailed(
            f"{target.parent} cannot be written to ({error.strerror or error})"
        ) from error
    with outputs.work(target.parent) as apart:
        written = form.write(made, apart / target.name, options)
        paths = written.paths
        places = [target.parent / path.relative_to(apart) for path in paths]
        for path, place in reversed(list(zip(paths, places, strict=True))):
            _move(path, place, overwrite=overwrite)
    return base.Written(tuple(places), written.notes)


def _move(path: pathlib.Path, place: pathlib.Path, *, overwrite: bool) -> None:
    if not overwrite and (place.exists() or place.is_symlink()):
        raise _taken(place)
    if place.is_dir() and place.suffix != ".zarr" and any(one.suffix != ".dcm" for one in place.iterdir()):
        # A folder is replaced as a whole, and what else is in it would be lost.
        raise errors.UsageError(f"{place} holds more than DICOM files: it is not overwritten")
    outputs.move(path, place, replace=overwrite)


def _taken(path: pathlib.Path) -> errors.UsageError:
    return errors.UsageError(f"{path} is there already: give another place, or overwrite=True")


def _zip(
    made: image.Image, path: pathlib.Path, name: str, options: Mapping[str, str], *, overwrite: bool
) -> base.Written:
    """Write an archive of what a folder would hold."""
    form = registry.get(name)
    if wrong := form.check(options):
        raise errors.UsageError(f"{form.name}: {wrong}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with outputs.work(path.parent) as apart:
        inside = apart / "in"
        inside.mkdir()
        notes = form.write(made, inside / _name(made), options).notes
        whole = apart / path.name
        with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for one in sorted(inside.rglob("*")):
                if one.is_file():
                    archive.write(one, one.relative_to(inside).as_posix())
        _move(whole, path, overwrite=overwrite)
    return base.Written((path,), notes)


def _send(made: image.Image, address: str, name: str, options: Mapping[str, str]) -> base.Written:
    """Make DICOM objects of it and send them; raises when one of them did not arrive."""
    peer, calling = _peer(address)
    if name not in converting.DICOM:
        raise errors.UsageError(
            f"{name} cannot be sent to a DICOM application: one of {', '.join(converting.DICOM)} can"
        )
    form = registry.get(name)
    if wrong := form.check(options):
        raise errors.UsageError(f"{form.name}: {wrong}")
    from node import transcoding  # most volumes stay on this machine
    from node.send import dimse, link

    with tempfile.TemporaryDirectory() as folder:
        notes = form.write(made, pathlib.Path(folder, "series"), options).notes
        items = [_item(path) for path in sorted(pathlib.Path(folder).rglob("*")) if path.is_file()]
        with transcoding.Transcoder() as transcoder, contextlib.closing(link.Pool()) as pool:
            sender = dimse.Dimse(peer, calling, transcoder=transcoder, pool=pool)
            for attempt in range(_RETRIES + 1):
                items = _once(sender, items, last=attempt == _RETRIES)
                if not items:
                    break
                time.sleep(2.0**attempt)
    return base.Written((), notes)


def _once(sender: sending.Sender, items: Sequence[sending.Item], *, last: bool) -> list[sending.Item]:
    """Send each once; those that may arrive later, unless this is the last time."""
    from node.send import base as sending

    again: list[sending.Item] = []
    for result in sender.send(items):
        match result.outcome:
            case sending.Failed(why):
                raise errors.PeerRefused(f"{sender.describe()}: {why}")
            case sending.Retry(why):
                if last:
                    raise errors.PeerUnreachable(f"{sender.describe()}: {why}")
                again.append(result.item)
            case sending.Done():
                pass
    return again


def _item(path: pathlib.Path) -> sending.Item:
    """What is sent of a file that was just made."""
    from node.dicom import part10
    from node.send import base as sending

    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as buffer:
        head = part10.part10(buffer)
        size = len(buffer) - head.offset
        return sending.Item(head.sop_class, head.sop_instance, head.syntax, path, head.offset, size)


def _peer(address: str) -> tuple[Any, str]:
    """Whom dicom://HOST:PORT/CALLED?calling=AET names, and the AE title that we call with."""
    from node import model

    parts = urllib.parse.urlsplit(address)
    called = urllib.parse.unquote(parts.path.strip("/")).strip()
    asked = urllib.parse.parse_qs(parts.query)
    calling = asked.pop("calling", [_CALLING])[0].strip()
    try:
        port = parts.port or _PORT
    except ValueError:
        port = 0
    wrong = asked or not parts.hostname or not port or parts.fragment
    if wrong or not _AET.fullmatch(called) or not _AET.fullmatch(calling):
        raise errors.UsageError(
            f"{address!r} is no DICOM application: write dicom://HOST:PORT/CALLED or add ?calling=AET"
        )
    host = parts.hostname
    return model.Peer(f"{called}@{host}:{port}", called, host, port), calling


def _name(made: image.Image) -> str:
    """The usual name of a volume's file, from its series' number and description."""
    if made.table is None or made.rows is None or not (made.rows >= 0).any():
        return "volume"
    row = int(made.rows[made.rows >= 0][0])
    number = float(made.table["series_number"][row])
    return outputs.usual(number, str(made.table["series_description"][row]), made.label)


def _text(value: Any) -> str:
    """An option as a command line gives it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ",".join(f"{key}={one}" for key, one in value.items())
    if isinstance(value, list | tuple):
        return ",".join(map(_text, value))
    return str(value)
