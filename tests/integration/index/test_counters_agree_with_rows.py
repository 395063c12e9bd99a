"""Whatever comes and goes in whatever order, the counters say what a count of the rows says."""

from __future__ import annotations

import pathlib
import tempfile

import hypothesis
import sqlalchemy
from hypothesis import strategies as st

from node import model
from node.index import compare, db, remove, tables
from tests import indexed, make

COUNTED = (tables.patient, tables.study, tables.series)

arrivals = st.tuples(
    st.integers(0, 5),  # number of the instance
    st.sampled_from(["1.1", "1.2", "1.3"]),  # study
    st.integers(1, 2),  # series in it
    st.sampled_from(["P1", "P2", None]),
    st.sampled_from(["CT", "PR", None]),
    st.sampled_from([make.CT, make.MR]),
    st.sampled_from(["a", "b"]),  # content
    st.integers(0, 1000),  # seconds
    st.sampled_from([model.Action.KEEP] * 6 + [model.Action.DISCARD, model.Action.QUARANTINE]),
    st.sampled_from([None, 1, 7]),  # frames
)
# A batch of arrivals, or the removal of every nth instance.
steps = st.lists(st.one_of(st.lists(arrivals, min_size=1, max_size=8), st.integers(1, 3)), max_size=6)


@hypothesis.settings(max_examples=40, deadline=None)
@hypothesis.given(steps)
def test_counters_agree(history: list[list[tuple[object, ...]] | int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        database = indexed.sqlite(pathlib.Path(folder))
        position = 0
        for step in history:
            if isinstance(step, int):
                _remove(database, step)
                continue
            batch = []
            for number, study, series, patient, modality, sop_class, content, seconds, action, frames in step:
                position += 4096
                batch.append(
                    indexed.item(
                        number, study=study, series=f"{study}.{series}", sop_class=sop_class, content=content,
                        patient_id=patient, modality=modality, seconds=seconds, position=position,
                        action=action, rule="" if action is model.Action.KEEP else "r", frames=frames,
                    )
                )  # fmt: skip
            indexed.take(database, batch)
        counted = {table.name: indexed.rows(database, table) for table in COUNTED}
        with database.write() as connection:
            for row in counted["series"]:
                # Recounted from nothing but the rows below.
                remove.recount(connection, [row["key"]])
        assert {table.name: indexed.rows(database, table) for table in COUNTED} == counted
        _plain_count(database)
        assert compare.compare(database, database) == []
        database.close()


def _remove(database: db.Database, every: int) -> None:
    with database.write() as connection:
        keys = list(connection.execute(sqlalchemy.select(tables.instance.c.key)).scalars())
        remove.instances(connection, keys[::every], who="test", why="thinning", now=indexed.START)


def _plain_count(database: db.Database) -> None:
    """The totals, counted here without any of the program's SQL."""
    instances = indexed.rows(database, tables.instance)
    for row in indexed.rows(database, tables.series):
        mine = [one for one in instances if one["series_key"] == row["key"]]
        assert mine
        assert row["instances"] == len(mine)
        assert row["frames"] == sum(one["frames"] for one in mine)
        assert row["last_arrival"] == max(one["received"] for one in mine)
        assert row["sop_classes"] == "\\".join(sorted({one["sop_class"] for one in mine}))
    assert sum(row["instances"] for row in indexed.rows(database, tables.patient)) == len(instances)
    assert sum(row["bytes"] for row in indexed.rows(database, tables.study)) == 1000 * len(instances)
