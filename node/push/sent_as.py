"""Under which UIDs instances went out: a destination is asked for what it was given, not for what is held."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from node import errors, model, orders
from node.dicom import header
from node.files import layout
from node.index import db, retrieval, verification, words
from node.send import base, payload
from node.steps import plan, presented

_PAGE = 500  # instances that are looked at in one read of the database
_SERIES = ("StudyInstanceUID", "SeriesInstanceUID")


class SentAs:
    """Says it from the plan and the files, for of each C-STORE only the answer was kept; for any thread."""

    def __init__(self, database: db.Database, data: layout.Data, settings: model.Settings) -> None:
        self._database = database
        self._data = data
        self._presenter = presented.Presenter(data)
        self._plans = plan.Plans(settings)

    def apply(self, settings: model.Settings) -> None:
        """Take over a changed configuration."""
        self._plans.apply(settings)

    def names(
        self,
        consignment: orders.Consignment,
        destination: orders.Destination,
        doubted: Sequence[verification.Unsure],
    ) -> Mapping[int, model.Identity]:
        """By delivery, what it was sent as; without those that are gone here, or cannot be read any more."""
        held = [one for one in doubted if one.sop_class is not None]
        series = (consignment.study, consignment.series)
        if not consignment.steps and destination.coerce is None:
            return {one.key: model.Identity(one.sop_class or "", one.sop_instance, *series) for one in held}
        found: dict[int, model.Identity] = {}
        try:
            steps = self._plans.plan(consignment.steps, destination.coerce)
        except errors.NodeError:
            return found  # it was configured otherwise when it went out
        by_row = {one.instance: one for one in held}
        rows = list(by_row)
        for start in range(0, len(rows), _PAGE):
            with self._database.read() as connection:
                page, _ = retrieval.page(connection, rows[start : start + _PAGE])
            for row in page:
                identity = self._identity(row, steps, series, by_row[row.key].syntax)
                if identity is not None:
                    found[by_row[row.key].key] = identity
        return found

    def _identity(
        self, row: retrieval.Row, steps: plan.Plan, series: tuple[str, str], syntax: str
    ) -> model.Identity | None:
        change = None
        if row.coercion:
            change = self._presenter.change(row.coercion, words.when(row.received))
        place = self._data.place(row.path)
        item = base.Item(row.sop_class, row.sop_instance, row.syntax, place, row.offset, row.size, change)
        try:
            item = steps.item(item)
            wanted = item.wanted
            if wanted is not None and wanted.loss is not None and wanted.syntax == syntax:
                # Compressed with loss it was another instance; it went so, if it went in that syntax.
                item = dataclasses.replace(item, sop_instance=wanted.loss.instance)
            if item.change is None:
                return model.Identity(item.sop_class, item.sop_instance, *series)
            read = payload.read(item, bytearray())
            try:
                parts = read.parts
                whole = parts if isinstance(parts, memoryview) else b"".join(parts)
                texts = header.texts(bytes(whole), item.syntax, _SERIES)
            finally:
                read.close()
        except (OSError, errors.NodeError):
            return None
        study, own = (next(iter(texts[name]), "") for name in _SERIES)
        return model.Identity(item.sop_class, item.sop_instance, study, own)
