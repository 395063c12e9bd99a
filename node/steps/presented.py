"""An instance as it is presented: what is held, changed on its way out by the coercion of its receipt.

The file keeps what came. With the instance stands the digest of the steps that its rule named, and the steps
themselves, lookup tables included, are kept under that digest. So queries, sends and retrievals show the
same, whatever the configuration says by then.
"""

from __future__ import annotations

import dataclasses
import datetime
import functools
import json
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from node import errors, log, model
from node.files import coercions, layout
from node.send import base

if TYPE_CHECKING:
    from node.dicom import header, patched
    from node.dicom import syntax as syntaxes
    from node.steps import coerce

_FORM = 1  # of the documents


class Unfit(errors.Permanent):
    """A coercion that cannot be done to an instance; the message tells no value, so that it may be logged."""


@dataclasses.dataclass(frozen=True, slots=True)
class Prepared:
    """A coercion as instances refer to it."""

    name: str  # what the configuration called it
    steps: coerce.Coercion  # ready to be applied
    digest: str  # of the steps and their tables

    def apply(self, buffer: syntaxes.Buffer, syntax: str, *, received: datetime.datetime) -> patched.Patched:
        """What a data set is presented as; the same for the same receipt, each time. Raises NodeError."""
        return self.steps.at(received).apply(buffer, syntax)

    def header(
        self, buffer: syntaxes.Buffer, syntax: str, arrival: model.Arrival, known: header.Header
    ) -> header.Header:
        """What the index is to know of an instance, which says `known` as it came; raises Unfit."""
        from node.dicom import header

        try:
            made = self.apply(buffer, syntax, received=arrival.received)
            changed = header.changed(made)
        except errors.NodeError as error:
            raise Unfit(f"coercion {self.name}: {discreet(error)}") from None
        for field in ("study", "series", "sop_instance", "sop_class"):
            if getattr(changed, field) != getattr(known, field):
                raise Unfit(f"coercion {self.name} would change under what name it is held ({field})")
        return changed


class Presenter:
    """Turns rows of the index into what is sent; fit for several threads."""

    def __init__(self, data: layout.Data) -> None:
        self._data = data
        self._lock = threading.Lock()
        self._prepared = functools.lru_cache(maxsize=64)(functools.partial(load, data))

    def item(self, held: model.Instance) -> base.Item:
        """What is sent of an instance; raises NotFound or BadData when its coercion is not there."""
        identity = held.identity
        return base.Item(
            identity.sop_class,
            identity.sop_instance,
            held.syntax,
            self._data.place(held.path),
            held.offset,
            held.size,
            self.change(held.coercion, held.received),
        )

    def change(self, digest: str, received: datetime.datetime) -> base.Change | None:
        """What an instance goes through on its way out, from the `coercion` and `received` of its row.

        None: it goes as it stands. Raises NotFound or BadData when its coercion is not there.
        """
        if not digest:
            return None
        return functools.partial(self.coercion(digest).apply, received=received)

    def coercion(self, digest: str) -> Prepared:
        """The coercion of a digest."""
        with self._lock:  # made ready once, and not by each thread that asks first
            return self._prepared(digest)


def prepare(wanted: model.Coercion, data: layout.Data | None) -> Prepared:
    """Make a configured coercion ready for receipt, and keep its steps below the data directory.

    Without a directory, nothing is kept: for whoever only tries. Raises coerce.Mistakes, StorageFull and
    StorageFailed.
    """
    from node.steps import coerce, shape

    tables: dict[str, Mapping[str, str]] = {}

    def read(name: str) -> Mapping[str, str]:
        if name not in tables:
            tables[name] = shape.read_table(wanted.base / name)
        return tables[name]

    made = coerce.configured(wanted, tables=read, receipt=True)
    document = _document(wanted.name, wanted.steps, tables)
    return Prepared(wanted.name, made, "" if data is None else coercions.keep(data, document))


def kept(settings: model.Settings, data: layout.Data) -> model.Settings:
    """The settings with the digests of the coercions that rules at receipt name, whose steps are durable now.

    So a process that starts later presents what arrives as the others do, whatever a table says by then.
    """
    named = {rule.coerce for rule in settings.rules if rule.coerce is not None}
    if not named:
        return settings
    found = tuple(
        dataclasses.replace(one, digest=prepare(one, data).digest) if one.name in named else one
        for one in settings.coerce
    )
    return dataclasses.replace(settings, coerce=found)


def at_receipt(
    rules: Sequence[model.Rule], coercions_: Sequence[model.Coercion], data: layout.Data
) -> dict[str, Prepared]:
    """The coercions that rules name, by name: as they were kept, or as they are configured now."""
    configured = {one.name: one for one in coercions_}
    found: dict[str, Prepared] = {}
    for name in sorted({rule.coerce for rule in rules if rule.coerce is not None}):
        wanted = configured[name]
        if wanted.digest:
            try:
                found[name] = load(data, wanted.digest)
                continue
            except (errors.NotFound, errors.BadData) as error:
                log.storage_failed(what=f"coercion {name}", error=error, path=data.coercions)
        found[name] = prepare(wanted, data)
    return found


def load(data: layout.Data, digest: str) -> Prepared:
    """The coercion that was kept under a digest; raises NotFound or BadData."""
    from node.steps import coerce

    document = coercions.read(data, digest)
    try:
        words = json.loads(document, object_hook=_from_json)
        if words["form"] != _FORM:
            raise errors.BadData(f"the coercion {digest} was kept by a newer program than this one")
        tables = words["tables"]
        made = coerce.ready(words["steps"], tables=tables.__getitem__, files=False)
        return Prepared(words["name"], made, digest)
    except (ValueError, KeyError, TypeError, errors.UsageError) as error:
        raise errors.BadData(f"the coercion {digest} cannot be read: {error}") from error


def discreet(error: errors.NodeError) -> str:
    """Why something could not be done, without a value that may be a patient's."""
    return str(getattr(error, "discreet", error))


def _document(
    name: str, steps: Sequence[Mapping[str, object]], tables: Mapping[str, Mapping[str, str]]
) -> bytes:
    """The same bytes for the same steps and tables, wherever they were configured."""
    words = {"form": _FORM, "name": name, "steps": steps, "tables": tables}
    text = json.dumps(words, sort_keys=True, separators=(",", ":"), ensure_ascii=True, default=_to_json)
    return text.encode("ascii")


_MOMENTS: Mapping[str, Any] = {
    "datetime": datetime.datetime,
    "date": datetime.date,
    "time": datetime.time,
}


def _to_json(value: object) -> dict[str, str]:
    """The values of TOML that JSON has no form for."""
    for kind, made in _MOMENTS.items():
        if isinstance(value, made):
            return {f"${kind}": value.isoformat()}
    raise TypeError(f"a {type(value).__name__} is no value of a configuration")


def _from_json(words: dict[str, Any]) -> Any:
    if len(words) == 1:
        ((key, value),) = words.items()
        if key[:1] == "$" and key[1:] in _MOMENTS:
            return _MOMENTS[key[1:]].fromisoformat(value)
    return words
