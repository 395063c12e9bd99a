"""Runs programs under preload.c: compiles it, and holds the files that steer it."""

from __future__ import annotations

import dataclasses
import mmap
import os
import pathlib
import struct
import subprocess

from tests import peers

SOURCE = pathlib.Path(__file__).with_name("preload.c")


@dataclasses.dataclass(frozen=True, slots=True)
class Refusal:
    """A call that fails: which, where, how, and how often."""

    operation: str  # write, sync, rename, create, mkdir or unlink
    place: str  # text in the path; at its end where the text ends with $
    error: str = "EIO"  # EIO, ENOSPC, EDQUOT, EROFS, or SHORT: the write takes half
    nth: int = 1  # the first call that fails, counted over all processes
    times: int = 1  # how many fail; 0: all from then on
    flag: pathlib.Path | None = None  # fails only while this file exists

    def __str__(self) -> str:
        parts = (self.operation, self.place, self.error, self.nth, self.times, self.flag or "")
        return "|".join(str(part) for part in parts)


class Layer:
    """One use of the layer: a root that is looked at, and what happens below it."""

    def __init__(self, work: pathlib.Path, root: pathlib.Path) -> None:
        """Compile into `work`; `root` must exist, and be empty when it is recorded."""
        work.mkdir(parents=True, exist_ok=True)
        self.root = root
        self.journal = work / "changes.journal"
        self.library = work / "preload.so"
        self._control = work / "control"
        self._control.write_bytes(bytes(4096))
        cc = peers.require("cc")
        flags = ["-O1", "-Wall", "-Wextra", "-Wno-unused-result", "-shared", "-fPIC"]
        subprocess.run(
            [cc, *flags, "-o", str(self.library), str(SOURCE), "-ldl", "-pthread"], check=True, timeout=60
        )

    def environment(self, *refusals: Refusal, record: bool = False) -> dict[str, str]:
        """What a program's environment needs so that the layer is under it."""
        values = {
            "LD_PRELOAD": str(self.library),
            "FAULTS_CONTROL": str(self._control),
            "FAULTS_ROOT": str(self.root),
        }
        if record:
            values["FAULTS_JOURNAL"] = str(self.journal)
        if refusals:
            values["FAULTS_ERRORS"] = ";".join(str(one) for one in refusals)
        return values

    def set_clock(self, seconds: int) -> None:
        """Put the clock of every program under the layer `seconds` ahead (or back) from now on."""
        with self._control.open("r+b") as file, mmap.mmap(file.fileno(), 4096) as shared:
            shared[:8] = struct.pack("<q", seconds)

    def counts(self) -> tuple[int, ...]:
        """How often each refusal's operation and place matched, in their order."""
        return struct.unpack_from("<16Q", self._control.read_bytes(), 16)

    def mark(self, text: str) -> None:
        """Write a note into the journal: a cut behind it knows that this had happened."""
        data = text.encode()
        head = struct.pack("<4I3Q4I", 0x314A4C50, 12, os.getpid(), 0, 0, 0, 0, 0, 0, len(data), 0)
        fd = os.open(self.journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(fd, head + data)
        finally:
            os.close(fd)
