"""What the status page shows; the daemon fills it in."""

from __future__ import annotations

import dataclasses
import datetime


@dataclasses.dataclass(frozen=True, slots=True)
class Listening:
    """A place where somebody may connect."""

    what: str  # "DICOM", "DICOM over TLS", "HTTP"
    where: str  # host and port as a person would type them


@dataclasses.dataclass(frozen=True, slots=True)
class Association:
    """One association of the last few."""

    peer: str  # AE title that called, and the peer's name where it is configured
    address: str  # where it came from
    ended: datetime.datetime  # when it was over, UTC
    seconds: float  # how long it lasted
    instances: int  # how many were taken
    outcome: str  # "released", "aborted", "rejected: ..."
    good: bool = True  # whether somebody should look at it


@dataclasses.dataclass(frozen=True, slots=True)
class Child:
    """One process."""

    name: str  # its role
    pid: int  # 0 while it waits to be started again
    ready: bool  # whether it said so
    restarts: int  # since the node started


@dataclasses.dataclass(frozen=True, slots=True)
class Held:
    """How much is kept."""

    patients: int
    studies: int
    series: int
    instances: int
    bytes: int  # of data sets, as received


@dataclasses.dataclass(frozen=True, slots=True)
class Disk:
    """The file system that the data is on."""

    path: str  # the data directory
    free: int  # bytes
    total: int  # bytes
    watermark: int  # bytes that stay free; below, associations are refused


@dataclasses.dataclass(frozen=True, slots=True)
class Journal:
    """Acknowledged instances on their way into files and index."""

    waiting: int  # bytes that are not adopted yet
    capacity: int  # bytes of the ring
    degraded: bool = False  # a sync failed; part of the ring is out of use


@dataclasses.dataclass(frozen=True, slots=True)
class Lane:
    """A destination, and what waits for it."""

    name: str  # what the configuration calls it
    state: str  # orders.LaneState: up, down, held
    reason: str  # why it is down or held, in words
    waiting: int  # instances that are owed, those that are held too
    oldest: datetime.datetime | None  # since when the oldest of them waits, UTC
    held: int  # of those that wait, what a person or a route holds
    dead: int  # instances that were given up
    next: datetime.datetime | None  # when it is tried next, while it is down


@dataclasses.dataclass(frozen=True, slots=True)
class Delivery:
    """What of a series went to a destination lately, or was given up."""

    destination: str  # where to
    series: str  # Series Instance UID
    route: str  # what decided it
    state: str  # orders.State: done, dead, verifying, cancelled
    done: int  # instances that the destination has
    total: int  # instances in all
    changed: datetime.datetime  # when that was so, UTC
    error: str = ""  # why it was given up, in words


@dataclasses.dataclass(frozen=True, slots=True)
class Settled:
    """Series that were settled within the last hour."""

    complete: int
    partial: int
    inconsistent: int
    more: bool = False  # whether there were more than were counted


@dataclasses.dataclass(frozen=True, slots=True)
class Forwarding:
    """What leaves the node."""

    lanes: tuple[Lane, ...] = ()  # of each destination that is configured, or that something is owed to
    last: tuple[Delivery, ...] = ()  # what ended lately, newest first
    holds: tuple[Delivery, ...] = ()  # what is held, oldest first; `error` says why
    settled: Settled = Settled(0, 0, 0)  # within the last hour


@dataclasses.dataclass(frozen=True, slots=True)
class Notice:
    """Something that a person should look at."""

    what: str  # one sentence
    bad: bool = True  # False: good to know


@dataclasses.dataclass(frozen=True, slots=True)
class Status:
    """The node at one moment."""

    aet: str  # our AE title
    version: str  # of the program
    started: datetime.datetime  # UTC
    listening: tuple[Listening, ...]  # where we can be reached
    held: Held | None  # None: the index did not answer
    disk: Disk
    journal: Journal
    children: tuple[Child, ...] = ()  # in the order of their start
    associations: tuple[Association, ...] = ()  # the last ones, newest first
    open_associations: int = 0  # right now
    notices: tuple[Notice, ...] = ()  # alarms, newest first
    forwarding: Forwarding | None = None  # None: the index did not answer
