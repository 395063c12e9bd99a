"""What each process of the node does from its first line to its last; the daemon starts them in order."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator

from node import adopt, errors, health, log, metrics, model, supervise, vitals
from node.files import layout
from node.index import db, witness
from node.jobs import clockwork as jobs
from node.scp import pace
from node.wire import slots

MONITOR_EVERY = 10.0  # seconds between the node's looks at itself
# How much the adopter steps back for the listeners: nobody waits for it, while modalities wait for an answer
# and people for a query. The ring of the journal is its patience.
_BEHIND = 5


@dataclasses.dataclass(frozen=True, slots=True)
class Sockets:
    """Bound before anything starts, and inherited by the children that serve them."""

    dicom: tuple[socket.socket, ...]  # DICOM in the clear
    tls: tuple[socket.socket, ...]  # DICOM over TLS
    web: tuple[socket.socket, ...]  # HTTP


class Shared:
    """What the supervisor hands to every child by forking; each child opens its own database and journal."""

    def __init__(
        self,
        settings: model.Settings,
        database_url: str,
        sockets: Sockets,
        counts: metrics.Metrics,
        version: str,
        part: str,
    ) -> None:
        self.settings = settings  # replaced at a reload, so that a child that starts later has the new ones
        self.database_url = database_url
        self.sockets = sockets
        self.counts = counts
        self.version = version
        self.part = part
        self.data = layout.Data(settings.node.data)
        self.slots = slots.Slots(max(1, settings.node.listeners))  # association limits over all listeners
        self.paces = pace.Paces()  # the rates of peers over all listeners

    def forget(self, role: str) -> None:
        """A process died: what it held of the shared limits is free again."""
        kind, _, number = role.partition("-")
        if kind == "listen":
            self.slots.wipe(int(number) - 1)

    # -- the adopter ------------------------------------------------------------------------------

    def adopt(self, line: supervise.Line) -> None:
        """Replay what the last run left, then file what the listeners acknowledge."""
        with self._process("adopt"), self._database() as database:
            os.nice(_BEHIND)
            begun = time.monotonic()
            adopter = adopt.Adopter(
                self.data, database, self.settings.rules, self.settings.coerce, meter=self.counts
            )
            try:
                records = adopter.once(patience=0.0)
                log.recovered(records=records, seconds=round(time.monotonic() - begun, 3))
                stop = threading.Event()

                def end() -> None:
                    stop.set()
                    adopter.wake()

                with _beside(line, "adopter", lambda: adopter.run(stop), end):
                    line.ready()
                    for settings in self._updates(line):
                        adopter.set_rules(settings.rules, settings.coerce)
            finally:
                adopter.close()

    # -- listeners --------------------------------------------------------------------------------

    def listener(self, number: int) -> Callable[[supervise.Line], None]:
        return functools.partial(self._listen, number)

    def _listen(self, number: int, line: supervise.Line) -> None:
        from node import listening

        with self._process(f"listen-{number}"), self._database() as database:
            listener = listening.Listener(self, number, database, line)
            try:
                with _beside(
                    line, "acceptor", listener.serve, lambda: listener.drain(self.settings.node.drain)
                ):
                    line.ready()
                    for settings in self._updates(line):
                        listener.apply(settings)
            finally:
                listener.close()

    # -- workers ----------------------------------------------------------------------------------

    def worker(self, number: int) -> Callable[[supervise.Line], None]:
        return functools.partial(self._work, number)

    def _work(self, number: int, line: supervise.Line) -> None:
        from node import housekeeping
        from node.complete import router as complete
        from node.push import forwarding, verify

        with self._process(f"work-{number}"), self._database() as database, contextlib.ExitStack() as stack:
            stop = threading.Event()
            runners = housekeeping.runners(self, database, stop)
            clockwork = jobs.Clockwork(
                self.data,
                database,
                self.settings.schedules,
                runners,
                self.counts,
                calendars=self.settings.calendars,
                sweep=lambda: self._sweep(database),
            )

            def end() -> None:
                stop.set()
                clockwork.wake()

            router = complete.Router(
                database, self.data, self.settings, f"router-{number}", meter=self.counts
            )
            stack.callback(router.close)

            def end_router() -> None:
                stop.set()
                router.wake()

            stack.enter_context(_beside(line, "router", lambda: router.run(stop), end_router))
            verifier = verify.Verifier(database, self.data, self.settings, self.counts, name=f"work-{number}")
            stack.enter_context(_beside(line, "verifier", verifier.run, verifier.end))
            forwards = forwarding.Forwarding(
                database,
                self.data,
                self.settings,
                self.counts,
                role=f"work-{number}",
                version=self.version,
            )
            stack.callback(forwards.close)
            stack.enter_context(_beside(line, "queue", forwards.run, forwards.end))
            with _beside(line, "clockwork", lambda: clockwork.run(stop), end):
                line.ready()
                for settings in self._updates(line):
                    clockwork.apply(settings.schedules, settings.calendars)
                    router.apply(settings)
                    verifier.apply(settings)
                    forwards.apply(settings)

    def _sweep(self, database: db.Database) -> None:
        from node import upkeep, worklist

        upkeep.purge(self.data, database)
        worklist.Desk(database, witness.Witness(self.data)).expire(self.settings.worklist.keep)

    # -- the monitor ------------------------------------------------------------------------------

    def monitor(self, line: supervise.Line) -> None:
        """Look at the node as a modality would, and let the watchdog know."""
        with self._process("monitor"), self._database() as database:
            failing: set[str] = set()
            first = True
            gauges = vitals.Vitals(self.data, database, self.counts)
            while True:
                well = self._look(database, failing)
                gauges.sample(self.settings)
                if first:
                    line.ready()
                    first = False
                if well:
                    line.say(supervise.Word("healthy"))
                event = line.wait(MONITOR_EVERY)
                if isinstance(event, supervise.Stop):
                    return
                if event is not None:
                    self._take(event)

    def _look(self, database: db.Database, failing: set[str]) -> bool:
        checks = health.checks(self.settings, database)
        for name, check in checks.items():
            try:
                check()
            except errors.NodeError as error:
                self.counts.check(name, ok=False)
                if name not in failing:
                    log.check_failed(check=name, error=error)
                failing.add(name)
            else:
                self.counts.check(name, ok=True)
                if name in failing:
                    failing.discard(name)
                    log.check_passed(check=name)
        # A disk below its watermark is no reason to be restarted: reads go on.
        return not failing - {"disk"}

    # -- the web process --------------------------------------------------------------------------

    def web(self, line: supervise.Line) -> None:
        """Serve health, metrics and the status page."""
        from node import pages, worklist
        from node.web import app, server
        from node.web import worklist as api

        with self._process("web"), self._database() as database:
            desk = worklist.Desk(database, witness.Witness(self.data))
            sources = app.Sources(
                api=api.routes(desk, self.settings.node.api_token_file, log.api_denied),
                checks=health.checks(self.settings, database),
                metrics=self.counts.render,
                status=pages.Numbers(self, database).now,
                failed=lambda fault, where, error: log.http_failed(
                    method="", path=where, incident=fault, error=error
                ),
            )
            application = app.application(sources, body=self.settings.limits.http_body)
            serving = server.serve(application, *self.sockets.web)
            with _beside(line, "web", serving.run, serving.stop):
                line.ready()
                for _ in self._updates(line):
                    pass

    # -- what every process does ------------------------------------------------------------------

    @contextlib.contextmanager
    def _process(self, role: str) -> Iterator[None]:
        log.configure(self.settings.log, role=role)
        self.counts.process(role, up=True)
        with vitals.ticking(self.counts, role):
            yield

    @contextlib.contextmanager
    def _database(self) -> Iterator[db.Database]:
        database = db.open(self.database_url)
        try:
            yield database
        finally:
            database.close()

    def _updates(self, line: supervise.Line) -> Iterator[model.Settings]:
        """Yield settings as they are reloaded, until it is time to stop."""
        for update in line.events():
            yield self._take(update)

    def _take(self, update: supervise.Update) -> model.Settings:
        assert isinstance(update.value, model.Settings)
        self.settings = update.value
        log.set_level(self.settings.log.level)
        names = [peer.name for peer in self.settings.peers]
        self.counts.configure(names, [destination.name for destination in self.settings.destinations])
        return self.settings


@contextlib.contextmanager
def _beside(
    line: supervise.Line, name: str, work: Callable[[], None], end: Callable[[], None]
) -> Iterator[None]:
    """Run beside the block, and `end` it with the block; its fault ends the block, and then the process."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised again in the process's main thread
            failed.append(error)
            line.stop_soon()

    thread = threading.Thread(target=run, name=name)
    thread.start()
    try:
        yield
    finally:
        end()
        thread.join()
    if failed:
        raise failed[0]
