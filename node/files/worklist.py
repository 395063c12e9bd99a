"""A folder of worklist files, as wlmscpfs has them: read when it changed, what cannot be read is skipped.

Files lie in the folder itself, for everyone, or in a folder within it that is named as a called AE title.
A file is DICOM (`*.wl`, `*.dcm`, with or without a Part 10 head) or JSON as the API takes it (`*.json`).
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import stat
import threading
import time
from collections.abc import Callable, Iterator

from node import errors
from node.dicom import identifier, part10, uids, worklist

SUFFIXES = (".wl", ".dcm", ".json")
MOST = 20_000  # files that are looked at in one folder
_SETTLED = 2.0  # seconds after which a file that cannot be read is no longer one that is being written

Skipped = Callable[[pathlib.Path, str], None]  # told once of each file that is not served
_Stamp = tuple[int, int, int]  # time, length and number of a file: other when its content is


@dataclasses.dataclass(frozen=True, slots=True)
class _Read:
    """What a file held when it was read."""

    stamp: _Stamp
    settled: bool  # it was not so young that it could have changed without another stamp
    entries: tuple[worklist.Entry, ...]  # none: it is skipped


class Folder:
    """The entries of a folder; safe to share between threads."""

    def __init__(self, path: pathlib.Path, skipped: Skipped) -> None:
        self.path = path
        self._skipped = skipped
        self._lock = threading.Lock()
        self._known: dict[str, dict[str, _Read]] = {}  # by the folder within ("" for itself), by file name

    def entries(self, called: str = "") -> list[worklist.Entry]:
        """What is served to who calls this AE title; raises StorageFailed when the folder cannot be read."""
        with self._lock:
            within, files = _look(self.path)
            found = list(self._gather(self.path, "", files))
            # The name is compared and not joined: nothing of what a peer says becomes a path.
            if called and called in within:
                folder = self.path / called
                found += self._gather(folder, called, _look(folder)[1])
            return found

    def _gather(
        self, folder: pathlib.Path, name: str, files: dict[str, os.stat_result]
    ) -> Iterator[worklist.Entry]:
        before = self._known.get(name, {})
        now: dict[str, _Read] = {}
        for number, (file, status) in enumerate(sorted(files.items())):
            if number == MOST:
                if file not in before:
                    self._skipped(
                        folder / file, f"more than {MOST} files in one folder; the rest is not served"
                    )
                now[file] = _Read((0, 0, 0), settled=True, entries=())
                break
            known = before.get(file)
            stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
            if known is None or known.stamp != stamp or not known.settled:
                known = self._read(folder / file, f"{name}/{file}" if name else file, stamp, known)
            now[file] = known
            yield from known.entries
        self._known[name] = now

    def _read(self, path: pathlib.Path, name: str, stamp: _Stamp, before: _Read | None) -> _Read:
        settled = abs(time.time() - stamp[0] / 1e9) > _SETTLED
        try:
            return _Read(stamp, settled, tuple(read(path, name)))
        except errors.NodeError as error:
            if settled and (before is None or before.stamp != stamp or not before.settled):
                self._skipped(path, error.discreet if isinstance(error, worklist.Unfit) else str(error))
            return _Read(stamp, settled, ())


def read(path: pathlib.Path, name: str) -> list[worklist.Entry]:
    """The entries of one file, one for each scheduled step; raises BadData or UsageError."""
    data = read_bytes(path)
    if path.suffix.lower() == ".json":
        fields = worklist.read_json(data)
        # Of what the file says, so that the study stays the same whenever it is read.
        study = uids.derived("", "worklist", name, worklist.text(fields, "PatientID"))
        return [worklist.checked(fields, name, study)]
    head = part10.part10(data, bare=True)
    fields = identifier.decode(data[head.offset :], head.syntax, largest=worklist.LARGEST)
    return worklist.split(name, fields)


def look(folder: pathlib.Path) -> tuple[int, list[tuple[pathlib.Path, str]]]:
    """How many entries a folder and those within it hold, and the files that are skipped, each with why."""
    bad: list[tuple[pathlib.Path, str]] = []
    count = 0
    within, files = _look(folder)
    places = [(folder, files), *((folder / name, _look(folder / name)[1]) for name in sorted(within))]
    for place, here in places:
        for file in sorted(here)[:MOST]:
            try:
                count += len(read(place / file, file))
            except errors.NodeError as error:
                bad.append((place / file, str(error)))
    return count, bad


def _look(folder: pathlib.Path) -> tuple[frozenset[str], dict[str, os.stat_result]]:
    """The folders and the worklist files in a folder."""
    within: set[str] = set()
    files: dict[str, os.stat_result] = {}
    try:
        with os.scandir(folder) as found:
            for one in found:
                if one.name.startswith("."):
                    continue
                if one.name.lower().endswith(SUFFIXES):
                    try:
                        status = one.stat()
                    except FileNotFoundError:
                        continue  # taken away just now
                    if stat.S_ISREG(status.st_mode):
                        files[one.name] = status
                elif one.is_dir():
                    within.add(one.name)
    except OSError as error:
        raise errors.StorageFailed(
            f"the worklist folder {folder} cannot be read ({error.strerror}): make it, or set worklist.folder"
        ) from error
    return frozenset(within), files


def read_bytes(path: pathlib.Path) -> bytes:
    """What a file holds; raises BadData when it cannot be read, or holds more than an entry can."""
    try:
        with open(path, "rb") as file:
            data = file.read(worklist.LARGEST + 1)
    except OSError as error:
        raise errors.BadData(f"it cannot be read ({error.strerror})") from error
    if len(data) > worklist.LARGEST:
        raise errors.BadData(f"it is larger than {worklist.LARGEST} bytes")
    return data
