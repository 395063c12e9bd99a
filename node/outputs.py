"""Names for what is made, and the way there: whole files under new names, never in the place of another's.

What is made is written into a folder of its own beside the target first. It gets its names when all of it is
whole; what a kill leaves behind is that folder, which the next one that writes there removes.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pathlib
import shutil
import unicodedata
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from node import errors

WORK = ".making-"  # begins the names of folders of what is still being written
_LONGEST = 80  # characters of a name that headers gave
_SAME_NAME = 10_000  # things of one name


def plain(text: str) -> str:
    """A text from outside as a piece of a name: letters, digits, dots and dashes, none of them in front."""
    kept = "".join(
        char if char.isalnum() or char in "._-" else "_"
        for char in unicodedata.normalize("NFC", text.strip(" \0"))
    )
    return "_".join(filter(None, kept.split("_"))).strip(".-")[:_LONGEST].rstrip(".-_")


def usual(number: float, description: str, label: str) -> str:
    """The name of a stack that nobody gave a pattern for, of its series' number and description."""
    counted = f"{int(number):03}" if 0 <= number < 1e9 else ""
    return "-".join(filter(None, (counted, plain(description), plain(label)))) or "series"


def patterned(pattern: str, texts: Mapping[str, Sequence[str]], label: str) -> pathlib.PurePath:
    """The name by a pattern as folders have it; each part of it stays one."""
    from node.send import template  # most conversions need no pattern

    *above, name = template.Template(pattern).parts(texts)
    return pathlib.PurePath(*above, "-".join(filter(None, (name, plain(label)))))


def keywords(pattern: str) -> tuple[str, ...]:
    """The elements that a pattern names; raises UsageError for one that cannot be."""
    if not pattern:
        return ()
    from node.send import template

    return template.Template(pattern.removesuffix("/")).keywords


def free(
    name: pathlib.PurePath,
    taken: Collection[pathlib.PurePath],
    others: Callable[[pathlib.PurePath], bool] = lambda _: False,
) -> pathlib.PurePath:
    """The name, or it with a number where it is taken."""
    for number in range(1, _SAME_NAME):
        found = name if number == 1 else name.with_name(f"{name.name}-{number}")
        if found not in taken and not others(found):
            return found
    raise errors.UsageError(f"{_SAME_NAME} volumes would have the same name: give another pattern")


def there(stem: pathlib.Path, endings: Sequence[str]) -> list[pathlib.Path]:
    """What has this name already, with one of the endings."""
    places = (stem.with_name(stem.name + ending) for ending in endings)
    return [place for place in places if os.path.lexists(place)]


class Record:
    """Which files of a folder were made of one thing: these may be replaced, and no others."""

    def __init__(self, path: pathlib.Path) -> None:
        self._path = path

    def read(self) -> frozenset[str]:
        """Their paths below the folder; those that lead out of it are none."""
        try:
            found = json.loads(self._path.read_bytes())["files"]
        except (OSError, ValueError, KeyError, TypeError):
            return frozenset()
        paths = [path for path in found if isinstance(path, str)] if isinstance(found, list) else []
        return frozenset(path for path in paths if path[:1] != "/" and ".." not in path.split("/"))

    def write(self, paths: Collection[str]) -> None:
        """Keep them for the next time; before they get their names, so that a kill makes no strangers."""
        self._path.parent.mkdir(exist_ok=True)
        new = self._path.with_suffix(f".{os.getpid()}.new")
        new.write_text(json.dumps({"files": sorted(paths)}))
        new.replace(self._path)


@contextlib.contextmanager
def work(root: pathlib.Path) -> Iterator[pathlib.Path]:
    """A folder to write into, on the file system of `root`; a lock says that its user lives."""
    place = root / f"{WORK}{os.urandom(8).hex()}"
    try:
        place.mkdir(mode=0o777)
        fd = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise errors.StorageFailed(f"{root} cannot be written to ({error.strerror or error})") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)
        os.close(fd)


def sweep(root: pathlib.Path) -> int:
    """Remove what those left that were killed; what somebody writes at this moment is left alone."""
    removed = 0
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(root) as entries:
        for entry in entries:
            if not entry.name.startswith(WORK) or not entry.is_dir(follow_symlinks=False):
                continue
            with contextlib.suppress(OSError):
                fd = os.open(entry.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(entry.path, ignore_errors=True)
                    removed += 1
                finally:
                    os.close(fd)
    return removed


def move(found: pathlib.Path, target: pathlib.Path, *, replace: bool) -> None:
    """Give a whole file or folder its name; raises UsageError where that is taken, unless it is replaced."""
    if not replace:
        if found.is_dir():
            if target.exists() or target.is_symlink():
                raise taken(target)
            os.rename(found, target)  # it fails onto a folder that holds anything
            return
        try:
            os.link(found, target, follow_symlinks=False)
        except FileExistsError:
            raise taken(target) from None
        except OSError:  # a file system without links
            if target.exists() or target.is_symlink():
                raise taken(target) from None
            os.rename(found, target)
        else:
            os.unlink(found)
        return
    if target.is_dir() and not target.is_symlink():
        # A folder cannot be replaced in one go: the old one is set aside before, and goes with what is there.
        os.rename(target, found.parent / f"old-{os.urandom(8).hex()}")
    elif found.is_dir():
        target.unlink(missing_ok=True)
    os.rename(found, target)


def taken(target: pathlib.Path) -> errors.UsageError:
    """What is said where a name is taken."""
    return errors.UsageError(
        f"{target} is there already, and nothing is overwritten: give another place, or --force to replace it"
    )


def sync(paths: Sequence[pathlib.Path], *, inside: bool = True) -> None:
    """Make files, and what is in folders, survive a power loss; not `inside`: of a folder only the names."""
    try:
        for path in paths:
            if inside and path.is_dir():
                sync(sorted(path.iterdir()))
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
    except OSError as error:
        raise errors.StorageFailed(f"what was made cannot be synced ({error.strerror or error})") from error
