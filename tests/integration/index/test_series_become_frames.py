"""What the index says of a series' frames is what their headers say, and it knows when that is not enough."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import numpy as np
import pytest

from node import errors, model
from node.dicom import header, part10
from node.index import db, frames, lookup, tables
from node.loading import headers
from node.volume import stack, table
from node.volume.sorting import sort
from tests import indexed, series


def take(database: db.Database, folder: pathlib.Path, *names: str) -> list[int]:
    """Put series of files into the index; the row of each."""
    items = []
    for name in names:
        for path in series.write(name, folder / name):
            content = path.read_bytes()
            head = part10.part10(content, bare=True)
            known = header.attributes(memoryview(content)[head.offset :], head.syntax)
            items.append(
                indexed.item(
                    len(items) + 1,
                    study=known.study,
                    series=known.series,
                    sop_class=known.sop_class,
                    sop_instance=known.sop_instance,
                    known=known,
                )
            )
    indexed.take(database, items)
    uids = dict.fromkeys(one.arrival.identity.series for one in items)
    with database.read() as connection:
        return [frames.key(connection, uid) for uid in uids]


@pytest.fixture
def index(tmp_path: pathlib.Path) -> Iterator[db.Database]:
    """An empty index; what both databases must do is in the first test."""
    opened = indexed.sqlite(tmp_path)
    yield opened
    opened.close()


def test_rows_and_headers_say_the_same(database: db.Database, tmp_path: pathlib.Path) -> None:
    names = ("ct_oblique", "ct_gap", "mr_time", "mr_midnight", "mr_echoes", "pet_time")
    for name, key in zip(names, take(database, tmp_path, *names), strict=True):
        with database.read() as connection:
            found = frames.table(connection, key)
        read = headers.read([str(path) for path in sorted((tmp_path / name).iterdir())])
        mine = np.argsort([one.sop_instance for one in found.sources])
        theirs = np.argsort([one.sop_instance for one in read.sources])
        assert len(found) == len(read)
        for column in found.columns:
            if column not in ("source", "#frames"):
                np.testing.assert_array_equal(found[column][mine], read[column][theirs], err_msg=column)
        same(sort.sort(found), sort.sort(read))


def same(ours: stack.Sorted, other: stack.Sorted) -> None:
    for one, two in zip(ours.stacks, other.stacks, strict=True):
        assert one.verdict is two.verdict
        assert one.geometry == two.geometry
        assert [axis.name for axis in one.axes] == [axis.name for axis in two.axes]
        assert instances(one) == instances(two)


def instances(one: stack.Stack) -> list[str]:
    return [one.table.source(row).sop_instance if row >= 0 else "" for row in one.order.ravel().tolist()]


SAID = {
    "ct_axial": ("", ("complete",)),
    "ct_gap": ("", ("gaps",)),
    "ct_unequal": ("", ("unequal",)),
    "ct_single": ("", ("single",)),
    "ct_localizer": ("", ("complete", "mixed")),
    "mr_time": ("", ("complete",)),
    "pet_time": ("", ("complete",)),
    "dwi_siemens": ("several images at one place", ()),
    "mosaic_time": ("slices side by side in one frame", ()),
    "enhanced_ct": ("objects of several frames", ()),
    "unplaced": ("images without a place", ()),
}


def test_it_knows_when_headers_must_be_read_and_how_it_sorts(
    index: db.Database, tmp_path: pathlib.Path
) -> None:
    keys = take(index, tmp_path, *SAID)
    with index.read() as connection:
        why = {
            name: frames.enough(frames.table(connection, key)) for name, key in zip(SAID, keys, strict=True)
        }
        said = {name: frames.sorted_as(connection, key) for name, key in zip(SAID, keys, strict=True)}
    assert {name: (why[name], said[name]) for name in SAID} == SAID


def test_damaged_and_imageless_instances_are_left_with_a_reason(
    index: db.Database, tmp_path: pathlib.Path
) -> None:
    (key,) = take(index, tmp_path, "ct_axial")
    indexed.take(index, [indexed.item(99, study=_study(index), series=_series(index))])
    with index.write() as connection:
        lookup.mark(connection, 1, model.Held.CORRUPT)
    with index.read() as connection:
        found = frames.table(connection, key, place=pathlib.Path("/data").joinpath)
    assert [one.why for one in found.skipped] == [table.Why.DAMAGED, table.Why.NO_PIXELS]
    assert len(found) == 4
    assert all(one.path.startswith("/data/") for one in found.sources)
    assert sort.sort(found).stacks[0].verdict in (stack.Verdict.GAPS, stack.Verdict.COMPLETE)


def test_a_series_is_found_by_its_uid(index: db.Database, tmp_path: pathlib.Path) -> None:
    (key,) = take(index, tmp_path, "ct_single")
    uid = _series(index)
    with index.read() as connection:
        assert frames.key(connection, uid) == key
        with pytest.raises(errors.NotFound):
            frames.key(connection, "1.2.3.4.5")
        assert len(frames.table(connection, 4711)) == 0
    indexed.take(index, [indexed.item(50, study="1.2.9", series=uid)])
    with index.read() as connection, pytest.raises(errors.UsageError, match="2 studies"):
        frames.key(connection, uid)


def _series(index: db.Database) -> str:
    return str(indexed.rows(index, tables.series)[0]["series"])


def _study(index: db.Database) -> str:
    return str(indexed.rows(index, tables.study)[0]["study"])
