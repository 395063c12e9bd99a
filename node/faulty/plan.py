"""What a peer that misbehaves on purpose does, and to which of the C-STOREs that it gets; pure.

Which ones is said in one grammar: `3` the third, `5-9`, `5-` from the fifth on, `%2` every second,
nothing: all of them.
"""

from __future__ import annotations

import dataclasses
import enum
import random
import re
from collections.abc import Sequence
from typing import TypeVar

from node import errors
from node.dicom import statuses, uids

# What chaos chooses from. All of it passes: what a sender must not repeat would end as a dead letter.
_PASSING = (statuses.OUT_OF_RESOURCES, statuses.PROCESSING_FAILURE, statuses.RESOURCE_LIMITATION)
_Word = TypeVar("_Word", bound=enum.StrEnum)
_WHICH = re.compile(r"(?P<first>\d+)(?:(?P<open>-)(?P<last>\d*))?|%(?P<every>\d+)")


class Stall(enum.StrEnum):
    """Where the peer falls silent, its connection open."""

    ASSOCIATE = "associate"  # an association request is not answered; these are counted, not C-STOREs
    DATA = "data"  # in the middle of a data set it reads no further
    PDU = "pdu"  # in the middle of its answer's PDU
    ANSWER = "answer"  # it has stored, and does not answer


class Commitment(enum.StrEnum):
    """What comes of a request for storage commitment."""

    HONEST = "honest"  # it says of each instance whether it holds it
    LIE = "lie"  # it says that it holds them all
    NEVER = "never"  # it takes the request, and never reports
    LATE = "late"  # it reports after a while, on an association of its own where it can
    FAIL = "fail"  # it says of each that its processing failed
    REFUSE = "refuse"  # it does not take the request


class Ending(enum.StrEnum):
    """How the peer ends an association that it should not end."""

    CLOSE = "close"  # it closes the connection without a word, before it stores
    ABORT = "abort"  # it aborts before it stores
    DROP = "drop"  # it stores, and resets the connection instead of answering


@dataclasses.dataclass(frozen=True, slots=True)
class Which:
    """Some of a row of events that are counted from 1."""

    first: int = 1  # the first one
    last: int | None = None  # the last one; None: there is none
    every: int = 1  # of those, each so manieth

    def __contains__(self, number: int) -> bool:
        return (
            self.first <= number and (self.last is None or number <= self.last) and number % self.every == 0
        )

    @classmethod
    def of(cls, text: str) -> Which:
        """Read `3`, `5-9`, `5-`, `%2`, or nothing."""
        if not text:
            return cls()
        found = _WHICH.fullmatch(text)
        if found is not None and found["every"] is not None and int(found["every"]):
            return cls(every=int(found["every"]))
        if found is not None and found["every"] is None:
            first = int(found["first"])
            last = first if not found["open"] else int(found["last"]) if found["last"] else None
            if first and (last is None or last >= first):
                return cls(first, last)
        raise errors.UsageError(f"{text!r} does not say which: write 3, 5-9, 5- or %2 (every second)")


@dataclasses.dataclass(frozen=True, slots=True)
class Doing:
    """What is done to one C-STORE."""

    status: int = statuses.SUCCESS  # what it is answered with
    keeps: bool = True  # it is stored, where the status says that it is
    ending: Ending | None = None  # how the association ends over it; None: it goes on
    stall: Stall | None = None  # where the peer falls silent; None: nowhere

    @property
    def stored(self) -> bool:
        """Whether the peer has it afterwards."""
        before = self.ending in (Ending.CLOSE, Ending.ABORT) or self.stall is Stall.DATA
        taken = statuses.classify(self.status) in (statuses.Kind.SUCCESS, statuses.Kind.WARNING)
        return self.keeps and taken and not before

    def describe(self) -> str:
        """The fault in a few words, "" where there is none."""
        said = []
        if self.status:
            said.append(f"answers {statuses.text(self.status)}")
        if not self.keeps:
            said.append("throws it away")
        if self.stall is not None:
            said.append(f"falls silent ({self.stall.value})")
        if self.ending is Ending.DROP:
            said.append("stores it and resets the connection before it answers")
        elif self.ending is not None:
            said.append({Ending.CLOSE: "closes the connection", Ending.ABORT: "aborts"}[self.ending])
        return ", ".join(said)


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """All that a peer does wrong; an empty one is a peer as it should be."""

    refuse: frozenset[str] = frozenset()  # SOP classes and transfer syntaxes that it does not take, by UID
    status: tuple[tuple[int, Which], ...] = ()  # what it answers to which
    stall: tuple[tuple[Stall, Which], ...] = ()  # where it falls silent
    drop: tuple[Which, ...] = ()  # stored, and the connection reset before the answer
    close: tuple[Which, ...] = ()  # the connection closed before anything is stored
    abort: tuple[Which, ...] = ()  # the same with an A-ABORT
    forget: tuple[Which, ...] = ()  # answered with success, and not stored
    reject: tuple[tuple[bool, Which], ...] = ()  # associations that it rejects; True: for the moment only
    slow: float = 0.0  # seconds before each answer
    pace: int | None = None  # bytes a second that it reads on an association; None: what there is
    commit: Commitment = Commitment.HONEST  # what it makes of storage commitment
    late: float = 30.0  # seconds until a report that is late
    known: int = statuses.SUCCESS  # what it answers to what it holds already
    associations: int | None = None  # at once; None: the usual limit
    window: int = 16  # operations that it lets wait for it
    chaos: float = 0.0  # how probable it is that a C-STORE meets a fault beside those above
    seed: int = 0  # makes chaos the same again

    def doing(self, number: int) -> Doing:
        """What happens to the C-STORE with this number."""
        for ending, which in (
            *((Ending.CLOSE, one) for one in self.close),
            *((Ending.ABORT, one) for one in self.abort),
            *((Ending.DROP, one) for one in self.drop),
        ):
            if number in which:
                return Doing(ending=ending)
        for stall, which in self.stall:
            if stall is not Stall.ASSOCIATE and number in which:
                return Doing(stall=stall)
        for status, which in self.status:
            if number in which:
                return Doing(status)
        if any(number in which for which in self.forget):
            return Doing(keeps=False)
        return self._chaos(number)

    def _chaos(self, number: int) -> Doing:
        if not self.chaos:
            return Doing()
        dice = random.Random(f"{self.seed} {number}")
        if dice.random() >= self.chaos:
            return Doing()
        ending = dice.choice([None, *Ending])
        return Doing(dice.choice(_PASSING)) if ending is None else Doing(ending=ending)

    def rejects(self, number: int) -> bool | None:
        """Whether the association with this number is rejected: True for the moment, False for good."""
        return next((transient for transient, which in self.reject if number in which), None)

    def ignores(self, number: int) -> bool:
        """Whether the association request with this number is never answered."""
        return any(stall is Stall.ASSOCIATE and number in which for stall, which in self.stall)


def plan(
    *,
    refuse: Sequence[str] = (),
    status: Sequence[str] = (),
    stall: Sequence[str] = (),
    drop: Sequence[str] = (),
    close: Sequence[str] = (),
    abort: Sequence[str] = (),
    forget: Sequence[str] = (),
    reject: Sequence[str] = (),
    slow: str = "",
    commit: str = "honest",
    late: float = 30.0,
    known: str = "0000",
    associations: int | None = None,
    window: int = 16,
    chaos: float = 0.0,
    seed: int = 0,
) -> Plan:
    """A plan in the words of the command line; raises UsageError with the way out."""
    seconds, pace = _slow(slow)
    if not 0.0 <= chaos <= 1.0:
        raise errors.UsageError(f"chaos of {chaos:g}: it is a probability, from 0 to 1")
    return Plan(
        refuse=frozenset(uid(one) for one in refuse),
        status=tuple(_status(one) for one in status),
        stall=tuple(_stall(one) for one in stall),
        drop=tuple(map(Which.of, drop)),
        close=tuple(map(Which.of, close)),
        abort=tuple(map(Which.of, abort)),
        forget=tuple(map(Which.of, forget)),
        reject=tuple(_reject(one) for one in reject),
        slow=seconds,
        pace=pace,
        commit=_member(Commitment, commit),
        late=late,
        known=_code(known),
        associations=associations,
        window=window,
        chaos=chaos,
        seed=seed,
    )


def uid(text: str) -> str:
    """The UID of a SOP class or transfer syntax that is given as one, or by its keyword in the standard."""
    if uids.valid(text):
        return text
    from pydicom import uid as names  # only where somebody writes names

    found = getattr(names, text, None) if text.isidentifier() else None
    if not isinstance(found, names.UID):
        raise errors.UsageError(
            f"{text!r} is no UID, and no keyword of one, such as CTImageStorage or JPEG2000Lossless"
        )
    return str(found)


def _split(text: str) -> tuple[str, Which]:
    """`WORD@WHICH`, `WORD%N` or `WORD`."""
    word, at, which = text.partition("@")
    if not at:
        word, percent, every = text.partition("%")
        which = percent + every
    return word, Which.of(which)


def _status(text: str) -> tuple[int, Which]:
    code, which = _split(text)
    return _code(code), which


def _code(text: str) -> int:
    if not re.fullmatch(r"[0-9A-Fa-f]{4}", text):
        raise errors.UsageError(f"{text!r} is no DIMSE status: write four hex digits, such as A700")
    return int(text, 16)


def _stall(text: str) -> tuple[Stall, Which]:
    word, which = _split(text)
    return _member(Stall, word), which


def _reject(text: str) -> tuple[bool, Which]:
    word, which = _split(text)
    if word not in ("transient", "permanent"):
        raise errors.UsageError(f"{text!r}: an association is rejected transient or permanent")
    return word == "transient", which


def _slow(text: str) -> tuple[float, int | None]:
    """`0.5` seconds, or `20000/s`."""
    number, per, _ = text.partition("/s")
    try:
        value = float(number) if text else 0.0
        if value < 0 or (per and value < 1):
            raise ValueError  # noqa: TRY301 - the same sentence for both
    except ValueError as error:
        raise errors.UsageError(
            f"{text!r} does not say how slow: write seconds, as 0.5, or bytes, as 20000/s"
        ) from error
    return (0.0, int(value)) if per else (value, None)


def _member(kind: type[_Word], text: str) -> _Word:
    try:
        return kind(text)
    except ValueError as error:
        raise errors.UsageError(f"{text!r} is none of {', '.join(kind)}") from error
