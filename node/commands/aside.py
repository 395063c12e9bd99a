"""`aside`: what was set aside for a person, conflicts and quarantine, and what that person decides."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from node import errors, model
from node.commands import opening, options, output

if TYPE_CHECKING:
    from node import aside as deciding
    from node import receive
    from node.files import layout
    from node.index import aside, db

group = typer.Typer(
    name="aside",
    help="Decide what was set aside: conflicts and quarantine.\n\nExample: dicom-node aside list",
    no_args_is_help=True,
)

Uid = Annotated[
    str, typer.Argument(metavar="UID", help="SOP Instance UID, or a series or study with all that is aside.")
]
Digest = Annotated[
    str, typer.Option(metavar="HEX", help="Only what has a digest that begins so.", show_default=False)
]
Why = Annotated[str, typer.Option(metavar="TEXT", help="The reason; the audit trail keeps it.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]

_PAGE = 1000
_FILED_WITHIN = 60.0
_DIGEST = re.compile(r"(?:sha256:)?([0-9a-fA-F]*)")


@group.command("list")
def list_(
    limit: Annotated[int, typer.Option(min=1, help="At most so many of each kind.")] = 100,
    config: options.Config = None,
    data: options.Data = None,
    as_json: options.Json = False,
) -> None:
    """List conflicts and what is in quarantine, with what is held under the same UIDs.

    Example: dicom-node aside list --limit 1000
    """
    from node.index import aside

    entries: list[aside.Entry] = []
    with opening.database(options.settings(config, data=data)) as database, database.read() as connection:
        total = sum(aside.counts(connection).values())
        for kind in aside.Kind:
            found: list[aside.Entry] = []
            while len(found) < limit:
                after = found[-1].key if found else 0
                page = aside.each(connection, kind, after, min(_PAGE, limit - len(found)))
                if not page:
                    break
                found += page
            entries += found
    if as_json:
        output.as_json(entries)
        return
    for entry in entries:
        _show(entry)
    print(f"{total} set aside" + (f", {len(entries)} shown: --limit" if total > len(entries) else ""))


@group.command()
def release(
    uid: Uid,
    why: Why,
    digest: Digest = "",
    config: options.Config = None,
    data: options.Data = None,
) -> None:
    """Put what was set aside into the store, as if it had come now and no rule had set it aside.

    Example: dicom-node aside release 1.2.840.113619.2.1.4711 --why "the patient was confirmed"
    """
    from node import aside as deciding

    settings = options.settings(config, data=data)
    with _opened(settings) as (where, database):
        entries = _chosen(database, uid, digest)
        with _receiver(settings) as (take, settle):
            settled = deciding.release(
                take, where, database, entries, who=opening.who(), why=why, settle=settle
            )
    _say(settled, "released into the store")


@group.command()
def replace(
    uid: Uid,
    why: Why,
    digest: Digest = "",
    yes: Yes = False,
    config: options.Config = None,
    data: options.Data = None,
) -> None:
    """Remove the instance that is held, and put the one that was set aside in its place.

    Names and an order that people gave to the instance that goes are forgotten with it.

    Example: dicom-node aside replace 1.2.840.113619.2.1.4711 --why "the first was cut short"
    """
    from node import aside as deciding

    settings = options.settings(config, data=data)
    with _opened(settings) as (where, database):
        entries = _chosen(database, uid, digest)
        if len(entries) > 1:
            them = ", ".join(f"{entry.sop_instance} {entry.digest[:19]}" for entry in entries[:5])
            raise errors.UsageError(f"{uid} names {len(entries)} set aside ({them}): say which with --digest")
        (entry,) = entries
        _show(entry)
        if not yes and not typer.confirm(f"Remove {entry.held} from the store for good?"):
            raise errors.UsageError("nothing was replaced")
        with _receiver(settings) as (take, settle):
            settled = deciding.replace(
                take, where, database, entry, who=opening.who(), why=why, settle=settle
            )
    _say(settled, "put in the place of what was held")


@group.command()
def discard(
    uid: Uid,
    why: Why,
    digest: Digest = "",
    yes: Yes = False,
    config: options.Config = None,
    data: options.Data = None,
) -> None:
    """Remove what was set aside for good; what is in the store is not touched.

    Example: dicom-node aside discard 1.2.840.113619.2.1.4711 --why "a test image"
    """
    from node import aside as deciding

    settings = options.settings(config, data=data)
    with _opened(settings) as (where, database):
        entries = _chosen(database, uid, digest)
        for entry in entries[:_PAGE]:
            _show(entry)
        if not yes and not typer.confirm(f"Discard {len(entries)} for good?"):
            raise errors.UsageError("nothing was discarded")
        settled = deciding.discard(where, database, entries, who=opening.who(), why=why)
    _say(settled, "discarded")


@contextlib.contextmanager
def _opened(settings: model.Settings) -> Iterator[tuple[layout.Data, db.Database]]:
    from node.files import layout

    with opening.database(settings) as database:
        yield layout.Data(settings.node.data), database


@contextlib.contextmanager
def _receiver(settings: model.Settings) -> Iterator[tuple[receive.Receiver, deciding.Settle]]:
    """The durable way into the store, and how to wait until all of it is filed."""
    from node.commands import import_
    from node.files import journal, layout

    with import_.receiver(settings) as take:
        yield take, lambda: journal.barrier(layout.Data(settings.node.data), _FILED_WITHIN)


def _chosen(database: db.Database, uid: str, digest: str) -> list[aside.Entry]:
    from node.index import aside

    found = _DIGEST.fullmatch(digest)
    if found is None:
        raise errors.UsageError(
            f"--digest {digest!r} is no beginning of a digest: take it from `dicom-node aside list`"
        )
    with database.read() as connection:
        entries = aside.named(connection, uid, f"sha256:{found[1].lower()}" if found[1] else "")
    if not entries:
        having = f" with a digest {digest}..." if digest else ""
        raise errors.NotFound(f"nothing is set aside as {uid!r}{having}: see `dicom-node aside list`")
    return entries


def _show(entry: aside.Entry) -> None:
    output.table(
        (entry.kind.value, entry.sop_instance),
        [
            ("came", entry.received),
            ("from", f"{entry.source or 'an import'} {entry.peer}".strip()),
            *([("rule", f"{entry.rule}: {entry.reason}")] if entry.rule else []),
            ("digest", entry.digest),
            ("held", entry.held or "nothing"),
            ("size", output.size(entry.size)),
            ("series", entry.series),
            ("study", entry.study),
            ("path", entry.path),
        ],
    )
    print()


def _say(settled: deciding.Settled, what: str) -> None:
    print(f"{len(settled.done)} {what}, {settled.files} files removed")
    for entry, why in settled.left:
        print(f"LEFT  {entry.kind.value} {entry.sop_instance} {entry.digest[:19]}: {why}")
    if settled.left:
        raise errors.Permanent(f"{len(settled.left)} stay where they are")


def register(app: typer.Typer) -> None:
    """Put the commands on the command line."""
    app.add_typer(group)
