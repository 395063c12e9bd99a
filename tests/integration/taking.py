"""Takes instances the durable way in one process, for tests under a fault layer: no network, no supervisor.

python -m tests.integration.taking DATA CORPUS MARKS THREADS    receives CORPUS, marks each receipt
python -m tests.integration.taking DATA                         recovers what is there, and exits
"""

from __future__ import annotations

import os
import pathlib
import pickle
import queue
import struct
import sys
import threading

from node import adopt, receive
from node.files import journal, layout, spool
from node.index import db, migrate
from tests import make


def mark(path: str, text: str) -> None:
    """As `tests.faults.layer.Layer.mark`."""
    data = text.encode()
    head = struct.pack("<4I3Q4I", 0x314A4C50, 12, os.getpid(), 0, 0, 0, 0, 0, 0, len(data), 0)
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(fd, head + data)
    os.close(fd)


def take(receiver: receive.Receiver, made: make.Made) -> None:
    """As a C-STORE handler would, in fragments."""
    sender = receive.Sender("RAWSCU", "NODE", "127.0.0.1", "", "association")
    incoming = receiver.begin(made.sop_class, made.sop_instance, made.syntax, sender)
    for at in range(0, len(made.data), 65536):
        incoming.write(made.data[at : at + 65536])
    incoming.commit()


def main(root: str, corpus: str = "", marks: str = "", threads: str = "1") -> None:
    with layout.owned(pathlib.Path(root)) as data:
        database = db.open(layout.database_url(data.root))
        migrate.upgrade(database)
        adopter = adopt.Adopter(data, database)
        adopter.once()
        if corpus:
            pool = spool.Spool(data.spool, "listen-1")
            writer = journal.Journal(data, "listen-1", size=3 << 20, segment=1 << 20)
            receiver = receive.Receiver(data, writer, pool)
            stop = threading.Event()
            adopting = threading.Thread(target=adopter.run, args=(stop,))
            adopting.start()
            todo: queue.SimpleQueue[make.Made] = queue.SimpleQueue()
            for made in pickle.loads(pathlib.Path(corpus).read_bytes()):
                todo.put(made)

            def work() -> None:
                while not todo.empty():
                    try:
                        made = todo.get_nowait()
                    except queue.Empty:
                        return
                    take(receiver, made)
                    mark(marks, f"{made.sop_instance} {made.digest}")

            workers = [threading.Thread(target=work) for _ in range(int(threads))]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
            stop.set()
            adopter.wake()
            adopting.join()
            writer.close()
        adopter.close()
        database.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
