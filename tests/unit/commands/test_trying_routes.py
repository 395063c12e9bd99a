"""What a person is told of routes: by `rules test` and `check`."""

from __future__ import annotations

import datetime
import json
import pathlib

import pytest
from typer.testing import CliRunner

from node import cli, config, errors, orders
from node.commands import check, forwarding, run
from node.index import ledger
from tests import make, ports, stored

CONFIGURATION = """
[peers.pacs]
aet = "PACS"
host = "127.0.0.1"

[destinations.archive]
peer = "pacs"

[destinations.research]
kind = "folder"
folder = "research"
coerce = "tidy"

[destinations.spare]
kind = "folder"
folder = "spare"

[groups.either]
members = ["archive", "spare"]

[calendars.nights]
hours = ["19:00-06:00"]

[[coerce.tidy]]
set = "InstitutionName"
to = "X"

[rules.phantoms]
action = "quarantine"
reason = "phantoms"
when.PatientID = "QA*"

[rules.ward]
action = "keep"
coerce = "tidy"
when.source = "WARD"

[routes.ward]
to = ["spare"]
when.InstitutionName = "X"

[routes.head]
level = "instance"
to = ["either"]
priority = "high"
when.any = [{BodyPartExamined = "HEAD"}, {Modality = "~^c[rt]$"}]
when.not = {source = "NOISE"}

[routes.nightly]
to = ["archive", "research"]
calendar = "nights"
partial = false
when.instances = ">1"
when.verdict = "complete"

[[routes.nightly.steps]]
step = "compress"
syntax = "JPEG2000Lossless"

[routes.pet]
level = "study"
to = ["spare"]

[[routes.pet.requires]]
Modality = "PT"
"""


@pytest.fixture
def files(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "node.toml").write_text(CONFIGURATION)
    make.files(tmp_path / "in", make.series(2))
    return sorted(f"in/{path.name}" for path in (tmp_path / "in").iterdir())


def invoke(*words: str) -> str:
    result = CliRunner().invoke(cli.program(words), [*words, "--config", "node.toml"])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.stdout


def test_each_route_says_why_and_what_would_happen(files: list[str]) -> None:
    shown = invoke("rules", "test", *files).splitlines()
    assert shown[: len(shown) // 2] == [
        f"{files[0]}: keep, no rule matches",
        "  phantoms: no, PatientID has 'SYN-0001' and not 'QA*'",
        "  ward: no, source has no value and not 'WARD'",
        "  route ward: no, InstitutionName has 'Test Hospital' and not 'X'",
        "  route head: yes, Modality has 'CT' as in '~^c[rt]$'; source has no value and not 'NOISE'",
        "  route nightly: yes, instances has '2' as in '>1'; verdict has 'complete' as in 'complete'",
        "  route pet: yes, it has no condition",
        "  as it comes: to either (the first of archive, spare that is up) by head, high",
        (
            "  once its series has settled: to archive, research by nightly, while nights is open, "
            "held for a person unless it is complete"
        ),
        "    for archive: compress into JPEG 2000 Lossless, without loss",
        "    for research: compress into JPEG 2000 Lossless, without loss",
        "    for research: coerce tidy: set InstitutionName to 'X'",
        "  once its study has settled: to spare by pet",
        "    missing is a series where Modality is 'PT'",
    ]


def test_how_it_settled_and_how_many_can_be_said(files: list[str]) -> None:
    assert "route nightly: no, instances has '1'" in invoke("rules", "test", files[0])
    assert "route nightly: yes" in invoke("rules", "test", files[0], "--instances", "5")
    assert "verdict has 'partial' and not" in invoke("rules", "test", *files, "--verdict", "partial")


def test_routes_see_what_is_presented_and_only_what_is_kept(files: list[str]) -> None:
    shown = invoke("rules", "test", files[0], "--source", "WARD")
    assert "route ward: yes, InstitutionName has 'X' as in 'X'" in shown
    pathlib.Path("node.toml").write_text(CONFIGURATION.replace('"QA*"', '"SYN*"'))
    shown = invoke("rules", "test", files[0])
    assert shown.splitlines()[-1] == "  routes are not asked: it is not kept"
    assert "route ward" not in shown


def test_a_program_is_told_the_same(files: list[str]) -> None:
    first, second = map(json.loads, invoke("rules", "test", *files, "--json").splitlines())
    assert first["rule"] is None
    assert [(one["route"], one["matches"], one["asked"]) for one in first["routes"]] == [
        ("ward", False, True),
        ("head", True, True),
        ("nightly", True, True),
        ("pet", True, True),
    ]
    assert first["effects"]["series"][0]["destinations"] == ["archive", "research"]
    assert first["effects"]["series"][0]["steps"][0]["step"] == "compress"
    assert first["effects"]["instance"][0]["matched"] == {
        "BodyPartExamined": ["PHANTOM"],
        "Modality": ["CT"],
        "source": [""],
    }
    assert second["path"] == files[1]


def test_check_says_what_each_route_does(files: list[str]) -> None:
    port, web = str(ports.free()), f"127.0.0.1:{ports.free()}"
    shown = invoke("check", "--data", "data", "--port", port, "--http", web)
    for line in (
        (
            "route          head: each instance as it comes where (BodyPartExamined is 'HEAD' or Modality is "
            "'~^c[rt]$'), not (source is 'NOISE'): to either, high"
        ),
        "route          nightly, for research: coerce tidy: set InstitutionName to 'X'",
        "destination    research: files research/{StudyInstanceUID}",
        "group          either: the first of archive, spare that is up",
        "calendar       nights: ",
        "routing        what no route matches goes nowhere: it is kept here",
    ):
        assert f"ok    {line}" in shown


WRONG = {
    "a step that there is not": (
        '[[routes.nightly.steps]]\nstep = "compres"\n',
        "step 2 of route nightly: there is no step 'compres'; there are",
    ),
    "a syntax that nothing makes": (
        '[[routes.nightly.steps]]\nstep = "compress"\nsyntax = "JPEGXXL"\n',
        "step 2 of route nightly: syntax = 'JPEGXXL': it is",
    ),
    "a coercion that there is not": (
        '[[routes.nightly.steps]]\nstep = "coerce"\nuse = "tidyy"\n',
        "step 2 of route nightly: there is no coercion 'tidyy'",
    ),
    "a name of files that says nothing": (
        '[destinations.other]\nkind = "folder"\nfolder = "x"\ntemplate = "{PatientNaame}.dcm"\n',
        "destinations.other.template: ",
    ),
}


@pytest.mark.parametrize(("text", "told"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_is_told_with_its_place_before_the_start(
    files: list[str], text: str, told: str
) -> None:
    path = pathlib.Path("node.toml")
    path.write_text(CONFIGURATION.replace("[routes.pet]", f"{text}\n[routes.pet]"))
    with pytest.raises(errors.ConfigError) as caught:
        run._settings(path)
    assert told in str(caught.value)
    if "step" in told:
        line = path.read_text()[: path.read_text().index(text)].count("\n") + 1
        assert str(caught.value).startswith(f"node.toml:{line}: ")
    wrong = [says for _, ok, says in forwarding.look(config.load(path)) if not ok]
    assert len(wrong) == 1
    assert told in wrong[0]


def test_who_sends_is_told_where_no_worker_does(files: list[str]) -> None:
    path = pathlib.Path("node.toml")
    with_one, with_none = (
        [says for _, _, says in forwarding.look(config.load(path, {"workers": number}))] for number in (1, 0)
    )
    assert set(with_none) - set(with_one) == {
        "workers = 0: nothing is settled or sent until `dicom-node work` runs elsewhere"
    }


def test_a_reload_does_not_mind_where_steps_moved_to(files: list[str]) -> None:
    path = pathlib.Path("node.toml")
    before = run._settings(path)
    path.write_text("# moved\n" + CONFIGURATION)
    assert config.changed(before, run._settings(path)).describe() == "nothing changed"


def test_check_tells_of_what_is_owed_to_a_destination_that_is_gone(files: list[str]) -> None:
    data = stored.data(pathlib.Path("data"))
    path = pathlib.Path("node.toml")
    path.write_text('[node]\ndata = "data"\n' + CONFIGURATION)
    with stored.database(data) as database, database.write() as connection:
        order = ledger.Order("mirror", "1.2", "1.2.3", "r", 1, orders.Priority.NORMAL)
        ledger.enqueue(connection, order, [(1, "1.2.3.4")], datetime.datetime.now(datetime.UTC))
    (found,) = (one for one in check.look(config.load(path)) if one.what == "queue")
    assert not found.ok
    assert found.says.startswith("1 instances are owed to 'mirror', which is no destination here: ")
    path.write_text(
        path.read_text().replace(
            "[destinations.archive]", "[destinations.mirror]\npeer = 'pacs'\n[destinations.archive]"
        )
    )
    assert "queue" not in {one.what for one in check.look(config.load(path))}
