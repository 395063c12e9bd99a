"""Whatever stands in the file: it is read, or every mistake is told; nothing else comes of it."""

from __future__ import annotations

import pathlib
import tomllib

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node import config
from node.config import tables

VALUES = st.sampled_from(
    [
        *("1", "-1", "0", "1.5", "nan", "inf", "true", "false", "99999999999999999999"),
        *('"x"', '""', '"d"', '"~("', '"5m"', '"10 MB"', '"\\u0000"', '"instance"', '"first"', '"urgent"'),
        *('"folder"', '"command"', '"Europe/Berlin"', '"1.2.3"', '"09:30"', '"* * * * *"'),
        *("[]", '["x"]', "[1]", '[["x"]]', '["d", "d"]', '["mon-fri"]', '["19:00-06:00"]', '["x", "{in}"]'),
        *("{}", '{a = "b"}', "{a = 1}", '{Modality = "CT"}', '{any = [{not = {Modality = "~a"}}]}'),
        *('[{Modality = "CT"}]', '[{step = "coerce"}]', "[{step = 2026-01-01}]", "[{}]"),
        *("2026-01-01", "10:00:00", "2026-01-01T10:00:00Z"),
    ]
)
KEYS = st.sampled_from(
    [
        *("Modality", "any", "all", "not", "verdict", "instances", "source", '"0010,0010"', '"[0]"', '"@PN"'),
        *("RequestAttributesSequence.X", "PatientID.X", "'0019,xx01 \"A\"'", '"**.PatientName"', '"%s"'),
    ]
)


@st.composite
def files(draw: st.DrawFn) -> str:
    lines = []
    for path, table in tables.TABLES.items():
        if draw(st.booleans()):
            lines.append(f"[{'.'.join(path)}]")
            lines += _keys(draw, [*table.keys])
    for section, table in tables.NAMED.items():
        for name in draw(st.sets(st.sampled_from("abd"), max_size=2)):
            lines.append(f"[{section}.{name}]")
            lines += _keys(draw, [*table.keys, *table.lists])
            for key in draw(st.sets(KEYS, max_size=2)) if table.inner else ():
                lines.append(f"when.{key} = {draw(VALUES)}")
    return "\n".join(lines) + "\n"


def _keys(draw: st.DrawFn, keys: list[str]) -> list[str]:
    return [f"{key} = {draw(VALUES)}" for key in sorted(draw(st.sets(st.sampled_from(keys), max_size=4)))]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return tmp_path_factory.mktemp("config") / "node.toml"


@hypothesis.settings(max_examples=60, deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
@given(text=files())
def test_a_file_is_read_or_refused(place: pathlib.Path, text: str) -> None:
    tomllib.loads(text)
    place.write_text(text)
    mistakes: tuple[str, ...] = ()
    try:
        config.load(place)
    except config.Mistakes as told:
        mistakes = told.mistakes
    assert all(mistake.startswith(f"{place}:") and mistake.isprintable() for mistake in mistakes)
