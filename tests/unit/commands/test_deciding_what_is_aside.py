"""`aside` beside no running node: what it lists, what it asks, and what it says to what cannot be."""

from __future__ import annotations

import io
import json
import pathlib
from collections.abc import Callable

import pytest
from typer.testing import CliRunner

from node import cli, errors, evaluate, log, model, receive
from node.index import audit
from tests import make, stored

(FIRST,) = make.series(1, seed="aside")
SECOND = make.altered(FIRST)
(ODD,) = make.series(1, seed="aside odd")
RULES = (model.Rule("look", model.Action.QUARANTINE, "odd", when=evaluate.of({"source": "ODD"})),)
CONFIG = """
[rules.look]
action = "quarantine"
reason = "odd"
when = { source = "ODD" }
"""

Invoke = Callable[..., str]


@pytest.fixture
def root(tmp_path: pathlib.Path) -> pathlib.Path:
    log.configure(model.LogSettings(), "test", io.StringIO())
    data = stored.data(tmp_path / "data")
    with stored.database(data) as database, stored.receiver(data) as receiver:
        for one in (FIRST, SECOND):
            stored.send(receiver, one)
        stored.send(receiver, ODD, receive.Sender("ODD", "NODE", "192.0.2.7", "", "assoc-2"))
        stored.file_all(data, database, RULES)
    return data.root


@pytest.fixture
def aside(root: pathlib.Path) -> Invoke:
    """Run `aside` words and return what they print."""
    config = root.parent / "node.toml"
    config.write_text(CONFIG)

    def invoke(*words: str, typed: str | None = None) -> str:
        arguments = ["aside", *words, "--data", str(root), "--config", str(config)]
        result = CliRunner().invoke(cli.program(), arguments, input=typed)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.stdout

    return invoke


def digests(aside: Invoke) -> list[str]:
    return [entry["digest"] for entry in json.loads(aside("list", "--json"))]


def test_both_kinds_are_listed(aside: Invoke) -> None:
    beside, away = json.loads(aside("list", "--json"))
    assert (beside["kind"], beside["digest"], beside["held"]) == ("conflict", SECOND.digest, FIRST.digest)
    assert (away["kind"], away["rule"], away["held"]) == ("quarantine", "look", None)
    printed = aside("list")
    for word in (FIRST.sop_instance, SECOND.digest, FIRST.digest, "look: odd", "ODD", "quarantine/"):
        assert word in printed
    assert printed.endswith("2 set aside\n")


def test_a_release_gets_past_the_configured_rule(aside: Invoke, root: pathlib.Path) -> None:
    said = aside("release", ODD.sop_instance, "--why", "looked at")
    assert said == "1 released into the store, 1 files removed\n"
    data = stored.layout.Data(root)
    with stored.database(data) as database:
        assert stored.bodies(data, database)[ODD.sop_instance] == ODD.data
        with database.read() as connection:
            assert list(audit.unaccounted(connection)) == []


def test_a_replacement_asks_and_replaces(aside: Invoke, root: pathlib.Path) -> None:
    with pytest.raises(errors.UsageError, match="nothing was replaced"):
        aside("replace", FIRST.sop_instance, "--why", "cut short", typed="n\n")
    assert len(digests(aside)) == 2
    said = aside("replace", FIRST.sop_instance, "--why", "cut short", "--yes")
    assert said.endswith("1 put in the place of what was held, 2 files removed\n")
    data = stored.layout.Data(root)
    with stored.database(data) as database:
        assert stored.bodies(data, database) == {FIRST.sop_instance: SECOND.data}


def test_a_discard_asks_and_discards(aside: Invoke) -> None:
    with pytest.raises(errors.UsageError, match="nothing was discarded"):
        aside("discard", ODD.sop_instance, "--why", "a test", typed="n\n")
    assert len(digests(aside)) == 2
    assert aside("discard", ODD.series, "--why", "a test", "--yes").endswith("1 discarded, 1 files removed\n")
    assert digests(aside) == [SECOND.digest]


def test_a_digest_says_which(aside: Invoke) -> None:
    hexadecimal = SECOND.digest.removeprefix("sha256:")
    with pytest.raises(errors.NotFound, match="with a digest"):
        aside("discard", FIRST.sop_instance, "--digest", ODD.digest, "--why", "a test", "--yes")
    with pytest.raises(errors.UsageError, match="no beginning of a digest"):
        aside("discard", FIRST.sop_instance, "--digest", "%", "--why", "a test", "--yes")
    aside("discard", FIRST.sop_instance, "--digest", hexadecimal[:8].upper(), "--why", "a test", "--yes")
    assert digests(aside) == [ODD.digest]


def test_a_conflict_is_not_released_and_says_what_to_do(aside: Invoke) -> None:
    with pytest.raises(errors.Permanent, match="1 stay where they are"):
        aside("release", FIRST.sop_instance, "--why", "looked at")
    assert digests(aside) == [SECOND.digest, ODD.digest]


@pytest.mark.parametrize("word", ["release", "replace", "discard"])
def test_what_is_not_aside_is_told(aside: Invoke, word: str) -> None:
    with pytest.raises(errors.NotFound, match=r"nothing is set aside as '1\.2\.3'.*aside list"):
        aside(word, "1.2.3", "--why", "a test")


@pytest.mark.parametrize("word", ["release", "discard"])
def test_a_blank_reason_is_none(aside: Invoke, word: str) -> None:
    more = ["--yes"] if word == "discard" else []
    with pytest.raises(errors.UsageError, match="needs a reason"):
        aside(word, ODD.sop_instance, "--why", "  ", *more)
    assert len(digests(aside)) == 2


def test_what_is_in_nobodys_way_replaces_nothing(aside: Invoke) -> None:
    with pytest.raises(errors.UsageError, match="nothing is held in the place"):
        aside("replace", ODD.sop_instance, "--why", "a test", "--yes")
    assert len(digests(aside)) == 2
