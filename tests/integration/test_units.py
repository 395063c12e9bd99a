"""The units that are installed: sound, and hardened as far as the node allows."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import pytest

from tests import peers

UNITS = pathlib.Path(__file__).parents[2] / "systemd"
SERVICES = sorted(path.name for path in UNITS.glob("*.service"))


@pytest.mark.parametrize("unit", SERVICES)
def test_the_exposure_is_at_most_two(unit: str) -> None:
    program = peers.require("systemd-analyze")
    done = subprocess.run(
        [program, "security", "--offline=true", "--no-pager", "--threshold=20", f"./{unit}"],
        cwd=UNITS,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, [*done.stdout.splitlines()[-1:], done.stderr]


def test_systemd_has_nothing_to_say_about_the_units(tmp_path: pathlib.Path) -> None:
    program = peers.require("systemd-analyze")
    for path in UNITS.iterdir():
        if path.suffix in (".service", ".socket"):
            # The program is installed later; any program stands for it here.
            text = path.read_text().replace("/opt/dicom-node/bin/dicom-node", sys.executable)
            (tmp_path / path.name).write_text(text)
    units = [f"./{path.name}" for path in tmp_path.iterdir()]
    done = subprocess.run(
        [program, "verify", "--man=no", "--recursive-errors=no", *units],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    ours = [line for line in done.stderr.splitlines() if "dicom-node" in line]
    assert (done.returncode, ours) == (0, [])


def test_every_service_says_when_it_is_ready() -> None:
    assert len(SERVICES) == 4
    for name in SERVICES:
        lines = (UNITS / name).read_text().splitlines()
        assert "Type=notify" in lines
        assert "StateDirectory=dicom-node" in lines
