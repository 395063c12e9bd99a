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


@pytest.mark.parametrize("seed", [100, 101])
def test_what_the_files_say_makes_the_same_rows(
    database: db.Database, tmp_path: pathlib.Path, seed: int
) -> None:
    played = indexed.sqlite(tmp_path, "played.db")
    history = histories.History(played, tmp_path / "data", seed)
    history.play(60)
    history.end()
    assert history.rebuilt(database) == []
    assert compare.compare(played, database, FORWARDING) == [], history.done
    played.close()


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(200, 260))
def test_what_the_files_say_of_many_histories(tmp_path: pathlib.Path, seed: int) -> None:
    played, again = indexed.sqlite(tmp_path, "played.db"), indexed.sqlite(tmp_path)
    history = histories.History(played, tmp_path / "data", seed)
    history.play(100)
    history.end()
    assert history.rebuilt(again) == []
    assert compare.compare(played, again, FORWARDING) == [], history.done
    played.close()
    again.close()
