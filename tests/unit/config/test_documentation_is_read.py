"""What the documentation shows as configuration is one: every table of it is taken without a mistake."""

from __future__ import annotations

import pathlib
import re

from node import config, orders
from node.commands import forwarding

DOCS = pathlib.Path(__file__).parents[3] / "docs"
# What the examples name and do not show.
REST = """
[peers.ct1]
aet = "CT1"

[peers.ct2]
aet = "CT2"

[destinations.workstation]
peer = "pacs"

[destinations.research]
peer = "pacs"

[destinations.mirror]
peer = "pacs"

[[coerce.tidy]]
set = "InstitutionName"
to = "Example Hospital"

[[coerce.pseudonyms]]
set = "PatientID"
to = "R-1"
"""


def examples(name: str) -> str:
    """Every example of a page in one file; of a table that is shown twice, the fuller one."""
    shown = re.findall(r"```toml\n(.*?)```", (DOCS / name).read_text(), re.DOTALL)
    single: dict[str, str] = {}
    lists: list[str] = []
    for part in re.split(r"(?m)^(?=\[)", "\n".join(shown)):
        title = part.partition("\n")[0].split("#")[0].strip()
        if title.startswith("[["):
            lists.append(part)
        elif len(part) > len(single.get(title, "")):
            single[title] = part
    return "\n".join([*single.values(), *lists])


def test_the_examples_of_forwarding_are_taken(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text(examples("forwarding.md") + REST)
    settings = config.load(path, {}, {})
    assert [route.name for route in settings.routes] == ["trauma", "research", "no-dose-reports"]
    assert {one.kind for one in settings.destinations} == set(orders.Kind)
    assert [step.step for step in settings.routes[1].steps] == ["coerce", "compress"]
    assert settings.routing.default == ("archive",)
    assert settings.groups[0].members == ("archive", "mirror")
    assert settings.completeness[0].ask == "pacs"


def test_the_examples_of_converting_are_taken(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text(examples("convert.md"))
    settings = config.load(path, {}, {})
    assert [step.options["to"] for route in settings.routes for step in route.steps] == ["nifti", "nifti"]
    assert forwarding.mistakes(settings) == []
