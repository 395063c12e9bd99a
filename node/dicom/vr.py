"""Value representations and the data dictionary, in the form that a walk over bytes needs."""

from __future__ import annotations

import functools
import importlib.util
import pathlib
import re
import struct
from collections.abc import Mapping
from typing import Any

# fmt: off
SHORT_VRS = ("AE", "AS", "AT", "CS", "DA", "DS", "DT", "FL", "FD", "IS", "LO", "LT", "PN", "SH", "SL", "SS",
             "ST", "TM", "UI", "UL", "US")
LONG_VRS = ("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV")
# fmt: on
# the lengths of LONG_VRS have four bytes, behind two reserved ones

ITEM = 0xFFFEE000
ITEM_END = 0xFFFEE00D
SEQUENCE_END = 0xFFFEE0DD
PIXEL_DATA = 0x7FE00010
UNDEFINED = 0xFFFFFFFF


def _codes(names: tuple[str, ...], order: str) -> list[str | None]:
    """VR names by the number that their two letters make when read as an unsigned short.

    A list of 65,536 and not a dict: the walk looks here once an element, and an index is cheaper.
    """
    table: list[str | None] = [None] * 65536
    for name in names:
        table[struct.unpack(order + "H", name.encode())[0]] = name
    return table


SHORT = {order: _codes(SHORT_VRS, order) for order in "<>"}
LONG = {order: _codes(LONG_VRS, order) for order in "<>"}


@functools.cache
def _table(module: str, name: str) -> Mapping[Any, Any]:
    """A table of pydicom's dictionaries, loaded when first needed.

    By the path of its file and not through the package: that takes a hundredth of a second, where importing
    pydicom takes half of one and 30 MB, in the middle of the first instance that a listener receives.
    """
    package = importlib.util.find_spec("pydicom")
    assert package is not None
    assert package.origin is not None
    path = pathlib.Path(package.origin).with_name(f"{module}.py")
    spec = importlib.util.spec_from_file_location(f"node.dicom.{module}", path)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    table: Mapping[Any, Any] = getattr(loaded, name)
    return table


def _public() -> Mapping[int, tuple[str, ...]]:
    """Tag to VR, multiplicity, name, retired, keyword."""
    return _table("_dicom_dict", "DicomDictionary")


@functools.cache
def dictionary() -> Mapping[int, str]:
    """The VR of each public element."""
    return {tag: _first(entry[0]) for tag, entry in _public().items()}


def signed_or_not(tag: int) -> bool:
    """Whether an element is US or SS, as Pixel Representation says."""
    entry = _public().get(tag)
    return entry is not None and "US or SS" in entry[0] and "OW" not in entry[0]


def private(creator: str, tag: int) -> str:
    """The VR of a private element by its creator, `UN` when it is not in the dictionary of vendors."""
    known = _table("_private_dict", "private_dictionaries").get(creator, {})
    entry = known.get(f"{tag >> 16:04X}xx{tag & 0xFF:02X}")
    return _first(entry[0]) if entry else "UN"


@functools.cache
def _repeaters() -> tuple[tuple[int, int, str], ...]:
    """(mask, value, VR) of the repeating groups: curves, overlays and their like."""
    rows = []
    for pattern, entry in _table("_dicom_dict", "RepeatersDictionary").items():
        mask = int("".join("0" if c == "x" else "F" for c in pattern), 16)
        value = int(pattern.replace("x", "0"), 16)
        rows.append((mask, value, _first(entry[0])))
    return tuple(rows)


def _first(vr: str) -> str:
    """Of `US or SS` and its like the first, but OW where it is among them: the implicit VR's reading."""
    if " or " not in vr:
        return vr if vr != "NONE" else "UN"
    names = vr.split(" or ")
    return "OW" if "OW" in names else names[0]


def of(tag: int) -> str:
    """The VR of an element in implicit VR: `UN` for what only a private dictionary could tell."""
    group, element = tag >> 16, tag & 0xFFFF
    if element == 0:
        return "UL"
    if group & 1:
        return "LO" if 0x10 <= element <= 0xFF else "UN"
    known = dictionary().get(tag)
    if known is not None:
        return known
    for mask, value, vr in _repeaters():
        if tag & mask == value:
            return vr
    return "UN"


class _Implicit(dict[int, str]):
    """VRs by tag for the walk over implicit VR; only public elements are kept, so nobody can fill it."""

    def __missing__(self, tag: int) -> str:
        name = of(tag)
        if tag in dictionary():
            self[tag] = name
        return name


IMPLICIT = _Implicit()


@functools.cache
def keywords() -> Mapping[str, int]:
    """Tags by keyword."""
    return {entry[4]: tag for tag, entry in _public().items() if entry[4]}


@functools.cache
def _names() -> Mapping[int, str]:
    return {tag: keyword for keyword, tag in keywords().items()}


def keyword(tag: int) -> str:
    """The keyword of a public element, "" where there is none."""
    return _names().get(tag, "")


@functools.cache
def class_uids() -> frozenset[int]:
    """Elements of VR UI that name classes, syntaxes and schemes, so that a change of identity leaves them."""
    found = set()
    for tag, entry in _public().items():
        name = entry[4]
        if entry[0] == "UI" and (_NAMES_A_CLASS.search(name) or name in _NAMES_A_SCHEME):
            found.add(tag)
    return frozenset(tag for tag in found if 0x00040000 <= tag < 0x7FE00000)


_NAMES_A_CLASS = re.compile(r"Class(UID|es)|SyntaxUID|SOPClass")
_NAMES_A_SCHEME = {"CodingSchemeUID", "ContextUID", "MappingResourceUID", "ContextGroupExtensionCreatorUID"}


def uid_name(uid: str) -> str:
    """What the standard calls a UID of its own: "CT Image Storage"; "" for any other."""
    entry = _table("_uid_dict", "UID_dictionary").get(uid)
    return str(entry[0]) if entry else ""


def show(tag: int) -> str:
    """A tag as people write it: (0010,0020)."""
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


def nearest(name: str) -> str:
    """A hint for a keyword that does not exist, "" when nothing is near."""
    import difflib

    by_folded = {key.casefold(): key for key in keywords()}
    close = difflib.get_close_matches(name.casefold(), by_folded, n=1, cutoff=0.6)
    return f"; did you mean {by_folded[close[0]]}?" if close else ""
