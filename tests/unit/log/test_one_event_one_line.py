"""Whatever foreign text an event carries, it is one line that a machine can read."""

from __future__ import annotations

import ast
import inspect
import io
import json
import os
import pathlib
import threading
import unicodedata
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node import errors, log, log_forwarding, logline, model

EVENTS = {
    name: function
    for name, function in (vars(log) | vars(log_forwarding)).items()
    if inspect.isfunction(function)
    and not name.startswith("_")
    and name not in {"configure", "set_level", "level", "debugging"}
}
HOSTILE = 'EVIL\n{"action":"forged"}\r\n\x1b[2J\x00\x85\u2028\u202e\ud800<b>'


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    yield
    log._journal.__init__()  # type: ignore[misc]


def written(settings: model.LogSettings, *calls: Callable[[], None]) -> str:
    stream = io.StringIO()
    log.configure(settings, "listen-1", stream)
    for call in calls:
        call()
    return stream.getvalue()


def records(*calls: Callable[[], None], **settings: Any) -> list[dict[str, Any]]:
    text = written(model.LogSettings(**({"level": "debug", "format": "json"} | settings)), *calls)
    return [json.loads(line) for line in text.split("\n")[:-1]]


def arguments(function: Callable[..., None], text: str) -> dict[str, object]:
    """One value for each parameter, by its annotation; a text wherever a text may stand."""
    found: dict[str, object] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        declared = str(parameter.annotation)
        if name == "level":
            found[name] = text
        elif declared.startswith("Sequence"):
            found[name] = [text]
        elif declared.startswith("Mapping"):
            found[name] = {text: text}
        elif declared == "BaseException":
            found[name] = ValueError(text)
        elif declared.startswith(("str", "object")):
            found[name] = text
        elif declared.startswith("bool"):
            found[name] = True
        elif declared.startswith("int"):
            found[name] = 7
        else:
            found[name] = 0.5
    return found


@pytest.mark.parametrize("form", ["json", "text"])
@pytest.mark.parametrize("name", EVENTS)
def test_every_event_is_one_printable_line(name: str, form: str) -> None:
    function = EVENTS[name]
    settings = model.LogSettings(level="debug", format=form, patient_data=True)
    text = written(settings, lambda: function(**arguments(function, HOSTILE)))
    assert text.endswith("\n")
    line = text[:-1]
    assert all(unicodedata.category(sign) not in {"Cc", "Cf", "Cs", "Zl", "Zp"} for sign in line)
    told = arguments(function, HOSTILE).values()
    assert "EVIL" in line or not any("EVIL" in str(value) for value in told)
    assert name in line


@pytest.mark.parametrize("name", EVENTS)
def test_the_action_is_the_name_of_the_function(name: str) -> None:
    function = EVENTS[name]
    (record,) = records(lambda: function(**arguments(function, "x")))
    assert record["action"] == name
    assert record["process"] == "listen-1"
    assert record["level"] in logline.LEVELS
    assert record["event"]
    assert record["timestamp"].endswith("Z")


def test_every_field_that_an_event_takes_is_written() -> None:
    """`locals()` writes them: a variable of ours must not get among them, nor one be overwritten."""
    for name, function in EVENTS.items():
        given_fields = arguments(function, "x")
        (record,) = records(lambda f=function, a=given_fields: f(**a), patient_data=True)  # type: ignore[misc]
        extra = (
            set(record)
            - set(given_fields)
            - {"action", "process", "level", "event", "timestamp", "traceback"}
        )
        missing = set(given_fields) - set(record)
        if name == "level_changed":
            assert extra == {"to"}
        else:
            assert not extra, name
        assert not missing - {"clean", "missed", "kept", "tls"}, name


@given(st.text(), st.text())
def test_any_text_at_all(calling: str, why: str) -> None:
    (record,) = records(lambda: log.association_rejected(calling=calling, called="", address="", why=why))
    assert record["action"] == "association_rejected"


def test_patient_data_appears_only_when_the_setting_says_so() -> None:
    def call() -> None:
        log.instance_conflict(sop_instance="1.2", held="sha256:a", came="sha256:b", patient_id="DOE-1")

    (quiet,) = records(call)
    (loud,) = records(call, patient_data=True)
    assert "DOE" not in json.dumps(quiet)
    assert quiet["sop_instance"] == "1.2"
    assert loud["patient_id"] == "DOE-1"


def test_no_event_takes_a_patient_by_another_name() -> None:
    for name, function in EVENTS.items():
        for parameter in inspect.signature(function).parameters:
            assert "patient" not in parameter or parameter in logline.PATIENT_FIELDS, name


def test_statuses_are_four_hexadecimal_digits() -> None:
    (record,) = records(lambda: log.instance_refused(sop_instance="1.2", why="full", status=0xA700))
    assert record["status"] == "A700"


def test_what_is_not_known_is_left_out() -> None:
    (record,) = records(lambda: log.connection_dropped(address="1.2.3.4", why="silent"))
    assert set(record) == {"action", "process", "level", "event", "timestamp", "address", "why"}


def test_an_error_raised_on_purpose_is_its_sentence() -> None:
    (record,) = records(lambda: log.config_refused(error=errors.ConfigError("2 mistakes:\n  a\n  b")))
    assert record["error"] == "2 mistakes:; a; b"
    assert "traceback" not in record


def test_a_fault_of_ours_has_its_way_on_the_same_line() -> None:
    name = "nothing"

    def crash() -> None:
        try:
            {}[name]
        except KeyError as error:
            log.role_crashed(role="work-1", error=error)

    (record,) = records(crash)
    assert record["error"] == "KeyError: 'nothing'"
    assert "test_one_event_one_line.py" in record["traceback"]


def test_long_values_and_long_lists_are_cut() -> None:
    (record,) = records(lambda: log.config_reloaded(applied=["x" * 5000] + ["y"] * 100))
    assert len(json.dumps(record)) < 2000
    assert record["applied"][0].endswith("(5000 characters)")
    assert record["applied"][-1] == "... 89 more"


def test_levels_change_while_running() -> None:
    def calls() -> None:
        log.instance_stored(sop_instance="1")
        log.set_level("debug")
        assert log.debugging()
        log.instance_stored(sop_instance="2")
        log.set_level("error")
        log.disk_recovered(free=1, min_free=1)
        log.disk_low(free=1, min_free=2)
        log.level_changed(level="error")

    found = records(calls, level="info")
    assert [record["action"] for record in found] == ["instance_stored", "disk_low", "level_changed"]
    assert found[0]["sop_instance"] == "2"
    assert log.level() == "error"


def test_a_level_that_is_not_known() -> None:
    with pytest.raises(
        errors.ConfigError, match="'loud' is not known: give one of debug, info, warning, error"
    ):
        log.set_level("loud")


def test_a_summary_is_info_and_an_instance_is_debug() -> None:
    text = written(
        model.LogSettings(format="json"),
        lambda: log.instance_stored(sop_instance="1"),
        lambda: log.association_closed(association="a", calling="CT", stored=300),
    )
    assert [json.loads(line)["action"] for line in text.splitlines()] == ["association_closed"]


def test_json_where_the_output_is_no_terminal() -> None:
    text = written(model.LogSettings(format="auto"), lambda: log.disk_low(free=1, min_free=2))
    assert json.loads(text)["action"] == "disk_low"


def test_readable_where_it_is_one() -> None:
    reader, writer = os.openpty()
    with open(writer, "w") as stream:
        log.configure(model.LogSettings(format="auto"), "listen-1", stream)
        log.connection_dropped(address="10.0.0.9", why="no shared cipher")
        shown = os.read(reader, 4096).decode()
    os.close(reader)
    assert "connection dropped" in shown
    assert "no shared cipher" in shown
    assert not shown.startswith("{")


def test_lines_of_threads_do_not_mix(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "log"
    with path.open("w") as stream:
        log.configure(model.LogSettings(format="json"), "x", stream)
        threads = [
            threading.Thread(
                target=lambda n=n: [log.disk_low(free=n, min_free=i, path="p" * 500) for i in range(50)]
            )
            for n in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert sorted((line["free"], line["min_free"]) for line in lines) == [
        (n, i) for n in range(8) for i in range(50)
    ]


def test_a_reader_that_went_away_does_not_take_the_node_with_it() -> None:
    reader, writer = os.pipe()
    with open(writer, "w") as stream:
        log.configure(model.LogSettings(format="json"), "x", stream)
        os.close(reader)
        log.disk_low(free=1, min_free=2)
        assert log.level() == "info"


def test_a_full_disk_does_not_either() -> None:
    with pathlib.Path("/dev/full").open("w") as stream:
        log.configure(model.LogSettings(format="json"), "x", stream)
        log.disk_low(free=1, min_free=2)
        assert log.level() == "info"


def test_nothing_is_imported_before_the_first_line() -> None:
    tree = ast.parse(pathlib.Path(logline.__file__).read_text())
    top = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert not any("structlog" in ast.dump(node) for node in top)
