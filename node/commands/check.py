"""`check`: validate the configuration and the environment, and say what `run` would do."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
from collections.abc import Callable, Iterator

import typer

from node import errors, evaluate, model, orders
from node.commands import options


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    what: str  # the thing
    ok: bool  # whether it would work
    says: str  # the fact, or what is wrong and the way out


def check(
    config: options.Config = None,
    data: options.Data = None,
    aet: options.Aet = None,
    port: options.Port = None,
    http: options.Http = None,
    peers: bool = typer.Option(False, "--peers", help="Also send each configured peer a C-ECHO."),
    as_json: options.Json = False,
) -> None:
    """Validate the configuration and the environment; say what `run` would do.

    Example: dicom-node check --config /etc/dicom-node/node.toml --peers
    """
    settings = options.settings(config, data=data, aet=aet, port=port, http=http)
    findings = list(look(settings, peers=peers))
    if as_json:
        print(json.dumps([dataclasses.asdict(finding) for finding in findings], indent=2))
    else:
        for finding in findings:
            print(f"{'ok  ' if finding.ok else 'FAIL'}  {finding.what:<14} {finding.says}")
    wrong = sum(not finding.ok for finding in findings)
    if wrong:
        raise errors.UsageError(
            f"{wrong} of {len(findings)} checks failed: `run` would not do what it should"
        )


def look(settings: model.Settings, *, peers: bool = False) -> Iterator[Finding]:
    """Look at everything, and go on after what is wrong."""
    from node import preflight
    from node.files import layout

    yield _would(settings)
    yield _finding("clock", preflight.clock)
    new = not settings.node.data.exists()
    yield _finding("data", lambda: preflight.data_directory(settings.node.data))
    if new:
        with contextlib.suppress(OSError):
            settings.node.data.rmdir()  # a look leaves nothing behind
    holder = layout.holder(settings.node.data)
    if holder is not None:
        yield Finding("ports", True, f"a node runs on this data directory (process {holder}): not tried")
    else:
        host, port = settings.node.host, settings.node.port
        yield _finding(
            "dicom", lambda: preflight.port_is_free(host, port, "DICOM", "choose another with --port")
        )
        web_host, web_port = preflight.http_address(settings.node.http)
        yield _finding(
            "http", lambda: preflight.port_is_free(web_host, web_port, "HTTP", "choose another with --http")
        )
    if settings.tls.port is not None:
        yield _finding("tls", lambda: preflight.tls(settings.tls) or "")
    yield _finding("database", lambda: _database(settings))
    yield from _owed(settings)
    yield from _worklist(settings)
    yield from _coercions(settings)
    for rule in settings.rules:
        yield Finding("rule", True, f"{rule.name}: {_rule(rule)}")
    yield from _forwarding(settings)
    yield from _schedules(settings)
    if peers:
        yield from _peers(settings)


def _would(settings: model.Settings) -> Finding:
    node = settings.node
    return Finding(
        "node",
        True,
        f"would listen as {node.aet} on {node.host}:{node.port} with {node.listeners} listener(s), "
        f"{node.workers} worker(s), HTTP on {node.http}; "
        f"{len(settings.peers)} peer(s), {len(settings.destinations)} destination(s) configured",
    )


def _finding(what: str, look_at: Callable[[], str]) -> Finding:
    try:
        return Finding(what, True, look_at())
    except errors.NodeError as error:
        return Finding(what, False, str(error))


def _database(settings: model.Settings) -> str:
    from node.files import layout
    from node.index import db, migrate

    url = layout.index_url(settings)
    path = db.path_of(url)
    if path is not None and not path.exists():
        return f"{path} would be created"
    database = db.open(url)
    try:
        status = migrate.status(database)
    finally:
        database.close()
    if status.pending:
        return f"would be upgraded from {status.current} to {status.head}, after a copy was made"
    return f"is at revision {status.head}"


def _owed(settings: model.Settings) -> Iterator[Finding]:
    """What is owed to destinations that this configuration does not have: it would never go out."""
    from node.files import layout
    from node.index import db, ledger, migrate

    url = layout.index_url(settings)
    path = db.path_of(url)
    if path is not None and not path.exists():
        return
    try:
        database = db.open(url)
        try:
            if migrate.status(database).pending:
                return
            with database.read() as connection:
                owed = ledger.owed(connection)
        finally:
            database.close()
    except errors.NodeError:
        return  # it was told already what is wrong with the database
    known = {destination.name for destination in settings.destinations}
    for one in owed:
        open_ones = one.due + one.held + one.running + one.verifying
        if open_ones and one.destination not in known:
            yield Finding(
                "queue",
                False,
                f"{open_ones} instances are owed to {one.destination!r}, which is no destination here: "
                f"configure it, `dicom-node queue move {one.destination} --to NAME`, or cancel them",
            )


def _worklist(settings: model.Settings) -> Iterator[Finding]:
    token = settings.node.api_token_file
    if token is not None:
        from node.web import guard

        yield _finding("api", lambda: guard.read_token(token) and f"callers must show the token of {token}")
    folder = settings.worklist.folder
    if folder is None:
        return
    from node.files import worklist

    try:
        served, skipped = worklist.look(folder)
    except errors.NodeError as error:
        yield Finding("worklist", False, str(error))
        return
    yield Finding("worklist", True, f"{folder} has {served} entries")
    for path, why in skipped:
        yield Finding("worklist", False, f"{path} is not served: {why}")


def _coercions(settings: model.Settings) -> Iterator[Finding]:
    if not settings.coerce:
        return  # what follows takes a moment to import
    from node.steps import coerce

    for one in settings.coerce:
        rules = [rule.name for rule in settings.rules if rule.coerce == one.name]
        uses = [to.name for to in settings.destinations if to.coerce == one.name]
        goes = ", ".join([*uses, *(f"rule {name}" for name in rules)]) or "no destination"
        try:
            made = coerce.configured(one, receipt=bool(rules))
        except coerce.Mistakes as wrong:
            for mistake in wrong.mistakes:
                yield Finding("coerce", False, mistake)
            continue
        for number, said in enumerate(made.descriptions, 1):
            yield Finding("coerce", True, f"{one.name} (for {goes}), step {number}: {said}")


def _rule(rule: model.Rule) -> str:
    does = (
        rule.action.value if rule.coerce is None else f"{rule.action.value}, presented through {rule.coerce},"
    )
    return (
        f"{does} everything"
        if rule.when == orders.Condition()
        else f"{does} when {evaluate.words(rule.when)}"
    )


def _forwarding(settings: model.Settings) -> Iterator[Finding]:
    from node.commands import forwarding

    yield from (Finding(*found) for found in forwarding.look(settings))


def _schedules(settings: model.Settings) -> Iterator[Finding]:
    from node.commands import schedules

    for schedule in settings.schedules:
        yield _finding("schedule", functools.partial(schedules.described, schedule, settings))


def _peers(settings: model.Settings) -> Iterator[Finding]:
    from node.send import dimse

    for peer in settings.peers:
        if peer.host is None:
            yield Finding("peer", True, f"{peer.name}: only calls us")
        else:
            yield _finding("peer", functools.partial(dimse.echo, peer, settings))


def register(app: typer.Typer) -> None:
    app.command()(check)
