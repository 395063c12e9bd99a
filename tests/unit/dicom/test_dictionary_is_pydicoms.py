"""The dictionary is pydicom's, and reading it does not cost what importing pydicom does."""

from __future__ import annotations

import subprocess
import sys

from pydicom import datadict
from pydicom._private_dict import private_dictionaries

from node.dicom import vr

_RECEIVE = """
import sys
from node.dicom import check, header
from tests import make
for syntax in (make.EXPLICIT, make.IMPLICIT):
    made = make.instance(syntax=syntax)
    check.check(made.data, made.syntax)
    header.attributes(made.data, made.syntax)
print(*(name for name in ("pydicom", "numpy", "PIL") if name in sys.modules))
"""


def test_every_public_element_has_pydicoms_vr() -> None:
    for tag in (0x00080018, 0x00100010, 0x00280010, 0x00200032, 0x00081199):
        assert vr.dictionary()[tag] == datadict.dictionary_VR(tag)
        assert vr.keywords()[datadict.keyword_for_tag(tag)] == tag
    assert len(vr.dictionary()) > 5000


def test_repeating_groups_and_private_elements_are_known() -> None:
    assert vr.of(0x60000010) == datadict.dictionary_VR(0x60020010) == "US"
    creator = "SIEMENS CSA HEADER"
    assert private_dictionaries[creator]["0029xx10"][0] == vr.private(creator, 0x00291010)


def test_what_every_instance_goes_through_does_not_import_pydicom() -> None:
    done = subprocess.run([sys.executable, "-c", _RECEIVE], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
