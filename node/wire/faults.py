"""What ends an association other than a release, and which A-ABORT says so."""

from __future__ import annotations

import enum

from node import errors


class Source(enum.IntEnum):
    """Who an A-ABORT says it comes from (PS3.8 table 9-26)."""

    USER = 0  # the application: also the answer to nonsense before there is an association
    PROVIDER = 2  # the upper layer: the peer broke its rules


class Reason(enum.IntEnum):
    """Why the upper layer aborted (PS3.8 table 9-26)."""

    NONE = 0  # not said; the only one that the application may give
    UNRECOGNIZED_PDU = 1  # no such PDU type
    UNEXPECTED_PDU = 2  # a PDU type that does not belong here
    UNRECOGNIZED_PARAMETER = 4  # no such field
    UNEXPECTED_PARAMETER = 5  # a field that does not belong here
    INVALID_PARAMETER = 6  # a value or a length that cannot be


class AssociationLost(errors.Transient):
    """The association is gone: aborted, timed out, or the connection broke."""

    def __init__(
        self,
        why: str,
        *,
        by_peer: bool = False,
        source: int = Source.USER,
        reason: int = Reason.NONE,
        silent: bool = False,
    ) -> None:
        super().__init__(why)
        self.why = why
        self.by_peer = by_peer  # the peer ended it (A-ABORT or a broken connection)
        self.source = int(source)  # of the A-ABORT, theirs or ours
        self.reason = int(reason)  # of the A-ABORT, theirs or ours
        self.silent = silent  # there is nobody to send an A-ABORT to


def broken(why: str, reason: Reason = Reason.INVALID_PARAMETER) -> AssociationLost:
    """The peer broke a rule of the upper layer."""
    return AssociationLost(why, source=Source.PROVIDER, reason=reason)


def refused(why: str) -> AssociationLost:
    """What came makes no sense to the application, or comes before there is an association."""
    return AssociationLost(why, source=Source.USER, reason=Reason.NONE)


def gone(why: str) -> AssociationLost:
    """The connection broke: there is nobody to tell."""
    return AssociationLost(why, by_peer=True, silent=True)
