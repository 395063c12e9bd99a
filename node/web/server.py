"""Serves an application on sockets that are already bound, until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator, Sequence
from typing import Any

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http import h11_impl

HEADER_BYTES = 16 << 10  # of one request's line and headers together
CONNECTIONS = 200  # at once; further ones are answered 503
REQUEST_TIMEOUT = 15.0  # seconds until a request's headers must be complete
KEEP_ALIVE = 15  # seconds that a connection may wait between requests


class _Protocol(h11_impl.H11Protocol):
    """Adds the deadline that uvicorn lacks: a silent client would keep its connection for ever."""

    deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._arm()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is h11.IDLE:
            self._arm()
        else:
            self._disarm()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def _arm(self) -> None:
        if self.deadline is None:
            self.deadline = self.loop.call_later(REQUEST_TIMEOUT, self.transport.abort)

    def _disarm(self) -> None:
        if self.deadline is not None:
            self.deadline.cancel()
            self.deadline = None


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # signals are the supervisor's and the daemon's; this one is told by `stop`


class Server:
    """`run` blocks until another thread, or a signal handler, calls `stop`."""

    def __init__(self, app: ASGIApp, sockets: Sequence[socket.socket], *, drain: float = 5.0) -> None:
        settings: dict[str, Any] = {
            "http": _Protocol,
            "ws": "none",
            "loop": "asyncio",
            "lifespan": "on",
            "log_config": None,
            "log_level": "critical",
            "access_log": False,
            "server_header": False,
            "proxy_headers": False,
            "limit_concurrency": CONNECTIONS,
            "timeout_keep_alive": KEEP_ALIVE,
            "timeout_graceful_shutdown": max(1, round(drain)),
            "h11_max_incomplete_event_size": HEADER_BYTES,
        }
        self._server = _Server(uvicorn.Config(app, **settings))
        self._sockets = list(sockets)

    def run(self) -> None:
        """Serve; running requests get the drain time at the end."""
        self._server.run(sockets=self._sockets)

    def stop(self) -> None:
        """Stop taking requests, soon."""
        self._server.should_exit = True

    @property
    def started(self) -> bool:
        """Whether connections are being taken."""
        return self._server.started


def serve(app: ASGIApp, *sockets: socket.socket, drain: float = 5.0) -> Server:
    """Return a server for sockets that are bound and listening; the caller runs it."""
    return Server(app, sockets, drain=drain)
