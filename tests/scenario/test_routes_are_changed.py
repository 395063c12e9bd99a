"""Other routes take effect at a reload, wrong ones change nothing, and what differs is told beforehand."""

from __future__ import annotations

import time
from collections.abc import Callable

from tests import make, scu
from tests.scenario import harness

NESTED = "RequestAttributesSequence.ScheduledProcedureStepID"
ROUTES = """
[completeness.all]
released = "200ms"
quiet = "600s"

[destinations.one]
kind = "folder"
folder = "{work}/one"

[destinations.two]
kind = "folder"
folder = "{work}/two"

[routes.chosen]
to = ["{to}"]
when.'0009,xx01 "SYNTH HEADER 1"' = "~^private (text|data)$"
when.{nested} = "STEP*"
when.any = [{{Modality = "MR"}}, {{SliceThickness = ">2"}}]
when.not = {{source = "NOISE"}}
{steps}
"""
STEPS = '[[routes.chosen.steps]]\nstep = "compres"'


def send(node: harness.Node, seed: str, calling: str = "CT1") -> list[make.Made]:
    made = make.series(2, seed=seed)
    with scu.call(node.address, made, calling=calling) as caller:
        assert [caller.store(one).status for one in made] == [0, 0]
        caller.release()
    return made


def until(node: harness.Node, holds: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end, f"{what}\n{node.tail()}"
        time.sleep(0.05)


def went(node: harness.Node, made: list[make.Made]) -> str:
    """The folder that all of a series arrive in."""
    wanted = {f"{one.sop_instance}.dcm" for one in made}
    folders = {name: node.work / name for name in ("one", "two")}
    found: list[str] = []

    def holds() -> bool:
        found[:] = [
            name for name, at in folders.items() if wanted <= {path.name for path in at.rglob("*.dcm")}
        ]
        return bool(found)

    until(node, holds, "the series arrived nowhere")
    return " and ".join(found)


def test_other_routes_take_effect_and_wrong_ones_do_not(make_node: Callable[..., harness.Node]) -> None:
    node = make_node()
    base = node.config.read_text()

    def configure(to: str, steps: str = "") -> None:
        node.config.write_text(base + ROUTES.format(work=node.work, to=to, nested=NESTED, steps=steps))

    configure("one")
    node.start()
    assert went(node, send(node, "first")) == "one"

    configure("two")
    told = node.command("replay", "--since", "1h")
    assert told.returncode == 1, told.stderr
    assert "  was one by chosen\n  is  two by chosen\n" in told.stdout
    assert "1 decisions looked at: 0 the same, 1 to somewhere else" in told.stdout

    configure("two", STEPS)
    refused = node.command("reload")
    assert refused.returncode == 2
    line = node.config.read_text().split("[[routes.chosen.steps]]")[0].count("\n") + 1
    assert f"node.toml:{line}: step 1 of route chosen: there is no step 'compres'" in refused.stderr
    assert went(node, send(node, "second")) == "one"

    configure("two")
    done = node.command("reload")
    assert done.returncode == 0, done.stderr
    assert "routes.chosen" in done.stdout
    # The workers take it over a moment after the supervisor has.
    for attempt in range(200):
        if went(node, send(node, f"after {attempt}")) == "two":
            break
    else:
        raise AssertionError(f"the routes are the old ones\n{node.tail()}")
    assert went(node, send(node, "last")) == "two"
