"""What `dciodvfy` says of an edited file: nothing that it did not say of the original."""

from __future__ import annotations

import collections
import pathlib
import re
import subprocess

import pytest

from node.dicom import edit, uids
from tests import peers
from tests.unit.dicom import datasets

NAMES = [
    "CT_small.dcm",
    "MR_small.dcm",
    "MR_small_implicit.dcm",
    "MR_small_bigendian.dcm",
    "JPEG2000.dcm",
    "SC_rgb_rle_2frame.dcm",
    "rtplan.dcm",
    "test-SR.dcm",
    "waveform_ecg.dcm",
]
CHANGES = [
    edit.Set("PatientName", "Doe^Jane"),
    edit.Set("PatientID", "ANON-1"),
    edit.Set("StudyDescription", "An edited study"),
    edit.Set("RequestAttributesSequence[0].RequestedProcedureID", "P1"),
    edit.Set("RequestAttributesSequence[0].ScheduledProcedureStepID", "S1"),
    edit.Remove("**.@private"),
    edit.RemapUids(lambda uid: uids.derived("", "test", uid)),
]


def complaints(program: str, path: pathlib.Path) -> collections.Counter[str]:
    """Its errors and warnings, without the values in them."""
    done = subprocess.run(
        [program, str(path)], capture_output=True, text=True, check=False, errors="replace", timeout=60
    )
    lines = (done.stdout + done.stderr).splitlines()
    told = [line for line in lines if line.startswith(("Error", "Warning"))]
    return collections.Counter(re.sub(r"<[^>]*>|[0-9.]+|0x[0-9a-f]+", "", line) for line in told)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("utf8", [False, True])
def test_an_edit_brings_no_new_complaint(tmp_path: pathlib.Path, name: str, utf8: bool) -> None:
    program = peers.require("dciodvfy")
    try:
        source = datasets.packaged(name)
    except StopIteration:
        pytest.skip(f"{name} is not packaged")
    raw = source.read_bytes()
    changes = [*CHANGES, edit.Set("PatientName", "Müller^Zoë=東京" if utf8 else "Doe^Jane")]
    if not name.startswith(("CT", "MR")):  # elsewhere these attributes are an extension
        changes = [change for change in changes if "RequestAttributes" not in str(change)]
    # of a report, the content tree from before would be judged like the one that counts
    kept = edit.Original("NODE", source="test") if utf8 and "SR" not in name else None
    result = edit.edit_file(raw, changes, original=kept)
    before, after = tmp_path / "before", tmp_path / "after"
    before.write_bytes(raw)
    after.write_bytes(result.tobytes())
    new = complaints(program, after) - complaints(program, before)
    assert not new, "\n".join(new)
