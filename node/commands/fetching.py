"""What `get` and `move` share: the requests that the keys make, the attempts, and what is said at the end."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from node import errors, model
from node.commands import find, output, persist
from node.dicom import identifier, match, uids
from node.send import base, fetch, keys, listing, query
from node.wire import association

_FORESIGHT = 30.0  # seconds that an archive gets to say what it holds, before it is retrieved from without
_TOLD = 20  # failed instances that are told one by one


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """Who is asked for what, and where it goes."""

    peer: model.Peer  # who is asked
    settings: model.Settings  # who asks
    root: query.Root  # in which information model
    timeout: float  # seconds that the peer may be silent
    retries: int  # attempts after the first
    destination: str = ""  # C-MOVE: the AE title that it goes to; "": C-GET
    sink: fetch.Sink | None = None  # C-GET: where it goes
    comes: bool = True  # the instances come to us

    @property
    def timeouts(self) -> association.Timeouts:
        """How long is waited for."""
        return association.Timeouts(idle=self.timeout)

    def queries(self, most: float = math.inf) -> contextlib.AbstractContextManager[association.Association]:
        """An association for queries; `most` is how long at most each is waited for."""
        timeouts = association.Timeouts(idle=min(self.timeout, most))
        settings = self.settings
        return query.opened(self.peer, settings.node.aet, settings.tls, self.root, timeouts=timeouts)


@dataclasses.dataclass(slots=True)
class Summary:
    """What became of everything that was asked for."""

    requests: int = 0  # studies, series or lists of instances that were asked for
    completed: int = 0  # instances that arrived, as the peer counts them
    warnings: int = 0  # that arrived with a remark of the receiver
    failed: int = 0  # that did not arrive
    arrived: int = 0  # that came to us and were kept
    size: int = 0  # bytes of the data sets that came to us
    seconds: float = 0.0  # from the first request to the last answer
    cancelled: bool = False  # by Ctrl-C
    says: list[str] = dataclasses.field(default_factory=list)  # what the peer said of what did not go well


class Tally:
    """What has come to us so far; written by whichever thread took it."""

    def __init__(self) -> None:
        self.held: set[str] = set()  # SOP Instance UIDs that were kept
        self.size = 0  # bytes that were kept
        self.refused: dict[str, str] = {}  # SOP Instance UID -> why we did not keep it
        self._lock = threading.Lock()

    def add(self, one: fetch.Arrived) -> None:
        """Count one."""
        with self._lock:
            if one.error is None:
                self.held.add(one.sop_instance)
                self.size += one.size
                self.refused.pop(one.sop_instance, None)
            else:
                self.refused[one.sop_instance[:64]] = str(one.error)


def requests(
    plan: Plan, words: Sequence[str], level: model.Level | None, stop: persist.Stop
) -> list[listing.Request]:
    """What the keys name; where they are no unique keys, the peer is asked for those first."""
    found, level = find.read(list(words), plan.root, level)
    if level is None:
        raise errors.UsageError("a worklist can be queried only: nothing is retrieved from it")
    valued = {path: value for path, value in found.items() if value}
    if not valued:
        raise errors.UsageError("say what is wanted, such as study=UID or PatientID=4711 date=today")
    unique = [model.UNIQUE[one] for one in plan.root.levels()[: plan.root.levels().index(level) + 1]]
    direct = all(
        path in {(key,) for key in unique} and _plain(path[0], value) for path, value in valued.items()
    )
    if direct and len(valued) == len(unique):
        return [listing.Request(level, {key: valued[key,] for key in unique})]
    asked = keys.fields([*valued.items(), *(((key,), valued.get((key,))) for key in unique)])
    with plan.queries() as opened:
        search = query.Search(opened, asked, plan.root, level=level)
        with stop.calls(search.cancel), contextlib.closing(iter(search)) as coming:
            answers = list(coming)
    made = []
    for answer in answers:
        fields: identifier.Fields = {
            key: value for key in unique if isinstance(value := answer.get(key) or asked.get(key), str)
        }
        if len(fields) < len(unique):
            missing = ", ".join(key for key in unique if key not in fields)
            raise errors.UsageError(f"the peer's answer does not say {missing}: give it as a key")
        made.append(listing.Request(level, fields))
    if not made and not stop.asked:
        raise errors.NotFound("the peer holds nothing that matches")
    return made


@contextlib.contextmanager
def told(*, as_json: bool) -> Iterator[None]:
    """Tell a program in its own way what ended the block."""
    try:
        yield
    except errors.NodeError as error:
        if as_json:
            output.line({"summary": Summary(says=[str(error)])})
        raise


def _plain(key: str, value: str | None) -> bool:
    """Whether a unique key may be used as it is: it names something and matches nothing else."""
    if not value:
        return False
    if key == model.UNIQUE[model.Level.PATIENT]:
        return not match.wild(value)
    return all(uids.valid(uid) for uid in value.split("\\"))


@dataclasses.dataclass(slots=True)
class _State:
    """One request through its attempts."""

    request: listing.Request  # what was asked for
    todo: list[listing.Request]  # what is asked for in the next attempt
    classes: tuple[str, ...] = ()  # SOP classes to propose; (): all usual ones
    listed: dict[str, listing.Listed] = dataclasses.field(default_factory=dict)  # what the peer says it has
    hint: str = ""  # what may be behind a refusal
    ended: list[fetch.Ended] = dataclasses.field(default_factory=list)  # of the last attempt


Tell = Callable[[int, int | None], object]


def run(
    plan: Plan,
    wanted: Sequence[listing.Request],
    tally: Tally,
    stop: persist.Stop,
    *,
    bar: Callable[[str], contextlib.AbstractContextManager[Tell]],
    pause: Callable[[float], None] | None = None,
) -> Summary:
    """Retrieve each of them; what may pass is tried again, for what is missing alone where that is known."""
    summary = Summary()
    begun = time.monotonic()
    with stop.calls(_nothing):  # whatever is cancelled, what arrived is told
        for number, request in enumerate(wanted, 1):
            if stop.asked:
                break
            what = f"{request.level.lower()} {number} of {len(wanted)}" if len(wanted) > 1 else "instances"
            with bar(what) as tell:
                _one(plan, request, tally, stop, summary, tell, pause or stop.pause)
            summary.requests += 1
    summary.cancelled = stop.asked
    summary.arrived, summary.size = len(tally.held), tally.size
    summary.seconds = time.monotonic() - begun
    return summary


def _nothing() -> None:
    """There is nobody to tell."""


def _one(
    plan: Plan,
    request: listing.Request,
    tally: Tally,
    stop: persist.Stop,
    summary: Summary,
    tell: Tell,
    pause: Callable[[float], None],
) -> None:
    state = _State(request, [request])
    if not plan.destination:
        _look(plan, state)
    if stop.asked:
        return
    for attempt in range(plan.retries + 1):
        why = _attempt(plan, state, tally, stop, tell)
        if why is None or stop.asked:
            break
        if attempt == plan.retries:
            summary.says.append(why)
            if not state.ended:  # else the counts of the peer tell it
                summary.failed += max(1, len(set(state.listed) - tally.held) if plan.comes else 1)
            break
        wait = min(2.0**attempt, persist.LONGEST)
        persist.note(f"{why}; again in {wait:g} s")
        pause(wait)
        _narrow(plan, state, tally)
        if not state.todo:
            break  # everything had come before the association went
    _count(plan, state, tally, summary)


def _attempt(plan: Plan, state: _State, tally: Tally, stop: persist.Stop, tell: Tell) -> str | None:
    """Ask for everything that is to be done; why it is worth another attempt, or None."""
    state.ended = []
    settings = plan.settings
    try:
        with fetch.opened(
            plan.peer,
            settings.node.aet,
            settings.tls,
            plan.root,
            move=bool(plan.destination),
            known=state.classes,
            timeouts=plan.timeouts,
        ) as opened:
            if plan.sink is not None and not any(one.scp for one in opened.contexts.values()):
                state.hint = "; it granted us no role to take instances in: try move --out"
            for request in state.todo:
                retrieval = fetch.Retrieval(
                    opened,
                    request.fields,
                    request.level,
                    plan.root,
                    destination=plan.destination,
                    sink=plan.sink,
                )
                with stop.calls(retrieval.cancel):
                    _follow(retrieval, state, tally, tell)
                if retrieval.ended is not None:
                    state.ended.append(retrieval.ended)
                if stop.asked:
                    break
    except errors.Transient as error:
        state.ended = []
        return str(error)
    again = [one.outcome.why for one in state.ended if isinstance(one.outcome, base.Retry)]
    return f"{again[0]}{state.hint}" if again else None


def _follow(retrieval: fetch.Retrieval, state: _State, tally: Tally, tell: Tell) -> None:
    total: int | None = len(state.listed) or None
    done = 0
    for heard in retrieval:
        if isinstance(heard, fetch.Arrived):
            tally.add(heard)
            done += 1
        else:
            total = heard.total or total
            done = max(done, heard.completed + heard.failed + heard.warning)
        tell(done, max(total, done) if total else None)


def _look(plan: Plan, state: _State) -> None:
    """Find out which SOP classes will come; an archive that does not tell is offered all usual ones."""
    with contextlib.suppress(errors.NodeError), plan.queries(_FORESIGHT) as opened:
        state.classes = listing.classes(opened, state.request, plan.root)
        if not state.classes:
            _list(plan, state, opened)


def _list(plan: Plan, state: _State, opened: association.Association) -> None:
    state.listed = listing.instances(opened, state.request, plan.root)
    found = {one.sop_class for one in state.listed.values()}
    if "" not in found:
        state.classes = tuple(sorted(found))


def _narrow(plan: Plan, state: _State, tally: Tally) -> None:
    """Ask only for what is missing, where it can be known."""
    failed = {uid for one in state.ended for uid in one.failed}
    if not plan.comes and not failed:
        return
    if not state.listed:
        with contextlib.suppress(errors.NodeError), plan.queries() as opened:
            _list(plan, state, opened)
    if state.listed:
        missing = [uid for uid in state.listed if (uid not in tally.held if plan.comes else uid in failed)]
        state.todo = listing.requests(state.listed, missing, state.request.fields)


def _count(plan: Plan, state: _State, tally: Tally, summary: Summary) -> None:
    for ended in state.ended:
        summary.completed += ended.counts.completed + ended.counts.warning
        summary.warnings += ended.counts.warning
        summary.failed += ended.counts.failed
        outcome = ended.outcome
        if isinstance(outcome, base.Failed) and not ended.counts.failed:
            summary.failed += 1  # it was refused as a whole
        if isinstance(outcome, base.Failed) or (isinstance(outcome, base.Done) and outcome.why):
            summary.says.append(outcome.why)
        for uid in ended.failed[:_TOLD]:
            summary.says.append(f"{uid}: {tally.refused.get(uid, 'the peer could not send it')}")
        if len(ended.failed) > _TOLD:
            summary.says.append(f"... and {len(ended.failed) - _TOLD} more instances")


def finish(summary: Summary, plan: Plan, what: str, *, as_json: bool) -> None:
    """Print what came of it, and raise when that is not everything."""
    if as_json:
        output.line({"summary": summary})
    else:
        for said in summary.says:
            print(f"FAILED   {said}" if summary.failed else f"warning  {said}")
        print(_words(summary, plan, what))
    if summary.cancelled:
        raise errors.Permanent(f"cancelled after {_number(summary, plan)} instances")
    if summary.failed:
        raise errors.Permanent(f"{summary.failed} did not arrive")
    if not _number(summary, plan):
        raise errors.NotFound("nothing came: the peer holds nothing under these keys")


def _number(summary: Summary, plan: Plan) -> int:
    return summary.arrived if plan.comes else summary.completed


def _words(summary: Summary, plan: Plan, what: str) -> str:
    count = _number(summary, plan)
    words = f"{count} instance{'s' * (count != 1)} {what} in {summary.seconds:.1f} s"
    if plan.comes and summary.seconds:
        words += f" ({output.size(summary.size)}, {count / summary.seconds:.0f}/s)"
    if summary.warnings:
        words += f", {summary.warnings} with warnings"
    return words


@contextlib.contextmanager
def bars(what: str, *, as_json: bool) -> Iterator[Tell]:
    """A bar on a terminal."""
    with output.counted(what, shown=not as_json) as tell:
        yield tell


def folder_words(sink: object) -> str:
    """What is worth saying of a folder's files beside their number."""
    from node.files import folder

    if not isinstance(sink, folder.Folder):
        return ""
    same, other = sink.kept[folder.Kept.SAME], sink.kept[folder.Kept.OTHER]
    words = [f"{same} were there already"] if same else []
    if other:
        words.append(f"{other} have other bytes than the file of their name and got a second one")
    return "; ".join(words)
