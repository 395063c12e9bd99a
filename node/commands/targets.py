"""Who a command talks to: a configured destination or peer by its name, or `AET@HOST:PORT` for any other."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Sequence

from node import errors, model, orders

_ADDRESS = re.compile(r"(?P<aet>[^@]+)@(?P<host>\[[^\]]+\]|[^:\[\]]+)(?::(?P<port>\d+))?")
_DEFAULT_PORT = 104
MAX_AET = 16


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """Where instances are sent to, and how."""

    peer: model.Peer  # who is called
    calling: str  # the AE title that we call with
    coerce: model.Coercion | None = None  # what each copy goes through; None: nothing


def target(text: str, settings: model.Settings) -> Target:
    """Return where the text says to send, a destination before a peer; raises UsageError with the way out."""
    for known in settings.destinations:
        if text == known.name:
            if known.kind is not orders.Kind.DICOM:
                raise errors.UsageError(
                    f"destination {text!r} is a {known.kind.value}, which only the node itself sends to: "
                    f"`dicom-node queue resend UID --to {text}` has it do so"
                )
            # The configuration has checked that both are there.
            called = next(one for one in settings.peers if one.name == known.peer)
            steps = next((one for one in settings.coerce if one.name == known.coerce), None)
            return Target(called, known.calling or settings.node.aet, steps)
    return Target(peer(text, settings, also=settings.destinations), settings.node.aet)


def peer(text: str, settings: model.Settings, *, also: Sequence[orders.Destination] = ()) -> model.Peer:
    """Return whom the text names, `also` completes what may be meant; raises UsageError with the way out."""
    for known in settings.peers:
        if text == known.name:
            if known.host is None:
                raise errors.UsageError(
                    f"peer {text!r} has no host in the configuration: it only calls us; "
                    f"give its address as {known.aet}@HOST:PORT"
                )
            return known
    if "@" not in text:
        names = [known.name for known in settings.peers] + [known.name for known in also]
        raise errors.UsageError(_unknown(text, names))
    return _address(text)


def _address(text: str) -> model.Peer:
    found = _ADDRESS.fullmatch(text)
    if found is None:
        raise errors.UsageError(f"{text!r} is not an address: write AET@HOST:PORT, such as PACS@10.0.0.5:104")
    aet, host = found["aet"].strip(), found["host"].strip("[]")
    if not 1 <= len(aet) <= MAX_AET or not aet.isascii() or not aet.isprintable() or "\\" in aet:
        raise errors.UsageError(
            f"{aet!r} is not an AE title: it has 1 to {MAX_AET} printable ASCII characters and no backslash"
        )
    port = int(found["port"] or _DEFAULT_PORT)
    if not 1 <= port <= 65535:
        raise errors.UsageError(f"{port} in {text!r} is not a port: it is 1 to 65535")
    return model.Peer(name=text, aet=aet, host=host, port=port)


def _unknown(text: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(text, names, n=1, cutoff=0.5)
    if near:
        return f"no peer is called {text!r}; did you mean {near[0]!r}?"
    known_ones = f"the configured peers are {', '.join(names)}" if names else "no peer is configured"
    return f"no peer is called {text!r}: {known_ones}; or write AET@HOST:PORT"
