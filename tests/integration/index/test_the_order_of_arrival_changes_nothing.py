"""Journals are read one after another and a tree in the order of its names: the rows come out the same."""

from __future__ import annotations

import pathlib
import random
import tempfile

import hypothesis
from hypothesis import strategies as st

from node.dicom import header
from node.index import compare, tables
from tests import indexed

made = st.lists(
    st.tuples(
        st.sampled_from(["1.1", "1.2"]),  # study
        st.integers(1, 2),  # series in it
        st.sampled_from(["P1", "P1", "P1", "P2", None]),
        st.sampled_from(["A^B", "C^D", None]),  # what the instances disagree in
        st.sampled_from(["CT", "MR"]),
        st.booleans(),
    ),
    max_size=14,
)


# Two studies move to the same patient, who is new, in one batch.
TOGETHER = [(study, 1, patient, "A^B", "CT", False) for patient in ("P1", "P2") for study in ("1.1", "1.2")]


@hypothesis.settings(max_examples=40, deadline=None)
@hypothesis.example(TOGETHER, 6, 2)
@hypothesis.given(made, st.integers(0, 1000), st.integers(1, 5))
def test_rows_do_not_depend_on_the_order(described: list[tuple[object, ...]], seed: int, size: int) -> None:
    items = []
    for number, (study, series, patient, text, modality, asked) in enumerate(described):
        items.append(
            indexed.item(
                number, study=study, series=f"{study}.{series}", patient_id=patient, patient_name=text,
                modality=modality, study_description=text, series_description=text, seconds=number,
                requests=(header.Request(f"S{number}", "", "", "", "", ""),) if asked else (),
            )
        )  # fmt: skip
    shuffled = list(items)
    random.Random(seed).shuffle(shuffled)
    with tempfile.TemporaryDirectory() as folder:
        straight = indexed.sqlite(pathlib.Path(folder), "straight.db")
        mixed = indexed.sqlite(pathlib.Path(folder), "mixed.db")
        indexed.take(straight, items)
        for start in range(0, len(shuffled), size):
            indexed.take(mixed, shuffled[start : start + size])
        names = ["study", "series", "series_request", "instance", "arrival", "reference"]
        if len({(one[0], one[2]) for one in described}) == len({one[0] for one in described}):
            names.append("patient")
        else:
            # Where studies are of two patients at once, a name may be said by whoever was there at the time.
            assert _patients(straight) == _patients(mixed)
        assert compare.compare(straight, mixed, names) == []
        straight.close()
        mixed.close()


def _patients(database: object) -> list[object]:
    counted = ("identity", "studies", "series", "instances", "bytes", "first_arrival", "last_arrival")
    found = indexed.rows(database, tables.patient)  # type: ignore[arg-type]
    return sorted(tuple(row[name] for name in counted) for row in found)
