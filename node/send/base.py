"""What every kind of destination is: it takes items, and says of each whether it is there.

A sender never waits and never tries again by itself: it says `Retry`, and its caller knows when.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

from node.dicom import patched, syntax

if TYPE_CHECKING:
    from node.dicom import transcode

# What becomes of a data set on its way, given its bytes and transfer syntax, which stays the same;
# it raises BadData or UsageError when it cannot be done.
Change = Callable[[syntax.Buffer, str], patched.Patched]


@dataclasses.dataclass(frozen=True, slots=True)
class Wanted:
    """The transfer syntax that an item is made into before it goes, where that can be done.

    Where it cannot, or where the destination does not take it, the item goes as it is stored, with a note.
    """

    syntax: str  # transfer syntax UID
    loss: transcode.Loss | None = (
        None  # compressed with loss, which makes another instance of it; None: without
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Item:
    """One data set at rest that is to be sent."""

    sop_class: str  # SOP Class UID, as it is sent
    sop_instance: str  # SOP Instance UID, as it is sent
    syntax: str  # transfer syntax UID of the data set in the file
    path: pathlib.Path  # the file
    offset: int  # where the data set starts in it
    size: int  # length of the data set in bytes
    change: Change | None = None  # what is done to the copy that is sent; None: it goes as it stands
    wanted: Wanted | None = None  # what the copy is made into before; None: nothing


@dataclasses.dataclass(frozen=True, slots=True)
class Stream:
    """Items that are read as they go out, because there may be any number of them."""

    firsts: Sequence[Item]  # one of each SOP class and transfer syntax that occurs; never sent themselves
    each: Callable[[], Iterator[Item]]  # the items in order; raises nothing
    until: Callable[[], bool] = bool  # once it is true, nothing more is sent, and nothing said of the rest


class Transcoder(Protocol):
    """Makes a data set in another transfer syntax, for a destination that does not take the stored one."""

    def targets(self, item: Item) -> tuple[str, ...]:
        """Transfer syntaxes it could be made into, best first; the same for each of a class and syntax."""

    def make(self, item: Item, syntax: str, loss: transcode.Loss | None = None) -> Item:
        """An item whose file holds the data set in that syntax; raises errors.NodeError.

        What the item's change does is still to be done to it. With `loss` it is another instance, named so.
        """

    def drop(self, made: Item) -> None:
        """Let go of what `make` returned: it was sent."""


@dataclasses.dataclass(frozen=True, slots=True)
class Done:
    """The destination has it and said so."""

    status: int  # what it said: success or a warning
    why: str = ""  # the warning, in words


@dataclasses.dataclass(frozen=True, slots=True)
class Retry:
    """It is not there; the same may work later."""

    why: str  # one sentence for a person
    status: int | None = None  # what the destination said; None: it said nothing
    after: float | None = None  # seconds that the destination asked for
    detail: str = ""  # more of it, which may hold what identifies a patient: for the ledger, not for the log
    crowded: bool = False  # it refused the association for now, because it has enough of them, as it says


@dataclasses.dataclass(frozen=True, slots=True)
class Failed:
    """It is not there, and will not be until somebody changes something."""

    why: str  # one sentence for a person
    status: int | None = None  # what the destination said; None: it was not asked


Outcome = Done | Retry | Failed


@dataclasses.dataclass(frozen=True, slots=True)
class Result:
    """What became of one item, with the facts that the ledger keeps of an attempt."""

    item: Item  # what was to be sent
    outcome: Outcome  # whether it is there
    syntax: str = ""  # transfer syntax UID it went in; "" when it did not go
    size: int = 0  # bytes of the data set that were sent
    seconds: float = 0.0  # from the first byte to the answer
    notes: tuple[str, ...] = ()  # what its change did beyond what was asked for: character sets, for example
    lane: bool = False  # it is the destination that failed, not the item: no connection, no room, no folder


class Sender(Protocol):
    """One destination."""

    def describe(self) -> str:
        """Where this sends to, in words."""

    def send(self, items: Sequence[Item] | Stream) -> Iterator[Result]:
        """Send each item once and yield its result; every item gets exactly one, in any order."""
