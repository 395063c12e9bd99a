"""Who is expected: the patients on the worklist of the next days, this node's own or a peer's."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator

from node import errors, model
from node import worklist as worklists
from node.dicom import identifier, worklist
from node.index import db
from node.jobs import pull
from node.send import query

_MOST = 10_000  # entries of a list that are looked at


def today(settings: model.Settings, database: db.Database, schedule: model.Schedule) -> list[pull.Expected]:
    """Everybody who is scheduled from today on, for as many days as the schedule looks ahead."""
    first = pull.today(schedule.zone)
    last = first + datetime.timedelta(days=schedule.days - 1)
    days = f"{first:%Y%m%d}-{last:%Y%m%d}"
    if schedule.worklist is None:
        question = worklist.Question(_asked(days))
        found = worklists.Lists(database, settings.worklist).find(question, settings.node.aet)
        return list(_expected(entry.fields for entry in found))
    listed = _of_peer(settings, peer(settings, schedule, schedule.worklist), days)
    return list(_expected(listed))


def peer(settings: model.Settings, schedule: model.Schedule, name: str | None) -> model.Peer:
    """A peer that a schedule names, as it is configured now."""
    found = next((one for one in settings.peers if one.name == name), None)
    if found is None:
        raise errors.ConfigError(f"schedule {schedule.name}: there is no peer {name!r} any more")
    return found


def _asked(days: str) -> identifier.Fields:
    step: identifier.Fields = {"ScheduledProcedureStepStartDate": days, "Modality": None}
    return {
        "PatientID": None,
        "PatientBirthDate": None,
        "StudyInstanceUID": None,
        worklist.STEP: [step],
    }


def _of_peer(settings: model.Settings, asked: model.Peer, days: str) -> list[identifier.Fields]:
    aet, secure = settings.node.aet, settings.tls
    found: list[identifier.Fields] = []
    with query.opened(asked, aet, secure, query.Root.WORKLIST) as opened:
        for answer in query.Search(opened, _asked(days), query.Root.WORKLIST):
            found.append(answer)
            if len(found) > _MOST:
                raise errors.PeerBusy(
                    f"the worklist of {asked.name} has more than {_MOST} entries: look at fewer days"
                )
    return found


def _expected(listed: Iterable[identifier.Fields]) -> Iterator[pull.Expected]:
    for fields in listed:
        patient = worklist.text(fields, "PatientID")
        if not patient or any(sign in patient for sign in "*?\\"):
            continue  # it would match others
        items = fields.get(worklist.STEP)
        step = items[0] if isinstance(items, list) and items else {}
        yield pull.Expected(
            patient,
            worklist.text(fields, "PatientBirthDate"),
            worklist.text(step, "Modality"),
            worklist.text(fields, "StudyInstanceUID"),
        )
