"""`convert`: the series as a whole becomes volumes, and these go out in the place of its instances.

    step = "convert", to = "nifti"                          files in a folder, or what a program is given
    order = ["time"], split = ["EchoNumbers"]               as `dicom-node convert` has them
    name = "{StudyDate}/{PatientID}/{SeriesNumber:03}"      below the folder
    back = "seg", description = "Lesions", number = 900     what a program makes of it becomes DICOM again

It is the last step: what stands before it is done to each instance first.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping

from node import errors, orders
from node.send import base, template

_KEYS = (
    "to",
    "order",
    "split",
    "scaling",
    "correct_tilt",
    "partial",
    "name",
    "options",
    "dicom",
    "back",
    "back_options",
    "description",
    "number",
)
DICOM = ("dicom", "enhanced", "sc", "seg")  # formats that make instances
BACK = (*DICOM, "no")
SCALING = ("stored", "real", "philips", "rwv")
PARTIAL = ("make", "skip")
_OPTION = re.compile(r"[a-z0-9_-]+=.*", re.DOTALL)


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """A conversion, made ready."""

    to: str  # the name of the format
    order: tuple[str, ...] = ()  # axes, slowest first; (): found by what varies
    split: tuple[str, ...] = ()  # what parts volumes beside what always does
    scaling: str = "stored"  # which values
    tilt: bool = False  # a gantry tilt is taken out
    partial: bool = True  # also what has gaps
    name: str = ""  # pattern of names; "": the folders of the destination's, and the usual name
    options: tuple[tuple[str, str], ...] = ()  # of the format
    dicom: bool = False  # a program is given the instances, too
    back: str = "dicom"  # what volumes that a program makes become; "no": they are dropped
    back_options: tuple[tuple[str, str], ...] = ()  # of that format
    description: str = ""  # Series Description of what is made
    number: int | None = None  # Series Number of what is made

    @classmethod
    def of(cls, options: Mapping[str, object]) -> Step:
        """The step with these options, which `check` found nothing wrong with."""
        number = options.get("number")
        return cls(
            to=str(options["to"]),
            order=_texts(options.get("order", ())),
            split=_texts(options.get("split", ())),
            scaling=str(options.get("scaling", "stored")),
            tilt=options.get("correct_tilt") is True,
            partial=options.get("partial", "make") == "make",
            name=str(options.get("name", "")),
            options=_pairs(options, "options"),
            dicom=options.get("dicom") is True,
            back=str(options.get("back", "dicom")),
            back_options=_pairs(options, "back_options"),
            description=str(options.get("description", "")),
            number=number if isinstance(number, int) else None,
        )

    @property
    def renames(self) -> bool:
        """What is made are other instances, but each of the old ones is judged under its own name."""
        return False

    @property
    def made(self) -> dict[str, str]:
        """The options of the format that the series becomes."""
        return self._named(self.options) if self.to in DICOM else dict(self.options)

    @property
    def returned(self) -> dict[str, str]:
        """The options of the format that results of a program become."""
        return self._named(self.back_options)

    def _named(self, options: tuple[tuple[str, str], ...]) -> dict[str, str]:
        found = dict(options)
        if self.description:
            found.setdefault("description", self.description)
        if self.number is not None:
            found.setdefault("series_number", str(self.number))
        return found

    def item(self, item: base.Item) -> base.Item:
        """The item as it is: what becomes of all of them together is made by who sends them."""
        return item

    kind = item

    def describe(self) -> str:
        """What it does, in words."""
        by = f", by {' and '.join(self.order)}" if self.order else ""
        gaps = "" if self.partial else "; what has gaps is left out"
        return f"convert the series into {self.to}{by}{gaps}"

    def fits(self, destination: orders.Destination) -> str | None:
        """Why it cannot be done for a destination, in a sentence; None: it can."""
        match destination.kind:
            case orders.Kind.DICOM if self.to not in DICOM:
                return f"to = {self.to!r}: {destination.name} takes DICOM only: {', '.join(DICOM)}"
            case orders.Kind.DICOM if destination.verify is not orders.Verify.NO:
                return (
                    f"{destination.name} is asked whether it keeps what came (verify), and is given "
                    "something else: name a destination without verify"
                )
            case orders.Kind.COMMAND if self.name:
                return f"name: {destination.name} is a program, which finds its volumes in {{in}}"
        return None


def check(options: Mapping[str, object]) -> str | None:
    """What is wrong with its options, in a sentence; None: nothing."""
    if more := sorted(options.keys() - set(_KEYS)):
        return f"a convert step has no {more[0]!r}: it takes {', '.join(_KEYS)}"
    if not isinstance(options.get("to"), str):
        return 'a convert step needs the format: to = "nifti", for example'
    for key in ("order", "split", "options", "back_options"):
        value = options.get(key, [])
        if not isinstance(value, str | list | tuple) or not all(isinstance(one, str) for one in value):
            return f"{key} = {value!r}: it is a text, or a list of texts"
    for key in ("correct_tilt", "dicom"):
        if not isinstance(options.get(key, False), bool):
            return f"{key} = {options[key]!r}: it is true or false"
    for key, allowed in (("scaling", SCALING), ("partial", PARTIAL), ("back", BACK)):
        if key in options and options[key] not in allowed:
            return f"{key} = {options[key]!r}: it is one of {', '.join(allowed)}"
    for key in ("options", "back_options"):
        for text in _texts(options.get(key, ())):
            if not _OPTION.fullmatch(text):
                return f'{key} = {text!r}: write each as "key=value"'
    number = options.get("number", 1)
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < 1_000_000_000:
        return f"number = {number!r}: it is a whole number"
    for key in ("name", "description"):
        if not isinstance(options.get(key, ""), str):
            return f"{key} = {options[key]!r}: it is a text"
    if name := str(options.get("name", "")).rstrip("/"):
        return template.check(name) or _format(options)
    return _format(options)


def _format(options: Mapping[str, object]) -> str | None:
    """What the format says to its name and its options, and whether what is sorted by is there at all."""
    from node.dicom import path  # these load numpy, and the format itself
    from node.formats import registry
    from node.volume.sorting import sort

    step = Step.of(options)
    for key, names in (("order", step.order), ("split", step.split)):
        for name in sort.needs(names):
            try:
                path.parse(name)
            except errors.UsageError as error:
                return f"{key} = {name!r}: {error}"
    try:
        made = registry.get(step.to)
    except errors.UsageError as error:
        return f"to = {step.to!r}: {error}"
    if wrong := made.check(step.made):
        return f"to = {step.to!r}: {wrong}"
    if step.back in DICOM and (wrong := registry.get(step.back).check(step.returned)):
        return f"back = {step.back!r}: {wrong}"
    return None


def _pairs(options: Mapping[str, object], key: str) -> tuple[tuple[str, str], ...]:
    parts = (text.partition("=") for text in _texts(options.get(key, ())))
    return tuple((name, value) for name, _, value in parts)


def _texts(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    return tuple(str(one) for one in value) if isinstance(value, list | tuple) else ()
