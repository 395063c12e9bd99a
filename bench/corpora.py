"""Synthetic CT-like instances in three sizes, made once and kept in `bench/corpora`."""

from __future__ import annotations

import pathlib

from tests import make

HERE = pathlib.Path(__file__).parent / "corpora"
SIZES = {"4 kB": 4_096, "75 kB": 76_800, "525 kB": 537_600}
COUNTS = {"4 kB": 3_000, "75 kB": 1_500, "525 kB": 600}  # of the full form

_TEXT = "Nothing in this header comes from a person"


def files(size: str, count: int) -> list[pathlib.Path]:
    """Return so many files of one size; those that are missing are made."""
    folder = HERE / size.replace(" ", "")
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:06d}.dcm" for number in range(1, count + 1)]
    for number, path in enumerate(paths, 1):
        if not path.exists():
            made = instance(number, SIZES[size])
            temporary = path.with_suffix(".new")
            temporary.write_bytes(make.part10(made))
            temporary.replace(path)
    return paths


def instance(number: int, size: int, seed: str = "bench") -> make.Made:
    """Return one image of a study with 300 images a series, with as many elements as scanners write."""
    series = number // 300
    return make.instance(
        number,
        study=make.uid(seed, size, "study"),
        series=make.uid(seed, size, "series", series),
        sop_instance=make.uid(seed, size, "image", number),
        size=size,
        seed=f"{seed} {size}",
        extra=_acquisition(number),
    )


def _acquisition(number: int) -> list[make.Element]:
    """The acquisition's elements, which a scanner adds to what every image has."""
    element = make.element
    return [
        element(0x00080012, "DA", "20260102"),
        element(0x00080013, "TM", "101112"),
        element(0x00080022, "DA", "20260102"),
        element(0x00080031, "TM", "101112"),
        element(0x00080032, "TM", "101113.5"),
        element(0x00081040, "LO", "Radiology"),
        element(0x00081090, "LO", "Model One"),
        element(0x00101010, "AS", "056Y"),
        element(0x00180022, "CS", "HELICAL MODE"),
        element(0x00180060, "DS", "120"),
        element(0x00180090, "DS", "500"),
        element(0x00181000, "LO", "SN-000042"),
        element(0x00181020, "LO", "v1.0"),
        element(0x00181100, "DS", "250"),
        element(0x00181110, "DS", "949.07"),
        element(0x00181111, "DS", "541"),
        element(0x00181120, "DS", "0"),
        element(0x00181130, "DS", "143.5"),
        element(0x00181140, "CS", "CW"),
        element(0x00181150, "IS", 750),
        element(0x00181151, "IS", 200 + number % 40),
        element(0x00181152, "IS", 150),
        element(0x00181160, "SH", "BODY FILTER"),
        element(0x00181190, "DS", "1.2"),
        element(0x00181210, "SH", "STANDARD"),
        element(0x00185100, "CS", "HFS"),
        element(0x00200012, "IS", 1),
        element(0x00201040, "LO", "SN"),
        element(0x00204000, "LT", _TEXT),
        element(0x00280106, "US", 0),
        element(0x00280107, "US", 4095),
        element(0x00281050, "DS", "40"),
        element(0x00281051, "DS", "400"),
        element(0x00281054, "LO", "HU"),
        element(0x00400244, "DA", "20260102"),
        element(0x00400245, "TM", "101100"),
        element(0x00400253, "SH", "PPS1"),
        element(0x00400254, "LO", "Synthetic performed step"),
    ]
