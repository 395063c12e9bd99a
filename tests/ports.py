"""Ports that the tests give away: below those that the kernel hands to outgoing connections.

A port of the kernel's range may be taken by any connection of any program between the look and the bind, or
while a node that is killed and started again is away.
"""

from __future__ import annotations

import os
import random
import socket

_FIRST, _LAST = 12_000, 32_000
_DICE = random.Random(os.getpid() ^ random.SystemRandom().getrandbits(32))


def free() -> int:
    """A port of the loopback interface that nobody listens on."""
    while True:
        port = _DICE.randrange(_FIRST, _LAST)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
