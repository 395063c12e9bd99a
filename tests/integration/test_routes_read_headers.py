"""What routes are asked with: the header as it is presented, and what the file tells of its arrival."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Iterator

import pytest

from node import errors, model, orders, routes
from node.complete import decide
from node.files import layout
from node.index import db, decisions, frames, series
from tests import make, stored

WARD = model.Coercion("ward", ({"set": "InstitutionName", "to": "Ward 7"},))
TO_WARD = model.Rule("to-ward", model.Action.KEEP, coerce="ward")
CONDITION = orders.Condition((("InstitutionName", ("Ward 7",)), ("Modality", ("CT",)), ("called", ("NODE",))))
RULEBOOK = decide.Rulebook.of(model.Settings(routes=(orders.Route("ward", when=CONDITION, to=("archive",)),)))


@dataclasses.dataclass(frozen=True)
class Place:
    data: layout.Data
    index: db.Database

    def take(self, *made: make.Made, coerced: bool = False) -> series.Facts:
        with stored.receiver(self.data, size=64 << 20) as receiver:
            for one in made:
                stored.send(receiver, one)
        stored.file_all(self.data, self.index, [TO_WARD] if coerced else [], [WARD])
        with self.index.read() as connection:
            found = series.facts(connection, made[0].study, made[0].series)
        assert found is not None
        return found

    def known(self, facts: series.Facts, decider: decide.Decider | None = None) -> routes.Facts:
        asked = decider or decide.Decider(self.data, RULEBOOK)
        with self.index.read() as connection:
            return asked.of_series(connection, facts, orders.Completeness.COMPLETE)

    def files(self, facts: series.Facts) -> list[pathlib.Path]:
        with self.index.read() as connection:
            return [self.data.place(one.path) for one in decisions.first(connection, facts.key, 10)]


@pytest.fixture
def place(tmp_path: pathlib.Path) -> Iterator[Place]:
    data = stored.data(tmp_path / "data")
    with stored.database(data) as index:
        yield Place(data, index)


def test_routes_see_what_is_presented_and_how_it_came(place: Place) -> None:
    facts = place.take(*make.series(2, seed="coerced"), coerced=True)
    known = place.known(facts)
    assert known["InstitutionName"] == ("Ward 7",)
    assert known["Modality"] == ("CT",)
    assert (known["called"], known["verdict"], known["instances"]) == (("NODE",), ("complete",), ("2",))
    chosen = routes.choose(RULEBOOK.routing, RULEBOOK.routes, known)
    assert chosen.destinations == ("archive",)
    plain = place.known(place.take(*make.series(2, seed="plain")))
    assert plain["InstitutionName"] != ("Ward 7",)
    assert routes.choose(RULEBOOK.routing, RULEBOOK.routes, plain).destinations == ()


def test_how_a_series_sorts_is_known_where_a_route_asks(place: Place) -> None:
    facts = place.take(*make.series(2, seed="sorted"))
    whole = orders.Route("whole", when=orders.Condition((("sorted", ("single",)),)), to=("archive",))
    asking = decide.Decider(place.data, decide.Rulebook.of(model.Settings(routes=(whole,))))
    with place.index.read() as connection:
        said = frames.sorted_as(connection, facts.key)
    assert said
    assert place.known(facts, asking)["sorted"] == said
    assert place.known(facts)["sorted"] == ()


def test_the_next_instance_speaks_where_the_first_is_gone(place: Place) -> None:
    facts = place.take(*make.series(3, seed="gone"))
    place.files(facts)[0].unlink()
    assert place.known(facts)["Modality"] == ("CT",)


def test_a_series_whose_headers_are_all_gone_is_decided_by_what_its_row_says(place: Place) -> None:
    facts = place.take(*make.series(2, seed="lost"))
    for path in place.files(facts):
        path.unlink()
    known = place.known(facts)
    assert "Modality" not in known
    assert (known["source"], known["instances"]) == ((facts.source,), ("2",))


def test_a_header_that_the_disk_refuses_is_tried_again_before_routes_do_without(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = place.take(*make.series(2, seed="refused"))
    decider = decide.Decider(place.data, RULEBOOK)

    def refuse(*_: object) -> dict[str, tuple[str, ...]]:
        raise errors.StorageFailed("reading the header: Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(decider._headers, "texts", refuse)
        with pytest.raises(errors.StorageFailed):
            place.known(facts, decider)
    assert place.known(facts, decider)["Modality"] == ("CT",)
    monkeypatch.setattr(decider._headers, "texts", refuse)
    for _ in range(50):
        try:
            known = place.known(facts, decider)
        except errors.StorageFailed:
            continue
        break
    assert "Modality" not in known
