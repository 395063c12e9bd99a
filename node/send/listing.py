"""What a retrieval is about, found out by queries first: which instances, and of which SOP classes.

An archive that does not answer such queries is retrieved from all the same, only with less foresight.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping

from node import model
from node.dicom import identifier, uids
from node.send import query
from node.wire import association

MOST = 200_000  # instances that are listed
UIDS_AT_ONCE = 200  # SOP Instance UIDs in one request: every archive takes so many

STUDY, SERIES, IMAGE = (model.UNIQUE[level] for level in tuple(model.Level)[1:])


@dataclasses.dataclass(frozen=True, slots=True)
class Listed:
    """An instance that the peer says it has."""

    study: str  # Study Instance UID
    series: str  # Series Instance UID
    sop_class: str  # "" when the peer did not say it


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """One retrieval: the unique keys of its level and of those above."""

    level: model.Level  # what the keys name
    fields: identifier.Fields  # unique keys alone


def classes(opened: association.Association, request: Request, root: query.Root) -> tuple[str, ...]:
    """The SOP classes of a study as the peer counts them, () where it does not."""
    if request.level is not model.Level.STUDY:
        return ()
    fields = {**request.fields, "SOPClassesInStudy": None}
    found: set[str] = set()
    for answer in query.Search(opened, fields, root, level=model.Level.STUDY):
        said = answer.get("SOPClassesInStudy")
        if not isinstance(said, str):
            return ()
        found.update(said.split("\\"))
    return tuple(sorted(uid for uid in found if uids.valid(uid)))


def instances(opened: association.Association, request: Request, root: query.Root) -> dict[str, Listed]:
    """Every instance that a request names, by SOP Instance UID; as far as the peer tells."""
    found: dict[str, Listed] = {}
    for fields in _series(opened, request, root):
        asked = {**fields, IMAGE: fields.get(IMAGE), "SOPClassUID": None}
        for answer in query.Search(opened, asked, root, level=model.Level.IMAGE):
            uid, sop_class = _text(answer, IMAGE), _text(answer, "SOPClassUID")
            if uids.valid(uid):
                listed = Listed(_text(asked, STUDY), _text(asked, SERIES), sop_class)
                found[uid] = listed
            if len(found) >= MOST:
                return found
    return found


def _series(
    opened: association.Association, request: Request, root: query.Root
) -> Iterator[identifier.Fields]:
    """The unique keys of each series that a request is about."""
    if request.level in (model.Level.SERIES, model.Level.IMAGE):
        yield dict(request.fields)
        return
    studies = [request.fields]
    if request.level is model.Level.PATIENT:
        asked = {**request.fields, STUDY: None}
        answers = list(query.Search(opened, asked, root, level=model.Level.STUDY))
        studies = [{**request.fields, STUDY: answer.get(STUDY)} for answer in answers]
    for study in studies:
        asked = {**study, SERIES: None}
        for answer in list(query.Search(opened, asked, root, level=model.Level.SERIES)):
            if uids.valid(_text(answer, SERIES)):
                yield {**study, SERIES: _text(answer, SERIES)}


def _text(fields: identifier.Fields, key: str) -> str:
    value = fields.get(key)
    return value if isinstance(value, str) else ""


def requests(listed: Mapping[str, Listed], wanted: Iterable[str], above: identifier.Fields) -> list[Request]:
    """The requests for single instances, series by series, so many UIDs at once."""
    by_series: dict[tuple[str, str], list[str]] = {}
    for uid in wanted:
        one = listed[uid]
        by_series.setdefault((one.study, one.series), []).append(uid)
    patient = {key: value for key, value in above.items() if key == model.UNIQUE[model.Level.PATIENT]}
    made = []
    for (study, series), several in by_series.items():
        for start in range(0, len(several), UIDS_AT_ONCE):
            names = "\\".join(several[start : start + UIDS_AT_ONCE])
            made.append(Request(model.Level.IMAGE, {**patient, STUDY: study, SERIES: series, IMAGE: names}))
    return made
