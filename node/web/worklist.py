"""The worklist's API: entries listed, shown, added, replaced and removed as JSON.

GET, POST   /api/worklist          list (limit, offset), add under a name of ours
GET, PUT, DELETE /api/worklist/ID  show, add or replace, remove
An entry is an object of keywords, as `node.dicom.worklist` has it. docs/worklist.md has examples.
"""

from __future__ import annotations

import pathlib
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from node import errors, worklist
from node.dicom import identifier, mpps
from node.dicom import worklist as entries
from node.index import worklist as table
from node.web import guard

PAGE = 100  # entries of a list, when nobody says how many
MOST = 1000  # entries of a list
_FURTHEST = 1_000_000_000  # the largest offset: databases count no further than some more

Denials = Callable[[str, str, str, int, str], None]  # address, method, path, status, why; logs it


def routes(desk: worklist.Desk, token_file: pathlib.Path | None, denied: Denials) -> list[Route]:
    """The addresses of the API."""
    api = _Api(desk, token_file, denied)
    return [
        Route("/api/worklist", api.listed, methods=["GET"]),
        Route("/api/worklist", api.added, methods=["POST"]),
        Route("/api/worklist/{name}", api.shown, methods=["GET"]),
        Route("/api/worklist/{name}", api.replaced, methods=["PUT"]),
        Route("/api/worklist/{name}", api.removed, methods=["DELETE"]),
    ]


class _Api:
    """One method for each verb; what is wrong with a request is an exception with its status."""

    def __init__(self, desk: worklist.Desk, token_file: pathlib.Path | None, denied: Denials) -> None:
        self._desk = desk
        self._token_file = token_file
        self._denied = denied

    async def listed(self, request: Request) -> Response:
        """GET: entries in the order in which they begin."""

        async def work(_: str) -> Response:
            limit, offset = _page(request)
            rows, total = await run_in_threadpool(self._desk.page, limit=limit, offset=offset)
            return JSONResponse({"total": total, "entries": [_as_json(*row) for row in rows]})

        return await self._answer(request, work)

    async def shown(self, request: Request) -> Response:
        """GET: one entry."""

        async def work(_: str) -> Response:
            return JSONResponse(_as_json(*await run_in_threadpool(self._desk.known, _known(request))))

        return await self._answer(request, work)

    async def added(self, request: Request) -> Response:
        """POST: an entry under a name of ours."""

        async def work(by: str) -> Response:
            fields = await _entry(request)
            entry = await run_in_threadpool(self._desk.add, fields, by=by)
            return _written(entry, 201)

        return await self._answer(request, work)

    async def replaced(self, request: Request) -> Response:
        """PUT: an entry under the caller's name."""

        async def work(by: str) -> Response:
            name = entries.check_name(request.path_params["name"])
            fields = await _entry(request)
            entry, added = await run_in_threadpool(self._desk.put, name, fields, by=by)
            return _written(entry, 201 if added else 200)

        return await self._answer(request, work)

    async def removed(self, request: Request) -> Response:
        """DELETE: an entry goes."""

        async def work(by: str) -> Response:
            await run_in_threadpool(self._desk.remove, _known(request), by=by)
            return Response(status_code=204)

        return await self._answer(request, work)

    async def _answer(self, request: Request, work: Callable[[str], Awaitable[Response]]) -> Response:
        try:
            by = await run_in_threadpool(guard.check, request, self._token_file)
            return await work(by)
        except guard.Denied as error:
            if error.status in (401, 403, 503):
                address = request.client.host if request.client is not None else ""
                self._denied(address, request.method, request.url.path[:200], error.status, str(error))
            return _refused(error.status, str(error))
        except errors.UsageError as error:
            return _refused(400, str(error))
        except errors.NotFound as error:
            return _refused(404, str(error))
        except table.Taken as error:
            return _refused(409, str(error))
        except ClientDisconnect:
            return _refused(400, "the body broke off")  # for nobody: the caller has gone
        except errors.Transient:
            return _refused(503, "the index or the disk does not answer; try again")


def _refused(status: int, why: str) -> Response:
    headers = {
        401: {"www-authenticate": 'Bearer realm="dicom-node"'},
        413: {"connection": "close"},  # what was not read would be taken for the next request
        503: {"retry-after": "5"},
    }
    return JSONResponse({"error": why}, status_code=status, headers=headers.get(status))


def _written(entry: entries.Entry, status: int) -> Response:
    answer = {"id": entry.name, "entry": entry.fields}
    headers = {"location": f"/api/worklist/{entry.name}"} if status == 201 else None
    return JSONResponse(answer, status_code=status, headers=headers)


def _as_json(row: table.Row, reached: mpps.State | None) -> dict[str, Any]:
    return {
        "id": row.entry.name,
        "performed": None if reached is None else reached.value,
        "added": row.added.isoformat(),
        "changed": row.changed.isoformat(),
        "changed_by": row.changed_by,
        "entry": row.entry.fields,
    }


def _known(request: Request) -> str:
    """The name in the address; one that no entry can have is not found."""
    name: str = request.path_params["name"]
    try:
        return entries.check_name(name)
    except errors.UsageError as error:
        raise errors.NotFound(str(error)) from None


def _page(request: Request) -> tuple[int, int]:
    asked = dict(request.query_params)
    limit = _number(asked.pop("limit", str(PAGE)), "limit", 1, MOST)
    offset = _number(asked.pop("offset", "0"), "offset", 0, _FURTHEST)
    if asked:
        raise errors.UsageError(f"a list takes limit and offset, not {', '.join(sorted(asked))[:100]}")
    return limit, offset


def _number(text: str, name: str, low: int, high: int) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 10 and low <= int(text) <= high):
        raise errors.UsageError(f"{name} is a number from {low} to {high}")
    return int(text)


async def _entry(request: Request) -> identifier.Fields:
    """The entry in a request's body."""
    kind, _, parameters = request.headers.get("content-type", "").lower().partition(";")
    charset = parameters.strip().removeprefix("charset=").strip('"')
    if kind.strip() != "application/json" or charset not in ("", "utf-8"):
        raise guard.Denied(415, "an entry comes as application/json")
    if request.headers.get("content-encoding", "identity") != "identity":
        raise guard.Denied(415, "an entry comes as it is, without a content encoding")
    if int(request.headers.get("content-length", "0")) > entries.LARGEST:  # checked to be a number before
        raise guard.Denied(413, f"an entry may have {entries.LARGEST} bytes")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > entries.LARGEST:
            raise guard.Denied(413, f"an entry may have {entries.LARGEST} bytes")
    return await run_in_threadpool(entries.read_json, bytes(body))
