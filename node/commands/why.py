"""`why`: the story of a study, series or instance: what came, what settled it, what became of it."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from node import errors
from node.commands import opening, options, output

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import sqlalchemy

    from node import model, routes
    from node.files import layout
    from node.index import why as facts

_EXPLAINED = 20  # series whose header is read again


def why(
    uid: Annotated[
        str,
        typer.Argument(
            metavar="UID",
            help="Of a study, series or instance, the beginning of it, or a name that `images` gave.",
        ),
    ],
    config: options.Config = None,
    data: options.Data = None,
    as_json: options.Json = False,
) -> None:
    """Tell what came when from whom, what settled it, which routes it took, and what became of it since.

    Example: dicom-node why 1.2.840.113619.2.1.4711
    """
    from node.commands import telling
    from node.files import deeds, layout
    from node.index import naming
    from node.index import why as facts

    settings = options.settings(config, data=data)
    where = layout.Data(settings.node.data)
    with opening.database(settings) as database, database.read() as connection:
        meant = naming.uid(connection, uid)
        stories = facts.story(connection, meant)
        if not stories:
            raise errors.NotFound(
                f"nothing is known of {meant}: it never came, or all of it was refused before it was taken"
            )
        told = [
            telling.Told(
                story,
                deeds.of(where, story.study, frozenset(one.series for one in story.series)),
                _explained(connection, settings, where, story),
            )
            for story in stories
        ]
    if as_json:
        output.as_json([telling.plain(one) for one in told])
        return
    now = datetime.datetime.now(datetime.UTC)
    for one in told:
        telling.show(one, settings, now)


def _explained(
    connection: sqlalchemy.Connection, settings: model.Settings, data: layout.Data, story: facts.Story
) -> Mapping[str, Sequence[routes.Explanation]]:
    """By series, what each route as it is configured now says; nothing where no header can be read."""
    from node import orders, routes
    from node.complete import decide
    from node.index import series

    if not settings.routes:
        return {}
    decider = decide.Decider(data, decide.Rulebook.of(settings))
    found = {}
    for one in story.series[:_EXPLAINED]:
        held = series.facts(connection, story.study, one.series)
        if held is not None and one.settled:
            verdict = orders.Completeness(one.settled[-1].verdict)
            known = decider.of_series(connection, held, verdict)
            found[one.series] = routes.explain(settings.routing, settings.routes, known)
    return found


def register(app: typer.Typer) -> None:
    """Put the command on the command line."""
    app.command()(why)
