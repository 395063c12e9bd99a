"""Conversions inside the node, done by worker processes that have everything loaded and may crash or hang."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pickle
from typing import TYPE_CHECKING

from node import errors, workers

if TYPE_CHECKING:
    from node import converting

KIND = workers.Kind(
    "node.converting_worker", "converted", errors.ConvertingBusy, errors.ConvertingFailed, threads=None
)
_PER_SECOND = 1 << 20  # bytes that a worker gets another second for


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """What one series may cost."""

    memory: int = 4 << 30  # bytes of address space beside `times` the size of the series
    times: int = 6  # what is mapped, decoded, reordered and compressed at once
    seconds: float = 120.0  # and one more for every MB
    patience: float = 600.0  # seconds until a worker must be free
    idle: float = 300.0  # seconds after which a worker that has nothing to do ends
    jobs: int = 200  # series after which a worker is replaced


class Converter:
    """Converts series; any thread may ask."""

    def __init__(self, *, processes: int = 2, limits: Limits | None = None) -> None:
        self._limits = limited = limits or Limits()
        self.workers = workers.Pool(
            KIND, processes, workers.Patience(limited.patience, limited.idle, limited.jobs)
        )

    def convert(self, request: converting.Request, size: int) -> converting.Report:
        """Make what is asked for of so many bytes; raises as converting.convert.

        And ConvertingFailed when the worker crashed or took too long, ConvertingBusy when it may go well
        later.
        """
        limited = self._limits
        seconds = limited.seconds + size / _PER_SECOND
        words = {"memory": limited.memory + limited.times * size, "seconds": seconds}
        with contextlib.ExitStack() as stack:
            given = []
            for name in ("request", "report"):
                given.append(os.memfd_create(name, os.MFD_CLOEXEC))
                stack.callback(os.close, given[-1])
            asked, answered = given
            with open(asked, "wb", closefd=False) as file:
                pickle.dump(request, file, pickle.HIGHEST_PROTOCOL)
            os.lseek(asked, 0, os.SEEK_SET)
            answer = self.workers.ask(words, given, seconds)
            if "size" not in answer:
                raise workers.raised(answer, KIND)
            from node import converting  # loads what few nodes need

            return converting.Report.of(json.loads(os.pread(answered, int(answer["size"]), 0)))

    def cut(self) -> None:
        """End whatever is under way; who waits for it is told that it may go well later."""
        self.workers.cut()

    def close(self) -> None:
        """End the workers."""
        self.workers.close()
