"""Killed at every named place, nothing acknowledged is lost, and all of it comes out equal."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import pytest

from node import failpoints
from node.files import journal, layout, position
from node.index import audit, compare, tables
from tests import make, stored

PROGRAM = """
import json, pathlib, sys
from tests import make, stored
from node import upkeep, model

data = stored.data(pathlib.Path(sys.argv[1]))
acknowledged = open(sys.argv[2], "a", buffering=1)
with stored.database(data) as index, stored.receiver(data) as receiver:
    for number, made in enumerate(make.series(12) + make.series(2, size=2 << 20, seed=1)):
        stored.send(receiver, made)
        acknowledged.write(json.dumps([made.sop_instance, made.digest]) + "\\n")
        if number % 5 == 4:
            stored.send(receiver, made)  # again
            stored.file_all(data, index)
    stored.file_all(data, index)
    if len(sys.argv) > 3:
        upkeep.retention(data, index, model.RetentionSettings(max_age=0.0))
"""

RECEIPT = [name for name in failpoints.NAMES if name.split(".")[0] in ("journal", "spool", "adopt")]


def run(root: pathlib.Path, journal_file: pathlib.Path, failpoint: str, *more: str) -> int:
    environment = {**os.environ, failpoints.VARIABLE: failpoint}
    command = [sys.executable, "-c", PROGRAM, str(root), str(journal_file), *more]
    here = pathlib.Path(__file__).parents[2]
    done = subprocess.run(command, env=environment, cwd=here, capture_output=True, timeout=60, check=False)
    assert done.returncode in (0, -9), done.stderr.decode()
    return done.returncode


@pytest.mark.parametrize("failpoint", RECEIPT)
def test_killed_at(failpoint: str, tmp_path: pathlib.Path) -> None:
    sent = {m.sop_instance: m for m in make.series(12) + make.series(2, size=2 << 20, seed=1)}
    acknowledged = tmp_path / "acknowledged"
    root = tmp_path / "data"
    with stored.database(stored.data(root)):
        pass  # made here, so that the processes need not load what makes it
    for count in (1, 2):
        assert run(root, acknowledged, f"{failpoint}:{count}") == -9
    promised = {tuple(json.loads(line)) for line in acknowledged.read_text().splitlines()}

    data = layout.Data(root)
    with stored.database(data) as index:
        stored.file_all(data, index)
        bodies = stored.bodies(data, index)
        for uid, digest in promised:
            assert bodies[uid] == sent[uid].data
            assert digest == sent[uid].digest
        for uid, body in bodies.items():
            assert body == sent[uid].data  # what was not acknowledged is absent or whole
        with index.read() as connection:
            assert list(audit.unaccounted(connection)) == []
        assert journal.barrier(data, 0.0)
        assert len(list(layout.tree(data.store))) == len(bodies)
        # The next start leaves nothing in the spool either.
        with stored.receiver(data):
            pass
        assert [path for path in data.spool.iterdir() if path.name != "adopt.new"] == []


def test_everything_again_after_the_kernel_forgot(tmp_path: pathlib.Path) -> None:
    """Files and rows that no checkpoint covered are made again from the journal, the same as before."""
    data = stored.data(tmp_path / "data")
    sent = [*make.series(8), make.altered(make.series(1)[0])]
    with stored.receiver(data) as receiver:
        for made in sent:
            stored.send(receiver, made)
    with stored.database(data) as index:
        stored.file_all(data, index)
        first = stored.bodies(data, index)
    mapped = position.Position(data.slot("listen-1") / "position")
    mapped.set(position.SYNCED, 0)
    mapped.close()
    kept = [*layout.tree(data.store)]
    kept[0].unlink()
    kept[1].write_bytes(b"")
    kept[2].write_bytes(kept[2].read_bytes()[:200])
    aside = next(layout.tree(data.conflicts))
    aside.write_bytes(b"")
    with stored.database(data) as index:
        assert stored.file_all(data, index) == 9
        assert stored.bodies(data, index) == first
        (conflict,) = stored.rows(index, tables.conflict)
        assert data.place(str(conflict["path"])).read_bytes().endswith(sent[-1].data)
        assert len(stored.rows(index, tables.arrival)) == 9
    # The rows too: an index that lost them all gets them again, equal.
    old = layout.database(data.root)
    moved = old.with_name("before.sqlite")
    old.rename(moved)
    mapped = position.Position(data.slot("listen-1") / "position")
    mapped.set(position.SYNCED, 0)
    mapped.close()
    with stored.database(data) as index:
        stored.file_all(data, index)
        before = stored.db.open(f"sqlite:///{moved}")
        assert compare.compare(before, index) == []
        before.close()


@pytest.mark.parametrize("failpoint", ["sweep.after-rows", "sweep.after-ledger"])
def test_retention_killed_half_way_ends_next_time(failpoint: str, tmp_path: pathlib.Path) -> None:
    from node import upkeep

    root = tmp_path / "data"
    assert run(root, tmp_path / "acknowledged", failpoint, "retain") == -9
    data = layout.Data(root)
    with stored.database(data) as index:
        stored.file_all(data, index)
        upkeep.purge(data, index)
        assert stored.bodies(data, index) == {}
        assert list(layout.tree(data.store)) == []
        assert len(stored.rows(index, tables.deletion)) == 14
        with index.read() as connection:
            assert list(audit.unaccounted(connection)) == []
