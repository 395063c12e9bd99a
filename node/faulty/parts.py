"""What `faulty` has beside its faults: a door, what it holds and writes down, its answers to queries."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import socket
from collections.abc import Iterator, Sequence

from node import errors, model
from node.dicom import header, identifier
from node.wire import command


@dataclasses.dataclass(frozen=True, slots=True)
class Kept:
    """An instance that the peer holds."""

    sop_class: str  # SOP Class UID, as the command said
    sop_instance: str  # SOP Instance UID, as the command said
    study: str  # Study Instance UID, "" when the data set has none
    series: str  # Series Instance UID, "" when the data set has none
    syntax: str  # transfer syntax UID that it came in
    digest: str  # "sha256:<hex>" over the data set
    size: int  # bytes of the data set


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """One C-STORE in the peer's journal; written before it is answered."""

    number: int  # which C-STORE it was, from 1
    at: float  # seconds since the epoch
    association: str  # names the association that it came on
    sop_instance: str  # SOP Instance UID
    digest: str  # "sha256:<hex>" over the data set; "" when it was not read to its end
    status: int | None  # the answer; None: it got none
    stored: bool  # whether the peer has it afterwards
    fault: str  # what was done wrong, in words; "": nothing


class Door(socket.socket):
    """A listening socket that remembers the connections it gave away, so that they can be broken."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(socket.AF_INET, socket.SOCK_STREAM)
        self.taken: dict[tuple[str, int], socket.socket] = {}  # by the caller's address
        self.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self.bind((host, port))
        except OSError as error:
            self.close()
            raise errors.UsageError(
                f"port {port} of {host} cannot be listened on ({error.strerror}): name another"
            ) from error
        self.listen(128)

    def accept(self) -> tuple[socket.socket, tuple[str, int]]:
        """Take a connection."""
        sock, address = super().accept()
        self.taken[address] = sock
        return sock, address


def kept(asked: command.Command, syntax: str, data: bytes) -> Kept:
    study, series = "", ""
    with contextlib.suppress(errors.NodeError):
        found = header.texts(data, syntax, ("StudyInstanceUID", "SeriesInstanceUID"))
        study, series = (next(iter(values), "") for values in found.values())
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    return Kept(asked.sop_class, asked.sop_instance, study, series, syntax, digest, len(data))


def answers(held: Sequence[Kept], keys: identifier.Fields, level: model.Level) -> Iterator[identifier.Fields]:
    """One answer for each study, series or instance that the UIDs in the keys name."""
    found: dict[str, identifier.Fields] = {}
    counts: dict[str, set[str]] = {}
    for one in held:
        uids = {
            "StudyInstanceUID": one.study,
            "SeriesInstanceUID": one.series,
            "SOPInstanceUID": one.sop_instance,
        }
        if not all(_names(keys.get(key), uid) for key, uid in uids.items()):
            continue
        if level not in _DEPTH:
            continue
        shown = dict(list(uids.items())[: _DEPTH[level]])
        entity = "\\".join(shown.values())
        answer: identifier.Fields = {"QueryRetrieveLevel": level.value, **shown}
        if level is model.Level.IMAGE:
            answer["SOPClassUID"] = one.sop_class
        found.setdefault(entity, answer)
        counts.setdefault(entity, set()).add(one.sop_instance)
    for entity, answer in found.items():
        if level in _NUMBER:
            answer[_NUMBER[level]] = str(len(counts[entity]))
        yield answer


_DEPTH = {model.Level.STUDY: 1, model.Level.SERIES: 2, model.Level.IMAGE: 3}
_NUMBER = {
    model.Level.STUDY: "NumberOfStudyRelatedInstances",
    model.Level.SERIES: "NumberOfSeriesRelatedInstances",
}


def _names(key: identifier.Value, uid: str) -> bool:
    """Whether a key of UIDs lets this one through."""
    return not isinstance(key, str) or not key or key == "*" or uid in key.split("\\")
