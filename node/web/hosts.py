"""Middleware: requests for a foreign Host are misdirected, which stops pages that rebind a name to us."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(?::[0-9]{1,5})?")


class Hosts:
    """Answers to names that it was told, to localhost, and to the address the connection came in on."""

    def __init__(self, app: ASGIApp, names: Collection[str]) -> None:
        self.app = app
        self.names = frozenset(name.lower().rstrip(".") for name in names) | {"localhost"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            values = [value for name, value in scope["headers"] if name == b"host"]
            local = scope["server"][0] if scope.get("server") else ""
            if len(values) != 1 or not ours(values[0].decode("latin-1"), self.names, local):
                text = "This node does not go by that name.\n"
                await PlainTextResponse(text, status_code=421)(scope, receive, send)
                return
        await self.app(scope, receive, send)


def ours(host: str, names: Collection[str], local: str) -> bool:
    """Tell whether a Host header names this node; `local` is the address that was connected to."""
    match = _HOST.fullmatch(host)
    if match is None:
        return False
    name = match["name"].strip("[]").lower().rstrip(".")
    if name in names:
        return True
    try:
        address = ipaddress.ip_address(name)
        # An address cannot be rebound; one that is not ours means a proxy or a mistake.
        return address.is_loopback or address == ipaddress.ip_address(local)
    except ValueError:
        return False
