"""The node from start to end: checked, bound, migrated, started, reloaded and drained, in this order."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import enum
import importlib.metadata
import os
import socket
import sys
import time
from collections.abc import Callable, Sequence

from node import config, errors, log, metrics, model, notify, preflight, roles, state, supervise
from node.files import layout
from node.index import db, events, migrate

SHOWN_ASSOCIATIONS = 20  # the last ones, on the status page


class Part(enum.StrEnum):
    """What of the node this supervisor runs."""

    ALL = "all"  # everything
    LISTEN = "listen"  # listeners and the adopter
    WORK = "work"  # workers
    WEB = "web"  # the web process

    def includes(self, other: Part) -> bool:
        """Whether this part runs the other."""
        return self in (Part.ALL, other)


def run(settings: model.Settings, part: Part, reread: Callable[[], model.Settings]) -> None:
    """Run until SIGTERM; raise one sentence when something stands in the way of a start."""
    begun = time.time()
    log.configure(settings.log, role=part.value)
    log.starting(version=version(), data=settings.node.data, aet=settings.node.aet)
    preflight.clock()
    preflight.data_directory(settings.node.data)
    with layout.owned(settings.node.data, part.value):
        preflight.tls(settings.tls)
        sockets = _bind(settings, part)
        migrate_database(settings, say=lambda step: log.migration(step=step))
        settings = _kept(settings)
        counts = _metrics(settings, part)
        shared = roles.Shared(settings, layout.index_url(settings), sockets, counts, version(), part.value)
        owner = _Owner(shared, part, reread, begun)
        try:
            supervise.Supervisor(_roles(shared, part), owner, drain=settings.node.drain).run()
        finally:
            state.clear(settings.node.data, part.value)
            log.stopped(seconds=round(time.time() - begun, 3))


def _kept(settings: model.Settings) -> model.Settings:
    """The settings with the steps of coercions at receipt as they are now, for every process and restart."""
    if not settings.coerce:
        return settings
    from node.steps import presented  # knows all of DICOM's elements, which takes a moment

    return presented.kept(settings, layout.Data(settings.node.data))


def version() -> str:
    """Return the version of the installed program."""
    return importlib.metadata.version("dicom-node")


def migrate_database(settings: model.Settings, say: Callable[[str], None] | None = None) -> migrate.Status:
    """Bring the database to this program's revision, or refuse one that is newer."""
    settings.node.data.mkdir(parents=True, exist_ok=True)
    database = db.open(layout.index_url(settings))
    try:
        status = migrate.upgrade(database, say)
        events.begun(layout.Data(settings.node.data), database, datetime.datetime.now(datetime.UTC))
        return status
    finally:
        database.close()  # nothing of it may be held over the fork


def _bind(settings: model.Settings, part: Part) -> roles.Sockets:
    """Take the sockets that the service manager hands over, else bind them: all, before anything starts."""
    given = notify.listen_sockets()
    node = settings.node
    dicom: list[socket.socket] = []
    tls: list[socket.socket] = []
    web: list[socket.socket] = []
    if part.includes(Part.LISTEN):
        dicom = given.get("dicom", []) or [
            preflight.listen(node.host, node.port, "DICOM", "choose another port with --port")
        ]
        if settings.tls.port is not None:
            tls = given.get("dicom-tls", []) or [
                preflight.listen(node.host, settings.tls.port, "DICOM over TLS", "choose another tls.port")
            ]
    if part.includes(Part.WEB):
        host, port = preflight.http_address(node.http)
        web = given.get("http", []) or [
            preflight.listen(host, port, "HTTP", "choose another address with --http")
        ]
    return roles.Sockets(tuple(dicom), tuple(tls), tuple(web))


def _metrics(settings: model.Settings, part: Part) -> metrics.Metrics:
    return metrics.begin(
        settings.node.data / "run" / "metrics" / part.value,
        peers=[peer.name for peer in settings.peers],
        destinations=[destination.name for destination in settings.destinations],
        version=version(),
    )


def _roles(shared: roles.Shared, part: Part) -> list[supervise.Role]:
    """What runs, in the order of its start: what recovers first, what takes instances then."""
    node = shared.settings.node
    found: list[supervise.Role] = []
    if part.includes(Part.LISTEN):
        found.append(supervise.Role("adopt", shared.adopt, 0))
        found += [
            supervise.Role(f"listen-{number}", shared.listener(number), 1)
            for number in range(1, node.listeners + 1)
        ]
        found.append(supervise.Role("monitor", shared.monitor, 2))
    if part.includes(Part.WEB):
        found.append(supervise.Role("web", shared.web, 0))
    if part.includes(Part.WORK):
        found += [
            supervise.Role(f"work-{number}", shared.worker(number), 1)
            for number in range(1, node.workers + 1)
        ]
    return found


class _Owner:
    """What the daemon does when its supervisor has something to tell."""

    def __init__(
        self, shared: roles.Shared, part: Part, reread: Callable[[], model.Settings], begun: float
    ) -> None:
        self._shared = shared
        self._reread = reread
        self._begun = begun
        self._associations: collections.deque[state.Association] = collections.deque(
            maxlen=SHOWN_ASSOCIATIONS
        )
        self._unwritten = False
        self._state = state.State(part=part.value, pid=os.getpid(), version=version(), started=begun)

    def started(self, role: str, pid: int) -> None:
        log.child_started(role=role, pid=pid)

    def died(self, role: str, pid: int, how: str, restart_in: float) -> None:
        log.child_died(role=role, pid=pid, how=how, restart_in=restart_in)
        self._shared.counts.child_died(role, pid)
        self._shared.forget(role)

    def ready(self) -> None:
        seconds = round(time.time() - self._begun, 2)
        log.ready(seconds=seconds, processes=len(self._state.children))
        self._shared.counts.ready(True, started=self._begun)
        self._say(ready=True)
        for what, host, port in _places(self._shared.settings, Part(self._state.part)):
            log.listening(what=what, host=host, port=port)
        notify.ready(f"{self._shared.settings.node.aet} is ready")
        _banner(self._shared.settings, Part(self._state.part), seconds)

    def word(self, role: str, word: supervise.Word) -> None:
        if word.topic == "healthy":
            # Only a node that answers a C-ECHO and can write feeds the watchdog.
            notify.watchdog()
        elif word.topic == "association" and isinstance(word.value, state.Association):
            self._associations.appendleft(word.value)
            self._unwritten = True  # written with the next tick: a busy node has hundreds a second

    def hangup(self) -> object | None:
        notify.reloading()
        try:
            fresh = _kept(self._reread())
        except errors.NodeError as error:
            log.config_refused(error=error)
            self._shared.counts.reload("refused")
            self._say(reloads=self._state.reloads + 1, reload_error=str(error), reload_note="")
            return None
        finally:
            notify.ready("reloaded")
        change = config.changed(self._shared.settings, fresh)
        self._shared.settings = change.settings
        self._shared.counts.reload("applied")
        log.set_level(change.settings.log.level)
        log.config_reloaded(applied=change.applied, restart=change.restart)
        self._say(reloads=self._state.reloads + 1, reload_error="", reload_note=change.describe())
        return change.settings

    def verbosity(self, more: bool) -> object | None:
        level = "debug" if more else self._shared.settings.log.level
        log.set_level(level)
        log.level_changed(level=level)
        fresh = dataclasses.replace(
            self._shared.settings, log=dataclasses.replace(self._shared.settings.log, level=level)
        )
        return fresh

    def draining(self, role_names: Sequence[str]) -> None:
        notify.stopping()
        log.draining(roles=role_names, seconds=self._shared.settings.node.drain)

    def changed(self, children: Sequence[supervise.ChildState]) -> None:
        self._say(
            children=tuple(
                state.Child(child.name, child.pid, child.ready, child.restarts) for child in children
            )
        )

    def tick(self) -> None:
        if self._unwritten:
            self._unwritten = False
            self._say(associations=tuple(self._associations))

    def _say(self, **changes: object) -> None:
        self._state = dataclasses.replace(self._state, **changes)  # type: ignore[arg-type]
        try:
            state.write(self._shared.settings.node.data, self._state)
        except OSError as error:
            # A full disk must not end the supervisor: the file is for people.
            log.storage_failed(what="state file", error=error)


def _places(settings: model.Settings, part: Part) -> list[tuple[str, str, int]]:
    """Where this part listens: what, host, port."""
    node = settings.node
    found: list[tuple[str, str, int]] = []
    if part.includes(Part.LISTEN):
        found.append((f"DICOM {node.aet}", node.host, node.port))
        if settings.tls.port is not None:
            found.append((f"DICOM {node.aet} over TLS", node.host, settings.tls.port))
    if part.includes(Part.WEB):
        found.append(("HTTP", *preflight.http_address(node.http)))
    return found


def _banner(settings: model.Settings, part: Part, seconds: float) -> None:
    """Say where we listen, and what to try."""
    node = settings.node
    places = [
        (what, f"http://{host}:{port}/" if what == "HTTP" else f"{host}:{port}")
        for what, host, port in _places(settings, part)
    ]
    places.append(("data", str(node.data.resolve())))
    width = max(len(what) for what, _ in places)
    lines = [f"dicom-node {version()} is ready after {seconds} s."]
    lines += [f"  {what:<{width}}  {where}" for what, where in places]
    if part == Part.ALL:
        here = f"{node.aet}@127.0.0.1:{node.port}"
        lines += [
            "Try next:",
            f"  dicom-node echo {here}",
            f"  dicom-node send {here} FOLDER",
            f"  dicom-node images list --data {node.data}",
        ]
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()
