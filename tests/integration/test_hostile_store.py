"""HOSTILE.md 23 to 25 and 32 to 37: instances that lie, burst or bite, against the running daemon.

After each one a legitimate C-ECHO and C-STORE succeed, the process that took it is the same, no spool file
is left behind, and the log has no traceback in it.
"""

from __future__ import annotations

import dataclasses
import pathlib
import struct
import zlib
from collections.abc import Iterator

import pytest

from tests import make, oracle, scu
from tests.scenario import harness

MISMATCH = 0xA900
INVALID_UID = 0x0117
NOT_AUTHORIZED = 0x0124
UNDERSTOOD_NOT = range(0xC000, 0xD000)

PEERS = {
    "peers.mute": {"aet": "MUTE", "rights": ["echo"]},
    "peers.small": {"aet": "SMALL", "rights": ["echo", "store"], "max_instance": "100 kB"},
}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[harness.Node]:
    made = harness.Node(tmp_path_factory.mktemp("hostile"), **PEERS)
    try:
        yield made.start()
    finally:
        made.kill()


@pytest.fixture
def node(daemon: harness.Node, request: pytest.FixtureRequest) -> Iterator[harness.Node]:
    """The daemon, looked over behind the test."""
    before = (daemon.child("listen-1"), daemon.child("adopt"))
    threads = thread_count(before[0])
    yield daemon
    good = make.instance(seed=f"good {request.node.name}")
    with scu.call(daemon.address, [good], timeout=10) as caller:
        assert caller.echo() == 0
        assert caller.store(good).status == 0
        caller.release()
    held = daemon.settled([oracle.Answer(good.sop_instance, good.digest, 0, 0.0)])
    assert good.sop_instance in held.by_uid, daemon.tail()
    assert (daemon.child("listen-1"), daemon.child("adopt")) == before, (
        "a process died of it\n" + daemon.tail()
    )
    assert thread_count(before[0]) <= threads + 1
    assert not [path for path in (daemon.data / "spool").iterdir() if path.stat().st_size], (
        "spool files are left"
    )
    assert "Traceback" not in daemon.log.read_text(errors="replace"), daemon.tail()


def thread_count(pid: int) -> int:
    return len(list(pathlib.Path(f"/proc/{pid}/task").iterdir()))


def peak(pid: int) -> int:
    """The most memory that a process ever had, in bytes."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def answered(
    node: harness.Node, made: make.Made, calling: str = "RAWSCU", **changes: scu.Value
) -> scu.Response:
    """The answer to this instance, on an association that lives on."""
    with scu.call(node.address, [made], calling=calling) as caller:
        response = caller.store(made, **changes)
        assert caller.echo() == 0
        caller.release()
    return response


def held(node: harness.Node, made: make.Made) -> list[oracle.Row]:
    """The rows of this instance, once it is filed; each file is checked against its digest."""
    answer = oracle.Answer(made.sop_instance, made.digest, 0, 0.0)
    rows = node.settled([answer]).by_uid.get(made.sop_instance, [])
    assert all(row.actual() == row.digest for row in rows)
    return rows


def stored_verbatim(node: harness.Node, made: make.Made) -> None:
    assert answered(node, made).status == 0
    assert [row.digest for row in held(node, made)] == [made.digest]


def refused(
    node: harness.Node, made: make.Made, statuses: range | tuple[int, ...], **changes: scu.Value
) -> None:
    response = answered(node, made, **changes)
    assert response.status in statuses, f"{response.status:04X} {response.comment}"
    assert response.comment
    assert len(response.comment) <= 64
    assert made.sop_instance not in oracle.Held(node.data).by_uid


# -- DIMSE ------------------------------------------------------------------------------------------


def test_23_another_instance_than_the_command_says(node: harness.Node) -> None:
    refused(node, make.instance(seed="23 uid"), (MISMATCH,), sop_instance=make.uid("another"))


def test_23_another_class_than_the_command_says(node: harness.Node) -> None:
    made = make.instance(seed="23 class")
    lying = dataclasses.replace(made, sop_class=make.MR)
    refused(node, lying, (MISMATCH,))


@pytest.mark.parametrize("uid", ["1.2..3", "../../etc/passwd", "1" * 65, "1.2.\n3", ""])
def test_24_a_malformed_uid_in_the_command(node: harness.Node, uid: str) -> None:
    made = make.instance(seed=f"24 {uid}")
    refused(node, made, (INVALID_UID, *UNDERSTOOD_NOT), sop_instance=uid)


@pytest.mark.parametrize("uid", ["1.2..3", "../../../etc/passwd", "1.2.840.\x00.1", "a" * 64])
@pytest.mark.parametrize("tag", [0x00080018, 0x0020000D, 0x0020000E])
def test_24_a_malformed_uid_in_the_data_set(node: harness.Node, tag: int, uid: str) -> None:
    names = {0x00080018: "sop_instance", 0x0020000D: "study", 0x0020000E: "series"}
    made = make.instance(**{"seed": f"24 {tag} {uid}", names[tag]: uid})  # type: ignore[arg-type]
    response = answered(node, dataclasses.replace(made, sop_instance=make.uid("24 command", tag, uid)))
    assert response.status in (INVALID_UID, MISMATCH, *UNDERSTOOD_NOT)


def test_25_a_peer_without_the_right(node: harness.Node) -> None:
    made = make.instance(seed="25")
    with scu.call(node.address, [made], calling="MUTE") as caller:
        if (made.sop_class, made.syntax) in caller.accepted:
            assert caller.store(made).status == NOT_AUTHORIZED
        assert caller.echo() == 0
        caller.release()
    assert made.sop_instance not in oracle.Held(node.data).by_uid


def test_26_over_the_peers_cap(node: harness.Node) -> None:
    made = make.instance(seed="26", size=3_000_000)
    response = answered(node, made, calling="SMALL")
    assert response.status == 0xA700
    assert made.sop_instance not in oracle.Held(node.data).by_uid


# -- data set ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("lengths", ["defined", "undefined"])
@pytest.mark.parametrize("depth", [1000, 20_000])
def test_32_nested_sequences(node: harness.Node, depth: int, lengths: make.Lengths) -> None:
    made = make.nested(depth, lengths)
    status = answered(node, made).status
    assert status == 0 or status in UNDERSTOOD_NOT
    rows = held(node, made) if status == 0 else oracle.Held(node.data).by_uid.get(made.sop_instance, [])
    assert len(rows) == (1 if status == 0 else 0)


def test_33_a_deflated_bomb_takes_bounded_memory(node: harness.Node) -> None:
    squeeze = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    body = make.instance(seed="33")
    plain = make.encode(
        make.head(
            sop_class=body.sop_class, sop_instance=body.sop_instance, study=body.study, series=body.series
        )
    )
    size = 400 << 20
    parts = [squeeze.compress(plain + struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, size))]
    parts += [squeeze.compress(bytes(1 << 20)) for _ in range(400)]
    parts.append(squeeze.flush())
    data = b"".join(parts)
    made = dataclasses.replace(body, syntax=make.DEFLATED, data=data + b"\0" * (len(data) % 2))
    assert len(made.data) < 1 << 20
    pids = (node.child("listen-1"), node.child("adopt"))
    before = [peak(pid) for pid in pids]
    status = answered(node, made).status
    assert status == 0, "its framing is sound"
    assert len(held(node, made)) == 1
    grown = [peak(pid) - start for pid, start in zip(pids, before, strict=True)]
    assert max(grown) < 32 << 20, "what a header takes, and not what the bomb unpacks to"


def test_33_a_deflated_instance_is_stored_verbatim(node: harness.Node) -> None:
    stored_verbatim(node, make.instance(seed="33 small", syntax=make.DEFLATED, size=60_000))


LIES = {
    "longer than the data": lambda data: data.replace(
        b"\x10\x00\x10\x00PN\x10\x00", b"\x10\x00\x10\x00PN\xf0\xff"
    ),
    "a long length of 4 GiB": lambda data: (
        data.replace(b"\xe0\x7f\x10\x00OW\x00\x00" + struct.pack("<I", len(data)), b"")[:-1]
        + b"\xe0\x7f\x10\x00OW\x00\x00\xfe\xff\xff\xff"
    ),
    "cut in the pixels": lambda data: data[:-101],
    "cut in a header": lambda data: data[:501],
    "an item that ends behind its sequence": lambda data: data.replace(
        b"\xfe\xff\x00\xe0", b"\xfe\xff\x00\xe0\xff\xff\xff\x7f", 1
    ),
    "nothing": lambda _: b"",
    "noise": lambda data: bytes((at * 7919 >> 3) & 0xFF for at in range(len(data))),
    "tags of zero": lambda data: bytes(len(data)),
}


@pytest.mark.parametrize("lie", LIES)
def test_34_a_data_set_that_lies(node: harness.Node, lie: str) -> None:
    made = make.instance(seed=f"34 {lie}", patient="SYNTHETIC^ALPHAA", size=9000)
    broken = LIES[lie](made.data)
    assert broken != made.data
    refused(node, dataclasses.replace(made, data=broken), UNDERSTOOD_NOT)


@pytest.mark.parametrize("syntax", [make.IMPLICIT, make.EXPLICIT, make.BIG])
def test_34_every_truncation_is_refused_or_stored_as_it_came(node: harness.Node, syntax: str) -> None:
    made = make.instance(seed=f"34 cuts {syntax}", syntax=syntax, size=3000)
    with scu.call(node.address, [made]) as caller:
        for cut in range(1, len(made.data), 97):
            short = dataclasses.replace(made, data=made.data[:cut])
            status = caller.store(short).status
            assert status in UNDERSTOOD_NOT or status == MISMATCH or cut > 1500, f"{cut}: {status:04X}"
            if status == 0:
                assert any(row.digest == short.digest for row in held(node, short))
        caller.release()


def test_35_pixel_headers_that_claim_the_world(node: harness.Node) -> None:
    made = make.instance(seed="35", size=3000)
    huge = struct.pack("<H", 65535)
    data = made.data
    for element in (0x0010, 0x0011):
        at = data.index(struct.pack("<HH2sH", 0x0028, element, b"US", 2)) + 8
        data = data[:at] + huge + data[at + 2 :]
    frames = make.encode([make.element(0x00280008, "IS", 65535)])
    at = data.index(struct.pack("<HH2sH", 0x0028, 0x0010, b"US", 2))
    stored_verbatim(node, dataclasses.replace(made, data=data[:at] + frames + data[at:]))


def test_36_a_whole_file_sent_as_a_data_set(node: harness.Node) -> None:
    made = make.instance(seed="36")
    refused(node, dataclasses.replace(made, data=make.part10(made)), UNDERSTOOD_NOT)


@pytest.mark.parametrize("start", [b"MZ\x90\x00", b"\x7fELF\x02\x01", b"#!/bin/sh\nrm -rf /\n"])
def test_36_a_preamble_that_is_a_program_is_zeroed_and_recorded(
    node: harness.Node, start: bytes, tmp_path: pathlib.Path
) -> None:
    made = make.instance(seed=f"36 {start!r}")
    path = tmp_path / "program.dcm"
    path.write_bytes(make.part10(made, preamble=start.ljust(128, b"A")))
    done = node.command("import", str(path))
    assert done.returncode == 0, done.stdout + done.stderr
    rows = held(node, made)
    assert [row.digest for row in rows] == [made.digest]
    content = rows[0].path.read_bytes()
    assert content[:128] == bytes(128)
    assert b"preamble held" in content[: rows[0].offset]


NASTY = {
    "html": ("<script>alert(1)</script>^<b>X", "ISO_IR 100", "latin-1"),
    "control characters": ("A\x07B\x1b[31mC\x7fD^E", "ISO_IR 100", "latin-1"),
    "newlines": ('X^Y\n{"action":"forged","level":"info"}\r\nZ', "ISO_IR 100", "latin-1"),
    "an unknown character set": ("GR\xdc\xdfE^X", "ISO_IR 9999", "latin-1"),
    "utf-8 that is none": ("\xff\xfe\xc3^X", "ISO_IR 192", "latin-1"),
    "a character set of quotes": ("X^Y", "'; DROP TABLE instance;--", "latin-1"),
    "japanese": ("Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B", "\\ISO 2022 IR 87", "latin-1"),
    "a right-to-left override": ("\u202egnp.exe^X", "ISO_IR 192", "utf-8"),
}


@pytest.mark.parametrize("name", NASTY)
def test_37_names_that_bite(node: harness.Node, name: str) -> None:
    patient, charset, codec = NASTY[name]
    made = make.instance(seed=f"37 {name}", patient=patient, charset=charset, codec=codec)
    stored_verbatim(node, made)
    assert not [event for event in node.events() if event.get("action") == "forged"]
    text = node.log.read_bytes()
    assert not [line for line in text.splitlines() if line.startswith(b'{"action":"forged"')]
    assert b"\x1b" not in text
    status, page = node.get("/")
    assert status == 200
    assert "<script>alert" not in page
    listed = node.command("images", "list")
    assert listed.returncode == 0, listed.stderr
    assert "\x1b[31m" not in listed.stdout


def test_37_titles_that_bite(node: harness.Node) -> None:
    made = make.instance(seed="37 titles")
    assert answered(node, made, calling="<b>\x1b[2J\n").status == 0
    rows = held(node, made)
    assert len(rows) == 1
    assert b"\x1b" not in node.log.read_bytes()
