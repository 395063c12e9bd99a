"""What `dciodvfy` says of a transcoded file: nothing that it did not say of the original."""

from __future__ import annotations

import io
import pathlib

import pytest

from node.dicom import part10, transcode
from tests import make, peers
from tests.integration import test_edits_pass_dciodvfy as edits
from tests.unit.dicom import datasets

JPEG = "1.2.840.10008.1.2.4."
WAYS = [
    ("CT_small.dcm", (make.JPEG_LS, make.RLE, make.BIG, make.IMPLICIT)),
    ("MR_small.dcm", (make.JPEG2000, JPEG + "70", make.EXPLICIT)),
    ("MR_small_bigendian.dcm", (make.IMPLICIT, make.RLE)),
    ("JPEG2000.dcm", (make.EXPLICIT, make.JPEG_LS)),
    ("SC_rgb_rle_2frame.dcm", (make.EXPLICIT, make.JPEG2000, make.RLE)),
    ("SC_rgb_jpeg_dcmtk.dcm", (make.EXPLICIT, JPEG + "70")),
    ("examples_ybr_color.dcm", (make.EXPLICIT,)),
    ("rtplan.dcm", (make.EXPLICIT, make.BIG, make.IMPLICIT)),
    ("test-SR.dcm", (make.IMPLICIT, make.BIG, make.EXPLICIT)),
    ("waveform_ecg.dcm", (make.IMPLICIT, make.BIG, make.EXPLICIT)),
]


@pytest.mark.parametrize(("name", "way"), WAYS)
def test_no_new_complaint(name: str, way: tuple[str, ...], tmp_path: pathlib.Path) -> None:
    program = peers.require("dciodvfy")
    try:
        source = datasets.packaged(name)
    except StopIteration:
        pytest.skip(f"{name} is not packaged")
    raw = source.read_bytes()
    head = part10.part10(raw)
    before, after = tmp_path / "before", tmp_path / "after"
    before.write_bytes(raw)
    data, syntax = raw[head.offset :], head.syntax
    known = edits.complaints(program, before)
    for target in way:
        out = io.BytesIO()
        transcode.transcode(data, syntax, target, out)
        data, syntax = out.getvalue(), target
        made = make.Made(head.sop_class, head.sop_instance, "", "", syntax, data)
        after.write_bytes(make.part10(made))
        new = edits.complaints(program, after) - known
        assert not new, f"{target}: " + "\n".join(new)
