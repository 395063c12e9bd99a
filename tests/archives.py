"""Archives to ask: DCMTK's, and ones of our own making that do what they are told, right or wrong."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence

import pytest
from typer.testing import CliRunner

from node import cli, errors, model
from node.dicom import identifier
from node.send import inbox, query
from node.wire import acceptor, association, command
from tests import make, peers, ports
from tests import orthanc as orthancs

PENDING, SUCCESS, CANCELLED = 0xFF00, 0x0000, 0xFE00


@dataclasses.dataclass(frozen=True)
class Ran:
    """What a command did."""

    code: int  # as `dicom-node` would end
    out: str  # its output
    err: str  # its notes
    error: str  # the sentence it ended with, "" for none


def program(*words: object) -> Ran:
    """Run a command in this process, as `node.cli.main` does."""
    result = CliRunner().invoke(cli.program([str(words[0])]), [str(word) for word in words])
    error = result.exception
    if error is None or isinstance(error, SystemExit):
        return Ran(result.exit_code, result.stdout, result.stderr, "")
    if not isinstance(error, errors.NodeError):
        raise error
    code = 2 if isinstance(error, errors.UsageError | errors.ConfigError) else 1
    return Ran(code, result.stdout, result.stderr, str(error))


def apart(*words: object) -> Ran:
    """Run a command in a process of its own: where a node of this process writes its log meanwhile."""
    done = subprocess.run(
        [sys.executable, "-m", "node", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    notes = done.stderr.splitlines()
    error = notes.pop().removeprefix("dicom-node: ") if done.returncode else ""
    return Ran(done.returncode, done.stdout, "\n".join(notes), error)


def wait_for(port: int) -> None:
    """Until somebody listens on a port."""
    for _ in range(600):
        with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
            return
        threading.Event().wait(0.05)
    pytest.fail(f"nobody listens on port {port}")


@dataclasses.dataclass(frozen=True)
class Archive:
    """Somebody to ask."""

    address: str  # AET@HOST:PORT
    mover: int  # the port where it thinks the AE title NODE is

    @property
    def peer(self) -> model.Peer:
        """The same for our own calls."""
        aet, _, port = self.address.replace("@127.0.0.1:", "\0").partition("\0")
        return model.Peer(name=self.address, aet=aet, host="127.0.0.1", port=int(port))


@contextlib.contextmanager
def _running(words: Sequence[str], port: int, work: pathlib.Path) -> Iterator[None]:
    with (work / "log").open("wb") as log:
        process = subprocess.Popen(words, env=peers.environment(), stdout=log, stderr=log)
    try:
        wait_for(port)
        yield
    finally:
        process.terminate()
        process.wait(20)


@contextlib.contextmanager
def dcmqrscp(work: pathlib.Path) -> Iterator[Archive]:
    """DCMTK's archive, empty."""
    port, mover = ports.free(), ports.free()
    (work / "db").mkdir(parents=True)
    (work / "cfg").write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 16384\nMaxAssociations = 16\n"
        f"HostTable BEGIN\nus = (NODE, 127.0.0.1, {mover})\nHostTable END\n"
        "VendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\nARCHIVE {work}/db RW (200, 1024mb) ANY\nAETable END\n"
    )
    with _running([peers.require("dcmqrscp"), "-c", str(work / "cfg")], port, work):
        yield Archive(f"ARCHIVE@127.0.0.1:{port}", mover)


@contextlib.contextmanager
def orthanc(work: pathlib.Path) -> Iterator[Archive]:
    """Orthanc, empty."""
    mover = ports.free()
    allowed = {f"DicomAlwaysAllow{verb}": True for verb in ("Get", "Find", "Move")}
    made = orthancs.Orthanc(work, {"AET": "NODE", "Host": "127.0.0.1", "Port": mover}, **allowed)
    try:
        yield Archive(f"ORTHANC@127.0.0.1:{made.port}", mover)
    finally:
        made.stop()


@contextlib.contextmanager
def wlmscpfs(work: pathlib.Path, entries: Sequence[bytes]) -> Iterator[Archive]:
    """DCMTK's worklist server over a folder of these files."""
    port = ports.free()
    folder = work / "lists" / "WORK"
    folder.mkdir(parents=True)
    (folder / "lockfile").touch()
    for number, entry in enumerate(entries):
        (folder / f"{number}.wl").write_bytes(entry)
    words = [peers.require("wlmscpfs"), "-dfp", str(work / "lists"), str(port)]
    with _running(words, port, work):
        yield Archive(f"WORK@127.0.0.1:{port}", 0)


Answers = Callable[["Asked"], int]


class Asked:
    """A query or retrieval as an archive of our own making sees it."""

    def __init__(self, opened: association.Association, message: association.Message) -> None:
        self.opened = opened
        self.context = message.context
        self.command = message.command
        self.fields = identifier.decode(message.read(1 << 20), message.context.transfer)
        self.sent = [0, 0]  # instances taken, instances refused
        self.statuses: list[int] = []  # what our stores were answered with
        self._heard = False  # a C-CANCEL came among the answers to them

    @property
    def level(self) -> str:
        return str(self.fields.get("QueryRetrieveLevel"))

    @property
    def cancelled(self) -> bool:
        return self._heard or self.opened.cancelled(self.command.message_id)

    def answer(self, fields: identifier.Fields, status: int = PENDING, charset: str = "") -> None:
        """One match."""
        self.raw(identifier.encode(fields, self.context.transfer, charset), status)

    def raw(self, data: bytes, status: int = PENDING) -> None:
        """One match, as these bytes."""
        self.opened.send(self.context, command.response(self.command, status, has_data=True), data)

    def counts(self, remaining: int, status: int = PENDING, failed: Sequence[str] = ()) -> None:
        """How far it is, or how it ended."""
        done, bad = self.sent
        numbers = {command.COMPLETED: done, command.FAILED: bad, command.WARNING: 0}
        if status == PENDING:
            numbers[command.REMAINING] = remaining
        said = command.response(
            self.command,
            status,
            has_data=bool(failed),
            elements={tag: command.us(number) for tag, number in numbers.items()},
        )
        listed = identifier.encode({"FailedSOPInstanceUIDList": "\\".join(failed)}, self.context.transfer)
        self.opened.send(self.context, said, listed if failed else None)

    def store(self, made: make.Made, **changes: str) -> int:
        """Send an instance over the association that asked for it; the answer's status."""
        context = self.opened.find(made.sop_class, [made.syntax])
        assert context is not None, made
        number = self.opened.next_id()
        said = {"sop_class": made.sop_class, "sop_instance": made.sop_instance, **changes}
        request = command.request(command.Field.C_STORE, number, priority=0, has_data=True, **said)
        self.opened.send(context, request, made.data)
        status = -1
        while status < 0:
            received = self.opened.receive()
            assert isinstance(received, association.Message), received
            self._heard |= received.command.field == command.Field.C_CANCEL
            if received.command.is_response and received.command.responded_to == number:
                status = received.command.status
        self.sent[status != SUCCESS] += 1
        self.statuses.append(status)
        return status


@contextlib.contextmanager
def odd(find: Answers | None = None, get: Answers | None = None) -> Iterator[Archive]:
    """An archive that answers with these functions, and then with the status they return if it is one."""
    handlers: dict[int, acceptor.Handler] = {}

    def handler(answers: Answers) -> acceptor.Handler:
        def handle(opened: association.Association, message: association.Message) -> None:
            asked = Asked(opened, message)
            status = answers(asked)
            if status >= 0:
                opened.send(asked.context, command.response(asked.command, status))

        return handle

    for field, answers in ((command.Field.C_FIND, find), (command.Field.C_GET, get)):
        if answers is not None:
            handlers[field] = handler(answers)
    services = [query.Root.STUDY.sop_class(field) for field in handlers]
    with inbox.listening("ODD", 0, handlers, services=services, drain=0.0) as port:
        yield Archive(f"ODD@127.0.0.1:{port}", 0)


def holding(made: Sequence[make.Made]) -> Answers:
    """Answers queries of each level as an archive does that holds these, for its unique keys alone."""
    below = {"STUDY": "study", "SERIES": "series", "IMAGE": "sop_instance"}
    keys = {"study": "StudyInstanceUID", "series": "SeriesInstanceUID", "sop_instance": "SOPInstanceUID"}

    def answers(asked: Asked) -> int:
        found: dict[tuple[str, ...], identifier.Fields] = {}
        for one in made:
            names = {keys[name]: str(getattr(one, name)) for name in keys}
            if any(
                asked.fields.get(key) and names[key] not in str(asked.fields[key]).split("\\")
                for key in names
            ):
                continue
            upto = list(keys)[: list(below).index(asked.level) + 1]
            unique = {keys[name]: names[keys[name]] for name in upto}
            extra = {"SOPClassUID": one.sop_class} if asked.level == "IMAGE" else {}
            found[tuple(unique.values())] = {**unique, **extra}
        for fields in found.values():
            asked.answer(fields)
        return SUCCESS

    return answers
