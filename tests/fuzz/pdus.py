"""Mutates conversations and throws them at a running acceptor: `python -m tests.fuzz.pdus --seconds 3600`.

A conversation that broke something is written to a file that `--replay` takes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import random
import socket
import sys
import time

from tests import raw
from tests.fuzz import NO_END, options

LIMITS = dataclasses.replace(
    raw.LIMITS, associations=64, per_peer=64, request_timeout=0.2, pdu_timeout=0.2, idle_timeout=0.3
)
CHECK_EVERY = 200  # conversations

SEEDS: tuple[tuple[bytes, ...], ...] = (
    (raw.request(), raw.p_data(raw.pdv(1, 3, raw.echo_command())), raw.RELEASE_RQ),
    (
        raw.request(),
        raw.p_data(raw.pdv(3, 3, raw.store_command()), raw.pdv(3, 0, bytes(300))),
        raw.p_data(raw.pdv(3, 2, bytes(100))),
        raw.p_data(raw.pdv(1, 1, raw.echo_command()[:20]), raw.pdv(1, 3, raw.echo_command()[20:])),
        raw.RELEASE_RQ,
    ),
    (
        raw.request(
            user=raw.item(0x53, b"\0\5\0\1")
            + raw.item(0x54, b"\0\x19" + raw.CT.encode() + b"\1\1")
            + raw.item(0x55, b"FUZZ")
            + raw.item(0x56, b"\0\x19" + raw.CT.encode() + b"\1\2\3")
            + raw.item(0x57, b"\0\x19" + raw.CT.encode() + b"\0\5" + b"1.2.3" + b"\0\7\0\0051.2.3")
            + raw.item(0x58, b"\2\1\0\3who\0\3pwd")
        ),
        raw.p_data(raw.pdv(1, 3, raw.echo_command())),
        raw.ABORT_USER,
    ),
)
INTERESTING = (b"\0", b"\1", b"\x7f", b"\xff", b"\0\0\0\0", b"\xff\xff\xff\xff", b"\0\0\0\1", b"\x80\0")


def mutated(seed: tuple[bytes, ...], chance: random.Random) -> list[bytes]:
    """A conversation with a few things wrong."""
    pdus = list(seed)
    for _ in range(chance.randint(1, 3)):
        where = chance.randrange(len(pdus))
        what = chance.randrange(7)
        data = bytearray(pdus[where])
        at = chance.randrange(len(data)) if data else 0
        if what == 0 and data:
            data[at] ^= 1 << chance.randrange(8)
        elif what == 1:
            value = chance.choice(INTERESTING)
            data[at : at + len(value)] = value
        elif what == 2:
            del data[at : at + chance.randint(1, 40)]
        elif what == 3:
            data[at:at] = chance.randbytes(chance.randint(1, 40))
        elif what == 4 and data:
            data[at:at] = data[: chance.randint(1, len(data))]
        elif what == 5:
            pdus.insert(where, pdus[chance.randrange(len(pdus))])
            continue
        else:
            # in the head of the PDU, where lengths and types are
            at = chance.randrange(min(12, len(data))) if data else 0
            data[at : at + 1] = bytes((chance.randrange(256),))
        pdus[where] = bytes(data)
    return pdus


def converse(node: raw.Acceptor, pdus: list[bytes]) -> None:
    """Say it all, listen a little, hang up."""
    with contextlib.suppress(OSError), node.connect() as sock:
        sock.settimeout(0.02)
        for pdu in pdus:
            sock.sendall(pdu)
            with contextlib.suppress(TimeoutError):
                sock.recv(4096)
        sock.shutdown(socket.SHUT_WR)
        sock.settimeout(5)
        while sock.recv(4096):
            pass  # a node that neither answers nor closes is found here, by the timeout


def fuzz(seconds: float, seed: int, folder: pathlib.Path, most: int = NO_END) -> int:
    """Fuzz for so long, or so often; the number of conversations. AssertionError when something broke."""
    chance = random.Random(seed)
    end = time.monotonic() + seconds
    count = 0
    with raw.running(limits=LIMITS) as node:
        recent: list[list[bytes]] = []
        while count < most and time.monotonic() < end:
            pdus = mutated(chance.choice(SEEDS), chance)
            recent = [*recent[-9:], pdus]
            converse(node, pdus)
            count += 1
            try:
                assert not node.heard.crashes, node.heard.crashes
                if not count % CHECK_EVERY:
                    node.check()
                    node.heard.words.clear()
            except BaseException:
                folder.mkdir(parents=True, exist_ok=True)
                path = folder / f"pdus-{seed}-{count}.txt"
                path.write_text("\n\n".join("\n".join(pdu.hex() for pdu in one) for one in recent))
                sys.stderr.write(f"the last conversations are in {path}\n")
                raise
        node.check()
    return count


def replay(path: pathlib.Path) -> None:
    """Say the conversations of a file again."""
    with raw.running(limits=LIMITS) as node:
        for part in path.read_text().split("\n\n"):
            converse(node, [bytes.fromhex(line) for line in part.split("\n")])
            assert not node.heard.crashes, node.heard.crashes
        node.check()


def main() -> None:
    """Fuzz from the command line."""
    given = options(__doc__).parse_args()
    if given.replay:
        replay(given.replay)
        return
    count = fuzz(given.seconds, given.seed, given.folder, most=given.most)
    print(f"{count} conversations with seed {given.seed}: nothing broke")


if __name__ == "__main__":
    main()
