"""Unique identifiers: checked, new, and derived from others."""

from __future__ import annotations

import re

_VALID = re.compile(r"[0-9.]{1,64}")
_STRICT = re.compile(r"(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*))+")
UUID_ROOT = "2.25"


def valid(uid: str) -> bool:
    """Whether this may be taken as a UID: digits and dots, 1 to 64 of them.

    Leading zeros in a component, which PS3.5 9.1 forbids, are in the field and do no harm.
    """
    return _VALID.fullmatch(uid) is not None and uid[0] != "." and uid[-1] != "." and ".." not in uid


def strict(uid: str) -> bool:
    """Whether this is a UID to the letter of PS3.5 9.1; what we make ourselves is."""
    return len(uid) <= 64 and _STRICT.fullmatch(uid) is not None


def new() -> str:
    """A UID that nobody else has, below 2.25 (PS3.5 B.2)."""
    import uuid  # looks at the whole machine when it is loaded

    return f"{UUID_ROOT}.{uuid.uuid4().int}"


def derived(root: str, *parts: str) -> str:
    """The same UID for the same root and parts, whenever and wherever it is asked for.

    The root may be a UID root to stay below, or "" for 2.25; parts are told apart, so ("ab", "c") is
    another UID than ("a", "bc"). Without a secret among the parts, who knows the original UID can
    find the derived one.
    """
    import hashlib  # loads OpenSSL

    digest = hashlib.blake2b(digest_size=16, person=b"node uids")
    for part in (root, *parts):
        raw = part.encode()
        digest.update(len(raw).to_bytes(8, "little") + raw)
    number = int.from_bytes(digest.digest(), "little")
    if not root or root == UUID_ROOT:
        shaped = number & ~(0xF << 76) | 8 << 76  # version 8: made by an application's own rule
        shaped = shaped & ~(0x3 << 62) | 2 << 62
        return f"{UUID_ROOT}.{shaped}"
    room = 64 - len(root) - 1
    if room < 20:
        raise ValueError(f"the UID root {root!r} leaves no room for a number of 20 digits")
    return f"{root}.{str(number)[:room].lstrip('0') or '0'}"
