"""The words of forwarding: what goes where, when and how. Frozen values, open to all like `model`."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import pathlib
from collections.abc import Mapping

# -- what the configuration says --------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class Condition:
    """A tree of tests on what is known of an instance; an empty one always holds."""

    tests: tuple[tuple[str, tuple[str, ...]], ...] = ()  # (key, entries), all of them must hold
    every: tuple[Condition, ...] = ()  # all of these must hold: `all`
    some: tuple[Condition, ...] = ()  # one of these must hold, if there are any: `any`
    none: tuple[Condition, ...] = ()  # none of these may hold: `not`


class Priority(enum.IntEnum):
    """How soon; what waits long rises, so that nothing starves."""

    URGENT = 0  # before everything else, outside of calendars too
    HIGH = 1  # before what is usual
    NORMAL = 2  # as it comes
    LOW = 3  # when there is nothing else to do


class When(enum.StrEnum):
    """What a route waits for."""

    INSTANCE = "instance"  # nothing: each instance is sent on as it comes
    SERIES = "series"  # the series is settled
    STUDY = "study"  # all series of the study are settled


@dataclasses.dataclass(frozen=True, slots=True)
class StepSetting:
    """One step of a plan as it stands in the configuration."""

    step: str  # its name in the table of steps: coerce, compress, ...
    options: Mapping[str, object] = dataclasses.field(default_factory=dict)  # its parameters
    place: str = dataclasses.field(default="", compare=False)  # FILE:LINE in the configuration


@dataclasses.dataclass(frozen=True, slots=True)
class Route:
    """A condition, and the plan for what fulfils it."""

    name: str  # shown wherever it had an effect
    level: When = When.SERIES  # what it waits for
    when: Condition = Condition()  # on the header of the first instance and on facts of its arrival
    requires: tuple[Condition, ...] = ()  # a study: for each of these it must have a series that fulfils it
    to: tuple[str, ...] = ()  # destinations and groups, by name
    steps: tuple[StepSetting, ...] = ()  # in order, done to what is sent
    priority: Priority = Priority.NORMAL  # how soon
    calendar: str | None = None  # when it may go out; None: at any time
    discard: str | None = None  # nothing is sent, for this reason
    partial: bool = True  # also what was settled as partial or inconsistent; False: that is held for a person
    final: bool = False  # routes after it are not asked when it matches (mode "all")


class Mode(enum.StrEnum):
    """Which of the routes that match have an effect."""

    FIRST = "first"  # the first one
    ALL = "all"  # all of them, until one is final


@dataclasses.dataclass(frozen=True, slots=True)
class Routing:
    """How routes are gone through."""

    mode: Mode = Mode.ALL  # which of those that match
    default: tuple[str, ...] = ()  # where a series goes that no route matches; empty: nowhere


class Kind(enum.StrEnum):
    """What a destination is."""

    DICOM = "dicom"  # a peer that takes C-STORE
    FOLDER = "folder"  # files below a folder
    COMMAND = "command"  # a program that is given a folder


class Verify(enum.StrEnum):
    """How it is made sure that a destination keeps what it took."""

    NO = "no"  # its answer to the C-STORE is believed
    COMMIT = "commit"  # storage commitment
    FIND = "find"  # C-FIND afterwards, instance by instance


@dataclasses.dataclass(frozen=True, slots=True)
class Destination:
    """A named place where images go, and how it is to be treated."""

    name: str  # what routes and commands call it
    peer: str = ""  # dicom: the configured peer behind it
    calling: str | None = None  # dicom: AE title that we call with; None: the node's
    coerce: str | None = None  # the coercion that the copy for it goes through; None: sent as it is held
    kind: Kind = Kind.DICOM  # what it is
    folder: pathlib.Path | None = None  # folder: below which files are written
    template: str = "{StudyInstanceUID}/{SeriesInstanceUID}/{SOPInstanceUID}.dcm"  # folder: names below it
    command: tuple[str, ...] = ()  # command: program and arguments; {in} and {out} are folders
    timeout: float = 3600.0  # command: seconds that it may run
    memory: int | None = None  # command: bytes of address space; None: no limit
    cpu: float | None = None  # command: seconds of processor time; None: no limit
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)  # command: beside PATH and LANG
    lanes: int = 2  # associations (or writers, or programs) at once
    window: int = 16  # dicom: requests under way at once, if the peer grants them
    bandwidth: int | None = None  # bytes a second over all lanes; None: no cap
    rate: float | None = None  # instances a second over all lanes; None: no cap
    calendar: str | None = None  # when it may be sent to; None: at any time
    retry: float = 5.0  # seconds until the first retry; doubled each time
    retry_most: float = 900.0  # seconds between retries at most
    attempts: int = 10  # of one instance that the destination refuses for now, until it is a dead letter
    breaker: int = 3  # connections in a row that fail until the lane counts as down
    verify: Verify = Verify.NO  # how it is made sure
    verify_after: float = 10.0  # seconds until it is asked (find), or until commitment is requested
    verify_within: float = 3600.0  # seconds that a commitment report may take until C-STOREs are repeated
    transcode: bool = True  # what it does not take as stored is transcoded without loss; False: it fails


class Choice(enum.StrEnum):
    """Which member of a group takes what is sent to the group."""

    FAILOVER = "failover"  # the first that is up
    SPREAD = "spread"  # in turn


@dataclasses.dataclass(frozen=True, slots=True)
class Group:
    """Destinations of which one is enough."""

    name: str  # what routes call it; not the name of a destination
    members: tuple[str, ...]  # destinations, in order of preference
    choice: Choice = Choice.FAILOVER  # which takes it


@dataclasses.dataclass(frozen=True, slots=True)
class Calendar:
    """Hours of the week in which something may be done."""

    name: str  # what routes and destinations call it
    days: frozenset[int] = frozenset(range(7))  # 0 is Monday
    hours: tuple[
        tuple[datetime.time, datetime.time], ...
    ] = ()  # from, until; over midnight when until <= from
    zone: str | None = None  # IANA name; None: the host's
    holidays: frozenset[datetime.date] = frozenset()  # days that count as `holiday_days`
    on_holidays: bool = False  # whether holidays are open all day; False: closed all day


class Completeness(enum.StrEnum):
    """What a settled series or study was judged to be."""

    COMPLETE = "complete"  # every signal that there is says so
    PARTIAL = "partial"  # a signal names more than came
    INCONSISTENT = "inconsistent"  # signals contradict each other, or more came than was named


class Sorting(enum.StrEnum):
    """What sorting says of the volumes of a series: `volume.stack.Verdict`, and of several of them."""

    COMPLETE = "complete"  # every place is filled, at equal distances
    GAPS = "gaps"  # slices are missing between others
    UNEQUAL = "unequal"  # slices lie at distances that differ
    SINGLE = "single"  # one slice
    UNPLACED = "unplaced"  # nothing says where they lie
    MIXED = "mixed"  # several volumes that do not belong together; it stands beside what each of them is


@dataclasses.dataclass(frozen=True, slots=True)
class Policy:
    """Which signals settle a series; the first policy whose peers and modalities fit is taken."""

    name: str  # shown with the verdict
    peers: tuple[str, ...] = ()  # configured names or AE titles of senders; empty: all
    modalities: tuple[str, ...] = ()  # empty: all
    quiet: float = 30.0  # seconds without a new instance that settle it, whatever the other signals say
    released: float | None = 2.0  # seconds after every association that brought it is over; None: not heeded
    expected: bool = True  # Images in Acquisition is heeded
    steps: bool = True  # performed procedure steps (MPPS) are heeded
    ask: str | None = None  # peer that is asked with C-FIND how many there are; None: nobody
    geometry: bool = True  # slices must have no gaps
    wait: float = 600.0  # seconds that it may wait for what a signal says is missing, after quiet
    study_quiet: float = 60.0  # seconds without a new instance that settle a study


@dataclasses.dataclass(frozen=True, slots=True)
class QueueSettings:
    """How the queue behaves, whatever the destination."""

    lanes: int = 16  # senders at once in a worker process
    heartbeat: float = 2.0  # seconds between the signs of life of a worker
    dead_after: float = 20.0  # seconds without one until others take its work over
    age_up: float = 1800.0  # seconds that raise what waits by one priority
    poison: int = 3  # times that a worker may die over the same work until it is a dead letter
    keep: float = 30 * 86400.0  # seconds that finished work is shown in the queue; the ledger keeps all


# -- what the ledger says ---------------------------------------------------------------------------


class State(enum.StrEnum):
    """How it stands with a delivery or a consignment."""

    DUE = "due"  # it goes out when its lane comes to it, not before its moment
    HELD = "held"  # a person, or a route that wants only what is complete, holds it
    RUNNING = "running"  # a worker has it (consignments only)
    VERIFYING = "verifying"  # the destination has taken all; it is made sure (consignments only)
    DONE = "done"  # the destination said that it has it
    DEAD = "dead"  # given up, with the reason; a person may replay it
    CANCELLED = "cancelled"  # a person, or the removal of the instance, said that it is not to be sent


OPEN = (State.DUE, State.HELD, State.RUNNING, State.VERIFYING)  # what is still owed


@dataclasses.dataclass(frozen=True, slots=True)
class Consignment:
    """What of one series goes to one destination for one decision: the unit of the queue."""

    key: int  # its row
    destination: str  # where to
    group: str  # the group that chose the destination; "": it was named
    study: str  # Study Instance UID
    series: str  # Series Instance UID
    route: str  # the route that decided it; "default", or "by NAME" when a person did
    revision: int  # of the series; 0: sent on as it came
    priority: Priority  # how soon
    calendar: str | None  # when it may go out, beside the destination's own
    steps: tuple[StepSetting, ...]  # done to what is sent, as they were configured when it was decided
    state: State  # how it stands
    created: datetime.datetime  # when it was decided
    due: datetime.datetime  # not before
    attempts: int  # times that a lane took it up
    crashes: int  # times that a worker died over it
    total: int  # instances
    done: int  # of them, those that the destination has
    dead: int  # of them, those given up
    fence: int  # grows with each claim; who holds an older one may change nothing of it any more
    error: str  # why it waits or was given up, in words
    cancelled: int = 0  # of the instances, those that are not to be sent any more


@dataclasses.dataclass(frozen=True, slots=True)
class Attempt:
    """One try to deliver one instance."""

    delivery: int  # row of the delivery
    at: datetime.datetime  # when its answer came
    outcome: State  # DONE, DUE (again later), or DEAD
    status: int | None  # what the destination said; None: nothing
    syntax: str  # transfer syntax UID that it went in; "": it did not go
    size: int  # bytes sent
    seconds: float  # from the first byte to the answer
    error: str  # in words; a warning's too


class LaneState(enum.StrEnum):
    """How it stands with a destination as a whole."""

    UP = "up"  # as far as is known
    DOWN = "down"  # it could not be reached; a C-ECHO tries it from time to time
    HELD = "held"  # a person stopped it


@dataclasses.dataclass(frozen=True, slots=True)
class Lane:
    """A destination as the queue sees it."""

    destination: str  # its name
    state: LaneState = LaneState.UP
    since: datetime.datetime | None = None  # when that began
    failures: int = 0  # connections in a row that failed
    probe: datetime.datetime | None = None  # when it is tried next, while it is down
    reason: str = ""  # why, in words
