"""Who asks for instances on the raw socket, and where they go: what is said and expected stands here."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from node import model
from node.wire import association, command
from tests import make, raw, scu

STUDY_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
STUDY_GET = "1.2.840.10008.5.1.4.1.2.2.3"
PATIENT_MOVE = "1.2.840.10008.5.1.4.1.2.1.2"
PATIENT_GET = "1.2.840.10008.5.1.4.1.2.1.3"

MOVE, GET, CANCEL = 0x0021, 0x0010, 0x0FFF
STORE, STORE_RSP = 0x0001, 0x8001
PENDING = 0xFF00

_KEYS = {
    "level": (0x00080052, "CS"),
    "sop": (0x00080018, "UI"),
    "patient": (0x00100020, "LO"),
    "study": (0x0020000D, "UI"),
    "series": (0x0020000E, "UI"),
}


def identifier(**keys: str) -> bytes:
    """An identifier in implicit VR little endian."""
    elements = [make.element(*_KEYS[name], value) for name, value in keys.items()]
    return make.encode(sorted(elements, key=lambda one: one.tag), make.IMPLICIT)


@dataclasses.dataclass(frozen=True)
class Counts:
    """The sub-operations that a response counts; None: it does not say."""

    remaining: int | None
    completed: int | None
    failed: int | None
    warning: int | None

    @property
    def total(self) -> int:
        """All of them; they must be there."""
        return sum(int(one or 0) for one in dataclasses.astuple(self))


def counts(answer: scu.Response) -> Counts:
    """What a response counts."""
    found = [answer.number(tag) if tag in answer.values else None for tag in (0x1020, 0x1021, 0x1022, 0x1023)]
    return Counts(*found)


def failed(answer: scu.Response) -> list[str]:
    """The Failed SOP Instance UID List of a response, which is in implicit VR."""
    if not answer.data:
        return []
    assert answer.data[:4] == b"\x08\x00\x58\x00"
    length = int.from_bytes(answer.data[4:8], "little")
    assert len(answer.data) == 8 + length
    return answer.data[8:].decode("ascii").rstrip("\0").split("\\")


class Asker(scu.Caller):
    """An association that retrieves."""

    def ask(
        self, data: bytes | None, *, field: int = MOVE, to: str = "", message: int = 7, sop_class: str = ""
    ) -> None:
        """Send a C-MOVE or C-GET in the first context."""
        abstract = next(abstract for (abstract, _), number in self.accepted.items() if number == 1)
        values: dict[int, scu.Value] = {
            0x0002: sop_class or abstract,
            0x0100: field,
            0x0110: message,
            0x0700: 1,
            0x0800: 1 if data is not None else scu.NO_DATA,
        }
        if to:
            values[0x0600] = to.encode().ljust(len(to) + len(to) % 2)
        self.message(1, values, data)

    def cancel(self, message: int = 7) -> None:
        """Send a C-CANCEL."""
        self.message(1, {0x0100: CANCEL, 0x0120: message, 0x0800: scu.NO_DATA})

    def last(self) -> tuple[list[scu.Response], scu.Response]:
        """The pending answers, and the one that ends it."""
        pending: list[scu.Response] = []
        while True:
            answer = self.response()
            if answer.status != PENDING:
                return pending, answer
            pending.append(answer)

    def moved(self, data: bytes | None, to: str, **more: object) -> tuple[list[scu.Response], scu.Response]:
        """C-MOVE, and all that is answered."""
        self.ask(data, to=to, **more)  # type: ignore[arg-type]
        return self.last()

    def got(
        self, data: bytes, status: int | Callable[[int], int] = 0, *, cancel_after: int = -1
    ) -> tuple[dict[str, bytes], list[scu.Response], scu.Response]:
        """C-GET; what was stored with us by SOP Instance UID, the pending answers, and the last one."""
        self.ask(data, field=GET)
        stored: dict[str, bytes] = {}
        pending: list[scu.Response] = []
        while True:
            answer = self.response()
            if answer.field != STORE:
                if answer.status != PENDING:
                    return stored, pending, answer
                pending.append(answer)
                continue
            uid = answer.values[0x1000].decode().rstrip("\0")
            said = status(len(stored)) if callable(status) else status
            stored[uid] = answer.data
            if len(stored) == cancel_after:
                self.cancel()
            self.message(
                answer.context,
                {
                    0x0002: answer.values[0x0002],
                    0x0100: STORE_RSP,
                    0x0120: answer.number(0x0110),
                    0x0800: scu.NO_DATA,
                    0x0900: said,
                    0x1000: answer.values[0x1000],
                },
            )


@contextlib.contextmanager
def asking(
    address: tuple[str, int],
    abstract: str = STUDY_MOVE,
    more: Sequence[scu.Context] = (),
    **how: object,
) -> Iterator[Asker]:
    """An association in which one retrieves; the other contexts come after."""
    with Asker(address, 20.0) as caller:
        contexts = [scu.Context(abstract), *more, scu.Context(scu.VERIFICATION)]
        yield caller.associate(contexts, **how)


def fetching(
    address: tuple[str, int], instances: Sequence[make.Made], abstract: str = STUDY_GET
) -> contextlib.AbstractContextManager[Asker]:
    """An association for C-GET, with the storage role for what these instances are."""
    pairs = dict.fromkeys((made.sop_class, made.syntax) for made in instances)
    more = [scu.Context(sop_class, (syntax,)) for sop_class, syntax in pairs]
    return asking(address, abstract, more, roles={sop_class: (0, 1) for sop_class, _ in pairs})


class Sink:
    """A destination that does as it is told with each instance."""

    def __init__(self) -> None:
        self.stored: list[tuple[command.Command, str, bytes]] = []  # command, transfer syntax, data set
        self.status: Callable[[command.Command], int] = lambda _: 0
        self.before: Callable[[association.Association], object] = lambda _: None  # an instance is answered
        self.associations: set[str] = set()
        self.ended = threading.Event()  # an association that stored here is over
        self._lock = threading.Lock()

    def store(self, link: association.Association, message: association.Message) -> None:
        """Take one C-STORE."""
        data = message.read(1 << 30)
        with self._lock:
            if link.facts.id not in self.associations:
                given = link.ending
                link.ending = lambda: (given(), self.ended.set())
            self.stored.append((message.command, message.context.transfer, data))
            self.associations.add(link.facts.id)
        self.before(link)
        if link.open:
            link.send(message.context, command.response(message.command, self.status(message.command)))

    def bodies(self) -> dict[str, bytes]:
        """What was stored, by SOP Instance UID."""
        with self._lock:
            return {asked.sop_instance: data for asked, _, data in self.stored}

    def wait(self, many: int) -> None:
        """Wait until so many have come."""
        deadline = time.monotonic() + 20
        while len(self.stored) < many and time.monotonic() < deadline:
            time.sleep(0.005)
        assert len(self.stored) >= many


@contextlib.contextmanager
def sink(aet: str = "SINK", **how: object) -> Iterator[tuple[Sink, model.Peer]]:
    """A destination while the scope is open, and the peer that it is to a node."""
    told = Sink()
    settings = model.NodeSettings(aet=aet)
    limits = dataclasses.replace(raw.LIMITS, pdu=131072, pdu_timeout=20.0, idle_timeout=20.0)
    handlers = {command.Field.C_STORE: told.store}
    with raw.running(node=settings, handlers=handlers, limits=limits, **how) as running:
        yield told, model.Peer(name=aet.lower(), aet=aet, host="127.0.0.1", port=running.port)
