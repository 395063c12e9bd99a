"""The error tree: every failure is either worth trying again or it is not.

A message is one sentence for a person: the offending value, and the way out.
Errors are raised where the fault is seen and logged once, at the edge.
"""

from __future__ import annotations


class NodeError(Exception):
    """What this program raises on purpose; its text is fit to print as it is."""


class Transient(NodeError):
    """The same call may succeed later."""


class Permanent(NodeError):
    """The same call will fail again until somebody changes something."""


class ConfigError(Permanent):
    """The configuration, a flag or an environment variable says something that cannot be."""


class UsageError(Permanent):
    """A command was asked for something that it cannot do."""


class BadData(Permanent):
    """Bytes that claim to be DICOM and are not, with the place where they break off."""

    def __init__(self, why: str, *, offset: int | None = None, tag: int | None = None) -> None:
        place = ""
        if tag is not None:
            place += f" at ({tag >> 16:04X},{tag & 0xFFFF:04X})"
        if offset is not None:
            place += f" at offset {offset}"
        super().__init__(why + place)
        self.why = why
        self.offset = offset
        self.tag = tag


class NotFound(Permanent):
    """Nothing is held under the name that was asked for."""


class StorageFull(Transient):
    """There is no room for another instance."""


class StorageFailed(Transient):
    """A write or a sync failed; what was being written is not acknowledged."""


class DatabaseUnavailable(Transient):
    """The index did not answer in time."""


class DatabaseNewer(Permanent):
    """The database was written by a newer program than this one."""


class TranscodingBusy(Transient):
    """Nobody could make the data set in the other transfer syntax just now."""


class TranscodingFailed(Permanent):
    """Making the data set in another transfer syntax crashed, or took too long."""


class ConvertingBusy(Transient):
    """Nobody could convert the series just now."""


class ConvertingFailed(Permanent):
    """Converting the series crashed, or took too long."""


class PeerUnreachable(Transient):
    """No association: the network, the address, or nobody there."""


class PeerBusy(Transient):
    """The peer answered, and the answer is not now."""


class PeerRefused(Permanent):
    """The peer answered, and the answer is no."""


def printable(text: str) -> str:
    """Text that may come from outside, fit to be said on one line: nothing of it may steer a terminal."""
    return "".join(char if char.isprintable() else "?" for char in text)
