"""Whatever is decided, answered and done by hand: counters say what rows say, and the files know it all."""

from __future__ import annotations

import pathlib

import pytest

from node.index import compare, db
from tests import histories, indexed

FORWARDING = ("consignment", "delivery", "attempt")


def test_random_histories(database: db.Database, tmp_path: pathlib.Path) -> None:
    for seed in range(3):
        history = histories.History(database, tmp_path / f"data-{seed}", seed)
        history.play(30)
        history.end()


@pytest.mark.parametrize("seed", range(100, 104))
def test_what_the_files_say_makes_the_same_rows(tmp_path: pathlib.Path, seed: int) -> None:
    database, again = indexed.sqlite(tmp_path), indexed.sqlite(tmp_path, "again.db")
    history = histories.History(database, tmp_path / "data", seed)
    history.play(50)
    history.end()
    assert history.rebuilt(again) == []
    assert compare.compare(database, again, FORWARDING) == [], history.done
    database.close()
    again.close()
