"""A command is found by its name alone, without the others' imports."""

from __future__ import annotations

import pytest
from typer import testing

from node import cli


def names(words: list[str]) -> set[str]:
    """The commands that the program knows when it is called with these words."""
    app = cli.program(words)
    known = {one.name or one.callback.__name__.rstrip("_") for one in app.registered_commands if one.callback}
    return known | {str(group.name or group.typer_instance.info.name) for group in app.registered_groups}


def test_the_table_names_all_that_the_files_register() -> None:
    assert names([]) == set(cli.COMMANDS)


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_a_command_alone_knows_itself(name: str) -> None:
    assert name in names([name, "--help"])


def test_an_unknown_command_is_refused_with_the_nearest_one() -> None:
    done = testing.CliRunner().invoke(cli.program(["sned"]), ["sned"])
    assert done.exit_code == 2
    assert "sned" in done.output
