"""What a person decides of conflicts and quarantine: into the store, in the place of another, or out.

A release takes the bytes through the journal again, as a transfer would, and only then removes what was set
aside, with its line in the audit trail. So a crash between the two leaves both, and the same again ends it.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable, Iterable, Sequence

from node import errors, model, receive, upkeep
from node.files import layout, scrub
from node.index import aside, db, remove, witness

Settle = Callable[[], bool]  # wait until what was acknowledged is filed; False when that took too long


@dataclasses.dataclass(frozen=True, slots=True)
class Settled:
    """What became of a person's decision."""

    done: tuple[aside.Entry, ...]  # decided, and gone from where they were set aside
    left: tuple[tuple[aside.Entry, str], ...]  # still there, and why
    files: int  # that were unlinked


def discard(
    data: layout.Data, database: db.Database, entries: Sequence[aside.Entry], *, who: str, why: str
) -> Settled:
    """Remove entries for good; the audit trail keeps who, when and why."""
    _check_reason(why)
    gone = _remove(data, database, entries, who=who, why=why)
    left = tuple((entry, "somebody else decided it meanwhile") for entry in entries if entry not in gone)
    return Settled(tuple(gone), left, upkeep.purge(data, database))


def release(
    take: receive.Receiver,
    data: layout.Data,
    database: db.Database,
    entries: Sequence[aside.Entry],
    *,
    who: str,
    why: str,
    settle: Settle,
) -> Settled:
    """Put entries into the store as if they had come now; what is held with other bytes stays where it is."""
    _check_reason(why)
    _check_single(entries)
    # A file that a removal left behind may lie where the released one belongs.
    files = upkeep.purge(data, database)
    left: list[tuple[aside.Entry, str]] = []
    sent: list[aside.Entry] = []
    for entry in entries:
        fault = _taken(take, data, database, entry, who)
        if fault:
            left.append((entry, fault))
        else:
            sent.append(entry)
    if not settle():
        raise errors.DatabaseUnavailable(
            "what was released is durable, but not filed yet: look at the node's log, then release it again"
        )
    arrived: list[aside.Entry] = []
    for entry in sent:
        if _first(database, entry) == (entry.digest, model.Held.HELD):
            arrived.append(entry)
        else:
            left.append((entry, "other bytes came under its UIDs meanwhile"))
    gone = _remove(data, database, arrived, who=who, why=f"released into the store: {why}")
    left += [(entry, "somebody else decided it meanwhile") for entry in arrived if entry not in gone]
    return Settled(tuple(gone), tuple(left), files + upkeep.purge(data, database))


def replace(
    take: receive.Receiver,
    data: layout.Data,
    database: db.Database,
    entry: aside.Entry,
    *,
    who: str,
    why: str,
    settle: Settle,
) -> Settled:
    """Remove the instance that is held, and release the one that was set aside in its place.

    When it breaks off between the two, nothing is held under the UIDs, and a `release` ends it.
    """
    _check_reason(why)
    if entry.held is None:
        raise errors.UsageError(f"nothing is held in the place of {entry.sop_instance}: release it")
    fault = _damage(data, entry)
    if fault:
        raise errors.BadData(f"{entry.path} cannot take the place of another: {fault}")
    now = datetime.datetime.now(datetime.UTC)
    with database.write() as connection:
        held = aside.first(connection, entry.study, entry.series, entry.sop_instance)
        if held is not None and held.digest != entry.held:
            raise errors.Transient(f"what is held as {entry.sop_instance} changed meanwhile: look again")
        if held is not None and held.digest != entry.digest:
            remove.instances(
                connection,
                [held.key],
                who=who,
                why=f"replaced by {entry.digest}: {why}",
                now=now,
                witness=witness.Witness(data),
            )
    return release(take, data, database, [entry], who=who, why=why, settle=settle)


def _check_reason(why: str) -> None:
    if not why.strip():
        raise errors.UsageError("a decision needs a reason, which the audit trail keeps")


def _check_single(entries: Iterable[aside.Entry]) -> None:
    """Only one of several data sets under the same UIDs can be in the store."""
    seen: dict[tuple[str, str, str], str] = {}
    for entry in entries:
        uids = entry.study, entry.series, entry.sop_instance
        if seen.setdefault(uids, entry.digest) != entry.digest:
            raise errors.UsageError(
                f"{entry.sop_instance} was set aside with different bytes: say which with --digest, "
                f"{seen[uids]} or {entry.digest}"
            )


def _taken(
    take: receive.Receiver, data: layout.Data, database: db.Database, entry: aside.Entry, who: str
) -> str:
    """Acknowledge the bytes of an entry once more; "" when they are durable, else why that was not done."""
    held = _first(database, entry)
    if held == (entry.digest, model.Held.HELD):
        return ""  # an earlier release came this far
    if held is not None and held[0] != entry.digest:
        return (
            f"{held[0]} is held under its UIDs: replace it with `dicom-node aside replace`, or discard this"
        )
    fault = _damage(data, entry)
    if fault:
        return fault
    path = data.place(entry.path)
    came = layout.read_head(path)[0].arrival
    sender = receive.Sender(came.calling, came.called, came.address, came.peer, came.association)
    try:
        take.import_file(path, sender, note=f"{model.RELEASED}{who}"[:128])
    except receive.Refused as refused:
        return str(refused)
    return ""


def _first(database: db.Database, entry: aside.Entry) -> tuple[str, model.Held] | None:
    """Digest and state of what is in the store under an entry's UIDs."""
    with database.read() as connection:
        held = aside.first(connection, entry.study, entry.series, entry.sop_instance)
    return None if held is None else (held.digest, held.state)


def _damage(data: layout.Data, entry: aside.Entry) -> str:
    """What is wrong with the bytes of an entry, "" when nothing is."""
    try:
        return scrub.verify(data.place(entry.path), entry.offset, entry.size, entry.digest)
    except (errors.NotFound, errors.BadData) as error:
        return str(error)


def _remove(
    data: layout.Data, database: db.Database, entries: Sequence[aside.Entry], *, who: str, why: str
) -> list[aside.Entry]:
    """Take entries out of the index, each with its audit row; return those that were there."""
    gone: list[aside.Entry] = []
    now = datetime.datetime.now(datetime.UTC)
    with database.write() as connection:
        for kind in aside.Kind:
            chosen = [entry for entry in entries if entry.kind is kind]
            keys = [entry.key for entry in chosen]
            removed = remove.aside(
                connection, kind.value, keys, who=who, why=why, now=now, witness=witness.Witness(data)
            )
            places = {(one.sop_instance, one.path) for one in removed}
            gone += [entry for entry in chosen if (entry.sop_instance, entry.path) in places]
    return gone
