"""Programs that the tests talk with: where they are, and the environment they run in."""

from __future__ import annotations

import os
import shutil

import pytest

PACKAGES = {
    "storescu": "dcmtk",
    "storescp": "dcmtk",
    "echoscu": "dcmtk",
    "dcmsend": "dcmtk",
    "findscu": "dcmtk",
    "wlmscpfs": "dcmtk",
    "movescu": "dcmtk",
    "getscu": "dcmtk",
    "dcm2niix": "dcm2niix",
    "dcmqrscp": "dcmtk",
    "dcmdump": "dcmtk",
    "dcmconv": "dcmtk",
    "dcmcjpeg": "dcmtk",
    "dcmcjpls": "dcmtk",
    "dcmcrle": "dcmtk",
    "dcmdjpeg": "dcmtk",
    "dcmdjpls": "dcmtk",
    "dcmdrle": "dcmtk",
    "dciodvfy": "dicom3tools",
    "Orthanc": "orthanc",
    "chromium": "chromium",
    "systemd-analyze": "systemd",
    "cc": "gcc",
    "postgres": "postgresql",
    "initdb": "postgresql",
}


def require(program: str) -> str:
    """The path of `program`; without it the test is skipped, and fails where CI=true."""
    places = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/usr/lib/postgresql/15/bin"
    found = shutil.which(program, path=places)
    if found:
        return found
    text = f"{program} is not installed: apt-get install {PACKAGES.get(program, program)}"
    if os.environ.get("CI") == "true":
        pytest.fail(text)
    pytest.skip(text)


def environment(**more: str) -> dict[str, str]:
    """The environment for a peer program: without TCP_NODELAY DCMTK stalls 40 ms per message."""
    return {**os.environ, "TCP_NODELAY": "1", **more}
