"""Elements that the index does not hold are read from the file, as they are presented."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import pytest

from node import errors, headers, model
from node.files import layout
from node.index import db, lookup
from tests import make, stored

KERNEL, COMMENTS, INTERCEPT, INSTITUTION = 0x00181210, 0x00104000, 0x00281052, 0x00080080
WARD = model.Coercion("ward", ({"set": "InstitutionName", "to": "Ward 7"},))


@pytest.fixture
def place(tmp_path: pathlib.Path) -> Iterator[tuple[layout.Data, db.Database]]:
    data = stored.data(tmp_path / "data")
    with stored.database(data) as index:
        yield data, index


def _held(
    place: tuple[layout.Data, db.Database], made: make.Made, *, coerced: bool = False
) -> model.Instance:
    data, index = place
    with stored.receiver(data, size=64 << 20) as receiver:
        stored.send(receiver, made)
    rule = model.Rule("to-ward", model.Action.KEEP, coerce="ward")
    stored.file_all(data, index, [rule] if coerced else [], [WARD])
    identity = model.Identity(made.sop_class, made.sop_instance, made.study, made.series)
    with index.read() as connection:
        found = lookup.held(connection, identity)
    assert found is not None
    return found


@pytest.mark.parametrize("syntax", [make.IMPLICIT, make.EXPLICIT, make.BIG, make.DEFLATED])
def test_elements_are_read_in_every_encoding(place: tuple[layout.Data, db.Database], syntax: str) -> None:
    made = make.instance(syntax=syntax, size=300_000, extra=[make.element(KERNEL, "SH", "B30f")])
    found = headers.Headers(place[0]).fields(_held(place, made), [KERNEL, INTERCEPT, COMMENTS])
    assert found == {"ConvolutionKernel": "B30f", "RescaleIntercept": "-1024"}


def test_a_header_that_is_longer_than_what_is_read_first_is_read_further(
    place: tuple[layout.Data, db.Database],
) -> None:
    long = make.element(0x00204000, "LT", "x" * (headers.FIRST - 2000))
    code = make.element(0x00080100, "SH", "A" * 16)
    many = make.element(0x00081140, "SQ", [(code,)] * 3000)
    held = _held(place, make.instance(size=300_000, extra=[many, long]))
    found = headers.Headers(place[0]).fields(held, [INTERCEPT])
    assert found == {"RescaleIntercept": "-1024"}


def test_a_coerced_instance_says_what_it_is_presented_as(place: tuple[layout.Data, db.Database]) -> None:
    plain = _held(place, make.instance(seed="plain"))
    coerced = _held(place, make.instance(seed="coerced"), coerced=True)
    reader = headers.Headers(place[0])
    assert reader.fields(plain, [INSTITUTION]) == {"InstitutionName": "Test Hospital"}
    assert reader.fields(coerced, [INSTITUTION]) == {"InstitutionName": "Ward 7"}


def test_a_file_that_is_gone_or_damaged_is_said_to_be(place: tuple[layout.Data, db.Database]) -> None:
    held = _held(place, make.instance(size=300_000))
    path = place[0].place(held.path)
    reader = headers.Headers(place[0])
    whole = path.read_bytes()
    path.write_bytes(whole[: held.offset] + b"\xff" * 4000)
    with pytest.raises(errors.BadData):
        reader.fields(held, [INTERCEPT])
    path.unlink()
    with pytest.raises(errors.NotFound):
        reader.fields(held, [INTERCEPT])
