"""D14 and D17: bytes that rot on the disk are found; commitment vouches only for what was read again."""

from __future__ import annotations

import os

import pytest

from tests import make, oracle, scu
from tests.scenario import harness

COMMIT_CLASS, COMMIT_INSTANCE = scu.COMMITMENT, scu.COMMITMENT_INSTANCE


def flip(row: oracle.Row) -> None:
    """Flip one bit of the data set, and leave the file's times alone."""
    facts = row.path.stat()
    data = bytearray(row.path.read_bytes())
    data[row.offset + row.size // 2] ^= 0x10
    os.chmod(row.path, 0o644)
    row.path.write_bytes(data)
    os.utime(row.path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def truncate(row: oracle.Row) -> None:
    os.truncate(row.path, row.offset + row.size - 100)


def remove(row: oracle.Row) -> None:
    row.path.unlink()


@pytest.mark.parametrize("damage", [flip, truncate, remove])
def test_a_scrub_finds_what_rotted(damage: object, node: harness.Node, journal: oracle.Journal) -> None:
    assert callable(damage)
    oracle.send(node.address, journal, make.series(12, seed="rot", size=9000))
    held = harness.verify(node, journal)
    clean = node.command("scrub")
    assert clean.returncode == 0, clean.stdout + clean.stderr
    victim = held.rows[5]
    damage(victim)
    found = node.command("scrub")
    assert found.returncode == 1, found.stdout + found.stderr
    assert victim.sop_instance in found.stdout + found.stderr
    states = {row.sop_instance: row.state for row in oracle.Held(node.data).rows}
    assert states.pop(victim.sop_instance) != "held"
    assert set(states.values()) == {"held"}
    audit = node.command("audit")
    assert audit.returncode == 1
    assert victim.sop_instance in audit.stdout + audit.stderr


def commit(caller: scu.Caller, transaction: str, instances: list[make.Made]) -> scu.Response:
    """N-ACTION for these instances, answered with success; the N-EVENT-REPORT that follows."""
    items = [
        (make.element(0x00081150, "UI", one.sop_class), make.element(0x00081155, "UI", one.sop_instance))
        for one in instances
    ]
    data = make.encode(
        [make.element(0x00081195, "UI", transaction), make.element(0x00081199, "SQ", items)], make.IMPLICIT
    )
    context = caller.accepted[COMMIT_CLASS, make.IMPLICIT]
    request: dict[int, scu.Value] = {
        0x00000003: COMMIT_CLASS,
        0x00000100: scu.ACTION_RQ,
        0x00000110: 77,
        0x00000800: 1,
        0x00001001: COMMIT_INSTANCE,
        0x00001008: 1,
    }
    caller.message(context, request, data)
    answer = caller.response()
    assert (answer.field, answer.status) == (scu.ACTION_RSP, 0)
    report = caller.response()
    assert report.field == scu.EVENT_RQ
    caller.message(
        context,
        {
            0x00000002: COMMIT_CLASS,
            0x00000100: scu.EVENT_RSP,
            0x00000120: report.number(0x00000110),
            0x00000800: scu.NO_DATA,
            0x00000900: 0,
            0x00001000: COMMIT_INSTANCE,
            0x00001002: report.number(0x00001002),
        },
    )
    return report


def test_commitment_after_a_kill_vouches_only_for_what_it_read_again(
    make_node: object, journal: oracle.Journal
) -> None:
    assert callable(make_node)
    node: harness.Node = make_node(
        **{"peers.modality": {"aet": "RAWSCU", "rights": ["echo", "store", "commit"]}}
    ).start()
    many = make.series(10, seed="commit", size=9000)
    oracle.send(node.address, journal, many, senders=2)
    node.kill()
    node.start()
    held = harness.verify(node, journal)
    contexts = [scu.Context(COMMIT_CLASS)]
    with scu.Caller(node.address).associate(contexts) as caller:
        report = commit(caller, make.uid("transaction 1"), many)
        assert report.number(0x00001002) == 1, "all are there, and not all were vouched for"
        flip(held.by_uid[many[3].sop_instance][0])
        absent = make.instance(1, seed="never sent")
        report = commit(caller, make.uid("transaction 2"), [*many, absent])
        assert report.number(0x00001002) == 2
        assert failures(report.data) == {
            many[3].sop_instance: 0x0110,
            absent.sop_instance: 0x0112,
        }
        caller.release()


def failures(data: bytes) -> dict[str, int]:
    """The items of the Failed SOP Sequence and their Failure Reasons."""
    import io

    import pydicom

    ds = pydicom.dcmread(io.BytesIO(make.part10(make.Made("1.2", "1.3", "", "", make.IMPLICIT, data))))
    return {item.ReferencedSOPInstanceUID: item.FailureReason for item in ds.FailedSOPSequence}
