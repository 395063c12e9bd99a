"""`find`: what another archive holds, or what is on its worklist."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import TYPE_CHECKING, Annotated

import typer

from node import errors, model
from node.commands import columns, echo, options, output, persist, targets
from node.send import keys, query
from node.wire import association

if TYPE_CHECKING:
    from node.dicom import identifier

Keys = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="KEY[=VALUE]",
        help="What must match; without a value, what is answered too.",
        show_default=False,
    ),
]
Level = Annotated[
    model.Level | None,
    typer.Option(
        case_sensitive=False, metavar="LEVEL", help="patient, study, series or image.", show_default=False
    ),
]
Root = Annotated[
    query.Root,
    typer.Option("--model", metavar="MODEL", help="study, patient, patient-study or worklist."),
]
Timeout = Annotated[float, typer.Option(min=0.1, metavar="SECONDS", help="How long the peer may be silent.")]


@dataclasses.dataclass(frozen=True, slots=True)
class Question:
    """What is asked, and of whom."""

    peer: model.Peer  # who is asked
    settings: model.Settings  # who asks
    root: query.Root  # in which information model
    level: model.Level | None  # what an answer is; None: an entry of a worklist
    fields: identifier.Fields  # the keys
    extension: query.Extension  # what is negotiated beyond the usual
    limit: int  # answers at most; 0: all
    timeout: float  # seconds that the peer may be silent


@dataclasses.dataclass(slots=True)
class Summary:
    """How a query went."""

    answers: int = 0  # matches that came
    status: int | None = None  # the final status; None: it did not come
    says: str = ""  # the status in words, where it is not success
    cut: bool = False  # there may be more: --limit was reached, or the peer gave no more
    cancelled: bool = False  # by Ctrl-C
    unsupported: bool = False  # the peer did not look at every key
    unreadable: int = 0  # answers that are no DICOM
    refused: list[str] = dataclasses.field(default_factory=list)  # extensions that the peer does not do


def find(
    peer: echo.Peer,
    key: Keys = None,
    level: Level = None,
    root: Root = query.Root.STUDY,
    limit: Annotated[int, typer.Option(min=0, metavar="N", help="Answers at most; 0: all.")] = 1000,
    fuzzy: Annotated[bool, typer.Option("--fuzzy", help="Names that sound alike match.")] = False,
    relational: Annotated[
        bool, typer.Option("--relational", help="Keys of any level, without those above.")
    ] = False,
    combined: Annotated[
        bool, typer.Option("--combined", help="A date range and its time range are one.")
    ] = False,
    retries: options.Retries = 1,
    timeout: Timeout = 120.0,
    config: options.Config = None,
    aet: options.Aet = None,
    as_json: options.Json = False,
) -> None:
    """Ask an archive what it holds, or (--model worklist) what is scheduled.

    A key is a DICOM keyword, a tag, or short: name, id, accession, date, modality, study, series, instance,
    description, station. A day may be today, -7d..today or 2026-11-01..; SEQUENCE.KEY stands in a sequence.

    Example: dicom-node find PACS@10.0.0.5:104 name='DOE*' date=-7d..today
    """
    settings = options.settings(config, aet=aet)
    to = targets.peer(peer, settings)
    wanted, level = read(key or [], root, level)
    paths = columns.with_defaults(wanted, root, level)
    extension = query.Extension(0)
    for flag, asked in (
        (query.Extension.RELATIONAL, relational),
        (query.Extension.COMBINED, combined),
        (query.Extension.FUZZY, fuzzy),
    ):
        extension |= flag if asked else query.Extension(0)
    question = Question(to, settings, root, level, keys.fields(paths), extension, limit, timeout)
    found: list[identifier.Fields] = []
    try:
        with persist.stoppable() as stop:
            summary = persist.tried(
                lambda: _ask(question, stop, found, as_json=as_json),
                retries,
                # What a program has read already cannot be taken back.
                again=lambda: not (as_json and found),
            )
    except errors.NodeError as error:
        if as_json:
            output.line({"summary": Summary(len(found), says=str(error))})
        elif found:
            _show(found, _columns(paths), Summary(len(found)), level)
        raise
    if as_json:
        output.line({"summary": summary})
    else:
        _show(found, _columns(paths), summary, level)
    if summary.cancelled:
        raise errors.Permanent(f"cancelled after {summary.answers} answers")


def read(
    words: list[str], root: query.Root, level: model.Level | None
) -> tuple[dict[keys.Path, str | None], model.Level | None]:
    """The keys and the level that they are asked at."""
    levels = root.levels()
    if level is not None and level not in levels:
        has = ", ".join(one.lower() for one in levels) or "none"
        raise errors.UsageError(f"there is no level {level.lower()} in the {root} model: it has {has}")
    found = keys.parse(words, root, level)
    if level is None:
        level = keys.default_level(found, root)
        found = keys.parse(words, root, level)
    return found, level


def _ask(question: Question, stop: persist.Stop, found: list[identifier.Fields], *, as_json: bool) -> Summary:
    """Ask once; the answers go into `found` as they come, and onto the output for a program."""
    found.clear()
    summary = Summary()
    settings = question.settings
    timeouts = association.Timeouts(idle=question.timeout)
    with query.opened(
        question.peer,
        settings.node.aet,
        settings.tls,
        question.root,
        extension=question.extension,
        timeouts=timeouts,
    ) as opened:
        lacking = question.extension & ~query.granted(opened, question.root)
        summary.refused = [str(flag.name).lower() for flag in query.Extension if flag & lacking]
        search = query.Search(opened, question.fields, question.root, level=question.level)
        with stop.calls(search.cancel), contextlib.closing(iter(search)) as coming:
            for answer in coming:
                found.append(answer)
                if as_json:
                    output.line(answer)
                if len(found) == question.limit:
                    search.cancel()
                    summary.cut = True
                    break
        summary.answers = len(found)
        summary.status, summary.says = search.status, search.says
        summary.cut |= search.cut
        summary.unsupported, summary.unreadable = search.unsupported, search.unreadable
        summary.cancelled = stop.asked
    return summary


def _columns(paths: list[tuple[keys.Path, str | None]]) -> list[keys.Path]:
    """What the table shows: not the UIDs that were asked for, which are the same in every row."""
    uids = {(uid,) for uid in model.UNIQUE.values() if uid.endswith("UID")}
    return [path for path, value in paths if not (value and path in uids and "\\" not in value)]


_NOUNS = {
    model.Level.PATIENT: ("patient", "patients"),
    model.Level.STUDY: ("study", "studies"),
    model.Level.SERIES: ("series", "series"),
    model.Level.IMAGE: ("instance", "instances"),
    None: ("entry", "entries"),
}


def _show(
    found: list[identifier.Fields], paths: list[keys.Path], summary: Summary, level: model.Level | None
) -> None:
    from node.commands import answers

    answers.table(found, paths)
    print(f"{summary.answers} {_NOUNS[level][summary.answers != 1]}" if found else "nothing matches")
    if summary.cut:
        persist.note("there may be more: say so with --limit, or ask for less")
    if summary.refused:
        persist.note(f"the peer does not do {' or '.join(summary.refused)} queries: it was asked without")
    if summary.unsupported:
        persist.note("the peer did not look at all keys (FF01): some answers may not match them")
    if summary.unreadable:
        persist.note(f"{summary.unreadable} answers cannot be read as DICOM and were left out")
    if summary.says:
        persist.note(f"the peer ended with {summary.says}")


def register(app: typer.Typer) -> None:
    """Put the command on the command line."""
    app.command()(find)
