"""`replay`: which decisions of the past would be others under another configuration."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from node import errors
from node.commands import opening, options, output

if TYPE_CHECKING:
    from node import replay as replaying


def replay(
    since: Annotated[
        str, typer.Option(metavar="TIME", help="How far back: 7d, 12h, or a date as in 2026-11-14.")
    ] = "7d",
    limit: Annotated[int, typer.Option(min=0, metavar="N", help="List at most so many series.")] = 100,
    why: Annotated[
        bool, typer.Option("--why", help="Also say for each route why it matches or not.")
    ] = False,
    config: options.Config = None,
    data: options.Data = None,
    as_json: options.Json = False,
) -> None:
    """Show what the routes of a configuration would have done otherwise with what was decided since.

    Headers are read from the files that are held. Nothing is sent and nothing is written. Exits with 1
    when something differs.

    Example: dicom-node replay --since 7d --config new.toml
    """
    settings = options.settings(config, data=data)
    begin = moment(since, datetime.datetime.now(datetime.UTC))
    opening.quiet()
    from node import replay as replaying
    from node.commands import forwarding
    from node.files import layout
    from node.index import decided

    forwarding.refuse(settings)
    shown = 0
    with opening.database(settings) as database:
        again = replaying.Replay(layout.Data(settings.node.data), database, settings)
        total = decided.count(database, begin)
        with output.progress("replay", total, shown=not as_json) as advance:
            for change in again.run(begin):
                advance(1)
                if change is None:
                    continue
                shown += 1
                if as_json:
                    output.line(_words(change))
                elif shown <= limit:
                    _show(change, why=why)
    tally = again.tally
    if as_json:
        output.line({"summary": _counts(tally)})
    else:
        _summary(tally, shown, limit)
    if tally.differ:
        raise typer.Exit(1)


def moment(text: str, now: datetime.datetime) -> datetime.datetime:
    """Return the moment that a time back from now, or a date, means."""
    from node.config import values as kinds

    try:
        seconds = kinds.WAIT.read(text)
        assert isinstance(seconds, float)
        return now - datetime.timedelta(seconds=seconds)
    except (kinds.Wrong, OverflowError):
        pass
    try:
        found = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise errors.UsageError(
            f"--since {text}: give how far back, as in 7d or 12h, or a date, as in 2026-11-14"
        ) from None
    return found.astimezone() if found.tzinfo is None else found


def _show(change: replaying.Change, *, why: bool) -> None:
    kind = "as it came" if change.revision == 0 else f"revision {change.revision}"
    print(f"{output.cell(change.at)}  series {change.series} ({kind}) of study {change.study}")
    for name, ways in (("was", change.before), ("is", change.after)):
        said = "; ".join(str(way) for way in ways if way.to or way.discard) or "nowhere"
        print(f"  {name:<4}{output.cell(said)}")
    if why:
        for one in change.explained:
            print(f"    {output.cell(one)}")


def _words(change: replaying.Change) -> dict[str, object]:
    return {
        "at": change.at,
        "study": change.study,
        "series": change.series,
        "revision": change.revision,
        "before": change.before,
        "after": change.after,
        "moved": change.moved,
        "explained": {one.route.name: one.finding.why() for one in change.explained},
    }


def _counts(tally: replaying.Tally) -> dict[str, object]:
    return {
        "same": tally.same,
        "moved": tally.moved,
        "renamed": tally.renamed,
        "gone": tally.gone,
        "unreadable": tally.unreadable,
        "kinds": [
            {"before": before, "after": after, "count": count}
            for (before, after), count in tally.kinds.most_common()
        ],
    }


def _summary(tally: replaying.Tally, shown: int, limit: int) -> None:
    if shown > limit:
        print(f"... and {shown - limit} more; list them with --limit {shown}")
    if tally.kinds:
        print()
        output.table(
            ("count", "was", "would be"),
            [(count, before, after) for (before, after), count in tally.kinds.most_common()],
        )
        print()
    print(
        f"{tally.same + tally.differ} decisions looked at: {tally.same} the same, "
        f"{tally.moved} to somewhere else, {tally.renamed} to the same by other routes"
    )
    if tally.gone:
        print(f"{tally.gone} more are of series that are held no more")
    if tally.unreadable:
        print(
            f"{tally.unreadable} more are of series of which no header can be read: "
            "`dicom-node scrub` looks closer"
        )


def register(app: typer.Typer) -> None:
    """Put the command on the command line."""
    app.command()(replay)
