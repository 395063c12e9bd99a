"""What a query finds, said a second time: from the standard's text (PS3.4 C.2.2.2), over plain dicts.

It shares no code with the node. An instance is a dict of keywords; what an index says of a study is said by
the instance that came first, and a value is text with backslashes between several.
"""

from __future__ import annotations

import datetime
import functools
import unicodedata
from collections.abc import Sequence

Instance = dict[str, str]
LEVELS = ("PATIENT", "STUDY", "SERIES", "IMAGE")
UID = dict(zip(LEVELS, ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"), strict=True))
OF = {
    "PATIENT": ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "OtherPatientNames"),
    "STUDY": (
        "StudyInstanceUID", "StudyDate", "StudyTime", "AccessionNumber", "StudyDescription",
        "ReferringPhysicianName", "TimezoneOffsetFromUTC",
    ),
    "SERIES": ("SeriesInstanceUID", "Modality", "SeriesNumber", "SeriesDate", "SeriesTime", "OperatorsName"),
    "IMAGE": ("SOPInstanceUID", "SOPClassUID", "InstanceNumber", "ImageType"),
}  # fmt: skip
VR = {
    "PatientID": "LO", "PatientName": "PN", "PatientBirthDate": "DA", "PatientSex": "CS",
    "OtherPatientNames": "PN", "StudyInstanceUID": "UI", "StudyDate": "DA", "StudyTime": "TM",
    "AccessionNumber": "SH", "StudyDescription": "LO", "ReferringPhysicianName": "PN",
    "SeriesInstanceUID": "UI",
    "Modality": "CS", "SeriesNumber": "IS", "SeriesDate": "DA", "SeriesTime": "TM", "OperatorsName": "PN",
    "SOPInstanceUID": "UI", "SOPClassUID": "UI", "InstanceNumber": "IS", "ImageType": "CS",
    "ModalitiesInStudy": "CS", "SOPClassesInStudy": "UI", "NumberOfStudyRelatedInstances": "IS",
}  # fmt: skip


class Entity:
    """A patient, a study, a series or an instance, with all that belongs to it."""

    def __init__(self, level: int, instances: Sequence[Instance]) -> None:
        self.level = level
        self.instances = list(instances)  # in the order in which they came

    @property
    def name(self) -> str:
        return self.instances[0][UID[LEVELS[self.level]]]

    def below(self, level: int) -> list[Entity]:
        """What belongs to it at a level; itself at its own."""
        found: dict[tuple[str, ...], list[Instance]] = {}
        for one in self.instances:
            found.setdefault(tuple(one[UID[name]] for name in LEVELS[: level + 1]), []).append(one)
        return [Entity(level, instances) for instances in found.values()]

    def value(self, keyword: str) -> str:
        """What its attribute is, computed ones too."""
        if keyword == "ModalitiesInStudy":
            return "\\".join({one["Modality"] for one in self.instances if one["Modality"]})
        if keyword == "SOPClassesInStudy":
            return "\\".join({one["SOPClassUID"] for one in self.instances})
        if keyword == "NumberOfStudyRelatedInstances":
            return str(len(self.instances))
        return self.instances[0].get(keyword, "")


def level_of(keyword: str) -> int:
    """The level that an attribute belongs to."""
    for number, level in enumerate(LEVELS):
        if keyword in OF[level]:
            return number
    return 1  # what is computed is of the study


def find(
    archive: Sequence[Instance],
    level: str,
    keys: dict[str, str],
    *,
    combined: bool = False,
    fuzzy: bool = False,
    timezone: str = "",
) -> list[tuple[str, ...]]:
    """The unique keys of what matches."""
    at = LEVELS.index(level)
    found = []
    for entity in Entity(-1, archive).below(at):
        first = entity.instances[0]
        chain = [Entity(-1, archive).below(number) for number in range(at)]
        above = [
            next(one for one in entities if all(_same(one, first, number) for number in range(depth + 1)))
            for depth, entities in enumerate(chain)
        ]
        if _branch([*above, entity], at, keys, combined, fuzzy, timezone):
            found.append(tuple(first[UID[name]] for name in LEVELS[: at + 1]))
    return found


def _same(entity: Entity, instance: Instance, level: int) -> bool:
    return entity.instances[0][UID[LEVELS[level]]] == instance[UID[LEVELS[level]]]


def _branch(
    branch: list[Entity], at: int, keys: dict[str, str], combined: bool, fuzzy: bool, timezone: str
) -> bool:
    """Whether a branch matches, or can be made longer so that it does."""
    lowest = max((level_of(keyword) for keyword, key in keys.items() if key), default=0)
    if len(branch) <= max(lowest, at):
        deeper = branch[-1].below(len(branch))
        return any(_branch([*branch, one], at, keys, combined, fuzzy, timezone) for one in deeper)
    return _matches(branch, keys, combined, fuzzy, timezone)


PAIRS = (("StudyDate", "StudyTime"), ("SeriesDate", "SeriesTime"))


def _matches(branch: list[Entity], keys: dict[str, str], combined: bool, fuzzy: bool, timezone: str) -> bool:
    values = {keyword: branch[level_of(keyword)].value(keyword) for keyword in keys}
    left = {keyword: key for keyword, key in keys.items() if key}
    zone = branch[1].value("TimezoneOffsetFromUTC") if len(branch) > 1 else ""
    for day, time in PAIRS:
        if timezone and zone and (day in left or time in left):
            entity = branch[level_of(day)]
            values[day], values[time] = _shift(entity.value(day), entity.value(time), zone, timezone)
        both = combined and day in left and time in left and not _open(left[day]) and not _open(left[time])
        if both and not _moments(left.pop(day), left.pop(time), values[day], values[time]):
            return False
    return all(one_matches(VR[keyword], key, values[keyword], fuzzy) for keyword, key in left.items())


def one_matches(vr: str, key: str, value: str, fuzzy: bool = False) -> bool:
    """Whether an attribute's value matches a key."""
    if key == '""':
        return value == ""
    asked = [one for one in key.split("\\") if one]
    if not asked or any(set(one) == {"*"} for one in asked):
        return True
    if vr == "PN" and any(all(set(group) <= {"*"} for group in one.split("=")) for one in asked):
        return True
    return any(_one(vr, one, held, fuzzy) for one in asked for held in value.split("\\") if held)


def _one(vr: str, key: str, held: str, fuzzy: bool) -> bool:
    if vr == "UI":
        return key == held
    if vr == "IS":
        return int(key) == int(held)
    if vr == "DA":
        return _in_range(key.replace(".", ""), held, lambda day: (day, day))
    if vr == "TM":
        return _in_range(key.replace(":", ""), held, _time_span)
    if vr == "PN":
        return _name(key, held, fuzzy)
    return _glob(key, held)


def _in_range(key: str, held: str, span: object) -> bool:
    low, dash, high = key.partition("-")
    spanned = span  # first and last text that a value covers
    assert callable(spanned)
    begins = spanned(held)[0]
    if not dash:
        high = low
    return (not low or begins >= spanned(low)[0]) and (not high or begins <= spanned(high)[1])


def _time_span(text: str) -> tuple[float, float]:
    """Seconds of the day: the first and the last of what so many digits say."""
    whole, _, fraction = text.partition(".")
    hours, minutes, seconds = whole[:2], whole[2:4], whole[4:6]
    first = int(hours) * 3600 + int(minutes or 0) * 60 + int(seconds or 0) + float(f"0.{fraction or 0}")
    length = 3600.0 if not minutes else 60.0 if not seconds else 10.0 ** -len(fraction)
    return first, first + length - 1e-9


def _open(key: str) -> bool:
    """Whether a key is no range or single value of its own."""
    return key == '""' or "\\" in key


def _moments(day_key: str, time_key: str, day: str, time: str) -> bool:
    first, dash, last = day_key.replace(".", "").partition("-")
    earliest, to, latest = time_key.replace(":", "").partition("-")
    if not day:
        return False
    moment = (day, _time_span(time)[0] if time else -1.0)
    low = (first or "", _time_span(earliest)[0] if earliest and first else -2.0)
    end = last if dash else first
    until = latest if to else earliest
    high = (end or "99999999", _time_span(until)[1] if until and end else 1e9)
    return low <= moment <= high


def _shift(day: str, time: str, theirs: str, ours: str) -> tuple[str, str]:
    if not day or not time:
        return day, time

    def minutes(zone: str) -> int:
        total = int(zone[1:3]) * 60 + int(zone[3:])
        return -total if zone[0] == "-" else total

    padded = time.ljust(6, "0") if "." not in time else time
    then = datetime.datetime.strptime(day + padded[:6], "%Y%m%d%H%M%S")  # noqa: DTZ007
    then += datetime.timedelta(minutes=minutes(ours) - minutes(theirs))
    return then.strftime("%Y%m%d"), then.strftime("%H%M%S") + padded[6:]


def _name(key: str, held: str, fuzzy: bool) -> bool:
    asked, groups = key.split("="), held.split("=")
    if fuzzy:
        if len(asked) == 1:
            return any(_words(asked[0], group) for group in groups)
        groups += [""] * (3 - len(groups))
        return all(
            not one or set(one) == {"*"} or _words(one, group)
            for one, group in zip(asked, groups, strict=False)
        )
    if len(asked) == 1:
        return any(_components(asked[0], group) for group in groups if group)
    groups += [""] * (3 - len(groups))
    return all(
        not one or set(one) == {"*"} or (group != "" and _components(one, group))
        for one, group in zip(asked, groups, strict=False)
    )


def _components(key: str, held: str) -> bool:
    """Case does not count, nor how many empty components are written at the end."""
    key, held = _folded(key), _folded(held)
    return any(_glob(key.rstrip("^"), held.rstrip("^") + "^" * more) for more in range(5))


def _words(key: str, held: str) -> bool:
    beginnings = [_plain(word) for word in key.replace("^", " ").replace("*", " ").replace("?", " ").split()]
    words = [_plain(word) for word in held.replace("^", " ").replace("-", " ").split()]
    return bool(held) and all(any(word.startswith(one) for word in words) for one in beginnings)


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


def _plain(text: str) -> str:
    parts = unicodedata.normalize("NFD", _folded(text))
    return "".join(mark for mark in parts if not unicodedata.combining(mark))


def _glob(key: str, held: str) -> bool:
    @functools.cache
    def rest(at: int, place: int) -> bool:
        if at == len(key):
            return place == len(held)
        if key[at] == "*":
            return rest(at + 1, place) or (place < len(held) and rest(at, place + 1))
        return place < len(held) and key[at] in ("?", held[place]) and rest(at + 1, place + 1)

    return rest(0, 0)
