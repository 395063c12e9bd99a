"""The image manager: names and orders given here, frames, presentation states, removal."""

from __future__ import annotations

import dataclasses
import pathlib

import pytest
import sqlalchemy

from node import errors, model
from node.dicom import header
from node.index import audit, compare, db, manager, overrides, remove, tables, tracker
from tests import indexed, make

PR = "1.2.840.10008.5.1.4.1.1.11.1"


@pytest.fixture
def images(database: db.Database) -> manager.Images:
    """A series of three, one of them of four frames, and a presentation state of two of them."""
    states = (
        header.Reference(make.CT, "1.2.3.1.1", "1.2.3.1", ()),
        header.Reference(make.CT, "1.2.3.1.3", "1.2.3.1", (2, 4)),
        header.Reference(make.CT, "1.2.77", "1.2.78", ()),
    )
    indexed.take(
        database,
        [
            indexed.item(3, frames=4), indexed.item(1), indexed.item(2),
            indexed.item(9, series="1.2.3.2", sop_class=PR, modality="PR", references=states),
        ],
    )  # fmt: skip
    return manager.Images(database)


def names(images: manager.Images, series: str = "1.2.3.1") -> list[str]:
    return [str(image) for image in images.images(series)]


NATURAL = ["1.2.3.1.1", "1.2.3.1.2", *(f"1.2.3.1.3#{frame}" for frame in (1, 2, 3, 4))]


def test_images_come_in_the_order_of_their_numbers(images: manager.Images) -> None:
    assert names(images) == NATURAL
    assert [one.identity.sop_instance for one in images.instances("1.2.3.1")] == [
        "1.2.3.1.1", "1.2.3.1.2", "1.2.3.1.3",
    ]  # fmt: skip


def test_an_order_of_ones_own_holds_until_it_is_reset(images: manager.Images) -> None:
    images.order("1.2.3.1", ["1.2.3.1.3#3", "1.2.3.1.2", "1.2.3.1.3#1"])
    assert names(images) == [
        "1.2.3.1.3#3",
        "1.2.3.1.2",
        "1.2.3.1.3#1",
        "1.2.3.1.1",
        "1.2.3.1.3#2",
        "1.2.3.1.3#4",
    ]
    assert images.instances("1.2.3.1")[0].identity.sop_instance == "1.2.3.1.3"
    assert images.one_series("1.2.3.1").ordered
    images.order("1.2.3.1", ["1.2.3.1.2"])
    assert names(images)[:2] == ["1.2.3.1.2", "1.2.3.1.1"]
    images.reset("1.2.3.1")
    assert names(images) == NATURAL


@pytest.mark.parametrize("wrong", [["1.2.3.1.1", "1.2.3.1.1"], ["1.2.3.2.9"]])
def test_an_order_that_cannot_be_is_refused_whole(images: manager.Images, wrong: list[str]) -> None:
    with pytest.raises(errors.UsageError):
        images.order("1.2.3.1", ["1.2.3.1.2", *wrong])
    assert names(images) == NATURAL


def test_a_series_and_its_images_have_names_of_ones_own(images: manager.Images) -> None:
    images.name_series("1.2.3.1", "head")
    images.name_image("1.2.3.1.2", "best")
    images.name_image("1.2.3.1.3#2", "second best")
    assert images.one_series("head").series == "1.2.3.1"
    assert names(images, "head") == NATURAL
    assert images.tracker.locate("best").sop_instance == "1.2.3.1.2"
    assert images.tracker.locate("second best").frame == 2
    assert images.metadata("second best")["custom_id"] == "second best"
    images.order("head", ["second best"])
    assert images.tracker.locate("best").sop_instance == "1.2.3.1.2", "an order takes no name away"
    images.name_series("head", None)
    with pytest.raises(errors.NotFound):
        images.one_series("head")
    images.reset("1.2.3.1")
    with pytest.raises(errors.NotFound):
        images.tracker.locate("best")


@pytest.mark.parametrize("name", ["1.2.3", "a#b", "", " ", "a\nb"])
def test_names_that_could_be_taken_for_something_else_are_refused(images: manager.Images, name: str) -> None:
    with pytest.raises(errors.UsageError):
        images.name_series("1.2.3.1", name)


def test_a_name_belongs_to_one_only(images: manager.Images) -> None:
    images.name_series("1.2.3.1", "head")
    images.name_series("head", "head")
    with pytest.raises(errors.UsageError, match="already"):
        images.name_series("1.2.3.2", "head")
    images.name_image("1.2.3.1.1", "best")
    with pytest.raises(errors.UsageError, match="already"):
        images.name_image("1.2.3.1.1#1", "best")


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("1.2.9", errors.NotFound), ("nobody", errors.NotFound), ("1.2.3.1.3#5", errors.NotFound),
        ("1.2.3.1.3#0", errors.UsageError), ("1.2.3.1.3#x", errors.UsageError),
        ("1.2.3.1.3#", errors.UsageError),
        ("1.2.3.1.3#99999999999999999999", errors.UsageError), ("'; DROP TABLE instance", errors.NotFound),
    ],
)  # fmt: skip
def test_names_of_nothing(images: manager.Images, name: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        images.tracker.locate(name)


def test_the_tracker_tells_series_instance_and_frame(images: manager.Images) -> None:
    at = images.tracker.locate("1.2.3.1.3#4")
    assert (at.study, at.series, at.sop_instance, at.frame, at.frames) == (
        "1.2.3",
        "1.2.3.1",
        "1.2.3.1.3",
        4,
        4,
    )
    assert images.tracker.locate(model.ImageId("1.2.3.1.1")).frame is None
    assert [str(one) for one in images.frames("1.2.3.1.3")] == NATURAL[2:]


def test_the_tracker_looks_into_indexes_only(database: db.Database) -> None:
    if database.path is None:
        pytest.skip("EXPLAIN QUERY PLAN is SQLite's")
    for statement, values in (
        (tracker._BY_UID, {"uid": "1", "hash": 1}),
        (tracker._BY_CUSTOM, {"name": "a"}),
    ):
        compiled = statement.params(values).compile(compile_kwargs={"literal_binds": True})
        with database.read() as connection:
            steps = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}")]
        assert steps
        assert not [step for step in steps if step.startswith("SCAN")], steps


def test_presentation_states_lead_to_images_and_back(images: manager.Images) -> None:
    found = [(str(one.image), one.series, one.held) for one in images.references("1.2.3.2.9")]
    assert found == [
        ("1.2.3.1.1", "1.2.3.1", True), ("1.2.3.1.3#2", "1.2.3.1", True), ("1.2.3.1.3#4", "1.2.3.1", True),
        ("1.2.77", "1.2.78", False),
    ]  # fmt: skip
    assert [str(one.image) for one in images.presentations("1.2.3.1.1")] == ["1.2.3.2.9"]
    assert [str(one.image) for one in images.presentations("1.2.3.1.3")] == ["1.2.3.2.9"]
    assert [str(one.image) for one in images.presentations("1.2.3.1.3#4")] == ["1.2.3.2.9"]
    assert images.presentations("1.2.3.1.3#1") == []
    assert images.presentations("1.2.3.1.2") == []


def test_metadata_is_of_all_levels(images: manager.Images) -> None:
    known = images.metadata("1.2.3.1.3#2")
    assert (known["patient_id"], known["study"], known["series"], known["sop_instance"]) == (
        "SYN-1", "1.2.3", "1.2.3.1", "1.2.3.1.3",
    )  # fmt: skip
    assert (known["frame"], known["frames"], known["modality"]) == (2, 4, "CT")


def test_series_are_listed_page_by_page(images: manager.Images) -> None:
    first = images.series(limit=1)
    assert [one.series for one in first] == ["1.2.3.1"]
    assert (first[0].instances, first[0].frames, first[0].modality) == (3, 6, "CT")
    assert [one.series for one in images.series(after=first[0].key)] == ["1.2.3.2"]
    assert images.series(study="1.9") == []


@pytest.mark.parametrize(
    ("level", "name", "left"),
    [
        (model.Level.IMAGE, "1.2.3.1.3", ["1.2.3.1.1", "1.2.3.1.2", "1.2.3.2.9"]),
        (model.Level.SERIES, "1.2.3.1", ["1.2.3.2.9"]),
        (model.Level.STUDY, "1.2.3", []),
        (model.Level.PATIENT, "SYN-1", []),
    ],
)
def test_what_is_removed_leaves_an_audit_row(
    images: manager.Images, database: db.Database, level: model.Level, name: str, left: list[str]
) -> None:
    images.name_series("1.2.3.1", "head")
    images.order("head", ["1.2.3.1.3", "1.2.3.1.1"])
    removed = images.remove(level, name, who="a person", why="a mistake", now=indexed.START)
    assert sorted(row["sop_instance"] for row in indexed.rows(database, tables.instance)) == left
    audited = indexed.rows(database, tables.deletion)
    assert [row["sop_instance"] for row in audited] == [one.sop_instance for one in removed]
    assert {(row["who"], row["why"], row["at"]) for row in audited} == {
        ("a person", "a mistake", "2026-11-21T08:00:00.000000")
    }
    with database.read() as connection:
        assert list(audit.unaccounted(connection)) == []
    if not left:
        for table in tables.metadata.sorted_tables:
            if table.name not in {"arrival", "deletion", "counter", "meta"}:
                assert indexed.rows(database, table) == []


@pytest.mark.parametrize(
    ("level", "name", "why", "error"),
    [
        (model.Level.STUDY, "1.9", "x", errors.NotFound),
        (model.Level.PATIENT, "", "x", errors.UsageError),
        (model.Level.IMAGE, "1.2.3.1.3#1", "x", errors.UsageError),
        (model.Level.STUDY, "1.2.3", " ", errors.UsageError),
    ],
)
def test_removals_that_cannot_be(
    images: manager.Images,
    database: db.Database,
    level: model.Level,
    name: str,
    why: str,
    error: type[Exception],
) -> None:
    with pytest.raises(error):
        images.remove(level, name, who="a person", why=why)
    assert len(indexed.rows(database, tables.instance)) == 4


def test_files_of_what_was_removed_are_listed_until_they_are_gone(
    images: manager.Images, database: db.Database
) -> None:
    images.remove(model.Level.SERIES, "1.2.3.1", who="a person", why="a mistake")
    # The same instance comes again, to the same place: its file is not to be unlinked.
    indexed.take(database, [indexed.item(1, position=1 << 20)])
    with database.write() as connection:
        found = remove.doomed(connection)
        assert [(one.path.rpartition("/")[2], one.reused) for one in found] == [
            ("1.2.3.1.3", False), ("1.2.3.1.1", True), ("1.2.3.1.2", False),
        ]  # fmt: skip
        remove.files_removed(connection, [one.deletion for one in found[:2]])
    with database.write() as connection:
        assert [one.path.rpartition("/")[2] for one in remove.doomed(connection)] == ["1.2.3.1.2"]


def test_a_series_uid_in_two_studies_needs_a_name(images: manager.Images, database: db.Database) -> None:
    indexed.take(database, [indexed.item(1, study="1.5", sop_instance="1.5.1", position=1 << 20)])
    with pytest.raises(errors.UsageError, match=r"1\.2\.3 and 1\.5"):
        images.one_series("1.2.3.1")


def test_a_comparison_sees_every_kind_of_change(
    images: manager.Images, database: db.Database, tmp_path
) -> None:
    other = indexed.sqlite(tmp_path, "other.db")
    items = [indexed.item(1), indexed.item(2)]
    indexed.take(other, items)
    first = indexed.sqlite(tmp_path, "first.db")
    indexed.take(first, [indexed.item(7, study="1.9", series="1.9.1")])
    indexed.take(first, items[:1])
    indexed.take(first, items[1:])
    with first.write() as connection:
        key = connection.execute(
            sqlalchemy.select(tables.instance.c.key).where(tables.instance.c.sop_instance == "1.9.1.7")
        ).scalar_one()
        remove.instances(connection, [key], who="x", why="x", now=indexed.START)
    differing = compare.compare(first, other)
    assert {one.table for one in differing} == {"arrival", "deletion"}, "keys and batches differ, rows do not"
    with other.write() as connection:
        connection.execute(sqlalchemy.update(tables.instance).values(rows=7))
    differing = compare.compare(first, other, ["instance"])
    assert [(one.only_in, one.row["rows"]) for one in differing] == [
        ("first", None), ("second", 7), ("first", None), ("second", 7),
    ]  # fmt: skip
    first.close()
    other.close()


def test_a_rebuilt_index_gets_the_names_and_orders_of_the_old_one(
    images: manager.Images, database: db.Database, tmp_path: pathlib.Path
) -> None:
    images.name_series("1.2.3.1", "head")
    images.name_image("1.2.3.1.3#2", "best")
    images.order("head", ["1.2.3.1.2", "best"])
    images.name_image("1.2.3.2.9", "lost")
    rebuilt = indexed.sqlite(tmp_path, "rebuilt.db")
    indexed.take(rebuilt, [indexed.item(2), indexed.item(1), indexed.item(3, frames=4)])
    assert overrides.carry(database, rebuilt) == 1
    again = manager.Images(rebuilt)
    assert names(again, "head") == names(images, "head")
    assert again.tracker.locate("best") == dataclasses.replace(images.tracker.locate("best"), key=3)
    rebuilt.close()
