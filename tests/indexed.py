"""Instances on their way into an index, and the databases that the tests put them in."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import hashlib
import os
import pathlib
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence

import sqlalchemy

from node import model
from node.dicom import header
from node.index import db, hierarchy, ingest, migrate
from tests import make, peers

START = datetime.datetime(2026, 11, 21, 8, 0, tzinfo=datetime.UTC)


def item(
    number: int = 1,
    *,
    study: str = "1.2.3",
    series: str = "1.2.3.1",
    sop_class: str = make.CT,
    sop_instance: str | None = None,
    content: str | None = None,
    size: int = 1000,
    seconds: float = 0,
    slot: str = "listen-1",
    generation: int = 1,
    position: int | None = None,
    action: model.Action = model.Action.KEEP,
    rule: str = "",
    keep: float | None = None,
    known: header.Header | None = None,
    **fields: object,
) -> ingest.Item:
    """An acknowledged instance; `content` stands for its bytes, `fields` are of its header."""
    uid = sop_instance or f"{series}.{number}"
    facts = {
        "patient_id": "SYN-1",
        "patient_name": "SYNTHETIC^ALPHA",
        "modality": "CT",
        "instance_number": number,
    }
    read = known if known is not None else hierarchy.NOTHING._replace(**(facts | fields))
    return ingest.Item(
        model.Arrival(
            identity=model.Identity(sop_class, uid, study, series),
            syntax=make.EXPLICIT,
            digest=f"sha256:{hash_of(content if content is not None else uid)}",
            size=size,
            calling="MODALITY",
            called="NODE",
            address="192.0.2.1",
            peer="ct",
            association="a-1",
            received=START + datetime.timedelta(seconds=seconds),
        ),
        read,
        slot,
        generation,
        position if position is not None else number * 4096,
        action=action,
        rule=rule,
        reason="because" if rule else "",
        keep=keep,
    )


def hash_of(content: str) -> str:
    """Sixty-four hexadecimal digits that depend on the text alone."""
    return hashlib.sha256(content.encode()).hexdigest()


def take(database: db.Database, items: Sequence[ingest.Item]) -> list[ingest.Decided]:
    """What the adopter does with a batch, its files left out."""
    with database.write() as connection:
        decided = [placed(one) for one in ingest.decide(connection, items)]
        ingest.record(connection, decided)
    return decided


def placed(one: ingest.Decided) -> ingest.Decided:
    """With the path that its file would have."""
    if not one.file_due:
        return one
    arrival = one.item.arrival
    path = f"{one.verdict}/{arrival.identity.study}/{arrival.identity.series}/{arrival.identity.sop_instance}"
    if one.verdict is not model.Verdict.STORED:
        path += arrival.digest[7:15]
    return dataclasses.replace(one, path=path, offset=512)


def sqlite(folder: pathlib.Path, name: str = "index.db") -> db.Database:
    """An empty SQLite index."""
    database = db.open(f"sqlite:///{folder / name}")
    migrate.upgrade(database)
    return database


def rows(database: db.Database, table: sqlalchemy.Table) -> list[dict[str, object]]:
    """Every row of a table by its primary key."""
    with database.read() as connection:
        statement = sqlalchemy.select(table).order_by(*table.primary_key)
        return [dict(row) for row in connection.execute(statement).mappings()]


class Server:
    """A PostgreSQL server of one's own on a socket; it can be killed, and started again on what it had."""

    def __init__(self) -> None:
        """Make its files; `start` it then, and `close` it in the end."""
        initdb, self._program = peers.require("initdb"), peers.require("postgres")
        # Not pytest's folder: the server refuses to be root, and its user may not see into that.
        self._folder = pathlib.Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
        user = pwd.getpwnam("postgres" if _is_user("postgres") else "nobody") if os.geteuid() == 0 else None
        self._who = {"user": user.pw_uid, "group": user.pw_gid} if user else {}
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"postgresql+psycopg://node@/postgres?host={self._folder}"
        self._data = self._folder / "data"
        try:
            if user:
                os.chown(self._folder, user.pw_uid, user.pw_gid)
            options = ["-U", "node", "-A", "trust", "-E", "UTF8", "--locale=C", "-N"]
            subprocess.run(
                [initdb, "-D", str(self._data), *options],
                check=True, capture_output=True, cwd="/", **self._who,
            )  # fmt: skip
        except BaseException:
            self.close()
            raise

    def start(self) -> None:
        """Start it and wait until it answers."""
        # A kill takes nothing that the kernel has; only losing power would, and that is another test's.
        options = ["-c", "listen_addresses=", "-c", "fsync=off"]
        self._process = subprocess.Popen(
            [self._program, "-D", str(self._data), "-k", str(self._folder), *options],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/", **self._who,
        )  # fmt: skip
        _wait(self.url)

    def kill(self) -> None:
        """SIGKILL to every process of the cluster at once."""
        if self._process is None:
            return
        pid = self._process.pid
        family = [pid, *map(int, pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]
        for one in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(one, signal.SIGKILL)
        self._process.wait()
        self._process = None

    def close(self) -> None:
        """Stop it, and forget its files."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None
        shutil.rmtree(self._folder, ignore_errors=True)


@contextlib.contextmanager
def postgresql() -> Iterator[str]:
    """The URL of a PostgreSQL server of one's own on a socket, gone afterwards."""
    server = Server()
    try:
        server.start()
        yield server.url
    finally:
        server.close()


def _is_user(name: str) -> bool:
    with contextlib.suppress(KeyError):
        return bool(pwd.getpwnam(name))
    return False


def _wait(url: str) -> None:
    end = time.monotonic() + 60
    engine = sqlalchemy.create_engine(url)
    while True:
        try:
            with engine.connect():
                break
        except sqlalchemy.exc.OperationalError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
    engine.dispose()
