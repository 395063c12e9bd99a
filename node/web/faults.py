"""Middleware: whatever fails inside is answered with 500 and an id, the log has the rest under it."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

Failed = Callable[[str, str, Exception], None]  # id, what was asked for, error; the daemon logs it


class Faults:
    """Nothing of a fault reaches the client: no traceback, no path, no value."""

    def __init__(self, app: ASGIApp, failed: Failed) -> None:
        self.app = app
        self.failed = failed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, watched)
        except Exception as error:  # noqa: BLE001 - the edge of every request: logged once, here
            fault = secrets.token_hex(6)
            self.failed(fault, f"{scope['method']} {scope['path']}", error)
            if not started:
                text = f"Something went wrong here; it is in the log as {fault}.\n"
                await PlainTextResponse(text, status_code=500)(scope, receive, send)
