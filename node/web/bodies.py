"""Middleware: request bodies are capped, by what is announced and by what comes, and must keep coming."""

from __future__ import annotations

import asyncio

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PATIENCE = 30.0  # seconds without a byte of a body that was announced


class TooLarge(Exception):
    """More came than may come."""


class TooSlow(Exception):
    """Nothing came any more."""


class Bodies:
    """Nothing is allocated for a body because of its announced length."""

    def __init__(self, app: ASGIApp, limit: int, patience: float = PATIENCE) -> None:
        self.app = app
        self.limit = limit
        self.patience = patience

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        announced = _announced(scope)
        if announced is None or announced > self.limit:
            status = 413 if announced else 400
            await self._refuse(status, scope, receive, send)
            return
        taken, over = 0, False

        async def capped() -> Message:
            nonlocal taken, over
            if over:
                return await receive()  # only the disconnection can follow; it may take its time
            try:
                message = await asyncio.wait_for(receive(), self.patience)
            except TimeoutError:
                raise TooSlow from None
            over = not message.get("more_body", False)
            taken += len(message.get("body", b""))
            if taken > self.limit:
                raise TooLarge
            return message

        try:
            await self.app(scope, capped, send)
        except TooLarge:
            await self._refuse(413, scope, receive, send)
        except TooSlow:
            await self._refuse(408, scope, receive, send)

    async def _refuse(self, status: int, scope: Scope, receive: Receive, send: Send) -> None:
        text = {
            400: "The length of the body is no number.\n",
            408: "The body stopped coming.\n",
            413: f"A body may have {self.limit} bytes here.\n",
        }[status]
        # What was not read would be taken for the next request.
        response = PlainTextResponse(text, status_code=status, headers={"connection": "close"})
        await response(scope, receive, send)


def _announced(scope: Scope) -> int | None:
    """Return the announced length, 0 where there is none, None where it is nonsense."""
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() and len(value) < 20 else None
    return 0
