"""`schedules`: what the clock starts: when it runs next, what came of it, and run it now."""

from __future__ import annotations

import datetime
import time
from typing import Annotated

import typer

from node import errors, model
from node.commands import opening, options, output

group = typer.Typer(
    name="schedules",
    help="Scheduled work: pulls, prefetches, forwards, retention, scrubs.\n\nExample: dicom-node schedules",
    invoke_without_command=True,
)

_LOOK_EVERY = 0.2  # seconds between looks at a run that is waited for
_PATIENCE = 60.0  # seconds until a run that is asked for should have begun


@group.callback()
def list_(
    context: typer.Context,
    config: options.Config = None,
    data: options.Data = None,
    as_json: options.Json = False,
) -> None:
    """List scheduled work: when each runs next, and what came of its last run.

    Example: dicom-node schedules
    """
    if context.invoked_subcommand is not None:
        return
    from node.files import layout
    from node.index import runs
    from node.jobs import clockwork as jobs

    settings = options.settings(config, data=data)
    where = layout.Data(settings.node.data)
    calendars = {calendar.name: calendar for calendar in settings.calendars}
    now = datetime.datetime.now().astimezone()
    shown = []
    with opening.database(settings) as database, database.read() as connection:
        for schedule in settings.schedules:
            run = runs.load(connection, schedule.name)
            calendar = calendars.get(schedule.calendar or "")
            shown.append((schedule, run, jobs.ahead(where, schedule, run, now, calendar)))
    if as_json:
        output.as_json(
            [
                {"name": one.name, "job": one.job, "when": _when(one), "next": due, "last": run}
                for one, run, due in shown
            ]
        )
        return
    if not shown:
        print("nothing is scheduled: see [schedules.NAME] in config/node.toml")
        return
    output.table(
        ("schedule", "job", "when", "next", "last", "outcome", ""),
        [
            (
                one.name,
                one.job,
                _when(one),
                "running" if due is None else "now" if due <= now else due,
                None if run is None else run.begun,
                None if run is None else run.state,
                "" if run is None else run.says,
            )
            for one, run, due in shown
        ],
    )


@group.command()
def run(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The schedule, as it is configured.")],
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Stay until it ends, and say what came of it.")
    ] = True,
    config: options.Config = None,
    data: options.Data = None,
) -> None:
    """Have the running node run a schedule now, whatever its time.

    Example: dicom-node schedules run last-night
    """
    from node.files import layout
    from node.index import runs

    settings = options.settings(config, data=data)
    if all(one.name != name for one in settings.schedules):
        known = ", ".join(one.name for one in settings.schedules) or "none"
        raise errors.UsageError(f"there is no schedule {name!r} in this configuration: there are {known}")
    if layout.holder(settings.node.data) is None:
        raise errors.UsageError(
            f"no node runs on {settings.node.data}, and it is the node that does the work"
        )
    from node.jobs import clockwork as jobs

    with opening.database(settings) as database:
        asked = jobs.ask(layout.Data(settings.node.data), database, name)
        print(f"{name}: asked for")
        said = ""
        late = time.monotonic() + _PATIENCE
        while wait:
            time.sleep(_LOOK_EVERY)
            with database.read() as connection:
                found = runs.load(connection, name)
            if found is None or found.begun is None or found.begun < asked:
                if time.monotonic() > late:
                    raise errors.Transient(
                        f"{name} was not begun within {_PATIENCE:.0f} s: the node may not know it yet "
                        "(`dicom-node reload`), have no worker, or enough to do; it stays asked for"
                    )
                continue
            if found.state is runs.State.RUNNING:
                if found.says != said:
                    said = found.says
                    print(f"{name}: {said}")
                continue
            if found.state is runs.State.FINISHED:
                print(f"{name}: {found.says}")
                return
            raise errors.Transient(f"{name}: {found.state}: {found.says}")


def described(schedule: model.Schedule, settings: model.Settings) -> str:
    """A schedule in words, with its next run; raises ConfigError or UsageError for a query that is none."""
    from node.queue import windows

    if schedule.job is model.Job.PULL:
        from node.jobs import pull

        pull.terms(schedule.query, schedule.level, pull.today(schedule.zone))
    elif schedule.job is model.Job.FORWARD:
        from node.jobs import forward

        forward.question(schedule)
    calendar = next((one for one in settings.calendars if one.name == schedule.calendar), None)
    due = windows.next_run(schedule, None, datetime.datetime.now().astimezone(), calendar)
    return f"{schedule.name}: {schedule.job.value} {_when(schedule)}, next {due:%Y-%m-%d %H:%M %Z}"


def _when(schedule: model.Schedule) -> str:
    """The time of a schedule as the configuration has it."""
    if schedule.every is not None:
        when = f"every {_span(schedule.every)}"
    else:
        when = schedule.cron or f"at {schedule.at}"
    zone = f" {schedule.zone}" if schedule.zone else ""
    return f"{when}{zone}" + (f", in {schedule.calendar}" if schedule.calendar else "")


def _span(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g}{unit}"
    return f"{seconds:g}s"


def register(app: typer.Typer) -> None:
    """Put the commands on the command line."""
    app.add_typer(group)
