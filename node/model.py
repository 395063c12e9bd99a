"""The words of the program: frozen values that every layer may hold and none may change."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import pathlib
from collections.abc import Mapping

from node import orders


class Right(enum.StrEnum):
    """What a peer may ask of this node."""

    ECHO = "echo"  # C-ECHO
    STORE = "store"  # C-STORE to this node
    FIND = "find"  # C-FIND, worklist queries
    RETRIEVE = "retrieve"  # C-MOVE and C-GET
    COMMIT = "commit"  # storage commitment requests
    STEPS = "mpps"  # reports of performed procedure steps


class OnConflict(enum.StrEnum):
    """The answer to an instance whose UID is held with other bytes; the first is never altered."""

    KEEP = "keep"  # 0x0000; the second is kept beside the first, with an alarm
    REFUSE = "refuse"  # 0x0111; the second is not kept


@dataclasses.dataclass(frozen=True, slots=True)
class Peer:
    """A DICOM application that this node talks with."""

    name: str  # what the configuration and the operator call it
    aet: str  # its AE title
    host: str | None = None  # where it is reached; None: it only calls us
    port: int = 104  # the port it listens on
    addresses: tuple[str, ...] = ()  # addresses or networks it may call from; empty: any
    tls: bool = False  # it is called over TLS, and must call us over TLS
    certificate: str | None = None  # the name its client certificate must carry (mutual TLS)
    rights: frozenset[Right] = frozenset({Right.ECHO, Right.STORE})  # what it may ask
    associations: int | None = None  # how many at once; None: the node's per-peer limit
    rate: float | None = None  # instances a second that are taken from it; None: no limit
    max_instance: int | None = None  # bytes of one instance; None: the node's limit
    syntaxes: tuple[str, ...] = ()  # transfer syntax UIDs in the order we prefer them; empty: theirs
    called: str | None = None  # the AE title it must call us by; None: the node's


@dataclasses.dataclass(frozen=True, slots=True)
class Identity:
    """Who an instance says it is."""

    sop_class: str  # SOP Class UID
    sop_instance: str  # SOP Instance UID
    study: str  # Study Instance UID
    series: str  # Series Instance UID


@dataclasses.dataclass(frozen=True, slots=True)
class Arrival:
    """One acknowledged instance on its way from the journal into the tree and the index."""

    identity: Identity  # the UIDs, checked against the data set
    syntax: str  # transfer syntax UID of the data set as it came
    digest: str  # "sha256:<hex>" over the data set's bytes as received
    size: int  # length of the data set in bytes
    calling: str  # AE title of the sender, "" for a file import
    called: str  # AE title it called us by
    address: str  # where it came from: an IP address, or "import"
    peer: str  # name of the configured peer, "" when unknown
    association: str  # id that ties the instances of one association together
    received: datetime.datetime  # when its last byte came, UTC


class Verdict(enum.StrEnum):
    """What became of an acknowledged instance when it was taken into the index."""

    STORED = "stored"  # new: one file, one row
    DUPLICATE = "duplicate"  # same UIDs, same bytes: the file that is there serves
    CONFLICT = "conflict"  # same UIDs, other bytes: kept beside the first
    DISCARDED = "discarded"  # a named rule said so
    QUARANTINED = "quarantined"  # kept out of queries until a person looks


# How the note of an arrival begins that a person released: rules at receipt cannot set it aside again.
RELEASED = "released by "


class Held(enum.StrEnum):
    """How it stands with the bytes of an instance that is held."""

    HELD = "held"  # they were whole when last looked at
    CORRUPT = "corrupt"  # their digest is not the one they came with; reads and commitment refuse them
    MISSING = "missing"  # their file is gone


@dataclasses.dataclass(frozen=True, slots=True)
class Instance:
    """One SOP instance that is held."""

    identity: Identity  # its UIDs
    syntax: str  # transfer syntax UID on disk
    digest: str  # "sha256:<hex>" over the data set's bytes
    path: str  # place below the store's root, with forward slashes
    offset: int  # where the data set starts in the file
    size: int  # length of the data set
    frames: int  # number of frames; 1 where the object has no such notion
    received: datetime.datetime  # UTC
    source: str  # AE title it came from
    coercion: str = ""  # digest of the steps through which it is presented; "": as it came


@dataclasses.dataclass(frozen=True, slots=True)
class ImageId:
    """An image's name: an instance, or one frame of it, written `UID` or `UID#frame`."""

    sop_instance: str  # SOP Instance UID
    frame: int | None = None  # 1-based; None: the whole instance

    def __str__(self) -> str:
        return self.sop_instance if self.frame is None else f"{self.sop_instance}#{self.frame}"


class Level(enum.StrEnum):
    """The levels of the query model, outermost first."""

    PATIENT = "PATIENT"
    STUDY = "STUDY"
    SERIES = "SERIES"
    IMAGE = "IMAGE"


# The key that names one entity of a level; with those of the levels above it is what a retrieval may hold.
UNIQUE: Mapping[Level, str] = {
    Level.PATIENT: "PatientID",
    Level.STUDY: "StudyInstanceUID",
    Level.SERIES: "SeriesInstanceUID",
    Level.IMAGE: "SOPInstanceUID",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Query:
    """A question about what is held; C-FIND and QIDO-RS ask it alike."""

    level: Level  # what an answer is: a patient, a study, a series, an instance
    keys: Mapping[str, str] = dataclasses.field(default_factory=dict)
    # Keyword, or Sequence.Keyword, -> what must match, as DICOM writes it: wildcards, ranges, several UIDs
    # with backslashes between them; "" matches everything. A key of a level above narrows too (relational).
    wanted: tuple[str, ...] = ()  # keywords to answer with beside those of the keys
    limit: int | None = None  # answers at most; None: all
    offset: int = 0  # answers to leave out at the start
    fuzzy: bool = False  # names match by the beginnings of their words
    combined: bool = False  # a date range and its time range are one range of moments
    relational: bool = False  # keys of levels below narrow too: something below must match them
    timezone: str | None = None  # Timezone Offset From UTC of the asker, whose dates and times are in it;
    # None: they are compared as they stand


@dataclasses.dataclass(frozen=True, slots=True)
class NodeSettings:
    """Who this node is and where it listens."""

    aet: str = "NODE"  # our AE title
    host: str = "0.0.0.0"  # noqa: S104 - modalities are elsewhere; address the DICOM listener binds
    port: int = 11112  # port of the DICOM listener
    http: str = "127.0.0.1:8112"  # HOST:PORT of the web process
    api_token_file: pathlib.Path | None = None  # its one line is what the API wants; None: loopback only
    data: pathlib.Path = pathlib.Path("data")  # where everything is kept
    listeners: int = 1  # listener processes
    workers: int = 1  # worker processes
    drain: float = 30.0  # seconds that running associations get at a stop
    accept_any_called: bool = False  # accept calls to another AE title than ours
    accept_unknown: bool = True  # a peer that is not configured may echo and store


@dataclasses.dataclass(frozen=True, slots=True)
class LogSettings:
    """What is written to the log, and how."""

    level: str = "info"  # debug, info, warning, error
    format: str = "auto"  # auto (readable on a terminal), json, text
    patient_data: bool = False  # patient names and ids may appear


@dataclasses.dataclass(frozen=True, slots=True)
class RetentionSettings:
    """When what is held may go; nothing undelivered ever goes by itself."""

    max_age: float | None = None  # seconds since receipt; None: for ever
    max_size: int | None = None  # bytes of the store; the oldest studies go first


@dataclasses.dataclass(frozen=True, slots=True)
class StorageSettings:
    """Where bytes and rows live and how much room must stay."""

    database: str | None = None  # SQLAlchemy URL; None: SQLite in the data directory
    min_free: int = 1 << 30  # bytes that stay free; below, associations are refused
    journal: int = 256 << 20  # bytes of acknowledged data that may wait to be filed
    on_conflict: OnConflict = OnConflict.KEEP  # same UID, other bytes
    retention: RetentionSettings = RetentionSettings()  # the default policy


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on everything that comes from outside."""

    associations: int = 200  # at once, in all
    per_peer: int = 50  # at once from one AE title and address
    echo_slots: int = 4  # further associations that may only echo, so that checks still work
    pdu: int = 131072  # bytes; the maximum PDU length that we advertise
    max_instance: int = 8 << 30  # bytes of one data set
    request_timeout: float = 15.0  # seconds until the whole A-ASSOCIATE-RQ must be there
    pdu_timeout: float = 60.0  # seconds until a PDU that has begun must be there
    idle_timeout: float = 300.0  # seconds that an association may say nothing
    answers: int = 10_000  # answers to one query; who asks the same again gets the next ones
    http_body: int = 2 << 30  # bytes of an HTTP request body


@dataclasses.dataclass(frozen=True, slots=True)
class TlsSettings:
    """The TLS listener, and the identity used when a peer is called over TLS."""

    port: int | None = None  # port of the TLS listener; None: there is none
    certificate: pathlib.Path | None = None  # PEM chain of this node
    key: pathlib.Path | None = None  # PEM private key of this node
    ca: pathlib.Path | None = None  # PEM of the authorities that vouch for peers
    client_certificate: bool = False  # callers must show a certificate of one of these


@dataclasses.dataclass(frozen=True, slots=True)
class Coercion:
    """Steps that change elements of a copy, as they stand in the configuration."""

    name: str  # what destinations and rules call it
    steps: tuple[Mapping[str, object], ...]  # in order, as in node.steps.coerce
    base: pathlib.Path = pathlib.Path()  # the folder below which its lookup tables lie
    places: tuple[str, ...] = dataclasses.field(default=(), compare=False)  # FILE:LINE of each step
    digest: str = ""  # under which steps and tables are kept below the data directory; "": they are not yet


class Action(enum.StrEnum):
    """What a rule does with an instance at receipt."""

    KEEP = "keep"  # store it; `for` sets how long
    DISCARD = "discard"  # acknowledge, record why, keep no bytes
    QUARANTINE = "quarantine"  # keep the bytes out of queries until a person looks


@dataclasses.dataclass(frozen=True, slots=True)
class Rule:
    """A condition on an instance's header and source, and what then happens."""

    name: str  # shown wherever the rule had an effect
    action: Action  # what happens
    reason: str = ""  # in words, for discard and quarantine
    keep: float | None = None  # seconds until retention may remove it; None: the default policy
    when: orders.Condition = dataclasses.field(default_factory=orders.Condition)
    # on the header and on facts of its arrival; an empty one always holds
    coerce: str | None = None  # the coercion through which what is kept is presented; None: as it came


class Job(enum.StrEnum):
    """Work that the clock starts."""

    RETENTION = "retention"  # remove what the policies no longer keep
    SCRUB = "scrub"  # verify digests at rest
    PULL = "pull"  # fetch what a peer holds, matches a query, and is not here
    PREFETCH = "prefetch"  # fetch earlier studies of the patients who are on the worklist
    FORWARD = "forward"  # send what is held and matches a query


class Missed(enum.StrEnum):
    """What becomes of runs that fell into a time when the node was down or their calendar closed."""

    ONCE = "once"  # they are caught up together, with one run
    SKIP = "skip"  # the next one is the next one


class By(enum.StrEnum):
    """How a peer is made to send us what it holds."""

    MOVE = "move"  # C-MOVE to our own AE title: it opens associations to us, and must know where we are
    GET = "get"  # C-GET: it comes over the association that asks


@dataclasses.dataclass(frozen=True, slots=True)
class Schedule:
    """When a job runs."""

    name: str  # shown in the log
    job: Job  # what runs
    at: str | None = None  # "HH:MM", daily
    every: float | None = None  # seconds between runs
    cron: str | None = None  # an expression of five fields, as node.cron reads it
    zone: str | None = None  # IANA name of the time zone of `at` and `cron`; None: the host's
    calendar: str | None = None  # it runs only while this is open; None: at any time
    missed: Missed = Missed.ONCE  # what becomes of runs that could not be
    retries: int = 3  # times that a run which failed is tried again before the next one's time
    retry: float = 60.0  # seconds until the first of them; doubled each time
    rate: int | None = None  # scrub: bytes a second
    peer: str | None = None  # pull, prefetch: the configured peer that is asked
    query: Mapping[str, str] = dataclasses.field(default_factory=dict)
    # pull, forward: keyword -> what must match, as C-FIND has it; dates may be relative, as in "-1d..today"
    level: Level = Level.STUDY  # pull, forward: what the query is asked for and what is fetched or sent whole
    by: By = By.MOVE  # pull, prefetch: how
    limit: int = 1000  # pull, prefetch, forward: entries (studies, series, instances) of one run at most
    worklist: str | None = None  # prefetch: the peer whose worklist counts; None: this node's own
    days: int = 1  # prefetch: how many days of the worklist, from today
    modalities: tuple[str, ...] = ("same",)
    # prefetch: of the earlier studies; "same": the one that is scheduled; empty: any
    body_parts: tuple[str, ...] = ()  # prefetch: Body Part Examined of their series; empty: any
    priors: int = 3  # prefetch: the newest so many for each patient
    age: float | None = None  # prefetch: seconds that a study may be old; None: any
    to: tuple[str, ...] = ()  # forward: destinations and groups
    again: bool = False  # forward: also what they have already
    priority: orders.Priority = orders.Priority.NORMAL  # forward: how soon


class Finished(enum.StrEnum):
    """What becomes of worklist entries whose step is completed or discontinued."""

    HIDE = "hide"  # they are no longer answered with
    SHOW = "show"  # they are, with that status


@dataclasses.dataclass(frozen=True, slots=True)
class WorklistSettings:
    """What the modality worklist is made of, beside what the API adds."""

    folder: pathlib.Path | None = None  # of worklist files; None: there is none
    finished: Finished = Finished.HIDE  # entries whose step has ended
    keep: float = 90 * 86400.0  # seconds after their beginning and last change that entries of the table go


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """The whole configuration, checked and frozen."""

    node: NodeSettings = NodeSettings()
    log: LogSettings = LogSettings()
    storage: StorageSettings = StorageSettings()
    limits: Limits = Limits()
    tls: TlsSettings = TlsSettings()
    worklist: WorklistSettings = WorklistSettings()
    peers: tuple[Peer, ...] = ()
    destinations: tuple[orders.Destination, ...] = ()
    groups: tuple[orders.Group, ...] = ()
    calendars: tuple[orders.Calendar, ...] = ()
    completeness: tuple[orders.Policy, ...] = ()  # in order; the built-in one comes last
    routing: orders.Routing = dataclasses.field(default_factory=orders.Routing)
    routes: tuple[orders.Route, ...] = ()  # in order
    queue: orders.QueueSettings = dataclasses.field(default_factory=orders.QueueSettings)
    coerce: tuple[Coercion, ...] = ()
    rules: tuple[Rule, ...] = ()
    schedules: tuple[Schedule, ...] = ()
