"""Data sets in other transfer syntaxes, made by a few worker processes that may crash or hang.

A worker gets descriptors and never a path. What it makes goes to a file without a name, which is gone with
the process that asked, however that ends.
"""

from __future__ import annotations

import dataclasses
import pathlib
import tempfile
from typing import IO, Self

from node import errors, workers
from node.dicom import transcode
from node.send import base

_PER_SECOND = 1 << 20  # bytes that a worker gets another second for

KIND = workers.Kind("node.transcoding_worker", "transcoded", errors.TranscodingBusy, errors.TranscodingFailed)


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """What one instance may cost."""

    memory: int = 2 << 30  # bytes beside the instance itself
    seconds: float = 30.0  # and one more for every MB of it
    patience: float = 120.0  # seconds until a worker must be free
    idle: float = 60.0  # seconds after which a worker that has nothing to do ends
    jobs: int = 1000  # instances after which a worker is replaced


class Transcoder:
    """Makes what a destination takes of what it does not take, without loss; any thread may ask."""

    def __init__(
        self, folder: pathlib.Path | None = None, *, processes: int = 2, limits: Limits | None = None
    ) -> None:
        self._folder = folder  # where the files without names lie; None: the system's temporary folder
        self._limits = limits or Limits()
        limited = self._limits
        self.workers = workers.Pool(
            KIND, processes, workers.Patience(limited.patience, limited.idle, limited.jobs)
        )
        self._made: dict[pathlib.Path, IO[bytes]] = {}

    def targets(self, item: base.Item) -> tuple[str, ...]:
        """The transfer syntaxes that it can be made into without loss, best first."""
        return transcode.targets(item.syntax)

    def make(self, item: base.Item, syntax: str, loss: transcode.Loss | None = None) -> base.Item:
        """The item in another transfer syntax; `drop` it when it was sent.

        With `loss` it is compressed with loss, and is another instance then; senders never say that.
        Raises BadData or UsageError when there is no way, TranscodingFailed when a worker crashed or took too
        long over it, and a Transient when the same may work later.
        """
        try:
            out = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 - it lives until drop()
        except OSError as error:
            raise errors.StorageFailed(
                f"no temporary file can be made ({error.strerror or error})"
            ) from error
        try:
            with item.path.open("rb", buffering=0) as source:
                size = self._run(source.fileno(), out.fileno(), item, syntax, loss)
        except OSError as error:
            out.close()
            raise errors.BadData(f"it cannot be read ({error.strerror or error})") from error
        except BaseException:
            out.close()
            raise
        made = pathlib.Path(f"/proc/self/fd/{out.fileno()}")
        self._made[made] = out
        instance = item.sop_instance if loss is None else loss.instance
        return dataclasses.replace(item, sop_instance=instance, syntax=syntax, path=made, offset=0, size=size)

    def drop(self, made: base.Item) -> None:
        """Let go of the file that `make` made."""
        file = self._made.pop(made.path, None)
        if file is not None:
            file.close()

    def close(self) -> None:
        """End the workers; one that is busy ends with what it does."""
        self.workers.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(
        self, source: int, target: int, item: base.Item, syntax: str, loss: transcode.Loss | None
    ) -> int:
        seconds = self._limits.seconds + item.size / _PER_SECOND
        request = {
            "syntax": item.syntax,
            "target": syntax,
            "offset": item.offset,
            "size": item.size,
            "mapped": item.offset + item.size,
            "memory": self._limits.memory,
            "seconds": seconds,
            "loss": None if loss is None else dataclasses.asdict(loss),
        }
        answer = self.workers.ask(request, (source, target), seconds)
        if "size" in answer:
            return int(answer["size"])
        raise workers.raised(answer, KIND)
