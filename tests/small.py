"""A node in this process: acceptor, verbs, durable store, adopter, committer; no supervisor, no web."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import socket
import threading
from collections.abc import Callable, Iterator, Sequence

from node import adopt, commit, metrics, model, orders, receive, retrieve, transcoding
from node.files import journal, layout
from node.index import db
from node.scp import archive, conflict, echo, find, get, move, store, suboperations, watch
from node.scp import commit as committing
from node.send import link
from node.wire import acceptor, association, command, faults, pdu, policy
from tests import stored

AET = "NODE"


class Heard:
    """What the acceptor said; a crash of a handler is a failure of the test."""

    def __init__(self) -> None:
        self.crashes: list[BaseException] = []
        self.ended: Callable[[association.Association], None] = lambda _: None

    def opened(self, link: association.Association) -> None: ...

    def rejected(self, facts: association.Facts, rejection: pdu.Rejection) -> None: ...

    def closed(self, link: association.Association) -> None:
        self.ended(link)

    def aborted(self, link: association.Association, fault: faults.AssociationLost) -> None:
        self.ended(link)

    def dropped(self, facts: association.Facts, why: str) -> None: ...

    def unauthorized(self, link: association.Association, field: int, right: model.Right) -> None: ...

    def crashed(self, facts: association.Facts, error: BaseException) -> None:
        self.crashes.append(error)


@dataclasses.dataclass(frozen=True)
class Small:
    """The parts, for a test to look into."""

    address: tuple[str, int]  # where it listens
    data: layout.Data  # its data directory
    database: db.Database  # its index
    receiver: receive.Receiver  # what C-STORE writes to
    counts: metrics.Metrics  # what is counted
    committer: commit.Committer  # what reports

    @property
    def peer(self) -> model.Peer:
        """This node, for our own senders."""
        return model.Peer(name="small", aet=AET, host=self.address[0], port=self.address[1])

    def settle(self) -> None:
        """Wait until everything acknowledged is filed."""
        assert journal.barrier(self.data, 20.0)


@contextlib.contextmanager
def node(
    root: pathlib.Path,
    *,
    peers: Sequence[model.Peer] = (),
    limits: model.Limits = model.Limits(),  # noqa: B008 - frozen
    refuse: bool = False,
    adopting: bool = True,
    pause: float = 0.05,
    destinations: Sequence[orders.Destination] = (),
    coerce: Sequence[model.Coercion] = (),
) -> Iterator[Small]:
    """A node while the scope is open; `pause` is its committer's, between attempts."""
    data = stored.data(root)
    counts = metrics.Metrics(None)
    heard = Heard()
    stop = threading.Event()
    with contextlib.ExitStack() as stack:
        database = stack.enter_context(stored.database(data))
        receiver = stack.enter_context(stored.receiver(data, size=64 << 20))
        receiver.max_instance = limits.max_instance
        settings = model.NodeSettings(aet=AET)
        reach = commit.Reach(tuple(peers), AET, model.TlsSettings())
        committer = commit.Committer(database, data, reach, counts, pause=lambda _: pause)
        storing = store.Store(receiver, counts)
        watching = watch.Watch()
        stack.callback(watching.close)
        answering = archive.services(database, data, lambda: AET, watching)
        links = link.Pool(idle=0.2)
        stack.callback(links.close)
        retriever = retrieve.Retriever(data, database)
        transcoder = stack.enter_context(transcoding.Transcoder(data.spool))
        reached = model.Settings(
            settings, peers=tuple(peers), destinations=tuple(destinations), coerce=tuple(coerce)
        )
        heard.ended = storing.ended
        storing.allowed = conflict.RefuseConflicts(database, data) if refuse else None
        sock = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        listener = acceptor.Acceptor(
            [acceptor.Listener(sock)],
            policy.Policy(
                settings,
                limits,
                peers,
                services=(policy.STORAGE_COMMITMENT, *answering, *suboperations.EXTENDED),
                extended=archive.EXTENDED | suboperations.EXTENDED,
            ),
            {
                command.Field.C_ECHO: echo.Echo(counts),
                command.Field.C_STORE: storing,
                command.Field.C_FIND: find.Find(answering, counts, most=limits.answers, watch=watching),
                command.Field.C_MOVE: move.Move(
                    retriever, move.Reach(reached), counts, transcoder=transcoder, pool=links
                ),
                command.Field.C_GET: get.Get(retriever, counts, transcoder=transcoder),
                **committing.Commit(committer, counts).handlers(),
            },
            limits,
            heard,
        )
        threads = [
            threading.Thread(target=listener.serve),
            threading.Thread(target=committer.run, args=(stop,)),
        ]
        adopter = adopt.Adopter(data, database) if adopting else None
        if adopter is not None:
            threads.append(threading.Thread(target=adopter.run, args=(stop,)))
        for thread in threads:
            thread.start()
        try:
            yield Small(sock.getsockname(), data, database, receiver, counts, committer)
        finally:
            listener.drain(0.5)
            stop.set()
            committer.stop()
            if adopter is not None:
                adopter.wake()
            for thread in threads:
                thread.join()
            if adopter is not None:
                adopter.close()
            listener.close()
    assert not heard.crashes, heard.crashes
