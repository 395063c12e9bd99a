"""`images` on a store that an import filled."""

from __future__ import annotations

import io
import json
import pathlib
from collections.abc import Callable

import pytest
from typer.testing import CliRunner

from node import cli, errors, log, model
from tests import make, stored

MADE = make.series(3)

Invoke = Callable[..., str]


@pytest.fixture
def images(tmp_path: pathlib.Path) -> Invoke:
    """Run `images` words and return what they print."""
    # The runner's standard error is gone after each command; the log must not hold on to it.
    log.configure(model.LogSettings(), "test", io.StringIO())
    data = stored.data(tmp_path / "data")
    with stored.database(data) as database, stored.receiver(data) as receiver:
        for one in MADE:
            stored.send(receiver, one)
        stored.file_all(data, database)

    def invoke(*words: str, typed: str | None = None) -> str:
        arguments = ["images", *words, "--data", str(data.root)]
        result = CliRunner().invoke(cli.program(), arguments, input=typed)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.stdout

    return invoke


def test_series_are_listed_and_their_images(images: Invoke) -> None:
    (entry,) = json.loads(images("list", "--json"))
    assert (entry["series"], entry["instances"]) == (MADE[0].series, 3)
    assert MADE[0].series in images("list")
    listed = images("list", MADE[0].series).split()
    assert listed == [one.sop_instance for one in MADE]


def test_an_image_shows_its_file_and_its_patient(images: Invoke) -> None:
    shown = json.loads(images("show", MADE[1].sop_instance, "--json"))
    assert shown["sop_instance"] == MADE[1].sop_instance
    assert shown["path"].startswith("store/")
    assert shown["patient_id"] in images("show", MADE[1].sop_instance)


def test_a_name_is_given_used_and_taken_away(images: Invoke) -> None:
    images("set-id", MADE[0].sop_instance, "first-slice")
    assert json.loads(images("show", "first-slice", "--json"))["sop_instance"] == MADE[0].sop_instance
    images("set-id", "--series", MADE[0].series, "the-series")
    assert len(images("list", "the-series").split()) == 3
    images("set-id", "first-slice")
    with pytest.raises(errors.NotFound):
        images("show", "first-slice")


def test_an_order_is_given_and_forgotten(images: Invoke) -> None:
    natural = images("list", MADE[0].series).split()
    images("order", MADE[0].series, *reversed(natural))
    assert images("list", MADE[0].series).split() == natural[::-1]
    images("reset", MADE[0].series)
    assert images("list", MADE[0].series).split() == natural


def test_frames_and_references_of_a_plain_image(images: Invoke) -> None:
    assert len(images("frames", MADE[0].sop_instance).split()) == 1
    assert json.loads(images("references", MADE[0].sop_instance, "--json")) == {
        "refers_to": [],
        "referred_by": [],
    }


def test_removal_asks_and_leaves_an_audit_row_and_no_file(images: Invoke, tmp_path: pathlib.Path) -> None:
    with pytest.raises(errors.UsageError, match="nothing was removed"):
        images("remove", MADE[0].sop_instance, "--why", "a test", typed="n\n")
    said = images("remove", MADE[0].sop_instance, "--why", "a test", "--yes")
    assert said == "1 instances and 1 files removed\n"
    assert len(list((tmp_path / "data" / "store").rglob("*.dcm"))) == 2
    assert len(images("list", MADE[0].series).split()) == 2
    said = images("remove", MADE[0].study, "--level", "study", "--why", "a test", "--yes")
    assert said == "2 instances and 2 files removed\n"
