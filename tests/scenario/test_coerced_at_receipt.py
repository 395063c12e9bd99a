"""A rule coerces what arrives: killed, reconfigured and rebuilt, the node shows the same, holds what came."""

from __future__ import annotations

import json
import pathlib
import subprocess
from collections.abc import Callable

import pydicom

from tests import make, oracle, peers
from tests.scenario import harness

RULES = {
    "rules.ward": {"action": "keep", "coerce": "ward", "when.Modality": "CT"},
}
STEPS = """
[[coerce.ward]]
change = "PatientID"
lookup = "ids.csv"
missing = "fail"

[[coerce.ward]]
original = "NODE"
"""
SHOWN = """
    select p.patient_id, i.sop_instance, i.digest, i.coercion, i.rule, i.path, i.size
    from instance i join series se on se.key = i.series_key join study st on st.key = se.study_key
    join patient p on p.key = st.patient_key order by i.sop_instance"""


def test_what_is_presented_outlives_kills_tables_and_rebuilds(
    make_node: Callable[..., harness.Node], journal: oracle.Journal
) -> None:
    node = make_node(**RULES)
    node.config.write_text(node.config.read_text() + STEPS)
    ids(node, "W-1")
    node.start()
    first = make.series(6, seed="first")
    large = make.instance(9, seed="large", size=1_400_000)
    oracle.send(node.address, journal, [*first, large], senders=2)
    node.kill()
    # The table is another one by the time at which the node starts again.
    ids(node, "W-2")
    node.start()
    second = make.series(3, seed="second")
    oracle.send(node.address, journal, [*second, first[0], make.altered(first[1])])
    node.settled(journal.acknowledged())
    assert node.stop() == 0
    before = shown(node.data)
    came = {one.sop_instance: one.digest for one in (*first, large, *second)}
    assert {uid: digest for _, uid, digest, *_ in before} == came
    assert all(len(str(coercion)) == 64 for _, _, _, coercion, *_ in before)
    assert {patient for patient, uid, *_ in before if uid in {one.sop_instance for one in second}} == {"W-2"}
    # Neither the table nor the rule is needed any more.
    (node.work / "ids.csv").unlink()
    node.config.write_text(node.config.read_text().split("[rules.ward]")[0])
    assert node.command("rebuild").returncode == 0
    assert shown(node.data) == before
    node.start()
    harness.verify(node, journal)
    found = run(node, "findscu", "-S", *keys("STUDY", PatientID="W-2", StudyInstanceUID=""))
    assert f"[{second[0].study}]" in found
    run(node, "getscu", "-S", "-od", ".", *keys("STUDY", StudyInstanceUID=second[0].study))
    got = [pydicom.dcmread(path) for path in node.work.glob("CT.*")]
    assert {one.SOPInstanceUID for one in got} == {one.sop_instance for one in second}
    assert {one.PatientID for one in got} == {"W-2"}
    before_them = [one.OriginalAttributesSequence[0].ModifiedAttributesSequence[0] for one in got]
    assert {one.PatientID for one in before_them} == {"SYN-0001"}
    image = json.loads(node.command("images", "show", second[0].sop_instance, "--json").stdout)
    assert (image["patient_id"], image["presented_through"]) == ("W-2", "ward")


def run(node: harness.Node, program: str, *words: str) -> str:
    """What DCMTK says, with the node in the place where it looks for it."""
    host, port = node.address
    done = subprocess.run(
        [peers.require(program), "-v", "-aec", harness.AET, host, str(port), *words],
        env=peers.environment(),
        cwd=node.work,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout + done.stderr


def keys(level: str, **wanted: str) -> list[str]:
    pairs = {"QueryRetrieveLevel": level, **wanted}
    return [word for name, value in pairs.items() for word in ("-k", f"{name}={value}")]


def ids(node: harness.Node, name: str) -> None:
    (node.work / "ids.csv").write_text(f"SYN-0001,{name}\n")


def shown(data: pathlib.Path) -> list[tuple[object, ...]]:
    return list(map(tuple, oracle.Held(data).query(SHOWN)))
