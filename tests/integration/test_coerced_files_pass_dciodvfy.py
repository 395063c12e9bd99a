"""`dicom-node edit` over every packaged file and synthetic ones: `dciodvfy` has nothing new to say of any."""

from __future__ import annotations

import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys

import pytest

from node import cli
from tests import make, peers
from tests.unit.dicom import datasets

STEPS = """
[[step]]
remap = "secret"
[[step]]
remove = "**.@private"
[[step]]
change = "PatientID"
prefix = "R-"
[[step]]
change = "StudyDescription"
case = "upper"
[[step]]
change = "**.@DA"
shift = -30
[[step]]
copy = "StudyID"
into = "AccessionNumber"
[[step]]
set = "InstitutionName"
to = "Example Hospital"
when = "present"
[[step]]
original = "NODE"
source = "CT1"
"""
LARGEST = 1 << 20  # bytes; a larger file tells nothing more


def complaints(program: str, path: pathlib.Path) -> set[str]:
    """The kinds of its errors and warnings; a fault that Original Attributes keeps is told of twice."""
    done = subprocess.run(
        [program, str(path)], capture_output=True, text=True, check=False, errors="replace", timeout=60
    )
    told = [line for line in (done.stdout + done.stderr).splitlines() if re.match("Error|Warning", line)]
    return {re.sub(r"<[^>]*>|[0-9.]{6,}|0x[0-9a-f]+| 0$", "", line).strip() for line in told}


@pytest.fixture
def corpus(tmp_path: pathlib.Path) -> pathlib.Path:
    folder = tmp_path / "in"
    made = [
        make.instance(1, seed=1),
        make.instance(2, seed=1, lengths="undefined"),
        make.instance(1, seed=2, syntax=make.IMPLICIT, sop_class=make.MR),
        make.instance(1, seed=3, syntax="1.2.840.10008.1.2.2"),
    ]
    make.files(folder / "synthetic", made)
    (folder / "packaged").mkdir()
    for number, name in enumerate(datasets.samples()):
        if os.path.getsize(name) <= LARGEST:
            (folder / "packaged" / f"{number:03}-{pathlib.Path(name).name}").symlink_to(name)
    return folder


def test_what_was_valid_stays_so(
    corpus: pathlib.Path,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    program = peers.require("dciodvfy")
    (tmp_path / "steps.toml").write_text(STEPS)
    out = tmp_path / "out"
    words = ["edit", str(corpus), "--steps", str(tmp_path / "steps.toml"), "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["dicom-node", *words])
    with pytest.raises(SystemExit):
        cli.main()
    refused = capsys.readouterr().err.splitlines()
    edited = sorted(path for path in out.rglob("*") if path.is_file())
    assert len(edited) > 40, refused
    pairs = [(corpus / path.relative_to(out), path) for path in edited]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        before = list(pool.map(lambda pair: complaints(program, pair[0]), pairs))
        after = list(pool.map(lambda pair: complaints(program, pair[1]), pairs))
    new = {
        str(path.relative_to(out)): sorted(late - early)
        for path, early, late in zip(edited, before, after, strict=True)
        if late - early
    }
    assert not new, "\n".join(f"{name}: {lines}" for name, lines in new.items())
