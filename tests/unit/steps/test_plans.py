"""Plans: what is wrong with a step, what each does to an item, and how a plan reads."""

from __future__ import annotations

import pathlib

import pytest

from node import errors, model, orders
from node.dicom import transcode, uids
from node.send import base
from node.steps import plan

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT, JPEG_LS, BASELINE = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.50"
TIDY = model.Coercion("tidy", ({"set": "InstitutionName", "to": "HERE"},))
RENAMING = model.Coercion("renaming", ({"remap": "a secret of some length"},))
SETTINGS = model.Settings(coerce=(TIDY, RENAMING))
ITEM = base.Item(CT, "1.2.3", EXPLICIT, pathlib.Path("/nowhere"), 0, 100)


def _step(step: str, **options: object) -> orders.StepSetting:
    return orders.StepSetting(step, options)


@pytest.mark.parametrize(
    ("step", "wrong"),
    [
        (_step("coerce", use="tidy"), None),
        (_step("compress", syntax="JPEG2000Lossless"), None),
        (_step("compress", syntax="1.2.840.10008.1.2.5", recompress=True), None),
        (_step("compress", syntax="jpeg", quality=75), None),
        (_step("sharpen"), "there is no step 'sharpen'; there are coerce, compress"),
        (_step("coerce"), "needs the name of a coercion"),
        (_step("coerce", use="tidi"), "no coercion 'tidi'"),
        (_step("coerce", use="tidy", hard=True), "no 'hard'"),
        (_step("compress"), "needs the transfer syntax"),
        (_step("compress", syntax="JPEG2000Loss"), "did you mean JPEG2000Lossless"),
        (_step("compress", syntax="HTJ2K"), "nothing here makes 'HTJ2K'"),
        (_step("compress", syntax="rle", quality=5), "loses nothing"),
        (_step("compress", syntax="jpeg", quality=0), "from 1 to 100"),
        (_step("compress", syntax="jpeg", quality=True), "from 1 to 100"),
        (_step("compress", syntax="jpeg", recompress="yes"), "true or false"),
        (_step("compress", syntax="jpeg", level=5), "no 'level'"),
    ],
)
def test_what_is_wrong_with_a_step_is_said(step: orders.StepSetting, wrong: str | None) -> None:
    said = plan.check(step, {one.name: one for one in SETTINGS.coerce})
    assert said is None if wrong is None else wrong in (said or "")


def test_a_lossless_compression_keeps_the_instance() -> None:
    made = plan.Plan.of([_step("compress", syntax="jpeg-ls")], None, SETTINGS)
    item = made.item(ITEM)
    assert item.wanted == base.Wanted(JPEG_LS)
    assert item.sop_instance == ITEM.sop_instance
    assert not made.renames
    assert made.kind(ITEM).wanted == item.wanted


def test_a_lossy_compression_makes_the_same_other_instance_each_time() -> None:
    made = plan.Plan.of([_step("compress", syntax="jpeg", quality=75)], None, SETTINGS)
    wanted = made.item(ITEM).wanted
    assert wanted is not None
    assert wanted.loss is not None
    assert uids.strict(wanted.loss.instance)
    assert wanted.loss.instance != ITEM.sop_instance
    assert made.item(ITEM).wanted == wanted
    other = plan.Plan.of([_step("compress", syntax="jpeg", quality=50)], None, SETTINGS)
    assert other.item(ITEM).wanted != wanted
    assert made.renames


def test_what_is_compressed_already_stays_so_unless_it_is_said() -> None:
    stored = base.Item(CT, "1.2.3", BASELINE, pathlib.Path("/nowhere"), 0, 100)
    assert plan.Plan.of([_step("compress", syntax="jpeg-ls")], None, SETTINGS).item(stored).wanted is None
    again = plan.Plan.of([_step("compress", syntax="jpeg-ls", recompress=True)], None, SETTINGS)
    assert again.item(stored).wanted == base.Wanted(JPEG_LS)
    same = base.Item(CT, "1.2.3", JPEG_LS, pathlib.Path("/nowhere"), 0, 100)
    assert again.item(same).wanted is None


def test_the_destinations_coercion_comes_last_and_the_plan_can_be_read() -> None:
    made = plan.Plan.of([_step("compress", syntax="rle")], "tidy", SETTINGS)
    compress, coerce = made.describe()
    assert compress == "compress into RLE Lossless, without loss"
    assert coerce.startswith("coerce tidy: ")
    item = made.item(ITEM)
    assert item.change is not None
    assert item.wanted == base.Wanted(transcode.RLE)


def test_two_ways_to_a_new_uid_are_refused_together() -> None:
    with pytest.raises(errors.UsageError, match="new UID"):
        plan.Plan.of([_step("compress", syntax="jpeg")], "renaming", SETTINGS)
    plan.Plan.of([_step("compress", syntax="rle")], "renaming", SETTINGS)


def test_a_step_of_an_older_configuration_is_told_when_it_cannot_be_done_any_more() -> None:
    with pytest.raises(errors.UsageError, match="no coercion 'gone'"):
        plan.Plan.of([_step("coerce", use="gone")], None, SETTINGS)


def test_plans_are_made_ready_once_and_again_after_a_reload(tmp_path: pathlib.Path) -> None:
    table = tmp_path / "map.csv"
    table.write_text("A,B\n")
    mapped = model.Coercion("map", ({"change": "PatientID", "lookup": "map.csv"},), tmp_path)
    made = plan.Plans(model.Settings(coerce=(mapped,)))
    first = made.plan((), "map")
    assert made.plan((), "map") is first
    assert made.plan((_step("compress", syntax="rle"),), "map") is not first
    made.apply(model.Settings(coerce=(mapped,)))
    assert made.plan((), "map") is not first
