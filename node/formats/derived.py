"""What may be said of volumes that become DICOM: the options of the formats dicom, sc, enhanced and seg."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from node import errors

# Names as people say them; what each gives is lossless.
COMPRESSIONS: Mapping[str, str] = {
    "rle": "1.2.840.10008.1.2.5",
    "jpeg-lossless": "1.2.840.10008.1.2.4.70",
    "jpeg-ls": "1.2.840.10008.1.2.4.80",
    "jpeg-2000": "1.2.840.10008.1.2.4.90",
    "deflate": "1.2.840.10008.1.2.1.99",
}
_YES_NO = ("yes", "no")
_PARTS = re.compile(r"[A-Z0-9_ ]{1,16}(?:\\[A-Z0-9_ ]{1,16})*")
_DATE = re.compile(r"\d{14}")
_WINDOW = re.compile(r"(-?\d+(?:\.\d+)?),(\d+(?:\.\d+)?)")


@dataclasses.dataclass(frozen=True, slots=True)
class Options:
    """How a volume becomes DICOM."""

    template: tuple[str, ...] = ()  # files or folders of the series whose identity it takes; (): its own
    geometry: str = "template"  # "template": it must lie on the template's grid; "own": its own positions
    series_number: int | None = None  # None: the template's and 1000
    description: str | None = None  # Series Description; None: the template's and "derived"
    image_type: tuple[str, ...] = ()  # Image Type from its third value on; (): the template's
    derivation: str = ""  # Derivation Description; "": a plain sentence
    keep_uids: bool = False  # the template's series and instances are replaced, not added to
    private: bool = False  # private elements of the template stay
    window: str = "auto"  # "auto", "template", "none", or centre,width
    scale: str = "volume"  # floats become integers over the range of the "volume" or of each "slice"
    compress: str = ""  # a name of COMPRESSIONS; "": not
    date: str = ""  # Content Date and Time as YYYYMMDDHHMMSS; "": the template's
    segments: str = ""  # of label maps: 1=liver,2=tumour or a JSON file

    @property
    def words(self) -> tuple[str, ...]:
        """Everything that makes another object of the same voxels, for its UIDs."""
        left = {"template", "segments"}
        named = dataclasses.asdict(self)
        return tuple(f"{name}={named[name]}" for name in sorted(named.keys() - left))


_TAKES = {field.name for field in dataclasses.fields(Options)} - {"image_type"} | {"type"}
_CHOICES = {
    "geometry": ("template", "own"),
    "keep_uids": _YES_NO,
    "private": _YES_NO,
    "scale": ("volume", "slice"),
    "compress": tuple(COMPRESSIONS),
}


def check(options: Mapping[str, str], name: str) -> str | None:
    """What is wrong with options, in a sentence; None: nothing."""
    takes = _TAKES if name == "seg" else _TAKES - {"segments"}
    for option, value in options.items():
        if option not in takes:
            return f"{name} has no option {option!r}; it takes {', '.join(sorted(takes))}"
        if option in _CHOICES and value not in _CHOICES[option]:
            return f"{option} = {value!r}: {name} takes {' or '.join(_CHOICES[option])}"
        if why := _wrong(option, value):
            return why
    return None


def _wrong(option: str, value: str) -> str:
    if option == "series_number" and not (value.isdecimal() and len(value) < 10):
        return f"series_number = {value!r} is not a number of up to nine digits"
    if option in ("description", "derivation"):
        most = 64 if option == "description" else 1024
        if len(value) > most or "\\" in value or not value.isprintable():
            return f"{option} is a text of up to {most} characters in a line, without a backslash"
    if option == "type" and _PARTS.fullmatch(value) is None:
        return f"type = {value!r}: capital letters, digits and underscores, parts joined by a backslash"
    if option == "date" and _DATE.fullmatch(value) is None:
        return f"date = {value!r} is not of the form YYYYMMDDHHMMSS"
    if option == "window" and value not in ("auto", "template", "none") and _WINDOW.fullmatch(value) is None:
        return f"window = {value!r} is none of auto, template, none, or centre,width such as 40,400"
    return ""


def parse(options: Mapping[str, str], name: str) -> Options:
    """The options, checked; UsageError when something is wrong with them."""
    if why := check(options, name):
        raise errors.UsageError(why)
    found: dict[str, Any] = dict(options)
    if "template" in found:
        found["template"] = (found["template"],) if found["template"] else ()
    if "series_number" in found:
        found["series_number"] = int(found["series_number"])
    for flag in ("keep_uids", "private"):
        if flag in found:
            found[flag] = found[flag] == "yes"
    if "type" in found:
        found["image_type"] = tuple(found.pop("type").split("\\"))
    return Options(**found)


def window(text: str) -> tuple[float, float] | None:
    """Centre and width, where an option says them."""
    match = _WINDOW.fullmatch(text)
    return None if match is None else (float(match[1]), max(1.0, float(match[2])))
