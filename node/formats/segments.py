"""What the labels of a label map mean: names, codes and colours, from a line of text or a JSON file."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import re
from collections.abc import Mapping
from typing import Any

from node import errors

Code = tuple[str, str, str]  # value, coding scheme designator, meaning
TISSUE: Code = ("85756007", "SCT", "Tissue")
ANATOMY: Code = ("123037004", "SCT", "Anatomical Structure")
LESION: Code = ("49755003", "SCT", "Morphologically Abnormal Structure")
# What people call segments most, with its category; what is not here is tissue, and keeps its name.
_KNOWN: Mapping[str, tuple[Code, Code]] = {
    "liver": (ANATOMY, ("10200004", "SCT", "Liver")),
    "spleen": (ANATOMY, ("78961009", "SCT", "Spleen")),
    "kidney": (ANATOMY, ("64033007", "SCT", "Kidney")),
    "heart": (ANATOMY, ("80891009", "SCT", "Heart")),
    "lung": (ANATOMY, ("39607008", "SCT", "Lung")),
    "brain": (ANATOMY, ("12738006", "SCT", "Brain")),
    "bone": (ANATOMY, ("272673000", "SCT", "Bone")),
    "prostate": (ANATOMY, ("41216001", "SCT", "Prostate")),
    "pancreas": (ANATOMY, ("15776009", "SCT", "Pancreas")),
    "aorta": (ANATOMY, ("15825003", "SCT", "Aorta")),
    "lesion": (LESION, ("52988006", "SCT", "Lesion")),
    "tumour": (LESION, ("108369006", "SCT", "Neoplasm")),
    "tumor": (LESION, ("108369006", "SCT", "Neoplasm")),
}
_PART = re.compile(r"\s*(\d{1,5})\s*=\s*([^=]{1,64}?)\s*")
_MOST = 1 << 20  # bytes of a JSON file
_ALGORITHMS = ("AUTOMATIC", "SEMIAUTOMATIC", "MANUAL")


@dataclasses.dataclass(frozen=True, slots=True)
class Segment:
    """One label."""

    label: int  # the value in the map
    name: str  # Segment Label
    category: Code = TISSUE  # Segmented Property Category
    type: Code = TISSUE  # Segmented Property Type
    algorithm: str = "SEMIAUTOMATIC"  # Segment Algorithm Type
    algorithm_name: str = "unknown"  # of the algorithm, where it was not by hand
    colour: tuple[int, int, int] | None = None  # red, green, blue to show it in


def named(label: int, name: str) -> Segment:
    """A segment by its name, with the codes of what is known by that name."""
    category, kind = _KNOWN.get(name.lower(), (TISSUE, TISSUE))
    return Segment(label, name, category, kind)


def parse(text: str) -> tuple[Segment, ...]:
    """Segments as 1=liver,2=tumour or from a JSON file; UsageError when that is none of both."""
    if not text:
        return ()
    if "=" not in text:
        return _file(pathlib.Path(text))
    found: dict[int, Segment] = {}
    for part in text.split(","):
        match = _PART.fullmatch(part)
        if match is None or not match[2].isprintable() or "\\" in match[2] or not int(match[1]):
            raise errors.UsageError(
                f"segments = {text[:80]!r}: name labels from 1 on as in 1=liver,2=tumour, or a JSON file"
            )
        if int(match[1]) in found:
            raise errors.UsageError(f"segments = {text[:80]!r} names the label {match[1]} twice")
        found[int(match[1])] = named(int(match[1]), match[2])
    return tuple(found[label] for label in sorted(found))


def _file(path: pathlib.Path) -> tuple[Segment, ...]:
    try:
        with path.open("rb") as file:
            raw = file.read(_MOST + 1)
        content = json.loads(raw) if len(raw) <= _MOST else None
    except OSError as error:
        raise errors.UsageError(f"segments = {path}: it cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise errors.UsageError(f"segments = {path}: it is not JSON ({error})") from error
    if not isinstance(content, dict):
        raise errors.UsageError(f'segments = {path}: it must be an object as {{"1": {{"name": "liver"}}}}')
    made = [_segment(path, label, one) for label, one in content.items()]
    return tuple(sorted(made, key=lambda segment: segment.label))


def _segment(path: pathlib.Path, label: str, one: Any) -> Segment:
    if not (label.isascii() and label.isdecimal()) or not 0 < int(label[:6]) < 65536:
        raise errors.UsageError(f"segments = {path}: {label[:20]!r} is no label from 1 to 65535")
    said = {"name": one} if isinstance(one, str) else one
    if not isinstance(said, dict) or not isinstance(said.get("name"), str):
        raise errors.UsageError(f"segments = {path}: the label {label} has no name")
    name = said["name"]
    if not 0 < len(name) <= 64 or not name.isprintable() or "\\" in name:
        raise errors.UsageError(f"segments = {path}: the name of label {label} has 1 to 64 characters")
    unknown = said.keys() - {"name", "category", "type", "algorithm", "algorithm_name", "colour"}
    if unknown:
        raise errors.UsageError(f"segments = {path}: label {label} has {min(unknown)!r}, which is nothing")
    made = named(int(label), name)
    if "category" in said:
        made = dataclasses.replace(made, category=_code(path, label, said["category"]))
    if "type" in said:
        made = dataclasses.replace(made, type=_code(path, label, said["type"]))
    if "algorithm" in said:
        if said["algorithm"] not in _ALGORITHMS:
            raise errors.UsageError(f"segments = {path}: algorithm is one of {', '.join(_ALGORITHMS)}")
        made = dataclasses.replace(made, algorithm=said["algorithm"])
    if isinstance(said.get("algorithm_name"), str):
        made = dataclasses.replace(made, algorithm_name=said["algorithm_name"][:64])
    if "colour" in said:
        made = dataclasses.replace(made, colour=_colour(path, label, said["colour"]))
    return made


def _code(path: pathlib.Path, label: str, said: Any) -> Code:
    if not isinstance(said, list) or len(said) != 3 or not all(isinstance(one, str) and one for one in said):
        raise errors.UsageError(
            f"segments = {path}: a code of label {label} is value, scheme and meaning, as {list(TISSUE)}"
        )
    if len(said[0]) > 16 or len(said[1]) > 16 or len(said[2]) > 64:
        raise errors.UsageError(f"segments = {path}: a code of label {label} is too long")
    return said[0], said[1], said[2]


def _colour(path: pathlib.Path, label: str, said: Any) -> tuple[int, int, int]:
    if not isinstance(said, list) or len(said) != 3 or not all(one in range(256) for one in said):
        raise errors.UsageError(f"segments = {path}: a colour is [red, green, blue] from 0 to 255")
    return int(said[0]), int(said[1]), int(said[2])
