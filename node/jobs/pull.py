"""What a peer holds is fetched when the clock says so: what a query finds, or the priors of who is expected.

Only what is not here yet comes: with C-MOVE through our own listener, with C-GET through the journal as a
C-STORE would; from there on it is filed and routed like anything else.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from node import errors, model, receive, zones
from node.dicom import identifier, uids
from node.files import journal, layout, spool
from node.index import attributes, db, forwards
from node.send import base, fetch, keys, listing, query
from node.wire import association

SILENCE = 300.0  # seconds that a peer may say nothing while it sends
_SLOT = "pull"  # the journal slots of what comes with C-GET
_SEGMENTS = 64 << 20  # bytes of journal that it takes
_MOST = 10_000  # studies of a patient, or series of a study, that are looked at
_WATCH_EVERY = 0.2  # seconds between looks whether the node stops
_PARTING = 5.0  # seconds between the cancel and the end of an association, at a stop

STUDY, SERIES, IMAGE = listing.STUDY, listing.SERIES, listing.IMAGE
_COUNT = {
    model.Level.STUDY: "NumberOfStudyRelatedInstances",
    model.Level.SERIES: "NumberOfSeriesRelatedInstances",
}

Tell = Callable[[str], None]


class Brake:
    """Cancels what runs over an association when the node stops, and soon afterwards ends the association."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._lock = threading.Lock()
        self._running: tuple[association.Association, Callable[[], None]] | None = None
        self._over = threading.Event()

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Look out for a stop while the block runs."""
        watcher = threading.Thread(target=self._watch, name="brake")
        watcher.start()
        try:
            yield
        finally:
            self._over.set()
            watcher.join()

    @contextlib.contextmanager
    def on(self, opened: association.Association, cancel: Callable[[], None]) -> Iterator[None]:
        """Something runs that `cancel` asks the peer to end."""
        with self._lock:
            self._running = opened, cancel
        try:
            yield
        finally:
            with self._lock:
                self._running = None

    def _watch(self) -> None:
        while not self._over.wait(_WATCH_EVERY):
            if self._stop.is_set():
                self._do(lambda _, cancel: cancel())
                self._over.wait(_PARTING)
                self._do(lambda opened, _: opened.stop("the node stops"))
                return

    def _do(self, what: Callable[[association.Association, Callable[[], None]], None]) -> None:
        with self._lock:
            if self._running is not None:
                what(*self._running)


@dataclasses.dataclass(frozen=True, slots=True)
class Job:
    """Who fetches from whom, and what it works on."""

    data: layout.Data  # where it goes
    database: db.Database  # what is here
    settings: model.Settings  # who we are
    peer: model.Peer  # who is asked
    by: model.By  # how it comes
    stop: threading.Event  # set: end soon; what is missing is fetched the next time
    brake: Brake  # ends what a peer is slow with at a stop
    tell: Tell  # is told how far it is

    @property
    def timeouts(self) -> association.Timeouts:
        """How long is waited for."""
        return association.Timeouts(idle=SILENCE)

    @contextlib.contextmanager
    def asking(self, root: query.Root = query.Root.STUDY) -> Iterator[association.Association]:
        """An association for queries."""
        node = self.settings.node
        with query.opened(self.peer, node.aet, self.settings.tls, root, timeouts=self.timeouts) as opened:
            yield opened


@dataclasses.dataclass(slots=True)
class Came:
    """What a run fetched."""

    entries: int = 0  # studies, series or instances that were looked at
    here: int = 0  # of them, those that were here already
    fetched: int = 0  # instances that came
    failed: int = 0  # instances, or entries where the peer does not count, that did not
    cut: bool = False  # there was more than the limit
    why: list[str] = dataclasses.field(default_factory=list)  # of what failed, the peer's words

    def words(self, what: str) -> str:
        """What came of it, for the journal: counts, no names."""
        said = f"{self.entries} {what}, {self.here} here already, {self.fetched} instances fetched"
        if self.failed:
            said += f", {self.failed} not: {self.why[0] if self.why else 'the peer does not say why'}"
        return said + (", more than the limit" if self.cut else "")


# -- pull -----------------------------------------------------------------------------------------------


def pull(job: Job, schedule: model.Schedule) -> str:
    """Fetch what matches the query of a schedule and is not here; raises errors.Transient for what failed."""
    asked = terms(schedule.query, schedule.level, today(schedule.zone))
    came = Came()
    found = _found(job, asked, schedule.level, schedule.limit, came)
    fetched(job, found, came)
    return _judged(came, f"{_noun(schedule.level)} found")


def today(zone: str | None) -> datetime.date:
    """The day that the clock on the wall is in."""
    return zones.wall(datetime.datetime.now(datetime.UTC), zone).date()


def terms(asked: Mapping[str, str], level: model.Level, day: datetime.date) -> dict[keys.Path, str]:
    """The keys of a schedule with days for its relative dates; raises UsageError for what is none."""
    read = keys.parse([f"{key}={value}" for key, value in asked.items()], query.Root.STUDY, level, today=day)
    return {path: value for path, value in read.items() if value}


def _found(
    job: Job, asked: Mapping[keys.Path, str], level: model.Level, limit: int, came: Came
) -> list[listing.Request]:
    """What the peer holds of it and we do not, as requests."""
    levels = query.Root.STUDY.levels()
    unique = [model.UNIQUE[one] for one in levels[: levels.index(level) + 1]]
    with job.asking() as opened:
        answers = _descended(job, opened, asked, level, limit, came)
        return _lacking(job, opened, answers, level, unique, came)


def _descended(
    job: Job,
    opened: association.Association,
    asked: Mapping[keys.Path, str],
    level: model.Level,
    limit: int,
    came: Came,
) -> list[identifier.Fields]:
    """The entries that match, found from the studies down: archives take keys of one level at a time."""
    above: list[identifier.Fields] = [{}]
    for here in query.Root.STUDY.levels():
        last = here is level
        own = {path: value for path, value in asked.items() if _level(path, level) is here}
        unique = model.UNIQUE[here]
        if not last and set(own) == {(unique,)} and _plain(own[unique,]):
            above = (
                [{unique: own[unique,]}]
                if here is model.Level.STUDY
                else [{**one, unique: own[unique,]} for one in above]
            )
            continue
        wanted = [*own.items(), ((unique,), own.get((unique,)))]
        if last and here in _COUNT:
            wanted.append(((_COUNT[here],), None))
        found: list[identifier.Fields] = []
        for one in above:
            fields = {**one, **keys.fields(wanted)}
            most = limit - len(found) if last else _MOST
            found += [{**one, **answer} for answer in _answers(job, opened, fields, here, most, came)]
            if job.stop.is_set() or (last and came.cut):
                break
        if last:
            return found
        above = [one for one in (_upto(here, answer) for answer in found) if all(one.values())]
    raise AssertionError(f"{level} is no level of the Study Root")


def _level(path: keys.Path, innermost: model.Level) -> model.Level:
    """The level at which a key is asked for."""
    known = attributes.KNOWN.get(path[-1])
    levels = query.Root.STUDY.levels()
    if known is None or known.level not in levels:
        return levels[0] if known is not None else innermost
    return min(known.level, innermost, key=levels.index)


def _upto(level: model.Level, fields: identifier.Fields) -> identifier.Fields:
    """The unique keys of a level and of those above."""
    levels = query.Root.STUDY.levels()
    names = [model.UNIQUE[one] for one in levels[: levels.index(level) + 1]]
    return {name: _text(fields, name) for name in names}


def _plain(value: str) -> bool:
    return all(uids.valid(uid) for uid in value.split("\\")) and "\\" not in value


def _answers(
    job: Job,
    opened: association.Association,
    fields: identifier.Fields,
    level: model.Level,
    limit: int,
    came: Came,
) -> list[identifier.Fields]:
    found: list[identifier.Fields] = []
    search = query.Search(opened, fields, query.Root.STUDY, level=level)
    with job.brake.on(opened, search.cancel), contextlib.closing(iter(search)) as coming:
        for answer in coming:
            if len(found) == limit:
                came.cut = True
                break
            found.append(answer)
    came.cut |= search.cut
    return found


def _lacking(
    job: Job,
    opened: association.Association,
    answers: Iterable[identifier.Fields],
    level: model.Level,
    unique: Sequence[str],
    came: Came,
) -> list[listing.Request]:
    made: list[listing.Request] = []
    for answer in answers:
        if job.stop.is_set():
            break
        named = {
            key: value for key in unique if isinstance(value := answer.get(key), str) and uids.valid(value)
        }
        if len(named) < len(unique):
            came.failed += 1
            came.why.append(
                "an answer to the query does not say which study, series and instance it is about"
            )
            continue
        came.entries += 1
        request = listing.Request(level, dict(named))
        lacking = _missing(job, opened, request, answer)
        came.here += not lacking
        made += lacking
        job.tell(f"{came.entries} looked at, {came.here} of them here already")
    return made


def _missing(
    job: Job, opened: association.Association, request: listing.Request, answer: identifier.Fields
) -> list[listing.Request]:
    """What of an entry is not here: nothing, all of it, or single instances.

    Where the peer's count is ours nothing is listed: a pull every few minutes would ask for the same lists
    again and again, at an archive's expense.
    """
    level, uid = request.level, str(request.fields[model.UNIQUE[request.level]])
    said = answer.get(_COUNT.get(level, ""))
    held = 0
    with job.database.read() as connection:
        if level is model.Level.IMAGE:
            return [request] if forwards.missing(connection, [uid]) else []
        held = forwards.count(connection, level, uid)
    if isinstance(said, str) and said.strip().isdecimal() and int(said) == held:
        return []
    if not held:
        return [request]
    listed = listing.instances(opened, request, query.Root.STUDY)
    if not listed:
        return [request]  # the archive does not tell: what is here comes once more, as a duplicate
    with job.database.read() as connection:
        lacking = forwards.missing(connection, listed)
    return [request] if len(lacking) == len(listed) else listing.requests(listed, lacking, {})


# -- prefetch -------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class Expected:
    """Somebody who is on the worklist."""

    patient: str  # Patient ID
    birth: str  # Patient's Birth Date, "" where the list does not say it
    modality: str  # of the scheduled step
    study: str  # Study Instance UID of the scheduled study


def prefetch(job: Job, schedule: model.Schedule, expected: Iterable[Expected]) -> str:
    """Fetch earlier studies of the patients who are expected."""
    came = Came()
    several: dict[tuple[str, str], Expected] = {(one.patient, one.modality): one for one in expected}
    chosen: dict[str, listing.Request] = {}
    oldest = None
    if schedule.age is not None:
        oldest = today(schedule.zone) - datetime.timedelta(seconds=schedule.age)
    with job.asking() as opened:
        for one in several.values():
            if job.stop.is_set():
                break
            for answer in _priors(job, opened, one, schedule, oldest):
                if len(chosen) >= schedule.limit:
                    came.cut = True
                    break
                for request in _parts(job, opened, answer, schedule):
                    uid = str(request.fields[model.UNIQUE[request.level]])
                    if uid in chosen:
                        continue
                    came.entries += 1
                    lacking = _missing(job, opened, request, answer)
                    came.here += not lacking
                    for part in lacking:
                        chosen[str(part.fields[model.UNIQUE[part.level]])] = part
            job.tell(f"{came.entries} earlier studies of {len(several)} patients, {came.here} here already")
    fetched(job, list(chosen.values()), came)
    return _judged(came, f"earlier studies or series of {len(several)} patients")


def _priors(
    job: Job,
    opened: association.Association,
    one: Expected,
    schedule: model.Schedule,
    oldest: datetime.date | None,
) -> list[identifier.Fields]:
    """The newest earlier studies of a patient that count, newest first."""
    fields: identifier.Fields = {
        "PatientID": one.patient,
        "PatientBirthDate": None,
        "StudyDate": f"{oldest:%Y%m%d}-" if oldest else None,
        "StudyTime": None,
        "ModalitiesInStudy": None,
        STUDY: None,
        _COUNT[model.Level.STUDY]: None,
    }
    modalities = {one.modality if name == "same" else name for name in schedule.modalities}
    found = _answers(job, opened, fields, model.Level.STUDY, _MOST, Came())
    # Asked for all and chosen here: archives differ in what they do with a list of modalities.
    fit = [
        answer
        for answer in found
        if _text(answer, STUDY) != one.study
        and _text(answer, "PatientID") == one.patient
        and _same(one.birth, _text(answer, "PatientBirthDate"))
        and (not modalities or modalities & set(_text(answer, "ModalitiesInStudy").split("\\")))
    ]
    fit.sort(key=lambda answer: (_text(answer, "StudyDate"), _text(answer, "StudyTime")), reverse=True)
    return fit[: schedule.priors]


def _same(one: str, other: str) -> bool:
    """Whether two birth dates can be one patient's: an ID alone may be another hospital's patient."""
    return not one or not other or one == other


def _parts(
    job: Job, opened: association.Association, answer: identifier.Fields, schedule: model.Schedule
) -> list[listing.Request]:
    """The study as a whole, or those of its series that show the body part."""
    study = _text(answer, STUDY)
    if not uids.valid(study):
        return []
    if not schedule.body_parts:
        return [listing.Request(model.Level.STUDY, {STUDY: study})]
    fields: identifier.Fields = {STUDY: study, SERIES: None, "BodyPartExamined": None}
    wanted = {part.upper() for part in schedule.body_parts}
    return [
        listing.Request(model.Level.SERIES, {STUDY: study, SERIES: _text(series, SERIES)})
        for series in _answers(job, opened, fields, model.Level.SERIES, _MOST, Came())
        if _text(series, "BodyPartExamined").upper() in wanted and uids.valid(_text(series, SERIES))
    ]


def _text(fields: identifier.Fields, key: str) -> str:
    value = fields.get(key)
    return value.strip() if isinstance(value, str) else ""


# -- fetching -------------------------------------------------------------------------------------------


def fetched(job: Job, wanted: Sequence[listing.Request], came: Came) -> None:
    """Have each of them sent to us; what the peer cannot do is counted, a peer that is away ends it."""
    if not wanted:
        return
    with _sink(job) as sink:
        for number, request in enumerate(wanted, 1):
            if job.stop.is_set():
                return
            _one(job, request, sink, came)
            job.tell(f"{number} of {len(wanted)} requests done, {came.fetched} instances fetched")


def _one(job: Job, request: listing.Request, sink: fetch.Sink | None, came: Came) -> None:
    node = job.settings.node
    known = () if job.by is model.By.MOVE else _classes(job, request)
    with fetch.opened(
        job.peer,
        node.aet,
        job.settings.tls,
        query.Root.STUDY,
        move=job.by is model.By.MOVE,
        known=known,
        timeouts=job.timeouts,
    ) as opened:
        retrieval = fetch.Retrieval(
            opened,
            request.fields,
            request.level,
            destination=node.aet if job.by is model.By.MOVE else "",
            sink=sink,
        )
        arrived = 0
        with job.brake.on(opened, retrieval.cancel):
            for heard in retrieval:
                if isinstance(heard, fetch.Arrived):
                    arrived += heard.error is None
                    if heard.error is not None:
                        came.why.append(str(heard.error))
    ended = retrieval.ended
    assert ended is not None, "a retrieval that ends without a word raises"
    counts = ended.counts
    came.fetched += arrived if job.by is model.By.GET else counts.completed + counts.warning
    if job.stop.is_set():
        return
    outcome = ended.outcome
    if not isinstance(outcome, base.Done):
        came.failed += counts.failed or 1
        came.why.append(outcome.why)


def _classes(job: Job, request: listing.Request) -> tuple[str, ...]:
    """The SOP classes that will come; an archive that does not tell is offered all usual ones."""
    with contextlib.suppress(errors.NodeError), job.asking() as opened:
        found = listing.classes(opened, request, query.Root.STUDY)
        if found:
            return found
        listed = {one.sop_class for one in listing.instances(opened, request, query.Root.STUDY).values()}
        if "" not in listed:
            return tuple(sorted(listed))
    return ()


@contextlib.contextmanager
def _sink(job: Job) -> Iterator[fetch.Sink | None]:
    """Where instances go that come with C-GET: our journal, so that they are durable when answered."""
    if job.by is model.By.MOVE:
        yield None
        return
    settings = job.settings
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(contextlib.closing(journal.claim(job.data, _SLOT, size=_SEGMENTS)))
        pool = stack.enter_context(contextlib.closing(spool.Spool(job.data.spool, _SLOT)))
        receiver = receive.Receiver(
            job.data,
            log,
            pool,
            max_instance=settings.limits.max_instance,
            reserve=settings.storage.min_free,
        )
        yield _Store(receiver, settings.node.aet, job.peer)


class _Store:
    """The node's own store as a sink."""

    def __init__(self, receiver: receive.Receiver, aet: str, peer: model.Peer) -> None:
        self._receiver = receiver
        self._sender = receive.Sender(peer.aet, aet, peer.host or "", peer.name, secrets.token_hex(8))

    def begin(self, sop_class: str, sop_instance: str, syntax: str, source: str) -> fetch.Taking:
        """Get ready for one."""
        return self._receiver.begin(sop_class, sop_instance, syntax, self._sender)


def _judged(came: Came, what: str) -> str:
    said = came.words(what)
    if came.failed:
        raise errors.PeerBusy(said)
    return said


def _noun(level: model.Level) -> str:
    return {model.Level.STUDY: "studies", model.Level.SERIES: "series"}.get(level, "instances")
