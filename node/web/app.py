"""The application: which address gives what. Everything it knows is handed in as plain functions."""

from __future__ import annotations

import dataclasses
import pathlib
import secrets
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from node.web import bodies, faults, headers, hosts, page, readiness, status

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
STYLE = pathlib.Path(__file__).with_name("style.css")


@dataclasses.dataclass(frozen=True, slots=True)
class Sources:
    """Where the answers come from; each is called in a thread and may block."""

    checks: Mapping[str, readiness.Check]  # what must hold before instances are taken
    metrics: Callable[[], bytes]  # the text for Prometheus
    status: Callable[[], status.Status]  # the numbers of the page
    failed: faults.Failed  # logs what nobody foresaw: id, request, error
    api: Sequence[Route] = ()  # the addresses below /api


def application(sources: Sources, *, names: Collection[str] = (), body: int = 1 << 20) -> Starlette:
    """Return the ASGI application; `names` are the host names that it goes by beside its addresses."""
    ready = readiness.Readiness(sources.checks, _crashed(sources.failed))
    style = STYLE.read_bytes()

    async def healthz(_request: Request) -> Response:
        return PlainTextResponse("alive\n")

    async def readyz(_request: Request) -> Response:
        findings = await ready.look()
        fit = all(finding.ok for finding in findings)
        answer: dict[str, Any] = {
            "ready": fit,
            "reasons": [f"{finding.name}: {finding.says}" for finding in findings if not finding.ok],
            "checks": [dataclasses.asdict(finding) for finding in findings],
        }
        return JSONResponse(answer, status_code=200 if fit else 503)

    async def metrics(_request: Request) -> Response:
        text = await run_in_threadpool(sources.metrics)
        return Response(text, headers={"content-type": METRICS_TYPE})

    async def front(_request: Request) -> Response:
        now = await run_in_threadpool(sources.status)
        return HTMLResponse(page.render(now, await ready.look()))

    async def numbers(_request: Request) -> Response:
        now = await run_in_threadpool(sources.status)
        return Response(page.as_json(now), media_type="application/json")

    async def stylesheet(_request: Request) -> Response:
        return Response(style, media_type="text/css", headers={"cache-control": "max-age=3600"})

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        yield
        ready.close()

    return Starlette(
        routes=[
            Route("/", front),
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/metrics", metrics),
            Route("/status.json", numbers),
            Route("/style.css", stylesheet),
            *sources.api,
        ],
        middleware=[
            Middleware(headers.Headers),
            Middleware(faults.Faults, failed=sources.failed),
            Middleware(hosts.Hosts, names=names),
            Middleware(bodies.Bodies, limit=body),
        ],
        lifespan=lifespan,
    )


def _crashed(failed: faults.Failed) -> Callable[[str, Exception], str]:
    def crashed(check: str, error: Exception) -> str:
        fault = secrets.token_hex(6)
        failed(fault, f"readiness check {check}", error)
        return fault

    return crashed
