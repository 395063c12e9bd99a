"""The stored header of an instance: for attributes that a query wants and the index does not hold."""

from __future__ import annotations

import os
from collections.abc import Collection

from node import errors, model
from node.dicom import header, identifier, scan
from node.files import layout
from node.send import base
from node.steps import presented

FIRST = 64 << 10  # bytes in which most headers end
MOST = 16 << 20  # bytes of a header, or of what a coercion presents, that are read


class Headers:
    """Reads headers of what is held, as it is presented; fit for several threads."""

    def __init__(self, data: layout.Data) -> None:
        self._presenter = presented.Presenter(data)

    def fields(self, held: model.Instance, tags: Collection[int]) -> identifier.Fields:
        """These elements of an instance, absent ones left out; raises BadData, NotFound, StorageFailed."""
        item = self._presenter.item(held)
        return identifier.pick(self._table(item, max(tags) + 1), tags)

    def texts(self, held: model.Instance, names: Collection[str]) -> dict[str, tuple[str, ...]]:
        """The values of elements as `header.texts` gives them; raises as `fields` does."""
        item = self._presenter.item(held)
        if item.change is not None:
            made = item.change(_read(item, MOST), item.syntax)
            return header.texts(made.tobytes(), made.syntax, names)
        if item.size > FIRST and not scan.encoding(item.syntax).deflated:
            try:
                return header.texts(_read(item, FIRST), item.syntax, names)
            except errors.BadData:
                pass  # they reach further
        return header.texts(_read(item, MOST), item.syntax, names)

    def _table(self, item: base.Item, stop: int) -> scan.Table:
        if item.change is not None:
            made = item.change(_read(item, MOST), item.syntax)
            return scan.scan(made.tobytes(), made.syntax, stop=stop)
        if item.size > FIRST and not scan.encoding(item.syntax).deflated:
            try:
                # What lies behind the elements that are wanted is not looked at, so it need not be there.
                return scan.scan(_read(item, FIRST), item.syntax, stop=stop)
            except errors.BadData:
                pass  # they reach further
        return scan.scan(_read(item, MOST), item.syntax, stop=stop)


def _read(item: base.Item, most: int) -> bytes:
    try:
        fd = os.open(item.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.pread(fd, min(item.size, most), item.offset)
        finally:
            os.close(fd)
    except FileNotFoundError as error:
        raise errors.NotFound(f"the file of {item.sop_instance} is gone") from error
    except OSError as error:
        raise errors.StorageFailed(f"reading the header of {item.sop_instance}: {error.strerror}") from error
