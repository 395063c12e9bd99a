"""D10: the index is deleted; what is made from the tree and the ledger gives the same answers."""

from __future__ import annotations

import pathlib

from tests import make, oracle
from tests.scenario import harness

# What an index says without its own row numbers.
FACTS = {
    "instances": """
        select st.study, se.series, i.sop_instance, i.sop_class, i.digest, i.path, i."offset", i.size,
               i.received, i.source, i.rows, i.columns, i.frames, i.state
        from instance i join series se on se.key = i.series_key join study st on st.key = se.study_key""",
    "conflicts": 'select study, series, sop_instance, digest, path, "offset", size, received from conflict',
    "arrivals": """
        select slot, generation, position, received, association, calling, study, series, sop_instance,
               digest, verdict from arrival""",
    "series": """
        select st.study, se.series, se.modality, se.instances, se.bytes
        from series se join study st on st.key = se.study_key""",
    "studies": """
        select p.patient_id, p.patient_name, st.study, st.study_date, st.accession_number, st.modalities,
               st.series, st.instances, st.bytes from study st join patient p on p.key = st.patient_key""",
}


def facts(data: pathlib.Path) -> dict[str, list[tuple[object, ...]]]:
    held = oracle.Held(data)
    return {name: sorted(held.query(sql), key=repr) for name, sql in FACTS.items()}


def fill(node: harness.Node, journal: oracle.Journal) -> None:
    """Two series, a duplicate, a conflict, and one instance that came through the spool."""
    first = make.series(20, seed="rebuilt one")
    second = make.series(5, seed="rebuilt two", size=75_000, sop_class=make.MR, syntax=make.IMPLICIT)
    large = make.instance(99, seed="rebuilt one", size=1_400_000)
    oracle.send(node.address, journal, [*first, *second, large], senders=2)
    oracle.send(node.address, journal, [first[3], first[3], make.altered(first[4])])
    assert len(journal.acknowledged()) == 29
    harness.verify(node, journal)


def drop_index(data: pathlib.Path) -> None:
    database = oracle.Held(data).database
    for path in database.parent.glob(database.name + "*"):
        path.unlink()


def test_a_rebuild_beside_the_old_index_is_equal(node: harness.Node, journal: oracle.Journal) -> None:
    fill(node, journal)
    assert node.stop() == 0
    before = facts(node.data)
    done = node.command("rebuild")
    assert done.returncode == 0, done.stdout + done.stderr
    assert facts(node.data) == before
    node.start()
    harness.verify(node, journal)


def test_a_deleted_index_is_made_anew(node: harness.Node, journal: oracle.Journal) -> None:
    fill(node, journal)
    assert node.stop() == 0
    before = facts(node.data)
    drop_index(node.data)
    done = node.command("rebuild")
    assert done.returncode == 0, done.stdout + done.stderr
    assert facts(node.data) == before
    node.start()
    oracle.send(node.address, journal, make.series(5, seed="after the rebuild"))
    harness.verify(node, journal)


def test_an_index_deleted_behind_a_kill_loses_nothing(node: harness.Node, journal: oracle.Journal) -> None:
    fill(node, journal)
    oracle.send(node.address, journal, make.series(30, seed="not yet filed"), senders=3)
    node.kill()
    drop_index(node.data)
    done = node.command("rebuild")
    assert done.returncode == 0, done.stdout + done.stderr
    node.start()
    harness.verify(node, journal)
