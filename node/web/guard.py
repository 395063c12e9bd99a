"""Who may use the API: who shows the token, or, where none is configured, programs on this machine alone."""

from __future__ import annotations

import hmac
import ipaddress
import pathlib
import re
import urllib.parse

from starlette.requests import Request

from node import errors
from node.web import hosts

LEAST = 16  # characters of a token; what is shorter can be guessed
_MOST = 4096
_LINE = re.compile(r"[\x21-\x7e]+")
# What a proxy adds: behind one, everybody seems to be on this machine.
_PROXIED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")


class Denied(errors.Permanent):
    """The request is not answered."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status  # of the response


def read_token(path: pathlib.Path) -> str:
    """The token in a file; raises ConfigError with what to do."""
    try:
        with open(path, "rb") as file:
            raw = file.read(_MOST)
    except OSError as error:
        raise errors.ConfigError(
            f"node.api_token_file {path} cannot be read ({error.strerror}): write a token into it, "
            "as `openssl rand -hex 32` makes one"
        ) from error
    token = raw.decode("latin-1").strip()
    if len(token) < LEAST or not _LINE.fullmatch(token):
        raise errors.ConfigError(
            f"node.api_token_file {path} holds no token: one line of at least {LEAST} characters without "
            "spaces, as `openssl rand -hex 32` makes it"
        )
    return token


def check(request: Request, token_file: pathlib.Path | None) -> str:
    """Who asks, for the record; raises Denied."""
    address = request.client.host if request.client is not None else ""
    if token_file is None:
        _check_local(request, address)
    else:
        _check_token(request, token_file)
    _check_origin(request)
    return f"api {address}"


def _check_local(request: Request, address: str) -> None:
    if any(name in request.headers for name in _PROXIED) or not _loopback(address):
        raise Denied(
            403, "without a token the API serves programs on this machine only: set node.api_token_file"
        )


def _check_token(request: Request, token_file: pathlib.Path) -> None:
    try:
        # Read each time: a token that was changed is in force at once, and one that is gone lets nobody in.
        token = read_token(token_file)
    except errors.ConfigError as error:
        raise Denied(503, "the API has no token to compare with; `dicom-node check` says why") from error
    scheme, _, shown = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not hmac.compare_digest(shown.strip().encode(), token.encode()):
        raise Denied(401, "show the token: Authorization: Bearer TOKEN")


def _check_origin(request: Request) -> None:
    """A page of another site must not use the API by the hands of who reads it here."""
    if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        raise Denied(403, "pages of other sites may not use the API")
    origin = request.headers.get("origin")
    if origin is None:
        return
    local = request.scope["server"][0] if request.scope.get("server") else ""
    parsed = urllib.parse.urlsplit(origin)
    same = parsed.netloc.lower() == request.headers.get("host", "").lower()
    if (
        parsed.scheme not in ("http", "https")
        or not same
        or not hosts.ours(parsed.netloc, ("localhost",), local)
    ):
        raise Denied(403, "pages of other sites may not use the API")


def _loopback(address: str) -> bool:
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return (getattr(found, "ipv4_mapped", None) or found).is_loopback
